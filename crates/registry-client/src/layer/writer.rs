//! The sink's side of a layer: a thread of its own takes the bytes as they come.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use oci_spec::image::Digest;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::{LayerIngest, PulledLayer, Sink, SinkError};

/// What the sink gets at once, at least: small writes would cost more than the copying.
const CHUNK: usize = 256 << 10;
/// Chunks on their way to the sink; more would only be memory.
const CHUNKS_IN_FLIGHT: usize = 8;

enum Command {
    Write(Bytes),
    Reset,
    /// Tells when all before it has been taken.
    Complete(oneshot::Sender<()>),
    /// What a layer is that was begun early.
    Name(Box<Place>),
    Commit,
}

/// The sink's side: one blocking thread per layer, which ends without a commit if the download is dropped.
pub(super) struct Writer {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<Result<(), SinkError>>,
    /// Bytes handed to the sink, those of earlier tries included.
    pub offset: u64,
    buffer: BytesMut,
    /// A commit that is under way when the pull is given up is given up, too.
    _cancel: CancelOnDrop,
}

struct CancelOnDrop(Box<dyn Fn() + Send + Sync>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What the sink's thread tells of a layer it wants: how many bytes it has, and how to stop it.
type Begun = (u64, CancelOnDrop);

/// The sink takes no more: its thread knows why.
pub(super) struct SinkGone;

/// What a layer is in an image.
pub(super) struct Place {
    pub layer: PulledLayer,
    pub parent: Option<Digest>,
}

impl Writer {
    /// Starts the thread; `None` if the sink needs nothing. A sink that has more than `size` bytes forgets them.
    pub async fn start(
        sink: Arc<dyn Sink>,
        size: u64,
        begin: impl FnOnce(&dyn Sink) -> Result<Option<Box<dyn LayerIngest>>, SinkError>
        + Send
        + 'static,
    ) -> Result<Option<Self>, SinkError> {
        let (ready, begun) = oneshot::channel();
        let (commands, received) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let thread =
            tokio::task::spawn_blocking(move || write_layer(begin(&*sink)?, ready, received));
        let Ok(begun) = begun.await else {
            return joined(thread).await.map(|()| None);
        };
        let Some((offset, cancel)) = begun else {
            return Ok(None);
        };
        let mut writer = Writer {
            commands,
            thread,
            offset,
            buffer: BytesMut::new(),
            _cancel: cancel,
        };
        if offset > size && writer.reset().await.is_err() {
            let error = writer.end().await.err();
            return Err(error.unwrap_or_else(|| "it stopped".into()));
        }
        Ok(Some(writer))
    }

    /// Bytes that came, whether the sink has them yet or not.
    pub fn arrived(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    pub async fn write(&mut self, chunk: Bytes) -> Result<(), SinkGone> {
        if self.buffer.is_empty() && chunk.len() >= CHUNK {
            return self.hand_over(chunk).await;
        }
        self.buffer.reserve(CHUNK.max(chunk.len()));
        self.buffer.extend_from_slice(&chunk);
        if self.buffer.len() >= CHUNK {
            self.flush().await?;
        }
        Ok(())
    }

    pub async fn flush(&mut self) -> Result<(), SinkGone> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = self.buffer.split().freeze();
        self.hand_over(full).await
    }

    async fn hand_over(&mut self, chunk: Bytes) -> Result<(), SinkGone> {
        let length = chunk.len() as u64;
        self.send(Command::Write(chunk)).await?;
        self.offset += length;
        Ok(())
    }

    pub async fn reset(&mut self) -> Result<(), SinkGone> {
        self.buffer.clear();
        self.offset = 0;
        self.send(Command::Reset).await
    }

    /// Waits until the sink has all that was written, or is gone.
    pub async fn taken(&self) {
        let (complete, taken) = oneshot::channel();
        if self.send(Command::Complete(complete)).await.is_ok() {
            let _ = taken.await;
        }
    }

    /// Tells the sink what it has begun early.
    pub async fn name(&self, place: Place) {
        // If the thread is gone, its end says why.
        let _ = self.send(Command::Name(Box::new(place))).await;
    }

    /// Lets the sink put the layer in its place; [`end`](Self::end) says whether it could.
    pub async fn commit(&self) {
        let _ = self.send(Command::Commit).await;
    }

    /// Waits until the sink takes nothing any more.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }

    /// What the thread says at its end.
    pub async fn end(self) -> Result<(), SinkError> {
        joined(self.thread).await
    }

    async fn send(&self, command: Command) -> Result<(), SinkGone> {
        self.commands.send(command).await.map_err(|_| SinkGone)
    }
}

/// Runs on the layer's own thread. The offset goes out once the sink is ready, `None` if it needs nothing.
fn write_layer(
    begun: Option<Box<dyn LayerIngest>>,
    ready: oneshot::Sender<Option<Begun>>,
    mut commands: mpsc::Receiver<Command>,
) -> Result<(), SinkError> {
    // The receiver is gone if the pull was given up meanwhile; then there are no commands either.
    let about = begun
        .as_ref()
        .map(|ingest| (ingest.offset(), CancelOnDrop(ingest.canceller())));
    let _ = ready.send(about);
    let Some(mut ingest) = begun else {
        return Ok(());
    };
    while let Some(command) = commands.blocking_recv() {
        match command {
            Command::Write(chunk) => ingest.write(&chunk)?,
            Command::Reset => ingest.reset()?,
            // Nobody waits any more if the pull was given up.
            Command::Complete(told) => drop(told.send(())),
            Command::Name(place) => ingest.name(&place.layer, place.parent.as_ref())?,
            Command::Commit => return ingest.commit(),
        }
    }
    Ok(())
}

async fn joined(thread: JoinHandle<Result<(), SinkError>>) -> Result<(), SinkError> {
    thread.await.unwrap_or_else(|e| Err(e.into()))
}
