//! How a process that does not become its program says why.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use serde::{Deserialize, Serialize};

use super::super::mounts;
use crate::error::StartError;

/// The monitor's end of a pipe that tells whether the program runs.
pub(in super::super) struct ExecReport {
    command: String,
    reader: OwnedFd,
    writer: OwnedFd,
}

/// What a process writes there if it fails.
#[derive(Serialize, Deserialize)]
pub(super) enum Failure {
    Step {
        step: Step,
        errno: i32,
    },
    Mounts(mounts::Failure),
    /// A hook, in words.
    Hook(String),
    /// What the kernel says of an SELinux label.
    Label {
        label: String,
        errno: i32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    Cgroup,
    Keyring,
    Loopback,
    UserNamespace,
    Groups,
    User,
    Monitor,
    Descriptors,
    WorkingDirectory,
    Apparmor,
    Limits,
    Capabilities,
    Seccomp,
    Search,
    Execute,
}

impl Failure {
    pub(super) fn at(step: Step) -> impl Fn(io::Error) -> Self {
        move |error| Self::Step {
            step,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    pub(super) fn label(label: &str, error: &io::Error) -> Self {
        Self::Label {
            label: label.to_owned(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// Writes it to the pipe.
    pub(super) fn tell(&self, pipe: RawFd) {
        // Serialising strings and integers cannot fail.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        // SAFETY: writes from a live buffer.
        unsafe { libc::write(pipe, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// Writes it to the pipe and ends the process, without running the monitor's destructors.
    pub(super) fn tell_and_exit(&self, pipe: RawFd) -> ! {
        self.tell(pipe);
        let code = if self.not_found() { 127 } else { 126 };
        // SAFETY: ends the process.
        unsafe { libc::_exit(code) }
    }

    fn not_found(&self) -> bool {
        match self {
            Self::Step { step, errno } => {
                *step == Step::Search
                    || (*step == Step::Execute && matches!(*errno, libc::ENOENT | libc::ENOTDIR))
            }
            Self::Mounts(_) | Self::Hook(_) | Self::Label { .. } => false,
        }
    }

    fn describe(&self, command: &str) -> StartError {
        let (step, errno) = match self {
            Self::Mounts(failure) => return failure.describe(message),
            Self::Hook(reason) => {
                let reason = reason.clone();
                return StartError::Hook { reason };
            }
            Self::Label { label, errno } => {
                return label_failed(label, *errno);
            }
            Self::Step { step, errno } => (*step, *errno),
        };
        let reason = message(errno);
        let command = command.to_owned();
        match step {
            Step::Search => StartError::NotFound {
                command,
                reason: "executable file not found in $PATH".to_owned(),
            },
            Step::Execute if self.not_found() => StartError::NotFound { command, reason },
            Step::Execute => StartError::NotExecutable { command, reason },
            Step::WorkingDirectory => StartError::NotExecutable {
                command,
                reason: format!("working directory: {reason}"),
            },
            Step::Seccomp => StartError::Seccomp {
                reason: format!("load the filter: {reason}"),
            },
            Step::Cgroup => StartError::Cgroup {
                reason: format!("join it: {reason}"),
            },
            Step::Keyring => init_failed("join the session keyring", &reason),
            Step::Loopback => init_failed("bring up the loopback device", &reason),
            Step::UserNamespace => init_failed("join the user namespace", &reason),
            Step::Groups => init_failed("set supplementary groups", &reason),
            Step::User => init_failed("change to the user", &reason),
            Step::Monitor => init_failed("look for the monitor", &reason),
            Step::Descriptors => init_failed("close descriptors", &reason),
            Step::Apparmor => init_failed("apply the AppArmor profile", &reason),
            Step::Limits => init_failed("set resource limits", &reason),
            Step::Capabilities => init_failed("set capabilities", &reason),
        }
    }
}

/// What the kernel says of an SELinux label.
pub(in crate::monitor) fn label_failed(label: &str, errno: i32) -> StartError {
    init_failed(&format!("set the SELinux label {label}"), &message(errno))
}

pub(super) fn init_failed(step: &str, reason: &str) -> StartError {
    StartError::Init {
        reason: format!("{step}: {reason}"),
    }
}

/// The kernel's words for an error number, as Docker users know them: lower case, without the number.
pub(in super::super) fn message(errno: i32) -> String {
    match errno {
        libc::EACCES => "permission denied".to_owned(),
        libc::ENOENT => "no such file or directory".to_owned(),
        libc::ENOTDIR => "not a directory".to_owned(),
        libc::EISDIR => "is a directory".to_owned(),
        libc::ENOEXEC => "exec format error".to_owned(),
        libc::EPERM => "operation not permitted".to_owned(),
        libc::E2BIG => "argument list too long".to_owned(),
        libc::EROFS => "read-only file system".to_owned(),
        libc::EINVAL => "invalid argument".to_owned(),
        libc::ELOOP => "is a symbolic link, or there are too many on the way".to_owned(),
        other => io::Error::from_raw_os_error(other).to_string(),
    }
}

impl ExecReport {
    pub(in super::super) fn new(command: String) -> Result<Self, StartError> {
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(|e| init_failed("make a pipe", e.desc()))?;
        Ok(Self {
            command,
            reader,
            writer,
        })
    }

    /// On a FIFO that outlives this process, open for reading and writing, so that nobody who writes is alone.
    pub(in super::super) fn on_fifo(command: String, fifo: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            command,
            reader: fifo.try_clone()?,
            writer: fifo,
        })
    }

    /// Why the process failed before it came to wait, if it has said so.
    pub(in super::super) fn so_far(&self) -> Option<StartError> {
        rustix::io::ioctl_fionbio(&self.reader, true).ok()?;
        let mut bytes = [0; 4096];
        let length = rustix::io::read(&self.reader, &mut bytes).ok()?;
        let failure: Failure = serde_json::from_slice(&bytes[..length]).ok()?;
        Some(failure.describe(&self.command))
    }

    /// The end that the process has, under this number, too.
    pub(super) fn pipe(&self) -> RawFd {
        self.writer.as_raw_fd()
    }

    /// Waits until the program runs. Call once no other process can hold the pipe open.
    pub(in super::super) fn wait(self) -> Result<(), StartError> {
        let unread =
            |e: io::Error| init_failed("read the report of the new process", &e.to_string());
        drop(self.writer);
        read_report(File::from(self.reader), &self.command).unwrap_or_else(|e| Err(unread(e)))
    }
}

/// What a new process says until its program runs.
pub(in super::super) fn read_report(
    mut report: File,
    command: &str,
) -> io::Result<Result<(), StartError>> {
    let mut bytes = Vec::new();
    report.read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(Ok(()));
    }
    let failure: Failure = serde_json::from_slice(&bytes)?;
    Ok(Err(failure.describe(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart_as_docker_does() {
        let describe = |step, errno| Failure::Step { step, errno }.describe("x");
        assert_eq!(
            describe(Step::Search, libc::ENOENT).to_string(),
            "exec: \"x\": executable file not found in $PATH"
        );
        assert_eq!(
            describe(Step::Execute, libc::EACCES).to_string(),
            "exec: \"x\": permission denied"
        );
        assert!(matches!(
            describe(Step::Execute, libc::ENOENT),
            StartError::NotFound { .. }
        ));
    }
}
