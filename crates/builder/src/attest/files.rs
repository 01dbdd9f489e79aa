//! Files as the subjects of statements.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{BuildError, Result};

/// All regular files beneath `root`, sorted by name, each with its digest.
pub(crate) fn files(root: BorrowedFd<'_>) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    // The descriptor may be one that only leads there.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(root, ".", flags, Mode::empty());
    let root = opened.map_err(|e| BuildError::io("open", Path::new("/"))(e.into()))?;
    walk(root.as_fd(), "", &mut found)?;
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    let subjects = found.into_iter();
    Ok(subjects
        .map(|(name, sha256)| json!({"name": name, "digest": {"sha256": sha256}}))
        .collect())
}

fn walk(dir: BorrowedFd<'_>, path: &str, found: &mut Vec<(String, String)>) -> Result<()> {
    let at = |action, path: &str, e: io::Error| BuildError::io(action, Path::new(path))(e);
    let entries = Dir::read_from(dir).map_err(|e| at("read", path, e.into()))?;
    for entry in entries {
        let entry = entry.map_err(|e| at("read", path, e.into()))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let here = match path {
            "" => name.to_string_lossy().into_owned(),
            path => format!("{path}/{}", name.to_string_lossy()),
        };
        let more = match entry.file_type() {
            FileType::Directory => OFlags::DIRECTORY,
            FileType::RegularFile => OFlags::NONBLOCK,
            _ => continue,
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        let opened = openat(dir, name, flags, Mode::empty());
        let opened = opened.map_err(|e| at("open", &here, e.into()))?;
        if more == OFlags::DIRECTORY {
            walk(opened.as_fd(), &here, found)?;
        } else {
            let digest = sha256_of(File::from(opened)).map_err(|e| at("read", &here, e))?;
            found.push((here, digest));
        }
    }
    Ok(())
}

fn sha256_of(mut file: File) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            got => hash.update(&buffer[..got]),
        }
    }
    let digest = hash.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_subject() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("b/c")).unwrap();
        std::fs::write(dir.path().join("b/c/f"), "x").unwrap();
        std::fs::write(dir.path().join("a"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let root = File::open(dir.path()).unwrap();
        let found = files(root.as_fd()).unwrap();
        let names: Vec<_> = found.iter().map(|subject| &subject["name"]).collect();
        assert_eq!(names, ["a", "b/c/f"]);
        let digest = rctr_store::sha256(b"x");
        assert_eq!(found[1]["digest"]["sha256"], digest.digest());
    }
}
