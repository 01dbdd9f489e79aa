//! Datagrams. Answers have to find the client again, so each client has a socket of its own inside, for a while.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recvfrom, send, sendto,
    socket_with, sockopt,
};

use super::{Source, watch};
use crate::spec::Forward;

/// A client that neither asks nor is answered this long is forgotten, as by the kernel's connection tracking.
const IDLE: Duration = Duration::from_secs(120);
const MOST: usize = 4096;
/// What the port's socket gets back: while it only held the port it had none.
const RECEIVE_BUFFER: usize = 212_992;

pub(super) fn prepare(socket: &OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(socket, true)?;
    Ok(sockopt::set_socket_recv_buffer_size(
        socket,
        RECEIVE_BUFFER,
    )?)
}

struct Flow {
    listener: usize,
    client: SocketAddr,
    socket: OwnedFd,
    used: Instant,
}

/// All clients.
#[derive(Default)]
pub(super) struct Flows {
    by_client: HashMap<(usize, SocketAddr), usize>,
    slots: HashMap<usize, Flow>,
    next: usize,
    swept: Option<Instant>,
}

impl Flows {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Passes on what has come for a port.
    pub(super) fn incoming(
        &mut self,
        epoll: &Epoll,
        listener: usize,
        socket: &OwnedFd,
        to: SocketAddr,
        buffer: &mut [u8],
    ) {
        // Bounded, so that one port does not keep the others waiting.
        for _ in 0..64 {
            let Ok((length, _, Some(from))) = recvfrom(socket, &mut *buffer, RecvFlags::empty())
            else {
                return;
            };
            let Ok(client) = SocketAddr::try_from(from) else {
                continue;
            };
            let Ok(index) = self.flow(epoll, listener, client, to) else {
                continue;
            };
            if let Some(flow) = self.slots.get_mut(&index) {
                flow.used = Instant::now();
                // A datagram that is lost is lost.
                let _ = send(&flow.socket, &buffer[..length], SendFlags::NOSIGNAL);
            }
        }
    }

    fn flow(
        &mut self,
        epoll: &Epoll,
        listener: usize,
        client: SocketAddr,
        to: SocketAddr,
    ) -> io::Result<usize> {
        if let Some(&index) = self.by_client.get(&(listener, client)) {
            return Ok(index);
        }
        if self.slots.len() >= MOST {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let family = match to {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        connect(&socket, &to)?;
        let index = self.next;
        watch(epoll, &socket, Source::Flow(index), EpollFlags::EPOLLIN)?;
        self.next += 1;
        self.by_client.insert((listener, client), index);
        let flow = Flow {
            listener,
            client,
            socket,
            used: Instant::now(),
        };
        self.slots.insert(index, flow);
        Ok(index)
    }

    /// Passes answers back to a client.
    pub(super) fn answer(
        &mut self,
        index: usize,
        listeners: &[(OwnedFd, Forward)],
        buffer: &mut [u8],
    ) {
        let Some(flow) = self.slots.get_mut(&index) else {
            return;
        };
        // An error that the container's host has sent is read, and so cleared, here.
        for _ in 0..64 {
            let Ok(length) = rustix::io::read(&flow.socket, &mut *buffer) else {
                return;
            };
            flow.used = Instant::now();
            if let Some((socket, _)) = listeners.get(flow.listener) {
                let _ = sendto(socket, &buffer[..length], SendFlags::NOSIGNAL, &flow.client);
            }
        }
    }

    /// Forgets who has been quiet.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        if self.is_empty() || self.swept.is_some_and(|last| now < last + super::SWEEP) {
            return;
        }
        self.swept = Some(now);
        let by_client = &mut self.by_client;
        self.slots.retain(|_, flow| {
            let kept = now < flow.used + IDLE;
            if !kept {
                by_client.remove(&(flow.listener, flow.client));
            }
            kept
        });
    }
}
