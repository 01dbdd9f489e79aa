//! Making containers and processes in them: the one place that calls libcontainer.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcgroups::common::NOT_JOINED;
use libcontainer::config::YoukiConfig;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::error::LibcontainerError;
use libcontainer::notify_socket::{NOTIFY_FILE, NotifySocket};
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::adapt::adapt_process;
use super::error_log::ErrorLog;
use super::hooks::Round;
use super::mounts::Mounts;
use super::process::{Alone, Circumstances, ExecReport, Fate, Joined, Keyring, ProcessExecutor};
use super::user::UserNamespace;
use crate::cgroup::{Cgroup, CgroupDriver};
use crate::error::StartError;
use crate::seccomp::Program;
use crate::spec::WindowSize;

/// What a new process gets as its standard streams.
pub(super) enum ProcessStdio {
    /// Standard input (none: /dev/null), output and error.
    Files {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// A pseudo terminal of the container's own.
    Terminal(WindowSize),
    /// The calling process's.
    Own,
    /// A pseudo terminal of the container's own, for whoever listens on this socket.
    Console(PathBuf, Option<WindowSize>),
}

impl ProcessStdio {
    /// Gives pipes to a user namespace's root, who may want to open them again.
    pub(super) fn own(&self, user: &UserNamespace) {
        if let Self::Files {
            stdin,
            stdout,
            stderr,
        } = self
        {
            for fd in stdin.iter().chain([stdout, stderr]) {
                user.own_pipe(fd.as_fd());
            }
        }
    }

    pub(super) fn terminal(&self) -> Option<WindowSize> {
        match self {
            ProcessStdio::Terminal(size) => Some(*size),
            ProcessStdio::Console(_, size) => *size,
            ProcessStdio::Files { .. } | ProcessStdio::Own => None,
        }
    }
}

/// A process that exists.
pub(super) struct NewProcess {
    /// Its pid here.
    pub pid: i32,
    /// The master side of its terminal.
    pub pty: Option<OwnedFd>,
}

/// Makes one container and processes in it. Another implementation may replace libcontainer's.
pub(super) trait ContainerRuntime {
    /// Makes the container; its init stops short of the program. The bundle is the adapted one.
    fn create(&mut self, process: &Process, stdio: ProcessStdio) -> Result<NewProcess, StartError>;

    /// Lets init execute its program, and waits until it has.
    fn start(&mut self) -> Result<(), StartError>;

    /// Runs a further process in the running container.
    fn exec(&mut self, process: &Process, stdio: ProcessStdio) -> Result<NewProcess, StartError>;

    /// The container has ended: lets go of what is kept of it.
    fn ended(&mut self) {}
}

/// libcontainer's name for our only container: its state lies in `STATE_DIR/oci/`.
const NAME: &str = "oci";

/// How a container is made, or a process in it, that lives on when the process that makes it ends.
#[derive(Default)]
pub(super) struct Detached {
    /// Where init reports until its program runs; opened again by whoever starts it.
    pub fifo: Option<OwnedFd>,
    pub no_pivot: bool,
    pub preserve_fds: u32,
    pub keyring: Option<Keyring>,
    /// The container's network namespace is new.
    pub loopback: bool,
    pub start_hooks: Option<Round>,
    /// Below the container's, for a further process.
    pub sub_cgroup: Option<String>,
}

/// [`ContainerRuntime`] on libcontainer.
pub(super) struct Libcontainer {
    state_dir: PathBuf,
    cgroup: Cgroup,
    /// The container's first process.
    init: i32,
    seccomp: Option<Rc<Program>>,
    /// libcontainer puts a container into it, but not what is executed there later.
    user: Option<Joined>,
    errors: ErrorLog,
    mounts: Option<Mounts>,
    created: Option<ExecReport>,
    detached: Option<Detached>,
}

impl Libcontainer {
    /// For the container whose adapted bundle is in `state_dir`.
    pub(super) fn new(
        state_dir: &Path,
        cgroup: &Cgroup,
        seccomp: Option<Program>,
        user: Option<Joined>,
    ) -> io::Result<Self> {
        Ok(Self {
            state_dir: state_dir.to_owned(),
            cgroup: cgroup.clone(),
            init: 0,
            seccomp: seccomp.map(Rc::new),
            user,
            errors: ErrorLog::install()?,
            mounts: None,
            created: None,
            detached: None,
        })
    }

    /// For the container that is made: its init makes these.
    pub(super) fn mounting(mut self, mounts: Mounts) -> Self {
        self.mounts = Some(mounts);
        self
    }

    /// For a container whose first process this is.
    pub(super) fn running(mut self, init: i32) -> Self {
        self.init = init;
        self
    }

    /// For the next process that is made, which lives on without this one.
    pub(super) fn detached(mut self, detached: Detached) -> Self {
        self.detached = Some(detached);
        self
    }

    /// What surrounds a process besides its mounts, and where it reports.
    fn surroundings(
        &self,
        process: &Process,
        terminal: Option<WindowSize>,
        detached: Option<&mut Detached>,
    ) -> Result<(Circumstances, ExecReport), StartError> {
        let command = process.args().as_ref().and_then(|args| args.first());
        let command = command.cloned().unwrap_or_default();
        let mut circumstances = Circumstances {
            seccomp: self.seccomp.clone(),
            mounts: None,
            terminal,
            cgroups: Vec::new(),
            user: None,
            fate: Fate::Shared,
        };
        let Some(detached) = detached else {
            return Ok((circumstances, ExecReport::new(command)?));
        };
        circumstances.fate = Fate::Alone(Box::new(Alone {
            preserve_fds: detached.preserve_fds,
            keyring: detached.keyring.take(),
            loopback: detached.loopback,
            hooks: detached.start_hooks.take(),
        }));
        let report = match detached.fifo.take() {
            Some(fifo) => ExecReport::on_fifo(command, fifo).map_err(|e| StartError::Init {
                reason: format!("duplicate a descriptor: {e}"),
            })?,
            None => ExecReport::new(command)?,
        };
        Ok((circumstances, report))
    }

    fn builder(&self, executor: ProcessExecutor) -> Result<ContainerBuilder, LibcontainerError> {
        ContainerBuilder::new(NAME.to_owned(), SyscallType::default())
            .with_executor(executor)
            .with_root_path(&self.state_dir)
    }

    /// libcontainer's cause chain on one line, with the first thing it logged.
    fn describe(&self, error: &LibcontainerError) -> StartError {
        let mut words = causes(error);
        // The kernel's answer is at the end of it, and what was logged says the same less well.
        if let Some((_, reason)) = words.join(": ").split_once("cgroup error: ") {
            let reason = reason.to_owned();
            return StartError::Cgroup { reason };
        }
        if let Some(logged) = self.errors.first() {
            words.push(logged);
        }
        let reason = words.join(": ");
        if reason.contains("cgroup") {
            return StartError::Cgroup { reason };
        }
        StartError::Init { reason }
    }

    /// As long as one of these is held, nobody takes away the socket by which a new process is told to go on.
    fn hold_sockets(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let held = rustix::fs::open(self.state_dir.join(NAME), flags, Mode::empty())?;
        rustix::fs::flock(&held, FlockOperation::LockShared)?;
        Ok(held)
    }

    /// Removes the sockets of processes that have long started, unless another command has yet to use one.
    fn release_sockets(&self, held: OwnedFd) {
        let alone = rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok();
        let entries = std::fs::read_dir(self.state_dir.join(NAME));
        for entry in entries.into_iter().flatten().flatten() {
            if alone && entry.file_name().as_encoded_bytes().starts_with(b"tenant-") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        // The new process has this descriptor too, and may have it for long.
        let _ = rustix::fs::flock(&held, FlockOperation::Unlock);
    }
}

impl ContainerRuntime for Libcontainer {
    fn create(&mut self, process: &Process, stdio: ProcessStdio) -> Result<NewProcess, StartError> {
        self.errors.clear();
        let mut detached = self.detached.take();
        let (mut circumstances, report) =
            self.surroundings(process, stdio.terminal(), detached.as_mut())?;
        circumstances.mounts = self.mounts.take();
        let detached = detached.unwrap_or_default();
        let executor = ProcessExecutor::new(process, circumstances, &report)?;
        let builder = self
            .builder(executor)
            .map_err(|e| self.describe(&e))?
            .with_preserved_fds(detached.preserve_fds as i32);
        let (builder, console) = with_stdio(builder, stdio, &self.state_dir)?;
        let mut container = builder
            .as_init(&self.state_dir)
            .with_systemd(self.cgroup.driver() == CgroupDriver::Systemd)
            .with_detach(true)
            .with_no_pivot(detached.no_pivot)
            .build()
            .map_err(|e| report.so_far().unwrap_or_else(|| self.describe(&e)))?;
        let pid = container.pid().map_or(0, |pid| pid.as_raw());
        // Otherwise it would execute nothing in a container that has yet to be started.
        container
            .set_status(ContainerStatus::Running)
            .save()
            .map_err(|e| self.describe(&e))?;
        self.created = Some(report);
        self.init = pid;
        Ok(NewProcess {
            pid,
            pty: console.map(Console::receive).transpose()?,
        })
    }

    fn start(&mut self) -> Result<(), StartError> {
        let Some(report) = self.created.take() else {
            return Err(StartError::Init {
                reason: "the container does not exist".to_owned(),
            });
        };
        release_created(&self.state_dir)?;
        report.wait()
    }

    fn exec(&mut self, process: &Process, stdio: ProcessStdio) -> Result<NewProcess, StartError> {
        self.errors.clear();
        let mut detached = self.detached.take();
        let (mut circumstances, report) =
            self.surroundings(process, stdio.terminal(), detached.as_mut())?;
        circumstances.user = self.user.clone();
        let detached = detached.unwrap_or_default();
        let part = detached.sub_cgroup;
        let part = part.or_else(|| self.cgroup.division_of(self.init));
        let sub_cgroup = match self.cgroup.is_joined_by_request() {
            true => part,
            false => {
                let doors = self.cgroup.doors(part.as_deref());
                circumstances.cgroups = doors.map_err(|e| StartError::Cgroup {
                    reason: e.to_string(),
                })?;
                Some(NOT_JOINED.to_owned())
            }
        };
        let executor = ProcessExecutor::new(process, circumstances, &report)?;
        let (adapted, _) = adapt_process(process);
        let description = in_memory(&adapted)?;
        let builder = self
            .builder(executor)
            .map_err(|e| self.describe(&e))?
            .with_preserved_fds(detached.preserve_fds as i32);
        let (builder, console) = with_stdio(builder, stdio, &self.state_dir)?;
        let held = self.hold_sockets().map_err(|e| StartError::Init {
            reason: format!("lock the container's directory: {e}"),
        })?;
        let built = builder
            .as_tenant()
            .with_detach(true)
            .with_ignore_paused(true)
            .with_sub_cgroup(sub_cgroup)
            .with_process(Some(format!("/proc/self/fd/{}", description.as_raw_fd())))
            .build();
        self.release_sockets(held);
        let pid = built.map_err(|e| report.so_far().unwrap_or_else(|| self.describe(&e)))?;
        report.wait()?;
        Ok(NewProcess {
            pid: pid.as_raw(),
            pty: console.map(Console::receive).transpose()?,
        })
    }
}

/// What an error and its causes say, each once.
fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.iter().any(|w| w.contains(&text)) {
            words.push(text);
        }
        cause = error.source();
    }
    words
}

/// Lets the init of a container, whoever has made it, go on to its program, without waiting for that.
pub(super) fn release_created(state_dir: &Path) -> Result<(), StartError> {
    let mut socket = NotifySocket::new(state_dir.join(NAME).join(NOTIFY_FILE));
    let released = socket.notify_container_start();
    released.map_err(|e| StartError::Init {
        reason: causes(&e).join(": "),
    })
}

/// Makes a container known to libcontainer that it has not made, so that processes can be executed in it.
pub(super) fn adopt(
    state_dir: &Path,
    spec: &Spec,
    pid: i32,
    cgroup: CgroupDriver,
) -> Result<(), StartError> {
    let dir = state_dir.join(NAME);
    let adopt = || -> Result<(), LibcontainerError> {
        std::fs::create_dir(&dir).map_err(LibcontainerError::OtherIO)?;
        let status = ContainerStatus::Running;
        let mut container = Container::new(NAME, status, Some(pid), state_dir, &dir)?;
        container.set_systemd(cgroup == CgroupDriver::Systemd);
        YoukiConfig::from_spec(spec, NAME)?.save(&dir)?;
        container.save()
    };
    adopt().map_err(|e| StartError::Init {
        reason: causes(&e).join(": "),
    })
}

pub(super) fn in_memory(process: &Process) -> Result<OwnedFd, StartError> {
    let make = || -> io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("process", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(fd);
        serde_json::to_writer(&mut file, process)?;
        Ok(file.into())
    };
    make().map_err(|e| StartError::Monitor {
        step: "describe the process".to_owned(),
        reason: e.to_string(),
    })
}

fn with_stdio(
    builder: ContainerBuilder,
    stdio: ProcessStdio,
    state_dir: &Path,
) -> Result<(ContainerBuilder, Option<Console>), StartError> {
    match stdio {
        ProcessStdio::Files {
            stdin,
            stdout,
            stderr,
        } => {
            let builder = match stdin {
                Some(stdin) => builder.with_stdin(stdin),
                None => builder,
            };
            Ok((builder.with_stdout(stdout).with_stderr(stderr), None))
        }
        ProcessStdio::Terminal(_) => {
            let console = Console::listen(state_dir)?;
            let builder = builder.with_console_socket(Some(console.path.clone()));
            Ok((builder, Some(console)))
        }
        ProcessStdio::Own => Ok((builder, None)),
        ProcessStdio::Console(socket, _) => Ok((builder.with_console_socket(Some(socket)), None)),
    }
}

/// The socket on which libcontainer hands over a terminal's master side.
pub(super) struct Console {
    listener: UnixListener,
    pub path: PathBuf,
}

impl Console {
    pub(super) fn listen(state_dir: &Path) -> Result<Self, StartError> {
        // Others may make a process with a terminal in the same moment. Short: a socket's path has little room.
        let name = format!("tty{:x}", std::process::id());
        let path = state_dir.join(&name);
        let _ = std::fs::remove_file(&path);
        let listener = super::bind(state_dir, &name).map_err(terminal_failed)?;
        listener.set_nonblocking(true).map_err(terminal_failed)?;
        Ok(Self { listener, path })
    }

    /// The container's process has sent it by the time libcontainer returns.
    pub(super) fn receive(self) -> Result<OwnedFd, StartError> {
        let (socket, _) = self.listener.accept().map_err(terminal_failed)?;
        let mut byte = [0u8; 64];
        let mut iov = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let message = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut iov,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .map_err(|e| terminal_failed(e.into()))?;
        let fd = message
            .cmsgs()
            .map_err(|e| terminal_failed(e.into()))?
            .find_map(|item| match item {
                ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                _ => None,
            })
            .ok_or_else(|| terminal_failed(io::ErrorKind::UnexpectedEof.into()))?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn terminal_failed(error: io::Error) -> StartError {
    StartError::Init {
        reason: format!("terminal: {error}"),
    }
}
