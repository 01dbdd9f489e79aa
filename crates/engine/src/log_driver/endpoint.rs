//! Where receivers listen, and connections to them.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::options::ParseError;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// An address of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp(String),
    Udp(String),
    /// A stream.
    Unix(PathBuf),
    /// Datagrams.
    Unixgram(PathBuf),
    /// The host's own system log.
    SystemLog,
}

impl Endpoint {
    /// Reads `SCHEME://ADDRESS`; `port` is what is meant without one, `default` the scheme.
    ///
    /// # Errors
    /// [`ParseError::LogValue`] naming the option.
    pub(super) fn parse(
        option: &str,
        text: &str,
        default: &str,
        port: u16,
    ) -> Result<Endpoint, ParseError> {
        let fail = |why: &str| ParseError::LogValue {
            reason: format!("invalid value for {option}: {text}: {why}"),
        };
        let (scheme, rest) = text.split_once("://").unwrap_or((default, text));
        let host = || match rest.rsplit_once(':') {
            _ if rest.is_empty() || rest.contains('/') => Err(fail("not HOST[:PORT]")),
            // An IPv6 address in brackets has colons of its own.
            Some((host, number)) if !number.contains(']') && !host.is_empty() => {
                match number.parse::<u16>() {
                    Ok(_) => Ok(rest.to_owned()),
                    Err(_) => Err(fail("not a port")),
                }
            }
            _ => Ok(format!("{rest}:{port}")),
        };
        let path = || match rest.starts_with('/') {
            true => Ok(PathBuf::from(rest)),
            false => Err(fail("not an absolute path")),
        };
        match scheme {
            "tcp" => Ok(Endpoint::Tcp(host()?)),
            "udp" => Ok(Endpoint::Udp(host()?)),
            "unix" => Ok(Endpoint::Unix(path()?)),
            "unixgram" => Ok(Endpoint::Unixgram(path()?)),
            "tls" | "tcp+tls" => Err(fail("TLS is not supported: let a local forwarder do it")),
            _ => Err(fail("schemes are tcp, udp, unix, unixgram")),
        }
    }

    /// The connection that is kept, made anew if the receiver has closed it.
    pub(super) fn keep<'a>(
        &self,
        kept: &'a mut Option<Connection>,
        patience: Duration,
    ) -> io::Result<&'a mut Connection> {
        let connection = match kept.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect(patience)?,
        };
        Ok(kept.insert(connection))
    }

    /// Connects. Writing takes no longer than `patience`.
    pub(super) fn connect(&self, patience: Duration) -> io::Result<Connection> {
        match self {
            Endpoint::Tcp(address) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(patience))?;
                            stream.set_read_timeout(Some(patience))?;
                            stream.set_nodelay(true)?;
                            return Ok(Connection::Tcp(stream));
                        }
                        Err(e) => last = e,
                    }
                }
                Err(last)
            }
            Endpoint::Udp(address) => {
                let mut addresses = address.to_socket_addrs()?;
                let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
                let any = if address.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Connection::Udp(socket))
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(patience))?;
                stream.set_read_timeout(Some(patience))?;
                Ok(Connection::Unix(stream))
            }
            Endpoint::Unixgram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(patience))?;
                Ok(Connection::Unixgram(socket))
            }
            Endpoint::SystemLog => {
                let places = ["/dev/log", "/var/run/syslog", "/var/run/log"].map(PathBuf::from);
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for place in places {
                    let gram = Endpoint::Unixgram(place.clone()).connect(patience);
                    match gram.or_else(|_| Endpoint::Unix(place).connect(patience)) {
                        Ok(connection) => return Ok(connection),
                        Err(e) => last = e,
                    }
                }
                Err(last)
            }
        }
    }
}

impl std::fmt::Display for Endpoint {
    /// As it is written on the command line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "tcp://{address}"),
            Endpoint::Udp(address) => write!(f, "udp://{address}"),
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Unixgram(path) => write!(f, "unixgram://{}", path.display()),
            Endpoint::SystemLog => f.write_str("the system log"),
        }
    }
}

/// A connection to a receiver.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Unix(UnixStream),
    Unixgram(UnixDatagram),
}

impl Connection {
    /// Whether each message is sent by itself.
    pub(super) fn is_datagram(&self) -> bool {
        matches!(self, Connection::Udp(_) | Connection::Unixgram(_))
    }

    /// Whether the other side has closed a stream: what is written then is lost without a word.
    pub(super) fn is_closed(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8; 1];
        let peeked = match self {
            Connection::Tcp(stream) => recv(stream, &mut byte[..], flags),
            Connection::Unix(stream) => recv(stream, &mut byte[..], flags),
            _ => return false,
        };
        match peeked {
            Ok((_, count)) => count == 0,
            Err(e) => e != rustix::io::Errno::AGAIN,
        }
    }

    /// Sends a message whole.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => stream.write_all(message),
            Connection::Unix(stream) => stream.write_all(message),
            Connection::Udp(socket) => socket.send(message).map(drop),
            Connection::Unixgram(socket) => socket.send(message).map(drop),
        }
    }

    /// Reads some of an answer.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(buffer),
            Connection::Unix(stream) => stream.read(buffer),
            Connection::Udp(_) | Connection::Unixgram(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parse = |text: &str| {
            let endpoint = Endpoint::parse("x", text, "tcp", 514);
            endpoint.map_or_else(|e| e.to_string(), |e| e.to_string())
        };
        for (text, read) in [
            ("h", "tcp://h:514"),
            ("h:1", "tcp://h:1"),
            ("udp://1.2.3.4", "udp://1.2.3.4:514"),
            ("tcp://[::1]:5", "tcp://[::1]:5"),
            ("tcp://[::1]", "tcp://[::1]:514"),
            ("unix:///run/x", "unix:///run/x"),
            ("unixgram:///x", "unixgram:///x"),
        ] {
            assert_eq!(parse(text), read);
        }
        for text in [
            "unix://x",
            "tcp://",
            "tcp://h:port",
            "ftp://h",
            "tcp+tls://h",
            "tcp://h/x",
        ] {
            let message = parse(text);
            assert!(
                message.starts_with(&format!("invalid value for x: {text}: ")),
                "{message}"
            );
        }
    }
}
