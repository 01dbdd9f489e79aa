//! Network namespaces.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};

use crate::link::Link;
use crate::netlink::Socket;
use crate::{Error, Result, home};

/// Makes a network namespace with its loopback interface up and returns it as a descriptor.
///
/// The namespace lives as long as the descriptor or a process inside. The calling thread leaves its own
/// namespace for a moment; other threads are not touched.
///
/// # Errors
/// [`Error::Namespace`] without CAP_SYS_ADMIN; [`Error::Netlink`] if loopback cannot be brought up.
pub fn new_netns() -> Result<OwnedFd> {
    home::at_home(new_netns_here)
}

fn new_netns_here() -> Result<OwnedFd> {
    let home = current_netns()?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Namespace {
        operation: "create a network namespace",
        source: errno.into(),
    })?;
    let made = current_netns().and_then(|netns| {
        Link::set_loopback_up(&Socket::route()?)?;
        Ok(netns)
    });
    enter(home.as_fd())?;
    made
}

/// What /proc/net/dev says in a network namespace: each interface's traffic.
///
/// # Errors
/// [`Error::Namespace`].
pub fn traffic(netns: OwnedFd) -> Result<String> {
    within(netns.as_fd(), || {
        std::fs::read_to_string("/proc/thread-self/net/dev").map_err(|source| Error::Namespace {
            operation: "read the traffic of a network namespace",
            source,
        })
    })
}

/// Runs `work` with the calling thread in `netns`, then returns to where it was.
pub(crate) fn within<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    if home::is_elsewhere() {
        // There is no way back.
        return home::in_thread(netns, work)?;
    }
    let home = current_netns()?;
    enter(netns)?;
    let result = work();
    enter(home.as_fd())?;
    result
}

fn current_netns() -> Result<OwnedFd> {
    let file = File::open("/proc/thread-self/ns/net").map_err(|source| Error::Namespace {
        operation: "open the current network namespace",
        source,
    })?;
    Ok(file.into())
}

pub(crate) fn enter(netns: BorrowedFd<'_>) -> Result<()> {
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Namespace {
        operation: "enter a network namespace",
        source: errno.into(),
    })
}
