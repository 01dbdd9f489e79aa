//! How commands talk to the server: one request a connection on a socket of the state directory.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::{Error, Result};

/// How long a command waits for the server, and the server for a command.
const PATIENCE: Duration = Duration::from_secs(5);
const RELOAD: &[u8] = b"reload\n";
const ATTACH: &[u8] = b"attach ";
const DONE: &[u8] = b"ok\n";
/// `attach`, an id of at most 128 characters, and a newline.
const LONGEST: usize = 256;

/// What a command wants.
#[derive(Debug)]
pub(super) enum Request {
    /// Something has changed.
    Reload,
    /// A container is about to start in this namespace; the second descriptor becomes readable at its end.
    Attach {
        id: String,
        netns: OwnedFd,
        life: OwnedFd,
    },
}

/// No server answers: there is none, or it is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent;

/// Tells the server that something has changed, and waits until it knows. Without a server there is nobody to tell.
///
/// # Errors
/// [`Error::Dns`] if there is a server that does not do it.
pub fn notify(socket: &Path) -> Result<Result<(), Absent>> {
    ask(socket, RELOAD, &[])
}

/// Has the server listen in a namespace on behalf of a container that is about to start, until `life` becomes readable.
///
/// # Errors
/// [`Error::Dns`] if there is a server that cannot do it.
pub fn attach(
    socket: &Path,
    id: &str,
    netns: BorrowedFd<'_>,
    life: BorrowedFd<'_>,
) -> Result<Result<(), Absent>> {
    let request = [ATTACH, id.as_bytes(), b"\n"].concat();
    ask(socket, &request, &[netns, life])
}

fn ask(socket: &Path, request: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Result<(), Absent>> {
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[][..] } else { &rights };
    let exchange = || -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let text = [IoSlice::new(request)];
        sendmsg::<()>(
            stream.as_raw_fd(),
            &text,
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        Ok(reply)
    };
    let failed = |reason: String| Error::Dns { reason };
    match exchange() {
        Ok(reply) if reply == DONE => Ok(Ok(())),
        Ok(reply) if reply.is_empty() => Ok(Err(Absent)),
        Ok(reply) => Err(failed(String::from_utf8_lossy(&reply).trim().to_owned())),
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Ok(Err(Absent)),
            _ => Err(failed(e.to_string())),
        },
    }
}

/// The server's end; only root can connect.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Reads what a command wants.
pub(super) fn receive(stream: &UnixStream) -> io::Result<Request> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut buffer = [0; LONGEST];
    let mut room = nix::cmsg_space!([std::os::fd::RawFd; 2]);
    let mut fds = Vec::new();
    let length = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut room), flags)?;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = part {
                // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
                fds.extend(
                    received
                        .into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
        message.bytes
    };
    let text = &buffer[..length];
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    if text == RELOAD {
        return Ok(Request::Reload);
    }
    let id = text
        .strip_prefix(ATTACH)
        .and_then(|id| id.strip_suffix(b"\n"));
    let id = std::str::from_utf8(id.ok_or_else(bad)?).map_err(|_| bad())?;
    let [netns, life] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| bad())?;
    Ok(Request::Attach {
        id: id.to_owned(),
        netns,
        life,
    })
}

/// Tells a command how it went; one that is gone by now needs no answer.
pub(super) fn reply(mut stream: UnixStream, outcome: std::result::Result<(), String>) {
    let text = match outcome {
        Ok(()) => DONE.to_vec(),
        Err(reason) => format!("{reason}\n").into_bytes(),
    };
    let _ = stream.write_all(&text);
}
