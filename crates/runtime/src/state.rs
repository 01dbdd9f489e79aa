//! What a container's state directory says: `state.json` while anything of it is left, `exit.json` once it has ended.
//!
//! Reading it needs no conversation with the monitor. Processes are known by pid and start time, so a
//! recycled pid is never taken for one of ours.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupDriver;
use crate::error::{Error, Result};

/// File names inside a state directory.
pub(crate) const STATE_FILE: &str = "state.json";
pub(crate) const EXIT_FILE: &str = "exit.json";
pub(crate) const SOCKET_FILE: &str = "monitor.sock";

/// Where a container is in its life, as far as the runtime knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Never started since the state directory was made, or just being started.
    Created,
    /// Its init process lives and a monitor watches it.
    Running {
        /// Init's pid on the host.
        pid: i32,
        /// When it was started.
        started_at: SystemTime,
    },
    /// It has ended, and this is how.
    Exited(ExitStatus),
    /// The monitor is dead and has left no exit status: it was killed, or the machine was.
    /// Call [`crate::clean_up_dead`] and record the container as ended with an unknown status.
    Gone,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Exit code of init, or 128 + the signal that killed it.
    pub code: i32,
    /// The kernel killed one of its processes for want of memory within its own limit.
    pub oom_killed: bool,
    /// When init was started.
    pub started_at: SystemTime,
    /// When init ended.
    pub finished_at: SystemTime,
    /// How long it ran, whoever set the clock meanwhile.
    #[serde(default)]
    pub ran: Option<Duration>,
    /// Something worth telling that went wrong on the way out (log could not be written, …).
    pub error: Option<String>,
}

/// A process that stays the same one even if its pid is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub pid: i32,
    /// Clock ticks after boot, field 22 of /proc/PID/stat.
    pub start: u64,
}

impl ProcessId {
    /// Identifies a living process.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        let (_, start) = parse_stat(&stat).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { pid, start })
    }

    /// Whether it still runs; a zombie does not.
    pub(crate) fn is_alive(&self) -> bool {
        let Ok(stat) = fs::read(format!("/proc/{}/stat", self.pid)) else {
            return false;
        };
        parse_stat(&stat)
            .is_some_and(|(state, start)| start == self.start && !matches!(state, b'Z' | b'X'))
    }

    /// Whether a signal or a debugger has stopped it.
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = fs::read(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        parse_stat(&stat)
            .is_some_and(|(state, start)| start == self.start && matches!(state, b'T' | b't'))
    }

    /// Sends it a signal (its number), and never another process; false if it has ended.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<bool> {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else {
            return Ok(false);
        };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(Errno::SRCH) => return Ok(false),
            Err(other) => return Err(other.into()),
        };
        // Looked at with the descriptor in hand: what it stands for cannot change any more.
        if !self.is_alive() {
            return Ok(false);
        }
        let info = std::ptr::null::<libc::siginfo_t>();
        let fd = process.as_raw_fd();
        // SAFETY: takes integers and a null pointer.
        match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) } {
            0 => Ok(true),
            _ => match io::Error::last_os_error() {
                gone if gone.raw_os_error() == Some(libc::ESRCH) => Ok(false),
                other => Err(other),
            },
        }
    }
}

/// The fields after the command name, which may contain anything, also `) `.
fn fields(stat: &[u8]) -> Option<std::str::Split<'_, char>> {
    let end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    Some(rest.split(' '))
}

/// State letter and start time.
fn parse_stat(stat: &[u8]) -> Option<(u8, u64)> {
    let mut fields = fields(stat)?;
    let state = *fields.next()?.as_bytes().first()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// A process's parent and session.
pub(crate) fn parent_and_session(pid: i32) -> Option<(i32, i32)> {
    numbers(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn numbers(stat: &[u8]) -> Option<(i32, i32)> {
    let mut numbers = fields(stat)?.skip(1).map(str::parse);
    let (parent, session) = (numbers.next()?.ok()?, numbers.nth(1)?.ok()?);
    Some((parent, session))
}

/// The calling process's, as the mounted /proc knows them.
pub(crate) fn parent_and_session_of_self() -> Option<(i32, i32)> {
    let stat = fs::read("/proc/self/stat").ok()?;
    numbers(&stat)
}

/// The content of `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub monitor: ProcessId,
    /// None until init exists.
    pub container: Option<ProcessId>,
    pub started_at: SystemTime,
    pub cgroup_driver: CgroupDriver,
    pub cgroup_path: PathBuf,
}

impl State {
    pub(crate) fn load(state_dir: &Path) -> Result<Option<Self>> {
        load(&state_dir.join(STATE_FILE))
    }

    pub(crate) fn save(&self, state_dir: &Path) -> Result<()> {
        save(&state_dir.join(STATE_FILE), self)
    }

    /// Says that everything of a container that has ended has been let go.
    pub(crate) fn remove(state_dir: &Path) -> io::Result<()> {
        fs::remove_file(state_dir.join(STATE_FILE))
    }
}

impl ExitStatus {
    pub(crate) fn save(&self, state_dir: &Path) -> Result<()> {
        save(&state_dir.join(EXIT_FILE), self)
    }
}

/// Tells where a container is in its life from its state directory. Costs two or three small reads.
/// A missing directory means [`Status::Created`].
///
/// # Errors
/// [`Error::Corrupt`] or [`Error::File`] if the files cannot be read.
pub fn status(state_dir: &Path) -> Result<Status> {
    let exit_file = state_dir.join(EXIT_FILE);
    if let Some(exit) = load(&exit_file)? {
        return Ok(Status::Exited(exit));
    }
    let Some(state) = State::load(state_dir)? else {
        return Ok(Status::Created);
    };
    if state.monitor.is_alive() {
        // Init may have ended an instant ago; until its exit status is written it counts as running.
        return Ok(match state.container {
            Some(container) => Status::Running {
                pid: container.pid,
                started_at: state.started_at,
            },
            None => Status::Created,
        });
    }
    // The monitor may have written the exit status between the two looks.
    Ok(match load(&exit_file)? {
        Some(exit) => Status::Exited(exit),
        None => Status::Gone,
    })
}

pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::file("read", path, e)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Error::Corrupt {
            path: path.to_owned(),
            reason: e.to_string(),
        })
}

/// Replaces a file atomically. State lives on tmpfs and need not survive a crash of the machine: no fsync.
pub(crate) fn save(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec(value).map_err(|e| Error::Corrupt {
        path: path.to_owned(),
        reason: e.to_string(),
    })?;
    let temporary = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?
            .write_all(&json)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| Error::file("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(monitor: ProcessId, container: Option<ProcessId>) -> State {
        State {
            monitor,
            container,
            started_at: SystemTime::UNIX_EPOCH,
            cgroup_driver: CgroupDriver::Cgroupfs,
            cgroup_path: "/x".into(),
        }
    }

    #[test]
    fn a_command_name_with_parentheses_does_not_confuse_the_parser() {
        let line = b"12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(line), Some((b'S', 4711)));
    }

    #[test]
    fn a_process_s_parent_and_session_are_its_own() {
        let (parent, session) = parent_and_session(std::process::id() as i32).unwrap();
        assert_eq!(parent, std::os::unix::process::parent_id() as i32);
        // SAFETY: getsid takes an integer.
        assert_eq!(session, unsafe { libc::getsid(0) });
    }

    #[test]
    fn a_directory_tells_its_story() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(status(dir.path()).unwrap(), Status::Created);

        let me = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        state(me, None).save(dir.path()).unwrap();
        assert_eq!(status(dir.path()).unwrap(), Status::Created);

        state(me, Some(me)).save(dir.path()).unwrap();
        assert_eq!(
            status(dir.path()).unwrap(),
            Status::Running {
                pid: me.pid,
                started_at: SystemTime::UNIX_EPOCH
            }
        );

        // No signal at all, only asked whether one could be sent.
        assert!(me.signal(0).unwrap());
        // The same pid with another start time is another process.
        let recycled = ProcessId {
            pid: me.pid,
            start: me.start + 1,
        };
        assert!(!recycled.signal(0).unwrap());
        state(recycled, Some(me)).save(dir.path()).unwrap();
        assert_eq!(status(dir.path()).unwrap(), Status::Gone);

        let exit = ExitStatus {
            code: 137,
            oom_killed: true,
            started_at: SystemTime::UNIX_EPOCH,
            finished_at: SystemTime::UNIX_EPOCH,
            ran: Some(Duration::from_secs(1)),
            error: None,
        };
        exit.save(dir.path()).unwrap();
        assert_eq!(status(dir.path()).unwrap(), Status::Exited(exit));
    }

    #[test]
    fn a_torn_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(STATE_FILE), b"{\"mon").unwrap();
        let error = status(dir.path()).unwrap_err().to_string();
        assert!(error.contains("state.json"), "{error}");
    }
}
