//! Queries on their way to other servers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket, sockopt,
};
use rand::Rng;

use super::message;
use crate::netns;

/// How long a server has before the next one is asked; who asks us waits five seconds in all.
const PATIENCE: Duration = Duration::from_millis(2000);

/// Whom to give the answer.
#[derive(Debug)]
pub(super) enum Client {
    /// By the datagram socket of a container.
    Datagram(SocketAddr),
    /// By the connection of this number.
    Connection(u64),
}

/// A query that another server is to answer.
#[derive(Debug)]
pub(super) struct Pending {
    /// Number of the container's sockets.
    pub(super) host: u64,
    pub(super) client: Client,
    /// As it came.
    query: Vec<u8>,
    /// Whom to ask after the present one.
    rest: Vec<SocketAddr>,
    pub(super) deadline: Instant,
    /// Under this id it was sent.
    id: [u8; 2],
    wire: Wire,
}

/// That nobody answers a query.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) client: Client,
    /// What to tell the client.
    pub(super) failure: Option<Vec<u8>>,
}

impl Unanswered {
    pub(super) fn new(client: Client, query: &[u8]) -> Unanswered {
        Unanswered {
            client,
            failure: message::server_failure(query),
        }
    }
}

#[derive(Debug)]
enum Wire {
    Datagram(UdpSocket),
    /// The bytes still to be sent, then those received.
    Stream(TcpStream, Vec<u8>, Vec<u8>),
}

/// How far a query has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing yet.
    Waiting,
    /// This is the answer.
    Answered(Vec<u8>),
    /// This server has none.
    Failed(Option<Vec<u8>>),
}

impl Pending {
    /// Asks the first of `servers` that can be asked. From inside `netns` if one is given.
    pub(super) fn start(
        host: u64,
        client: Client,
        query: Vec<u8>,
        servers: Vec<SocketAddr>,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<Pending, Unanswered> {
        let stream = matches!(client, Client::Connection(_));
        let mut rest = servers.into_iter();
        while let Some(server) = rest.next() {
            let id = rand::rng().random::<[u8; 2]>();
            let sent = match netns {
                Some(netns) => {
                    netns::within(netns, || Ok(Wire::open(server, &query, id, stream))).ok()
                }
                None => Some(Wire::open(server, &query, id, stream)),
            };
            if let Some(Ok(wire)) = sent {
                return Ok(Pending {
                    host,
                    client,
                    query,
                    rest: rest.collect(),
                    deadline: Instant::now() + PATIENCE,
                    id,
                    wire,
                });
            }
        }
        Err(Unanswered::new(client, &query))
    }

    /// Asks the next server.
    pub(super) fn next(self, netns: Option<BorrowedFd<'_>>) -> Result<Pending, Unanswered> {
        Pending::start(self.host, self.client, self.query, self.rest, netns)
    }

    pub(super) fn has_more(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Gives up; that nobody answered.
    pub(super) fn give_up(self) -> Unanswered {
        Unanswered::new(self.client, &self.query)
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        match &self.wire {
            Wire::Datagram(socket) => socket.as_fd(),
            Wire::Stream(stream, ..) => stream.as_fd(),
        }
    }

    /// Whether something is left to be sent.
    pub(super) fn wants_to_write(&self) -> bool {
        matches!(&self.wire, Wire::Stream(_, out, _) if !out.is_empty())
    }

    /// Looks at the socket, which is ready for something.
    pub(super) fn proceed(&mut self, buffer: &mut [u8]) -> Progress {
        let received = match &mut self.wire {
            Wire::Datagram(socket) => match socket.recv(buffer) {
                Ok(length) => Ok(Some(buffer[..length].to_vec())),
                Err(e) => Err(e),
            },
            Wire::Stream(stream, out, seen) => exchange(stream, out, seen, buffer),
        };
        match received {
            Ok(Some(mut response)) if message::responds_to(&response, &self.query, self.id) => {
                response[..2].copy_from_slice(&self.query[..2]);
                match message::is_failure(&response) {
                    true => Progress::Failed(Some(response)),
                    false => Progress::Answered(response),
                }
            }
            // What somebody else sent.
            Ok(_) => Progress::Waiting,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Progress::Waiting,
            Err(_) => Progress::Failed(None),
        }
    }
}

impl Wire {
    fn open(server: SocketAddr, query: &[u8], id: [u8; 2], stream: bool) -> io::Result<Wire> {
        let mut query = query.to_vec();
        query[..2].copy_from_slice(&id);
        if stream {
            let length = (query.len() as u16).to_be_bytes();
            let connecting = connecting(server)?;
            return Ok(Wire::Stream(
                connecting.into(),
                [&length[..], &query].concat(),
                Vec::new(),
            ));
        }
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        // A new port for every query: an answer is hard to forge.
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        socket.send(&query)?;
        Ok(Wire::Datagram(socket))
    }
}

fn connecting(server: SocketAddr) -> io::Result<OwnedFd> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    // One write, one answer.
    nix::sys::socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(errno) => Err(errno.into()),
    }
}

/// Sends what is left, then reads; the message once it is complete.
fn exchange(
    stream: &mut TcpStream,
    out: &mut Vec<u8>,
    seen: &mut Vec<u8>,
    buffer: &mut [u8],
) -> io::Result<Option<Vec<u8>>> {
    if !out.is_empty() {
        let sent = stream.write(out)?;
        out.drain(..sent);
        return Ok(None);
    }
    match stream.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => {
            seen.extend_from_slice(&buffer[..length]);
            Ok(take_message(seen))
        }
    }
}

/// Where the first message of a stream ends, if it is complete (RFC 1035 4.2.2).
fn message_end(seen: &[u8]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes(*seen.first_chunk()?));
    (seen.len() >= 2 + length).then_some(2 + length)
}

/// Whether the first message of a stream is complete.
pub(super) fn has_message(seen: &[u8]) -> bool {
    message_end(seen).is_some()
}

/// The first message of a stream, if it is complete.
pub(super) fn take_message(seen: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = message_end(seen)?;
    Some(seen.drain(..end).skip(2).collect())
}
