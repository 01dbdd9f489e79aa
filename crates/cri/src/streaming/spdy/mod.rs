//! SPDY/3.1, the server's side, as far as Kubernetes uses it: the client opens all the streams.
//!
//! Flow control is the client's choice. The clients there are (Go's spdystream) neither open windows nor mind
//! them and rely on TCP alone, so a window limits us only once the client has shown that it keeps windows.
//! We always open the client's.

pub(super) mod command;
mod connection;
pub(super) mod forward;
mod frame;
mod headers;
mod table;

use std::io;

pub(super) use connection::Connection;
pub(super) use table::{ReceiveWindow, SendWindow};

/// What is wrong with a client's connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtocolError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A frame of another version of the protocol.
    #[error("a frame of version {version}")]
    Version { version: u16 },
    /// A control frame that is too long.
    #[error("a control frame of {length} bytes")]
    TooLong { length: usize },
    /// A frame that ends too early.
    #[error("a frame of type {kind} that is too short")]
    Truncated { kind: u16 },
    /// Headers that cannot be decompressed, are no headers, or are too many.
    #[error("bad headers")]
    Headers,
    /// A stream's number does not follow those before it.
    #[error("stream {stream} out of order")]
    StreamOrder { stream: u32 },
    /// The client asks faster than it reads the answers.
    #[error("the client does not read its answers")]
    Flood,
}
