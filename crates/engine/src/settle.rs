//! Bringing the record of a container up to what became of its processes.
//!
//! While a container runs, its state directory tells the truth, and the store only says that it was started. Whoever
//! first notices that it ended (the front door that waits for it, the monitor's exit command, or any later command
//! that looks at it) settles it: ports and addresses are given back and the end is written into the store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rctr_runtime::ExitStatus;
use rctr_runtime::cgroup::CgroupDriver;
use rctr_store::Tx;

use crate::lock::ContainerLock;
use crate::model::{Container, State, Status, ZERO_TIME};
use crate::restart::{self, Asked};
use crate::{Engine, Error, Result, events, health, lifecycle, time};

/// Exit code of a container whose monitor was killed or whose machine went down: nobody saw its own.
const UNKNOWN_EXIT: i32 = 255;

impl Engine {
    /// `<state>/<id>`.
    pub(crate) fn state_dir(&self, id: &str) -> PathBuf {
        self.config.state.join(id)
    }

    /// Writes the end of a container into the store, removes it if it was to be removed at its end, and gives its
    /// exit code; `None` while it still runs or if it is gone.
    ///
    /// # Errors
    /// Whatever hinders the clean-up.
    pub fn settle(&self, id: &str) -> Result<Option<i32>> {
        let lock = match self.lock(id) {
            Err(Error::NoSuchContainer { .. }) => return Ok(None),
            other => other?,
        };
        let Some(container) = self.record(id)? else {
            return Ok(None);
        };
        let container = self.refresh_locked(container, &lock)?;
        if container.state.status.is_live() {
            return Ok(None);
        }
        drop(lock);
        self.sweep();
        Ok(Some(container.state.exit_code))
    }

    /// The container with its live state filled in; settles it first if it ended unnoticed. `None` if that
    /// removed it.
    pub(crate) fn refresh(&self, mut container: Container) -> Result<Option<Container>> {
        if !container.state.status.is_live() {
            return Ok(Some(container));
        }
        let restarting = container.state.status == Status::Restarting;
        if restarting && self.has_timer(&container.id)? {
            return Ok(Some(container));
        }
        let seen = self.look(&container.id)?;
        if let (Seen::Running { .. }, false) = (&seen, restarting) {
            seen.fill_in(&mut container.state);
            health::fill_in(&mut container.state, &self.state_dir(&container.id))?;
            return Ok(Some(container));
        }
        let lock = match self.try_lock(&container.id) {
            Ok(Some(lock)) => lock,
            // Somebody is starting, settling or removing it at this moment.
            Ok(None) if restarting => return Ok(Some(container)),
            Ok(None) => {
                seen.fill_in(&mut container.state);
                match seen {
                    // As whoever settles it will find.
                    Seen::Exited(_) | Seen::Killed
                        if Asked::of(&self.state_dir(&container.id))?.is_none() =>
                    {
                        restart::after_end(&mut container);
                    }
                    Seen::Starting if container.restart_count > 0 => {
                        container.state.status = Status::Restarting;
                    }
                    _ => {}
                }
                return Ok(Some(container));
            }
            Err(Error::NoSuchContainer { .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        let Some(container) = self.record(&container.id)? else {
            return Ok(None);
        };
        let container = self.refresh_locked(container, &lock)?;
        let removed = self.record(&container.id)?.is_none();
        Ok((!removed).then_some(container))
    }

    /// Takes away what the monitor of a container whose end is recorded has left: it was killed while it let go.
    pub(crate) fn clean_up_after(&self, ended: &Container) -> Result<()> {
        let state_dir = self.state_dir(&ended.id);
        if !rctr_runtime::is_abandoned(&state_dir)? {
            return Ok(());
        }
        let _lock = match self.try_lock(&ended.id) {
            // Whoever starts or removes it does the same.
            Ok(None) | Err(Error::NoSuchContainer { .. }) => return Ok(()),
            other => other?,
        };
        match self.record(&ended.id)? {
            Some(now) if !now.state.status.is_live() => {
                Ok(rctr_runtime::clean_up_ended(&state_dir)?)
            }
            _ => Ok(()),
        }
    }

    /// As [`Engine::refresh`], under the lock: afterwards the status is right. An automatically removed container is
    /// given back as it ended.
    pub(crate) fn refresh_locked(
        &self,
        mut container: Container,
        lock: &ContainerLock,
    ) -> Result<Container> {
        match container.state.status {
            Status::Restarting => return self.mend_restart(container, lock),
            status if !status.is_live() => return Ok(container),
            _ => {}
        }
        let seen = self.look(&container.id)?;
        seen.fill_in(&mut container.state);
        health::fill_in(&mut container.state, &self.state_dir(&container.id))?;
        match seen {
            Seen::Running { .. } => return Ok(container),
            // The lock was free: nobody works on it.
            Seen::Starting => container.state.error = "the start was interrupted".into(),
            // Where only the state directory was lost, its processes may live, beyond anybody's reach.
            Seen::Rebooted => rctr_runtime::cgroup::clear(
                driver_of(&container),
                Path::new(&container.cgroup_path),
            )?,
            Seen::Exited(_) | Seen::Killed => {}
        }
        let asked = Asked::of(&self.state_dir(&container.id))?;
        let tell = match (&seen, asked) {
            (Seen::Starting, _) => events::not_started,
            (_, Some(asked)) if asked.stops() => events::stopped,
            _ => events::ended,
        };
        rctr_runtime::clean_up_dead(&self.state_dir(&container.id))?;
        // A boot starts what is to be started, once everything is there.
        let may_restart = asked.is_none() && !matches!(seen, Seen::Rebooted);
        self.write_end(&mut container, lock, asked, may_restart, tell)?;
        Ok(container)
    }

    /// Whether a container that the store calls live has ended.
    pub(crate) fn has_ended(&self, container: &Container) -> Result<bool> {
        let running = matches!(self.look(&container.id)?, Seen::Running { .. });
        let waiting =
            container.state.status == Status::Restarting && self.has_timer(&container.id)?;
        Ok(!running && !waiting)
    }

    /// What became of a container that the store calls running.
    fn look(&self, id: &str) -> Result<Seen> {
        let state_dir = self.state_dir(id);
        Ok(match rctr_runtime::status(&state_dir)? {
            rctr_runtime::Status::Running { pid, started_at } => Seen::Running { pid, started_at },
            rctr_runtime::Status::Exited(exit) => Seen::Exited(exit),
            rctr_runtime::Status::Gone => Seen::Killed,
            rctr_runtime::Status::Created if state_dir.exists() => Seen::Starting,
            rctr_runtime::Status::Created => Seen::Rebooted,
        })
    }

    fn write_end(
        &self,
        container: &mut Container,
        lock: &ContainerLock,
        asked: Option<Asked>,
        may_restart: bool,
        tell: fn(&Tx<'_>, &Container) -> rctr_store::Result<()>,
    ) -> Result<()> {
        self.leave_network(container)?;
        if container.options.auto_remove && asked != Some(Asked::Restart) {
            let removed = self.remove_locked(container, lock, true, tell);
            self.tell_names(container);
            return removed;
        }
        container.networks.clear();
        container.restarts.stopped |= asked.is_some_and(Asked::by_hand);
        let delay = match may_restart {
            true => restart::after_end(container),
            false => None,
        };
        let written = self.store.write(|tx| -> Result<()> {
            self.release_addresses(tx, container)?;
            tell(tx, container)?;
            lifecycle::save(tx, container)
        });
        match written {
            // The state directory still has it, for a later command to write down.
            Err(Error::Store(e)) if e.is_disk_full() => {
                tracing::warn!(container = container.id, error = %e, "the end is not recorded yet");
                return Ok(());
            }
            other => other?,
        }
        self.tell_names(container);
        if let Some(delay) = delay {
            self.leave_timer(&container.id, delay);
        }
        Ok(())
    }
}

enum Seen {
    Running {
        pid: i32,
        started_at: SystemTime,
    },
    Exited(ExitStatus),
    /// The monitor was killed.
    Killed,
    /// The state directory is there and nothing in it.
    Starting,
    /// The state directory is gone.
    Rebooted,
}

impl Seen {
    /// Writes it into the state as the store has it.
    fn fill_in(&self, state: &mut State) {
        match self {
            Seen::Running { pid, started_at } => {
                state.pid = *pid;
                state.started_at = time::format(*started_at);
            }
            Seen::Exited(exit) => {
                state.status = Status::Exited;
                state.pid = 0;
                state.exit_code = exit.code;
                state.oom_killed = exit.oom_killed;
                state.unseen_end = false;
                state.started_at = time::format(exit.started_at);
                state.finished_at = time::format(exit.finished_at);
                state.ran = exit.ran;
                state.error = exit.error.clone().unwrap_or_default();
            }
            Seen::Killed => unknown_end(state, "its monitor was killed"),
            Seen::Rebooted => unknown_end(state, "the machine was restarted"),
            Seen::Starting => {
                state.status = match state.started_at == ZERO_TIME {
                    true => Status::Created,
                    false => Status::Exited,
                };
            }
        }
    }
}

pub(crate) fn driver_of(container: &Container) -> CgroupDriver {
    match container.cgroup_driver.as_str() {
        "systemd" => CgroupDriver::Systemd,
        "none" => CgroupDriver::None,
        _ => CgroupDriver::Cgroupfs,
    }
}

fn unknown_end(state: &mut State, why: &str) {
    state.status = Status::Exited;
    state.pid = 0;
    state.exit_code = UNKNOWN_EXIT;
    state.finished_at = time::now();
    state.unseen_end = true;
    state.error = format!("how it ended is not known: {why}");
}

/// Removes a state directory and what a killed monitor left; one that is not there is fine.
pub(crate) fn discard_state_dir(dir: &Path) -> Result<()> {
    rctr_runtime::clean_up_dead(dir)?;
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", dir)(e)),
        _ => Ok(()),
    }
}
