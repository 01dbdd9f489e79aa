//! Another name for a container.

use crate::events::{self, ContainerEvent};
use crate::options::parse_name;
use crate::{Engine, Error, Result, lifecycle};

impl Engine {
    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::NameTaken`], [`Error::SameName`]; a name that no container can have.
    pub fn rename(&self, container: &str, name: &str) -> Result<()> {
        let id = self.find(container)?;
        let name = parse_name(name)?;
        let lock = self.lock(&id)?;
        let mut container = self.refresh_locked(self.load(&id)?, &lock)?;
        if container.name == name {
            return Err(Error::SameName);
        }
        let before = std::mem::replace(&mut container.name, name);
        self.store.write(|tx| -> Result<()> {
            match tx.rename_container(&id, &container.name) {
                Err(rctr_store::Error::NameTaken { name, by }) => {
                    return Err(Error::NameTaken { name, by });
                }
                other => other?,
            }
            let event = ContainerEvent::Rename { before: &before };
            events::container(tx, &container, event)?;
            lifecycle::save(tx, &container)
        })?;
        self.tell_names(&container);
        Ok(())
    }
}
