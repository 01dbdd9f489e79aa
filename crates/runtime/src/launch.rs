//! Starting a monitor.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::attach::AttachStream;
use crate::client::Connection;
use crate::error::{Error, Result, StartError};
use crate::monitor::{reset_signals, set_attributes};
use crate::protocol::{Reply, send_with_fds};
use crate::rootless;
use crate::spec::{AttachOptions, Launch, LaunchFds};

/// Descriptors a monitor finds open when it starts, besides 0–2 which are /dev/null.
pub(crate) const CONFIG_FD: RawFd = 3;
pub(crate) const LAUNCHER_FD: RawFd = 4;
/// The read-only mount the monitor's own binary is executed from. Unmounting takes the kernel
/// milliseconds, so it stays until the monitor ends.
pub(crate) const BINARY_FD: RawFd = 5;

/// The first message to a monitor.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Handover {
    pub launch: Launch,
    pub attach: Option<AttachOptions>,
    pub inherited: usize,
    /// Whether a lock comes after the inherited descriptors.
    pub lock: bool,
    /// Whether a user's session's network namespace and lock come after that.
    pub session: bool,
}

/// A container that has been started.
pub struct Launched {
    /// The monitor, a child of this process. A caller that lives on must reap it when it ends: see [`reap_ended`].
    pub monitor_pid: i32,
    /// The container's init process.
    pub container_pid: i32,
    /// What was asked for and could not be done in full; one line each, to be shown.
    pub warnings: Vec<String>,
    /// The stream asked for in [`LaunchFds::attach`].
    pub attach: Option<AttachStream>,
}

/// A container that could not be started; nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct LaunchError {
    /// Why; its [`Error::exit_code`] is what `run` exits with.
    #[source]
    pub error: Error,
    /// Warnings that came up on the way.
    pub warnings: Vec<String>,
}

impl From<Error> for LaunchError {
    fn from(error: Error) -> Self {
        Self {
            error,
            warnings: Vec::new(),
        }
    }
}

/// A monitor at work on a container, whose program waits for [`Launching::finish`]. If this is dropped instead, nothing of
/// the container is left.
pub struct Launching<'a> {
    monitor: &'a Path,
    attach: Option<AttachOptions>,
    // Closed first: the monitor gives up then.
    connection: Connection,
    unfinished: Unfinished,
}

/// Waits for the end of a monitor that is not to start its container.
struct Unfinished(Pid);

impl Drop for Unfinished {
    fn drop(&mut self) {
        reap(self.0);
    }
}

/// Starts the `monitor` binary, which starts the container, and waits until the container's own program runs.
///
/// # Errors
/// [`LaunchError`]; by then the monitor has ended and cleaned up.
pub fn launch(
    monitor: &Path,
    launch: &Launch,
    fds: LaunchFds<'_>,
) -> Result<Launched, LaunchError> {
    begin_launch(monitor, launch, fds)?.finish()
}

/// The same in two steps: between them the monitor makes the container, and the caller what its program is to find. What
/// else may see that (a hook, a kernel parameter of the network, another runtime) waits for the second step as well.
///
/// The monitor is executed from a read-only mount that nobody else can reach, so that no container can
/// write to the binary through /proc/PID/exe. It gets a session of its own, an empty environment (but for where an
/// ordinary user's systemd is found), and only the descriptors named here. Safe to call from a process with threads.
///
/// # Errors
/// [`LaunchError`].
pub fn begin_launch<'a>(
    monitor: &'a Path,
    launch: &Launch,
    fds: LaunchFds<'_>,
) -> Result<Launching<'a>, LaunchError> {
    let attach = fds.attach;
    let handover = Handover {
        launch: launch.clone(),
        attach,
        inherited: fds.inherited.len(),
        lock: fds.lock.is_some(),
        session: rootless::session().is_some(),
    };
    let config = memfd(&handover)?;
    let (ours, theirs) = UnixStream::pair().map_err(|e| Error::system("socketpair", e))?;
    let binary = protected_binary(monitor)?;

    let mut given: Vec<BorrowedFd<'_>> = vec![config.as_fd(), theirs.as_fd(), binary.as_fd()];
    given.extend(&fds.inherited);
    given.extend(&fds.lock);
    if let Some(session) = rootless::session() {
        given.extend([session.network(), session.lock()]);
    }
    // It may end at any time, and whoever is told looks here.
    let mut monitors = monitors();
    let pid = spawn(&given).map_err(|e| Error::file("start", monitor, e))?;
    monitors.push(pid);
    drop(monitors);
    Ok(Launching {
        monitor,
        attach,
        connection: Connection::new(ours),
        unfinished: Unfinished(pid),
    })
}

impl Launching<'_> {
    /// Lets the container's program run, and waits until it does.
    ///
    /// # Errors
    /// [`LaunchError`]; by then the monitor has ended and cleaned up.
    pub fn finish(self) -> Result<Launched, LaunchError> {
        let mut connection = self.connection;
        let pid = self.unfinished.0;
        std::mem::forget(self.unfinished);
        // The word is any byte. A monitor that has failed already says why.
        let _ = send_with_fds(&connection.socket, &[0], &[]);
        match connection.receive() {
            Ok(Reply::Launched {
                pid: container_pid,
                warnings,
            }) => Ok(Launched {
                monitor_pid: pid.as_raw(),
                container_pid,
                warnings,
                attach: match self.attach {
                    Some(_) => Some(AttachStream::new(connection)?),
                    None => None,
                },
            }),
            Ok(Reply::StartFailed { error, warnings }) => {
                reap(pid);
                Err(LaunchError {
                    error: Error::Start(error),
                    warnings,
                })
            }
            Ok(other) => Err(Error::Protocol {
                reason: format!("{other:?} from a new monitor"),
            }
            .into()),
            Err(_) => Err(Error::Start(died_silently(self.monitor, reap(pid))).into()),
        }
    }
}

fn memfd(handover: &Handover) -> Result<OwnedFd> {
    let json = serde_json::to_vec(handover).map_err(|e| Error::Protocol {
        reason: e.to_string(),
    })?;
    let make = || -> io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("rctr-launch", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(&json)?;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
        Ok(file.into())
    };
    make().map_err(|e| Error::system("memfd_create", e))
}

/// The monitor's binary, protected. Kernels before 5.12 cannot do it: there the file itself is used.
fn protected_binary(path: &Path) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};

    open_read_only(path)
        .or_else(|_| open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))
        .map_err(|e| Error::file("open", path, e))
}

/// Opens a program on a read-only mount that is attached nowhere: who reaches it through /proc/PID/exe of a process that
/// executes it cannot write to it (CVE-2019-5736).
///
/// # Errors
/// The kernel's; one before 5.12 cannot do it, and neither can an ordinary user.
pub fn open_read_only(program: &Path) -> io::Result<OwnedFd> {
    use rustix::mount::{OpenTreeFlags, open_tree};

    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, program, flags)?;
    set_attributes(tree.as_fd(), libc::MS_RDONLY, 0, 0, false)?;
    Ok(tree)
}

/// Forks and executes the binary `fds[2]` with `fds` as its descriptors 3, 4, 5, …
fn spawn(fds: &[BorrowedFd<'_>]) -> io::Result<Pid> {
    let name = CString::new("rctr-monitor")?;
    let argv = [name.as_ptr(), std::ptr::null()];
    let variables = rootless::environment();
    let mut envp: Vec<*const libc::c_char> = variables.iter().map(|v| v.as_ptr()).collect();
    envp.push(std::ptr::null());
    let mut sources: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let mut child = Child {
        argv: &argv,
        envp: &envp,
        sources: &mut sources,
        null: null.as_raw_fd(),
    };
    let mut stack = vec![0u8; 64 * 1024];
    // SAFETY: one past the end of the stack just allocated, rounded down to 16 bytes as the ABI asks.
    let top = unsafe { stack.as_mut_ptr().add(stack.len()) };
    let top = top.wrapping_sub(top as usize % 16);

    // Nobody's signal handler may run in the child: it shares our memory until it executes.
    let mut before = SigSet::empty();
    pthread_sigmask(
        SigmaskHow::SIG_BLOCK,
        Some(&SigSet::all()),
        Some(&mut before),
    )?;
    // SAFETY: CLONE_VFORK suspends this thread until the child has executed or exited, so `child` and
    // `stack` outlive its use of them; the child makes only raw system calls.
    let pid = unsafe {
        libc::clone(
            run_child,
            top.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut child).cast(),
        )
    };
    let failed = (pid < 0).then(io::Error::last_os_error);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    match failed {
        Some(error) => Err(error),
        None => Ok(Pid::from_raw(pid)),
    }
}

struct Child<'a> {
    argv: &'a [*const libc::c_char; 2],
    envp: &'a [*const libc::c_char],
    sources: &'a mut [RawFd],
    null: RawFd,
}

/// The child between clone and exec; ends with errno as its exit code if something fails.
extern "C" fn run_child(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the caller passes a Child that outlives us, and is suspended meanwhile.
    let child = unsafe { &mut *argument.cast::<Child<'_>>() };
    // SAFETY: raw system calls on integers and on arrays that live in `child`; no allocation, no locks.
    unsafe {
        libc::setsid();
        // First out of the way of the targets, then into place; dup2 drops close-on-exec.
        let count = child.sources.len() as RawFd;
        for source in child.sources.iter_mut() {
            *source = libc::fcntl(*source, libc::F_DUPFD, CONFIG_FD + count);
            if *source < 0 {
                return *libc::__errno_location();
            }
        }
        let null = libc::fcntl(child.null, libc::F_DUPFD, CONFIG_FD + count);
        if null < 0 {
            return *libc::__errno_location();
        }
        for (index, &source) in child.sources.iter().enumerate() {
            libc::dup2(source, CONFIG_FD + index as RawFd);
        }
        for stdio in 0..3 {
            libc::dup2(null, stdio);
        }
        let first_unwanted = (CONFIG_FD + count) as libc::c_uint;
        if libc::syscall(libc::SYS_close_range, first_unwanted, u32::MAX, 0) != 0 {
            return *libc::__errno_location();
        }

        reset_signals();
        libc::syscall(
            libc::SYS_execveat,
            BINARY_FD,
            c"".as_ptr(),
            child.argv.as_ptr(),
            child.envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
        *libc::__errno_location()
    }
}

/// Waits for the end of a monitor that could not start its container, unless somebody else has.
fn reap(pid: Pid) -> Option<WaitStatus> {
    let mut monitors = monitors();
    let position = monitors.iter().position(|&other| other == pid)?;
    monitors.swap_remove(position);
    drop(monitors);
    loop {
        match waitpid(pid, None) {
            Err(nix::Error::EINTR) => {}
            other => return other.ok(),
        }
    }
}

/// The monitors this process has launched and not yet reaped.
static MONITORS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn monitors() -> MutexGuard<'static, Vec<Pid>> {
    MONITORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reaps the monitors launched by this process that have ended, and no other child; gives their pids. For processes
/// that outlive their monitors, to be called on SIGCHLD. Does not block.
pub fn reap_ended() -> Vec<i32> {
    let mut ended = Vec::new();
    monitors().retain(|&pid| match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) | Err(nix::Error::EINTR) => true,
        Ok(_) => {
            ended.push(pid.as_raw());
            false
        }
        // Somebody else has.
        Err(_) => false,
    });
    ended
}

/// A monitor that could say why it failed would have.
fn died_silently(monitor: &Path, end: Option<WaitStatus>) -> StartError {
    let reason = match end {
        Some(WaitStatus::Exited(_, errno)) if errno != 0 => {
            io::Error::from_raw_os_error(errno).to_string()
        }
        Some(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
        _ => "it ended without a word".to_owned(),
    };
    StartError::Monitor {
        step: String::from_utf8_lossy(monitor.as_os_str().as_bytes()).into_owned(),
        reason,
    }
}

/// The descriptors of [`spawn`] as owned ones, on the monitor's side.
///
/// # Safety
/// Call once, in a process started by [`launch`].
pub(crate) unsafe fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the launcher put this descriptor there for us, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
