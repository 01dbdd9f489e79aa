//! Ports of the host, held by a bound socket so that no process takes what a container publishes.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
    listen, setsockopt, shutdown, socket, sockopt,
};

use crate::{Error, Protocol, Result, sysctl};

/// The kernel's own default of `net.ipv4.ip_local_port_range`.
const DEFAULT_RANGE: RangeInclusive<u16> = 32768..=60999;

/// Takes a port of the host for as long as the descriptor lives. Nothing is accepted on it.
///
/// `::` takes the IPv6 port alone: the IPv4 port of that number is another one. A port that is merely in
/// TIME_WAIT from an earlier server can be taken.
///
/// # Errors
/// [`Error::PortInUse`], [`Error::AddressNotAvailable`], [`Error::ProtocolUnsupported`], [`Error::Bind`].
pub fn reserve(host_ip: IpAddr, port: u16, protocol: Protocol) -> Result<OwnedFd> {
    let wanted = Wanted {
        host_ip,
        port,
        protocol,
    };
    match wanted.bind(false) {
        Err(Errno::EADDRINUSE) if protocol == Protocol::Tcp => {
            wanted.bind_over_time_wait().map_err(|e| wanted.error(e))
        }
        other => other.map_err(|errno| wanted.error(errno)),
    }
}

/// Takes the same free port on all `host_ips`, a random one of `range` (by default the kernel's range of
/// ephemeral ports, as Docker does), and returns it with one descriptor per address.
///
/// # Errors
/// [`Error::NoFreePort`] if all are taken, else as [`reserve`].
pub fn free_port(
    host_ips: &[IpAddr],
    protocol: Protocol,
    range: Option<RangeInclusive<u16>>,
) -> Result<(u16, Vec<OwnedFd>)> {
    let range = range.unwrap_or_else(ephemeral_ports);
    let count = u32::from(range.end().saturating_sub(*range.start())) + 1;
    // Hash keys are random: as good as dice for spreading ports.
    let offset = RandomState::new().hash_one(std::process::id()) as u32 % count;
    for step in 0..count {
        let port = u32::from(*range.start()) + (offset + step) % count;
        let reserved = host_ips
            .iter()
            .map(|&host_ip| reserve(host_ip, port as u16, protocol))
            .collect::<Result<Vec<_>>>();
        match reserved {
            Ok(sockets) => return Ok((port as u16, sockets)),
            Err(Error::PortInUse { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Err(Error::NoFreePort { range, protocol })
}

fn ephemeral_ports() -> RangeInclusive<u16> {
    let text = sysctl::Family::v4()
        .read("ip_local_port_range")
        .unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if 0 < first && first <= last => first..=last,
        _ => DEFAULT_RANGE,
    }
}

#[derive(Clone, Copy)]
struct Wanted {
    host_ip: IpAddr,
    port: u16,
    protocol: Protocol,
}

impl Wanted {
    fn bind(self, reuse: bool) -> nix::Result<OwnedFd> {
        let (family, v6) = match self.host_ip {
            IpAddr::V4(_) => (AddressFamily::Inet, false),
            IpAddr::V6(_) => (AddressFamily::Inet6, true),
        };
        let (kind, protocol) = match self.protocol {
            Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
            Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
            Protocol::Sctp => (SockType::Stream, SockProtocol::Sctp),
        };
        let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
        if v6 {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        if self.protocol == Protocol::Udp {
            // Nobody reads what may arrive here before the port is published.
            setsockopt(&fd, sockopt::RcvBuf, &0)?;
        }
        if reuse {
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        }
        let address = SockaddrStorage::from(SocketAddr::new(self.host_ip, self.port));
        bind(fd.as_raw_fd(), &address)?;
        Ok(fd)
    }

    /// With SO_REUSEADDR alone a socket that somebody else merely bound would be shared. Listening for an
    /// instant makes the kernel check against those as well; without the option afterwards the port is ours alone.
    fn bind_over_time_wait(self) -> nix::Result<OwnedFd> {
        let fd = self.bind(true)?;
        listen(&fd, Backlog::new(0)?)?;
        setsockopt(&fd, sockopt::ReuseAddr, &false)?;
        shutdown(fd.as_raw_fd(), Shutdown::Read)?;
        Ok(fd)
    }

    fn error(self, errno: Errno) -> Error {
        let Self {
            host_ip,
            port,
            protocol,
        } = self;
        match errno {
            Errno::EADDRINUSE => Error::PortInUse {
                host_ip,
                port,
                protocol,
            },
            Errno::EADDRNOTAVAIL => Error::AddressNotAvailable { host_ip },
            Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT => {
                Error::ProtocolUnsupported { protocol }
            }
            _ => Error::Bind {
                host_ip,
                port,
                protocol,
                source: errno.into(),
            },
        }
    }
}
