//! Putting an end to what containers without a monitor left.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cgroup, CgroupDriver};
use crate::error::{Error, Result};
use crate::state::State;

/// Puts an end to what a killed monitor left: kills its container's processes, removes the cgroup.
/// Mounts and namespaces go with the last process. Does nothing while the monitor lives or if it has let go
/// of everything, so that it may be called at any time. The state directory stays.
///
/// # Errors
/// [`Error::File`] if processes stay or the cgroup cannot be removed.
pub fn clean_up_dead(state_dir: &Path) -> Result<()> {
    match State::load(state_dir)? {
        Some(state) if !state.monitor.is_alive() => clean_up(&state),
        _ => Ok(()),
    }
}

/// Whether a monitor was killed before it had let go of everything: [`clean_up_ended`] does it then.
///
/// # Errors
/// [`Error::Corrupt`] or [`Error::File`] if the state directory cannot be read.
pub fn is_abandoned(state_dir: &Path) -> Result<bool> {
    Ok(State::load(state_dir)?.is_some_and(|state| !state.monitor.is_alive()))
}

/// [`clean_up_dead`] for a container whose end is recorded, so that the state directory need not tell of it any more: the
/// next call finds nothing to do. The caller sees to it that nobody starts the container meanwhile.
///
/// # Errors
/// As [`clean_up_dead`].
pub fn clean_up_ended(state_dir: &Path) -> Result<()> {
    if is_abandoned(state_dir)? {
        clean_up_dead(state_dir)?;
        State::remove(state_dir).map_err(|e| Error::file("clean up", state_dir, e))?;
    }
    Ok(())
}

/// Waits until the monitor of a container that has ended, or never came up, has let go of its cgroup, ports and
/// namespaces; cleans up after it if it was killed.
///
/// # Errors
/// [`Error::File`] if it has not within ten seconds, or as [`clean_up_dead`].
pub fn await_release(state_dir: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Some(state) = State::load(state_dir)? {
        if !state.monitor.is_alive() {
            return clean_up(&state);
        }
        if Instant::now() > deadline {
            let late = io::Error::from(io::ErrorKind::TimedOut);
            return Err(Error::file("wait for the last run's", state_dir, late));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn clean_up(state: &State) -> Result<()> {
    if let Some(container) = state.container.filter(|c| c.is_alive()) {
        let _ = kill(Pid::from_raw(container.pid), Signal::SIGKILL);
    }
    clear(state.cgroup_driver, &state.cgroup_path)
}

/// Kills what is in a cgroup, named as in `linux.cgroupsPath`, and removes it; fine if it is gone. For a container
/// whose state directory is lost.
///
/// # Errors
/// As [`clean_up_dead`].
pub fn clear(driver: CgroupDriver, cgroups_path: &Path) -> Result<()> {
    let cgroup = Cgroup::open(driver, cgroups_path)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while cgroup.exists() {
        cgroup.kill_all()?;
        match cgroup.remove() {
            Ok(()) => break,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}
