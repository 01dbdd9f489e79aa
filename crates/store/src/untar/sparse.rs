//! Maps of sparse files: the old GNU format and GNU's PAX formats 0.0, 0.1 and 1.0.

use std::io::BufRead;

use tar::GnuSparseHeader;

use super::error::UntarError;
use super::header::{BLOCK, Blocks, number};
use super::member::Sparse;
use super::pax::{PaxSparse, decimal};

/// Entries a map may have.
const MAX_SEGMENTS: usize = 1 << 20;

/// A run of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// A map that is well-formed and fits the `stored` bytes of data; None otherwise.
pub(super) fn checked(segments: Vec<Segment>, size: u64, stored: u64) -> Option<Sparse> {
    let mut end = 0;
    let mut sum = 0u64;
    for segment in &segments {
        if segment.offset < end {
            return None;
        }
        end = segment.offset.checked_add(segment.length)?;
        sum = sum.checked_add(segment.length)?;
    }
    (sum == stored && end <= size && i64::try_from(size).is_ok())
        .then_some(Sparse { segments, size })
}

/// The map in an old GNU header and the extension blocks that follow it. None: malformed.
pub(super) fn read_old_gnu<R: BufRead>(
    blocks: &mut Blocks<R>,
    header: &tar::Header,
) -> Result<Option<(Vec<Segment>, u64)>, UntarError> {
    let Some(gnu) = header.as_gnu() else {
        return Ok(None);
    };
    let Some(size) = number(&gnu.realsize).and_then(|n| u64::try_from(n).ok()) else {
        return Ok(None);
    };
    let mut segments = Vec::new();
    if add(&mut segments, &gnu.sparse).is_none() {
        return Ok(None);
    }
    let mut more = gnu.isextended[0] == 1;
    while more {
        let mut extension = tar::GnuExtSparseHeader::new();
        blocks.read_exact(&mut extension.as_mut_bytes()[..])?;
        if add(&mut segments, &extension.sparse).is_none() {
            return Ok(None);
        }
        more = extension.isextended[0] == 1;
    }
    Ok(Some((segments, size)))
}

fn add(segments: &mut Vec<Segment>, entries: &[GnuSparseHeader]) -> Option<()> {
    for entry in entries.iter().take_while(|e| e.offset[0] != 0) {
        if segments.len() == MAX_SEGMENTS {
            return None;
        }
        segments.push(Segment {
            offset: number(&entry.offset)?.try_into().ok()?,
            length: number(&entry.numbytes)?.try_into().ok()?,
        });
    }
    Some(())
}

/// The map of a PAX sparse file and the bytes of data it took (format 1.0 keeps it there). None: malformed.
pub(super) fn read_pax<R: BufRead>(
    blocks: &mut Blocks<R>,
    pax: &mut PaxSparse,
    stored: u64,
) -> Result<Option<(Vec<Segment>, u64)>, UntarError> {
    if (pax.major, pax.minor) != (Some(1), Some(0)) {
        return Ok(Some((std::mem::take(&mut pax.segments), 0)));
    }
    let mut map = MapReader {
        blocks,
        block: [0; BLOCK],
        at: BLOCK,
        read: 0,
        stored,
    };
    let Some(count) = map.number()? else {
        return Ok(None);
    };
    let mut segments = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(length)) = (map.number()?, map.number()?) else {
            return Ok(None);
        };
        if segments.len() == MAX_SEGMENTS {
            return Ok(None);
        }
        segments.push(Segment { offset, length });
    }
    Ok(Some((segments, map.read)))
}

/// Decimal numbers, each on a line, padded to whole blocks.
struct MapReader<'a, R> {
    blocks: &'a mut Blocks<R>,
    block: [u8; BLOCK],
    at: usize,
    read: u64,
    stored: u64,
}

impl<R: BufRead> MapReader<'_, R> {
    fn number(&mut self) -> Result<Option<u64>, UntarError> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                if self.read + BLOCK as u64 > self.stored {
                    return Ok(None);
                }
                self.blocks.read_exact(&mut self.block)?;
                self.read += BLOCK as u64;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                return Ok(decimal(&digits));
            }
            if digits.len() > 20 {
                return Ok(None);
            }
            digits.push(byte);
        }
    }
}
