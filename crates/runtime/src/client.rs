//! Talking to a running container's monitor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use oci_spec::runtime::Process;

use crate::attach::AttachStream;
use crate::error::{Error, Result};
use crate::protocol::{
    ExecSpec, Fill, FrameReader, FrameType, Reply, Request, is_terminal, json_frame, parse,
    send_with_fds,
};
use crate::signal::readable_within;
use crate::spec::{AttachOptions, WindowSize};
use crate::state::{ExitStatus, SOCKET_FILE, State};

/// A monitor that works answers within microseconds, or once it has served those who came before. After so long it is
/// looked at whether it can, twice before it is given up as stopped.
const LOOK: Duration = Duration::from_secs(2);
/// How long one may take that was not stopped.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon one is tried again that has more connections waiting than fit.
const SOON: Duration = Duration::from_millis(10);

/// A blocking connection that carries requests and replies.
pub(crate) struct Connection {
    pub(crate) socket: UnixStream,
    pub(crate) reader: FrameReader,
}

impl Connection {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            reader: FrameReader::default(),
        }
    }

    fn open(state_dir: &Path) -> Result<Self> {
        // Through the directory's descriptor, since a socket address holds 107 bytes and a path may be longer.
        let refused = |errno| match errno {
            Errno::ENOENT | Errno::ECONNREFUSED | Errno::ENOTDIR => Error::NotRunning {
                state_dir: state_dir.to_owned(),
            },
            other => Error::file("reach the monitor of", state_dir, other),
        };
        let directory = rustix::fs::open(
            state_dir,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|e| refused(Errno::from_raw(e.raw_os_error())))?;
        let path: PathBuf = format!("/proc/self/fd/{}/{SOCKET_FILE}", directory.as_raw_fd()).into();
        let address = UnixAddr::new(&path).map_err(refused)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(refused)?;
        let deadline = Instant::now() + LOOK;
        loop {
            match connect(socket.as_raw_fd(), &address) {
                Ok(()) => break,
                // Others wait to be let in, and no more of them fit.
                Err(Errno::EAGAIN) if Instant::now() < deadline => std::thread::sleep(SOON),
                Err(Errno::EAGAIN) => return Err(silent(state_dir)?),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(refused(errno)),
            }
        }
        let socket = UnixStream::from(socket);
        let blocking = socket.set_nonblocking(false);
        blocking.map_err(|e| Error::system("set_nonblocking", e))?;
        Ok(Self::new(socket))
    }

    pub(crate) fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let bytes = json_frame(FrameType::Request, request);
        send_with_fds(&self.socket, &bytes, fds).map_err(|_| Error::MonitorLost)
    }

    pub(crate) fn receive(&mut self) -> Result<Reply> {
        loop {
            match self.reader.next()? {
                Some((FrameType::Reply, payload)) => return parse(&payload),
                Some((other, _)) => {
                    return Err(Error::Protocol {
                        reason: format!("{other:?} where a reply was due"),
                    });
                }
                None => {
                    if self.reader.fill_frame(&self.socket)? == Fill::Closed {
                        return Err(Error::MonitorLost);
                    }
                }
            }
        }
    }
}

/// What is to be said of a monitor that does not answer.
fn silent(state_dir: &Path) -> Result<Error> {
    Ok(match State::load(state_dir)? {
        Some(State { monitor, .. }) => Error::MonitorSilent {
            pid: monitor.pid,
            stopped: monitor.is_stopped(),
        },
        None => Error::MonitorLost,
    })
}

fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Refused(reason) => Error::Refused { reason },
        Reply::StartFailed { error, .. } => Error::Start(error),
        other => Error::Protocol {
            reason: format!("unexpected reply {other:?}"),
        },
    }
}

/// A process to run in a running container.
#[derive(Clone, Debug)]
pub struct ExecRequest {
    /// The process, complete: the engine has resolved user, groups, HOME, environment and capabilities.
    pub process: Process,
    /// A pseudo terminal of this size instead of the three descriptors.
    pub tty: Option<WindowSize>,
    /// What the monitor runs, with the exit code as one more argument, if nobody waits when the process ends; empty:
    /// nothing.
    pub end_command: Vec<String>,
}

/// The exec'd process's standard streams: pipes or files, never a terminal of the host.
pub struct ExecStdio<'a> {
    /// Read by the process.
    pub stdin: BorrowedFd<'a>,
    /// Written by the process.
    pub stdout: BorrowedFd<'a>,
    /// Written by the process.
    pub stderr: BorrowedFd<'a>,
}

/// A connection to the monitor of one running container. One request at a time; [`exec`](Self::exec),
/// [`attach`](Self::attach) and [`wait`](Self::wait) use the connection up.
pub struct MonitorClient {
    connection: Connection,
    state_dir: PathBuf,
}

impl MonitorClient {
    /// Connects to the monitor of the container with this state directory.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if there is none; see then [`crate::status`]. [`Error::MonitorSilent`] if it lets nobody in.
    pub fn connect(state_dir: &Path) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(state_dir)?,
            state_dir: state_dir.to_owned(),
        })
    }

    /// The answer to a request, however long the monitor is busy with others; not that of one that cannot answer.
    fn answer(&mut self) -> Result<Reply> {
        let deadline = Instant::now() + PATIENCE;
        let mut looks = 0;
        while !self.answers_within(LOOK) {
            let error = silent(&self.state_dir)?;
            let stopped = matches!(error, Error::MonitorSilent { stopped: true, .. });
            looks = if stopped { looks + 1 } else { 0 };
            if looks == 2 || Instant::now() > deadline {
                return Err(error);
            }
        }
        self.connection.receive()
    }

    fn done(&mut self) -> Result<()> {
        match self.answer()? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Asks for a signal to the container's init; [`signal_answer`](Self::signal_answer) follows.
    pub(crate) fn ask_to_signal(&mut self, signal: i32, reason: Option<&str>) -> Result<()> {
        let request = match reason.map(str::to_owned) {
            Some(reason) => Request::SignalFor { signal, reason },
            None => Request::Signal(signal),
        };
        self.connection.send(&request, &[])
    }

    pub(crate) fn answers_within(&self, patience: Duration) -> bool {
        readable_within(self.connection.socket.as_fd(), patience)
    }

    pub(crate) fn signal_answer(&mut self) -> Result<()> {
        self.done()
    }

    /// Sets the size of the container's terminal.
    ///
    /// # Errors
    /// [`Error::Refused`] if it has none; [`Error::MonitorLost`], [`Error::MonitorSilent`].
    pub fn resize(&mut self, size: WindowSize) -> Result<()> {
        self.connection.send(&Request::Resize(size), &[])?;
        self.done()
    }

    /// Opens the log anew at its path, made if it is not there: somebody has renamed it. Nothing of the output is lost,
    /// and nothing is written to the old file once this returns. Without a log nothing happens.
    ///
    /// # Errors
    /// [`Error::Refused`] if it cannot be opened (the old file is written on then), [`Error::MonitorLost`],
    /// [`Error::MonitorSilent`].
    pub fn reopen_log(&mut self) -> Result<()> {
        self.connection.send(&Request::ReopenLog, &[])?;
        self.done()
    }

    /// Attaches to the container's standard streams. Output from before is not repeated.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::MonitorLost`] or [`Error::MonitorSilent`].
    pub fn attach(mut self, options: AttachOptions) -> Result<AttachStream> {
        self.connection.send(&Request::Attach(options), &[])?;
        self.done()?;
        AttachStream::new(self.connection)
    }

    /// Blocks until the container has ended.
    ///
    /// # Errors
    /// [`Error::MonitorLost`] if the monitor was killed.
    pub fn wait(self) -> Result<ExitStatus> {
        self.start_wait()?.wait()
    }

    /// Like [`wait`](Self::wait) for callers with an event loop.
    ///
    /// # Errors
    /// [`Error::MonitorLost`].
    pub fn start_wait(self) -> Result<WaitHandle> {
        self.connection.send(&Request::Wait, &[])?;
        Ok(WaitHandle {
            connection: self.connection,
        })
    }

    /// Runs a process in the container. Without a tty `stdio` is what it gets as descriptors 0, 1 and 2;
    /// with one `stdio` must be `None` and the handle has the terminal.
    /// The process outlives the handle; dropping the handle just forgets it.
    ///
    /// # Errors
    /// [`Error::Start`] with 126 or 127 as [`Error::exit_code`], [`Error::HostTerminal`], [`Error::MonitorLost`];
    /// [`Error::MonitorSilent`], and then the process is not started later either.
    pub fn exec(
        mut self,
        request: ExecRequest,
        stdio: Option<ExecStdio<'_>>,
    ) -> Result<ExecHandle> {
        let fds = match &stdio {
            Some(stdio) => vec![stdio.stdin, stdio.stdout, stdio.stderr],
            None => Vec::new(),
        };
        // A process in the container could push input into a terminal it holds.
        if fds.iter().any(is_terminal) {
            return Err(Error::HostTerminal);
        }
        let spec = ExecSpec {
            process: request.process,
            tty: request.tty,
            end_command: request.end_command,
        };
        self.connection.send(&Request::Exec(Box::new(spec)), &fds)?;
        match self.answer()? {
            Reply::ExecStarted { pid } => Ok(ExecHandle {
                pid,
                pty: self.connection.reader.take_fds().pop(),
                connection: self.connection,
            }),
            other => Err(unexpected(other)),
        }
    }
}

/// A pending [`MonitorClient::wait`].
pub struct WaitHandle {
    connection: Connection,
}

impl WaitHandle {
    /// Blocks until the container has ended.
    ///
    /// # Errors
    /// [`Error::MonitorLost`] if the monitor was killed.
    pub fn wait(mut self) -> Result<ExitStatus> {
        match self.connection.receive()? {
            Reply::Exit(status) => Ok(status),
            other => Err(unexpected(other)),
        }
    }
}

impl AsFd for WaitHandle {
    /// Readable once [`WaitHandle::wait`] will not block.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.socket.as_fd()
    }
}

/// A process that runs in a container beside its init.
pub struct ExecHandle {
    /// Its pid on the host.
    pub pid: i32,
    /// The terminal's master side, if one was asked for: read it for output, write it for input.
    pub pty: Option<OwnedFd>,
    connection: Connection,
}

impl ExecHandle {
    /// Blocks until the process has ended; gives its exit code, or 128 + the signal that killed it.
    ///
    /// # Errors
    /// [`Error::MonitorLost`] if the monitor was killed.
    pub fn wait(&mut self) -> Result<i32> {
        loop {
            match self.connection.receive()? {
                Reply::ExecExit(code) => return Ok(code),
                // The late answer to a signal that came when the process had ended.
                Reply::Refused(_) | Reply::Done => {}
                other => return Err(unexpected(other)),
            }
        }
    }

    /// Says that nobody else need see to its end any more: the end command of the request is not run.
    ///
    /// # Errors
    /// [`Error::MonitorLost`].
    pub fn settled(&self) -> Result<()> {
        self.connection.send(&Request::Settled, &[])
    }

    /// Sends the process a signal (its number). If it has already ended nothing happens.
    ///
    /// # Errors
    /// [`Error::MonitorLost`].
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.connection.send(&Request::Signal(signal), &[])
    }

    /// Kills the process and everything it has started; if it has already ended nothing happens.
    /// [`wait`](Self::wait) tells when it is gone.
    ///
    /// # Errors
    /// [`Error::MonitorLost`].
    pub fn kill_all(&self) -> Result<()> {
        self.connection.send(&Request::KillAll, &[])
    }

    /// Sets its terminal's size; without a terminal nothing happens.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn resize(&self, size: WindowSize) -> Result<()> {
        match &self.pty {
            Some(pty) => set_window_size(pty.as_fd(), size),
            None => Ok(()),
        }
    }
}

impl AsFd for ExecHandle {
    /// Readable once [`ExecHandle::wait`] will not block (for long).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.socket.as_fd()
    }
}

pub(crate) fn set_window_size(pty: BorrowedFd<'_>, size: WindowSize) -> Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize, which lives until the call returns.
    match unsafe { libc::ioctl(pty.as_raw_fd(), libc::TIOCSWINSZ, &size) } {
        0 => Ok(()),
        _ => Err(Error::system("TIOCSWINSZ", io::Error::last_os_error())),
    }
}

/// The other side of a terminal whose master side this is. While it is open the terminal goes on when nobody in the
/// container has it open: whoever opens it again is heard.
///
/// # Errors
/// [`Error::System`]; kernels before 4.13 cannot do it.
pub fn terminal_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes integers, and gives a new descriptor.
    match unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) } {
        -1 => Err(Error::system("TIOCGPTPEER", io::Error::last_os_error())),
        // SAFETY: the kernel has just made it for us.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}
