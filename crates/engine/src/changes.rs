//! `diff`: what a container changed, from the upper directory of its overlay and the layers below it.

use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::rootfs_view::{Found, Merged, RootfsView, is_opaque, look_up};
use crate::{Engine, Error, Result};

/// What there is in a container before it changes anything: made for mounts, in Docker's case in a layer of its own.
const PLACEHOLDERS: [&str; 13] = [
    "dev",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "etc",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "sys",
    "sys/fs",
    ".dockerenv",
];

/// How a path changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is another one, or something in it is.
    Modified,
    /// It was not there.
    Added,
    /// It is gone.
    Deleted,
}

impl ChangeKind {
    /// Docker's letter: `C`, `A` or `D`.
    pub fn letter(self) -> char {
        match self {
            ChangeKind::Modified => 'C',
            ChangeKind::Added => 'A',
            ChangeKind::Deleted => 'D',
        }
    }
}

/// A path that a container changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Absolute, in the container.
    pub path: PathBuf,
}

impl Engine {
    /// What a container changed in the files of its image, directories before what is in them, sorted by name.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], and whatever hinders reading.
    pub fn changes(&self, name: &str) -> Result<Vec<Change>> {
        let container = self.container(name)?;
        let upper = self.store.container_dir(&container.id)?.join("upper");
        let layers = self.layers(&container)?;
        changes_in(&upper, layers.into_iter().map(|layer| layer.path).collect())
    }
}

fn changes_in(upper: &Path, layers: Vec<PathBuf>) -> Result<Vec<Change>> {
    let failed = |e: Errno| Error::file("compare", upper)(e.into());
    let lower = RootfsView::new(None, layers).root().map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(upper, flags, Mode::empty()).map_err(failed)?;
    let mut walk = Walk {
        changes: Vec::new(),
        path: Vec::new(),
    };
    walk.directory(&root, Some(&lower)).map_err(failed)?;
    Ok(walk.changes)
}

/// Whether what is at a path of an upper directory, relative to it, was only made for mounts: it, or what is in it, is a
/// place for one that its layers do not have.
pub(crate) fn made_for_mounts(upper: &Path, layers: &RootfsView, path: &[u8]) -> bool {
    let look = || -> Walked<bool> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir = rustix::fs::open(upper, flags, Mode::empty())?;
        let mut lower = Some(layers.root()?);
        let mut above = path.split(|&byte| byte == b'/');
        let name = above.next_back().unwrap_or_default();
        for name in above {
            let found = lower.map(|lower| look_up(&lower, OsStr::from_bytes(name)));
            lower = match found.transpose()?.flatten() {
                Some(Found::Directory(merged)) => Some(merged),
                _ => None,
            };
            dir = openat(&dir, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        }
        is_place(&dir, name, lower.as_ref(), path)
    };
    is_placeholder(path) && look().unwrap_or(false)
}

fn is_placeholder(path: &[u8]) -> bool {
    PLACEHOLDERS.iter().any(|known| known.as_bytes() == path)
}

fn is_place(upper: &OwnedFd, name: &[u8], lower: Option<&Merged>, path: &[u8]) -> Walked<bool> {
    if !is_placeholder(path) {
        return Ok(false);
    }
    let stat = statat(upper, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let below = lower.map(|lower| look_up(lower, OsStr::from_bytes(name)));
    let below = match below.transpose()?.flatten() {
        None => None,
        Some(Found::Directory(merged)) if !differs(&fstat(&merged[0])?, &stat) => Some(merged),
        Some(_) => return Ok(false),
    };
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Ok(true);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(upper, name, flags, Mode::empty())?;
    if let Some(below) = &below
        && (is_opaque(&dir) || attributes(&dir)? != attributes(&below[0])?)
    {
        return Ok(false);
    }
    for name in sorted_names(&dir)? {
        let path = [path, name.to_bytes()].join(&b'/');
        if !is_place(&dir, name.to_bytes(), below.as_ref(), &path)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Extended attributes but the overlay's own, and labels: a container's own differ from those of layers.
fn attributes(dir: &OwnedFd) -> Walked<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::flistxattr(dir, &mut names)?;
    let names = names[..length].split(|&byte| byte == 0);
    let of_host = |name: &[u8]| {
        name.starts_with(b"trusted.overlay.")
            || name.starts_with(b"user.overlay.")
            || name == b"security.selinux"
    };
    let mut found = Vec::new();
    for name in names.filter(|name| !name.is_empty() && !of_host(name)) {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::fgetxattr(dir, name, &mut value)?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

struct Walk {
    changes: Vec<Change>,
    /// Relative to the root.
    path: Vec<u8>,
}

type Walked<T = ()> = std::result::Result<T, Errno>;

impl Walk {
    fn directory(&mut self, upper: &OwnedFd, lower: Option<&Merged>) -> Walked {
        let names = sorted_names(upper)?;
        for name in &names {
            self.inside(name, |walk| walk.entry(upper, name, lower))?;
        }
        let Some(lower) = lower.filter(|_| is_opaque(upper)) else {
            return Ok(());
        };
        // Nothing of below shows through.
        for name in merged_names(lower)? {
            let os_name = OsStr::from_bytes(name.to_bytes());
            if names.binary_search(&name).is_err() && look_up(lower, os_name)?.is_some() {
                self.inside(&name, |walk| {
                    walk.tell(ChangeKind::Deleted);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, upper: &OwnedFd, name: &CString, lower: Option<&Merged>) -> Walked {
        let stat = match statat(upper, name, AtFlags::SYMLINK_NOFOLLOW) {
            // A running container removes things.
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        let below = match lower {
            Some(lower) => look_up(lower, OsStr::from_bytes(name.to_bytes()))?,
            None => None,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            if below.is_some() {
                self.tell(ChangeKind::Deleted);
            }
            return Ok(());
        }
        let known = match &below {
            Some(found) => Some(stat_of(found, lower, name)?),
            None => None,
        };
        let at = self.changes.len();
        let told = match known {
            None if is_placeholder(&self.path) => false,
            None => {
                self.tell(ChangeKind::Added);
                true
            }
            Some(known) if differs(&known, &stat) => {
                self.tell(ChangeKind::Modified);
                true
            }
            Some(_) => false,
        };
        if kind != FileType::Directory {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match openat(upper, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            other => other?,
        };
        let merged = match &below {
            Some(Found::Directory(merged)) => Some(merged),
            _ => None,
        };
        self.directory(&dir, merged)?;
        if !told && self.changes.len() > at {
            let change = self.change(ChangeKind::Modified);
            self.changes.insert(at, change);
        }
        Ok(())
    }

    fn inside(&mut self, name: &CString, work: impl FnOnce(&mut Self) -> Walked) -> Walked {
        let length = self.path.len();
        if length > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.to_bytes());
        let done = work(self);
        self.path.truncate(length);
        done
    }

    fn tell(&mut self, kind: ChangeKind) {
        let change = self.change(kind);
        self.changes.push(change);
    }

    fn change(&self, kind: ChangeKind) -> Change {
        Change {
            kind,
            path: Path::new("/").join(OsStr::from_bytes(&self.path)),
        }
    }
}

fn stat_of(found: &Found, lower: Option<&Merged>, name: &CString) -> Walked<Stat> {
    match found {
        Found::Directory(merged) => fstat(&merged[0]),
        Found::Other(_, _, _, stat) => Ok(*stat),
        Found::Link(_) => {
            let dirs = lower.map(|lower| lower.iter()).into_iter().flatten();
            let mut stats = dirs.map(|dir| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW));
            let topmost = stats.find(|stat| !matches!(stat, Err(Errno::NOENT)));
            topmost.unwrap_or(Err(Errno::NOENT))
        }
    }
}

/// As Docker: what a directory has beside mode and owner says nothing.
fn differs(old: &Stat, new: &Stat) -> bool {
    let directory = FileType::from_raw_mode(new.st_mode).is_dir();
    let attributes = |s: &Stat| (s.st_mode, s.st_uid, s.st_gid, s.st_rdev);
    // A layer keeps whole seconds of times: then the fraction says nothing.
    let same_time = (old.st_mtime, old.st_mtime_nsec) == (new.st_mtime, new.st_mtime_nsec)
        || (old.st_mtime == new.st_mtime && (old.st_mtime_nsec == 0 || new.st_mtime_nsec == 0));
    attributes(old) != attributes(new) || (!directory && (!same_time || old.st_size != new.st_size))
}

fn sorted_names(dir: &OwnedFd) -> Walked<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn merged_names(lower: &Merged) -> Walked<Vec<CString>> {
    let mut names = Vec::new();
    for dir in lower.iter() {
        names.extend(sorted_names(dir)?);
    }
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, mknodat};

    use super::*;

    #[test]
    fn changes_are_docker_s() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (top, base, upper) = (path("top"), path("base"), path("upper"));
        for name in [
            "base/etc",
            "base/bin",
            "base/opt/old/deep",
            "base/same",
            "top/etc",
            "upper",
        ] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in [
            "base/etc/passwd",
            "base/etc/group",
            "base/bin/ls",
            "base/bin/cat",
            "base/opt/old/f",
            "base/same/f",
            "top/etc/group",
        ] {
            fs::write(path(name), name).unwrap();
        }
        symlink("ls", path("base/bin/link")).unwrap();
        fs::create_dir(path("base/kind")).unwrap();
        fs::write(path("base/kind/f"), "").unwrap();
        // What the container did: some of it changes nothing in the end.
        let whiteout = |name: &str| {
            mknodat(CWD, path(name), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        };
        for name in [
            "upper/etc",
            "upper/bin",
            "upper/opt/old",
            "upper/new/dir",
            "upper/same",
            "upper/dev",
            "upper/proc",
        ] {
            fs::create_dir_all(path(name)).unwrap();
        }
        fs::write(path("upper/etc/passwd"), "another").unwrap();
        fs::write(path("upper/etc/hosts"), "").unwrap();
        fs::write(path("upper/new/dir/f"), "").unwrap();
        fs::write(path("upper/kind"), "").unwrap();
        fs::write(path("upper/opt/old/g"), "").unwrap();
        whiteout("upper/bin/cat");
        whiteout("upper/bin/never");
        symlink("other", path("upper/bin/link")).unwrap();
        rustix::fs::setxattr(
            path("upper/opt/old"),
            c"trusted.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        let found = changes_in(&upper, vec![top, base]).unwrap();
        let found: Vec<String> = found
            .iter()
            .map(|change| format!("{} {}", change.kind.letter(), change.path.display()))
            .collect();
        assert_eq!(
            found,
            [
                "C /bin",
                "D /bin/cat",
                "C /bin/link",
                "C /etc",
                "C /etc/passwd",
                "C /kind",
                "A /new",
                "A /new/dir",
                "A /new/dir/f",
                "C /opt",
                "C /opt/old",
                "A /opt/old/g",
                "D /opt/old/deep",
                "D /opt/old/f",
            ]
        );
    }
}
