//! One loop moves everything: what is typed, what is written, signals and sizes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::keys::DetachKeys;
use super::outputs::Outputs;
use super::raw::RawMode;
use super::session::Session;
use super::signals::Signals;
use super::window_size;
use crate::failure::Result;

const CHUNK: usize = 16 * 1024;

/// How the loop ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The process ended with this code; all it wrote has been written.
    Exit(i32),
    /// The user typed the detach keys.
    Detached,
    /// A signal that is not for the container.
    Signal(i32),
}

/// What the loop has to know.
pub struct Pump {
    /// Pass standard input on.
    pub stdin: bool,
    /// The process has a terminal: raw mode, sizes, detach keys.
    pub tty: bool,
    /// Pass signals on.
    pub sig_proxy: bool,
    pub detach_keys: DetachKeys,
}

impl Pump {
    /// Moves bytes until the process ends or the user leaves. The terminal is as before when this returns.
    pub fn run(mut self, session: &mut impl Session, signals: &Signals) -> Result<End> {
        let _raw = match self.tty && self.stdin {
            true => RawMode::enter()?,
            false => None,
        };
        if self.tty {
            tell_size(session)?;
        }
        let mut outputs = Outputs::new();
        let mut exit = None;
        loop {
            if let Some(code) = exit
                && outputs.is_empty()
            {
                return Ok(End::Exit(code));
            }
            let ready = wait(
                session,
                signals,
                &outputs,
                self.stdin && exit.is_none(),
                exit.is_none(),
            )?;
            if ready.output {
                outputs.write_some()?;
            }
            if ready.signal
                && let Some(end) = self.handle_signals(session, signals)?
            {
                return Ok(end);
            }
            if ready.stdin && self.handle_stdin(session)? {
                return Ok(End::Detached);
            }
            if ready.session && exit.is_none() {
                exit = session.advance(&mut outputs)?;
            }
        }
    }

    fn handle_signals(&self, session: &mut impl Session, signals: &Signals) -> Result<Option<End>> {
        while let Some(signal) = signals.next() {
            match signal {
                libc::SIGWINCH if self.tty => tell_size(session)?,
                libc::SIGWINCH => {}
                signal if self.sig_proxy => session.signal(signal)?,
                signal => return Ok(Some(End::Signal(signal))),
            }
        }
        Ok(None)
    }

    /// Passes input on; true for the detach keys.
    fn handle_stdin(&mut self, session: &mut impl Session) -> Result<bool> {
        let mut buffer = [0; CHUNK];
        let typed = match nix::unistd::read(io::stdin(), &mut buffer) {
            Ok(count) => &buffer[..count],
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(false),
            // A terminal that hung up, or no standard input at all.
            Err(_) => &[],
        };
        if typed.is_empty() {
            self.stdin = false;
            session.close_input()?;
            return Ok(false);
        }
        if !self.tty {
            session.input(typed)?;
            return Ok(false);
        }
        let (passed, detach) = self.detach_keys.filter(typed);
        if !passed.is_empty() {
            session.input(&passed)?;
        }
        Ok(detach)
    }
}

fn tell_size(session: &mut impl Session) -> Result<()> {
    match window_size() {
        Some(size) => session.resize(size),
        None => Ok(()),
    }
}

/// What is ready.
#[derive(Default)]
struct Ready {
    signal: bool,
    output: bool,
    stdin: bool,
    session: bool,
}

fn wait(
    session: &impl Session,
    signals: &Signals,
    outputs: &Outputs,
    stdin: bool,
    running: bool,
) -> Result<Ready> {
    let own_stdin = io::stdin();
    let mut fds: Vec<(Source, BorrowedFd<'_>, PollFlags)> =
        vec![(Source::Signal, signals.as_fd(), PollFlags::POLLIN)];
    fds.extend(
        outputs
            .next_fd()
            .map(|fd| (Source::Output, fd, PollFlags::POLLOUT)),
    );
    if stdin && session.takes_input() {
        fds.push((Source::Stdin, own_stdin.as_fd(), PollFlags::POLLIN));
    }
    if running {
        let interests = session
            .interests(!outputs.is_full())
            .into_iter()
            .filter(|(_, flags)| !flags.is_empty());
        fds.extend(interests.map(|(fd, flags)| (Source::Session, fd, flags)));
    }
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|(_, fd, flags)| PollFd::new(*fd, *flags))
        .collect();
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(errno) => return Err(io::Error::from(errno).into()),
    }
    let mut ready = Ready::default();
    for ((source, ..), fd) in fds.iter().zip(&polled) {
        let woken = fd.revents().is_some_and(|events| !events.is_empty());
        match source {
            Source::Signal => ready.signal |= woken,
            Source::Output => ready.output |= woken,
            Source::Stdin => ready.stdin |= woken,
            Source::Session => ready.session |= woken,
        }
    }
    Ok(ready)
}

enum Source {
    Signal,
    Output,
    Stdin,
    Session,
}
