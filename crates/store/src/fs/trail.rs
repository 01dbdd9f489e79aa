//! Paths within a root that others change meanwhile: every step is one name, opened relative to a descriptor and never
//! followed by the kernel.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::{Errno, Result};

/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

const PIN: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory within a root, pinned together with all directories on the way to it: whatever is renamed or replaced
/// afterwards, this stays what was found, and `..` leads back along the way and never out of the root.
#[derive(Debug, Clone)]
pub struct Trail {
    /// The root first.
    dirs: Vec<Arc<OwnedFd>>,
    /// Of all but the root.
    names: Vec<OsString>,
}

/// What a path leads to.
#[derive(Debug)]
pub enum Found {
    /// A directory.
    Directory(Trail),
    /// Something else, and the directory it is in.
    Other {
        /// Where it is.
        parent: Trail,
        /// What it is called there.
        name: OsString,
        /// Its status; of a symbolic link itself.
        stat: Box<Stat>,
    },
    /// Nothing, but it could be made.
    Missing {
        /// Where it would be.
        parent: Trail,
        /// What it would be called there.
        name: OsString,
    },
}

/// What is done about symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Followed within the root, the last one too.
    Follow,
    /// Followed within the root, but for the last one unless a slash stands behind it.
    KeepLast,
    /// Refused (`ELOOP`), but for the last one, which is kept.
    Refuse,
}

impl Trail {
    /// The root itself; a descriptor of a directory.
    pub fn root(fd: OwnedFd) -> Trail {
        Trail {
            dirs: vec![Arc::new(fd)],
            names: Vec::new(),
        }
    }

    /// Its path within the root.
    pub fn path(&self) -> PathBuf {
        Path::new("/").join(self.names.iter().collect::<PathBuf>())
    }

    /// Its own name; none for the root.
    pub fn name(&self) -> Option<&OsStr> {
        self.names.last().map(OsString::as_os_str)
    }

    /// The directory it was found in; the root's is the root.
    pub fn parent(&self) -> Trail {
        let mut parent = self.clone();
        parent.up();
        parent
    }

    /// The same as its own root: `..` and links lead nowhere above.
    pub fn as_root(&self) -> Trail {
        Trail {
            dirs: self.dirs.last().cloned().into_iter().collect(),
            names: Vec::new(),
        }
    }

    /// Opens it for reading its entries.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(self, ".", flags, Mode::empty())
    }

    /// Goes along a path from here; from the root if it is absolute.
    ///
    /// # Errors
    /// `NOENT` or `NOTDIR` if anything but the last name is missing or no directory, `LOOP`, and what the kernel says.
    pub fn find(&self, path: impl AsRef<OsStr>, links: Links) -> Result<Found> {
        let path = path.as_ref();
        let mut at = self.clone();
        if path.as_bytes().starts_with(b"/") {
            at.restart();
        }
        let mut todo = steps(path);
        let mut directory = wants_directory(path);
        let mut followed = 0;
        while let Some(step) = todo.pop_front() {
            if step == ".." {
                at.up();
                continue;
            }
            let last = todo.is_empty();
            let pinned = match openat(&at, &step, PIN, Mode::empty()) {
                Err(Errno::NOENT) if last && !directory => {
                    return Ok(Found::Missing {
                        parent: at,
                        name: step,
                    });
                }
                other => other?,
            };
            let stat = fstat(&pinned)?;
            let keep = links != Links::Follow && last && !directory;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => at.enter(pinned, step),
                FileType::Symlink if !keep => {
                    followed += 1;
                    if links == Links::Refuse || followed > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = readlinkat(&pinned, "", Vec::new())?;
                    let target = OsString::from_vec(target.into_bytes());
                    if target.is_empty() {
                        return Err(Errno::NOENT);
                    }
                    if target.as_bytes().starts_with(b"/") {
                        at.restart();
                    }
                    directory |= last && wants_directory(&target);
                    for step in steps(&target).into_iter().rev() {
                        todo.push_front(step);
                    }
                }
                _ if last && !directory => {
                    return Ok(Found::Other {
                        parent: at,
                        name: step,
                        stat: Box::new(stat),
                    });
                }
                _ => return Err(Errno::NOTDIR),
            }
        }
        Ok(Found::Directory(at))
    }

    fn restart(&mut self) {
        self.dirs.truncate(1);
        self.names.clear();
    }

    fn up(&mut self) {
        if self.names.pop().is_some() {
            self.dirs.pop();
        }
    }

    pub(crate) fn enter(&mut self, dir: OwnedFd, name: OsString) {
        self.dirs.push(Arc::new(dir));
        self.names.push(name);
    }
}

impl AsFd for Trail {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // There is always the root.
        self.dirs[self.dirs.len() - 1].as_fd()
    }
}

/// The names of a path, in order; `..` is kept, it depends on links.
fn steps(path: &OsStr) -> VecDeque<OsString> {
    let steps = path.as_bytes().split(|&b| b == b'/');
    let steps = steps.filter(|step| !step.is_empty() && *step != b".");
    steps
        .map(|step| OsStr::from_bytes(step).to_owned())
        .collect()
}

/// Whether the last name of a path must be a directory's.
fn wants_directory(path: &OsStr) -> bool {
    let path = path.as_bytes();
    path.ends_with(b"/") || path.ends_with(b"/.") || path == b"."
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn at(dir: &Path) -> Trail {
        Trail::root(fs::File::open(dir).unwrap().into())
    }

    fn place(found: Result<Found>) -> String {
        match found {
            Ok(Found::Directory(trail)) => format!("dir {}", trail.path().display()),
            Ok(Found::Other { parent, name, .. }) => {
                format!("other {}", parent.path().join(name).display())
            }
            Ok(Found::Missing { parent, name }) => {
                format!("missing {}", parent.path().join(name).display())
            }
            Err(e) => format!("{e:?}"),
        }
    }

    #[test]
    fn links_lead_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/f"), "").unwrap();
        symlink("/a", root.join("abs")).unwrap();
        symlink("../../../../a", root.join("a/up")).unwrap();
        symlink("/etc/passwd", root.join("out")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let root = at(root);
        for (path, links, expected) in [
            ("/", Links::Follow, "dir /"),
            ("/../..", Links::Follow, "dir /"),
            ("abs/b", Links::Follow, "dir /a/b"),
            ("abs", Links::KeepLast, "other /abs"),
            ("abs/", Links::KeepLast, "dir /a"),
            ("abs/.", Links::KeepLast, "dir /a"),
            ("/a/up/f", Links::Follow, "other /a/f"),
            ("a/b/../f", Links::Refuse, "other /a/f"),
            (
                "abs/f",
                Links::Refuse,
                "Os { code: 40, kind: FilesystemLoop, message: \"Too many levels of symbolic links\" }",
            ),
            ("abs", Links::Refuse, "other /abs"),
            ("dangling", Links::Follow, "missing /nowhere"),
            ("a/new", Links::Follow, "missing /a/new"),
        ] {
            assert_eq!(place(root.find(path, links)), expected, "{path} {links:?}");
        }
        for (path, errno) in [
            ("out", Errno::NOENT),
            ("a/f/x", Errno::NOTDIR),
            ("a/f/", Errno::NOTDIR),
            ("new/", Errno::NOENT),
            ("loop", Errno::LOOP),
        ] {
            assert_eq!(root.find(path, Links::Follow).err(), Some(errno), "{path}");
        }
    }

    #[test]
    fn what_was_found_stays_although_its_name_is_another_s() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let Found::Directory(pinned) = at(dir.path()).find("a/b", Links::Follow).unwrap() else {
            panic!("a directory");
        };
        fs::rename(dir.path().join("a"), dir.path().join("old")).unwrap();
        symlink(outside.path(), dir.path().join("a")).unwrap();
        rustix::fs::mkdirat(&pinned, "here", Mode::RWXU).unwrap();
        assert!(dir.path().join("old/b/here").is_dir());
        assert_eq!(place(pinned.find("..", Links::Follow)), "dir /a");
        rustix::fs::mkdirat(pinned.parent(), "too", Mode::RWXU).unwrap();
        assert!(dir.path().join("old/too").is_dir());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
