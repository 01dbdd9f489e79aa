//! Layers as builds see them.

use oci_spec::image::Digest;

use super::Tx;
use super::layers::digest;
use super::leases::boot_id;
use crate::build::BuiltLayer;
use crate::{Error, Result};

/// Whether a layer was built during an earlier boot, which ended before the layer was safe on disk.
pub(super) fn is_lost(unsynced: &Option<String>) -> bool {
    unsynced.as_ref().is_some_and(|boot| *boot != boot_id())
}

/// A layer, and how its archive is made again.
pub(crate) struct BuiltRow {
    pub layer: BuiltLayer,
    pub parent: Option<Digest>,
    /// What it was unpacked from, or, for one that was built here, its diff id.
    pub blob: Digest,
    /// The root directory is a member of the archive. None: not known.
    pub root_listed: Option<bool>,
    /// It hides all below it.
    pub opaque: bool,
    /// Not known for layers that an earlier rctr pulled.
    pub archive_size: Option<u64>,
}

impl Tx<'_> {
    /// Records a layer that was built here and is not on disk for sure; its number. The parent must be recorded.
    pub(crate) fn insert_built(&self, row: &BuiltRow) -> Result<i64> {
        let layer = &row.layer;
        if let Some(parent) = &row.parent
            && self.layer_number(parent)?.is_none()
        {
            return Err(Error::NoSuchLayer {
                chain_id: parent.clone(),
            });
        }
        let number = self.first(
            "INSERT INTO layers (chain_id, parent, diff_id, blob, size, opaque, archive_size, root_listed, unsynced)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (chain_id) DO UPDATE SET size = excluded.size, opaque = excluded.opaque,
                 archive_size = excluded.archive_size, root_listed = excluded.root_listed, unsynced = excluded.unsynced
             RETURNING number",
            (
                layer.chain_id.as_ref(),
                row.parent.as_ref().map(AsRef::as_ref),
                layer.diff_id.as_ref(),
                row.blob.as_ref(),
                i64::try_from(layer.size).unwrap_or(i64::MAX),
                row.opaque,
                row.archive_size
                    .map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
                row.root_listed,
                boot_id(),
            ),
            |row| row.get(0),
        )?;
        number.ok_or_else(|| Error::NoSuchLayer {
            chain_id: layer.chain_id.clone(),
        })
    }

    /// What is recorded of a layer.
    pub(crate) fn built(&self, chain_id: &Digest) -> Result<Option<BuiltRow>> {
        let found = self.first(
            "SELECT diff_id, size, archive_size, parent, blob, root_listed, unsynced, opaque
             FROM layers WHERE chain_id = ?",
            [chain_id.as_ref()],
            |row| {
                let archive_size = row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs);
                let parent = match row.get::<_, Option<String>>(3)? {
                    Some(_) => Some(digest(row, 3)?),
                    None => None,
                };
                let built = BuiltRow {
                    layer: BuiltLayer::new(
                        chain_id.clone(),
                        digest(row, 0)?,
                        archive_size.unwrap_or(0),
                        row.get::<_, i64>(1)?.unsigned_abs(),
                    ),
                    parent,
                    blob: digest(row, 4)?,
                    root_listed: row.get(5)?,
                    opaque: row.get(7)?,
                    archive_size,
                };
                Ok((built, row.get(6)?))
            },
        )?;
        Ok(found
            .filter(|(_, unsynced)| !is_lost(unsynced))
            .map(|(built, _)| built))
    }

    /// Notes what a layer is packed to.
    pub(crate) fn set_blob(&self, chain_id: &Digest, blob: &Digest) -> Result<()> {
        self.execute(
            "UPDATE layers SET blob = ? WHERE chain_id = ?",
            (blob.as_ref(), chain_id.as_ref()),
        )
        .map(drop)
    }

    /// Notes the size of a layer's archive.
    pub(crate) fn set_archive_size(&self, chain_id: &Digest, size: u64) -> Result<()> {
        self.execute(
            "UPDATE layers SET archive_size = ? WHERE chain_id = ?",
            (i64::try_from(size).unwrap_or(i64::MAX), chain_id.as_ref()),
        )
        .map(drop)
    }

    /// Layers that are not on disk for sure.
    pub(crate) fn unsynced_layers(&self) -> Result<Vec<String>> {
        self.all(
            "SELECT chain_id FROM layers WHERE unsynced IS NOT NULL",
            [],
            |row| row.get(0),
        )
    }

    pub(crate) fn mark_synced(&self, chain_ids: &[String]) -> Result<()> {
        for chain_id in chain_ids {
            self.execute(
                "UPDATE layers SET unsynced = NULL WHERE chain_id = ? AND unsynced = ?",
                (chain_id, boot_id()),
            )?;
        }
        Ok(())
    }

    /// Forgets the layers that a crash of the machine may have cut short.
    pub(crate) fn drop_lost_layers(&self) -> Result<()> {
        if self.unsynced_layers()?.is_empty() {
            return Ok(());
        }
        self.execute(
            "DELETE FROM layers WHERE unsynced IS NOT NULL AND unsynced != ?",
            [boot_id()],
        )
        .map(drop)
    }
}
