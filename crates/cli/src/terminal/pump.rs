//! One loop moves everything: what is typed, what is written, signals and sizes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rctr_engine::WindowSize;

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
    /// Have what runs on the terminal draw itself anew, as it has been there before.
    pub redraw: bool,
    pub detach_keys: DetachKeys,
}

impl Pump {
    /// Moves bytes until the process ends or the user leaves. The terminal is as before when this returns.
    pub fn run(self, session: &mut impl Session, signals: &Signals) -> Result<End> {
        self.run_with(session, signals, Outputs::standard()?)
    }

    fn run_with(
        mut self,
        session: &mut impl Session,
        signals: &Signals,
        mut outputs: Outputs,
    ) -> Result<End> {
        let _raw = match self.tty && self.stdin {
            true => RawMode::enter()?,
            false => None,
        };
        if self.tty {
            if let Some(size) = window_size().filter(|_| self.redraw) {
                // Programs draw when the size changes, and only then.
                session.resize(WindowSize {
                    rows: size.rows.saturating_add(1),
                    cols: size.cols.saturating_add(1),
                })?;
            }
            tell_size(session)?;
        }
        let mut exit = None;
        // A session that was left while it had more to give: what it holds by now no poll would tell.
        let mut stalled = false;
        loop {
            if let Some(code) = exit
                && outputs.is_empty()
            {
                return Ok(End::Exit(code));
            }
            let resume = stalled && !outputs.is_full();
            let interest = Interest {
                stdin: self.stdin && exit.is_none(),
                session: exit.is_none(),
                timeout: if resume {
                    PollTimeout::ZERO
                } else {
                    PollTimeout::NONE
                },
            };
            let ready = wait(session, signals, &outputs, interest)?;
            if ready.output {
                outputs.write_some()?;
            }
            if ready.signal
                && let Some(end) = self.handle_signals(session, signals)?
            {
                return Ok(end);
            }
            if ready.stdin && self.handle_stdin(session)? {
                session.detached();
                return Ok(End::Detached);
            }
            if (ready.session || resume) && exit.is_none() {
                exit = session.advance(&mut outputs)?;
                stalled = outputs.is_full();
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

/// What to wait for, and how long.
struct Interest {
    stdin: bool,
    session: bool,
    timeout: PollTimeout,
}

fn wait(
    session: &impl Session,
    signals: &Signals,
    outputs: &Outputs,
    interest: Interest,
) -> Result<Ready> {
    let own_stdin = io::stdin();
    let mut fds: Vec<(Source, BorrowedFd<'_>, PollFlags)> =
        vec![(Source::Signal, signals.as_fd(), PollFlags::POLLIN)];
    fds.extend(
        outputs
            .next_fd()
            .map(|fd| (Source::Output, fd, PollFlags::POLLOUT)),
    );
    if interest.stdin && session.takes_input() {
        fds.push((Source::Stdin, own_stdin.as_fd(), PollFlags::POLLIN));
    }
    if interest.session {
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
    match poll(&mut polled, interest.timeout) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::outputs::Target;
    use std::io::{PipeReader, Read};
    use std::os::fd::OwnedFd;

    /// Has read all it will ever read: its descriptor tells of it only once.
    struct Buffered {
        wake: PipeReader,
        woken: bool,
        chunks: Vec<Vec<u8>>,
        input: Vec<u8>,
        input_closed: bool,
    }

    impl Buffered {
        fn new(chunks: Vec<Vec<u8>>) -> Buffered {
            let (wake, mut writer) = io::pipe().unwrap();
            io::Write::write_all(&mut writer, b"x").unwrap();
            // Kept open, so that the reader does not become readable again by its end.
            std::mem::forget(writer);
            Buffered {
                wake,
                woken: false,
                chunks,
                input: Vec::new(),
                input_closed: false,
            }
        }
    }

    impl Session for Buffered {
        fn interests(&self, reading: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
            let flags = if reading {
                PollFlags::POLLIN
            } else {
                PollFlags::empty()
            };
            vec![(self.wake.as_fd(), flags)]
        }

        fn advance(&mut self, outputs: &mut Outputs) -> Result<Option<i32>> {
            if !self.woken {
                self.woken = true;
                self.wake.read_exact(&mut [0]).unwrap();
            }
            while !outputs.is_full() {
                match self.chunks.pop() {
                    Some(chunk) => outputs.push(Target::Stdout, chunk),
                    None => return Ok(Some(5)),
                }
            }
            Ok(None)
        }

        fn takes_input(&self) -> bool {
            true
        }

        fn input(&mut self, bytes: &[u8]) -> Result<()> {
            self.input.extend(bytes);
            Ok(())
        }

        fn close_input(&mut self) -> Result<()> {
            self.input_closed = true;
            Ok(())
        }

        fn resize(&mut self, _: WindowSize) -> Result<()> {
            Ok(())
        }

        fn signal(&mut self, _: i32) -> Result<()> {
            Ok(())
        }

        fn detached(&mut self) {}
    }

    fn pump() -> Pump {
        Pump {
            stdin: false,
            tty: false,
            sig_proxy: true,
            redraw: false,
            detach_keys: DetachKeys::parse(None).unwrap(),
        }
    }

    #[test]
    fn nothing_is_lost_when_the_reader_is_slow() {
        let mut session = Buffered::new(vec![vec![b'a'; 100_000]; 20]);
        let (mut reader, writer) = io::pipe().unwrap();
        let counter = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all.len()
        });
        let writer = OwnedFd::from(writer);
        let outputs = Outputs::new(writer.try_clone().unwrap(), writer);
        let signals = Signals::catch().unwrap();
        assert_eq!(
            pump().run_with(&mut session, &signals, outputs).unwrap(),
            End::Exit(5)
        );
        assert_eq!(counter.join().unwrap(), 2_000_000);
    }

    #[test]
    fn a_reader_that_goes_away_ends_it() {
        let mut session = Buffered::new(vec![vec![b'a'; 100_000]; 20]);
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let writer = OwnedFd::from(writer);
        let outputs = Outputs::new(writer.try_clone().unwrap(), writer);
        let signals = Signals::catch().unwrap();
        assert_eq!(
            pump()
                .run_with(&mut session, &signals, outputs)
                .unwrap_err()
                .code(),
            141
        );
    }
}
