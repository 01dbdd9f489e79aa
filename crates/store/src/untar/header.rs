//! Reads an archive member by member: ustar, GNU and PAX.

use std::io::{self, BufRead};

use rustix::fs::Timespec;

use super::error::UntarError;
use super::member::{Attributes, Kind, Member};
use super::pax::Pax;
use super::sparse;
use crate::MemberProblem;

/// Size of a block of an archive in bytes.
pub(super) const BLOCK: usize = 512;
/// Size of an extended header or long name in bytes.
const MAX_EXTENSION: u64 = 1 << 20;
/// Bytes of extended attributes a file may have (Linux: 64 KiB a value; file systems far less in all).
const MAX_XATTR_VALUE: usize = 64 << 10;

/// The byte stream of an archive.
pub(super) struct Blocks<R> {
    reader: R,
    offset: u64,
}

impl<R: BufRead> Blocks<R> {
    /// Gives at most `limit` of the next bytes to `each`; how many there were.
    pub fn with(
        &mut self,
        limit: u64,
        each: impl FnOnce(&[u8]) -> Result<(), UntarError>,
    ) -> Result<u64, UntarError> {
        let data = loop {
            match self.reader.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(UntarError::Read(e)),
                // A second call, for the borrow checker, finds the same bytes.
                Ok(_) => break self.reader.fill_buf().map_err(UntarError::Read)?,
            }
        };
        if data.is_empty() {
            return Err(self.malformed("it ends in the middle of a member"));
        }
        let count = usize::try_from(limit).unwrap_or(usize::MAX).min(data.len());
        each(&data[..count])?;
        self.reader.consume(count);
        self.offset += count as u64;
        Ok(count as u64)
    }

    pub fn read_exact(&mut self, mut to: &mut [u8]) -> Result<(), UntarError> {
        while !to.is_empty() {
            let count = self.with(to.len() as u64, |data| {
                to[..data.len()].copy_from_slice(data);
                Ok(())
            })?;
            to = &mut to[count as usize..];
        }
        Ok(())
    }

    pub fn skip(&mut self, mut count: u64) -> Result<(), UntarError> {
        while count > 0 {
            count -= self.with(count, |_| Ok(()))?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), UntarError> {
        loop {
            let count = self.reader.fill_buf().map_err(UntarError::Read)?.len();
            if count == 0 {
                return Ok(());
            }
            self.reader.consume(count);
        }
    }

    fn at_end(&mut self) -> Result<bool, UntarError> {
        Ok(self.reader.fill_buf().map_err(UntarError::Read)?.is_empty())
    }

    fn malformed(&self, problem: &'static str) -> UntarError {
        UntarError::Archive {
            problem,
            offset: self.offset,
        }
    }
}

/// The members of an archive, one after the other.
pub(crate) struct Members<R> {
    blocks: Blocks<R>,
    /// Data of the present member not read yet, and the padding after it.
    data: u64,
    padding: u64,
}

/// GNU's long names for the next member.
#[derive(Default)]
struct LongNames {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: BufRead> Members<R> {
    pub fn new(reader: R) -> Self {
        Members {
            blocks: Blocks { reader, offset: 0 },
            data: 0,
            padding: 0,
        }
    }

    /// The next member; what was left of the last one's data is skipped. None at the end, which has then been read through.
    pub fn next(&mut self) -> Result<Option<Member>, UntarError> {
        self.blocks.skip(self.data + self.padding)?;
        (self.data, self.padding) = (0, 0);
        let mut pax = Pax::default();
        let mut long = LongNames::default();
        while let Some(header) = self.header()? {
            let size = self.number(&header.as_old().size, &header)?;
            match header.as_old().linkflag[0] {
                b'x' => {
                    let data = self.extension(size)?;
                    pax.parse(&data)
                        .ok_or_else(|| problem(&header, MemberProblem::BadExtension))?;
                }
                b'g' => self.blocks.skip(padded(size))?,
                b'L' => long.name = Some(until_nul(self.extension(size)?)),
                b'K' => long.link = Some(until_nul(self.extension(size)?)),
                _ => return self.member(header, size, pax, long).map(Some),
            }
        }
        self.blocks.drain()?;
        Ok(None)
    }

    /// Gives at most `limit` bytes of the present member's data to `write`; how many there were.
    pub fn data(
        &mut self,
        limit: u64,
        write: impl FnOnce(&[u8]) -> Result<(), UntarError>,
    ) -> Result<u64, UntarError> {
        let count = self.blocks.with(self.data.min(limit), write)?;
        self.data -= count;
        Ok(count)
    }

    fn header(&mut self) -> Result<Option<tar::Header>, UntarError> {
        if self.blocks.at_end()? {
            return Ok(None);
        }
        let mut header = tar::Header::new_old();
        self.blocks.read_exact(&mut header.as_mut_bytes()[..])?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        // The checksum counts its own field as spaces; some old writers summed signed bytes.
        let with_spaces = |i: usize| {
            if (148..156).contains(&i) {
                b' '
            } else {
                bytes[i]
            }
        };
        let unsigned: i64 = (0..BLOCK).map(|i| i64::from(with_spaces(i))).sum();
        let signed: i64 = (0..BLOCK).map(|i| i64::from(with_spaces(i) as i8)).sum();
        match number(&header.as_old().cksum) {
            Some(sum) if sum == unsigned || sum == signed => Ok(Some(header)),
            _ => Err(self.blocks.malformed("a header has a wrong checksum")),
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, UntarError> {
        if size > MAX_EXTENSION {
            return Err(self.blocks.malformed("an extended header is too large"));
        }
        let mut data = vec![0; size as usize];
        self.blocks.read_exact(&mut data)?;
        self.blocks.skip(padded(size) - size)?;
        Ok(data)
    }

    fn member(
        &mut self,
        header: tar::Header,
        size: u64,
        mut pax: Pax,
        long: LongNames,
    ) -> Result<Member, UntarError> {
        let old = header.as_old();
        let name = [pax.sparse.name.take(), pax.path.take(), long.name]
            .into_iter()
            .flatten()
            .next()
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.link.take().or(long.link).unwrap_or_else(|| {
            header
                .link_name_bytes()
                .map_or_else(Vec::new, |link| link.into_owned())
        });
        let refuse = |problem| UntarError::Member {
            member: name.clone(),
            problem,
        };
        let bad_number = || refuse(MemberProblem::BadNumber);
        let field = |bytes: &[u8]| number(bytes).ok_or_else(bad_number);
        // 2^32 - 1 means "leave as is" to chown(2).
        let id = |pax: Option<i64>, bytes: &[u8]| {
            let id = pax.map_or_else(|| field(bytes), Ok)?;
            u32::try_from(id)
                .ok()
                .filter(|&id| id != u32::MAX)
                .ok_or_else(bad_number)
        };
        let kind = kind(&header, &name).ok_or_else(|| refuse(MemberProblem::UnsupportedType))?;
        let kind = match kind {
            Kind::CharDevice(..) => Kind::CharDevice(device(&header, 329)?, device(&header, 337)?),
            Kind::BlockDevice(..) => {
                Kind::BlockDevice(device(&header, 329)?, device(&header, 337)?)
            }
            other => other,
        };
        if pax.xattrs.iter().any(|(_, v)| v.len() > MAX_XATTR_VALUE) {
            return Err(refuse(MemberProblem::ExtensionTooLarge));
        }
        let attributes = Attributes {
            mode: field(&old.mode)? as u32 & 0o7777,
            uid: id(pax.uid, &old.uid)?,
            gid: id(pax.gid, &old.gid)?,
            mtime: match pax.mtime {
                Some(time) => time,
                None => Timespec {
                    tv_sec: field(&old.mtime)?,
                    tv_nsec: 0,
                },
            },
            xattrs: std::mem::take(&mut pax.xattrs),
        };

        let mut stored = match kind {
            Kind::File => pax.size.unwrap_or(size),
            _ => 0,
        };
        if stored > i64::MAX as u64 {
            return Err(bad_number());
        }
        let padding = padded(stored) - stored;
        let mut sparse = None;
        if kind == Kind::File {
            let map = if old.linkflag[0] == b'S' {
                Some(sparse::read_old_gnu(&mut self.blocks, &header)?)
            } else if let Some(real) = pax.sparse.size {
                let map = sparse::read_pax(&mut self.blocks, &mut pax.sparse, stored)?;
                Some(map.map(|(segments, taken)| {
                    stored -= taken;
                    (segments, real)
                }))
            } else {
                None
            };
            if let Some(map) = map {
                sparse = Some(
                    map.and_then(|(segments, real)| sparse::checked(segments, real, stored))
                        .ok_or_else(|| refuse(MemberProblem::BadSparseMap))?,
                );
            }
        }
        (self.data, self.padding) = (stored, padding);
        Ok(Member {
            name,
            link,
            kind,
            attributes,
            stored,
            sparse,
        })
    }

    fn number(&self, field: &[u8], header: &tar::Header) -> Result<u64, UntarError> {
        number(field)
            .and_then(|n| u64::try_from(n).ok())
            .ok_or_else(|| problem(header, MemberProblem::BadNumber))
    }
}

fn kind(header: &tar::Header, name: &[u8]) -> Option<Kind> {
    Some(match header.as_old().linkflag[0] {
        // Before POSIX, a directory was a file whose name ends with a slash.
        b'0' | 0 if name.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice(0, 0),
        b'4' => Kind::BlockDevice(0, 0),
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        _ => return None,
    })
}

/// A device number, at a fixed place in ustar and GNU headers alike.
fn device(header: &tar::Header, at: usize) -> Result<u32, UntarError> {
    number(&header.as_bytes()[at..at + 8])
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| problem(header, MemberProblem::BadNumber))
}

fn problem(header: &tar::Header, problem: MemberProblem) -> UntarError {
    UntarError::Member {
        member: header.path_bytes().into_owned(),
        problem,
    }
}

/// A numeric field: octal digits between spaces and NULs, or GNU's base 256 (two's complement after a marker bit).
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Bit 6 is the sign.
        let mut value: i128 = if first & 0x40 != 0 { -1 } else { 0 };
        value = (value << 6) | i128::from(first & 0x3f);
        for &byte in rest {
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let digits = &field[start..];
    let digits = &digits[..digits.iter().position(blank).unwrap_or(digits.len())];
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Size in whole blocks.
fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64)
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(text.iter().position(|&b| b == 0).unwrap_or(text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_of_all_writers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777"), Some(0o77777777));
        assert_eq!(number(b"12x"), None);
        assert_eq!(number(b"\x80\0\0\0\x01\0\0\0"), Some(1 << 24));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(
            number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            None
        );
    }
}
