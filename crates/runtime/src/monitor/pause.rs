//! The first process of a PID namespace that several containers share: it keeps the namespace, reaps what they leave,
//! and does nothing else.

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use super::memory;
use super::process::ended_child;

/// Runs until it is told to end; gives the exit code.
pub(super) fn main() -> i32 {
    let signals = SigSet::all();
    if pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).is_err() {
        return 125;
    }
    memory::release();
    loop {
        let mut signal = 0;
        // SAFETY: reads one signal set, writes one integer.
        unsafe { libc::sigwait(signals.as_ref(), &mut signal) };
        match signal {
            libc::SIGTERM | libc::SIGINT => return 0,
            libc::SIGCHLD => while ended_child().is_some() {},
            _ => {}
        }
    }
}
