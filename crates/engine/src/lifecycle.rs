//! Looking at, stopping and removing containers.

use std::time::{Duration, Instant};

use rctr_runtime::restart::end_timer;
use rctr_runtime::{AttachStream, MonitorClient};
use rctr_store::Tx;

use crate::events::{self, ContainerEvent};
use crate::lock::ContainerLock;
use crate::model::{Container, Status};
use crate::options::parse_signal;
use crate::restart::{self, Asked};
use crate::start::{Started, Streams};
use crate::{Engine, Error, Result, first_process, settle};

/// Seconds that a container gets between the stop signal and SIGKILL, if nobody says otherwise.
const STOP_TIMEOUT: i64 = 10;

/// How long a killed container may take to end before that is an error.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// How long a monitor may take to tell of its container's end.
const MONITOR_PATIENCE: Duration = Duration::from_secs(5);

/// When a killed container that still lives is thawed again: a `pause` may have been on its way.
const SECOND_THAW: Duration = Duration::from_millis(200);

/// How often a program that cannot be told to end yet is looked at: soon at first, then seldom.
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// How to stop.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Instead of the container's stop signal.
    pub signal: Option<String>,
    /// Seconds until SIGKILL, instead of the container's; negative: never.
    pub timeout: Option<i64>,
}

/// How to remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first; one that does not exist is fine.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}

impl Engine {
    /// All containers, newest first, their live state filled in.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn containers(&self) -> Result<Vec<Container>> {
        let mut containers = Vec::new();
        for container in self.records()? {
            if !container.state.status.is_live()
                && let Err(error) = self.clean_up_after(&container)
            {
                tracing::warn!(container = container.id, %error, "something of it is left");
            }
            containers.extend(self.refresh(container)?);
        }
        self.restore_firewall(&containers);
        Ok(containers)
    }

    /// One container by name, id or a unique beginning of its id, its live state filled in.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::AmbiguousId`].
    pub fn container(&self, name: &str) -> Result<Container> {
        let id = self.find(name)?;
        let missing = || Error::NoSuchContainer { name: name.into() };
        let container = self.refresh(self.load(&id)?)?.ok_or_else(missing)?;
        self.restore_firewall(std::slice::from_ref(&container));
        Ok(container)
    }

    /// A value that is another one after every change of the records of images, containers and pods, by whichever
    /// process. What a running container does on its own changes nothing until somebody settles its end.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn generation(&self) -> Result<(i64, u64)> {
        Ok(self.store.generation()?)
    }

    /// The same where nobody may wait: `None` while this process does something else with the records, or if they
    /// cannot be read.
    pub fn generation_now(&self) -> Option<(i64, u64)> {
        self.store.generation_now()
    }

    /// The id behind a name, an id or the beginning of one.
    pub(crate) fn find(&self, name: &str) -> Result<String> {
        match self
            .store
            .resolve_container(name.strip_prefix('/').unwrap_or(name))
        {
            Err(rctr_store::Error::NoSuchContainer { .. }) => {
                Err(Error::NoSuchContainer { name: name.into() })
            }
            Err(rctr_store::Error::AmbiguousContainer { .. }) => Err(Error::AmbiguousId {
                prefix: name.into(),
            }),
            other => Ok(other?),
        }
    }

    /// The record as the store has it, by complete id.
    pub(crate) fn load(&self, id: &str) -> Result<Container> {
        self.record(id)?
            .ok_or_else(|| Error::NoSuchContainer { name: id.into() })
    }

    pub(crate) fn record(&self, id: &str) -> Result<Option<Container>> {
        Ok(self
            .store
            .container::<Container>(id)?
            .map(|record| record.doc))
    }

    /// All records as the store has them, newest first.
    pub(crate) fn records(&self) -> Result<Vec<Container>> {
        Ok(self
            .store
            .containers::<Container>()?
            .into_iter()
            .map(|record| record.doc)
            .collect())
    }

    /// Sends a signal to a container's first process. One that is between two runs stays ended.
    ///
    /// # Errors
    /// [`Error::NotRunning`], or a signal that does not exist.
    pub fn kill(&self, name: &str, signal: &str) -> Result<()> {
        let signal = parse_signal(signal)?;
        let container = match self.running(name) {
            Err(Error::Restarting { id }) if self.end_restart(&id, Asked::Kill)? => return Ok(()),
            other => other?,
        };
        let asked = restart::is_stop(&container, signal).then_some(Asked::Kill);
        self.tell(&container, ContainerEvent::Kill(signal))?;
        self.signal(&container.id, signal, asked)?;
        if asked.is_some() {
            self.thaw(&container)?;
        }
        Ok(())
    }

    /// Asks a container to end, and kills it when its time is up. One that does not run is fine; one that is between two
    /// runs stays ended.
    ///
    /// # Errors
    /// [`Error::WillNotDie`] if not even SIGKILL ended it.
    pub fn stop(&self, name: &str, options: &StopOptions) -> Result<()> {
        let container = self.container(name)?;
        match container.state.status.is_live() {
            true => self.end_run(&container.id, options, Asked::Stop),
            false => Ok(()),
        }
    }

    /// Stops a container, if it runs, and starts it.
    ///
    /// # Errors
    /// Those of [`Engine::stop`] and [`Engine::start`].
    pub fn restart(&self, name: &str, options: &StopOptions) -> Result<Started> {
        let id = self.find(name)?;
        if self.container(&id)?.state.status.is_live() {
            self.end_run(&id, options, Asked::Restart)?;
        }
        let started = self.start(&id, Streams::default())?;
        self.tell(&self.load(&id)?, ContainerEvent::Restart)?;
        Ok(started)
    }

    /// Ends the present run of a container, and no policy starts another one.
    pub(crate) fn end_run(&self, id: &str, options: &StopOptions, asked: Asked) -> Result<()> {
        loop {
            let container = match self.container(id) {
                // It was to be removed at its end.
                Err(Error::NoSuchContainer { .. }) => return Ok(()),
                other => other?,
            };
            match container.state.status {
                Status::Restarting if self.end_restart(id, asked)? => return Ok(()),
                // It has been started meanwhile.
                Status::Restarting => {}
                status if status.is_live() => self.stop_once(&container, options, asked)?,
                _ => return Ok(()),
            }
        }
    }

    fn stop_once(&self, container: &Container, options: &StopOptions, asked: Asked) -> Result<()> {
        let signal = options
            .signal
            .as_deref()
            .unwrap_or(&container.process.stop_signal);
        let seconds = options
            .timeout
            .or(container.options.stop_timeout)
            .unwrap_or(STOP_TIMEOUT);
        let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
        let signal = parse_signal(signal)?;
        self.tell(container, ContainerEvent::Kill(signal))?;
        if !self.ask_to_end(container, signal, asked, patience)? {
            self.kill_and_wait(&container.id, Some(asked))?;
        }
        self.settle(&container.id)?;
        Ok(())
    }

    /// Removes a container.
    ///
    /// # Errors
    /// [`Error::RemoveRunning`] without `force`.
    pub fn remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let id = self.find(name)?;
        loop {
            let lock = match options.force {
                true => self.lock_by_force(&id),
                false => self.lock(&id),
            };
            let lock = match lock {
                // It was to be removed at its end, and that has come.
                Err(Error::NoSuchContainer { .. }) => return Ok(()),
                other => other?,
            };
            let Some(container) = self.record(&id)? else {
                return Ok(());
            };
            let container = self.refresh_locked(container, &lock)?;
            if !container.state.status.is_live() {
                return self.remove_locked(&container, &lock, options.volumes, |_, _| Ok(()));
            }
            if !options.force {
                return Err(Error::RemoveRunning {
                    name: container.name,
                    status: container.state.status,
                });
            }
            if container.state.status == Status::Restarting {
                end_timer(&self.state_dir(&id))?;
                return self.remove_locked(&container, &lock, options.volumes, |_, _| Ok(()));
            }
            drop(lock);
            self.kill_and_wait(&id, Some(Asked::Kill))?;
        }
    }

    /// The lock of a container that is to go whatever happens to it. A monitor that hangs while it starts the container
    /// holds the lock for ever, as does whoever waits for it.
    fn lock_by_force(&self, id: &str) -> Result<ContainerLock> {
        let deadline = Instant::now() + MONITOR_PATIENCE;
        let mut pause = SHORTEST_LOOK;
        while Instant::now() < deadline {
            if let Some(lock) = self.try_lock(id)? {
                return Ok(lock);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_LOOK);
        }
        let directory = self.store.container_dir(id)?;
        rctr_runtime::kill_monitor(&self.state_dir(id), &directory)?;
        self.lock(id)
    }

    /// Removes an ended container. The record goes before the directory, which carries the lock: what an interrupted
    /// removal leaves is garbage, not half a container. `tell` records what else has happened to it.
    pub(crate) fn remove_locked(
        &self,
        container: &Container,
        _lock: &ContainerLock,
        volumes: bool,
        tell: fn(&Tx<'_>, &Container) -> rctr_store::Result<()>,
    ) -> Result<()> {
        settle::discard_state_dir(&self.state_dir(&container.id))?;
        let anonymous: Vec<&str> = container
            .mounts
            .iter()
            .filter(|m| volumes && m.anonymous)
            .filter_map(|m| m.volume.as_deref())
            .collect();
        let forget = || {
            let tell = |tx: &Tx<'_>, volumes: &[&str]| {
                tell(tx, container)?;
                events::removed(tx, container, volumes)
            };
            self.store
                .remove_container_and_volumes(&container.id, &anonymous, tell)
        };
        match forget() {
            // What the container wrote may well be what fills it.
            Err(e) if e.is_disk_full() => {
                self.store.discard_container_files(&container.id)?;
                forget()?;
            }
            other => other?,
        }
        self.store.remove_container_dir(&container.id)?;
        self.sweep();
        Ok(())
    }

    /// Attaches to a running container's streams.
    ///
    /// # Errors
    /// [`Error::AttachStopped`].
    pub fn attach(&self, name: &str, streams: Streams) -> Result<AttachStream> {
        let container = self.container(name)?;
        let client = match MonitorClient::connect(&self.state_dir(&container.id)) {
            Err(rctr_runtime::Error::NotRunning { .. }) => return Err(Error::AttachStopped),
            other => other?,
        };
        let stream = client.attach(streams.attach(false))?;
        // A kubelet asks for none of it.
        if container.pod.is_none() {
            self.try_to_tell(&container, ContainerEvent::Attach);
        }
        Ok(stream)
    }

    /// The container, if it runs.
    pub(crate) fn running(&self, name: &str) -> Result<Container> {
        let container = self.container(name)?;
        match container.state.status {
            Status::Running | Status::Paused => Ok(container),
            Status::Restarting => Err(Error::Restarting { id: container.id }),
            _ => Err(Error::NotRunning { id: container.id }),
        }
    }

    fn signal(&self, id: &str, signal: i32, asked: Option<Asked>) -> Result<()> {
        match rctr_runtime::signal(&self.state_dir(id), signal, asked.map(Asked::word)) {
            Err(rctr_runtime::Error::NotRunning { .. }) => Err(Error::NotRunning { id: id.into() }),
            other => Ok(other?),
        }
    }

    fn signal_if_running(&self, id: &str, signal: i32, asked: Option<Asked>) -> Result<()> {
        match self.signal(id, signal, asked) {
            Err(Error::NotRunning { .. } | Error::Runtime(rctr_runtime::Error::MonitorLost)) => {
                Ok(())
            }
            other => other,
        }
    }

    /// Kills a container, waits for its end and writes it down.
    pub(crate) fn kill_and_settle(&self, id: &str) -> Result<()> {
        self.kill_and_wait(id, None)?;
        self.settle(id)?;
        Ok(())
    }

    /// A monitor that does not tell of the end, although there has been one, is killed itself.
    pub(crate) fn kill_and_wait(&self, id: &str, asked: Option<Asked>) -> Result<()> {
        if let Some(container) = self.record(id)? {
            self.tell(&container, ContainerEvent::Kill(libc::SIGKILL))?;
        }
        self.signal_if_running(id, libc::SIGKILL, asked)?;
        for patience in [
            SECOND_THAW,
            MONITOR_PATIENCE,
            KILL_PATIENCE - MONITOR_PATIENCE,
        ] {
            if let Some(container) = self.record(id)? {
                self.thaw(&container)?;
            }
            if self.wait_for_end(id, Some(patience))?
                || patience > SECOND_THAW && rctr_runtime::kill_hung_monitor(&self.state_dir(id))?
            {
                return Ok(());
            }
        }
        Err(Error::WillNotDie {
            id: id.into(),
            seconds: KILL_PATIENCE.as_secs(),
        })
    }

    /// Sends a signal and tells whether the container ended in time. One that the kernel dropped, as the program was not
    /// ready for it, is sent again as soon as it is.
    fn ask_to_end(
        &self,
        container: &Container,
        signal: i32,
        asked: Asked,
        patience: Option<Duration>,
    ) -> Result<bool> {
        let (id, pid) = (&container.id, container.state.pid);
        let deadline = patience.map(|patience| Instant::now() + patience);
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.signal_if_running(id, signal, Some(asked))?;
        self.thaw(container)?;
        let mut pause = SHORTEST_LOOK;
        while first_process::drops(pid, signal) {
            if left().is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            if self.wait_for_end(id, Some(left().map_or(pause, |left| left.min(pause))))? {
                return Ok(true);
            }
            if first_process::handles(pid, signal) {
                self.signal_if_running(id, signal, Some(asked))?;
            }
            pause = (pause * 2).min(LONGEST_LOOK);
        }
        self.wait_for_end(id, left())
    }

    /// Whether it ended in time.
    pub(crate) fn wait_for_end(&self, id: &str, patience: Option<Duration>) -> Result<bool> {
        let handle =
            match MonitorClient::connect(&self.state_dir(id)).and_then(MonitorClient::start_wait) {
                Ok(handle) => handle,
                Err(rctr_runtime::Error::NotRunning { .. } | rctr_runtime::Error::MonitorLost) => {
                    return Ok(true);
                }
                Err(rctr_runtime::Error::MonitorSilent { .. }) => return Ok(false),
                Err(e) => return Err(e.into()),
            };
        readable(&handle, patience)
    }
}

/// Puts a container's record in the place of the one in the store. The caller has the container's lock, so nobody
/// else changes it.
pub(crate) fn save(tx: &Tx<'_>, container: &Container) -> Result<()> {
    tx.update_container(&container.id, |record: &mut Container| {
        record.clone_from(container);
        Ok(())
    })
}

/// Waits until a descriptor is readable or closed, or patience ends.
pub(crate) fn readable(fd: &impl std::os::fd::AsFd, patience: Option<Duration>) -> Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let deadline = patience.map(|patience| Instant::now() + patience);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = match left {
            None => PollTimeout::NONE,
            Some(left) => PollTimeout::try_from(left.as_millis().min(i32::MAX as u128) as i32)
                .unwrap_or(PollTimeout::MAX),
        };
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(Error::file("poll", "monitor socket".as_ref())(errno.into())),
        }
    }
}
