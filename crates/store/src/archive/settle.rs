//! Makes a fresh upper directory what unpacking its archive would give.

use std::cell::OnceCell;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fremovexattr,
    fstat, futimens, mknodat, openat, openat2, statat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::xattrs::{Xattrs, is_opaque};
use crate::fs::BENEATH;
use crate::overlay;

/// The `diff` directories of the layers below, top first; opened when one is asked for.
pub(crate) struct Lowers {
    paths: Vec<PathBuf>,
    opened: OnceCell<Vec<OwnedFd>>,
}

impl Lowers {
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Lowers {
            paths,
            opened: OnceCell::new(),
        }
    }

    fn open(&self) -> rustix::io::Result<&[OwnedFd]> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |path| openat(CWD, path, flags, Mode::empty());
        let opened = self.paths.iter().map(open).collect::<Result<_, _>>()?;
        Ok(self.opened.get_or_init(|| opened))
    }
}

/// What the upper directory lies upon, and what is to be done with its times.
pub(crate) struct Settle<'a> {
    /// What is below.
    pub lowers: &'a Lowers,
    /// No time is later than this, in seconds since 1970.
    pub clamp_mtime: Option<i64>,
}

impl Settle<'_> {
    /// Whether the directory at `path` has to tell that it hides what is below. If overlayfs says so for no need, or only
    /// that there are marked whiteouts, that is taken away.
    pub(super) fn opaque(
        &self,
        dir: &OwnedFd,
        path: &[u8],
        xattrs: &Xattrs,
        merged: bool,
    ) -> rustix::io::Result<bool> {
        let hides = match xattrs.opaque {
            None => return Ok(false),
            Some(b'y') => merged && below(self.lowers.open()?, path)? == Below::Directory,
            Some(_) => false,
        };
        if !hides {
            fremovexattr(dir, overlay::opaque())?;
        }
        Ok(hides)
    }

    /// Whole seconds only, as archives have them, and not too late.
    pub fn time(&self, file: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
        let directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        match self.wanted(stat) {
            Some(times) => futimens(file, &times),
            // Something may have been removed from the directory.
            None if directory && self.changed(file, stat)? => {
                futimens(file, &times(stat.st_mtime, 0))
            }
            None => Ok(()),
        }
    }

    /// The same for what cannot be opened.
    pub fn time_at(&self, dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> rustix::io::Result<()> {
        match self.wanted(stat) {
            Some(times) => utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW),
            None => Ok(()),
        }
    }

    fn wanted(&self, stat: &Stat) -> Option<Timestamps> {
        let wanted = seconds(stat, self.clamp_mtime);
        (wanted != stat.st_mtime || stat.st_mtime_nsec != 0).then(|| times(wanted, 0))
    }

    fn changed(&self, file: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<bool> {
        let now = fstat(file)?;
        Ok((now.st_mtime, now.st_mtime_nsec) != (stat.st_mtime, stat.st_mtime_nsec))
    }

    /// A root that the archive does not list has the time of the one below.
    pub fn time_of_implied_root(&self, root: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let Some(lower) = self.lowers.paths.first() else {
            return Ok(());
        };
        let stat = rustix::fs::lstat(lower)?;
        futimens(root, &times(stat.st_mtime, stat.st_mtime_nsec as _))
    }

    /// A device in place of a file that an attribute marks as whiteout.
    pub fn plain_whiteout(&self, dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
        unlinkat(dir, name, AtFlags::empty())?;
        mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
    }

    /// Takes away a socket, which no archive holds; true if something below would show through, so that there is a
    /// whiteout now.
    pub(super) fn remove_socket(
        &self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        merged: bool,
    ) -> rustix::io::Result<bool> {
        let hides = merged && below(self.lowers.open()?, path)? != Below::Nothing;
        if hides {
            self.plain_whiteout(dir, name)?;
        } else {
            unlinkat(dir, name, AtFlags::empty())?;
        }
        Ok(hides)
    }
}

/// The time of a file in an archive: BuildKit's are whole seconds, rounded down.
pub(super) fn seconds(stat: &Stat, clamp: Option<i64>) -> i64 {
    clamp.map_or(stat.st_mtime, |latest| stat.st_mtime.min(latest))
}

fn times(seconds: i64, nanos: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanos as _,
        },
    }
}

/// What there is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Nothing,
    Directory,
    Other,
}

/// What the layers, top first and merged as overlayfs does it, have at `path`.
fn below(lowers: &[OwnedFd], path: &[u8]) -> rustix::io::Result<Below> {
    for lower in lowers {
        if let Some(found) = look(lower.as_fd(), path)? {
            return Ok(found);
        }
    }
    Ok(Below::Nothing)
}

/// What one layer has there; None if that is for those below it to say.
fn look(layer: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<Option<Below>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at: Option<OwnedFd> = None;
    let mut opaque = false;
    let mut components = path.split(|&b| b == b'/').peekable();
    while let Some(component) = components.next() {
        let parent = at.as_ref().map_or(layer, AsFd::as_fd);
        let stat = match statat(parent, component, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) if opaque => return Ok(Some(Below::Nothing)),
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
        if !kind.is_dir() {
            let last = components.peek().is_none();
            let found = if last && !whiteout {
                Below::Other
            } else {
                Below::Nothing
            };
            return Ok(Some(found));
        }
        let dir = openat2(parent, component, flags, Mode::empty(), BENEATH)?;
        opaque |= is_opaque(&dir)?;
        at = Some(dir);
    }
    Ok(Some(Below::Directory))
}
