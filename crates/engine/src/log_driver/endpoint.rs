//! Where receivers listen, and connections to them.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rctr_registry_client::{TlsOptions, tls_config};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::options::ParseError;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// An address of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp(String),
    /// TCP, encrypted; also how it is written.
    Tls {
        scheme: &'static str,
        address: String,
    },
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
            // As syslog's and as Fluentd's options call it.
            "tcp+tls" | "tls" => Ok(Endpoint::Tls {
                scheme: if scheme == "tls" { "tls" } else { "tcp+tls" },
                address: host()?,
            }),
            _ => Err(fail("schemes are tcp, tcp+tls, tls, udp, unix, unixgram")),
        }
    }

    /// The connection that is kept, made anew if the receiver has closed it.
    pub(super) fn keep<'a>(
        &self,
        kept: &'a mut Option<Connection>,
        patience: Duration,
        tls: &TlsOptions,
    ) -> io::Result<&'a mut Connection> {
        let connection = match kept.take_if(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect(patience, tls)?,
        };
        Ok(kept.insert(connection))
    }

    /// Connects. Writing takes no longer than `patience`.
    pub(super) fn connect(&self, patience: Duration, tls: &TlsOptions) -> io::Result<Connection> {
        match self {
            Endpoint::Tcp(address) => Ok(Connection::Tcp(tcp(address, patience)?)),
            Endpoint::Tls { address, .. } => {
                // Its files first: whoever named one that is not there wants to know that.
                let config = tls_config(tls).map_err(io::Error::other)?;
                let stream = tcp(address, patience)?;
                let encrypted = encrypt(address, stream, config)?;
                Ok(Connection::Tls(Box::new(encrypted)))
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
                    let gram = Endpoint::Unixgram(place.clone()).connect(patience, tls);
                    match gram.or_else(|_| Endpoint::Unix(place).connect(patience, tls)) {
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
            Endpoint::Tls { scheme, address } => write!(f, "{scheme}://{address}"),
            Endpoint::Udp(address) => write!(f, "udp://{address}"),
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Unixgram(path) => write!(f, "unixgram://{}", path.display()),
            Endpoint::SystemLog => f.write_str("the system log"),
        }
    }
}

fn tcp(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_write_timeout(Some(patience))?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Greets the other side, and learns who it is.
fn encrypt(address: &str, mut stream: TcpStream, config: ClientConfig) -> io::Result<Encrypted> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(session, stream))
}

/// Takes in what has come, session tickets for one; whether it was the end.
fn has_ended(stream: &mut Encrypted) -> bool {
    if stream.sock.set_nonblocking(true).is_err() {
        return true;
    }
    let ended = loop {
        match stream.conn.read_tls(&mut stream.sock) {
            Ok(0) => break true,
            Ok(_) => match stream.conn.process_new_packets() {
                Ok(state) if !state.peer_has_closed() => {}
                _ => break true,
            },
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break false,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break true,
        }
    };
    stream.sock.set_nonblocking(false).is_err() || ended
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// A connection to a receiver.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpStream),
    Tls(Box<Encrypted>),
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
    pub(super) fn is_closed(&mut self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8; 1];
        let peeked = match self {
            Connection::Tls(stream) => return has_ended(stream),
            Connection::Tcp(stream) => recv(&*stream, &mut byte[..], flags),
            Connection::Unix(stream) => recv(&*stream, &mut byte[..], flags),
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
            Connection::Tls(stream) => {
                stream.write_all(message)?;
                stream.flush()
            }
            Connection::Unix(stream) => stream.write_all(message),
            Connection::Udp(socket) => socket.send(message).map(drop),
            Connection::Unixgram(socket) => socket.send(message).map(drop),
        }
    }

    /// Reads some of an answer.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(buffer),
            Connection::Tls(stream) => stream.read(buffer),
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
            ("tcp+tls://h", "tcp+tls://h:514"),
            ("tls://h:7", "tls://h:7"),
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
            "tcp+tls://",
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
