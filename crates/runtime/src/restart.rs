//! Whoever waits until a container is to be started again: a process of its own that needs nothing but time, for there
//! is no daemon, and the container's monitor has ended with it.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::defaults;
use crate::error::{Error, Result};
use crate::state::{self, ProcessId};

/// The name under which the monitor's program is a timer.
pub(crate) const TIMER_NAME: &str = "restart-timer";
const FILE: &str = "restart.json";

/// Starts a process that runs `command` after `delay`, and says so in the state directory. It belongs to nobody,
/// holds no descriptor of ours, and outlives us.
///
/// # Errors
/// [`Error::File`] if it cannot be started.
pub fn start_timer(
    monitor: &Path,
    state_dir: &Path,
    delay: Duration,
    command: &[String],
) -> Result<()> {
    let failed = |e: std::io::Error| Error::file("start", monitor, e);
    let status = Command::new(monitor)
        .arg0(TIMER_NAME)
        .arg(state_dir)
        .arg(delay.as_millis().to_string())
        .args(command)
        .env_clear()
        .env("PATH", defaults::PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(failed)?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(std::io::Error::other(format!("a timer: {status}")))),
    }
}

/// Whether a timer waits here, or its command is at work.
///
/// # Errors
/// [`Error::Corrupt`] or [`Error::File`] if the file that names it cannot be read.
pub fn timer_lives(state_dir: &Path) -> Result<bool> {
    Ok(timer(state_dir)?.is_some_and(|timer| timer.is_alive()))
}

/// Something that becomes readable when the timer and its command have ended; `None` if they have.
///
/// # Errors
/// As [`timer_lives`]; [`Error::System`].
pub fn timer_end(state_dir: &Path) -> Result<Option<OwnedFd>> {
    let Some(timer) = timer(state_dir)? else {
        return Ok(None);
    };
    let Some(pid) = Pid::from_raw(timer.pid) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        // Looked at with the descriptor in hand: what it stands for cannot change any more.
        Ok(process) => Ok(timer.is_alive().then_some(process)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(e) => Err(Error::system("pidfd_open", e)),
    }
}

/// Ends the timer, if there is one. The caller sees to it that its command is not at work.
///
/// # Errors
/// As [`timer_lives`]; [`Error::System`].
pub fn end_timer(state_dir: &Path) -> Result<()> {
    if let Some(timer) = timer(state_dir)? {
        timer
            .signal(libc::SIGKILL)
            .map_err(|e| Error::system("pidfd_send_signal", e))?;
    }
    match std::fs::remove_file(state_dir.join(FILE)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", &state_dir.join(FILE), e))
        }
        _ => Ok(()),
    }
}

fn timer(state_dir: &Path) -> Result<Option<ProcessId>> {
    state::load(&state_dir.join(FILE))
}

/// Says that a process is the timer here.
pub(crate) fn name_timer(state_dir: &Path, pid: i32) -> Result<()> {
    let timer = ProcessId::of(pid).map_err(|e| Error::file("read", "/proc".as_ref(), e))?;
    state::save(&state_dir.join(FILE), &timer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_known_by_more_than_its_pid() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!timer_lives(dir.path()).unwrap());
        assert!(timer_end(dir.path()).unwrap().is_none());
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        name_timer(dir.path(), child.id() as i32).unwrap();
        assert!(timer_lives(dir.path()).unwrap());
        let end = timer_end(dir.path()).unwrap().unwrap();

        end_timer(dir.path()).unwrap();
        assert!(crate::signal::readable_within(
            std::os::fd::AsFd::as_fd(&end),
            Duration::from_secs(10)
        ));
        child.wait().unwrap();
        assert!(!timer_lives(dir.path()).unwrap());
        end_timer(dir.path()).unwrap();
    }
}
