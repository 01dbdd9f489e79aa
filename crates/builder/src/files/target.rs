//! Where files are copied to.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
    chmodat, chownat, fchmod, fchown, fsetxattr, fstat, futimens, linkat, mkdirat, mknodat, openat,
    statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::chmod::Chmod;
use super::entry::{Meta, Xattr};
use super::error::{At, FilesError, Result, text};
use super::path::{DIRECTORY, Last, Place, kind, open_dir, walk};

/// Device numbers of "nothing": overlayfs takes such a character device for a whiteout.
const WHITEOUT: u64 = 0;

/// What everything that is copied gets, whatever it had.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy<'a> {
    pub chown: Option<(u32, u32)>,
    pub chmod: Option<&'a Chmod>,
    /// Seconds since 1970.
    pub timestamp: Option<i64>,
}

impl Policy<'_> {
    /// Attributes of a copy of something; `owned` if it keeps its owner.
    pub fn attributes(&self, meta: &Meta, owned: bool) -> Attributes {
        let kept = if owned { (meta.uid, meta.gid) } else { (0, 0) };
        let (uid, gid) = self.chown.unwrap_or(kept);
        let is_dir = FileType::from_raw_mode(meta.mode) == FileType::Directory;
        let mode = meta.mode & 0o7777;
        Attributes {
            uid,
            gid,
            mode: self.chmod.map_or(mode, |chmod| chmod.apply(mode, is_dir)),
            mtime: self.timestamp.map_or(meta.mtime, |time| (time, 0)),
        }
    }
}

/// The root everything is copied beneath.
pub(super) struct Target<'a> {
    root: BorrowedFd<'a>,
    pub policy: Policy<'a>,
    /// Directories made on the way, parents first.
    pub made: RefCell<Vec<Vec<u8>>>,
}

/// What a file or directory gets, everything considered.
pub(super) struct Attributes {
    pub uid: u32,
    pub gid: u32,
    /// Without the type.
    pub mode: u32,
    pub mtime: (i64, u64),
}

impl<'a> Target<'a> {
    pub fn new(root: BorrowedFd<'a>, policy: Policy<'a>) -> Target<'a> {
        Target {
            root,
            policy,
            made: RefCell::new(Vec::new()),
        }
    }

    pub fn root(&self) -> BorrowedFd<'a> {
        self.root
    }

    /// The directory at a path, made with its parents if it is not there. Links in the path are followed, also those
    /// that lead to nothing.
    pub fn make_dirs(&self, path: &[u8]) -> Result<OwnedFd> {
        let place = self.find(path)?;
        match place.stat {
            Some(_) if place.is_dir() => {}
            Some(_) => {
                return Err(FilesError::NotADirectory {
                    path: text(&place.path()),
                });
            }
            None => self.make_dir(&place.dir, &place.name, &place.path())?,
        }
        openat(&place.dir, &place.name[..], DIRECTORY, Mode::empty()).at("open", &place.path())
    }

    /// Where a path leads, links followed; the directories on the way are made.
    pub fn find(&self, path: &[u8]) -> Result<Place> {
        let mut make = |dir: &OwnedFd, name: &[u8], path: &[u8]| self.make_dir(dir, name, path);
        walk(self.root, path, Last::Follow, Some(&mut make))
    }

    /// A directory nobody asked for by name: root's, or of whoever the copy is for.
    fn make_dir(&self, dir: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
        let mode = match self.policy.chmod {
            Some(Chmod::Mode(mode)) => *mode,
            _ => 0o755,
        };
        mkdirat(dir, name, Mode::RWXU).at("create", path)?;
        let fd = openat(dir, name, DIRECTORY, Mode::empty()).at("open", path)?;
        let (uid, gid) = self.policy.chown.unwrap_or((0, 0));
        set_owner_and_mode(&fd, uid, gid, mode).at("set the owner of", path)?;
        self.made.borrow_mut().push(path.to_vec());
        Ok(())
    }

    /// Gives made directories their time, now that nothing is put in them any more.
    pub fn finish(&self) -> Result<()> {
        let Some(time) = self.policy.timestamp else {
            return Ok(());
        };
        for path in self.made.borrow().iter().rev() {
            let dir = open_dir(self.root, path, DIRECTORY).at("open", path)?;
            futimens(&dir, &times((time, 0))).at("set the time of", path)?;
        }
        Ok(())
    }
}

/// A directory of the destination, and its path for messages.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub dir: &'a OwnedFd,
    pub name: &'a [u8],
    pub path: &'a [u8],
}

impl Spot<'_> {
    /// Makes something here, in place of anything but a directory.
    pub fn put<T>(
        &self,
        action: &'static str,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {
                self.clear()?;
                make()
            }
            other => other,
        }
        .at(action, self.path)
    }

    fn clear(&self) -> Result<()> {
        match unlinkat(self.dir, self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) if self.is_dir() => Err(FilesError::OntoDirectory {
                path: text(self.path),
            }),
            Err(e) => Err(e).at("replace", self.path),
        }
    }

    fn is_dir(&self) -> bool {
        statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| kind(&stat) == FileType::Directory)
    }

    /// A new empty file, open for writing and, to be checked, for reading. It has the mode as far as the umask lets it.
    pub fn file(&self, mode: u32) -> Result<OwnedFd> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode & 0o777);
        self.put("create", || openat(self.dir, self.name, flags, mode))
    }

    pub fn symlink(&self, target: &[u8], attributes: &Attributes) -> Result<()> {
        self.put("create", || symlinkat(target, self.dir, self.name))?;
        self.own(attributes)
    }

    pub fn hard_link(&self, root: &OwnedFd, first: &[u8]) -> Result<()> {
        let (parent, name) = super::path::split(first);
        let dir = open_dir(root.as_fd(), parent, DIRECTORY).at("open", first)?;
        self.put("link", || {
            linkat(&dir, name, self.dir, self.name, AtFlags::empty())
        })
    }

    /// A device, fifo, or, for a socket, an empty file.
    pub fn node(&self, kind: FileType, device: u64, attributes: &Attributes) -> Result<()> {
        let (kind, device) = match kind {
            FileType::Socket | FileType::Unknown => (FileType::RegularFile, 0),
            // It would hide what is below instead of being there.
            FileType::CharacterDevice if device == WHITEOUT => {
                return Err(Errno::INVAL).at("copy the device 0:0", self.path);
            }
            FileType::Fifo => (FileType::Fifo, 0),
            other => (other, device),
        };
        let mode = Mode::RUSR | Mode::WUSR;
        self.put("create", || {
            mknodat(self.dir, self.name, kind, mode, device)
        })?;
        self.own(attributes)?;
        // Made just now, and no link.
        let mode = Mode::from_raw_mode(attributes.mode);
        chmodat(self.dir, self.name, mode, AtFlags::empty()).at("set the mode of", self.path)?;
        self.time(attributes)
    }

    fn own(&self, attributes: &Attributes) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        chownat(self.dir, self.name, Some(uid), Some(gid), flags)
            .at("set the owner of", self.path)?;
        self.time(attributes)
    }

    fn time(&self, attributes: &Attributes) -> Result<()> {
        let times = times(attributes.mtime);
        utimensat(self.dir, self.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", self.path)
    }
}

/// Gives an open file or directory all it shall have. The order matters: chown(2) drops setuid bits and capabilities.
pub(super) fn apply(
    fd: &OwnedFd,
    attributes: &Attributes,
    xattrs: &[Xattr],
    path: &[u8],
) -> Result<()> {
    set_owner_and_mode(fd, attributes.uid, attributes.gid, attributes.mode)
        .at("set the owner of", path)?;
    for (name, value) in xattrs {
        match fsetxattr(fd, name, value, XattrFlags::empty()) {
            // A file system that has no such attributes: as Docker, BuildKit and containerd do.
            Err(Errno::OPNOTSUPP | Errno::PERM) => {
                tracing::warn!(path = %text(path), name = %name.to_string_lossy(), "extended attribute left out");
            }
            other => other.at("set attributes of", path)?,
        }
    }
    futimens(fd, &times(attributes.mtime)).at("set the time of", path)
}

fn set_owner_and_mode(fd: &OwnedFd, uid: u32, gid: u32, mode: u32) -> rustix::io::Result<()> {
    let stat = fstat(fd)?;
    let chown = (stat.st_uid, stat.st_gid) != (uid, gid);
    if chown {
        fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    if stat.st_mode & 0o7777 != mode || (chown && mode & 0o6000 != 0) {
        fchmod(fd, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

pub(super) fn times((seconds, nanoseconds): (i64, u64)) -> Timestamps {
    let omit = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    Timestamps {
        last_access: omit,
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds as _,
        },
    }
}
