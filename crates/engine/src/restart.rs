//! Restart policies: whether a container that has ended is started again, and by whom.
//!
//! There is no daemon that could wait. Whoever settles an end writes down that the container is `restarting`, and leaves
//! a timer behind: a process of next to no memory that becomes `rctr internal restart ID` when it is time. Whoever looks
//! at a container that is `restarting` and finds its timer dead leaves another one.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rctr_runtime::restart::{end_timer, start_timer, timer_lives};

use crate::events::{self, ContainerEvent};
use crate::lock::ContainerLock;
use crate::model::{Container, Restarts, Status};
use crate::options::RestartMode;
use crate::start::Streams;
use crate::{Engine, Error, Result, lifecycle, time};

/// Docker's back-off, in milliseconds: doubled each time, up to the longest.
const FIRST_BACKOFF: u64 = 100;
const LONGEST_BACKOFF: u64 = 60_000;

/// Who ran so long begins with the first back-off again.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// What somebody asked for whose doing the end of a container is. Kept with the signal that it gets, so that whoever
/// settles the end knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It was sent a signal that ends it, and stays as it is until somebody starts it.
    Kill,
    /// The same by `stop`, of which is told.
    Stop,
    /// Whoever asked starts it again.
    Restart,
    /// The machine goes down: nobody has stopped it by hand.
    Shutdown,
}

impl Asked {
    /// The reason of a signal.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Asked::Kill => "kill",
            Asked::Stop => "stop",
            Asked::Restart => "restart",
            Asked::Shutdown => "shutdown",
        }
    }

    /// What was asked for in this run.
    pub(crate) fn of(state_dir: &Path) -> Result<Option<Asked>> {
        let Some(word) = rctr_runtime::reason(state_dir)? else {
            return Ok(None);
        };
        let all = [Asked::Kill, Asked::Stop, Asked::Restart, Asked::Shutdown];
        // Whoever was interrupted while noting it has sent no signal yet.
        Ok(all.into_iter().find(|asked| asked.word() == word))
    }

    /// Whether somebody means the container to stay ended.
    pub(crate) fn by_hand(self) -> bool {
        matches!(self, Asked::Kill | Asked::Stop)
    }

    /// Whether it is told of as stopped.
    pub(crate) fn stops(self) -> bool {
        self != Asked::Kill
    }
}

/// Whether a signal is one after which a container that ends stays ended: as Docker has it, the signal it is to be
/// stopped with, SIGKILL, and if nobody has said what stops it, any.
pub(crate) fn is_stop(container: &Container, signal: i32) -> bool {
    let own = crate::options::parse_signal(&container.process.stop_signal).ok();
    let unsaid = container.options.stop_signal.is_none() && own == Some(libc::SIGTERM);
    signal == libc::SIGKILL || unsaid || own == Some(signal)
}

/// Makes a container whose end was just filled in `restarting`, if its policy says so; how long it has to wait then.
pub(crate) fn after_end(container: &mut Container) -> Option<Duration> {
    let state = &mut container.state;
    let policy = container.options.restart;
    if state.status != Status::Exited
        || !policy.wants_restart(state.exit_code, container.restart_count)
    {
        return None;
    }
    let restarts = &mut container.restarts;
    restarts.backoff = backoff(restarts.backoff, state.lived());
    let delay = Duration::from_millis(restarts.backoff);
    restarts.due = time::format(SystemTime::now() + delay);
    container.restart_count = container.restart_count.saturating_add(1);
    state.status = Status::Restarting;
    Some(delay)
}

/// Milliseconds to wait after those waited before the last run.
fn backoff(before: u64, ran: Duration) -> u64 {
    match before {
        0 => FIRST_BACKOFF,
        _ if ran >= LONG_ENOUGH => FIRST_BACKOFF,
        before => before.saturating_mul(2).min(LONGEST_BACKOFF),
    }
}

impl Engine {
    /// Leaves somebody behind who starts a container after that time. If that cannot be done now, whoever looks at it
    /// next tries again.
    pub(crate) fn leave_timer(&self, id: &str, delay: Duration) {
        let leave = || -> Result<()> {
            let command = self.own_command(&["internal", "restart", id])?;
            let dir = self.state_dir(id);
            Ok(start_timer(&self.monitor_path()?, &dir, delay, &command)?)
        };
        if let Err(e) = leave() {
            tracing::warn!(container = id, error = %e, "nobody starts it again yet");
        }
    }

    /// Whether somebody is about to start a container that is `restarting`.
    pub(crate) fn has_timer(&self, id: &str) -> Result<bool> {
        Ok(timer_lives(&self.state_dir(id))?)
    }

    /// Sees to it that a container that is `restarting` will be started, or was lost with its timer at a boot.
    pub(crate) fn mend_restart(
        &self,
        mut container: Container,
        _lock: &ContainerLock,
    ) -> Result<Container> {
        if self.has_timer(&container.id)? {
            return Ok(container);
        }
        if self.state_dir(&container.id).exists() {
            let due = time::parse(&container.restarts.due).unwrap_or(SystemTime::UNIX_EPOCH);
            let left = due.duration_since(SystemTime::now()).unwrap_or_default();
            // A clock that was set back makes nobody wait longer.
            let longest = Duration::from_millis(container.restarts.backoff);
            self.leave_timer(&container.id, left.min(longest));
            return Ok(container);
        }
        container.state.status = Status::Exited;
        self.store.write(|tx| lifecycle::save(tx, &container))?;
        Ok(container)
    }

    /// What a timer does when it is time. A container that does not wait for it any more is left alone.
    ///
    /// # Errors
    /// Whatever hinders a start; the container has then ended.
    pub fn restart_now(&self, id: &str) -> Result<()> {
        let lock = match self.lock(id) {
            Err(Error::NoSuchContainer { .. }) => return Ok(()),
            other => other?,
        };
        match self.record(id)? {
            Some(container) if container.state.status == Status::Restarting => {
                self.start_locked(container, &lock, Streams::default())?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the waiting of a container that is `restarting`: it has then ended as it last did. False if it is not.
    pub(crate) fn end_restart(&self, id: &str, asked: Asked) -> Result<bool> {
        let lock = match self.lock(id) {
            Err(Error::NoSuchContainer { .. }) => return Ok(false),
            other => other?,
        };
        let Some(mut container) = self.record(id)? else {
            return Ok(false);
        };
        if container.state.status != Status::Restarting {
            return Ok(false);
        }
        end_timer(&self.state_dir(id))?;
        container.state.status = Status::Exited;
        container.restarts.stopped = asked.by_hand();
        self.store.write(|tx| -> Result<()> {
            if asked.stops() {
                events::container(tx, &container, ContainerEvent::Stop)?;
            }
            lifecycle::save(tx, &container)
        })?;
        drop(lock);
        Ok(true)
    }

    /// After a boot: starts the containers whose policy says so, the oldest first, one that needs another's
    /// namespaces after that one. Gives the names of those that could not be started, and why.
    ///
    /// # Errors
    /// The containers cannot be listed.
    pub fn start_after_boot(&self) -> Result<Vec<(String, Error)>> {
        let mut waiting = self.containers()?;
        waiting.retain(starts_after_boot);
        waiting.reverse();
        loop {
            let before = waiting.len();
            let mut failed = Vec::new();
            for container in waiting {
                if let Err(error) = self.start(&container.id, Streams::default()) {
                    failed.push((container, error));
                }
            }
            // Some may have needed one that came later.
            let again = |(_, error): &(Container, Error)| {
                matches!(
                    error,
                    Error::JoinNotRunning { .. } | Error::JoinNamespace { .. }
                )
            };
            if failed.len() == before || !failed.iter().any(again) {
                let named = failed.into_iter();
                return Ok(named
                    .map(|(container, error)| (container.name, error))
                    .collect());
            }
            waiting = failed.into_iter().map(|(container, _)| container).collect();
        }
    }

    /// Before the machine goes down: stops all containers, as [`Engine::stop`] does, side by side. Nobody has stopped
    /// them by hand: their policy starts them again after the boot.
    ///
    /// # Errors
    /// The containers cannot be listed.
    pub fn stop_for_shutdown(&self) -> Result<Vec<(String, Error)>> {
        let mut live = self.containers()?;
        live.retain(|c| c.state.status.is_live() && c.pod.is_none());
        let stop = |container: Container| {
            let stopped = self.end_run(&container.id, &Default::default(), Asked::Shutdown);
            stopped.err().map(|error| (container.name, error))
        };
        Ok(std::thread::scope(|scope| {
            let threads: Vec<_> = live
                .into_iter()
                .map(|container| scope.spawn(|| stop(container)))
                .collect();
            let ended = threads.into_iter().filter_map(|thread| thread.join().ok());
            ended.flatten().collect()
        }))
    }
}

/// Docker's rule for the start of its daemon; but nobody means a job that was stopped by hand to come back.
fn starts_after_boot(container: &Container) -> bool {
    let (state, restarts) = (&container.state, &container.restarts);
    let policy = container.options.restart;
    let wanted = match policy.mode {
        RestartMode::No => false,
        RestartMode::Always => true,
        RestartMode::UnlessStopped => !restarts.stopped,
        RestartMode::OnFailure => {
            !restarts.stopped && policy.wants_restart(state.exit_code, container.restart_count)
        }
    };
    // One that was never started is `created`.
    wanted && state.status == Status::Exited && container.pod.is_none()
}

impl Container {
    /// As if nobody had ever started it again: somebody starts it by hand.
    pub(crate) fn forget_restarts(&mut self) {
        self.restart_count = 0;
        self.restarts = Restarts::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{State, ZERO_TIME};

    #[test]
    fn the_back_off_doubles_from_100_ms_to_a_minute() {
        let mut waited = 0;
        let mut all = Vec::new();
        for _ in 0..12 {
            waited = backoff(waited, Duration::from_millis(30));
            all.push(waited);
        }
        assert_eq!(
            all,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000
            ]
        );
        assert_eq!(backoff(60_000, Duration::from_secs(10)), 100);
        assert_eq!(backoff(60_000, Duration::from_millis(9_999)), 60_000);
    }

    #[test]
    fn a_clock_that_was_set_back_is_no_long_run() {
        let lived = |started: &str, finished: &str, ran| {
            let state = State {
                started_at: started.into(),
                finished_at: finished.into(),
                ran,
                ..State::created()
            };
            state.lived()
        };
        let (early, late) = ("2026-11-22T10:00:00Z", "2026-11-22T10:00:11Z");
        let seconds = Duration::from_secs;
        assert_eq!(lived(early, late, None), seconds(11));
        assert_eq!(lived(late, early, None), Duration::ZERO);
        assert_eq!(lived(ZERO_TIME, late, None), Duration::ZERO);
        assert_eq!(lived(late, early, Some(seconds(7))), seconds(7));
    }

    #[test]
    fn what_was_asked_for_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Asked::of(dir.path()).unwrap(), None);
        let file = dir.path().join("asked");
        for asked in [Asked::Kill, Asked::Stop, Asked::Restart, Asked::Shutdown] {
            std::fs::write(&file, asked.word()).unwrap();
            assert_eq!(Asked::of(dir.path()).unwrap(), Some(asked));
        }
        std::fs::write(&file, "sto").unwrap();
        assert_eq!(Asked::of(dir.path()).unwrap(), None);
    }
}
