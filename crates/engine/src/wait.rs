//! Waiting for what becomes of a container.

use std::os::fd::AsFd;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rctr_runtime::MonitorClient;
use rctr_runtime::restart::timer_end;

use crate::lifecycle::readable;
use crate::model::{Container, State, Status};
use crate::{Engine, Error, Result};

/// What to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run; fine if it does not now. One that is between two runs is waited for until the next one ends.
    #[default]
    NotRunning,
    /// A run ends after now.
    NextExit,
    /// It is removed.
    Removed,
}

impl Engine {
    /// Blocks until that has come, and gives the exit code of the last run.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`].
    pub fn wait(&self, name: &str, condition: WaitCondition) -> Result<i32> {
        let id = self.find(name)?;
        let changes = match condition {
            WaitCondition::NotRunning => None,
            _ => Some(self.watch_container(&id)?),
        };
        let mut last: Option<State> = None;
        loop {
            let container = match self.container(&id) {
                Err(Error::NoSuchContainer { .. }) if last.is_some() => {
                    return Ok(last.map_or(0, |state| state.exit_code));
                }
                other => other?,
            };
            let state = container.state.clone();
            let ended = last.as_ref().is_some_and(|last| {
                matches!(last.status, Status::Running | Status::Paused)
                    || last.started_at != state.started_at
            });
            match state.status {
                Status::Running | Status::Paused => match self.wait_for_run(&container)? {
                    Some(code) if condition != WaitCondition::Removed => return Ok(code),
                    Some(code) => {
                        last = Some(State {
                            exit_code: code,
                            ..state
                        })
                    }
                    None => last = Some(state),
                },
                _ if ended && condition != WaitCondition::Removed => return Ok(state.exit_code),
                status => {
                    match (status, &changes) {
                        (Status::Restarting, _) => self.wait_for_restart(&container)?,
                        (_, None) => return Ok(state.exit_code),
                        (_, Some(changes)) => self.wait_for_change(&id, changes)?,
                    }
                    last = Some(state);
                }
            }
        }
    }

    /// The exit code of the present run, once it has ended; none if nobody could see it.
    fn wait_for_run(&self, container: &Container) -> Result<Option<i32>> {
        let id = &container.id;
        let seen = MonitorClient::connect(&self.state_dir(id)).and_then(MonitorClient::wait);
        let settled = self.settle(id)?;
        match seen {
            Ok(exit) => Ok(Some(exit.code)),
            Err(rctr_runtime::Error::NotRunning { .. } | rctr_runtime::Error::MonitorLost) => {
                Ok(settled)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Until somebody has started it, or has ended the waiting.
    fn wait_for_restart(&self, container: &Container) -> Result<()> {
        match timer_end(&self.state_dir(&container.id))? {
            Some(end) => readable(&end, None).map(drop),
            // Whoever starts it has the lock.
            None => self.wait_for_lock(&container.id),
        }
    }

    /// Told of whenever the container is started or removed.
    fn watch_container(&self, id: &str) -> Result<Inotify> {
        let dir = self.store.container_dir(id)?;
        let watch = || {
            let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let flags = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_DELETE_SELF;
            watch.add_watch(&dir, flags)?;
            Ok(watch)
        };
        watch().map_err(|errno: nix::Error| Error::file("watch", &dir)(errno.into()))
    }

    fn wait_for_change(&self, id: &str, changes: &Inotify) -> Result<()> {
        readable(&changes.as_fd(), None)?;
        while changes.read_events().is_ok_and(|events| !events.is_empty()) {}
        // The first thing a start writes is not yet the container.
        self.wait_for_lock(id)
    }

    fn wait_for_lock(&self, id: &str) -> Result<()> {
        match self.lock(id) {
            Err(Error::NoSuchContainer { .. }) => Ok(()),
            other => other.map(drop),
        }
    }
}
