//! Whose network containers are on, where it is not that of the process: an ordinary user's bridges are in a network
//! namespace of the user's. A thread that has gone there cannot come back, so each call goes in a thread of its own.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use crate::{Result, netns};

static HOME: OnceLock<OwnedFd> = OnceLock::new();

thread_local! {
    /// Whether this thread is one of those.
    static THERE: Cell<bool> = const { Cell::new(false) };
}

/// From now on all calls act on this network namespace, whatever thread they are made from; only ports are taken in the
/// caller's own. The first call counts.
pub fn set_home(namespace: OwnedFd) {
    // A second one would be the same.
    let _ = HOME.set(namespace);
}

/// Whether this thread could not come back from another network namespace.
pub(crate) fn is_elsewhere() -> bool {
    HOME.get().is_some() && !THERE.get()
}

/// Does `work` where the bridges are.
pub(crate) fn at_home<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    match HOME.get().filter(|_| !THERE.get()) {
        Some(home) => in_thread(home.as_fd(), work)?,
        None => work(),
    }
}

/// Does `work` in a network namespace, in a thread that ends with it.
pub(crate) fn in_thread<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let there = || {
            netns::enter(namespace)?;
            THERE.set(true);
            Ok(work())
        };
        let joined = scope.spawn(there).join();
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
