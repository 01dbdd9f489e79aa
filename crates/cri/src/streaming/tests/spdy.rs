//! A SPDY/3.1 client that knows nothing of the server's code.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use flate2::{Compress, Compression, FlushCompress};

use super::http::{Refused, header, upgrade};

#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Reply(u32),
    Data(u32, Vec<u8>),
    /// Empty and the last of its stream.
    End(u32),
    Reset(u32, u32),
    Ping(u32),
    GoAway(u32),
    WindowUpdate(u32, u32),
}

/// What carries the bytes.
pub trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

pub struct Client<W = TcpStream> {
    pub wire: W,
    pub protocol: String,
    compress: Compress,
    next: u32,
}

impl Client {
    /// Dials as a kubelet does.
    pub fn dial(url: &str, protocols: &[&str]) -> Result<Client, Refused> {
        let mut headers = vec![("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
        headers.extend(protocols.iter().map(|p| ("X-Stream-Protocol-Version", *p)));
        let (wire, head) = upgrade(url, "POST", &headers)?;
        assert_eq!(header(&head, "upgrade"), Some("SPDY/3.1"));
        let protocol = header(&head, "x-stream-protocol-version").unwrap();
        Ok(Client::over(wire, protocol))
    }
}

impl<W: Wire> Client<W> {
    pub fn over(wire: W, protocol: &str) -> Client<W> {
        Client {
            wire,
            protocol: protocol.to_owned(),
            compress: Compress::new(Compression::fast(), true),
            next: 1,
        }
    }

    /// Opens a stream and waits for the reply, as Go's client does.
    pub fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let id = self.open_without_waiting(headers);
        assert_eq!(self.frame(), Some(Frame::Reply(id)));
        id
    }

    pub fn open_without_waiting(&mut self, headers: &[(&str, &str)]) -> u32 {
        let id = self.next;
        self.next += 2;
        let mut block = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend((text.len() as u32).to_be_bytes());
            block.extend(text.as_bytes());
        }
        let mut payload = id.to_be_bytes().to_vec();
        payload.extend([0; 6]);
        let mut compressed = Vec::with_capacity(4_096);
        self.compress
            .compress_vec(&block, &mut compressed, FlushCompress::Sync)
            .unwrap();
        payload.extend(compressed);
        self.control(1, &payload);
        id
    }

    pub fn control(&mut self, kind: u16, payload: &[u8]) {
        let mut frame = vec![0x80, 3];
        frame.extend(kind.to_be_bytes());
        frame.extend((payload.len() as u32).to_be_bytes());
        frame.extend(payload);
        self.wire.write_all(&frame).unwrap();
    }

    pub fn numbers(&mut self, kind: u16, numbers: &[u32]) {
        let payload: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        self.control(kind, &payload);
    }

    pub fn reset(&mut self, stream: u32) {
        self.numbers(3, &[stream, 5]);
    }

    pub fn send(&mut self, stream: u32, bytes: &[u8]) {
        self.data(stream, bytes, 0).unwrap();
    }

    pub fn end(&mut self, stream: u32) {
        self.data(stream, &[], 1).unwrap();
    }

    pub fn data(&mut self, stream: u32, bytes: &[u8], flags: u8) -> std::io::Result<()> {
        let mut frame = stream.to_be_bytes().to_vec();
        frame.extend((bytes.len() as u32 | u32::from(flags) << 24).to_be_bytes());
        frame.extend(bytes);
        self.wire.write_all(&frame)
    }

    /// The next frame; `None` when the server has closed the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut prefix = [0; 8];
        if self.wire.read_exact(&mut prefix[..1]).is_err() {
            return None;
        }
        self.wire.read_exact(&mut prefix[1..]).unwrap();
        let length = u32::from_be_bytes([0, prefix[5], prefix[6], prefix[7]]);
        let mut payload = vec![0; length as usize];
        self.wire.read_exact(&mut payload).unwrap();
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
        if prefix[0] & 0x80 == 0 {
            let stream = number(&prefix);
            return Some(match prefix[4] {
                0 => Frame::Data(stream, payload),
                _ => Frame::End(stream),
            });
        }
        assert_eq!(prefix[..2], [0x80, 3]);
        Some(match prefix[3] {
            2 => Frame::Reply(number(&payload)),
            3 => Frame::Reset(number(&payload), number(&payload[4..])),
            6 => Frame::Ping(number(&payload)),
            7 => Frame::GoAway(number(&payload[4..])),
            9 => Frame::WindowUpdate(number(&payload), number(&payload[4..])),
            other => panic!("frame of type {other}"),
        })
    }

    /// The next frame that is no window update.
    pub fn next_but_windows(&mut self) -> Option<Frame> {
        loop {
            match self.frame() {
                Some(Frame::WindowUpdate(..)) => {}
                other => return other,
            }
        }
    }

    /// Everything until the end of the connection: the bytes of each stream.
    pub fn rest(&mut self) -> BTreeMap<u32, Vec<u8>> {
        let mut streams = BTreeMap::<u32, Vec<u8>>::new();
        while let Some(frame) = self.frame() {
            if let Frame::Data(stream, bytes) = frame {
                streams.entry(stream).or_default().extend(bytes);
            }
        }
        streams
    }

    /// Everything until the end of one stream: its bytes.
    pub fn until_end(&mut self, stream: u32) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.frame().unwrap() {
                Frame::Data(of, bytes) if of == stream => all.extend(bytes),
                Frame::End(of) if of == stream => return all,
                _ => {}
            }
        }
    }
}
