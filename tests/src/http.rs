use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body as text; what is no UTF-8 is replaced.
    pub body: String,
}

/// `GET path` from `address`, such as `127.0.0.1:8080`; one request, ten seconds at most.
///
/// # Errors
/// When nothing answers, or what answers is not HTTP.
pub fn http_get(address: impl ToSocketAddrs, path: &str) -> io::Result<Response> {
    let limit = Duration::from_secs(10);
    let address = address
        .to_socket_addrs()?
        .next()
        .ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let parsed = text.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head
            .strip_prefix("HTTP/")?
            .split(' ')
            .nth(1)?
            .parse()
            .ok()?;
        Some(Response {
            status,
            body: body.to_owned(),
        })
    });
    parsed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {text:?}")))
}

/// What the image `healthz` serves at `address`, such as `198.18.0.1:8080`, if anything answers within a second.
///
/// # Panics
/// When that is no address.
pub fn healthz(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().expect("an address and a port");
    drop(TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?);
    Some(http_get(address, "/healthz").ok()?.body)
}
