//! The conversation on a monitor's socket: frames of `type (1 byte) · length (4 bytes, little endian) · payload`.
//! A connection carries requests and replies one after the other, until one of them (attach, exec, wait)
//! turns it into a stream.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use oci_spec::runtime::Process;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, StartError};
use crate::spec::{AttachOptions, WindowSize};
use crate::state::ExitStatus;

/// No frame is larger: the largest is an exec request with a very large environment.
pub(crate) const MAX_FRAME: usize = 4 << 20;
/// Bytes before the payload.
pub(crate) const HEADER: usize = 5;
/// Bytes read from a socket at once.
const CHUNK: usize = 16 * 1024;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameType {
    /// JSON [`Request`], client to monitor.
    Request = 1,
    /// JSON [`Reply`], monitor to client.
    Reply = 2,
    /// Bytes for standard input; an empty payload closes it.
    Stdin = 3,
    /// Bytes from standard output or the terminal.
    Stdout = 4,
    /// Bytes from standard error.
    Stderr = 5,
}

impl FrameType {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Request,
            2 => Self::Reply,
            3 => Self::Stdin,
            4 => Self::Stdout,
            5 => Self::Stderr,
            _ => return None,
        })
    }
}

/// What a client asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Send a signal to the container's init, or on an exec connection to the exec'd process.
    Signal(i32),
    /// Keep why in the state directory, and send the container's init a signal that may well end it.
    SignalFor {
        /// Its number.
        signal: i32,
        /// For [`crate::reason`].
        reason: String,
    },
    /// On an exec connection: kill the exec'd process and all it has started.
    KillAll,
    /// Open the log anew at its path.
    ReopenLog,
    /// Set the terminal's size.
    Resize(WindowSize),
    /// Run a process in the container. Three descriptors come along unless `tty` is set.
    Exec(Box<ExecSpec>),
    /// Turn this connection into an attach stream.
    Attach(AttachOptions),
    /// Reply with [`Reply::Exit`] when the container has ended.
    Wait,
    /// The client has settled what it promised to.
    Settled,
}

/// The process of an exec request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecSpec {
    pub process: Process,
    pub tty: Option<WindowSize>,
    #[serde(default)]
    pub end_command: Vec<String>,
}

/// What the monitor answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Refused(String),
    /// To the launcher, once the container runs.
    Launched {
        pid: i32,
        warnings: Vec<String>,
    },
    /// To the launcher or an exec client.
    StartFailed {
        error: StartError,
        warnings: Vec<String>,
    },
    /// To an exec client; carries the pty master if a tty was asked for.
    ExecStarted {
        pid: i32,
    },
    /// To an exec client: code, or 128 + signal.
    ExecExit(i32),
    /// To everyone who waits or is attached.
    Exit(ExitStatus),
}

/// A whole frame as bytes.
pub(crate) fn frame(kind: FrameType, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.push(kind as u8);
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A frame with a JSON payload.
pub(crate) fn json_frame(kind: FrameType, message: &impl Serialize) -> Vec<u8> {
    // Our own message types have string keys only and always serialise.
    frame(kind, &serde_json::to_vec(message).unwrap_or_default())
}

/// Reads a JSON payload.
pub(crate) fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T> {
    serde_json::from_slice(payload).map_err(|e| Error::Protocol {
        reason: e.to_string(),
    })
}

/// Collects bytes from a socket and cuts them into frames; keeps descriptors that came along.
#[derive(Default)]
pub(crate) struct FrameReader {
    buffer: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// What one read from the socket brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Some bytes.
    Data,
    /// Nothing now (non-blocking sockets only).
    WouldBlock,
    /// The other end is gone.
    Closed,
}

impl FrameReader {
    /// Reads once from the socket, whatever there is.
    pub(crate) fn fill(&mut self, socket: &UnixStream) -> Result<Fill> {
        self.fill_at_most(socket, CHUNK)
    }

    /// Reads once from the socket, not beyond the end of the next frame: what follows stays where poll sees it.
    pub(crate) fn fill_frame(&mut self, socket: &UnixStream) -> Result<Fill> {
        let whole = match self.payload_length() {
            Some(length) => HEADER + length.min(MAX_FRAME),
            None => HEADER,
        };
        self.fill_at_most(socket, whole.saturating_sub(self.buffer.len()))
    }

    /// The length of the frame that begins the buffer, once its header is there.
    fn payload_length(&self) -> Option<usize> {
        let bytes = self.buffer.get(1..HEADER)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    }

    fn fill_at_most(&mut self, socket: &UnixStream, limit: usize) -> Result<Fill> {
        let mut chunk = [0u8; CHUNK];
        let mut control = nix::cmsg_space!([RawFd; 8]);
        let mut iov = [IoSliceMut::new(&mut chunk[..limit.min(CHUNK)])];
        let message = match recvmsg::<()>(
            socket.as_raw_fd(),
            &mut iov,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(Fill::WouldBlock),
            Err(nix::Error::ECONNRESET | nix::Error::EPIPE) => return Ok(Fill::Closed),
            Err(e) => return Err(Error::system("recvmsg", e)),
        };
        let count = message.bytes;
        if let Ok(messages) = message.cmsgs() {
            for item in messages {
                if let ControlMessageOwned::ScmRights(fds) = item {
                    // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
                    self.fds.extend(
                        fds.into_iter()
                            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                    );
                }
            }
        }
        if count == 0 {
            return Ok(Fill::Closed);
        }
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(Fill::Data)
    }

    /// The next whole frame, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<(FrameType, Vec<u8>)>> {
        let Some(length) = self.payload_length() else {
            return Ok(None);
        };
        let kind = FrameType::from_byte(self.buffer[0]).ok_or_else(|| Error::Protocol {
            reason: format!("unknown frame type {}", self.buffer[0]),
        })?;
        if length > MAX_FRAME {
            return Err(Error::Protocol {
                reason: format!("a frame of {length} bytes"),
            });
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        let rest = self.buffer.split_off(HEADER + length);
        let mut payload = std::mem::replace(&mut self.buffer, rest);
        payload.drain(..HEADER);
        Ok(Some((kind, payload)))
    }

    /// The descriptors received so far.
    pub(crate) fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }
}

/// Sends all of `bytes` on a blocking socket, `fds` with the first of them.
pub(crate) fn send_with_fds(
    socket: &UnixStream,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage] = if raw.is_empty() { &[] } else { &rights };
    let mut sent = 0;
    while sent < bytes.len() {
        let now = if sent == 0 { control } else { &[] };
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&bytes[sent..])],
            now,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Ok(n) => sent += n,
            Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Reads the rest of a descriptor into memory.
pub(crate) fn read_all(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::from(fd).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a descriptor is a terminal.
pub(crate) fn is_terminal(fd: impl AsFd) -> bool {
    nix::unistd::isatty(fd).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn frames_are_cut_whatever_the_pieces() {
        let (mut writer, socket) = pair();
        let bytes = [
            frame(FrameType::Stdout, b"hello"),
            frame(FrameType::Stdin, b""),
            frame(FrameType::Stderr, &[7; 100_000]),
        ]
        .concat();
        let sender = std::thread::spawn(move || {
            for piece in bytes.chunks(1_001) {
                writer.write_all(piece).unwrap();
            }
        });
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        while reader.fill(&socket).unwrap() == Fill::Data {
            while let Some(frame) = reader.next().unwrap() {
                frames.push(frame);
            }
        }
        sender.join().unwrap();
        assert_eq!(frames[0], (FrameType::Stdout, b"hello".to_vec()));
        assert_eq!(frames[1], (FrameType::Stdin, Vec::new()));
        assert_eq!(frames[2], (FrameType::Stderr, vec![7; 100_000]));
    }

    #[test]
    fn a_single_frame_is_read_and_no_more() {
        let (mut writer, socket) = pair();
        writer
            .write_all(&frame(FrameType::Reply, b"first"))
            .unwrap();
        writer
            .write_all(&frame(FrameType::Reply, b"second"))
            .unwrap();
        let mut reader = FrameReader::default();
        let first = loop {
            if let Some((_, payload)) = reader.next().unwrap() {
                break payload;
            }
            reader.fill_frame(&socket).unwrap();
        };
        assert_eq!(first, b"first");
        assert!(reader.buffer.is_empty());
    }

    #[test]
    fn nonsense_is_an_error_not_an_allocation() {
        for bytes in [vec![9, 0, 0, 0, 0], vec![1, 255, 255, 255, 255]] {
            let (mut writer, socket) = pair();
            writer.write_all(&bytes).unwrap();
            let mut reader = FrameReader::default();
            reader.fill(&socket).unwrap();
            assert!(matches!(reader.next(), Err(Error::Protocol { .. })));
        }
    }

    #[test]
    fn descriptors_travel_with_the_first_bytes() {
        let (writer, socket) = pair();
        let null = std::fs::File::open("/dev/null").unwrap();
        send_with_fds(&writer, &frame(FrameType::Request, b"x"), &[null.as_fd()]).unwrap();
        let mut reader = FrameReader::default();
        reader.fill(&socket).unwrap();
        assert_eq!(reader.take_fds().len(), 1);
        assert!(reader.take_fds().is_empty());
    }
}
