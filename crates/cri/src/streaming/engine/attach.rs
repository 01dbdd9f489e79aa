//! A container's main process, joined to a client's streams.

use std::io;
use std::os::fd::AsFd;

use bytes::Bytes;
use rctr_engine::{AttachEvent, AttachStream, Streams};
use tokio::io::Interest;

use super::EngineSessions;
use crate::fd::Fd;
use crate::streaming::{AttachRequest, CommandStreams, Error, Inbound, Outbound, Resizes, Result};

pub(super) async fn attach(
    sessions: &EngineSessions,
    request: AttachRequest,
    streams: &mut CommandStreams,
) -> Result<()> {
    let wanted = Streams {
        stdin: request.streams.stdin,
        stdout: request.streams.stdout,
        stderr: request.streams.stderr,
    };
    let container = request.container.clone();
    let monitor = sessions
        .ask(&request.container, move |engine| {
            engine.attach(&container, wanted)
        })
        .await?;
    join(monitor, streams).await
}

/// Output on its way to the client.
enum Pending<'a> {
    Nothing,
    To(&'a Outbound, Bytes),
}

/// Moves frames until the container has ended, or the client is gone and what it had typed has been passed on.
async fn join(mut monitor: AttachStream, streams: &mut CommandStreams) -> Result<()> {
    let open = || Fd::new(monitor.as_fd().try_clone_to_owned()?);
    let socket = open().map_err(failed)?;
    let gone = streams.client_gone();
    let mut stdin = streams.stdin.take();
    let mut sizes = streams.resizes.take();
    let mut pending = Pending::Nothing;
    loop {
        while let Pending::Nothing = pending {
            let (output, bytes) = match monitor.try_next().map_err(runtime)? {
                Some(AttachEvent::Stdout(bytes)) => (&streams.stdout, bytes),
                Some(AttachEvent::Stderr(bytes)) => (&streams.stderr, bytes),
                Some(AttachEvent::Exit(_)) => return Ok(()),
                None => break,
            };
            if let Some(output) = output {
                pending = Pending::To(output, bytes.into());
            }
        }
        let reading = matches!(pending, Pending::Nothing);
        let full = monitor.wants_write();
        let interest = match (reading, full) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (false, _) => Interest::WRITABLE,
            (true, false) => Interest::READABLE,
        };
        tokio::select! {
            ready = socket.readiness().ready(interest), if reading || full => {
                // Cleared before the reading and writing, which go on until there is no more.
                ready.map_err(failed)?.clear_ready();
                monitor.flush().map_err(runtime)?;
            }
            () = send(&mut pending), if !reading => {}
            input = next(&mut stdin), if stdin.is_some() && !full => match input {
                Some(bytes) => monitor.send_stdin(&bytes).map_err(runtime)?,
                None => {
                    stdin = None;
                    monitor.close_stdin().map_err(runtime)?;
                }
            },
            size = next_size(&mut sizes), if sizes.is_some() && !full => match size {
                Some(size) => monitor.resize(size.into()).map_err(runtime)?,
                None => sizes = None,
            },
            () = gone.cancelled(), if stdin.is_none() && !full => return Err(Error::ClientGone),
        }
    }
}

/// Sends some of what is pending. Safe to cancel.
async fn send(pending: &mut Pending<'_>) {
    if let Pending::To(output, bytes) = pending {
        // For a client that has gone the container is not held up.
        if output.send_some(bytes).await.is_err() || bytes.is_empty() {
            *pending = Pending::Nothing;
        }
    }
}

async fn next(stdin: &mut Option<Inbound>) -> Option<Bytes> {
    stdin.as_mut()?.next().await
}

async fn next_size(sizes: &mut Option<Resizes>) -> Option<crate::streaming::TerminalSize> {
    sizes.as_mut()?.next().await
}

fn runtime(error: impl Into<rctr_engine::Error>) -> Error {
    Error::Engine(error.into())
}

fn failed(source: io::Error) -> Error {
    Error::ProcessStream {
        operation: "poll",
        source,
    }
}
