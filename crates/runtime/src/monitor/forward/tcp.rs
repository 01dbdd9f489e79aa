//! Connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, accept_with, connect, send,
    shutdown, socket_with, sockopt,
};

use super::{Source, rewatch, watch, would_block};

/// Makes the socket that held the port one that takes connections.
pub(super) fn listen(socket: &OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(socket, true)?;
    // Connections inherit it: those that have just ended do not keep the port from the container's next run.
    sockopt::set_socket_reuseaddr(socket, true)?;
    Ok(rustix::net::listen(socket, 4096)?)
}

/// One direction of a connection: what was read on one side and does not fit into the other yet.
#[derive(Default)]
struct Direction {
    waiting: Vec<u8>,
    /// The reading side will send no more.
    ended: bool,
    /// And the other has been told.
    told: bool,
}

struct Connection {
    client: OwnedFd,
    server: OwnedFd,
    connected: bool,
    /// From client to server, and back.
    there: Direction,
    back: Direction,
    closed: bool,
    /// What is being waited for, client and server; nothing any more of a side that is done both ways.
    watched: (Option<EpollFlags>, Option<EpollFlags>),
}

/// All connections.
#[derive(Default)]
pub(super) struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
    closed: Vec<usize>,
}

impl Connections {
    /// Takes all connections that wait on a listener; false if there was no descriptor for one.
    pub(super) fn accept(&mut self, epoll: &Epoll, listener: &OwnedFd, to: SocketAddr) -> bool {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let client = match accept_with(listener, flags) {
                Ok(client) => client,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => return false,
                Err(Errno::CONNABORTED) => continue,
                Err(_) => return true,
            };
            // A client that cannot be served is let go, as by a server that is not there.
            if let Ok(server) = dial(to) {
                let _ = sockopt::set_tcp_nodelay(&client, true);
                let _ = sockopt::set_tcp_nodelay(&server, true);
                self.add(epoll, client, server);
            }
        }
    }

    fn add(&mut self, epoll: &Epoll, client: OwnedFd, server: OwnedFd) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let none = EpollFlags::empty();
        let out = EpollFlags::EPOLLOUT;
        let watched = watch(epoll, &client, Source::Client(index), none)
            .and_then(|()| watch(epoll, &server, Source::Server(index), out));
        match watched {
            Ok(()) => {
                self.slots[index] = Some(Connection {
                    client,
                    server,
                    connected: false,
                    there: Direction::default(),
                    back: Direction::default(),
                    closed: false,
                    watched: (Some(none), Some(out)),
                });
            }
            Err(_) => self.free.push(index),
        }
    }

    /// Something can be done on one side of a connection.
    pub(super) fn ready(
        &mut self,
        epoll: &Epoll,
        index: usize,
        client: bool,
        flags: EpollFlags,
        buffer: &mut [u8],
    ) {
        let Some(Some(connection)) = self.slots.get_mut(index) else {
            return;
        };
        if connection.closed {
            return;
        }
        let worked = connection.work(client, flags, buffer).is_ok();
        if !worked || connection.is_over() || connection.wait(epoll, index).is_err() {
            connection.closed = true;
            self.closed.push(index);
        }
    }

    /// Only after all events of a round: others may be about the same connection.
    pub(super) fn remove_closed(&mut self) {
        for index in self.closed.drain(..) {
            self.slots[index] = None;
            self.free.push(index);
        }
    }
}

impl Connection {
    fn work(&mut self, client: bool, flags: EpollFlags, buffer: &mut [u8]) -> Result<(), Errno> {
        if !self.connected {
            if client {
                return Err(Errno::CONNRESET);
            }
            sockopt::socket_error(&self.server)??;
            self.connected = true;
        }
        let both = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        if flags.intersects(EpollFlags::EPOLLIN | both) {
            match client {
                true => self.there.pump(&self.client, &self.server, buffer)?,
                false => self.back.pump(&self.server, &self.client, buffer)?,
            }
        }
        if flags.intersects(EpollFlags::EPOLLOUT | both) {
            match client {
                true => self.back.flush(&self.client)?,
                false => self.there.flush(&self.server)?,
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.there.told && self.back.told
    }

    /// Asks to be told of what can be done next.
    fn wait(&mut self, epoll: &Epoll, index: usize) -> io::Result<()> {
        let client = interest(&self.there, &self.back);
        let server = interest(&self.back, &self.there);
        let watched = &mut self.watched;
        change(
            epoll,
            &self.client,
            Source::Client(index),
            &mut watched.0,
            client,
        )?;
        change(
            epoll,
            &self.server,
            Source::Server(index),
            &mut watched.1,
            server,
        )
    }
}

fn change(
    epoll: &Epoll,
    fd: &OwnedFd,
    source: Source,
    watched: &mut Option<EpollFlags>,
    wanted: Option<EpollFlags>,
) -> io::Result<()> {
    match wanted {
        _ if *watched == wanted => {}
        Some(flags) => rewatch(epoll, fd, source, flags)?,
        // It would be told of again and again.
        None => epoll.delete(fd)?,
    }
    *watched = wanted;
    Ok(())
}

/// Of one side: it is read while nothing waits to be passed on, and written while something waits for it.
fn interest(from: &Direction, to: &Direction) -> Option<EpollFlags> {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, !from.ended && from.waiting.is_empty());
    flags.set(EpollFlags::EPOLLOUT, !to.waiting.is_empty());
    (!(from.ended && to.told)).then_some(flags)
}

impl Direction {
    /// Passes on what there is, until one side has to be waited for.
    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd, buffer: &mut [u8]) -> Result<(), Errno> {
        // Bounded, so that one connection does not keep the others waiting.
        for _ in 0..16 {
            if self.ended || !self.waiting.is_empty() {
                break;
            }
            match rustix::io::read(from, &mut *buffer) {
                Ok(0) => self.ended = true,
                Ok(length) => self.waiting.extend_from_slice(&buffer[..length]),
                Err(e) if would_block(e) => break,
                Err(e) => return Err(e),
            }
            self.flush(to)?;
        }
        Ok(())
    }

    fn flush(&mut self, to: &OwnedFd) -> Result<(), Errno> {
        let mut sent = 0;
        while sent < self.waiting.len() {
            match send(to, &self.waiting[sent..], SendFlags::NOSIGNAL) {
                Ok(length) => sent += length,
                Err(e) if would_block(e) => break,
                Err(e) => return Err(e),
            }
        }
        self.waiting.drain(..sent);
        if self.ended && self.waiting.is_empty() && !self.told {
            self.told = true;
            match shutdown(to, Shutdown::Write) {
                // It has gone by itself.
                Ok(()) | Err(Errno::NOTCONN) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn dial(to: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(socket.as_fd(), &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}
