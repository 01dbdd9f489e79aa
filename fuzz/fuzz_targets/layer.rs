//! Layers: whatever an archive says, nothing outside of its directory is touched, and what it made can be packed and
//! unpacked again as the same.
//!
//! An input is a layer as a registry serves it; its checksums are made right first, as nobody guesses them. One that
//! begins with `#` is a list of members in words, see [`archive_of`]. It needs root; $TMPDIR is best on a tmpfs.
#![no_main]
#![allow(dead_code, unused_imports)] // Of what is included only a part is called.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

#[path = "../../crates/store/src/archive/mod.rs"]
mod archive;
#[path = "../../crates/store/src/layer/decompress.rs"]
mod decompress;
#[path = "../../crates/store/src/digest.rs"]
mod digest;
#[path = "../../crates/store/src/error.rs"]
mod error;
#[path = "../../crates/store/src/fs/mod.rs"]
mod fs;
#[path = "../../crates/store/src/untar/mod.rs"]
mod untar;

use decompress::Packing;
use error::{ArchiveProblem, Error, MemberProblem, Result};
use untar::UntarError;

/// A word of the errors; nothing is compressed here.
use std::convert::Infallible as Compression;

const BLOCK: usize = 512;
/// Bytes of an archive that are looked at.
const MOST: u64 = 16 << 20;
/// Trees of up to so many bytes are packed again.
const SMALL: u64 = 4 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut layer = match data.strip_prefix(b"#") {
        Some(words) => archive_of(words),
        None => data.to_vec(),
    };
    if Packing::of(&layer) == Packing::Plain {
        correct_checksums(&mut layer);
    }
    let place = Place::new();
    let dir = place.dir("layer");
    let unpacked = unpack(&layer, &dir);
    place.check();
    if unpacked.is_ok_and(|unpacked| unpacked.size <= SMALL)
        && let Some(packed) = pack(&dir)
    {
        let again = place.dir("again");
        match unpack(&packed, &again) {
            Ok(_) => assert!(pack(&again).is_some_and(|again| again == packed)),
            Err(UntarError::Member { problem, .. }) if problem == MemberProblem::NameTooLong => {}
            Err(e) => panic!("{e:?}"),
        }
    }
    place.remove();
});

fn unpack(layer: &[u8], dir: &OwnedFd) -> Result<untar::Unpacked, UntarError> {
    let plain = decompress::decompress(layer).map_err(UntarError::Read)?;
    let dir = dir.try_clone().expect("a descriptor");
    untar::untar(BufReader::new(plain.take(MOST)), dir)
}

/// The archive of a directory; `None` if no archive can hold it.
fn pack(dir: &OwnedFd) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let packed = archive::archive(dir.as_fd(), true, None, &mut archive::WriteSink(&mut bytes));
    match packed.map_err(|e| e.beneath(Path::new(""))) {
        Ok(_) => Some(bytes),
        Err(Error::NotArchivable { .. }) => None,
        Err(e) => panic!("{e:?}"),
    }
}

/// A directory with the layer in it, and beside it what must stay as it is.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let place = Self(std::env::temp_dir().join(format!("rctr-fuzz-{}", std::process::id())));
        place.remove();
        std::fs::create_dir(&place.0).expect("a new directory");
        let mut bait = std::fs::OpenOptions::new();
        // The mode whatever the umask: unpacking sets it to none.
        let bait = bait
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(place.0.join("bait"));
        bait.and_then(|mut bait| bait.write_all(b"untouched"))
            .expect("a new file");
        place
    }

    fn dir(&self, name: &str) -> OwnedFd {
        fs::make_dirs(&self.0.join(name), 0o755).expect("a new directory");
        fs::open_dir(&self.0.join(name)).expect("it opens")
    }

    /// Nothing but the layer has changed, and nothing in the layer is from elsewhere.
    fn check(&self) {
        let mut names: Vec<_> = std::fs::read_dir(&self.0)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["bait", "layer"]);
        let bait = self.0.join("bait");
        let stat = std::fs::metadata(&bait).expect("it is there");
        assert_eq!((stat.nlink(), stat.mode(), stat.uid()), (1, 0o100_600, 0));
        assert_eq!(std::fs::read(&bait).expect("a file"), b"untouched");
        let mut names_of = HashMap::new();
        if count_names(&self.0.join("layer"), stat.dev(), &mut names_of) {
            for (inode, (found, wanted)) in names_of {
                assert_eq!(found, wanted, "names of inode {inode}");
            }
        }
    }

    fn remove(&self) {
        let parent = fs::open_dir(&std::env::temp_dir()).expect("it opens");
        let name = self.0.file_name().unwrap_or_default();
        fs::remove_all(parent, name.as_encoded_bytes(), &self.0).expect("it can be removed");
    }
}

/// How many names each file has in the tree, and how many it should have; false if a path is too long for this.
fn count_names(dir: &Path, device: u64, found: &mut HashMap<u64, (u64, u64)>) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return false;
    };
    entries.flatten().all(|entry| {
        let Ok(stat) = std::fs::symlink_metadata(entry.path()) else {
            return false;
        };
        assert_eq!(stat.dev(), device);
        if stat.is_dir() {
            return count_names(&entry.path(), device, found);
        }
        let names = found.entry(stat.ino()).or_insert((0, stat.nlink()));
        names.0 += 1;
        true
    })
}

fn correct_checksums(archive: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = archive.get_mut(at..).and_then(|rest| rest.get_mut(..BLOCK)) {
        if header.iter().all(|&b| b == 0) {
            return;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        at += BLOCK;
        if matches!(
            header[156],
            b'0' | 0 | b'7' | b'S' | b'x' | b'g' | b'L' | b'K'
        ) {
            let digits = std::str::from_utf8(&header[124..136]).unwrap_or_default();
            let digits = digits.trim_matches([' ', '\0']);
            let size = usize::from_str_radix(digits, 8)
                .unwrap_or(0)
                .min(archive.len());
            at += size.next_multiple_of(BLOCK);
        }
    }
}

/// A member a line: its type as in the archive, a letter for mode, owner and device, and `NAME LINK DATA`; the record
/// of an extended header (`xaSCHILY.xattr.user.a=b`), or a long name (`Laname`), stands alone.
fn archive_of(words: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    for line in words.split(|&b| b == b'\n') {
        let [kind, letter, rest @ ..] = line else {
            continue;
        };
        let mut fields = rest.splitn(3, |&b| b == b' ');
        let mut field = || fields.next().unwrap_or_default();
        let (name, link, data) = match kind {
            b'x' => (&b""[..], &b""[..], record(rest)),
            b'L' | b'K' => (&b""[..], &b""[..], rest.to_vec()),
            b'0' | b'7' => (field(), field(), field().to_vec()),
            _ => (field(), field(), Vec::new()),
        };
        append(&mut archive, (*kind, *letter), name, link, &data);
    }
    archive
}

/// `LENGTH KEY=VALUE\n`, the length being that of all of it.
fn record(text: &[u8]) -> Vec<u8> {
    let length = (text.len() + 3..).find(|n| n.to_string().len() + text.len() + 2 == *n);
    let mut record = length.unwrap_or_default().to_string().into_bytes();
    record.push(b' ');
    record.extend_from_slice(text);
    record.push(b'\n');
    record
}

fn append(archive: &mut Vec<u8>, (kind, letter): (u8, u8), name: &[u8], link: &[u8], data: &[u8]) {
    let number = u32::from(letter) - if letter >= b'a' { 97 } else { 0 };
    let mode = [0o644, 0o755, 0o6755, 0, 0o1777, 0o2770][number as usize % 6];
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8], most: usize| {
        let length = text.len().min(most);
        block[at..at + length].copy_from_slice(&text[..length]);
    };
    put(0, name, 100);
    put(157, link, 100);
    put(156, &[kind], 1);
    put(257, b"ustar\x0000", 8);
    for (at, number) in [
        (100, mode),
        (108, number / 6),
        (116, number / 3),
        (124, data.len() as u32),
        (136, number),
        (329, number % 3),
        (337, number % 4),
    ] {
        put(at, format!("{number:07o}").as_bytes(), 7);
    }
    archive.extend_from_slice(&block);
    // Writing to memory cannot fail.
    let _ = archive.write_all(data);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}
