//! Processes in containers: to their end, or streamed.

use std::io::PipeReader;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rctr_engine::options::ExecOptions;
use rctr_engine::{Engine, ExecSession};
use tonic::Status;

use super::containers::member;
use crate::service::Service;
use crate::streaming::{AttachRequest, ExecRequest, PortForwardRequest, Wanted};
use crate::{api, error};

/// Most that is kept of each output; a kubelet takes no answer larger than sixteen megabytes.
const OUTPUT_LIMIT: usize = 7 << 20;

/// Read at a time.
const CHUNK: usize = 64 << 10;

impl Service {
    pub(super) async fn run_exec_sync(
        &self,
        request: api::ExecSyncRequest,
    ) -> Result<api::ExecSyncResponse, Status> {
        if request.cmd.is_empty() {
            return Err(Status::invalid_argument("no command"));
        }
        let patience = u64::try_from(request.timeout).map_err(|_| {
            Status::invalid_argument(format!("a timeout of {} seconds", request.timeout))
        })?;
        let patience = (patience > 0).then(|| Duration::from_secs(patience));
        // Closed with this future, be it that the client has gone or that its deadline has passed.
        let (gone, _waits) = std::io::pipe().map_err(|e| Status::internal(format!("pipe: {e}")))?;
        self.engine_work(move |engine| exec_sync(engine, &request, patience, &gone))
            .await
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

fn exec_sync(
    engine: &Engine,
    request: &api::ExecSyncRequest,
    patience: Option<Duration>,
    gone: &PipeReader,
) -> Result<api::ExecSyncResponse, Status> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    let container = member(engine, &request.container_id)?;
    let options = ExecOptions {
        cmd: request.cmd.clone(),
        ..ExecOptions::default()
    };
    let mut session = match engine.exec(&container.id, &options) {
        Ok(session) => session,
        // A command that is not there is a result, as with any shell.
        Err(e) if matches!(e.exit_code(), 126 | 127) => {
            return Ok(api::ExecSyncResponse {
                stderr: error::chain(&e).into_bytes(),
                exit_code: e.exit_code().into(),
                ..Default::default()
            });
        }
        Err(e) => return Err(error::status(&e)),
    };
    let mut outputs = [
        Output::new(session.stdout.take()),
        Output::new(session.stderr.take()),
    ];
    let end = read_until_end(&session, &mut outputs, deadline, gone)
        .map_err(|errno| Status::internal(format!("poll: {errno}")))?;
    if end != End::Own {
        session.kill_all().map_err(|e| error::status(&e))?;
    }
    match end {
        End::Own => {}
        End::Late => {
            return Err(Status::deadline_exceeded(format!(
                "command {:?} timed out after {} s and was killed",
                request.cmd, request.timeout
            )));
        }
        End::Unwanted => return Err(Status::cancelled("nobody waits for the command")),
    }
    let exit_code = session.wait().map_err(|e| error::status(&e))?;
    let [stdout, stderr] = outputs.map(|output| output.bytes);
    Ok(api::ExecSyncResponse {
        stdout,
        stderr,
        exit_code,
    })
}

/// How the waiting for a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has ended.
    Own,
    /// Its time was up.
    Late,
    /// Whoever wanted to know has gone.
    Unwanted,
}

/// Reads both outputs until the process has ended and what it wrote is read, unless the deadline or the client's end
/// comes first. What it left running in the background may hold the pipes open: nobody waits for that.
fn read_until_end(
    session: &ExecSession,
    outputs: &mut [Output; 2],
    deadline: Option<Instant>,
    gone: &PipeReader,
) -> Result<End, Errno> {
    loop {
        let timeout = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
            None => PollTimeout::NONE,
            Some(left) if left.is_zero() => return Ok(End::Late),
            // Rounded up, so that it does not spin through the last millisecond.
            Some(left) => PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX),
        };
        // Of a pipe that nobody writes to only the end is told.
        let watched = [session.as_fd(), gone.as_fd()];
        let mut fds = watched
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .to_vec();
        let pipes = outputs.iter().filter_map(|output| output.pipe.as_ref());
        fds.extend(pipes.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let [ended, unwanted] = [0, 1].map(|n| fds[n].any() == Some(true));
        for output in outputs.iter_mut() {
            output.read_what_is_there()?;
        }
        if ended {
            return Ok(End::Own);
        }
        if unwanted {
            return Ok(End::Unwanted);
        }
    }
}

/// One output, as much of it as is kept.
struct Output {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Output {
    fn new(pipe: Option<OwnedFd>) -> Output {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        if let Some(pipe) = &pipe {
            // Cannot fail for a pipe of ours.
            let _ = fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        }
        Output {
            pipe,
            bytes: Vec::new(),
        }
    }

    fn read_what_is_there(&mut self) -> Result<(), Errno> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        let mut chunk = vec![0; CHUNK];
        // A process that writes without end does not keep us from looking at the clock.
        for _ in 0..16 {
            match nix::unistd::read(pipe, &mut chunk) {
                Ok(0) => {
                    self.pipe = None;
                    return Ok(());
                }
                Ok(length) => {
                    let room = OUTPUT_LIMIT - self.bytes.len();
                    self.bytes.extend_from_slice(&chunk[..length.min(room)]);
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
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

    #[test]
    fn outputs_are_bounded_and_end() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut output = Output::new(Some(reader.into()));
        output.read_what_is_there().unwrap();
        assert!(output.bytes.is_empty() && output.pipe.is_some());
        let flood = std::thread::spawn(move || {
            for _ in 0..200 {
                writer.write_all(&[b'x'; CHUNK]).unwrap();
            }
        });
        while output.pipe.is_some() {
            output.read_what_is_there().unwrap();
        }
        flood.join().unwrap();
        assert_eq!(output.bytes.len(), OUTPUT_LIMIT);
    }
}
