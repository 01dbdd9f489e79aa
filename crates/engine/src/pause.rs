//! Freezing containers.

use std::path::Path;

use rctr_runtime::cgroup::Cgroup;

use crate::events::{self, ContainerEvent};
use crate::model::{Container, Status};
use crate::{Engine, Error, Result, first_process, lifecycle, settle};

impl Engine {
    /// Freezes all processes of a running container.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Restarting`], [`Error::AlreadyPaused`].
    pub fn pause(&self, name: &str) -> Result<()> {
        self.freeze(name, true)
    }

    /// Lets a frozen container go on.
    ///
    /// # Errors
    /// [`Error::NotPaused`].
    pub fn unpause(&self, name: &str) -> Result<()> {
        self.freeze(name, false)
    }

    /// Lets a container that was sent a deadly signal while it was frozen die of it. Its record does not say whether it
    /// is: a `pause` may have been killed before it wrote that down.
    pub(crate) fn thaw(&self, container: &Container) -> Result<()> {
        let frozen = cgroup_of(container).is_ok_and(|cgroup| cgroup.is_frozen());
        if !frozen && container.state.status != Status::Paused {
            return Ok(());
        }
        match self.unpause(&container.id) {
            Err(Error::NotPaused { .. } | Error::NoSuchContainer { .. }) => Ok(()),
            other => other,
        }
    }

    fn freeze(&self, name: &str, frozen: bool) -> Result<()> {
        let id = self.find(name)?;
        let lock = self.lock(&id)?;
        let mut container = self.refresh_locked(self.load(&id)?, &lock)?;
        let cgroup = cgroup_of(&container)?;
        // Whatever the record says: the last attempt may have been interrupted before it was written.
        match (container.state.status, frozen) {
            (Status::Running, false) if !cgroup.is_frozen() => return Err(Error::NotPaused { id }),
            (Status::Paused, true) if cgroup.is_frozen() => {
                return Err(Error::AlreadyPaused { id });
            }
            (Status::Running | Status::Paused, _) => {}
            (_, false) => return Err(Error::NotPaused { id }),
            (Status::Restarting, true) => return Err(Error::Restarting { id }),
            (_, true) => return Err(Error::NotRunning { id }),
        }
        cgroup.freeze(frozen).map_err(|error| {
            match frozen && first_process::has_ended(container.state.pid) {
                true => Error::NotRunning { id },
                false => error.into(),
            }
        })?;
        container.state.status = match frozen {
            true => Status::Paused,
            false => Status::Running,
        };
        let event = match frozen {
            true => ContainerEvent::Pause,
            false => ContainerEvent::Unpause,
        };
        self.store.write(|tx| {
            events::container(tx, &container, event)?;
            lifecycle::save(tx, &container)
        })
    }
}

fn cgroup_of(container: &Container) -> Result<Cgroup> {
    let path = Path::new(&container.cgroup_path);
    Ok(Cgroup::open(settle::driver_of(container), path)?)
}
