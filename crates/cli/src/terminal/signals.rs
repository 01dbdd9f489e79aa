//! Signals as something to read, so that one loop sees everything.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::failure::{Failure, GENERAL, Result};

/// What a container may want to hear of, and what would otherwise end us with the terminal in raw mode.
const CAUGHT: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
];

/// While it lives, signals wait here instead of being delivered.
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Starts to catch. Earlier than the container starts, so that a signal in between reaches it.
    pub fn catch() -> Result<Signals> {
        let failed = |errno| Failure::new(GENERAL, format!("signalfd: {errno}"));
        let set: SigSet = CAUGHT.into_iter().collect();
        let before = SigSet::thread_get_mask().map_err(failed)?;
        set.thread_block().map_err(failed)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(failed)?;
        Ok(Signals { fd, before })
    }

    /// The next signal that has come, if any.
    pub fn next(&self) -> Option<i32> {
        self.fd
            .read_signal()
            .ok()
            .flatten()
            .map(|info| info.ssi_signo as i32)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // What came in the last moment has nobody left to hear it.
        while self.next().is_some() {}
        let _ = self.before.thread_set_mask();
    }
}
