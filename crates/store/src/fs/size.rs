use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;

use super::{for_each_entry, open_subdir};

/// Levels that are measured; what lies deeper counts nothing.
const MAX_DEPTH: usize = 200;

/// The sum of the sizes of the regular files and links in a tree, hard links counted once.
///
/// The tree may change meanwhile; what cannot be read counts nothing.
pub(crate) fn tree_size(dir: impl AsFd) -> rustix::io::Result<u64> {
    let mut seen = HashSet::new();
    let mut size = 0;
    let top = open_subdir(dir, ".")?;
    let mut levels: Vec<(OwnedFd, Vec<std::ffi::CString>)> = Vec::new();
    let subdirs = measure(&top, &mut seen, &mut size)?;
    levels.push((top, subdirs));
    while let Some((fd, mut subdirs)) = levels.pop() {
        let Some(name) = subdirs.pop() else { continue };
        let opened = open_subdir(&fd, &name);
        levels.push((fd, subdirs));
        match opened {
            Ok(sub) if levels.len() < MAX_DEPTH => {
                let subdirs = measure(&sub, &mut seen, &mut size)?;
                levels.push((sub, subdirs));
            }
            Ok(_) | Err(Errno::NOENT | Errno::ACCESS | Errno::XDEV) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(size)
}

fn measure(
    dir: &OwnedFd,
    seen: &mut HashSet<(u64, u64)>,
    size: &mut u64,
) -> rustix::io::Result<Vec<std::ffi::CString>> {
    let mut subdirs = Vec::new();
    for_each_entry(dir, |entry| {
        if entry.is_dir {
            subdirs.push(entry.name);
            return Ok(());
        }
        match statat(dir, &entry.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                let first = stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino));
                if first && matches!(kind, FileType::RegularFile | FileType::Symlink) {
                    *size = size.saturating_add(stat.st_size.unsigned_abs());
                }
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e),
        }
    })?;
    Ok(subdirs)
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_hard_links_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/one"), [0; 1000]).unwrap();
        std::fs::hard_link(dir.path().join("a/one"), dir.path().join("two")).unwrap();
        std::os::unix::fs::symlink("1234", dir.path().join("link")).unwrap();
        let fd = super::super::open_dir(dir.path()).unwrap();
        assert_eq!(super::tree_size(&fd).unwrap(), 1004);
    }
}
