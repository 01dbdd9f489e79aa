//! A connection: one task reads messages, one writes them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_util::sync::CancellationToken;

use super::{Channels, Encoding};
use crate::streaming::stream::{CHUNK, Inbound, Outbound, Outgoing, Piece, QUEUE};
use crate::streaming::tasks::Tasks;

/// The channel on which a client closes another one of its own.
const CLOSE_CHANNEL: u8 = 255;

type Socket = WebSocketStream<TcpStream>;

/// The server's end of a WebSocket with channels. Dropping it cuts the client off.
pub(super) struct Connection {
    queue: mpsc::Sender<Outgoing>,
    gone: CancellationToken,
    tasks: Tasks,
}

impl Connection {
    /// Serves a client; gives its bytes of each of the channels that are listened to.
    pub(super) fn start<const N: usize>(
        socket: Socket,
        protocol: Channels,
        listened: [Option<u8>; N],
    ) -> (Connection, [Option<Inbound>; N]) {
        let mut destinations = HashMap::new();
        let inbounds = listened.map(|channel| {
            let (sender, inbound) = Inbound::new(None);
            destinations.insert(channel?, sender);
            Some(inbound)
        });
        (Connection::with(socket, protocol, destinations), inbounds)
    }

    /// As [`start`](Self::start), with the places where the channels' bytes go.
    pub(super) fn with(
        socket: Socket,
        protocol: Channels,
        destinations: HashMap<u8, mpsc::Sender<Bytes>>,
    ) -> Connection {
        let (sink, stream) = socket.split();
        let (queue, waiting) = mpsc::channel(QUEUE);
        let gone = CancellationToken::new();
        let reader = Reader {
            stream,
            protocol,
            destinations,
        };
        let writer = Writer {
            sink,
            encoding: protocol.encoding,
            queue: waiting,
        };
        Connection {
            queue,
            tasks: Tasks::start(reader.run(gone.clone()), writer.run(), gone.clone()),
            gone,
        }
    }

    /// The sending side of a channel.
    pub(super) fn outbound(&self, channel: u8) -> Outbound {
        Outbound::new(
            u32::from(channel),
            self.queue.clone(),
            None,
            self.gone.clone(),
        )
    }

    /// Cancelled when the client is gone.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Ends the connection when everything has been sent.
    pub(super) async fn finish(self) {
        drop(self.queue);
        self.tasks.finish().await;
    }
}

struct Reader {
    stream: SplitStream<Socket>,
    protocol: Channels,
    destinations: HashMap<u8, mpsc::Sender<Bytes>>,
}

impl Reader {
    async fn run(mut self, gone: CancellationToken) {
        while let Some(message) = self.stream.next().await {
            match message {
                Ok(Message::Binary(bytes)) => self.message(bytes).await,
                Ok(Message::Text(text)) => self.message(text.into()).await,
                // What follows is the end; reading on sends the answer to it.
                Ok(Message::Close(_)) => self.destinations.clear(),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!("streaming: WebSocket: {error}");
                    break;
                }
            }
        }
        self.destinations.clear();
        gone.cancel();
    }

    async fn message(&mut self, mut message: Bytes) {
        if message.is_empty() {
            return;
        }
        let channel = message.split_to(1)[0];
        let (channel, mut bytes) = match self.protocol.encoding {
            Encoding::Binary => (channel, message),
            Encoding::Base64 => match BASE64.decode(&message) {
                Ok(bytes) => (channel.wrapping_sub(b'0'), bytes.into()),
                Err(_) => return,
            },
        };
        if channel == CLOSE_CHANNEL && self.protocol.half_close {
            if let Some(closed) = bytes.first() {
                self.destinations.remove(closed);
            }
            return;
        }
        while let Some(destination) = self.destinations.get(&channel)
            && !bytes.is_empty()
        {
            let piece = bytes.split_to(bytes.len().min(CHUNK));
            if destination.send(piece).await.is_err() {
                self.destinations.remove(&channel);
            }
        }
    }
}

struct Writer {
    sink: SplitSink<Socket, Message>,
    encoding: Encoding,
    queue: mpsc::Receiver<Outgoing>,
}

impl Writer {
    /// Writes until all who could send have finished.
    async fn run(mut self) -> Result<(), SocketError> {
        while let Some(Outgoing { stream, what }) = self.queue.recv().await {
            // A channel has no end of its own.
            if let Piece::Data(bytes) = what {
                self.sink.send(self.message(stream as u8, &bytes)).await?;
            }
        }
        let closing = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.sink.send(Message::Close(Some(closing))).await
    }

    fn message(&self, channel: u8, bytes: &[u8]) -> Message {
        match self.encoding {
            Encoding::Binary => {
                let mut message = BytesMut::with_capacity(bytes.len() + 1);
                message.extend_from_slice(&[channel]);
                message.extend_from_slice(bytes);
                Message::Binary(message.freeze())
            }
            Encoding::Base64 => {
                let digit = char::from(b'0'.wrapping_add(channel));
                Message::Text(format!("{digit}{}", BASE64.encode(bytes)).into())
            }
        }
    }
}
