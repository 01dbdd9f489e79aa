//! The few file-system helpers of the store; all work beneath directory descriptors.

mod lock;
mod remove;
mod size;
mod sync;
mod trail;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

pub(crate) use lock::{lock_dir, lock_file, try_lock_entry};
pub(crate) use remove::remove_all;
pub(crate) use size::tree_size;
pub(crate) use sync::{SyncMark, Syncer, begin_writing};
pub use trail::{Found, Links, Trail};

use crate::error::At;
use crate::{Error, Result};

/// How everything beneath a directory that an image filled is opened.
pub(crate) const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens a directory of the store's own making.
pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd> {
    openat(
        rustix::fs::CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("open", path)
}

/// Opens the directory `name` beneath `dir` for reading; never follows a link or enters a mount.
pub(crate) fn open_subdir(
    dir: impl AsFd,
    name: impl rustix::path::Arg,
) -> rustix::io::Result<OwnedFd> {
    openat2(
        dir,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        BENEATH,
    )
}

/// Makes a directory, its parents too, if it is not there.
pub(crate) fn make_dirs(path: &Path, mode: u32) -> Result<()> {
    match mkdirat(rustix::fs::CWD, path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) if path.parent().is_some() => {
            make_dirs(path.parent().unwrap_or(Path::new("/")), 0o755)?;
            mkdirat(rustix::fs::CWD, path, Mode::from_raw_mode(mode))
                .or_else(|e| if e == Errno::EXIST { Ok(()) } else { Err(e) })
                .at("create", path)
        }
        Err(e) => Err(e).at("create", path),
    }
}

/// Tells ext4 that the directories made in this one have nothing to do with each other (chattr(1), `T`).
///
/// Otherwise all go to one block group, where ext4, for five minutes, steps over every inode that was deleted there each
/// time it makes one: unpacking a layer after others were removed took three times as long, making a container's
/// directory seven times.
pub(crate) fn spread_subdirs(path: &Path) -> Result<()> {
    let dir = open_dir(path)?;
    let set = rustix::fs::ioctl_getflags(&dir)
        .and_then(|flags| rustix::fs::ioctl_setflags(&dir, flags | rustix::fs::IFlags::TOPDIR));
    if let Err(e) = set {
        tracing::debug!(error = %e, "not a file system with block groups");
    }
    Ok(())
}

/// One entry of a directory.
pub(crate) struct DirEntry {
    pub name: CString,
    pub is_dir: bool,
}

/// Calls `each` for every entry of a directory but `.` and `..`, and stops at its first error.
pub(crate) fn for_each_entry<E: From<rustix::io::Errno>>(
    dir: impl AsFd,
    mut each: impl FnMut(DirEntry) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = rustix::fs::RawDir::new(dir.as_fd(), buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_dir = match entry.file_type() {
            rustix::fs::FileType::Directory => true,
            rustix::fs::FileType::Unknown => is_dir(dir.as_fd(), name)?,
            _ => false,
        };
        each(DirEntry {
            name: name.to_owned(),
            is_dir,
        })?;
    }
    Ok(())
}

fn is_dir(dir: impl AsFd, name: &std::ffi::CStr) -> rustix::io::Result<bool> {
    let stat = rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// The names in a directory of the store's own making, as text; others are not ours and are left out.
pub(crate) fn list(path: &Path) -> Result<Vec<String>> {
    let dir = open_dir(path)?;
    let mut names = Vec::new();
    for_each_entry(&dir, |entry| {
        names.extend(entry.name.into_string());
        Ok::<_, Errno>(())
    })
    .at("read", path)?;
    Ok(names)
}

/// Renames, over whatever `to` is.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    rustix::fs::rename(from, to).at("rename", from)
}

/// Whether something exists under a path of the store's own making.
pub(crate) fn exists(path: &Path) -> Result<bool> {
    match rustix::fs::lstat(path) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e).at("look at", path),
    }
}

/// Whether the error says that the file is not there.
pub(crate) fn is_missing(e: &Error) -> bool {
    matches!(e, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}
