//! Freezing containers.

use std::path::Path;

use rctr_runtime::cgroup::Cgroup;

use crate::events::{self, ContainerEvent};
use crate::model::Status;
use crate::{Engine, Error, Result, lifecycle, settle};

impl Engine {
    /// Freezes all processes of a running container; one that is frozen is fine.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn pause(&self, name: &str) -> Result<()> {
        self.freeze(name, true)
    }

    /// Lets a frozen container go on; one that is not frozen is fine.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn unpause(&self, name: &str) -> Result<()> {
        self.freeze(name, false)
    }

    fn freeze(&self, name: &str, frozen: bool) -> Result<()> {
        let id = self.find(name)?;
        let lock = self.lock(&id)?;
        let mut container = self.refresh_locked(self.load(&id)?, &lock)?;
        if !matches!(container.state.status, Status::Running | Status::Paused) {
            return Err(Error::NotRunning { id });
        }
        let driver = settle::driver_of(&container);
        // Whatever the record says: the last attempt may have been interrupted before it was written.
        Cgroup::open(driver, Path::new(&container.cgroup_path))?.freeze(frozen)?;
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
