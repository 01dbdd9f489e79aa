//! One connection to the monitor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

use crate::protocol::{Fill, FrameReader, FrameType, Reply, frame, json_frame, send_with_fds};
use crate::spec::AttachOptions;

/// An attached client that has this much to take yet holds up the container's output.
const BEHIND: usize = 128 * 1024;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Requests and replies.
    Talking,
    /// The container's streams.
    Attached(AttachOptions),
    /// Waits for the container's end.
    Waiting,
    /// Waits for the end of the process it has had executed.
    Exec(i32),
}

/// One connection.
pub(super) struct Peer {
    socket: UnixStream,
    reader: FrameReader,
    outgoing: Vec<u8>,
    pub role: Role,
    /// It has settled what it promised to.
    pub settled: bool,
    /// What is to be run when it goes, unless it settles that the process it has had executed has ended.
    pub end_command: Option<Vec<String>>,
    /// The other end has gone, or talks nonsense.
    pub gone: bool,
}

impl Peer {
    pub(super) fn new(socket: UnixStream, role: Role) -> Self {
        let gone = socket.set_nonblocking(true).is_err();
        Self {
            socket,
            reader: FrameReader::default(),
            outgoing: Vec::new(),
            role,
            settled: false,
            end_command: None,
            gone,
        }
    }

    /// Queues a reply and sends what fits.
    pub(super) fn reply(&mut self, reply: &Reply) {
        self.outgoing.extend(json_frame(FrameType::Reply, reply));
        self.flush();
    }

    /// Sends a reply together with a descriptor; only on a connection with nothing queued.
    pub(super) fn reply_with_fd(&mut self, reply: &Reply, fd: Option<OwnedFd>) {
        let bytes = json_frame(FrameType::Reply, reply);
        let fds: Vec<BorrowedFd<'_>> = fd.iter().map(|fd| fd.as_fd()).collect();
        self.gone |= send_with_fds(&self.socket, &bytes, &fds).is_err();
    }

    /// Queues output and sends what fits.
    pub(super) fn output(&mut self, kind: FrameType, bytes: &[u8]) {
        self.outgoing.extend(frame(kind, bytes));
        self.flush();
    }

    /// Sends what fits.
    pub(super) fn flush(&mut self) {
        while !self.outgoing.is_empty() && !self.gone {
            match send(
                self.socket.as_raw_fd(),
                &self.outgoing,
                MsgFlags::MSG_NOSIGNAL,
            ) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(nix::Error::EAGAIN) => return,
                Err(nix::Error::EINTR) => {}
                Err(_) => self.gone = true,
            }
        }
        self.outgoing.shrink_to(0);
    }

    /// Whether bytes wait for it.
    pub(super) fn wants_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the container's output should wait for it.
    pub(super) fn is_behind(&self) -> bool {
        self.outgoing.len() >= BEHIND
    }

    /// Whether it feeds standard input.
    pub(super) fn feeds_stdin(&self) -> bool {
        matches!(self.role, Role::Attached(options) if options.stdin)
    }

    /// Whether its promise to settle still stands.
    pub(super) fn will_settle(&self) -> bool {
        !self.settled && matches!(self.role, Role::Attached(options) if options.settle)
    }

    /// Reads once; the next frames are then had from [`next_frame`](Self::next_frame).
    pub(super) fn read(&mut self) {
        match self.reader.fill(&self.socket) {
            Ok(Fill::Data | Fill::WouldBlock) => {}
            Ok(Fill::Closed) | Err(_) => self.gone = true,
        }
    }

    /// Whether the other end has gone, whatever it has left to read.
    pub(super) fn has_left(&self) -> bool {
        // Its end is told unasked.
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ended| ended > 0)
    }

    /// A whole frame, if there is one.
    pub(super) fn next_frame(&mut self) -> Option<(FrameType, Vec<u8>)> {
        match self.reader.next() {
            Ok(frame) => frame,
            Err(_) => {
                self.gone = true;
                None
            }
        }
    }

    /// The descriptors that came along.
    pub(super) fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.reader.take_fds()
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
