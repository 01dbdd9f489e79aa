//! A client's end of a container's standard streams.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

use crate::client::Connection;
use crate::error::{Error, Result};
use crate::protocol::{Fill, FrameType, Reply, Request, frame, json_frame, parse};
use crate::spec::WindowSize;
use crate::state::ExitStatus;

/// What an attach stream brings.
#[derive(Debug, PartialEq, Eq)]
pub enum AttachEvent {
    /// Bytes of standard output, or of the terminal.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// The container has ended; all its output came before.
    Exit(ExitStatus),
}

/// A container's standard streams, as frames over a non-blocking socket.
///
/// For an event loop: poll [`as_fd`](AsFd::as_fd) for reading, and for writing while
/// [`wants_write`](Self::wants_write); when readable call [`try_next`](Self::try_next) until it gives `None`,
/// when writable [`flush`](Self::flush). Read no more input while `wants_write`, so that a container
/// that does not read its input holds up its typist and nobody else. Dropping it detaches.
pub struct AttachStream {
    connection: Connection,
    outgoing: Vec<u8>,
}

impl AttachStream {
    pub(crate) fn new(connection: Connection) -> Result<Self> {
        connection
            .socket
            .set_nonblocking(true)
            .map_err(|e| Error::system("set_nonblocking", e))?;
        Ok(Self {
            connection,
            outgoing: Vec::new(),
        })
    }

    /// The next event, if one has arrived whole.
    ///
    /// # Errors
    /// [`Error::MonitorLost`] when the monitor is gone without an exit status: it was killed.
    pub fn try_next(&mut self) -> Result<Option<AttachEvent>> {
        loop {
            match self.connection.reader.next()? {
                Some((FrameType::Stdout, bytes)) => return Ok(Some(AttachEvent::Stdout(bytes))),
                Some((FrameType::Stderr, bytes)) => return Ok(Some(AttachEvent::Stderr(bytes))),
                Some((FrameType::Reply, payload)) => match parse(&payload)? {
                    Reply::Exit(status) => return Ok(Some(AttachEvent::Exit(status))),
                    // Answers to resize requests nobody waits for.
                    Reply::Done | Reply::Refused(_) => {}
                    other => {
                        return Err(Error::Protocol {
                            reason: format!("unexpected {other:?} on an attach stream"),
                        });
                    }
                },
                Some((other, _)) => {
                    return Err(Error::Protocol {
                        reason: format!("unexpected {other:?} on an attach stream"),
                    });
                }
                None => match self.connection.reader.fill(&self.connection.socket)? {
                    Fill::Data => {}
                    Fill::WouldBlock => return Ok(None),
                    Fill::Closed => return Err(Error::MonitorLost),
                },
            }
        }
    }

    /// The next event; blocks until there is one, sending queued input meanwhile.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    pub fn next_event(&mut self) -> Result<AttachEvent> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, self.wants_write());
            let mut fds = [PollFd::new(self.connection.socket.as_fd(), flags)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(e) => return Err(Error::system("poll", e)),
            }
            if self.wants_write() {
                self.flush()?;
            }
        }
    }

    /// Queues bytes for the container's standard input and sends as much as fits.
    ///
    /// # Errors
    /// [`Error::System`]; a monitor that is gone shows in [`try_next`](Self::try_next).
    pub fn send_stdin(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(16 * 1024) {
            self.outgoing.extend(frame(FrameType::Stdin, chunk));
        }
        self.flush()
    }

    /// Closes the container's standard input (end of file), once what was sent before has been read.
    ///
    /// # Errors
    /// As [`send_stdin`](Self::send_stdin).
    pub fn close_stdin(&mut self) -> Result<()> {
        self.outgoing.extend(frame(FrameType::Stdin, &[]));
        self.flush()
    }

    /// Sets the terminal's size; without a terminal nothing happens.
    ///
    /// # Errors
    /// As [`send_stdin`](Self::send_stdin).
    pub fn resize(&mut self, size: WindowSize) -> Result<()> {
        self.request(&Request::Resize(size))
    }

    /// Sends a signal (its number) to the container's init; if it has ended nothing happens.
    ///
    /// # Errors
    /// As [`send_stdin`](Self::send_stdin).
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        self.request(&Request::Signal(signal))
    }

    /// Tells the monitor that the end of the container has been settled, as promised with
    /// [`crate::AttachOptions::settle`]; it need not run the exit command.
    ///
    /// # Errors
    /// As [`send_stdin`](Self::send_stdin).
    pub fn settled(mut self) -> Result<()> {
        self.connection
            .socket
            .set_nonblocking(false)
            .map_err(|e| Error::system("set_nonblocking", e))?;
        self.request(&Request::Settled)
    }

    /// Whether bytes wait until the monitor takes them.
    pub fn wants_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Sends as much of what waits as the monitor takes now.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn flush(&mut self) -> Result<()> {
        while !self.outgoing.is_empty() {
            let socket = self.connection.socket.as_raw_fd();
            match send(socket, &self.outgoing, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(nix::Error::EAGAIN) => break,
                Err(nix::Error::EINTR) => {}
                // What is left to read comes first; reading will then find the end.
                Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => self.outgoing.clear(),
                Err(e) => return Err(Error::system("send", io::Error::from(e))),
            }
        }
        Ok(())
    }

    fn request(&mut self, request: &Request) -> Result<()> {
        self.outgoing
            .extend(json_frame(FrameType::Request, request));
        self.flush()
    }
}

impl AsFd for AttachStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.socket.as_fd()
    }
}
