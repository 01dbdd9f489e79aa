//! Queries over connections (RFC 7766).

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{Server, Slot};
use crate::dns::forward::{Client, has_message, take_message};
use crate::dns::message::{self, Verdict};

/// So many connections a container may have.
const MOST_CONNECTIONS: usize = 32;
/// Who leaves so many bytes of answers lie is heard again once they are taken.
const MOST_UNTAKEN: usize = 64 * 1024;
/// How long a connection may be idle (RFC 7766 6.2.3).
const IDLE: Duration = Duration::from_secs(10);

/// A connection from a container.
pub(super) struct Connection {
    pub(super) host: u64,
    pub(super) stream: TcpStream,
    seen: Vec<u8>,
    out: Vec<u8>,
    pub(super) deadline: Instant,
    /// Closed by the other side, or broken.
    over: bool,
}

impl Server<'_> {
    pub(super) fn accept(&mut self, number: u64, host: u64) {
        let Some(Slot::Tcp(_, listener)) = self.slots.get(&number) else {
            return;
        };
        let Ok((stream, _)) = listener.accept() else {
            return;
        };
        let full = match self.slots.get(&host) {
            Some(Slot::Container(container)) => container.connections >= MOST_CONNECTIONS,
            _ => true,
        };
        if full || stream.set_nonblocking(true).is_err() {
            return;
        }
        let connection = Connection {
            host,
            stream,
            seen: Vec::new(),
            out: Vec::new(),
            deadline: Instant::now() + IDLE,
            over: false,
        };
        if let Ok(part) = self.add(Slot::Connection(Box::new(connection))) {
            self.own(host, part);
            if let Some(Slot::Container(container)) = self.slots.get_mut(&host) {
                container.connections += 1;
            }
        }
    }

    /// A container's connection is ready to be read or written.
    pub(super) fn stream(&mut self, number: u64) {
        let Some(Slot::Connection(connection)) = self.slots.get_mut(&number) else {
            return;
        };
        let (host, before) = (connection.host, connection.deadline);
        connection.write();
        connection.read(&mut self.buffer);
        connection.deadline = Instant::now() + IDLE;
        let after = connection.deadline;
        self.deadlines.remove(&(before, number));
        self.deadlines.insert((after, number));
        while let Some(query) = self.next_query(number) {
            let Some(Slot::Container(container)) = self.slots.get(&host) else {
                return;
            };
            match message::judge(&self.tables, &container.id, &query, false) {
                Verdict::Answer(bytes) => {
                    if let Some(Slot::Connection(connection)) = self.slots.get_mut(&number) {
                        connection.push(&bytes);
                    }
                }
                Verdict::Forward => self.forward(host, Client::Connection(number), query),
                Verdict::Ignore => {}
            }
        }
        self.flush(number);
    }

    /// The next query that has come completely, as long as the answers are taken.
    fn next_query(&mut self, number: u64) -> Option<Vec<u8>> {
        match self.slots.get_mut(&number) {
            Some(Slot::Connection(connection)) => connection.next_query(),
            _ => None,
        }
    }

    /// Writes what is to be written, waits for room if there is none, closes what is over.
    pub(super) fn flush(&mut self, number: u64) {
        let Some(Slot::Connection(connection)) = self.slots.get_mut(&number) else {
            return;
        };
        connection.write();
        if connection.over {
            self.take(number);
            return;
        }
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, !connection.is_full());
        flags.set(EpollFlags::EPOLLOUT, !connection.out.is_empty());
        let mut event = EpollEvent::new(flags, number);
        let _ = self.epoll.modify(&connection.stream, &mut event);
    }
}

impl Connection {
    fn is_full(&self) -> bool {
        self.out.len() >= MOST_UNTAKEN
    }

    /// Reads once, unless there is something to be done yet.
    fn read(&mut self, buffer: &mut [u8]) {
        if self.is_full() || has_message(&self.seen) {
            return;
        }
        match self.stream.read(buffer) {
            Ok(0) => self.over = true,
            Ok(length) => self.seen.extend_from_slice(&buffer[..length]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.over = true,
        }
    }

    fn next_query(&mut self) -> Option<Vec<u8>> {
        if self.is_full() {
            self.write();
        }
        match self.is_full() {
            true => None,
            false => take_message(&mut self.seen),
        }
    }

    pub(super) fn push(&mut self, message: &[u8]) {
        let Ok(length) = u16::try_from(message.len()) else {
            return;
        };
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(message);
    }

    fn write(&mut self) {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.over = true;
                    return;
                }
            }
        }
    }
}
