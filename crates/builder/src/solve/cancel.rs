//! Telling everything under way to stop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::{BuildError, Result};

/// How often work on the network looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Stops a build: readable once it is to stop, and for ever after. All clones are one.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<OwnedFd>);

impl Cancel {
    /// For one build.
    ///
    /// # Errors
    /// [`BuildError::Io`] when the process may not open more files.
    pub fn new() -> Result<Cancel> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        fd.map(|fd| Cancel(Arc::new(fd)))
            .map_err(|e| BuildError::io("create", Path::new("eventfd"))(e.into()))
    }

    /// Stops the build as soon as what it does can be stopped.
    pub fn cancel(&self) {
        // Only a counter at its limit refuses, and then it is readable.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// Ends once the build is to stop.
    pub(crate) async fn cancelled(&self) {
        while !self.is_cancelled() {
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.wait(0)
    }

    /// Waits at most so long; whether the build is to stop.
    pub(crate) fn wait(&self, milliseconds: i64) -> bool {
        let mut fds = [PollFd::new(&*self.0, PollFlags::IN)];
        let time = Timespec {
            tv_sec: milliseconds / 1000,
            tv_nsec: milliseconds % 1000 * 1_000_000,
        };
        poll(&mut fds, Some(&time)).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
