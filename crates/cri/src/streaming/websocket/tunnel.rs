//! A byte stream in binary WebSocket messages: SPDY for clients that can have no other upgrade.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_util::io::StreamReader;

type Socket = WebSocketStream<TcpStream>;

/// The two directions of the tunnel.
pub(in crate::streaming) fn split(
    socket: Socket,
) -> (
    impl AsyncRead + Send + Unpin,
    impl AsyncWrite + Send + Unpin,
) {
    let (sink, stream) = socket.split();
    (
        reader(stream),
        TunnelWriter {
            sink,
            closing: false,
        },
    )
}

fn reader(stream: SplitStream<Socket>) -> impl AsyncRead + Send + Unpin {
    let pieces = stream.filter_map(async |message| match message {
        Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
        Ok(_) => None,
        Err(SocketError::ConnectionClosed | SocketError::AlreadyClosed) => None,
        Err(error) => Some(Err(broken(error))),
    });
    StreamReader::<_, Bytes>::new(Box::pin(pieces))
}

fn broken(error: SocketError) -> io::Error {
    match error {
        SocketError::Io(error) => error,
        other => io::Error::other(other),
    }
}

struct TunnelWriter {
    sink: SplitSink<Socket, Message>,
    closing: bool,
}

impl TunnelWriter {
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        message: impl FnOnce() -> Message,
    ) -> Poll<io::Result<()>> {
        let mut sink = Pin::new(&mut self.sink);
        ready!(sink.as_mut().poll_ready(context)).map_err(broken)?;
        Poll::Ready(sink.start_send(message()).map_err(broken))
    }
}

impl AsyncWrite for TunnelWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let message = || Message::Binary(Bytes::copy_from_slice(bytes));
        ready!(self.poll_send(context, message))?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.sink).poll_flush(context).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            let message = || {
                Message::Close(Some(CloseFrame {
                    code: CloseCode::Normal,
                    reason: "".into(),
                }))
            };
            ready!(self.poll_send(context, message))?;
            self.closing = true;
        }
        self.poll_flush(context)
    }
}
