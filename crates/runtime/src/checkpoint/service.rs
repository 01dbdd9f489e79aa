//! A CRIU process, asked over a socket: `criu swrk FD`.

use std::ffi::OsStr;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair,
};
use prost::Message;
use rustix::process::PidfdFlags;

use super::wire::{Kind, Notification, Options, Request, Response};
use crate::error::{Error, Result};

/// More than any of its messages takes.
const LONGEST: usize = 64 * 1024;

/// How long it may take to end once it has answered, in milliseconds.
const PATIENCE: u16 = 10_000;

/// A CRIU process that waits to be asked; it ends with this value.
pub(super) struct Service {
    child: Child,
    socket: OwnedFd,
}

/// Why it did not do what it was asked.
pub(super) enum Refusal {
    /// It said so, perhaps with a reason.
    Said(Option<String>),
    /// It ended, or talks nonsense.
    Lost(io::Error),
}

impl Service {
    /// Starts it with these descriptors, under the numbers that they have here: it looks for some in its parent.
    pub(super) fn start(program: &Path, descriptors: &[RawFd]) -> Result<Self> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(|e| Error::system("socketpair", e))?;
        let mut kept = descriptors.to_vec();
        kept.push(theirs.as_raw_fd());
        let mut command = Command::new(program);
        // Its standard streams are ours: what is restored may get them.
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        // SAFETY: only system calls on integers between fork and exec.
        unsafe {
            command.pre_exec(move || {
                for &fd in &kept {
                    if libc::fcntl(fd, libc::F_SETFD, 0) < 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::MissingCriu {
                program: program.to_owned(),
            },
            _ => Error::file("execute", program, source),
        })?;
        Ok(Self {
            child,
            socket: ours,
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Asks once. `step` is told of each step, with the terminal that comes along with one; with false it ends here.
    pub(super) fn ask(
        &mut self,
        kind: Kind,
        options: Options,
        step: &mut dyn FnMut(&Notification, Option<OwnedFd>) -> bool,
    ) -> Result<Response, Refusal> {
        let request = |kind: Kind| Request {
            kind: kind.into(),
            ..Request::default()
        };
        self.send(&Request {
            options: Some(options),
            ..request(kind)
        })?;
        loop {
            let (response, fd) = self.receive()?;
            if response.kind == i32::from(kind) || !response.success {
                return match response.success {
                    true => Ok(response),
                    false => Err(Refusal::Said(reason(&response))),
                };
            }
            let told = step(&response.notify.unwrap_or_default(), fd);
            self.send(&Request {
                notify_success: Some(told),
                ..request(Kind::Notify)
            })?;
        }
    }

    fn send(&self, request: &Request) -> Result<(), Refusal> {
        let bytes = request.encode_to_vec();
        let sent = send(self.socket.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL);
        sent.map(drop).map_err(|e| Refusal::Lost(e.into()))
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>), Refusal> {
        let mut buffer = vec![0; LONGEST];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let socket = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = loop {
            match recvmsg::<()>(socket, &mut parts, Some(&mut space), flags) {
                Err(nix::Error::EINTR) => {}
                other => break other.map_err(|e| Refusal::Lost(e.into()))?,
            }
        };
        let items = message.cmsgs().map_err(|e| Refusal::Lost(e.into()))?;
        let fds = items.filter_map(|item| match item {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        });
        // SAFETY: the kernel has just made these descriptors for us.
        let mut fds = fds.flatten().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        let fd = fds.next();
        let length = message.bytes;
        if length == 0 {
            return Err(Refusal::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        let response = Response::decode(&buffer[..length]);
        let response = response.map_err(|e| Refusal::Lost(io::Error::other(e)))?;
        Ok((response, fd))
    }
}

fn reason(response: &Response) -> Option<String> {
    let errno = response.errno.filter(|&number| number != 0);
    let words = errno.map(|number| io::Error::from_raw_os_error(number).to_string());
    response.message.clone().or(words)
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has answered, and may yet have to tidy up; or it has to undo what it began.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let pid = rustix::process::Pid::from_child(&self.child);
        if let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ended, PATIENCE) == Ok(0) {
                let _ = self.child.kill();
            }
        }
        let _ = self.child.wait();
    }
}

/// The first thing in CRIU's log that is an error, without place and time.
pub(super) fn first_error(log: &str) -> Option<String> {
    let wrong = |line: &&str| {
        // What it says on every host that forbids it to raise its own limit.
        line.contains(" Error (") && !line.contains("rlimit:")
    };
    let line = log.lines().find(wrong)?;
    let (_, text) = line.split_once("): ")?;
    Some(text.trim().to_owned())
}

/// A path for a message.
pub(super) fn text(path: impl AsRef<OsStr>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_of_a_log_is_told() {
        let log = "(00.01) Version: 4.1\n\
            (00.02) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n\
            (00.05) Error (criu/mount.c:753): mnt: 144:./x doesn't have a proper root mount\n\
            (00.11) Error (criu/cr-dump.c:2111): Dumping FAILED.\n";
        let wanted = "mnt: 144:./x doesn't have a proper root mount";
        assert_eq!(first_error(log).as_deref(), Some(wanted));
        assert_eq!(first_error("(00.01) fine"), None);
    }

    #[test]
    fn a_program_that_is_missing_or_no_criu_is_told() {
        let start = |program: &str| Service::start(Path::new(program), &[]);
        let missing = start("/nosuch/criu").err().unwrap();
        assert!(matches!(missing, Error::MissingCriu { .. }), "{missing}");
        let mut service = start("true").unwrap();
        let answer = service.ask(Kind::Dump, Options::default(), &mut |_, _| true);
        assert!(matches!(answer, Err(Refusal::Lost(_))));
    }
}
