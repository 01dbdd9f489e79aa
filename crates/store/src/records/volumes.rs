use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Tx, from_json, now, to_json};
use crate::{Error, Result};

/// A volume that is to be made.
#[derive(Debug, Clone, Default)]
pub struct NewVolume<'a> {
    /// Its name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
    pub name: &'a str,
    /// Made for one container, which did not name it.
    pub anonymous: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// A named directory that outlives containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Made for one container, which did not name it.
    pub anonymous: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// The directory that is mounted.
    pub path: PathBuf,
}

impl Tx<'_> {
    /// The volume with this name; made if there is none. True if it was.
    ///
    /// # Errors
    /// [`Error::InvalidVolumeName`], [`Error::Io`], [`Error::DiskFull`], [`Error::Document`], [`Error::Database`].
    pub fn ensure_volume(&self, new: &NewVolume<'_>) -> Result<(Volume, bool)> {
        check_name(new.name)?;
        if let Some(volume) = self.volume(new.name)? {
            crate::volumes::make_dirs(&volume.path)?;
            return Ok((volume, false));
        }
        let volume = Volume {
            name: new.name.to_owned(),
            anonymous: new.anonymous,
            labels: new.labels.clone(),
            options: new.options.clone(),
            created: now(),
            path: self.volume_path(new.name),
        };
        self.execute(
            "INSERT INTO volumes (name, anonymous, labels, options, created) VALUES (?, ?, ?, ?, ?)",
            (
                &volume.name,
                volume.anonymous,
                to_json(new.name, &volume.labels)?,
                to_json(new.name, &volume.options)?,
                volume.created,
            ),
        )?;
        crate::volumes::make_dirs(&volume.path)?;
        Ok((volume, true))
    }

    /// The volume with this name.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn volume(&self, name: &str) -> Result<Option<Volume>> {
        self.first(
            "SELECT name, anonymous, labels, options, created FROM volumes WHERE name = ?",
            [name],
            volume_row,
        )?
        .map(|row| self.parse(row))
        .transpose()
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        self.all(
            "SELECT name, anonymous, labels, options, created FROM volumes ORDER BY name",
            [],
            volume_row,
        )?
        .into_iter()
        .map(|row| self.parse(row))
        .collect()
    }

    /// Records that a container uses a volume, which cannot be removed meanwhile.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`], [`Error::Database`].
    pub fn use_volume(&self, name: &str, container: &str) -> Result<()> {
        if self.volume(name)?.is_none() {
            return Err(no_such(name));
        }
        self.execute(
            "INSERT OR IGNORE INTO volume_uses (volume, container) VALUES (?, ?)",
            (name, container),
        )
        .map(drop)
    }

    /// The containers that use a volume.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn volume_users(&self, name: &str) -> Result<Vec<String>> {
        self.all(
            "SELECT container FROM volume_uses WHERE volume = ? ORDER BY container",
            [name],
            |row| row.get(0),
        )
    }

    /// The volumes a container uses.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn volumes_of(&self, container: &str) -> Result<Vec<Volume>> {
        self.all(
            "SELECT name, anonymous, labels, options, created
             FROM volumes JOIN volume_uses ON volume = name WHERE container = ? ORDER BY name",
            [container],
            volume_row,
        )?
        .into_iter()
        .map(|row| self.parse(row))
        .collect()
    }

    pub(super) fn release_volumes(&self, container: &str) -> Result<()> {
        self.execute("DELETE FROM volume_uses WHERE container = ?", [container])
            .map(drop)
    }

    /// Forgets a volume nobody uses. The directory is the caller's.
    pub(crate) fn delete_volume(&self, name: &str) -> Result<()> {
        let by = self.volume_users(name)?;
        if !by.is_empty() {
            return Err(Error::VolumeInUse {
                name: name.to_owned(),
                by,
            });
        }
        match self.execute("DELETE FROM volumes WHERE name = ?", [name])? {
            0 => Err(no_such(name)),
            _ => Ok(()),
        }
    }

    fn parse(&self, row: VolumeRow) -> Result<Volume> {
        Ok(Volume {
            labels: from_json(&row.name, &row.labels)?,
            options: from_json(&row.name, &row.options)?,
            path: self.volume_path(&row.name),
            name: row.name,
            anonymous: row.anonymous,
            created: row.created,
        })
    }

    /// Names are checked before they are recorded.
    fn volume_path(&self, name: &str) -> PathBuf {
        self.path.with_file_name("volumes").join(name).join("_data")
    }
}

struct VolumeRow {
    name: String,
    anonymous: bool,
    labels: String,
    options: String,
    created: i64,
}

fn volume_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<VolumeRow> {
    Ok(VolumeRow {
        name: row.get(0)?,
        anonymous: row.get(1)?,
        labels: row.get(2)?,
        options: row.get(3)?,
        created: row.get(4)?,
    })
}

fn no_such(name: &str) -> Error {
    Error::NoSuchVolume {
        name: name.to_owned(),
    }
}

fn check_name(name: &str) -> Result<()> {
    let bytes = name.as_bytes();
    let good = (2..=255).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        Ok(())
    } else {
        Err(Error::InvalidVolumeName {
            name: name.to_owned(),
        })
    }
}
