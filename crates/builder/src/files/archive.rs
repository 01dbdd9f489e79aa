//! Archives, known by their content.

use std::io::{self, BufRead, BufReader, Read};

/// As much of a file as tells whether it is an archive.
const BLOCK: usize = 512;
const BUFFER: usize = 128 << 10;
/// Memory an xz stream may ask for, in KiB: `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// The uncompressed bytes of a tar archive: plain, or packed by gzip, bzip2, xz or zstd. `None` for anything else,
/// also for something packed that is no tar archive, and for an archive of nothing.
pub(crate) fn open<'a>(file: impl Read + 'a) -> io::Result<Option<Box<dyn Read + 'a>>> {
    let buffered: Box<dyn BufRead + 'a> = Box::new(BufReader::with_capacity(BUFFER, file));
    let Some(mut reader) = decompress(buffered)? else {
        return Ok(None);
    };
    let mut head = Vec::with_capacity(BLOCK);
    // What cannot be unpacked is no archive, whatever it begins with.
    let read = reader.by_ref().take(BLOCK as u64).read_to_end(&mut head);
    Ok(match read.is_ok() && is_tar_header(&head) {
        true => Some(Box::new(io::Cursor::new(head).chain(reader))),
        false => None,
    })
}

/// Whether a stream that begins so is an archive or at least packed.
pub(crate) fn is_archive(head: &[u8]) -> bool {
    !matches!(packing(head), Packing::None) || head.get(..BLOCK).is_some_and(is_tar_header)
}

enum Packing {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

fn packing(head: &[u8]) -> Packing {
    match head {
        [0x1f, 0x8b, 8, ..] => Packing::Gzip,
        [b'B', b'Z', b'h', ..] => Packing::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        // A skippable frame comes first.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
        _ => Packing::None,
    }
}

fn decompress<'a>(mut packed: Box<dyn BufRead + 'a>) -> io::Result<Option<Box<dyn Read + 'a>>> {
    let head = packed.fill_buf()?;
    if head.is_empty() {
        return Ok(None);
    }
    Ok(Some(match packing(head) {
        Packing::None => Box::new(packed),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
        Packing::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
    }))
}

/// Whether a block has the checksum of a tar header.
fn is_tar_header(block: &[u8]) -> bool {
    if block.len() != BLOCK || block.iter().all(|&b| b == 0) {
        return false;
    }
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    let blank = |i: usize| (148..156).contains(&i);
    let sum: u32 = (0..BLOCK)
        .map(|i| u32::from(if blank(i) { b' ' } else { block[i] }))
        .sum();
    header.cksum().is_ok_and(|expected| expected == sum)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// An archive of one file.
    pub fn sample() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        builder
            .append_data(&mut header, "dir/file", &b"hello"[..])
            .unwrap();
        builder.into_inner().unwrap()
    }

    /// What a program makes of bytes.
    pub fn pipe(program: &str, data: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program)
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(data).unwrap();
        child.wait_with_output().unwrap().stdout
    }

    #[test]
    fn archives_are_known_by_content() {
        let tar = sample();
        for packed in [
            tar.clone(),
            pipe("gzip", &tar),
            pipe("bzip2", &tar),
            pipe("xz", &tar),
            pipe("zstd", &tar),
        ] {
            assert!(is_archive(&packed));
            let mut reader = open(io::Cursor::new(packed)).unwrap().unwrap();
            let mut unpacked = Vec::new();
            reader.read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, tar);
        }
    }

    #[test]
    fn what_is_no_archive_is_left_alone() {
        let text = b"FROM scratch\n".repeat(100);
        for data in [
            Vec::new(),
            text.clone(),
            vec![0; 1024],
            pipe("gzip", &text),
            pipe("xz", b""),
            b"\x1f\x8b\x08 but no gzip".to_vec(),
            b"BZh".to_vec(),
            sample()[..511].to_vec(),
        ] {
            assert!(open(io::Cursor::new(data)).unwrap().is_none());
        }
        assert!(!is_archive(&text));
        assert!(!is_archive(b""));
    }
}
