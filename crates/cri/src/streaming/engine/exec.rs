//! A process beside a container's own, its pipes or terminal joined to a client's streams.

use std::future::pending;
use std::io;
use std::os::fd::AsFd;

use rctr_engine::ExecSession;
use rctr_engine::options::ExecOptions;
use tokio_util::sync::CancellationToken;

use super::EngineSessions;
use crate::fd::Fd;
use crate::streaming::{CommandStreams, Error, ExecRequest, Inbound, Outbound, Resizes, Result};

/// The most that a pipe holds. What it held at its process's end is sent; what others go on writing is not.
const PIPE: usize = 1 << 20;

pub(super) async fn exec(
    sessions: &EngineSessions,
    request: ExecRequest,
    streams: &mut CommandStreams,
) -> Result<i32> {
    let options = ExecOptions {
        cmd: request.command,
        interactive: request.streams.stdin,
        tty: request.streams.tty,
        ..ExecOptions::default()
    };
    let container = request.container.clone();
    let mut session = sessions
        .ask(&request.container, move |engine| {
            engine.exec(&container, &options)
        })
        .await?;
    join(&mut session, streams).await?;
    // Its end has been seen, so this does not block.
    Ok(session.wait()?)
}

/// Moves bytes until the process has ended and all it wrote has been sent, or the client is gone.
async fn join(session: &mut ExecSession, streams: &mut CommandStreams) -> Result<()> {
    let Fds {
        stdin,
        stdout,
        stderr,
        end,
    } = Fds::of(session).map_err(failed("open"))?;
    let session = &*session;
    let ended = CancellationToken::new();
    let outputs = async {
        tokio::try_join!(
            copy_out(stdout, streams.stdout.as_ref(), &ended),
            copy_out(stderr, streams.stderr.as_ref(), &ended),
            async {
                end.readiness().readable().await?.retain_ready();
                ended.cancel();
                Ok(())
            },
        )
    };
    let gone = streams.client_gone();
    let has_terminal = session.pty().is_some();
    let input = copy_in(streams.stdin.take(), stdin);
    let left = async {
        if has_terminal {
            // Hangs up at once, like a terminal whose line is cut.
            tokio::select! {
                () = gone.cancelled() => {}
                () = async { input.await; pending().await } => {}
            }
        } else {
            // What was sent before the client left still reaches the process.
            tokio::join!(input, gone.cancelled());
        }
    };
    tokio::select! {
        biased;
        moved = outputs => moved.map(drop).map_err(failed("read")),
        () = left => Err(Error::ClientGone),
        failed = resize(session, streams.resizes.as_mut()) => Err(failed),
    }
}

fn failed(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::ProcessStream { operation, source }
}

/// The process's side of the streams, and what is readable once it has ended.
struct Fds {
    stdin: Option<Fd>,
    stdout: Option<Fd>,
    stderr: Option<Fd>,
    end: Fd,
}

impl Fds {
    fn of(session: &mut ExecSession) -> io::Result<Fds> {
        let terminal = || {
            let fd = session.pty().map(|pty| pty.try_clone_to_owned());
            fd.transpose()
        };
        let (to_terminal, from_terminal) = (terminal()?, terminal()?);
        let end = session.as_fd().try_clone_to_owned()?;
        let open = |fd: Option<_>| fd.map(Fd::new).transpose();
        Ok(Fds {
            stdin: open(session.stdin.take().or(to_terminal))?,
            stdout: open(session.stdout.take().or(from_terminal))?,
            stderr: open(session.stderr.take())?,
            end: Fd::new(end)?,
        })
    }
}

/// What the process writes, until it closes it, or has ended and all from before its end has been sent.
/// A process whose reader is gone finds its pipe closed; one that nobody wanted to read is not held up.
async fn copy_out(
    from: Option<Fd>,
    to: Option<&Outbound>,
    ended: &CancellationToken,
) -> io::Result<()> {
    let Some(from) = from else { return Ok(()) };
    let mut left = PIPE;
    while left > 0 {
        let chunk = if ended.is_cancelled() {
            let chunk = from.read_now()?;
            left = left.saturating_sub(chunk.len());
            chunk
        } else {
            tokio::select! {
                chunk = from.read() => chunk?,
                () = ended.cancelled() => continue,
            }
        };
        if chunk.is_empty() {
            break;
        }
        if let Some(to) = to
            && to.send(chunk).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

/// What the client sends, until its end or the process takes no more.
async fn copy_in(from: Option<Inbound>, to: Option<Fd>) {
    let (Some(mut from), Some(to)) = (from, to) else {
        return;
    };
    while let Some(chunk) = from.next().await {
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

/// Passes the client's sizes on; ends only if that fails.
async fn resize(session: &ExecSession, sizes: Option<&mut Resizes>) -> Error {
    let Some(sizes) = sizes else {
        return pending().await;
    };
    while let Some(size) = sizes.next().await {
        if let Err(error) = session.resize(size.into()) {
            return error.into();
        }
    }
    pending().await
}
