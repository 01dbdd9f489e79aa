//! A WebSocket client that knows nothing of the server's code.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::http::{Refused, header, upgrade};

pub const BINARY: u8 = 2;
pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;

pub struct Client {
    wire: TcpStream,
    pub protocol: Option<String>,
    unread: Vec<u8>,
}

impl Client {
    pub fn dial(url: &str, protocols: &str) -> Result<Client, Refused> {
        let mut headers = vec![
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            // The example of RFC 6455, section 1.3.
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        if !protocols.is_empty() {
            headers.push(("Sec-WebSocket-Protocol", protocols));
        }
        let (wire, head) = upgrade(url, "GET", &headers)?;
        assert_eq!(
            header(&head, "sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        Ok(Client {
            wire,
            protocol: header(&head, "sec-websocket-protocol").map(str::to_owned),
            unread: Vec::new(),
        })
    }

    /// Sends a frame, masked as a client must.
    pub fn frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0x80 | opcode, 0x80 | 127];
        frame.extend((payload.len() as u64).to_be_bytes());
        let mask = [1, 2, 3, 4];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        self.wire.write_all(&frame)
    }

    /// Sends bytes on a channel.
    pub fn send(&mut self, channel: u8, bytes: &[u8]) {
        self.frame(BINARY, &[&[channel], bytes].concat()).unwrap();
    }

    /// The next message: its opcode and payload; `None` at the end of the connection.
    pub fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut first = [0; 2];
        self.wire.read_exact(&mut first).ok()?;
        assert_eq!(first[0] & 0x80, 0x80, "a fragment");
        let length = match first[1] {
            126 => {
                let mut length = [0; 2];
                self.wire.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.wire.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length) as usize
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.wire.read_exact(&mut payload).unwrap();
        Some((first[0] & 0x0f, payload))
    }

    /// Everything until the server closes: the bytes of each channel. The close is a normal one, and is answered.
    pub fn rest(&mut self) -> BTreeMap<u8, Vec<u8>> {
        let mut channels = BTreeMap::<u8, Vec<u8>>::new();
        loop {
            match self.message().unwrap() {
                (CLOSE, payload) => {
                    assert_eq!(payload, 1000u16.to_be_bytes());
                    self.frame(CLOSE, &payload).unwrap();
                    assert!(self.message().is_none());
                    return channels;
                }
                (_, payload) => channels
                    .entry(payload[0])
                    .or_default()
                    .extend(&payload[1..]),
            }
        }
    }
}

/// As a stream of bytes, for what is tunnelled.
impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.unread.is_empty() {
            match self.message() {
                Some((BINARY, payload)) => self.unread = payload,
                Some((CLOSE, _)) | None => return Ok(0),
                Some(_) => {}
            }
        }
        let count = self.unread.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Ok(count)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame(BINARY, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
