//! Decompression of packed layers, whatever they are packed with.

use std::io::{self, BufRead, Read};

/// Largest window of a zstd frame as a power of two: bounds the memory a hostile layer can ask for.
const ZSTD_WINDOW: u32 = 27;

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
    Plain,
}

impl Packing {
    /// As seen from the first bytes.
    pub fn of(magic: &[u8]) -> Self {
        if magic.starts_with(&[0x1f, 0x8b]) {
            Packing::Gzip
        } else if is_zstd(magic) {
            Packing::Zstd
        } else {
            Packing::Plain
        }
    }
}

/// RFC 8878: a frame, or a skippable frame.
fn is_zstd(magic: &[u8]) -> bool {
    magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || (magic.len() >= 4 && magic[0] & 0xf0 == 0x50 && magic[1..4] == [0x2a, 0x4d, 0x18])
}

/// The archive in a packed layer.
pub(crate) fn decompress<'a>(mut packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match Packing::of(packed.fill_buf()?) {
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Packing::Plain => Box::new(packed),
    })
}
