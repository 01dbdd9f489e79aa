//! The init of a container that asks for one (`--init`): starts the command, passes signals on, reaps orphans.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::unistd::{ForkResult, Pid, execvp, fork, setpgid};

use super::process::{ended_child, reset_signals};

/// Runs `[--] command…` as a child until it ends; gives its exit code, or 128 + the signal that killed it.
pub(super) fn main(mut command: Vec<OsString>) -> i32 {
    if command.first().is_some_and(|first| first == "--") {
        command.remove(0);
    }
    let arguments: Vec<CString> = command
        .iter()
        .filter_map(|argument| CString::new(argument.as_bytes()).ok())
        .collect();
    if arguments.is_empty() {
        return 127;
    }
    let signals = SigSet::all();
    if pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).is_err() {
        return 125;
    }
    // SAFETY: this process has one thread.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => execute(&arguments),
        Ok(ForkResult::Parent { child }) => supervise(child, &signals),
        Err(_) => 125,
    }
}

fn execute(arguments: &[CString]) -> i32 {
    // A group of its own in front of the terminal, so that the terminal's signals reach it once, from the terminal.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    // SAFETY: asks about and sets the foreground group of a terminal; SIGTTOU is blocked meanwhile.
    unsafe { libc::tcsetpgrp(0, libc::getpid()) };
    reset_signals();
    let Err(error) = execvp(&arguments[0], arguments);
    // The container's own standard error: nobody else is there to say it.
    eprintln!("init: exec {:?}: {}", arguments[0], error.desc());
    match error {
        nix::Error::ENOENT | nix::Error::ENOTDIR => 127,
        _ => 126,
    }
}

fn supervise(child: Pid, signals: &SigSet) -> i32 {
    loop {
        let mut signal = 0;
        // SAFETY: reads one signal set, writes one integer. (nix has no names for real-time signals.)
        unsafe { libc::sigwait(signals.as_ref(), &mut signal) };
        if signal != libc::SIGCHLD {
            // The child decides what it means. If it has gone SIGCHLD will say.
            // SAFETY: kill takes integers.
            unsafe { libc::kill(child.as_raw(), signal) };
        } else if let Some(code) = reap(child) {
            return code;
        }
    }
}

/// Reaps everything that has ended; the child's exit code if it is among it.
fn reap(child: Pid) -> Option<i32> {
    while let Some((pid, code)) = ended_child() {
        if pid == child.as_raw() {
            return Some(code);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_run_is_an_error() {
        assert_eq!(main(vec![]), 127);
        assert_eq!(main(vec!["--".into()]), 127);
    }
}
