//! Cuts an archive where its files begin.

use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::blocks::Blocks;
use super::codec::Block;
use super::estargz::TOC;
use super::toc::{Data, Entry};
use crate::MemberProblem;
use crate::digest::{from_hash, sha256};
use crate::untar::{Member, Members, UntarError};

/// Says that no file is to be fetched before the others.
const LANDMARK: &str = ".no.prefetch.landmark";
const LANDMARK_CONTENT: &[u8] = &[0xf];
/// What an archive has only because it was packed as eStargz before.
const OWN: [&str; 3] = [TOC, LANDMARK, ".prefetch.landmark"];
/// Files are cut into chunks of so many bytes.
const CHUNK: u64 = 2 << 20;
/// What is between files is packed at the latest when it is so long.
const BETWEEN: usize = 512 << 10;
const BLOCK: u64 = 512;

/// What was cut.
pub(super) struct Content {
    /// Of the archive as it will be unpacked.
    pub plain: Sha256,
    /// Its size in bytes.
    pub size: u64,
    pub entries: Vec<Entry>,
}

/// Cuts an archive, and notes what is in it.
pub(super) struct Cut<'b> {
    blocks: &'b mut Blocks,
    content: Content,
    /// Blocks sent.
    sent: usize,
    /// What stands between the data of files: padding and headers.
    between: Vec<u8>,
}

impl<'b> Cut<'b> {
    pub fn new(blocks: &'b mut Blocks) -> Self {
        Cut {
            blocks,
            content: Content {
                plain: Sha256::new(),
                size: 0,
                entries: Vec::new(),
            },
            sent: 0,
            between: Vec::new(),
        }
    }

    pub fn run(mut self, archive: impl BufRead) -> Result<Content, UntarError> {
        let seen = Seen::default();
        let mut members = Members::new(Recorder {
            reader: archive,
            seen: seen.clone(),
        });
        self.landmark().map_err(UntarError::Read)?;
        // Padding after the last member, and whether that was left out.
        let (mut padding, mut left_out) = (0, false);
        while let Some(member) = members.next()? {
            let mut raw = seen.take();
            if left_out {
                raw.drain(..padding);
                padding = 0;
            }
            left_out = is_own(&member.name);
            if left_out {
                raw.truncate(padding);
            }
            self.between.extend_from_slice(&raw);
            if left_out {
                skip(&mut members, &member, &seen)?;
            } else {
                self.member(&mut members, member_of(&member)?, &seen)?;
            }
            padding = padding_of(member.stored);
        }
        // The end of the archive is written anew.
        let raw = seen.take();
        if !left_out {
            self.between
                .extend_from_slice(&raw[..padding.min(raw.len())]);
        }
        self.flush().map_err(UntarError::Read)?;
        Ok(self.content)
    }

    fn landmark(&mut self) -> io::Result<()> {
        let member = own_member(LANDMARK, LANDMARK_CONTENT, false)?;
        let (header, rest) = member.split_at(BLOCK as usize);
        let (data, padding) = rest.split_at(LANDMARK_CONTENT.len());
        self.between.extend_from_slice(header);
        self.flush()?;
        let block = self.send(data.to_vec())?;
        self.between.extend_from_slice(padding);
        let mut entry = Entry::file(LANDMARK, 0o644, data.len() as u64);
        entry.data(Data {
            block,
            at: 0,
            size: None,
            digest: sha256(data),
        });
        entry.whole(sha256(data));
        self.content.entries.push(entry);
        Ok(())
    }

    /// One member, whose header is in `between`.
    fn member<R: BufRead>(
        &mut self,
        members: &mut Members<R>,
        (member, mut entry): (&Member, Entry),
        seen: &Seen,
    ) -> Result<(), UntarError> {
        if member.stored == 0 {
            self.content.entries.push(entry);
            if self.between.len() >= BETWEEN {
                self.flush().map_err(UntarError::Read)?;
            }
            return Ok(());
        }
        self.flush().map_err(UntarError::Read)?;
        let mut whole = Sha256::new();
        let mut chunks: Vec<Entry> = Vec::new();
        let mut at = 0;
        while at < member.stored {
            let size = CHUNK.min(member.stored - at);
            let mut left = size;
            while left > 0 {
                left -= members.data(left, |_| Ok(()))?;
            }
            let chunk = seen.take();
            whole.update(&chunk);
            let data = Data {
                digest: sha256(&chunk),
                block: self.send(chunk).map_err(UntarError::Read)?,
                at,
                size: (at + size < member.stored).then_some(size),
            };
            match at {
                0 => entry.data(data),
                _ => chunks.push(Entry::chunk(&entry, data)),
            }
            at += size;
        }
        entry.whole(from_hash(whole));
        self.content.entries.push(entry);
        self.content.entries.append(&mut chunks);
        Ok(())
    }

    /// Packs what stands before the data of a file.
    fn flush(&mut self) -> io::Result<()> {
        if !self.between.is_empty() {
            let between = std::mem::take(&mut self.between);
            self.send(between)?;
        }
        Ok(())
    }

    /// Packs a block by itself; its number.
    fn send(&mut self, data: Vec<u8>) -> io::Result<usize> {
        self.content.plain.update(&data);
        self.content.size += data.len() as u64;
        self.blocks.send(Block {
            data,
            before: Vec::new(),
        })?;
        self.sent += 1;
        Ok(self.sent - 1)
    }
}

/// What the table of contents says of a member before its data is known.
fn member_of(member: &Member) -> Result<(&Member, Entry), UntarError> {
    if member.sparse.is_some() {
        // Its data is not the file.
        return Err(UntarError::Member {
            member: member.name.clone(),
            problem: MemberProblem::UnsupportedType,
        });
    }
    Ok((member, Entry::of(member)))
}

fn skip<R: BufRead>(
    members: &mut Members<R>,
    member: &Member,
    seen: &Seen,
) -> Result<(), UntarError> {
    let mut left = member.stored;
    while left > 0 {
        left -= members.data(left, |_| Ok(()))?;
        seen.take();
    }
    Ok(())
}

fn is_own(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let name = name.strip_prefix(b"/").unwrap_or(name);
    OWN.iter().any(|own| own.as_bytes() == name)
}

fn padding_of(size: u64) -> usize {
    (size.next_multiple_of(BLOCK) - size) as usize
}

/// A file that only the packing needs; at the end of the archive, or not.
pub(super) fn own_member(name: &str, content: &[u8], last: bool) -> io::Result<Vec<u8>> {
    let size = content.len() as u64;
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    header.set_cksum();
    let mut member = header.as_bytes().to_vec();
    member.extend_from_slice(content);
    let end = if last { 2 * BLOCK as usize } else { 0 };
    member.resize(member.len() + padding_of(size) + end, 0);
    Ok(member)
}

/// The bytes that were read of an archive.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<u8>>>);

impl Seen {
    fn take(&self) -> Vec<u8> {
        self.0.take()
    }
}

/// Keeps what is read.
struct Recorder<R> {
    reader: R,
    seen: Seen,
}

impl<R: BufRead> Read for Recorder<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let got = (&mut self.fill_buf()?).read(to)?;
        self.consume(got);
        Ok(got)
    }
}

impl<R: BufRead> BufRead for Recorder<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is there already is given again.
        if let Ok(data) = self.reader.fill_buf() {
            let kept = &data[..count.min(data.len())];
            self.seen.0.borrow_mut().extend_from_slice(kept);
        }
        self.reader.consume(count);
    }
}
