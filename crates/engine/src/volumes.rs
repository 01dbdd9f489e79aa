//! Volumes on their own: made, looked at, removed, written to an archive and filled from one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use rctr_store::{Links, NewVolume, Owner, Trail, Unpacking, unpack_files, write_tree_archive};
use serde::Serialize;

use crate::events::{self, VolumeEvent};
use crate::options::{check_volume_driver, check_volume_name, check_volume_options};
use crate::{Engine, Error, Result, names};

/// A volume that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Its name; none for an anonymous one.
    pub name: Option<String>,
    /// `local`; nothing else is known.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `type`, `device` and `o`, as mount(8) takes them.
    pub options: BTreeMap<String, String>,
}

/// A volume, as `docker volume inspect` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// `local`.
    pub driver: &'static str,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Where its files are; those of a volume with options only while it is mounted, and not seen there.
    pub mountpoint: PathBuf,
    /// Its name.
    pub name: String,
    /// The driver's options.
    pub options: Option<BTreeMap<String, String>>,
    /// `local`.
    pub scope: &'static str,
    /// Nobody gave it a name.
    #[serde(skip)]
    pub anonymous: bool,
    /// Ids of the containers that use it.
    #[serde(skip)]
    pub users: Vec<String>,
    /// When it was made, seconds since 1970.
    #[serde(skip)]
    pub created: i64,
}

/// What `volume prune` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedVolumes {
    /// Names.
    pub removed: Vec<String>,
    /// Bytes.
    pub bytes: u64,
}

/// Docker's mark of volumes without a name.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

impl Engine {
    /// Makes a volume, unless there is one of that name; its name.
    ///
    /// # Errors
    /// [`Error::VolumeCreate`], [`Error::Store`].
    pub fn create_volume(&self, request: &VolumeRequest) -> Result<String> {
        let name = request.name.clone().unwrap_or_else(names::new_id);
        let check = || {
            check_volume_driver(&request.driver)?;
            check_volume_name(&name)?;
            check_volume_options(&request.options)
        };
        check().map_err(|reason| Error::VolumeCreate {
            name: name.clone(),
            reason,
        })?;
        self.store.require_space()?;
        self.store.write(|tx| -> Result<()> {
            let new = NewVolume {
                name: &name,
                anonymous: request.name.is_none(),
                labels: request.labels.clone(),
                options: request.options.clone(),
            };
            let (_, made) = tx.ensure_volume(&new)?;
            if made {
                events::volume(tx, &name, VolumeEvent::Create)?;
            }
            Ok(())
        })?;
        Ok(name)
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        let volumes = self.store.volumes()?.into_iter();
        volumes.map(|volume| self.shown_volume(volume)).collect()
    }

    /// One volume by its name.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`], [`Error::Store`].
    pub fn volume(&self, name: &str) -> Result<Volume> {
        self.shown_volume(self.volume_record(name)?)
    }

    /// Removes a volume that no container uses.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`], [`Error::VolumeInUse`], [`Error::Store`].
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        let told = |tx: &rctr_store::Tx<'_>| events::volume(tx, name, VolumeEvent::Destroy);
        match self.store.remove_volume(name, told) {
            Err(rctr_store::Error::NoSuchVolume { name }) => Err(Error::NoSuchVolume { name }),
            Err(rctr_store::Error::VolumeInUse { name, by }) => {
                Err(Error::VolumeInUse { name, by })
            }
            other => {
                other?;
                self.sweep();
                Ok(())
            }
        }
    }

    /// Removes those of the volumes that no container uses which `chosen` chooses.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn prune_volumes(&self, chosen: &dyn Fn(&Volume) -> bool) -> Result<PrunedVolumes> {
        let mut pruned = PrunedVolumes::default();
        for volume in self.volumes()? {
            if !volume.users.is_empty() || !chosen(&volume) {
                continue;
            }
            let bytes = rctr_store::tree_size(&volume.mountpoint)?;
            match self.remove_volume(&volume.name) {
                // A container was made meanwhile, or somebody else removed it.
                Err(Error::VolumeInUse { .. } | Error::NoSuchVolume { .. }) => continue,
                other => other?,
            }
            pruned.bytes += bytes;
            pruned.removed.push(volume.name);
        }
        self.sweep();
        Ok(pruned)
    }

    /// Writes what is in a volume as an archive.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`], [`Error::Runtime`] if it cannot be mounted, [`Error::Store`].
    pub fn export_volume(&self, name: &str, to: &mut dyn Write) -> Result<()> {
        let files = self.open_whole_volume(&self.volume_record(name)?)?;
        Ok(write_tree_archive(files.as_fd(), to)?)
    }

    /// Unpacks an archive, plain or packed, in a volume: what is in it besides stays.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`], [`Error::Runtime`] if it cannot be mounted, [`Error::Store`] for what is wrong with the
    /// archive.
    pub fn import_volume(&self, name: &str, from: impl Read) -> Result<()> {
        let files = self.open_whole_volume(&self.volume_record(name)?)?;
        self.store.require_space()?;
        let how = Unpacking {
            owner: Owner::Archived,
            links: Links::Follow,
        };
        let unpacked = unpack_files(from, &Trail::root(files), how);
        Ok(unpacked.map_err(rctr_store::Error::from)?)
    }

    fn volume_record(&self, name: &str) -> Result<rctr_store::Volume> {
        let missing = || Error::NoSuchVolume { name: name.into() };
        self.store.volume(name)?.ok_or_else(missing)
    }

    fn shown_volume(&self, volume: rctr_store::Volume) -> Result<Volume> {
        let users = self.store.volume_users(&volume.name)?;
        let mut labels = volume.labels;
        if volume.anonymous {
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        Ok(Volume {
            created_at: jiff::Timestamp::from_second(volume.created)
                .unwrap_or_default()
                .to_string(),
            driver: "local",
            labels: (!labels.is_empty()).then_some(labels),
            mountpoint: volume.path,
            name: volume.name,
            options: (!volume.options.is_empty()).then_some(volume.options),
            scope: "local",
            anonymous: volume.anonymous,
            users,
            created: volume.created,
        })
    }
}
