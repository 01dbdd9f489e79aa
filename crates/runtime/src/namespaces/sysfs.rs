//! What /sys shows, made ahead of its mount.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns};
use rustix::mount::{FsOpenFlags, fsconfig_create, fsopen};

use super::in_thread;
use crate::error::{Error, Result};

/// The sysfs of a network namespace, for as long as this lives or it is mounted.
pub struct Sysfs(#[expect(dead_code, reason = "held open")] OwnedFd);

/// Makes the sysfs of a new network namespace. Who mounts it next gets the same, at once: the kernel looks through those
/// of all namespaces, the newest first, and next to hundreds of containers that takes long. Safe to call from a process
/// with threads.
///
/// # Errors
/// [`Error::System`]: whoever mounts it then has it made.
pub fn make_sysfs(netns: BorrowedFd<'_>) -> Result<Sysfs> {
    in_thread(|| {
        setns(netns, CloneFlags::CLONE_NEWNET).map_err(|e| Error::system("setns", e))?;
        let context = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC);
        let context = context.map_err(|e| Error::system("fsopen", e))?;
        fsconfig_create(context.as_fd()).map_err(|e| Error::system("fsconfig", e))?;
        Ok(Sysfs(context))
    })
}
