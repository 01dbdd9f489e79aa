//! Exec and attach: five streams of one command, the same for every protocol.

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::status::{self, StatusForm};
use super::stream::{Inbound, Outbound};
use super::tokens::Registered;
use super::{Sessions, Wanted};
use crate::error::chain;

/// A resize message is some thirty bytes; more than this is none.
const LONGEST_RESIZE: usize = 4 * 1024;

/// The standard streams of a command, and what its client says beside them.
pub struct CommandStreams {
    /// What the process reads. It ends when the client closes it, or goes.
    pub stdin: Option<Inbound>,
    /// What the process writes, with a terminal all of it.
    pub stdout: Option<Outbound>,
    /// What the process writes to its standard error.
    pub stderr: Option<Outbound>,
    /// The client's terminal.
    pub resizes: Option<Resizes>,
    gone: CancellationToken,
}

impl CommandStreams {
    pub(super) fn new(gone: CancellationToken) -> CommandStreams {
        CommandStreams {
            stdin: None,
            stdout: None,
            stderr: None,
            resizes: None,
            gone,
        }
    }

    /// Tells, once cancelled, that the client is gone: nobody sees the outputs any more.
    /// What it typed before can still be read.
    pub fn client_gone(&self) -> CancellationToken {
        self.gone.clone()
    }
}

/// The size of a client's terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    #[serde(rename = "Width", alias = "width")]
    pub width: u16,
    /// Rows.
    #[serde(rename = "Height", alias = "height")]
    pub height: u16,
}

/// The sizes that a client's terminal takes on.
pub struct Resizes {
    bytes: Inbound,
    pending: BytesMut,
}

impl Resizes {
    pub(super) fn new(bytes: Inbound) -> Resizes {
        Resizes {
            bytes,
            pending: BytesMut::new(),
        }
    }

    /// The next size; `None` when no more will come. Safe to cancel.
    pub async fn next(&mut self) -> Option<TerminalSize> {
        loop {
            match self.parse() {
                Parsed::Size(size) => return Some(size),
                Parsed::Nonsense => return None,
                Parsed::Incomplete => {}
            }
            let chunk = self.bytes.next().await?;
            self.pending.extend_from_slice(&chunk);
        }
    }

    /// JSON objects one after the other; pieces of the stream end anywhere.
    fn parse(&mut self) -> Parsed {
        let mut objects = serde_json::Deserializer::from_slice(&self.pending).into_iter();
        let parsed = match objects.next() {
            Some(Ok(size)) => Parsed::Size(size),
            Some(Err(error)) if !error.is_eof() => Parsed::Nonsense,
            _ if self.pending.len() > LONGEST_RESIZE => Parsed::Nonsense,
            _ => return Parsed::Incomplete,
        };
        let length = objects.byte_offset();
        self.pending.advance(length.min(self.pending.len()));
        parsed
    }
}

enum Parsed {
    Size(TerminalSize),
    Incomplete,
    Nonsense,
}

/// The streams that a client has to open for a command.
pub(super) fn wanted(request: &Registered) -> Wanted {
    match request {
        Registered::Exec(exec) => exec.streams,
        Registered::Attach(attach) => attach.streams,
        Registered::PortForward(_) => Wanted::default(),
    }
}

/// Runs the command to its end, and tells the client of it on the error stream.
pub(super) async fn run(
    sessions: &dyn Sessions,
    request: Registered,
    mut streams: CommandStreams,
    error: Outbound,
    form: StatusForm,
) {
    let outcome = match request {
        Registered::Exec(exec) => sessions.exec(exec, &mut streams).await,
        Registered::Attach(attach) => sessions.attach(attach, &mut streams).await.map(|()| 0),
        Registered::PortForward(_) => return,
    };
    if let Err(cause) = &outcome {
        tracing::debug!("streaming: {}", chain(cause));
    }
    for output in [streams.stdout.take(), streams.stderr.take()]
        .into_iter()
        .flatten()
    {
        output.finish().await;
    }
    let report: Bytes = status::encode(&outcome, form);
    // A client that has gone needs no report.
    let _ = error.send(report).await;
    error.finish().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u16, height: u16) -> Option<TerminalSize> {
        Some(TerminalSize { width, height })
    }

    #[tokio::test]
    async fn sizes_are_read_whatever_the_pieces() {
        let (sender, inbound) = Inbound::new(None);
        let mut resizes = Resizes::new(inbound);
        for piece in [
            "{\"Width\":80,\"Hei",
            "ght\":24}\n{\"width\":100,",
            "\"height\":50}\n",
        ] {
            sender.send(piece.into()).await.unwrap();
        }
        drop(sender);
        assert_eq!(resizes.next().await, size(80, 24));
        assert_eq!(resizes.next().await, size(100, 50));
        assert_eq!(resizes.next().await, None);
    }

    #[tokio::test]
    async fn nonsense_ends_the_sizes() {
        for nonsense in ["{\"Width\":80}".to_owned(), " ".repeat(LONGEST_RESIZE + 1)] {
            let (sender, inbound) = Inbound::new(None);
            let mut resizes = Resizes::new(inbound);
            sender.send(nonsense.into()).await.unwrap();
            assert_eq!(resizes.next().await, None);
        }
    }
}
