//! Archives that cannot be read here and there, as they are packed or come through a pipe, unpacked to where they can.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::Path;

use crate::{Error, Result};

const BUFFER: usize = 256 << 10;
/// Memory an xz stream may ask for, in KiB: `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 256 << 10;
/// After how many bytes it is asked again whether there is room for more.
const STEP: usize = 16 << 20;

/// The plain bytes of a file; `None` if it can be used as it is.
pub(super) fn open(file: File, regular: bool) -> io::Result<Option<Box<dyn Read>>> {
    let mut packed = BufReader::with_capacity(BUFFER, file);
    if regular {
        packed.rewind()?;
    }
    Ok(Some(match packed.fill_buf()? {
        [0x1f, 0x8b, 8, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(zstd::stream::read::Decoder::with_buffer(packed)?)
        }
        _ if regular => return Ok(None),
        _ => Box::new(packed),
    }))
}

/// Puts a stream into a file without a name in `temp`, as long as there is `room`.
pub(super) fn unpack(
    mut stream: impl Read,
    path: &Path,
    temp: &Path,
    room: &dyn Fn() -> Result<()>,
) -> Result<File> {
    let mut file = tempfile::tempfile_in(temp).map_err(Error::file("create a file in", temp))?;
    let mut buffer = vec![0; BUFFER];
    let mut since = STEP;
    loop {
        if since >= STEP {
            room()?;
            since = 0;
        }
        let got = match stream.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(Error::file("unpack", path))?,
        };
        if got == 0 {
            return Ok(file);
        }
        let written = file.write_all(&buffer[..got]);
        written.map_err(Error::file("unpack", path))?;
        since += got;
    }
}
