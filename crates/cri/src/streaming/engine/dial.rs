//! Connections to ports on the loopback interface of a pod.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use rctr_engine::pod::PodState;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::EngineSessions;
use crate::streaming::{Error, Result};

/// Loopback answers at once, unless the pod's own firewall swallows the packets.
const PATIENCE: Duration = Duration::from_secs(10);

/// Programs that listen on `localhost` take one of the two, mostly this first one.
const LOOPBACKS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

pub(super) async fn dial(sessions: &EngineSessions, pod: String, port: u16) -> Result<TcpStream> {
    let found = sessions.blocking(move |engine| engine.pod(&pod)).await?;
    if found.state != PodState::Ready {
        return Err(Error::PodNotReady { pod: found.id });
    }
    connect(found.netns().as_deref(), port).await
}

/// Connects in a network namespace, or in our own.
async fn connect(netns: Option<&Path>, port: u16) -> Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::Unsupported);
    for (index, address) in LOOPBACKS.into_iter().enumerate() {
        // A machine may have only one of the families.
        let Some(socket) = make_socket(netns, address).await? else {
            continue;
        };
        let connected = socket.connect(SocketAddr::new(address, port));
        match tokio::time::timeout(PATIENCE, connected).await {
            Ok(Ok(connection)) => {
                let _ = connection.set_nodelay(true);
                return Ok(connection);
            }
            // The first address's failure says more.
            Ok(Err(_)) | Err(_) if index > 0 => {}
            Ok(Err(source)) => failure = source,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(Error::Dial {
        port,
        source: failure,
    })
}

/// A socket belongs to the namespace it was made in, whoever uses it later. `None` without the address's family.
async fn make_socket(netns: Option<&Path>, address: IpAddr) -> Result<Option<TcpSocket>> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let path = netns.map(Path::to_owned);
    let made = match path.clone() {
        None => new_socket(family),
        Some(netns) => {
            let (sender, made) = oneshot::channel();
            // A thread of its own, since it stays in the pod's network.
            std::thread::spawn(move || {
                let _ = sender.send(enter(&netns).and_then(|()| new_socket(family)));
            });
            made.await.map_err(|_| Error::Ending)?
        }
    };
    match made {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(None),
        Err(source) => Err(Error::PodNetwork {
            path: path.unwrap_or_else(|| PathBuf::from("/proc/self/ns/net")),
            source,
        }),
    }
}

fn enter(netns: &Path) -> io::Result<()> {
    Ok(setns(File::open(netns)?, CloneFlags::CLONE_NEWNET)?)
}

fn new_socket(family: AddressFamily) -> io::Result<TcpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn either_family_will_do_and_a_closed_port_is_told() {
        for address in LOOPBACKS {
            let listener = TcpListener::bind((address, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let connection = connect(None, port).await.unwrap();
            assert_eq!(connection.peer_addr().unwrap().ip(), address);
            drop(listener);
            let error = connect(None, port).await.unwrap_err();
            assert!(matches!(&error, Error::Dial { source, .. }
                if source.kind() == io::ErrorKind::ConnectionRefused));
        }
    }

    #[tokio::test]
    async fn a_namespace_is_entered_only_for_the_socket() {
        let netns = rctr_network::new_netns().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", netns.as_raw_fd()));
        let listener = TcpListener::bind((LOOPBACKS[0], 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // The port is ours; in there nobody listens.
        assert!(connect(Some(&path), port).await.is_err());
        assert!(connect(None, port).await.is_ok());
        let gone = connect(Some("/nowhere".as_ref()), port).await;
        assert!(matches!(gone, Err(Error::PodNetwork { .. })));
    }
}
