//! A connection: one task reads frames, one writes them.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::ProtocolError;
use super::frame::{self, Control, HEADER, Prefix, Status};
use super::headers::{Deflater, Headers, Inflater, NO_HEADERS};
use super::table::{MOST_STREAMS, ReceiveWindow, SendWindow, Table};
use crate::streaming::stream::{CHUNK, Inbound, Outbound, Outgoing, Piece, QUEUE};
use crate::streaming::tasks::Tasks;

/// Answers that wait to be written. A client that asks for more without reading them is cut off.
const ANSWERS: usize = 256;

/// A stream that the client has opened.
pub(in crate::streaming) struct Stream {
    pub(in crate::streaming) id: u32,
    pub(in crate::streaming) headers: Headers,
    pub(in crate::streaming) from_client: Inbound,
    pub(in crate::streaming) to_client: Outbound,
}

/// What goes out before any data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Reply { stream: u32 },
    Reset { stream: u32, status: Status },
    Ping { id: u32 },
    WindowUpdate { stream: u32, delta: u32 },
    GiveUp,
}

/// The server's end of a SPDY connection. Dropping it cuts the client off.
pub(in crate::streaming) struct Connection {
    streams: mpsc::Receiver<Stream>,
    queue: mpsc::Sender<Outgoing>,
    gone: CancellationToken,
    tasks: Tasks,
}

impl Connection {
    /// Serves a client over a connection that has been upgraded.
    pub(in crate::streaming) fn start(
        input: impl AsyncRead + Send + Unpin + 'static,
        output: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Connection {
        let (new_streams, streams) = mpsc::channel(MOST_STREAMS);
        let (answers, waiting_answers) = mpsc::channel(ANSWERS);
        let (queue, waiting) = mpsc::channel(QUEUE);
        let gone = CancellationToken::new();
        let reader = Reader {
            input: BufReader::with_capacity(CHUNK, input),
            inflater: Inflater::new(),
            table: Arc::default(),
            new_streams,
            session: ReceiveWindow::new(answers.clone(), 0),
            answers,
            queue: queue.downgrade(),
            gone: gone.clone(),
            last_stream: 0,
        };
        let writer = Writer {
            output,
            buffer: BytesMut::new(),
            answers: waiting_answers,
            queue: waiting,
            last_stream: 0,
            given_up: false,
        };
        Connection {
            streams,
            queue,
            tasks: Tasks::start(reader.run(), writer.run(), gone.clone()),
            gone,
        }
    }

    /// The next stream that the client opens; `None` when it is gone. Safe to cancel.
    pub(in crate::streaming) async fn next_stream(&mut self) -> Option<Stream> {
        self.streams.recv().await
    }

    /// Cancelled when the client is gone.
    pub(in crate::streaming) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Ends the connection when everything has been sent. All its streams must have been finished.
    pub(in crate::streaming) async fn finish(self) {
        drop((self.streams, self.queue));
        self.tasks.finish().await;
    }
}

struct Reader<R> {
    input: BufReader<R>,
    inflater: Inflater,
    table: Arc<Table>,
    new_streams: mpsc::Sender<Stream>,
    session: ReceiveWindow,
    answers: mpsc::Sender<Answer>,
    queue: mpsc::WeakSender<Outgoing>,
    gone: CancellationToken,
    last_stream: u32,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    async fn run(mut self) {
        if let Err(error) = self.read_frames().await {
            tracing::debug!("streaming: SPDY: {error}");
            let _ = self.answers.try_send(Answer::GiveUp);
        }
        self.table.clear();
        self.gone.cancel();
    }

    /// Reads until the client's end.
    async fn read_frames(&mut self) -> Result<(), ProtocolError> {
        let mut prefix = [0; HEADER];
        while self.input.read(&mut prefix[..1]).await? > 0 {
            self.input.read_exact(&mut prefix[1..]).await?;
            match Prefix::parse(&prefix)? {
                Prefix::Control {
                    kind,
                    flags,
                    length,
                } => {
                    let mut payload = vec![0; length];
                    self.input.read_exact(&mut payload).await?;
                    self.control(Control::parse(kind, flags, &payload)?)?;
                }
                Prefix::Data {
                    stream,
                    last,
                    length,
                } => {
                    self.data(stream, length).await?;
                    if last {
                        self.table.end(stream);
                    }
                }
            }
        }
        Ok(())
    }

    /// Passes the payload on as it comes; that of a stream nobody reads is dropped.
    async fn data(&mut self, stream: u32, length: usize) -> Result<(), ProtocolError> {
        let destination = self.table.destination(stream);
        let mut left = length;
        while left > 0 {
            let most = left.min(CHUNK);
            let mut chunk = BytesMut::with_capacity(most);
            let read = (&mut self.input)
                .take(most as u64)
                .read_buf(&mut chunk)
                .await?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            left -= read;
            self.session.taken(read);
            if let Some(destination) = &destination {
                let _ = destination.send(chunk.freeze()).await;
            }
        }
        Ok(())
    }

    fn control(&mut self, control: Control<'_>) -> Result<(), ProtocolError> {
        match control {
            Control::SynStream {
                stream,
                last,
                block,
            } => {
                let headers = self.inflater.headers(block)?;
                if stream % 2 == 0 || stream <= self.last_stream {
                    return Err(ProtocolError::StreamOrder { stream });
                }
                self.last_stream = stream;
                self.open(stream, headers, last)
            }
            Control::Headers {
                stream,
                last,
                block,
            } => {
                // Nobody looks at them, but what follows in the zlib stream depends on them.
                self.inflater.headers(block)?;
                if last {
                    self.table.end(stream);
                }
                Ok(())
            }
            Control::Reset { stream } => {
                self.table.reset(stream);
                Ok(())
            }
            Control::Settings { window } => {
                if let Some(window) = window {
                    self.table.set_initial_window(window);
                }
                Ok(())
            }
            // The others answer pings of ours, and there are none.
            Control::Ping { id } if id % 2 == 1 => self.answer(Answer::Ping { id }),
            Control::WindowUpdate { stream, delta } => {
                self.table.credit(stream, delta);
                Ok(())
            }
            Control::Ping { .. } | Control::Other => Ok(()),
        }
    }

    fn open(&mut self, id: u32, headers: Headers, last: bool) -> Result<(), ProtocolError> {
        let refused = Answer::Reset {
            stream: id,
            status: Status::RefusedStream,
        };
        let Some(queue) = self.queue.upgrade() else {
            return self.answer(refused);
        };
        let gone = self.gone.child_token();
        let (sender, from_client) =
            Inbound::new(Some(ReceiveWindow::new(self.answers.clone(), id)));
        let sender = (!last).then_some(sender);
        if !self.table.open(id, sender, gone.clone()) {
            return self.answer(refused);
        }
        let window = SendWindow::new(self.table.clone(), id);
        let stream = Stream {
            id,
            headers,
            from_client,
            to_client: Outbound::new(id, queue, Some(window), gone),
        };
        // Before the stream is handed over: no data may go out before the reply.
        self.answer(Answer::Reply { stream: id })?;
        match self.new_streams.try_send(stream) {
            Ok(()) => Ok(()),
            Err(_) => {
                self.table.reset(id);
                self.answer(refused)
            }
        }
    }

    fn answer(&self, answer: Answer) -> Result<(), ProtocolError> {
        match self.answers.try_send(answer) {
            Err(TrySendError::Full(_)) => Err(ProtocolError::Flood),
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
        }
    }
}

struct Writer<W> {
    output: W,
    buffer: BytesMut,
    answers: mpsc::Receiver<Answer>,
    queue: mpsc::Receiver<Outgoing>,
    last_stream: u32,
    /// The client does not keep to the protocol.
    given_up: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes until all who could send have finished.
    async fn run(mut self) -> Result<(), ProtocolError> {
        let mut deflater = Deflater::new()?;
        loop {
            tokio::select! {
                biased;
                Some(answer) = self.answers.recv() => self.put_answer(&mut deflater, answer)?,
                piece = self.queue.recv() => match piece {
                    Some(piece) => self.put_pieces(piece),
                    None => break,
                },
            }
            self.flush().await?;
            if self.given_up {
                return Ok(self.output.shutdown().await?);
            }
        }
        while let Ok(answer) = self.answers.try_recv() {
            self.put_answer(&mut deflater, answer)?;
        }
        frame::goaway(&mut self.buffer, self.last_stream, None);
        self.flush().await?;
        Ok(self.output.shutdown().await?)
    }

    fn put_answer(&mut self, deflater: &mut Deflater, answer: Answer) -> Result<(), ProtocolError> {
        let buffer = &mut self.buffer;
        match answer {
            Answer::Reply { stream } => {
                self.last_stream = self.last_stream.max(stream);
                frame::syn_reply(buffer, stream, &deflater.block(NO_HEADERS)?);
            }
            Answer::Reset { stream, status } => frame::reset(buffer, stream, status),
            Answer::Ping { id } => frame::ping(buffer, id),
            Answer::WindowUpdate { stream, delta } => frame::window_update(buffer, stream, delta),
            Answer::GiveUp => {
                self.given_up = true;
                frame::goaway(buffer, self.last_stream, Some(Status::ProtocolError));
            }
        }
        Ok(())
    }

    /// A piece, and the small ones that wait behind it.
    fn put_pieces(&mut self, first: Outgoing) {
        self.put_piece(first);
        while self.buffer.len() < CHUNK
            && let Ok(next) = self.queue.try_recv()
        {
            self.put_piece(next);
        }
    }

    fn put_piece(&mut self, Outgoing { stream, what }: Outgoing) {
        let buffer = &mut self.buffer;
        match what {
            Piece::Data(bytes) => frame::data(buffer, stream, &bytes, false),
            Piece::End => frame::data(buffer, stream, &[], true),
            Piece::Reset => frame::reset(buffer, stream, Status::Cancel),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.output.write_all_buf(&mut self.buffer).await?;
        self.output.flush().await
    }
}
