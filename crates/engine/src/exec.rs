//! Another process in a running container.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::Process;
use rctr_runtime::{ExecHandle, ExecRequest, ExecStdio, MonitorClient, WindowSize};
use rctr_store::{Store, Tx};

use crate::events::{self, ContainerEvent};
use crate::model::{Container, Status};
use crate::options::{ExecOptions, ParseError};
use crate::rootfs_view::RootfsView;
use crate::{Engine, Error, Result, apparmor, first_process, names, spec, user};

/// A process that `exec` started. Dropping it leaves the process alone.
pub struct ExecSession {
    /// Write here for its standard input; close it for end of file.
    pub stdin: Option<OwnedFd>,
    /// Its standard output.
    pub stdout: Option<OwnedFd>,
    /// Its standard error.
    pub stderr: Option<OwnedFd>,
    handle: ExecHandle,
    told: Option<Told>,
}

impl ExecSession {
    /// The terminal's master side with `-t`: read and write it instead of the three others.
    pub fn pty(&self) -> Option<BorrowedFd<'_>> {
        self.handle.pty.as_ref().map(AsFd::as_fd)
    }

    /// Blocks until the process has ended; its exit code, or 128 + the signal that killed it.
    ///
    /// # Errors
    /// The monitor was killed.
    pub fn wait(&mut self) -> Result<i32> {
        let code = self.handle.wait()?;
        // Otherwise the monitor has it told when this process goes.
        if self.told.take().is_some_and(|told| told.ended(code)) {
            let _ = self.handle.settled();
        }
        Ok(code)
    }

    /// Tells that the user has left it running.
    pub fn detached(&self) {
        if let Some(Told {
            store,
            container,
            id,
            ..
        }) = &self.told
        {
            let event = ContainerEvent::ExecDetach { id };
            report(store.write(|tx| events::container(tx, container, event)));
        }
    }

    /// Sets the terminal's size.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, size: WindowSize) -> Result<()> {
        Ok(self.handle.resize(size)?)
    }

    /// Kills the process and all that it started.
    ///
    /// # Errors
    /// The monitor was killed.
    pub fn kill_all(&self) -> Result<()> {
        Ok(self.handle.kill_all()?)
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// The monitor was killed.
    pub fn signal(&self, signal: i32) -> Result<()> {
        Ok(self.handle.signal(signal)?)
    }
}

impl AsFd for ExecSession {
    /// Readable once [`ExecSession::wait`] will not block.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Engine {
    /// Runs a process in a running container.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::exit_code`] tells a missing command (127) and one that cannot be executed (126).
    pub fn exec(&self, name: &str, options: &ExecOptions) -> Result<ExecSession> {
        let container = self.running(name)?;
        if container.state.status == Status::Paused {
            return Err(Error::ExecPaused { id: container.id });
        }
        if let Some(path) = options
            .working_dir
            .as_ref()
            .filter(|dir| !dir.starts_with('/'))
        {
            return Err(ParseError::WorkingDir { path: path.clone() }.into());
        }
        let mut process = self.exec_process(&container, options)?;
        apparmor::require(&container.options, &mut process)?;
        let told = Told::new(self, &container, options);
        let end_command = match &told {
            Some(told) => {
                told.begun()?;
                self.own_command(&["internal", "exec-ended", &container.id, &told.id])?
            }
            None => Vec::new(),
        };
        let failure = |error: rctr_runtime::Error| {
            failed(&told);
            let ended = matches!(error, rctr_runtime::Error::NotRunning { .. })
                || first_process::has_ended(container.state.pid);
            match ended {
                // Since it was looked at.
                true => Error::NotRunning {
                    id: container.id.clone(),
                },
                false => error.into(),
            }
        };
        let client = MonitorClient::connect(&self.state_dir(&container.id)).map_err(failure)?;
        if options.tty {
            let request = ExecRequest {
                process,
                tty: Some(WindowSize { rows: 24, cols: 80 }),
                end_command,
            };
            let handle = client.exec(request, None).map_err(failure)?;
            return Ok(ExecSession {
                stdin: None,
                stdout: None,
                stderr: None,
                handle,
                told,
            });
        }
        let request = ExecRequest {
            process,
            tty: None,
            end_command,
        };
        let mut pipes = Pipes::make(options)?;
        let handle = client.exec(request, Some(pipes.inner())).map_err(failure)?;
        Ok(ExecSession {
            stdin: pipes.stdin.take(),
            stdout: pipes.stdout.take(),
            stderr: pipes.stderr.take(),
            handle,
            told,
        })
    }

    /// A process that `exec` started has ended, and nobody waited for it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn exec_ended(&self, container: &str, exec: &str, code: i32) -> Result<()> {
        match self.record(container)? {
            Some(container) => Ok(self
                .store
                .write(|tx| events::exec_ended(tx, &container, exec, code))?),
            None => Ok(()),
        }
    }

    /// A container's first process, as it was started last.
    pub(crate) fn first_process(&self, container: &Container) -> Result<Process> {
        let config = self.store.container_dir(&container.id)?.join("config.json");
        let spec = spec::load(&config)?;
        spec.process().clone().ok_or_else(|| Error::BadRecord {
            what: format!("{}: no process", config.display()),
        })
    }

    fn exec_process(&self, container: &Container, options: &ExecOptions) -> Result<Process> {
        let init = self.first_process(container)?;
        if container.pod.is_some() && options.user.is_none() && !options.privileged {
            return Ok(spec::like_init(&init, options));
        }
        let layers = self
            .layers(container)?
            .into_iter()
            .map(|layer| layer.path)
            .collect();
        let upper = self.store.container_dir(&container.id)?.join("upper");
        let view = RootfsView::new(Some(upper), layers);
        let identity = match &options.user {
            Some(user) => user::resolve(&view, user, &container.options.group_add)?,
            None => self.identity(container, &view)?,
        };
        Ok(spec::exec_process(&init, container, &identity, options)?)
    }
}

/// A process that is told of. In a pod none is: the kubelet's probes would fill the list.
struct Told {
    store: Store,
    container: Container,
    id: String,
    command: String,
}

impl Told {
    fn new(engine: &Engine, container: &Container, options: &ExecOptions) -> Option<Told> {
        container.pod.is_none().then(|| Told {
            store: engine.store.clone(),
            container: container.clone(),
            id: names::new_id(),
            command: options.cmd.join(" "),
        })
    }

    /// Before it starts: it may have ended before this process has a word to say.
    fn begun(&self) -> Result<()> {
        let Told { id, command, .. } = self;
        let container = &self.container;
        Ok(self.store.write(|tx| {
            let create = ContainerEvent::ExecCreate { id, command };
            events::container(tx, container, create)?;
            events::container(tx, container, ContainerEvent::ExecStart { id, command })?;
            tx.owe_event(&events::exec_due(&container.id, id))
        })?)
    }

    /// Whether that could be written.
    fn ended(self, code: i32) -> bool {
        let write = |tx: &Tx<'_>| events::exec_ended(tx, &self.container, &self.id, code);
        report(self.store.write(write))
    }
}

/// It did not start, so there is no end to tell of.
fn failed(told: &Option<Told>) {
    if let Some(told) = told {
        let due = events::exec_due(&told.container.id, &told.id);
        report(told.store.write(|tx| tx.pay_event(&due).map(drop)));
    }
}

fn report(written: rctr_store::Result<()>) -> bool {
    if let Err(e) = &written {
        tracing::warn!(error = %e, "a process was not told of");
    }
    written.is_ok()
}

/// The two sides of a process's standard streams. Pipes, never the caller's own files: a process in the container
/// could open those again through /proc/self/fd with more rights than it was given.
struct Pipes {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    inner: [OwnedFd; 3],
}

impl Pipes {
    fn make(options: &ExecOptions) -> Result<Pipes> {
        let null = || -> Result<OwnedFd> {
            let path = "/dev/null".as_ref();
            Ok(File::options()
                .read(true)
                .write(true)
                .open(path)
                .map_err(Error::file("open", path))?
                .into())
        };
        let output = || -> Result<(Option<OwnedFd>, OwnedFd)> {
            if options.detach {
                return Ok((None, null()?));
            }
            let (reader, writer) = pipe()?;
            Ok((Some(reader.into()), writer.into()))
        };
        let (stdin, inner_stdin) = match options.interactive && !options.detach {
            true => pipe().map(|(reader, writer)| (Some(writer.into()), reader.into()))?,
            false => (None, null()?),
        };
        let (stdout, inner_stdout) = output()?;
        let (stderr, inner_stderr) = output()?;
        Ok(Pipes {
            stdin,
            stdout,
            stderr,
            inner: [inner_stdin, inner_stdout, inner_stderr],
        })
    }

    fn inner(&self) -> ExecStdio<'_> {
        let [stdin, stdout, stderr] = &self.inner;
        ExecStdio {
            stdin: stdin.as_fd(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
        }
    }
}

fn pipe() -> Result<(PipeReader, PipeWriter)> {
    std::io::pipe().map_err(Error::file("make", "pipe".as_ref()))
}
