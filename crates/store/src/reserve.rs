//! Space kept back, so that on a full disk the end of a container can still be recorded and what takes the space
//! removed.
//!
//! Blocks for the next changes of the records stay allocated beyond the end of the write-ahead log: nobody else can
//! take them. Everything else that a removal may need (a directory to collect in, SQLite's shared memory) comes out of
//! the file `reserve`, which is given up when the disk is full and made again by the next command that takes space.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::Result;
use crate::error::At;

/// Size of the file `reserve`, in bytes.
const RESERVE: u64 = 256 << 10;
/// What the write-ahead log can grow by without asking for space, in bytes: some ten small transactions.
const LOG_ROOM: u64 = 256 << 10;
/// A disk with fewer bytes free is full to those who want to put something new on it.
const LEAST_FREE: u64 = 64 << 10;
/// How long the space of something removed may take to become free.
const PATIENCE: Duration = Duration::from_millis(500);

fn path(root: &Path) -> PathBuf {
    root.join("reserve")
}

/// Makes sure of the reserve, for a command that takes space.
///
/// # Errors
/// [`crate::Error::DiskFull`] if there is no room for it, or next to none for anything else.
pub(crate) fn keep(root: &Path) -> Result<()> {
    make(&path(root))
        .and_then(|()| room_in_log(root))
        .and_then(|()| room_for_more(root))
        .at("put anything in", root)
}

/// As [`keep`], but waits a moment for what was removed just now: the kernel frees the files of a container only when
/// its last mount has gone, which nothing tells.
pub(crate) fn await_room(root: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match keep(root) {
            Err(e) if e.is_disk_full() && Instant::now() < deadline => {
                std::thread::sleep(PATIENCE / 50);
            }
            other => return other,
        }
    }
}

/// Gives the reserve up; false if it was gone already.
pub(crate) fn release(root: &Path) -> bool {
    rustix::fs::unlink(path(root)).is_ok()
}

/// Does `work`, and if the disk is full gives the reserve up and does it again.
pub(crate) fn spend<T>(root: &Path, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    match work() {
        Err(e) if e.is_disk_full() && release(root) => work(),
        other => other,
    }
}

/// Sees to it that the next transaction finds room, if need be with that of the reserve. On a disk too full even for
/// that, SQLite will tell.
pub(crate) fn prepare_log(root: &Path) {
    let made = match room_in_log(root) {
        Err(Errno::NOSPC | Errno::DQUOT) if release(root) => room_in_log(root),
        other => other,
    };
    if let Err(e) = made {
        tracing::debug!(error = %e, "no room kept for the write-ahead log");
    }
}

fn make(path: &Path) -> rustix::io::Result<()> {
    if rustix::fs::stat(path).is_ok_and(|stat| allocated(&stat) >= RESERVE) {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600))?;
    allocate(&file, 0, RESERVE).inspect_err(|_| {
        // Half a reserve is left to whoever needs it more.
        let _ = rustix::fs::unlink(path);
    })
}

fn room_for_more(root: &Path) -> rustix::io::Result<()> {
    let disk = rustix::fs::statvfs(root)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) >= LEAST_FREE {
        return Ok(());
    }
    // How much of what is kept for root is for us, only trying tells.
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, root, flags, Mode::from_raw_mode(0o600)) {
        Ok(probe) => allocate(&probe, 0, LEAST_FREE),
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => Ok(()),
        Err(e) => Err(e),
    }
}

fn room_in_log(root: &Path) -> rustix::io::Result<()> {
    let path = root.join("store.db-wal");
    let stat = match rustix::fs::stat(&path) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let size = stat.st_size.unsigned_abs();
    if allocated(&stat).saturating_sub(size) >= LOG_ROOM / 2 {
        return Ok(());
    }
    // SQLite locks the database and the shared memory, not this file: closing it takes no lock away.
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let log = rustix::fs::openat(CWD, &path, flags, Mode::empty())?;
    allocate(&log, size, LOG_ROOM)
}

/// Takes blocks without changing the file's size. Fine where the file system cannot: then nothing is kept back.
fn allocate(file: &OwnedFd, offset: u64, length: u64) -> rustix::io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, offset, length) {
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            other => return other,
        }
    }
}

fn allocated(stat: &rustix::fs::Stat) -> u64 {
    stat.st_blocks.unsigned_abs().saturating_mul(512)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::tests::store;

    fn blocks(path: &Path) -> u64 {
        allocated(&rustix::fs::stat(path).unwrap())
    }

    #[test]
    fn the_reserve_is_made_given_up_once_and_made_again() {
        let (_dir, store) = store();
        let reserve = path(store.root());
        keep(store.root()).unwrap();
        assert!(blocks(&reserve) >= RESERVE);
        let mut tries = 0;
        let full = |tries: &mut i32| -> Result<()> {
            *tries += 1;
            Err(Errno::NOSPC).at("write", "x")
        };
        assert!(spend(store.root(), || full(&mut tries)).is_err());
        assert_eq!((tries, reserve.exists()), (2, false));
        assert!(spend(store.root(), || full(&mut tries)).is_err());
        assert_eq!(tries, 3, "there was nothing to give up");
        keep(store.root()).unwrap();
        assert!(blocks(&reserve) >= RESERVE);
    }

    #[test]
    fn a_change_leaves_room_for_the_next_in_the_log() {
        let (_dir, store) = store();
        store.write(|_| Ok::<_, Error>(())).unwrap();
        let log = store.root().join("store.db-wal");
        let size = log.metadata().unwrap().len();
        assert!(blocks(&log) >= size + LOG_ROOM / 2);
    }
}
