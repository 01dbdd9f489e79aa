//! Processes in containers: to their end, or streamed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rctr_engine::options::ExecOptions;
use rctr_engine::{Engine, ExecSession};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::containers::member;
use crate::fd::Fd;
use crate::service::Service;
use crate::streaming::{AttachRequest, ExecRequest, PortForwardRequest, Wanted};
use crate::{api, error};

/// Most that is kept of each output; a kubelet takes no answer larger than sixteen megabytes.
const OUTPUT_LIMIT: usize = 7 << 20;

/// The most that a pipe holds. What it held at its process's end is read; what others go on writing is not.
const PIPE: usize = 1 << 20;

impl Service {
    /// While the command runs it has no thread: some run for as long as their container.
    pub(super) async fn run_exec_sync(
        &self,
        request: api::ExecSyncRequest,
    ) -> Result<api::ExecSyncResponse, Status> {
        let api::ExecSyncRequest {
            container_id: id,
            cmd,
            timeout,
        } = request;
        if cmd.is_empty() {
            return Err(Status::invalid_argument("no command"));
        }
        let seconds = u64::try_from(timeout)
            .map_err(|_| Status::invalid_argument(format!("a timeout of {timeout} seconds")))?;
        let deadline = match seconds {
            0 => None,
            // None is as good as one beyond all time.
            _ => Instant::now().checked_add(Duration::from_secs(seconds)),
        };
        let options = ExecOptions {
            cmd: cmd.clone(),
            ..ExecOptions::default()
        };
        let named = id.clone();
        let starting = self.monitor_work(&id, move |engine| start(engine, &named, &options));
        let late = |what| {
            Status::deadline_exceeded(format!("command {cmd:?} timed out after {timeout} s{what}"))
        };
        let started = before(deadline, starting).await;
        let mut command = match started.unwrap_or_else(|| Err(late(", before it was started")))? {
            Started::Runs(command) => command,
            // A command that is not there is a result, as with any shell.
            Started::Missing { reason, code } => {
                return Ok(api::ExecSyncResponse {
                    stderr: reason.into_bytes(),
                    exit_code: code,
                    ..Default::default()
                });
            }
        };
        match before(deadline, command.run()).await {
            Some(ended) => ended,
            None => Err(late(" and was killed")),
        }
    }

    pub(super) async fn exec_url(&self, request: api::ExecRequest) -> Result<String, Status> {
        if request.cmd.is_empty() {
            return Err(Status::invalid_argument("no command"));
        }
        let container = self.running(request.container_id).await?;
        let streams = Wanted {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            tty: request.tty,
        };
        let request = ExecRequest {
            container,
            command: request.cmd,
            streams,
        };
        self.streams.exec_url(request).map_err(refused)
    }

    pub(super) async fn attach_url(&self, request: api::AttachRequest) -> Result<String, Status> {
        let container = self.running(request.container_id).await?;
        let streams = Wanted {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            tty: request.tty,
        };
        let request = AttachRequest { container, streams };
        self.streams.attach_url(request).map_err(refused)
    }

    pub(super) async fn forward_url(
        &self,
        request: api::PortForwardRequest,
    ) -> Result<String, Status> {
        let id = request.pod_sandbox_id;
        let pod = self.blocking(move |engine| engine.pod(&id)).await?;
        if crate::convert::pod::state(&pod) != api::PodSandboxState::SandboxReady {
            return Err(Status::failed_precondition(format!(
                "pod {} is not ready",
                pod.id
            )));
        }
        let ports = request.port.into_iter();
        let ports = ports.map(|port| crate::convert::number(port.into(), "port"));
        let request = PortForwardRequest {
            pod: pod.id,
            ports: ports.collect::<Result<_, _>>()?,
        };
        self.streams.port_forward_url(request).map_err(refused)
    }

    /// The id of a container that runs.
    async fn running(&self, id: String) -> Result<String, Status> {
        self.engine_work(move |engine| {
            let container = member(engine, &id)?;
            match container.state.status.is_live() {
                true => Ok(container.id),
                false => Err(not_running(&container.id)),
            }
        })
        .await
    }
}

fn refused(error: crate::streaming::Error) -> Status {
    let code = match error {
        crate::streaming::Error::TooManyRequests { .. } => tonic::Code::ResourceExhausted,
        _ => tonic::Code::InvalidArgument,
    };
    Status::new(code, error::chain(&error))
}

fn not_running(id: &str) -> Status {
    Status::failed_precondition(format!("container {id} is not running"))
}

/// What work gives, unless the deadline comes first.
async fn before<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

enum Started {
    Runs(Box<Command>),
    Missing { reason: String, code: i32 },
}

fn start(engine: &Engine, id: &str, options: &ExecOptions) -> Result<Started, Status> {
    let container = member(engine, id)?;
    match engine.exec(&container.id, options) {
        Ok(session) => Ok(Started::Runs(Box::new(Command {
            session,
            has_ended: false,
        }))),
        Err(e) if matches!(e.exit_code(), 126 | 127) => Ok(Started::Missing {
            reason: error::chain(&e),
            code: e.exit_code().into(),
        }),
        Err(e) => Err(error::status(&e)),
    }
}

/// A command that somebody waits for. Dropped before its end, it is killed with all that it has started: its time is up,
/// or whoever wanted to know has gone.
struct Command {
    session: ExecSession,
    has_ended: bool,
}

impl Drop for Command {
    fn drop(&mut self) {
        if !self.has_ended
            && let Err(failure) = self.session.kill_all()
        {
            // Without its monitor it has ended, too.
            tracing::debug!(error = error::chain(&failure), "a command is not killed");
        }
    }
}

impl Command {
    async fn run(&mut self) -> Result<api::ExecSyncResponse, Status> {
        let [stdout, stderr] = self
            .outputs()
            .await
            .map_err(|e| Status::internal(format!("read what the command writes: {e}")))?;
        self.has_ended = true;
        // That is known, so this does not block.
        let exit_code = self.session.wait().map_err(|e| error::status(&e))?;
        Ok(api::ExecSyncResponse {
            stdout,
            stderr,
            exit_code,
        })
    }

    /// Reads both outputs until the process has ended and what it wrote is read. What it left running in the background
    /// may hold the pipes open: nobody waits for that.
    async fn outputs(&mut self) -> io::Result<[Vec<u8>; 2]> {
        let mut stdout = Output::new(self.session.stdout.take())?;
        let mut stderr = Output::new(self.session.stderr.take())?;
        let end = Fd::new(self.session.as_fd().try_clone_to_owned()?)?;
        loop {
            tokio::select! {
                ended = end.readiness().readable() => {
                    ended?.retain_ready();
                    break;
                }
                read = stdout.read() => read?,
                read = stderr.read() => read?,
            }
            // One that writes without end does not keep the thread.
            tokio::task::yield_now().await;
        }
        stdout.read_what_is_there()?;
        stderr.read_what_is_there()?;
        Ok([stdout.bytes, stderr.bytes])
    }
}

/// One output, as much of it as is kept.
struct Output {
    pipe: Option<Fd>,
    bytes: Vec<u8>,
}

impl Output {
    fn new(pipe: Option<OwnedFd>) -> io::Result<Output> {
        Ok(Output {
            pipe: pipe.map(Fd::new).transpose()?,
            bytes: Vec::new(),
        })
    }

    /// Waits for more; for ever, once there is an end.
    async fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return std::future::pending().await;
        };
        let chunk = pipe.read().await?;
        self.keep(&chunk);
        Ok(())
    }

    fn read_what_is_there(&mut self) -> io::Result<()> {
        let mut left = PIPE;
        while let Some(pipe) = &self.pipe
            && left > 0
        {
            let chunk = pipe.read_now()?;
            left = left.saturating_sub(chunk.len());
            self.keep(&chunk);
        }
        Ok(())
    }

    /// An empty chunk is the end, or as good as that.
    fn keep(&mut self, chunk: &[u8]) {
        if chunk.is_empty() {
            self.pipe = None;
        }
        let room = OUTPUT_LIMIT - self.bytes.len();
        self.bytes
            .extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_client_may_come_back_when_there_is_room() {
        let full = crate::streaming::Error::TooManyRequests { count: 1000 };
        assert_eq!(refused(full).code(), tonic::Code::ResourceExhausted);
        let bad = crate::streaming::Error::BadStreams { reason: "x" };
        assert_eq!(refused(bad).code(), tonic::Code::InvalidArgument);
    }

    #[tokio::test]
    async fn outputs_are_bounded_and_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut output = Output::new(Some(reader.into())).unwrap();
        let flood = std::thread::spawn(move || {
            for _ in 0..200 {
                writer.write_all(&[b'x'; 64 << 10]).unwrap();
            }
        });
        while output.pipe.is_some() {
            output.read().await.unwrap();
        }
        flood.join().unwrap();
        assert_eq!(output.bytes.len(), OUTPUT_LIMIT);
        output.read_what_is_there().unwrap();
        assert_eq!(output.bytes.len(), OUTPUT_LIMIT);
    }
}
