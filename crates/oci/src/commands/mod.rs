//! One file for each group of commands.

pub mod create;
pub mod exec;
pub mod inspect;
pub mod kill;
pub mod limits;
pub mod restore;
pub mod spec;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rctr_runtime::oci::Container;
use rctr_runtime::rootless::in_initial_namespace;

use crate::cli::Global;
use crate::failure::Failure;

/// Where the containers' state is.
pub fn root(global: &Global) -> PathBuf {
    let default = || {
        // Root of a user namespace, as below podman, is still who made it: /run is not that user's.
        let is_user = match is_root() {
            true => !in_initial_namespace() && std::env::var_os("USER").is_none_or(|u| u != "root"),
            false => true,
        };
        let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| is_user);
        own.map_or(PathBuf::from("/run"), PathBuf::from)
            .join("rctr-oci")
    };
    global.root.clone().unwrap_or_else(default)
}

pub fn is_root() -> bool {
    // SAFETY: takes nothing, gives an integer.
    unsafe { libc::geteuid() == 0 }
}

pub fn load(global: &Global, id: &str) -> Result<Container, Failure> {
    Ok(Container::load(&root(global), id)?)
}

/// Writes a pid file, complete or not at all: its reader may already wait for it.
pub fn write_pid(path: &Path, pid: i32) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}"));
    let write = || -> std::io::Result<()> {
        // One that is there is another's, or of a run that was killed: nothing is written through it.
        let _ = fs::remove_file(&temporary);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o644);
        options
            .open(&temporary)?
            .write_all(pid.to_string().as_bytes())?;
        fs::rename(&temporary, path)
    };
    write().map_err(Failure::file("write", path))
}

/// Sends a process's pidfd to whoever listens on a socket.
pub fn send_pidfd(socket: &Path, pid: i32) -> Result<(), Failure> {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::os::fd::AsRawFd;

    let send = || -> std::io::Result<()> {
        let stream = std::os::unix::net::UnixStream::connect(socket)?;
        let pid = rustix::process::Pid::from_raw(pid).ok_or(std::io::ErrorKind::InvalidInput)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        let fds = [pidfd.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        let name = [std::io::IoSlice::new(b"pidfd")];
        sendmsg::<()>(stream.as_raw_fd(), &name, &rights, MsgFlags::empty(), None)?;
        Ok(())
    };
    send().map_err(Failure::file("send a pidfd to", socket))
}

/// Descriptors from 3 on that a program is to have, those of socket activation among them.
pub fn preserved(asked: u32) -> Result<(u32, Vec<String>), Failure> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    // What was passed on to another process, one that has started us, lies where it lies.
    let ours = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
    let listen = number("LISTEN_FDS").filter(|_| ours).unwrap_or(0);
    let all = asked.saturating_add(listen);
    for fd in (3..=i32::MAX).take(all as usize) {
        // SAFETY: asks about a number.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            return Err(Failure::Usage(format!(
                "descriptor {fd} is to be preserved and not open"
            )));
        }
    }
    let env = match listen {
        0 => Vec::new(),
        _ => vec![format!("LISTEN_FDS={listen}"), "LISTEN_PID=1".to_owned()],
    };
    Ok((all, env))
}

/// Makes a container independent of how its maker was started.
pub fn settle() {
    occupy_standard_streams();
    // Mount points are for all users, and the program starts with it unless it asks for another.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
}

/// Opens standard streams that are closed, so that nothing else comes to lie there.
fn occupy_standard_streams() {
    for fd in 0..3 {
        // SAFETY: asks about a number.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0
            && let Ok(null) = File::options().read(true).write(true).open("/dev/null")
        {
            // The lowest free number is this one; it stays open.
            std::mem::forget(null);
        }
    }
}
