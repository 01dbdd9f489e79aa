//! The socket that is served, and what systemd wants to know of it (sd_listen_fds(3), sd_notify(3)).

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;

use crate::{Error, Result};

/// The first descriptor that systemd hands over.
const FIRST_HANDED_OVER: i32 = 3;

/// A socket that connections come to.
pub(crate) struct Listener {
    pub accepting: tokio::net::UnixListener,
    /// Where it was made, if this process made it: to be removed at the end.
    pub own_path: Option<PathBuf>,
}

/// The socket that was handed over, or a new one at `path`.
pub(crate) fn listen(path: &Path) -> Result<Listener> {
    let (listener, own_path) = match handed_over()? {
        Some(listener) => (listener, None),
        None => (bind(path)?, Some(path.to_owned())),
    };
    let accepting = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UnixListener::from_std(listener))
        .map_err(failed("listen on", path))?;
    Ok(Listener {
        accepting,
        own_path,
    })
}

/// Removes a socket that this process made.
pub(crate) fn remove(path: &Path) {
    if let Err(e) = fs::remove_file(path) {
        tracing::warn!(socket = %path.display(), error = %e, "not removed");
    }
}

/// Tells the service manager that requests are answered from now on.
pub(crate) fn notify_ready() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(e) = notify(Path::new(&name), b"READY=1") {
        tracing::warn!(error = %e, "the service manager cannot be told");
    }
}

fn notify(name: &Path, message: &[u8]) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let socket = UnixDatagram::unbound()?;
    let address = match name.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    socket.send_to_addr(message, &address).map(drop)
}

fn handed_over() -> Result<Option<UnixListener>> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    let bad = |reason: String| Error::HandedOver { reason };
    match number("LISTEN_FDS") {
        None | Some(0) => return Ok(None),
        Some(1) => {}
        Some(n) => return Err(bad(format!("there are {n}, and one is served"))),
    }
    let stat = nix::sys::stat::fstat(
        // SAFETY: only asked about while it is borrowed; what is not open gives an error.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(FIRST_HANDED_OVER) },
    )
    .map_err(|e| bad(e.to_string()))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFSOCK {
        return Err(bad("it is no socket".into()));
    }
    // SAFETY: the service manager gave this descriptor to this process (LISTEN_PID), and nothing else takes it.
    let fd = unsafe { OwnedFd::from_raw_fd(FIRST_HANDED_OVER) };
    nix::fcntl::fcntl(
        &fd,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )
    .map_err(|e| bad(e.to_string()))?;
    Ok(Some(UnixListener::from(fd)))
}

/// A new socket; one that nobody answers on any more is replaced.
fn bind(path: &Path) -> Result<UnixListener> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(dir)
            .map_err(failed("create", dir))?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {
            if is_served(path) {
                return Err(Error::AlreadyServed { path: path.into() });
            }
            fs::remove_file(path).map_err(failed("remove", path))?;
        }
        Ok(_) => return Err(failed("bind", path)(io::ErrorKind::AlreadyExists.into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed("look at", path)(e)),
    }
    let listener = UnixListener::bind(path).map_err(failed("bind", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed("chmod", path))?;
    Ok(listener)
}

/// Whether somebody answers. A process that one which was just killed had forked may have the socket for a moment yet.
fn is_served(path: &Path) -> bool {
    let Ok(stream) = UnixStream::connect(path) else {
        return false;
    };
    let server = getsockopt(&stream, PeerCredentials).map(|who| Pid::from_raw(who.pid()));
    // 0 is one of another PID namespace.
    match server {
        Ok(server) if server.as_raw() > 0 => kill(server, None) != Err(Errno::ESRCH),
        _ => true,
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Socket {
        action,
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/cri.sock");
        let live = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(Error::AlreadyServed { .. })));
        drop(live);
        bind(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o660
        );
    }

    #[test]
    fn the_socket_of_a_dead_server_is_replaced_though_somebody_has_it_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cri.sock");
        let left = bind(&path).unwrap();
        let number = left.as_raw_fd();
        let mut server = Command::new("true");
        // SAFETY: a system call on integers.
        unsafe {
            server.pre_exec(move || match libc::listen(number, 8) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        assert!(server.status().unwrap().success());
        let anew = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(Error::AlreadyServed { .. })));
        drop((left, anew));
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(bind(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn readiness_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        notify(&path, b"READY=1").unwrap();
        let mut text = [0; 16];
        let length = manager.recv(&mut text).unwrap();
        assert_eq!(&text[..length], b"READY=1");
    }
}
