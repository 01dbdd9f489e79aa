//! Exec and attach over SPDY: a stream for each of the command's, told apart by a header.

use std::time::Duration;

use super::connection::{Connection, Stream};
use crate::streaming::command::{self, CommandStreams, Resizes};
use crate::streaming::status::StatusForm;
use crate::streaming::stream::Outbound;
use crate::streaming::tokens::Registered;
use crate::streaming::{Error, Result, Sessions, Wanted};

/// How long a client may take to open all its streams.
const PATIENCE: Duration = Duration::from_secs(30);

/// A version of the remote command protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::streaming) struct Version {
    pub(in crate::streaming) status: StatusForm,
    /// Whether a terminal comes with a stream of its sizes (v3 and later).
    pub(in crate::streaming) resize: bool,
}

/// Serves one command.
pub(in crate::streaming) async fn serve(
    sessions: &dyn Sessions,
    request: Registered,
    mut connection: Connection,
    version: Version,
) -> Result<()> {
    let wanted = command::wanted(&request);
    let collected = collect(&mut connection, wanted, version);
    let collected = tokio::time::timeout(PATIENCE, collected).await;
    let served = match collected.unwrap_or(Err(Error::StreamsMissing)) {
        Ok((streams, error)) => {
            command::run(sessions, request, streams, error, version.status).await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    connection.finish().await;
    served
}

/// Waits until every stream is there.
async fn collect(
    connection: &mut Connection,
    wanted: Wanted,
    version: Version,
) -> Result<(CommandStreams, Outbound)> {
    let mut streams = CommandStreams::new(connection.gone());
    let mut error = None;
    loop {
        let complete = streams.stdin.is_some() == wanted.stdin
            && streams.stdout.is_some() == wanted.stdout
            && streams.stderr.is_some() == wanted.stderr
            && streams.resizes.is_some() == (wanted.tty && version.resize);
        if complete && let Some(error) = error.take() {
            return Ok((streams, error));
        }
        let Stream {
            headers,
            from_client,
            to_client,
            ..
        } = connection.next_stream().await.ok_or(Error::ClientGone)?;
        match headers.get("streamtype") {
            Some("stdin") if wanted.stdin => streams.stdin = Some(from_client),
            Some("stdout") if wanted.stdout => streams.stdout = Some(to_client),
            Some("stderr") if wanted.stderr => streams.stderr = Some(to_client),
            Some("resize") if wanted.tty => streams.resizes = Some(Resizes::new(from_client)),
            Some("error") => error = Some(to_client),
            _ => to_client.reset().await,
        }
    }
}
