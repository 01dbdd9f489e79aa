//! What mounting leaves in a step's files: empty files and directories where something was mounted, and directories
//! above them that are in the layer only for their sake.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::{BuildError, Result};

/// Removes them from `upper`. `lower` are the layers below, top first; `targets` absolute paths.
///
/// Nobody can remove or change what is mounted on, nor the directories above it: what no layer has of them was made
/// for the mount.
pub(super) fn remove(upper: &Path, lower: &[PathBuf], targets: &[String]) -> Result<()> {
    let root = open_root(upper)?;
    let layers = lower
        .iter()
        .map(|p| open_root(p))
        .collect::<Result<Vec<_>>>()?;
    // The deepest first: one may be in a directory made for another.
    let mut targets: Vec<&str> = targets.iter().map(|t| t.trim_matches('/')).collect();
    targets.sort_by_key(|target| std::cmp::Reverse(target.split('/').count()));
    for target in targets {
        remove_one(&root, &layers, target)
            .map_err(|e| BuildError::io("clean up", upper)(e.into()))?;
    }
    Ok(())
}

fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|e| BuildError::io("open", path)(e.into()))
}

fn remove_one(root: &OwnedFd, layers: &[OwnedFd], target: &str) -> Result<(), Errno> {
    let mut path = target;
    loop {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || matches!(name, "." | "..") {
            return Ok(());
        }
        let Some(dir) = open(root, parent)? else {
            return Ok(());
        };
        let Some(stat) = stat(&dir, name)? else {
            return Ok(());
        };
        let below = find(layers, path)?;
        let flags = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if below.is_none() => AtFlags::REMOVEDIR,
            FileType::Directory if below.as_ref().is_some_and(|b| same(b, &stat)) => {
                AtFlags::REMOVEDIR
            }
            FileType::RegularFile if below.is_none() && stat.st_size == 0 => AtFlags::empty(),
            _ => return Ok(()),
        };
        match rustix::fs::unlinkat(&dir, name, flags) {
            Ok(()) => {}
            // There is something in it that is to stay.
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            Err(e) => return Err(e),
        }
        path = parent;
    }
}

/// A copied-up directory that is still what it was, but for its times.
fn same(below: &Stat, now: &Stat) -> bool {
    (below.st_mode, below.st_uid, below.st_gid) == (now.st_mode, now.st_uid, now.st_gid)
}

/// What the layers have at a path, if anything.
fn find(layers: &[OwnedFd], path: &str) -> Result<Option<Stat>, Errno> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    for layer in layers {
        let Some(dir) = open(layer, parent)? else {
            continue;
        };
        let Some(stat) = stat(&dir, name)? else {
            continue;
        };
        let whiteout =
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0;
        return Ok((!whiteout).then_some(stat));
    }
    Ok(None)
}

fn open(root: &OwnedFd, path: &str) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let path = if path.is_empty() { "." } else { path };
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(e) => Err(e),
    }
}

fn stat(dir: &OwnedFd, name: &str) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_what_mounting_made_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (upper, lower) = (dir.path().join("upper"), dir.path().join("lower"));
        for path in [
            "upper/etc",
            "upper/run/secrets",
            "upper/new/deep",
            "upper/kept/target",
            "lower/etc",
        ] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(upper.join("etc/hosts"), "").unwrap();
        fs::write(upper.join("run/secrets/key"), "").unwrap();
        fs::write(upper.join("kept/mine"), "mine").unwrap();
        let targets = [
            "/etc/hosts",
            "/etc/resolv.conf",
            "/run/secrets/key",
            "/new/deep",
            "/kept/target",
        ];
        remove(&upper, &[lower], &targets.map(str::to_owned)).unwrap();
        assert!(
            !upper.join("etc").exists(),
            "etc was copied up for hosts alone"
        );
        assert!(!upper.join("run/secrets/key").exists());
        assert!(!upper.join("run").exists());
        assert!(upper.join("kept/mine").exists());
        assert!(!upper.join("kept/target").exists());
    }
}
