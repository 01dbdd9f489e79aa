//! Ctrl-C of a build.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rctr_builder::Cancel;

use crate::failure::{Failure, GENERAL, Result};
use crate::terminal::Signals;

/// What cannot be stopped at once gets as long to put things in order.
const PATIENCE: Duration = Duration::from_secs(3);

/// Stops a build when a signal comes.
pub struct Interrupt {
    /// For the build.
    pub cancel: Cancel,
    signal: Arc<AtomicI32>,
}

impl Interrupt {
    /// Begins to watch, until the process ends.
    pub fn watch() -> Result<Interrupt> {
        let cancel = Cancel::new().map_err(|e| Failure::new(GENERAL, e.to_string()))?;
        let signals = Signals::catch()?;
        let signal = Arc::new(AtomicI32::new(0));
        let (stop, came) = (cancel.clone(), Arc::clone(&signal));
        std::thread::spawn(move || {
            let number = wait(&signals);
            came.store(number, Ordering::Relaxed);
            stop.cancel();
            std::thread::sleep(PATIENCE);
            std::process::exit(128 + number);
        });
        Ok(Interrupt { cancel, signal })
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }
}

/// The first signal that asks for the end.
fn wait(signals: &Signals) -> i32 {
    loop {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        // Interrupted or not: whether there is a signal is seen below.
        let _ = poll(&mut fds, PollTimeout::NONE);
        if let Some(signal) = signals.next()
            && matches!(
                signal,
                libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT
            )
        {
            return signal;
        }
    }
}
