//! The monitor process: starts one container, holds its streams, keeps its log, tells of its end.
//!
//! Single-threaded, because libcontainer forks in here. `start` brings the container up, `supervise` runs
//! until it has ended and everybody who should know does.
#![allow(clippy::disallowed_methods)] // No other thread shares the working directory.

mod adapt;
mod caps;
mod copy_up;
mod error_log;
mod foreign;
mod forward;
mod hooks;
mod init;
mod input;
mod memory;
pub(crate) mod mounts;
pub mod oci;
mod outside;
mod pause;
mod peer;
mod pinned;
mod process;
mod rootfs;
mod runtime;
mod start;
mod supervise;
mod timer;
mod user;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

pub(crate) use self::mounts::{set_attributes, show_owners};
use crate::error::StartError;
use crate::launch::{CONFIG_FD, Handover, LAUNCHER_FD, adopt};
use crate::protocol::{FrameType, Reply, json_frame, read_all, send_with_fds};
use crate::spec::LaunchFds;

pub use self::memory::release as release_memory;
pub(crate) use self::process::reset_signals;
pub(crate) use self::rootfs::PrivateMounts;

/// The whole program: a monitor, or, under the name `docker-init`, a container's init, or, under the name `pause`,
/// the first process of a PID namespace that several containers share, or, as `restart-timer`, what
/// [`crate::restart::start_timer`] starts. Gives the exit code.
/// Meant for the `rctr-monitor` binary alone: it takes over descriptors, signals and the mount namespace.
pub fn main() -> i32 {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default();
    if name == "docker-init" {
        let command: Vec<OsString> = arguments.collect();
        return init::main(command);
    }
    if name == "pause" {
        return pause::main();
    }
    if name == crate::rootless::KEEPER {
        return crate::rootless::keep(arguments);
    }
    if name == crate::restart::TIMER_NAME {
        return timer::main(arguments.collect());
    }
    if std::env::args_os().len() > 1 || !was_launched() {
        return 125;
    }
    monitor()
}

/// Whether the descriptors are there that [`crate::launch()`] hands over.
fn was_launched() -> bool {
    [CONFIG_FD, LAUNCHER_FD].iter().all(|&fd| {
        // SAFETY: asks about a number.
        unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
    })
}

fn monitor() -> i32 {
    // SAFETY: the launcher put these descriptors there for us, and this is the only place that takes them.
    let (config, launcher) = unsafe { (adopt(CONFIG_FD), adopt(LAUNCHER_FD)) };
    let launcher = UnixStream::from(launcher);
    let handover = match prepare().and_then(|()| read_all(config)) {
        Ok(json) => serde_json::from_slice::<Handover>(&json).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    let handover = match handover {
        Ok(handover) => handover,
        Err(error) => {
            let error = StartError::Monitor {
                step: "read what to do".to_owned(),
                reason: error.to_string(),
            };
            return refuse(&launcher, error, Vec::new());
        }
    };
    let session = take_session(&handover);
    match start::start(&handover, &launcher) {
        Ok((mut container, mut warnings)) => {
            warnings.extend(forward_ports(&handover, &mut container, session.as_ref()));
            let launched = Reply::Launched {
                pid: container.pid(),
                warnings,
            };
            supervise::run(container, launcher, &launched, handover.attach);
            0
        }
        Err(failure) => refuse(&launcher, failure.error, failure.warnings),
    }
}

/// The network namespace of an ordinary user's session, which lasts while this process does.
fn take_session(handover: &Handover) -> Option<OwnedFd> {
    if !handover.session {
        return None;
    }
    let first = LaunchFds::FIRST + (handover.inherited + usize::from(handover.lock)) as RawFd;
    crate::rootless::hold(first + 1);
    // SAFETY: the launcher put this descriptor there for us, and this is the only place that takes it.
    Some(unsafe { adopt(first) })
}

/// Leads an ordinary user's ports to the container; gives what the user should be told.
fn forward_ports(
    handover: &Handover,
    container: &mut supervise::Container,
    session: Option<&OwnedFd>,
) -> Option<String> {
    let forwards = &handover.launch.forward;
    let namespace = session.filter(|_| !forwards.is_empty())?;
    match forward::start(forwards, &container.inherited, namespace.as_fd()) {
        Ok(forwarding) => {
            container.forwarding = Some(forwarding);
            None
        }
        Err(error) => Some(error.to_string()),
    }
}

fn refuse(launcher: &UnixStream, error: StartError, warnings: Vec<String>) -> i32 {
    let reply = json_frame(FrameType::Reply, &Reply::StartFailed { error, warnings });
    // Nobody listens if the launcher was killed; then there is nobody to tell.
    let _ = send_with_fds(launcher, &reply, &[]);
    1
}

/// Makes the process independent of how it was started.
fn prepare() -> io::Result<()> {
    // SAFETY: system calls on integers. Signals meant for the terminal's or session's processes do not end us.
    unsafe {
        libc::umask(0o022);
        for signal in [
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGTERM,
            libc::SIGPIPE,
            libc::SIGTSTP,
            libc::SIGTTIN,
            libc::SIGTTOU,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGALRM,
        ] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
        if libc::syscall(libc::SYS_close_range, LAUNCHER_FD, u32::MAX, flags) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    std::env::set_current_dir("/")
}

/// Binds a socket in a directory whose path may be longer than a socket address.
fn bind(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let directory = std::fs::File::open(directory)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}
