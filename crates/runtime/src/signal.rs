//! Signals to a container, also past a monitor that does not answer: one that was stopped, or hangs.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::client::MonitorClient;
use crate::error::{Error, Result};
use crate::state::{ProcessId, State, Status, status};

/// A monitor that works answers within microseconds; on a machine that hardly moves it may take longer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// The same once more, for one that had been stopped.
const AWAKENED_PATIENCE: Duration = Duration::from_secs(1);
/// How long a process may take to end once it was killed.
const DEATH_PATIENCE: Duration = Duration::from_secs(5);

/// In a state directory: why the container was sent the last signal that was sent for a reason.
const REASON_FILE: &str = "asked";

/// Why the container of this state directory was sent a signal, in its present or last run; `None` if nobody gave a reason.
///
/// # Errors
/// [`Error::File`].
pub fn reason(state_dir: &Path) -> Result<Option<String>> {
    let path = state_dir.join(REASON_FILE);
    match fs::read_to_string(&path) {
        Ok(reason) => Ok(Some(reason)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", &path, e)),
    }
}

/// Keeps it for [`reason`].
pub(crate) fn note_reason(state_dir: &Path, reason: &str) -> Result<()> {
    let path = state_dir.join(REASON_FILE);
    fs::write(&path, reason).map_err(|e| Error::file("write", &path, e))
}

/// Sends a signal (its number) to a container's init. A `reason` is for whoever settles the container's end; the monitor
/// notes it and sends the signal in one step, so that whoever asks may be killed at any moment.
///
/// A monitor that does not answer within two seconds is told to go on, in case it was stopped; if it still does not
/// answer, or cannot note the reason, both are done without it: whoever wants a container to end wants that even where
/// nothing can be noted.
///
/// # Errors
/// [`Error::NotRunning`]; [`Error::MonitorLost`]; [`Error::Refused`] or [`Error::System`] if the kernel refuses the signal.
pub fn signal(state_dir: &Path, signal: i32, reason: Option<&str>) -> Result<()> {
    let gone = || Error::NotRunning {
        state_dir: state_dir.to_owned(),
    };
    let mut client = match MonitorClient::connect(state_dir) {
        Err(Error::MonitorSilent { .. }) => None,
        other => Some(other?),
    };
    let answered = |client: &mut MonitorClient, patience| {
        client
            .answers_within(patience)
            .then(|| match client.signal_answer() {
                Err(Error::Refused { .. }) if !runs(state_dir)? => Err(gone()),
                other => other,
            })
    };
    if let Some(asked) = &mut client {
        asked.ask_to_signal(signal, reason)?;
        match answered(asked, ANSWER_PATIENCE) {
            // One of an rctr that knew of no reasons hangs up.
            Some(Err(Error::MonitorLost | Error::Refused { .. })) if reason.is_some() => {
                client = None;
            }
            Some(answer) => return answer,
            None => {}
        }
    }
    let state = State::load(state_dir)?.ok_or_else(gone)?;
    send(state.monitor, libc::SIGCONT)?;
    if let Some(client) = &mut client
        && let Some(answer) = answered(client, AWAKENED_PATIENCE)
    {
        return answer;
    }
    let container = state.container.filter(ProcessId::is_alive);
    let container = container.ok_or_else(gone)?;
    if let Some(reason) = reason
        && let Err(error) = note_reason(state_dir, reason)
    {
        tracing::warn!(%error, "why a container is sent a signal is not noted");
    }
    match send(container, signal)? {
        true => Ok(()),
        false => Err(gone()),
    }
}

/// Whether a container has not ended, as far as its monitor knows.
fn runs(state_dir: &Path) -> Result<bool> {
    Ok(matches!(status(state_dir)?, Status::Running { .. }))
}

/// Kills a monitor that has not noticed the end of its container, so that it can be cleaned up after
/// ([`crate::clean_up_dead`]). Gives false, and does nothing, while the container lives.
///
/// # Errors
/// [`Error::System`], also if it does not end within five seconds.
pub fn kill_hung_monitor(state_dir: &Path) -> Result<bool> {
    let Some(state) = State::load(state_dir)? else {
        return Ok(true);
    };
    if state.container.is_some_and(|init| init.is_alive()) {
        return Ok(false);
    }
    send(state.monitor, libc::SIGKILL)?;
    let deadline = Instant::now() + DEATH_PATIENCE;
    while state.monitor.is_alive() {
        if Instant::now() > deadline {
            let late = io::Error::from(io::ErrorKind::TimedOut);
            return Err(Error::system("kill the monitor", late));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

/// Kills a monitor whatever it is at, and its container with it: also one that has not come far enough to be named in the
/// state directory, by the directory that it was given locked ([`crate::LaunchFds::lock`]). Nothing happens if there is
/// none.
///
/// # Errors
/// [`Error::System`]; [`Error::Corrupt`] or [`Error::File`] if the file that names it cannot be read.
pub fn kill_monitor(state_dir: &Path, locked: &Path) -> Result<()> {
    let monitors = match State::load(state_dir)? {
        Some(state) => vec![state.monitor],
        None => monitors_with(locked).map_err(|e| Error::file("find", locked, e))?,
    };
    for monitor in monitors {
        send(monitor, libc::SIGKILL)?;
    }
    Ok(())
}

/// The monitors that hold a directory open.
fn monitors_with(directory: &Path) -> io::Result<Vec<ProcessId>> {
    let Ok(wanted) = fs::metadata(directory) else {
        return Ok(Vec::new());
    };
    let is_wanted = |fd: fs::DirEntry| {
        let found = fs::metadata(fd.path());
        found.is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    };
    let holds = |pid: i32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd"));
        open.is_ok_and(|mut open| open.any(|fd| fd.is_ok_and(is_wanted)))
    };
    let is_monitor = |pid: i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = words.split(|byte| *byte == 0).next().unwrap_or_default();
        Path::new(OsStr::from_bytes(program)).file_name() == Some(OsStr::new("rctr-monitor"))
    };
    let processes = fs::read_dir("/proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let monitors = pids.filter(|pid| is_monitor(*pid) && holds(*pid));
    // One that has ended meanwhile needs no signal.
    Ok(monitors.filter_map(|pid| ProcessId::of(pid).ok()).collect())
}

fn send(process: ProcessId, signal: i32) -> Result<bool> {
    process
        .signal(signal)
        .map_err(|e| Error::system("pidfd_send_signal", e))
}

/// Whether a descriptor is readable or closed within a time.
pub(crate) fn readable_within(fd: std::os::fd::BorrowedFd<'_>, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(0) if !left.is_zero() => {}
            Err(nix::Error::EINTR) => {}
            other => return matches!(other, Ok(1..)),
        }
    }
}
