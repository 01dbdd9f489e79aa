//! eStargz: a gzip archive in which each file can be fetched and verified by itself (stargz-snapshotter, docs/estargz.md).
//!
//! The archive is cut into gzip members where files begin, and a table of contents is its last member: the archive in it
//! is another one than the layer's, with another diff id.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::read::GzDecoder;
use oci_spec::image::Digest;
use sha2::Digest as _;

use super::blocks;
use super::codec::{self, Codec};
use super::cut::{Content, Cut, own_member};
use super::toc;
use crate::archive::Sink;
use crate::digest::{from_hash, sha256};
use crate::error::At;
use crate::untar::UntarError;
use crate::{Error, Result};

/// The table of contents.
pub(super) const TOC: &str = "stargz.index.json";
/// A larger one is none.
const MAX_TOC: u64 = 64 << 20;
/// Pieces of the archive on their way.
const QUEUE: usize = 4;

/// Bytes at the end that tell where the table of contents is.
const FOOTER: usize = 51;
/// A gzip header with an extra field of 26 bytes: one subfield, `SG`, of 22.
const FOOTER_BEGIN: [u8; 16] = [
    0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0, b'S', b'G', 22, 0,
];
const FOOTER_MARK: &[u8] = b"STARGZ";
/// An empty final block that is stored as it is, checksum and size of nothing.
const FOOTER_END: [u8; 13] = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];

/// What a manifest says of a layer packed as eStargz.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estargz {
    /// Digest of the table of contents.
    pub toc: Digest,
    /// Size of the uncompressed archive in bytes.
    pub archive_size: u64,
}

impl Estargz {
    /// The annotations of the layer's descriptor.
    pub fn annotations(&self) -> [(&'static str, String); 2] {
        let size = self.archive_size.to_string();
        [
            (
                "containerd.io/snapshot/stargz/toc.digest",
                self.toc.to_string(),
            ),
            ("io.containers.estargz.uncompressed-size", size),
        ]
    }
}

/// A layer packed so.
pub(super) struct Packed {
    pub digest: Digest,
    pub size: u64,
    /// Of the archive with the table of contents.
    pub diff_id: Digest,
    pub estargz: Estargz,
}

/// Packs the archive that `produce` sends into `file`; `blob` is what the layer is called in errors.
pub(super) fn pack(
    level: u32,
    (file, path): (&File, &Path),
    blob: &Digest,
    produce: impl FnOnce(&mut dyn Sink) -> Result<()>,
) -> Result<Packed> {
    let (content, mut output) = blocks::pack(Codec::Members(level), file, path, |blocks| {
        let (pieces, archive) = sync_channel(QUEUE);
        thread::scope(|scope| {
            let cutting = scope.spawn(move || Cut::new(blocks).run(Stream::new(archive)));
            let produced = produce(&mut Pieces(pieces));
            let cut = cutting
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (produced, cut) {
                // Blocks were not taken any more.
                (Ok(()) | Err(Error::WriteArchive { .. }), Err(UntarError::Read(source))) => {
                    Err(Error::WriteArchive { source })
                }
                (Ok(()) | Err(Error::WriteArchive { .. }), Err(e)) => Err(e.of_layer(blob)),
                (Err(e), _) => Err(e),
                (Ok(()), Ok(content)) => Ok(content),
            }
        })
    })?;
    let Content {
        mut plain,
        mut size,
        entries,
    } = content;
    let toc = toc::document(entries, &output.offsets).map_err(|source| Error::Document {
        what: TOC.to_owned(),
        source,
    })?;
    let offset = output.size;
    let mut finish = || -> io::Result<()> {
        let member = own_member(TOC, &toc, true)?;
        plain.update(&member);
        size += member.len() as u64;
        output.write(file, &codec::member(level, &member)?)?;
        output.write(file, &footer(offset))
    };
    finish().at("write", path)?;
    Ok(Packed {
        digest: from_hash(output.hash),
        size: output.size,
        diff_id: from_hash(plain),
        estargz: Estargz {
            toc: sha256(&toc),
            archive_size: size,
        },
    })
}

fn footer(offset: u64) -> Vec<u8> {
    let offset = format!("{offset:016x}");
    [
        &FOOTER_BEGIN,
        offset.as_bytes(),
        FOOTER_MARK,
        &FOOTER_END[..],
    ]
    .concat()
}

fn offset_in(footer: &[u8; FOOTER]) -> Option<u64> {
    let (begin, rest) = footer.split_at(FOOTER_BEGIN.len());
    let (offset, rest) = rest.split_at(16);
    // Time, level and operating system are anything.
    let alike = begin[..4] == FOOTER_BEGIN[..4] && begin[10..] == FOOTER_BEGIN[10..];
    if !alike || !rest.starts_with(FOOTER_MARK) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(offset).ok()?, 16).ok()
}

/// The digest of the table of contents, if the file is packed so.
pub(super) fn toc_of(file: &File) -> io::Result<Option<Digest>> {
    let size = file.metadata()?.len();
    let Some(end) = size.checked_sub(FOOTER as u64) else {
        return Ok(None);
    };
    let mut footer = [0; FOOTER];
    file.read_exact_at(&mut footer, end)?;
    let Some(start) = offset_in(&footer).filter(|start| *start < end) else {
        return Ok(None);
    };
    let length = end - start;
    if length > MAX_TOC {
        return Ok(None);
    }
    let mut packed = vec![0; length as usize];
    file.read_exact_at(&mut packed, start)?;
    // What only looks like one is none.
    Ok(toc_in(&packed).ok().flatten().map(|toc| sha256(&toc)))
}

fn toc_in(packed: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut archive = tar::Archive::new(GzDecoder::new(packed).take(MAX_TOC));
    let Some(mut entry) = archive.entries()?.next().transpose()? else {
        return Ok(None);
    };
    if *entry.path_bytes() != *TOC.as_bytes() {
        return Ok(None);
    }
    let mut toc = Vec::new();
    entry.read_to_end(&mut toc)?;
    Ok(Some(toc))
}

/// Sends an archive to another thread.
struct Pieces(SyncSender<Vec<u8>>);

impl Sink for Pieces {
    fn put(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>> {
        let sent = self.0.send(piece);
        sent.map_err(|_| io::Error::other("the packing has stopped"))?;
        Ok(Vec::new())
    }
}

/// The archive there. It ends when nothing more is sent.
struct Stream {
    pieces: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    taken: usize,
}

impl Stream {
    fn new(pieces: Receiver<Vec<u8>>) -> Stream {
        Stream {
            pieces,
            piece: Vec::new(),
            taken: 0,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let got = (&mut self.fill_buf()?).read(to)?;
        self.consume(got);
        Ok(got)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.taken == self.piece.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.piece, self.taken) = (piece, 0),
                Err(_) => return Ok(&[]),
            }
        }
        Ok(&self.piece[self.taken..])
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_is_51_bytes_of_valid_gzip_and_tells_the_place() {
        let footer = footer(0x1234_5678);
        let exact: [u8; FOOTER] = footer.clone().try_into().unwrap();
        assert_eq!(offset_in(&exact), Some(0x1234_5678));
        assert_eq!(&footer[16..38], b"0000000012345678STARGZ");
        let mut plain = Vec::new();
        GzDecoder::new(&footer[..]).read_to_end(&mut plain).unwrap();
        assert!(plain.is_empty());
        let mut other = exact;
        other[40] ^= 1;
        other[12] = b'X';
        assert_eq!(offset_in(&other), None);
    }
}
