//! A process in a container as the pump sees it, whether it was attached to or started with `exec`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;
use rctr_engine::{AttachEvent, AttachStream, Engine, ExecSession, WindowSize};

use super::outputs::{Outputs, Target};
use crate::failure::{Failure, GENERAL, Result};

const CHUNK: usize = 16 * 1024;

/// What the pump moves bytes to and from.
pub trait Session {
    /// What to poll, and for what; `reading` is false while output waits to be written.
    fn interests(&self, reading: bool) -> Vec<(BorrowedFd<'_>, PollFlags)>;

    /// Moves what can be moved without blocking; gives the exit code at the end.
    fn advance(&mut self, outputs: &mut Outputs) -> Result<Option<i32>>;

    /// Whether it takes more input now.
    fn takes_input(&self) -> bool;

    /// Gives it input.
    fn input(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends its input.
    fn close_input(&mut self) -> Result<()>;

    /// Tells it the terminal's size.
    fn resize(&mut self, size: WindowSize) -> Result<()>;

    /// Sends it a signal.
    fn signal(&mut self, signal: i32) -> Result<()>;

    /// The user has left it running.
    fn detached(&mut self);
}

/// A container that somebody is attached to.
pub struct Attached<'a> {
    pub engine: &'a Engine,
    pub id: &'a str,
    pub stream: &'a mut AttachStream,
}

impl Session for Attached<'_> {
    fn interests(&self, reading: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, reading);
        flags.set(PollFlags::POLLOUT, self.stream.wants_write());
        vec![(self.stream.as_fd(), flags)]
    }

    fn advance(&mut self, outputs: &mut Outputs) -> Result<Option<i32>> {
        self.stream.flush().map_err(runtime)?;
        while !outputs.is_full() {
            match self.stream.try_next().map_err(runtime)? {
                Some(AttachEvent::Stdout(bytes)) => outputs.push(Target::Stdout, bytes),
                Some(AttachEvent::Stderr(bytes)) => outputs.push(Target::Stderr, bytes),
                Some(AttachEvent::Exit(status)) => return Ok(Some(status.code)),
                None => break,
            }
        }
        Ok(None)
    }

    fn takes_input(&self) -> bool {
        !self.stream.wants_write()
    }

    fn input(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.send_stdin(bytes).map_err(runtime)
    }

    fn close_input(&mut self) -> Result<()> {
        self.stream.close_stdin().map_err(runtime)
    }

    fn resize(&mut self, size: WindowSize) -> Result<()> {
        Ok(self.engine.resize_attached(self.id, self.stream, size)?)
    }

    fn signal(&mut self, signal: i32) -> Result<()> {
        Ok(self.engine.signal_attached(self.id, self.stream, signal)?)
    }

    fn detached(&mut self) {
        self.engine.detached(self.id);
    }
}

fn runtime(error: impl Into<rctr_engine::Error>) -> Failure {
    Failure::from(error.into())
}

/// `exec`: pipes or a terminal of our own, and a handle that tells the end.
pub struct ExecPump<'a> {
    session: &'a mut ExecSession,
    /// Output still open: stdout or the terminal, and stderr.
    open: [bool; 2],
    /// Input that the process has not taken yet.
    pending: Vec<u8>,
    closing: bool,
}

impl<'a> ExecPump<'a> {
    pub fn new(session: &'a mut ExecSession) -> Result<ExecPump<'a>> {
        let has_pty = session.pty().is_some();
        let open = [
            has_pty || session.stdout.is_some(),
            session.stderr.is_some(),
        ];
        for fd in [
            session.pty(),
            fd(&session.stdin),
            fd(&session.stdout),
            fd(&session.stderr),
        ]
        .into_iter()
        .flatten()
        {
            set_nonblocking(fd)?;
        }
        Ok(ExecPump {
            session,
            open,
            pending: Vec::new(),
            closing: false,
        })
    }

    fn output(&self, index: usize) -> Option<BorrowedFd<'_>> {
        let fd = match index {
            0 => self.session.pty().or(fd(&self.session.stdout)),
            _ => fd(&self.session.stderr),
        };
        fd.filter(|_| self.open[index])
    }

    fn input_fd(&self) -> Option<BorrowedFd<'_>> {
        self.session.pty().or(fd(&self.session.stdin))
    }

    /// Reads one output until it would block, ends or enough waits.
    fn drain(&mut self, index: usize, target: Target, outputs: &mut Outputs) -> Result<()> {
        let mut buffer = [0; CHUNK];
        while let Some(fd) = self.output(index) {
            if outputs.is_full() {
                break;
            }
            match nix::unistd::read(fd, &mut buffer) {
                // A terminal whose last process has gone gives an error instead of an end.
                Ok(0) | Err(nix::Error::EIO) => self.open[index] = false,
                Ok(count) => outputs.push(target, buffer[..count].to_vec()),
                Err(nix::Error::EAGAIN) => break,
                Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
        }
        Ok(())
    }

    fn send_pending(&mut self) {
        while !self.pending.is_empty() {
            let Some(fd) = self.input_fd() else {
                self.pending.clear();
                break;
            };
            match nix::unistd::write(fd, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(nix::Error::EAGAIN) => break,
                Err(nix::Error::EINTR) => {}
                // The process reads no more.
                Err(_) => {
                    self.pending.clear();
                    self.session.stdin = None;
                }
            }
        }
        if self.closing && self.pending.is_empty() {
            self.session.stdin = None;
        }
    }

    fn has_ended(&self) -> bool {
        let mut fds = [nix::poll::PollFd::new(
            self.session.as_fd(),
            PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl Session for ExecPump<'_> {
    fn interests(&self, reading: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut interests = Vec::with_capacity(4);
        if reading {
            interests.push((self.session.as_fd(), PollFlags::POLLIN));
            interests.extend(
                (0..2)
                    .filter_map(|index| self.output(index))
                    .map(|fd| (fd, PollFlags::POLLIN)),
            );
        }
        if let Some(fd) = self.input_fd().filter(|_| !self.pending.is_empty()) {
            interests.push((fd, PollFlags::POLLOUT));
        }
        interests
    }

    fn advance(&mut self, outputs: &mut Outputs) -> Result<Option<i32>> {
        self.send_pending();
        // Looked at before the output: what the process wrote before its end is there by then.
        let ended = self.has_ended();
        self.drain(0, Target::Stdout, outputs)?;
        self.drain(1, Target::Stderr, outputs)?;
        match ended && !outputs.is_full() {
            true => Ok(Some(self.session.wait()?)),
            false => Ok(None),
        }
    }

    fn takes_input(&self) -> bool {
        self.pending.is_empty() && self.input_fd().is_some()
    }

    fn input(&mut self, bytes: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(bytes);
        self.send_pending();
        Ok(())
    }

    fn close_input(&mut self) -> Result<()> {
        self.closing = true;
        self.send_pending();
        Ok(())
    }

    fn resize(&mut self, size: WindowSize) -> Result<()> {
        Ok(self.session.resize(size)?)
    }

    fn signal(&mut self, signal: i32) -> Result<()> {
        Ok(self.session.signal(signal)?)
    }

    fn detached(&mut self) {
        self.session.detached();
    }
}

fn fd(owned: &Option<OwnedFd>) -> Option<BorrowedFd<'_>> {
    owned.as_ref().map(AsFd::as_fd)
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    let failed = |errno| Failure::new(GENERAL, format!("fcntl: {errno}"));
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).map_err(failed)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(failed)?;
    Ok(())
}
