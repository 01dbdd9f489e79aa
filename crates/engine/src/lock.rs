//! One operation at a time on a container, across processes.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use nix::fcntl::{Flock, FlockArg};

use crate::{Engine, Error, Result};

/// Held while a container's record, bundle or processes are changed. The lock is on the container's directory:
/// it goes when the container goes, and with the process that held it.
pub(crate) struct ContainerLock {
    lock: Flock<File>,
}

impl AsFd for ContainerLock {
    /// Whoever gets a duplicate holds the lock, too.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

impl Engine {
    /// Waits for the container's lock.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`] if it was removed meanwhile.
    pub(crate) fn lock(&self, id: &str) -> Result<ContainerLock> {
        match self.lock_with(id, FlockArg::LockExclusive)? {
            Some(lock) => Ok(lock),
            None => Err(Error::NoSuchContainer { name: id.into() }),
        }
    }

    /// The lock if nobody has it.
    pub(crate) fn try_lock(&self, id: &str) -> Result<Option<ContainerLock>> {
        self.lock_with(id, FlockArg::LockExclusiveNonblock)
    }

    fn lock_with(&self, id: &str, how: FlockArg) -> Result<Option<ContainerLock>> {
        let path = self.store.container_dir(id)?;
        let dir = match File::open(&path) {
            Ok(dir) => dir,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoSuchContainer { name: id.into() });
            }
            Err(e) => return Err(Error::file("open", &path)(e)),
        };
        let inode = dir.metadata().map_err(Error::file("stat", &path))?.ino();
        let mut dir = dir;
        let lock = loop {
            match Flock::lock(dir, how) {
                Ok(lock) => break lock,
                Err((_, nix::errno::Errno::EAGAIN)) => return Ok(None),
                Err((back, nix::errno::Errno::EINTR)) => dir = back,
                Err((_, errno)) => return Err(Error::file("lock", &path)(errno.into())),
            }
        };
        // Whoever had it before may have removed the container.
        match path.metadata() {
            Ok(now) if now.ino() == inode => Ok(Some(ContainerLock { lock })),
            _ => Err(Error::NoSuchContainer { name: id.into() }),
        }
    }
}
