//! Staying with a process until its end: its terminal, its signals, its exit code.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rctr_runtime::{WindowSize, terminal_peer};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// What is left behind by a container without a PID namespace of its own comes to us, not to the caller's caller.
pub fn become_subreaper() {
    let pid = rustix::process::getpid();
    // A kernel that cannot lets them go where they always went.
    let _ = rustix::process::set_child_subreaper(Some(pid));
}

/// The size of the terminal that we have, or none.
pub fn window_size() -> WindowSize {
    let size = rustix::termios::tcgetwinsize(std::io::stdin());
    size.map_or_else(
        |_| WindowSize::default(),
        |size| WindowSize {
            rows: size.ws_row,
            cols: size.ws_col,
        },
    )
}

/// A child of ours.
pub struct Foreground {
    pid: i32,
    terminal: Option<File>,
    /// Its other side: the container may close its own and open it again.
    peer: Option<OwnedFd>,
    signals: Option<SignalFd>,
    restore: Option<Restore>,
}

/// Our terminal as it was.
struct Restore(Termios);

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}

impl Foreground {
    /// Signals that come from now on are passed on.
    pub fn new(pid: i32, terminal: Option<OwnedFd>) -> Self {
        let set = SigSet::all();
        let signals = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), None).and_then(|()| {
            SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        });
        let restore = terminal.as_ref().and_then(|_| {
            let before = tcgetattr(std::io::stdin()).ok()?;
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
            Some(Restore(before))
        });
        Self {
            pid,
            peer: terminal
                .as_ref()
                .and_then(|t| terminal_peer(t.as_fd()).ok()),
            terminal: terminal.map(File::from),
            signals: signals.ok(),
            restore,
        }
    }

    /// Waits for its end; its exit code, or 128 + the signal that killed it.
    pub fn wait(mut self) -> u8 {
        let mut stdin_open = true;
        let code = loop {
            if let Some(code) = self.reap() {
                break code;
            }
            let [signals, terminal, stdin] = self.poll(stdin_open, PollTimeout::NONE);
            if terminal {
                self.show();
            }
            if stdin {
                stdin_open = self.type_in();
            }
            if signals {
                self.pass_on();
            }
        };
        // Now its last user's end is its own, and only what has been written already counts.
        drop(self.peer.take());
        while self.terminal.is_some() && self.poll(false, PollTimeout::from(50u8))[1] {
            self.show();
        }
        drop(self.restore.take());
        code
    }

    fn poll(&self, stdin_open: bool, timeout: PollTimeout) -> [bool; 3] {
        let stdin = std::io::stdin();
        let mut sources: Vec<(usize, BorrowedFd<'_>)> = Vec::new();
        if let Some(signals) = &self.signals {
            sources.push((0, signals.as_fd()));
        }
        if let Some(terminal) = &self.terminal {
            sources.push((1, terminal.as_fd()));
            if stdin_open {
                sources.push((2, stdin.as_fd()));
            }
        }
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        let mut ready = [false; 3];
        if poll(&mut fds, timeout).is_ok() {
            for ((index, _), fd) in sources.iter().zip(&fds) {
                ready[*index] = fd.any().unwrap_or(false);
            }
        }
        ready
    }

    /// Copies what the terminal shows.
    fn show(&mut self) {
        let mut buffer = [0; 16 * 1024];
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        match terminal.read(&mut buffer) {
            Ok(count) if count > 0 => {
                let mut stdout = std::io::stdout();
                let _ = stdout.write_all(&buffer[..count]);
                let _ = stdout.flush();
            }
            // Its last user is gone.
            _ => self.terminal = None,
        }
    }

    /// Copies what is typed; false at its end.
    fn type_in(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let count = rustix::io::read(std::io::stdin(), &mut buffer[..]).unwrap_or(0);
        if let Some(terminal) = &mut self.terminal {
            let _ = terminal.write_all(&buffer[..count]);
        }
        count > 0
    }

    fn pass_on(&mut self) {
        while let Some(Ok(Some(info))) = self.signals.as_ref().map(SignalFd::read_signal) {
            let number = info.ssi_signo as i32;
            if number == Signal::SIGCHLD as i32 {
                continue;
            }
            if number == Signal::SIGWINCH as i32
                && let (Some(terminal), Ok(size)) = (
                    &self.terminal,
                    rustix::termios::tcgetwinsize(std::io::stdin()),
                )
            {
                let _ = rustix::termios::tcsetwinsize(terminal, size);
            }
            // SAFETY: takes integers; the process is our child and not yet reaped.
            unsafe { libc::kill(self.pid, number) };
        }
    }

    /// Reaps all that has ended; the code of the one we wait for.
    fn reap(&self) -> Option<u8> {
        let mut found = None;
        loop {
            let mut status = 0;
            // SAFETY: writes one integer.
            match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
                pid if pid == self.pid && libc::WIFEXITED(status) => {
                    found = Some(libc::WEXITSTATUS(status) as u8);
                }
                pid if pid == self.pid && libc::WIFSIGNALED(status) => {
                    found = Some(128_u8.wrapping_add(libc::WTERMSIG(status) as u8));
                }
                pid if pid > 0 => {}
                _ => return found,
            }
        }
    }
}
