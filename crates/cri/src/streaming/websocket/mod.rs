//! WebSocket: each message begins with the number of its channel.

pub(super) mod command;
mod connection;
pub(super) mod forward;
pub(super) mod tunnel;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::status::StatusForm;
use super::stream::CHUNK;

/// Go's clients send 32 KiB in a message, others whatever their caller gave them.
const LONGEST_MESSAGE: usize = 32 << 20;

/// How messages carry bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The channel as a byte, then the bytes.
    Binary,
    /// The channel as a digit, then the bytes in Base64.
    Base64,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) encoding: Encoding,
    pub(super) status: StatusForm,
    /// Whether the client can close a channel of its own (v5).
    pub(super) half_close: bool,
}

/// The socket of a connection whose handshake is done.
pub(super) async fn accept(connection: TcpStream, read_ahead: Bytes) -> WebSocketStream<TcpStream> {
    let config = WebSocketConfig::default()
        .read_buffer_size(CHUNK)
        .write_buffer_size(0)
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE));
    WebSocketStream::from_partially_read(
        connection,
        read_ahead.to_vec(),
        Role::Server,
        Some(config),
    )
    .await
}
