use std::collections::HashMap;

use oci_spec::image::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::layers::digest;
use super::{Tx, from_json, to_json};
use crate::store::Store;
use crate::{Error, Result};

/// A container that is to be recorded.
#[derive(Debug, Clone, Copy)]
pub struct NewContainer<'a> {
    /// Its id: lower-case letters and digits.
    pub id: &'a str,
    /// Its name, without a slash.
    pub name: &'a str,
    /// Its image, which cannot be deleted meanwhile. None for a root file system from elsewhere.
    pub image: Option<&'a Digest>,
    /// Chain id of the topmost layer it stands on: kept, with all below it, even if the image goes.
    pub layer: Option<&'a Digest>,
}

/// A container's record: key columns, and a document the store does not look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container<T> {
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The image.
    pub image: Option<Digest>,
    /// Chain id of the topmost layer.
    pub layer: Option<Digest>,
    /// Grows with every change of the document.
    pub version: i64,
    /// The document.
    pub doc: T,
}

const COLUMNS: &str = "SELECT id, name, image, layer, version, document FROM containers";

impl Tx<'_> {
    /// Records a container.
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::InvalidId`], [`Error::NoSuchLayer`], [`Error::NoSuchImage`],
    /// [`Error::Document`], [`Error::Database`].
    pub fn insert_container(&self, new: NewContainer<'_>, doc: &impl Serialize) -> Result<()> {
        check_id(new.id)?;
        self.check_name_free(new.name)?;
        if let Some(layer) = new.layer
            && self.layer_number(layer)?.is_none()
        {
            return Err(Error::NoSuchLayer {
                chain_id: layer.clone(),
            });
        }
        if let Some(image) = new.image {
            let found = self.first(
                "SELECT 1 FROM images WHERE id = ?",
                [image.as_ref()],
                |_| Ok(()),
            )?;
            if found.is_none() {
                return Err(Error::NoSuchImage {
                    image: image.to_string(),
                });
            }
        }
        self.execute(
            "INSERT INTO containers (id, name, image, layer, version, document) VALUES (?, ?, ?, ?, 1, ?)",
            (
                new.id,
                new.name,
                new.image.map(AsRef::as_ref),
                new.layer.map(AsRef::as_ref),
                to_json(new.id, doc)?,
            ),
        )
        .map(drop)
    }

    /// The id of the container with this name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn container_named(&self, name: &str) -> Result<Option<String>> {
        self.first("SELECT id FROM containers WHERE name = ?", [name], |row| {
            row.get(0)
        })
    }

    fn check_name_free(&self, name: &str) -> Result<()> {
        match self.container_named(name)? {
            None => Ok(()),
            Some(by) => Err(Error::NameTaken {
                name: name.to_owned(),
                by,
            }),
        }
    }

    /// Changes a container's document: `change` gets it as it is now. Gives what `change` gives.
    ///
    /// # Errors
    /// Those of `change`; [`Error::NoSuchContainer`], [`Error::Document`], [`Error::Database`].
    pub fn update_container<T: Serialize + DeserializeOwned, R, E: From<Error>>(
        &self,
        id: &str,
        change: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut container = self.container::<T>(id)?.ok_or_else(|| no_such(id))?;
        let result = change(&mut container.doc)?;
        self.replace_container(id, container.version, &container.doc)?;
        Ok(result)
    }

    /// Replaces the document of a container if it still has the `version` it was read with; the new version.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it was changed meanwhile; [`Error::NoSuchContainer`], [`Error::Document`],
    /// [`Error::Database`].
    pub fn replace_container(&self, id: &str, version: i64, doc: &impl Serialize) -> Result<i64> {
        let new = self.first(
            "UPDATE containers SET document = ?, version = version + 1 WHERE id = ? AND version = ? RETURNING version",
            (to_json(id, doc)?, id, version),
            |row| row.get(0),
        )?;
        match new {
            Some(new) => Ok(new),
            None if self
                .first("SELECT 1 FROM containers WHERE id = ?", [id], |_| Ok(()))?
                .is_none() =>
            {
                Err(no_such(id))
            }
            None => Err(Error::Conflict {
                container: id.to_owned(),
            }),
        }
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::NoSuchContainer`], [`Error::Database`].
    pub fn rename_container(&self, id: &str, name: &str) -> Result<()> {
        self.check_name_free(name)?;
        match self.execute("UPDATE containers SET name = ? WHERE id = ?", (name, id))? {
            0 => Err(no_such(id)),
            _ => Ok(()),
        }
    }

    /// Forgets a container, its addresses and its uses of volumes; false if there was none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn remove_container(&self, id: &str) -> Result<bool> {
        self.release_addresses(id)?;
        self.release_volumes(id)?;
        Ok(self.execute("DELETE FROM containers WHERE id = ?", [id])? > 0)
    }

    /// The container with this complete id.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn container<T: DeserializeOwned>(&self, id: &str) -> Result<Option<Container<T>>> {
        self.first(&format!("{COLUMNS} WHERE id = ?"), [id], container_row)?
            .map(parse)
            .transpose()
    }

    /// All containers, the newest first.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn containers<T: DeserializeOwned>(&self) -> Result<Vec<Container<T>>> {
        self.all(&format!("{COLUMNS} ORDER BY rowid DESC"), [], container_row)?
            .into_iter()
            .map(parse)
            .collect()
    }

    /// The containers whose documents contain `text`, such as another record's id; the newest first.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn containers_with<T: DeserializeOwned>(&self, text: &str) -> Result<Vec<Container<T>>> {
        let sql = format!("{COLUMNS} WHERE instr(document, ?) ORDER BY rowid DESC");
        let found = self.all(&sql, [text], container_row)?;
        found.into_iter().map(parse).collect()
    }

    /// All containers' ids with their [versions](Container::version), the newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn container_versions(&self) -> Result<Vec<(String, i64)>> {
        let sql = "SELECT id, version FROM containers ORDER BY rowid DESC";
        self.all(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The id of the container somebody means: a complete id, a name, or the beginning of an id, in this order.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::AmbiguousContainer`], [`Error::Database`].
    pub fn resolve_container(&self, reference: &str) -> Result<String> {
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let exact = self.first(
            "SELECT id FROM containers WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1",
            [name],
            |row| row.get(0),
        )?;
        if let Some(id) = exact {
            return Ok(id);
        }
        if check_id(name).is_err() {
            return Err(no_such(reference));
        }
        let mut matches: Vec<String> = self.all(
            "SELECT id FROM containers WHERE id GLOB ? ORDER BY id",
            [format!("{name}*")],
            |row| row.get(0),
        )?;
        match (matches.pop(), matches.is_empty()) {
            (Some(id), true) => Ok(id),
            (Some(last), false) => {
                matches.push(last);
                Err(Error::AmbiguousContainer {
                    prefix: reference.to_owned(),
                    matches,
                })
            }
            (None, _) => Err(no_such(reference)),
        }
    }
}

impl Tx<'_> {
    /// The topmost layers that containers stand on.
    pub(crate) fn container_tops(&self) -> Result<Vec<String>> {
        let sql = "SELECT layer FROM containers WHERE layer IS NOT NULL";
        self.all(sql, [], |row| row.get(0))
    }

    /// How many containers use each image.
    pub(crate) fn image_users(&self) -> Result<HashMap<String, usize>> {
        let rows: Vec<(String, i64)> = self.all(
            "SELECT image, count(*) FROM containers WHERE image IS NOT NULL GROUP BY image",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(rows
            .into_iter()
            .map(|(image, count)| (image, usize::try_from(count).unwrap_or_default()))
            .collect())
    }
}

type ContainerRow = Container<String>;

fn container_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ContainerRow> {
    let optional = |column| -> rusqlite::Result<Option<Digest>> {
        match row.get_ref(column)? {
            rusqlite::types::ValueRef::Null => Ok(None),
            _ => digest(row, column).map(Some),
        }
    };
    Ok(Container {
        id: row.get(0)?,
        name: row.get(1)?,
        image: optional(2)?,
        layer: optional(3)?,
        version: row.get(4)?,
        doc: row.get(5)?,
    })
}

fn parse<T: DeserializeOwned>(row: ContainerRow) -> Result<Container<T>> {
    Ok(Container {
        doc: from_json(&row.id, &row.doc)?,
        id: row.id,
        name: row.name,
        image: row.image,
        layer: row.layer,
        version: row.version,
    })
}

fn no_such(container: &str) -> Error {
    Error::NoSuchContainer {
        container: container.to_owned(),
    }
}

/// An id becomes a directory's name.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let good = (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if good {
        Ok(())
    } else {
        Err(Error::InvalidId { id: id.to_owned() })
    }
}

impl Store {
    /// [`Tx::insert_container`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn insert_container(&self, new: NewContainer<'_>, doc: &impl Serialize) -> Result<()> {
        self.write(|tx| tx.insert_container(new, doc))
    }

    /// [`Tx::update_container`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn update_container<T: Serialize + DeserializeOwned, R, E: From<Error>>(
        &self,
        id: &str,
        change: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        self.write(|tx| tx.update_container(id, change))
    }

    /// [`Tx::replace_container`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn replace_container(&self, id: &str, version: i64, doc: &impl Serialize) -> Result<i64> {
        self.write(|tx| tx.replace_container(id, version, doc))
    }

    /// [`Tx::rename_container`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn rename_container(&self, id: &str, name: &str) -> Result<()> {
        self.write(|tx| tx.rename_container(id, name))
    }

    /// [`Tx::remove_container`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn remove_container(&self, id: &str) -> Result<bool> {
        self.write(|tx| tx.remove_container(id))
    }

    /// [`Tx::container`].
    ///
    /// # Errors
    /// As there.
    pub fn container<T: DeserializeOwned>(&self, id: &str) -> Result<Option<Container<T>>> {
        self.read(|tx| tx.container(id))
    }

    /// [`Tx::containers`].
    ///
    /// # Errors
    /// As there.
    pub fn containers<T: DeserializeOwned>(&self) -> Result<Vec<Container<T>>> {
        self.read(|tx| tx.containers())
    }

    /// [`Tx::containers_with`].
    ///
    /// # Errors
    /// As there.
    pub fn containers_with<T: DeserializeOwned>(&self, text: &str) -> Result<Vec<Container<T>>> {
        self.read(|tx| tx.containers_with(text))
    }

    /// [`Tx::container_versions`].
    ///
    /// # Errors
    /// As there.
    pub fn container_versions(&self) -> Result<Vec<(String, i64)>> {
        self.read(|tx| tx.container_versions())
    }

    /// [`Tx::resolve_container`].
    ///
    /// # Errors
    /// As there.
    pub fn resolve_container(&self, reference: &str) -> Result<String> {
        self.read(|tx| tx.resolve_container(reference))
    }
}
