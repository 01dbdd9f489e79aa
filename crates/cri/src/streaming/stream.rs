//! One direction of one stream, whatever the protocol that carries it.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::spdy::{ReceiveWindow, SendWindow};

/// Bytes in one piece at most; more is cut.
pub(super) const CHUNK: usize = 32 * 1024;
/// Pieces that wait in one direction of one stream, or for a connection's writer.
pub(super) const QUEUE: usize = 4;

/// The client or its stream is gone: nobody takes more.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

/// Bytes from the client.
pub struct Inbound {
    chunks: mpsc::Receiver<Bytes>,
    window: Option<ReceiveWindow>,
}

impl Inbound {
    /// A stream and where to put its bytes. It ends when the sender is dropped.
    pub(super) fn new(window: Option<ReceiveWindow>) -> (mpsc::Sender<Bytes>, Inbound) {
        let (sender, chunks) = mpsc::channel(QUEUE);
        (sender, Inbound { chunks, window })
    }

    /// The next bytes; `None` at the end, be it the stream's or the client's. Safe to cancel.
    pub async fn next(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.recv().await?;
        if let Some(window) = &mut self.window {
            window.taken(chunk.len());
        }
        Some(chunk)
    }
}

/// Something for a connection's writer to send.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) stream: u32,
    pub(super) what: Piece,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    /// No more bytes will follow.
    End,
    /// The stream has failed.
    Reset,
}

/// Bytes for the client.
pub struct Outbound {
    stream: u32,
    queue: mpsc::Sender<Outgoing>,
    window: Option<SendWindow>,
    gone: CancellationToken,
}

impl Outbound {
    /// The sending side of `stream`; `gone` tells that the client has left it.
    pub(super) fn new(
        stream: u32,
        queue: mpsc::Sender<Outgoing>,
        window: Option<SendWindow>,
        gone: CancellationToken,
    ) -> Outbound {
        Outbound {
            stream,
            queue,
            window,
            gone,
        }
    }

    /// Sends all the bytes, waiting for the client to take what was sent before.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn send(&self, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            self.send_some(&mut bytes).await?;
        }
        Ok(())
    }

    /// Sends some of the bytes and cuts them off. Safe to cancel: what was not cut off was not sent.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn send_some(&self, bytes: &mut Bytes) -> Result<(), Gone> {
        tokio::select! {
            biased;
            () = self.gone.cancelled() => Err(Gone),
            sent = self.queue_some(bytes) => sent,
        }
    }

    async fn queue_some(&self, bytes: &mut Bytes) -> Result<(), Gone> {
        loop {
            if let Some(window) = &self.window {
                window.open().await;
            }
            let place = self.queue.reserve().await.map_err(|_| Gone)?;
            let wanted = bytes.len().min(CHUNK);
            let length = match &self.window {
                Some(window) => window.take(wanted),
                None => wanted,
            };
            // Another stream may have taken the last of what the connection's window allows.
            if length > 0 || wanted == 0 {
                place.send(Outgoing {
                    stream: self.stream,
                    what: Piece::Data(bytes.split_to(length)),
                });
                return Ok(());
            }
        }
    }

    /// Ends the stream: the client sees the end after all that was sent.
    pub async fn finish(self) {
        self.last(Piece::End).await;
    }

    /// Breaks the stream off: the client sees a failure.
    pub async fn reset(self) {
        if let Some(window) = &self.window {
            window.abandon();
        }
        self.last(Piece::Reset).await;
    }

    async fn last(&self, what: Piece) {
        let stream = self.stream;
        tokio::select! {
            biased;
            () = self.gone.cancelled() => {}
            _ = self.queue.send(Outgoing { stream, what }) => {}
        }
    }

    /// Waits until the client has left the stream.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// What is cancelled when the client leaves the stream.
    pub(super) fn gone_token(&self) -> CancellationToken {
        self.gone.clone()
    }
}
