//! Netlink on plain sockets: writing messages, sending them, reading the answers.
//!
//! One small writer serves routes and nftables alike; nothing here knows what the numbers mean.
//! The kernel works a request off inside `send`, so an answer waits in the socket once `send` returned.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    setsockopt, socket, sockopt,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::{Error, Result};

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
/// Attribute of an error message with the kernel's explanation (NLMSGERR_ATTR_MSG).
const EXPLANATION: u16 = 1;
/// The largest datagram the kernel fills for a dump.
const RECEIVE_BUFFER: usize = 32 * 1024;
/// What fits into a socket's send buffer by default, with room to spare.
const SMALL_SEND: usize = 96 * 1024;

/// Requests to be sent in one datagram; the first one has the number 1.
#[derive(Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    count: u32,
}

impl Requests {
    /// Adds a message: its fixed header, then the attributes that `body` writes.
    pub(crate) fn push(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        body: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.count += 1;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        body(&mut Attributes(&mut self.bytes));
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Writer of netlink attributes at the end of a message.
pub(crate) struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = (4 + value.len()) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// In the byte order of the machine, as routes want it.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// In network byte order, as nftables wants it.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// With a NUL at the end.
    pub(crate) fn string(&mut self, kind: u16, value: &str) {
        let length = (4 + value.len() + 1) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// An attribute that holds the attributes `body` writes.
    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        self.nest_after(kind, &[], body);
    }

    /// The same with a fixed header before the inner attributes.
    pub(crate) fn nest_after(
        &mut self,
        kind: u16,
        header: &[u8],
        body: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        self.0.extend_from_slice(header);
        body(&mut Attributes(self.0));
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// The attributes in `bytes` as (type, value); ends at the first malformed one.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// An attribute's text without its NUL.
pub(crate) fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|&b| b == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).unwrap_or_default()
}

pub(crate) fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

pub(crate) fn ne32(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

/// A message of the kernel that carries data.
pub(crate) struct Reply {
    /// Number of the request it answers.
    pub(crate) request: u32,
    /// Fixed header and attributes.
    pub(crate) body: Vec<u8>,
}

/// A request the kernel did not carry out.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Number of the request.
    pub(crate) request: u32,
    pub(crate) errno: Errno,
    message: Option<String>,
}

impl Refusal {
    pub(crate) fn into_error(self, operation: impl Into<String>) -> Error {
        Error::Netlink {
            operation: operation.into(),
            kernel_message: self.message,
            source: self.errno.into(),
        }
    }
}

/// All that the kernel answered to one datagram.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) replies: Vec<Reply>,
    pub(crate) refusals: Vec<Refusal>,
    done: bool,
    interrupted: bool,
}

impl Answer {
    /// The data that answers this request, if there is any.
    pub(crate) fn reply(&self, request: u32) -> Option<&[u8]> {
        let reply = self.replies.iter().find(|r| r.request == request)?;
        Some(&reply.body)
    }

    /// The replies if nothing was refused, else the first refusal.
    pub(crate) fn into_result(self) -> Result<Vec<Reply>, Refusal> {
        match self.refusals.into_iter().next() {
            Some(refusal) => Err(refusal),
            None => Ok(self.replies),
        }
    }

    fn read(&mut self, mut datagram: &[u8]) -> Option<()> {
        while datagram.len() >= HEADER {
            let field = |at: usize| ne32(datagram.get(at..at + 4)?);
            let length = field(0)? as usize;
            let kind = u16::from_ne_bytes(datagram[4..6].try_into().ok()?);
            let flags = i32::from(u16::from_ne_bytes(datagram[6..8].try_into().ok()?));
            let request = field(8)?;
            let body = datagram.get(HEADER..length)?;
            self.interrupted |= flags & libc::NLM_F_DUMP_INTR != 0;
            match i32::from(kind) {
                libc::NLMSG_NOOP => {}
                // A dump that fails midway says so in its last message.
                libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                    self.done |= i32::from(kind) == libc::NLMSG_DONE;
                    let code = body.get(..4).and_then(ne32).unwrap_or(0) as i32;
                    if code != 0 {
                        let told = flags & libc::NLM_F_ACK_TLVS != 0;
                        let tail = body.get(4 + HEADER..).filter(|_| told);
                        let message = tail.and_then(|tail| attribute(tail, EXPLANATION));
                        self.refusals.push(Refusal {
                            request,
                            errno: Errno::from_raw(-code),
                            message: message.map(|m| text(m).to_owned()),
                        });
                    }
                }
                _ => self.replies.push(Reply {
                    request,
                    body: body.to_vec(),
                }),
            }
            datagram = datagram
                .get(length.next_multiple_of(4)..)
                .unwrap_or_default();
        }
        Some(())
    }
}

/// A netlink socket of the network namespace it was made in, whichever its user is in later.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// For links, addresses and routes.
    pub(crate) fn route() -> Result<Self> {
        Self::open(SockProtocol::NetlinkRoute).map_err(|errno| Error::Netlink {
            operation: "open a route socket".to_owned(),
            kernel_message: None,
            source: errno.into(),
        })
    }

    /// For what the kernel tells of links, addresses and routes by itself: `groups` are bits, RTMGRP_*.
    pub(crate) fn route_events(groups: u32) -> Result<Self> {
        let socket = Self::route()?;
        bind(socket.fd.as_raw_fd(), &NetlinkAddr::new(0, groups))
            .map_err(|errno| transport("listen to the kernel", errno))?;
        Ok(socket)
    }

    /// For nftables and connection tracking.
    pub(crate) fn netfilter() -> Result<Self> {
        let operation = "open a netfilter socket".to_owned();
        Self::open(SockProtocol::NetlinkNetFilter).map_err(|errno| match errno {
            nix::Error::EPROTONOSUPPORT | nix::Error::EAFNOSUPPORT => {
                Error::NoNftables { operation }
            }
            other => Error::Netlink {
                operation,
                kernel_message: None,
                source: other.into(),
            },
        })
    }

    fn open(protocol: SockProtocol) -> nix::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        let socket = Self { fd };
        // Short answers, the kernel's own words, and dumps filtered as asked: all nice to have.
        for option in [
            libc::NETLINK_CAP_ACK,
            libc::NETLINK_EXT_ACK,
            libc::NETLINK_GET_STRICT_CHK,
        ] {
            socket.switch_on(option);
        }
        Ok(socket)
    }

    fn switch_on(&self, option: libc::c_int) {
        let one: libc::c_int = 1;
        // SAFETY: the pointer and length describe one live c_int; the kernel only reads it.
        unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const one).cast(),
                size_of_val(&one) as libc::socklen_t,
            );
        }
    }

    /// Sends requests that are no dumps and collects all answers; `operation` is for errors.
    pub(crate) fn exchange(&self, requests: &Requests, operation: &str) -> Result<Answer> {
        self.send(requests, operation)?;
        let mut answer = Answer::default();
        while self.receive(&mut answer, MsgFlags::MSG_DONTWAIT, operation)? {}
        Ok(answer)
    }

    /// Sends one dump request and collects what the kernel lists.
    pub(crate) fn dump(&self, request: &Requests, operation: &str) -> Result<Answer> {
        loop {
            self.send(request, operation)?;
            let mut answer = Answer::default();
            while !answer.done && answer.refusals.is_empty() {
                self.receive(&mut answer, MsgFlags::empty(), operation)?;
            }
            // Something changed while the kernel was listing: the list may have holes.
            if !answer.interrupted {
                return Ok(answer);
            }
        }
    }

    /// What the kernel tells next by itself; nothing once the time is over.
    pub(crate) fn next_event(&self, deadline: Instant) -> Result<Option<Vec<Reply>>> {
        let operation = "listen to the kernel";
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let mut polled = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut polled, left.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(transport(operation, Errno::from_raw(errno.raw_os_error()))),
        }
        let mut told = Answer::default();
        self.receive(&mut told, MsgFlags::MSG_DONTWAIT, operation)?;
        Ok(Some(told.replies))
    }

    fn send(&self, requests: &Requests, operation: &str) -> Result<()> {
        if requests.bytes.len() > SMALL_SEND {
            let size = requests.bytes.len() * 2;
            let grown = setsockopt(&self.fd, sockopt::SndBufForce, &size)
                .or_else(|_| setsockopt(&self.fd, sockopt::SndBuf, &size));
            grown.map_err(|errno| transport(operation, errno))?;
        }
        let kernel = NetlinkAddr::new(0, 0);
        loop {
            let sent = sendto(
                self.fd.as_raw_fd(),
                &requests.bytes,
                &kernel,
                MsgFlags::empty(),
            );
            match sent {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(transport(operation, errno)),
            }
        }
    }

    /// Reads one datagram; false when none waits.
    fn receive(&self, answer: &mut Answer, flags: MsgFlags, operation: &str) -> Result<bool> {
        let mut buffer = [0; RECEIVE_BUFFER];
        loop {
            match recv(self.fd.as_raw_fd(), &mut buffer, flags) {
                Ok(length) => {
                    return match answer.read(&buffer[..length]) {
                        Some(()) => Ok(true),
                        None => Err(Error::MalformedReply {
                            operation: operation.to_owned(),
                        }),
                    };
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(transport(operation, errno)),
            }
        }
    }
}

fn transport(operation: &str, errno: Errno) -> Error {
    Error::Netlink {
        operation: operation.to_owned(),
        kernel_message: None,
        source: io::Error::from(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_nested_and_read_back() {
        let mut requests = Requests::default();
        requests.push(7, 0, &[1, 2, 3, 4], |a| {
            a.string(1, "lo");
            a.nest(2, |a| {
                a.be32(3, 5);
                a.u8(4, 9);
            });
        });
        let length = ne32(&requests.bytes[..4]).unwrap() as usize;
        assert_eq!(length, requests.bytes.len());
        let body = &requests.bytes[HEADER + 4..];
        assert_eq!(text(attribute(body, 1).unwrap()), "lo");
        let inner = attribute(body, 2).unwrap();
        assert_eq!(attribute(inner, 3), Some(&[0, 0, 0, 5][..]));
        assert_eq!(attribute(inner, 4), Some(&[9][..]));
        assert_eq!(attribute(inner, 5), None);
    }

    #[test]
    fn malformed_attributes_end_the_list() {
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 1, 2]).count(), 0);
        assert_eq!(attributes(&[5, 0]).count(), 0);
        // The last attribute may lack its padding.
        assert_eq!(
            attributes(&[5, 0, 1, 0, 7]).collect::<Vec<_>>(),
            [(1, &[7][..])]
        );
    }

    #[test]
    fn a_lying_length_is_refused() {
        let mut message = vec![0; HEADER];
        message[0] = 200;
        assert!(Answer::default().read(&message).is_none());
        message[0] = 3;
        assert!(Answer::default().read(&message).is_none());
    }
}
