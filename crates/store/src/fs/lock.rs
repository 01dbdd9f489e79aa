//! Things under construction in `tmp/` are locked by whoever makes them, with flock(2) on the file or directory itself:
//! the kernel drops the lock when the maker dies, and what nobody holds is rubbish or may be taken over.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::Result;
use crate::error::At;

/// Creates or takes over the file, waiting for its present holder. The lock lives as long as the descriptor.
pub(crate) fn lock_file(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        let fd =
            rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600)).at("open", path)?;
        if lock_and_check(&fd, path, FlockOperation::LockExclusive)? {
            return Ok(fd);
        }
    }
}

/// Creates or takes over the directory, waiting for its present holder.
pub(crate) fn lock_dir(path: &Path) -> Result<OwnedFd> {
    loop {
        super::make_dirs(path, 0o700)?;
        let fd = match super::open_dir(path) {
            Err(e) if super::is_missing(&e) => continue,
            other => other?,
        };
        if lock_and_check(&fd, path, FlockOperation::LockExclusive)? {
            return Ok(fd);
        }
    }
}

/// Locks whatever is at the path; None if somebody holds it or it is gone.
pub(crate) fn try_lock_entry(path: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.at("open", path)?,
    };
    Ok(lock_and_check(&fd, path, FlockOperation::NonBlockingLockExclusive)?.then_some(fd))
}

/// Locks the descriptor; false if the path no longer leads to it (its holder renamed or removed it) or the lock is held.
fn lock_and_check(fd: &OwnedFd, path: &Path, how: FlockOperation) -> Result<bool> {
    loop {
        match rustix::fs::flock(fd, how) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(e) => return Err(e).at("lock", path),
        }
    }
    let ours = rustix::fs::fstat(fd).at("look at", path)?;
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(now) => Ok((now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e).at("look at", path),
    }
}
