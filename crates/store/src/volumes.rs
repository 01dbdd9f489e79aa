//! Volumes: records and directories together.

use std::path::Path;

use crate::records::{NewVolume, Tx, Volume};
use crate::store::Store;
use crate::{Error, Result, fs};

/// Makes `volumes/<name>/_data`. What is there already stays as it is.
pub(crate) fn make_dirs(data: &Path) -> Result<()> {
    if fs::exists(data)? {
        return Ok(());
    }
    if let Some(volume) = data.parent() {
        fs::make_dirs(volume, 0o711)?;
    }
    fs::make_dirs(data, 0o755)
}

impl Store {
    /// [`crate::Tx::ensure_volume`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn ensure_volume(&self, new: &NewVolume<'_>) -> Result<(Volume, bool)> {
        self.write(|tx| tx.ensure_volume(new))
    }

    /// [`crate::Tx::volume`].
    ///
    /// # Errors
    /// As there.
    pub fn volume(&self, name: &str) -> Result<Option<Volume>> {
        self.read(|tx| tx.volume(name))
    }

    /// [`crate::Tx::volumes`].
    ///
    /// # Errors
    /// As there.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        self.read(|tx| tx.volumes())
    }

    /// [`crate::Tx::volume_users`].
    ///
    /// # Errors
    /// As there.
    pub fn volume_users(&self, name: &str) -> Result<Vec<String>> {
        self.read(|tx| tx.volume_users(name))
    }

    /// Forgets a container as [`crate::Tx::remove_container`] does, and with it those of `volumes` that no other
    /// container uses. What is in them goes afterwards: if this process dies meanwhile, a garbage collection goes on.
    /// `also` is done in the same transaction, and gets those volumes.
    ///
    /// # Errors
    /// Those of `also`; [`crate::Error::Mounted`], [`crate::Error::Io`], [`crate::Error::Database`].
    pub fn remove_container_and_volumes(
        &self,
        id: &str,
        volumes: &[&str],
        also: impl FnOnce(&Tx<'_>, &[&str]) -> Result<()>,
    ) -> Result<()> {
        let gone = self.write(|tx| {
            tx.remove_container(id)?;
            let mut gone = Vec::new();
            for volume in volumes {
                match tx.delete_volume(volume) {
                    Ok(()) => gone.push(*volume),
                    Err(Error::NoSuchVolume { .. } | Error::VolumeInUse { .. }) => {}
                    Err(e) => return Err(e),
                }
            }
            also(tx, &gone)?;
            Ok::<_, Error>(gone)
        })?;
        for volume in gone {
            self.empty_trash(self.trash(&self.volumes_dir().join(volume))?)?;
        }
        Ok(())
    }

    /// Removes a volume with all that is in it, unless a container uses it. `also` is done in the same transaction.
    ///
    /// # Errors
    /// Those of `also`; [`crate::Error::NoSuchVolume`], [`crate::Error::VolumeInUse`], [`crate::Error::Mounted`], [`crate::Error::Io`],
    /// [`crate::Error::Database`].
    pub fn remove_volume(
        &self,
        name: &str,
        also: impl FnOnce(&Tx<'_>) -> Result<()>,
    ) -> Result<()> {
        let trash = self.write(|tx| {
            tx.delete_volume(name)?;
            also(tx)?;
            // Within the transaction: nobody may make the volume anew meanwhile.
            self.trash(&self.volumes_dir().join(name))
        })?;
        self.empty_trash(trash)
    }
}
