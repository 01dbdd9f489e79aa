//! The formats layers are packed in. Each packs a layer in blocks of a fixed size, independently of each other, so that
//! the bytes do not depend on how many processors were at it.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Compress, Crc, FlushCompress, Status};

use super::Compression;
use crate::{Error, Result};

/// Bytes of a block, and how many of the block before it deflate looks back at.
const GZIP_BLOCK: usize = 512 << 10;
const WINDOW: usize = 32 << 10;
/// A block of zstd is a frame of its own.
const ZSTD_BLOCK: usize = 2 << 20;

/// A format with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Plain,
    Gzip(u32),
    /// Each block is a gzip file of its own.
    Members(u32),
    Zstd(i32),
}

/// A block to be packed.
pub(super) struct Block {
    pub data: Vec<u8>,
    /// The end of the block before it.
    pub before: Vec<u8>,
}

/// A block packed.
pub(super) struct Packed {
    pub data: Vec<u8>,
    /// Checksum of the bytes that were packed.
    pub crc: Crc,
}

impl Codec {
    pub fn new(compression: Compression) -> Result<Self> {
        match compression {
            Compression::None => Ok(Codec::Plain),
            Compression::Gzip(level @ 0..=9) => Ok(Codec::Gzip(level)),
            Compression::Zstd(level @ 1..=22) => Ok(Codec::Zstd(level)),
            Compression::Estargz(level @ 0..=9) => Ok(Codec::Members(level)),
            compression => Err(Error::UnsupportedCompression { compression }),
        }
    }

    /// Names format and level, in the database and in file names. Changes with the bytes.
    pub fn variant(self) -> String {
        match self {
            Codec::Plain => "plain".into(),
            Codec::Gzip(level) => format!("gzip-{level}"),
            Codec::Members(level) => format!("estargz-{level}"),
            Codec::Zstd(level) => format!("zstd-{level}"),
        }
    }

    pub fn block_size(self) -> usize {
        match self {
            Codec::Plain | Codec::Gzip(_) | Codec::Members(_) => GZIP_BLOCK,
            Codec::Zstd(_) => ZSTD_BLOCK,
        }
    }

    /// How much of the block before it a block is packed with.
    pub fn window(self) -> usize {
        match self {
            Codec::Gzip(_) => WINDOW,
            Codec::Plain | Codec::Members(_) | Codec::Zstd(_) => 0,
        }
    }

    /// What comes before the first block: a gzip header without name and time (RFC 1952).
    pub fn begin(self) -> &'static [u8] {
        match self {
            Codec::Gzip(_) => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff],
            Codec::Plain | Codec::Members(_) | Codec::Zstd(_) => &[],
        }
    }

    /// What comes after the last block: an empty final block, checksum and size.
    pub fn end(self, crc: &Crc) -> Vec<u8> {
        match self {
            Codec::Gzip(_) => {
                let mut end = vec![3, 0];
                end.extend_from_slice(&crc.sum().to_le_bytes());
                end.extend_from_slice(&crc.amount().to_le_bytes());
                end
            }
            Codec::Plain | Codec::Members(_) | Codec::Zstd(_) => Vec::new(),
        }
    }
}

/// Packs blocks; one for each thread.
pub(super) enum Packer {
    Plain,
    Gzip(flate2::Compression),
    Members(u32),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    pub fn new(codec: Codec) -> io::Result<Self> {
        Ok(match codec {
            Codec::Plain => Packer::Plain,
            Codec::Gzip(level) => Packer::Gzip(flate2::Compression::new(level)),
            Codec::Members(level) => Packer::Members(level),
            Codec::Zstd(level) => {
                let mut compressor = zstd::bulk::Compressor::new(level)?;
                compressor.include_checksum(true)?;
                Packer::Zstd(compressor)
            }
        })
    }

    pub fn pack(&mut self, block: Block) -> io::Result<Packed> {
        let mut crc = Crc::new();
        let data = match self {
            Packer::Plain => block.data,
            Packer::Gzip(level) => {
                crc.update(&block.data);
                deflate(*level, &block)?
            }
            Packer::Members(level) => member(*level, &block.data)?,
            Packer::Zstd(compressor) => compressor.compress(&block.data)?,
        };
        Ok(Packed { data, crc })
    }
}

/// A gzip file without name and time.
pub(super) fn member(level: u32, data: &[u8]) -> io::Result<Vec<u8>> {
    let room = Vec::with_capacity(data.len() / 2 + 64);
    let mut gzip = GzEncoder::new(room, flate2::Compression::new(level));
    gzip.write_all(data)?;
    gzip.finish()
}

/// Deflates a block so that another can follow: it ends at a whole byte, and is not marked as the last.
fn deflate(level: flate2::Compression, block: &Block) -> io::Result<Vec<u8>> {
    // Not one for all blocks: even reset, what it packed before shows in the bytes.
    let mut deflate = Compress::new(level, false);
    if !block.before.is_empty() {
        deflate
            .set_dictionary(&block.before)
            .map_err(io::Error::other)?;
    }
    let mut out = Vec::with_capacity(block.data.len() / 2 + 1024);
    loop {
        let taken = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let status = deflate
            .compress_vec(&block.data[taken..], &mut out, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        let all = deflate.total_in() == block.data.len() as u64;
        // With room left over, the flush is through.
        if status == Status::Ok && all && out.len() < out.capacity() {
            return Ok(out);
        }
        if out.len() == out.capacity() {
            out.reserve(block.data.len() / 2 + 1024);
        }
    }
}
