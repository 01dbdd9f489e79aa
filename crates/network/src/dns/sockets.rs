//! The server's sockets inside a container's network namespace.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::BorrowedFd;

use crate::{Error, Result, netns, nft};

use super::ADDRESS;

/// Where one container asks.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// Listens on 127.0.0.11 of a namespace, and leads port 53 there.
pub(super) fn listen(netns: BorrowedFd<'_>) -> Result<Listening> {
    netns::within(netns, || {
        let address = SocketAddr::new(ADDRESS.into(), 0);
        let failed = |source| Error::DnsSocket { source };
        let udp = UdpSocket::bind(address).map_err(failed)?;
        let tcp = TcpListener::bind(address).map_err(failed)?;
        udp.set_nonblocking(true).map_err(failed)?;
        tcp.set_nonblocking(true).map_err(failed)?;
        let port = |address: std::io::Result<SocketAddr>| Ok(address.map_err(failed)?.port());
        nft::redirect_dns(ADDRESS, port(udp.local_addr())?, port(tcp.local_addr())?)?;
        Ok(Listening { udp, tcp })
    })
}
