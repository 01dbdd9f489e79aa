//! Running one plugin: environment, standard input, its answer.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Deserialize;
use serde_json::Value;

use super::Attachment;
use crate::{Error, Result};

/// How much of a plugin's answer is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// An operation of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Del,
    Check,
    Status,
    Gc,
}

impl Command {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Status => "STATUS",
            Command::Gc => "GC",
        }
    }
}

/// One run of a plugin.
pub(super) struct Run<'a> {
    pub(super) binary: PathBuf,
    pub(super) command: Command,
    pub(super) config: Value,
    pub(super) attachment: Option<&'a Attachment>,
    pub(super) bin_dirs: &'a [PathBuf],
    pub(super) patience: Duration,
}

/// What a plugin prints when it fails.
#[derive(Deserialize)]
struct Failure {
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

impl Run<'_> {
    /// Runs it; what it printed, if it printed something.
    pub(super) fn run(&self) -> Result<Option<Value>> {
        // Files in memory, not pipes: nothing blocks, whatever a plugin or a child that outlives it does with them.
        let started = || -> io::Result<(Child, File, File)> {
            let (mut stdin, stdout, stderr) = (memory()?, memory()?, memory()?);
            stdin.write_all(&serde_json::to_vec(&self.config)?)?;
            stdin.rewind()?;
            let child = self
                .program()
                .stdin(Stdio::from(stdin))
                .stdout(Stdio::from(stdout.try_clone()?))
                .stderr(Stdio::from(stderr.try_clone()?))
                .spawn()?;
            Ok((child, stdout, stderr))
        };
        let (mut child, mut stdout, mut stderr) =
            started().map_err(|source| self.broken(source))?;
        let Some(status) = wait(&mut child, self.patience).map_err(|source| self.broken(source))?
        else {
            return Err(Error::CniTimeout {
                plugin: self.binary.clone(),
                command: self.command.as_str(),
                seconds: self.patience.as_secs(),
            });
        };
        let mut read = || Ok((content(&mut stdout)?, content(&mut stderr)?));
        let (output, complaint) = read().map_err(|source| self.broken(source))?;
        self.judge(status, &output, &complaint)
    }

    fn program(&self) -> process::Command {
        let mut program = process::Command::new(&self.binary);
        let dirs = self
            .bin_dirs
            .iter()
            .map(|dir| dir.to_string_lossy())
            .collect::<Vec<_>>();
        program
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CNI_COMMAND", self.command.as_str())
            .env("CNI_PATH", dirs.join(":"))
            .process_group(0);
        if let Some(attachment) = self.attachment {
            let args: Vec<String> = attachment
                .args
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            program
                .env("CNI_CONTAINERID", &attachment.container_id)
                .env(
                    "CNI_NETNS",
                    attachment.netns.as_deref().unwrap_or(Path::new("")),
                )
                .env("CNI_IFNAME", &attachment.ifname)
                .env("CNI_ARGS", args.join(";"));
        }
        program
    }

    fn judge(&self, status: ExitStatus, output: &[u8], complaint: &[u8]) -> Result<Option<Value>> {
        let text = String::from_utf8_lossy(output);
        if status.success() {
            if text.trim().is_empty() {
                return Ok(None);
            }
            return serde_json::from_slice(output).map(Some).map_err(|e| {
                self.failed(
                    0,
                    format!("its answer is no JSON ({e}): {}", excerpt(&text)),
                )
            });
        }
        Err(match serde_json::from_slice::<Failure>(output) {
            Ok(failure) if failure.details.is_empty() => self.failed(failure.code, failure.msg),
            Ok(failure) => self.failed(
                failure.code,
                format!("{}; {}", failure.msg, failure.details),
            ),
            Err(_) => {
                let said = [text, String::from_utf8_lossy(complaint)].map(|t| excerpt(t.trim()));
                self.failed(0, format!("{status}: {}", said.join(" ").trim()))
            }
        })
    }

    fn failed(&self, code: u32, reason: String) -> Error {
        Error::CniPlugin {
            plugin: self.binary.clone(),
            command: self.command.as_str(),
            code,
            reason,
        }
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::CniExec {
            plugin: self.binary.clone(),
            source,
        }
    }
}

/// Waits for a child; `None` if it took too long, and was killed with all its group.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let pid = rustix::process::Pid::from_child(child);
    let ended = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = rustix::time::Timespec::try_from(left).map_err(io::Error::other)?;
        let mut polled = [rustix::event::PollFd::new(
            &ended,
            rustix::event::PollFlags::IN,
        )];
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(0) => {
                // It leads the group, and is not reaped yet: the number is its own.
                let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
                child.wait()?;
                return Ok(None);
            }
            Ok(_) => return child.wait().map(Some),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn memory() -> io::Result<File> {
    let fd: OwnedFd = memfd_create(c"rctr-cni", MFdFlags::MFD_CLOEXEC)?;
    Ok(fd.into())
}

fn content(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn excerpt(text: &str) -> String {
    text.chars().take(500).collect()
}
