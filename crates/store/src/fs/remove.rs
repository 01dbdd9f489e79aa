//! Removal of trees that a container or image filled: any depth, any names, any modes, and never through a mount.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, RenameFlags, fchmod, renameat_with, unlinkat};
use rustix::io::Errno;

use super::{for_each_entry, open_subdir};
use crate::error::At;
use crate::{Error, Result};

/// Directories held open at once. What lies deeper is first moved up to the top of the tree.
const MAX_DEPTH: usize = 48;
/// How often a directory that fills again while it is emptied is looked at.
const MAX_SCANS: u32 = 16;

struct Level {
    fd: OwnedFd,
    name: CString,
    subdirs: Vec<CString>,
    scans: u32,
}

/// Removes the file or whole directory `name` beneath `parent`; it is fine if it is gone already.
///
/// `path` names it in errors. [`Error::Mounted`] if a file system is mounted somewhere in it: nothing of that one is touched.
pub(crate) fn remove_all(parent: impl AsFd, name: &[u8], path: &Path) -> Result<()> {
    let parent = parent.as_fd();
    let describe = |e: Errno| match e {
        Errno::XDEV | Errno::BUSY => Error::Mounted {
            path: path.to_owned(),
        },
        e => match Err::<(), _>(e).at("remove", path) {
            Err(e) => e,
            Ok(()) => unreachable!("made from an error"),
        },
    };
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(e) => return Err(describe(e)),
    }
    let top = match open_subdir(parent, name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o700), AtFlags::empty())
                .and_then(|()| open_subdir(parent, name))
        }
        other => other,
    };
    empty(top.map_err(describe)?).map_err(describe)?;
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(describe(e)),
    }
}

fn empty(top: OwnedFd) -> rustix::io::Result<()> {
    let mut moved = 0u64;
    let mut levels = vec![Level {
        subdirs: remove_files(&top)?,
        fd: top,
        name: CString::default(),
        scans: 1,
    }];
    while let Some(mut level) = levels.pop() {
        if let Some(name) = level.subdirs.pop() {
            if levels.len() >= MAX_DEPTH {
                let lifted = lift(&level.fd, &name, &levels[0].fd, &mut moved)?;
                levels[0].subdirs.extend(lifted);
                levels.push(level);
                continue;
            }
            let fd = match open_subdir(&level.fd, &name) {
                Err(Errno::ACCESS) => {
                    make_writable(&level.fd, &name)?;
                    open_subdir(&level.fd, &name)
                }
                other => other,
            };
            levels.push(level);
            match fd {
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e),
                Ok(fd) => levels.push(Level {
                    subdirs: remove_files(&fd)?,
                    fd,
                    name,
                    scans: 1,
                }),
            }
        } else if let Some(above) = levels.last() {
            match unlinkat(&above.fd, &level.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY) if level.scans < MAX_SCANS => {
                    rustix::fs::seek(&level.fd, rustix::fs::SeekFrom::Start(0))?;
                    level.subdirs = remove_files(&level.fd)?;
                    level.scans += 1;
                    levels.push(level);
                }
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// Removes the files of a directory and its empty subdirectories; gives the others.
fn remove_files(dir: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut subdirs = Vec::new();
    for_each_entry(dir, |entry| {
        let flags = if entry.is_dir {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        let mut result = unlinkat(dir, &entry.name, flags);
        if result == Err(Errno::ACCESS) {
            fchmod(dir, Mode::from_raw_mode(0o700))?;
            result = unlinkat(dir, &entry.name, flags);
        }
        match result {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) if entry.is_dir => {
                subdirs.push(entry.name);
                Ok(())
            }
            Err(e) => Err(e),
        }
    })?;
    Ok(subdirs)
}

/// Moves a directory to the top of the tree, under a name that is free there.
fn lift(
    dir: &OwnedFd,
    name: &CString,
    top: &OwnedFd,
    moved: &mut u64,
) -> rustix::io::Result<Option<CString>> {
    loop {
        *moved += 1;
        let free = CString::new(format!("deep-{moved}")).map_err(|_| Errno::INVAL)?;
        match renameat_with(dir, name, top, &free, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(Some(free)),
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e),
        }
    }
}

fn make_writable(dir: &OwnedFd, name: &CString) -> rustix::io::Result<()> {
    rustix::fs::chmodat(dir, name, Mode::from_raw_mode(0o700), AtFlags::empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use rustix::fs::{mkdirat, openat};

    #[test]
    fn removes_deep_odd_and_locked_trees() {
        let dir = tempfile::tempdir().unwrap();
        let parent = super::super::open_dir(dir.path()).unwrap();
        mkdirat(&parent, "tree", Mode::from_raw_mode(0o755)).unwrap();
        let mut at = open_subdir(&parent, "tree").unwrap();
        // 3,000 levels of 10 bytes: far beyond PATH_MAX, and beyond any limit on descriptors.
        for level in 0..3000 {
            mkdirat(&at, "directory", Mode::from_raw_mode(0o755)).unwrap();
            if level % 100 == 0 {
                let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
                openat(&at, "deep-1", flags, Mode::from_raw_mode(0)).unwrap();
            }
            at = open_subdir(&at, "directory").unwrap();
        }
        let tree = dir.path().join("tree");
        std::fs::create_dir(tree.join("locked")).unwrap();
        std::fs::write(tree.join("locked/file"), "x").unwrap();
        std::fs::set_permissions(tree.join("locked"), PermissionsExt::from_mode(0o0)).unwrap();
        std::os::unix::fs::symlink("/etc", tree.join("link")).unwrap();
        rustix::fs::mknodat(
            &parent,
            "tree/wh",
            rustix::fs::FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .unwrap();

        remove_all(&parent, b"tree", &tree).unwrap();
        assert!(!tree.exists());
        assert!(Path::new("/etc/passwd").exists());
        remove_all(&parent, b"tree", &tree).unwrap();
    }
}
