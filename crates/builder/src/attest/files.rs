//! Files as the subjects of statements.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat2};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{BuildError, Result};

/// All regular files beneath `root`, sorted by name, each with its digest.
///
/// However deep they lie, one directory is open at a time.
pub(crate) fn files(root: BorrowedFd<'_>) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(path) = dirs.pop() {
        let dir = match path.as_os_str().is_empty() {
            true => open(root, Path::new("."), OFlags::DIRECTORY),
            false => open(root, &path, OFlags::DIRECTORY),
        };
        let dir = dir.map_err(BuildError::io("open", &path))?;
        let entries = Dir::new(dir).map_err(|e| BuildError::io("read", &path)(e.into()))?;
        for entry in entries {
            let entry = entry.map_err(|e| BuildError::io("read", &path)(e.into()))?;
            let name = entry.file_name().to_bytes();
            let here = path.join(OsStr::from_bytes(name));
            match entry.file_type() {
                _ if matches!(name, b"." | b"..") => {}
                FileType::Directory => dirs.push(here),
                FileType::RegularFile => {
                    let file = open(root, &here, OFlags::NONBLOCK);
                    let file = file.map_err(BuildError::io("open", &here))?;
                    let digest = sha256_of(file.into()).map_err(BuildError::io("read", &here))?;
                    found.push((here.to_string_lossy().into_owned(), digest));
                }
                _ => {}
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    let subjects = found.into_iter();
    Ok(subjects
        .map(|(name, sha256)| json!({"name": name, "digest": {"sha256": sha256}}))
        .collect())
}

fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | flags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(openat2(root, path, flags, Mode::empty(), resolve)?)
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
    use std::os::fd::AsFd;

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
    #[test]
    fn no_tree_is_too_deep() {
        let dir = tempfile::tempdir().unwrap();
        let deep = ["d"; 1500].join("/");
        std::fs::create_dir_all(dir.path().join(&deep)).unwrap();
        std::fs::write(dir.path().join(&deep).join("f"), "x").unwrap();
        let root = File::open(dir.path()).unwrap();
        let found = files(root.as_fd()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["name"], format!("{deep}/f"));
    }
}
