use std::collections::HashMap;

use oci_spec::image::Digest;
use rusqlite::types::Type;

use super::Tx;
use super::built::is_lost;
use crate::build::EMPTY_ARCHIVE;
use crate::layer::LayerSpec;
use crate::untar::Unpacked;
use crate::{Error, Result};

/// A digest from a column.
pub(super) fn digest(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let text: String = row.get(column)?;
    text.parse().map_err(|e: oci_spec::OciSpecError| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e))
    })
}

/// What garbage collection and accounting need to know of a layer.
pub(crate) struct LayerRow {
    pub chain_id: Digest,
    pub parent: Option<String>,
    pub number: i64,
    pub size: u64,
    pub blob: String,
    pub diff_id: String,
}

/// What the mounting of a layer needs to know.
pub(crate) struct LayerMount {
    pub number: i64,
    /// It hides all below.
    pub opaque: bool,
    /// It changes nothing.
    pub empty: bool,
}

impl Tx<'_> {
    pub(crate) fn layer_number(&self, chain_id: &Digest) -> Result<Option<i64>> {
        Ok(self.layer_mount(chain_id)?.map(|mount| mount.number))
    }

    /// Whether a layer is there that came from this blob or was packed to it.
    pub(crate) fn has_layer_of(&self, blob: &Digest) -> Result<bool> {
        let found = self.first(
            "SELECT 1 FROM layers WHERE blob = ?1
             UNION ALL SELECT 1 FROM packed_layers WHERE blob = ?1 LIMIT 1",
            [blob.as_ref()],
            |_| Ok(()),
        )?;
        Ok(found.is_some())
    }

    /// What the mounting of a layer needs to know.
    pub(crate) fn layer_mount(&self, chain_id: &Digest) -> Result<Option<LayerMount>> {
        let found = self.first(
            "SELECT number, opaque, archive_size, unsynced FROM layers WHERE chain_id = ?",
            [chain_id.as_ref()],
            |row| {
                let mount = LayerMount {
                    number: row.get(0)?,
                    opaque: row.get(1)?,
                    empty: row.get::<_, Option<i64>>(2)? == Some(EMPTY_ARCHIVE as i64),
                };
                Ok((mount, row.get(3)?))
            },
        )?;
        Ok(found
            .filter(|(_, unsynced)| !is_lost(unsynced))
            .map(|(mount, _)| mount))
    }

    /// The layer and all below it, top first.
    pub(crate) fn layer_chain(&self, chain_id: &Digest) -> Result<Vec<Digest>> {
        self.all(
            "WITH RECURSIVE chain (chain_id, parent, depth) AS (
                 SELECT chain_id, parent, 0 FROM layers WHERE chain_id = ?
                 UNION ALL
                 SELECT l.chain_id, l.parent, depth + 1 FROM layers l, chain c WHERE l.chain_id = c.parent
             )
             SELECT chain_id FROM chain ORDER BY depth",
            [chain_id.as_ref()],
            |row| digest(row, 0),
        )
    }

    /// The same; empty if the layer or one below it is not known.
    pub(crate) fn whole_chain(&self, chain_id: &Digest) -> Result<Vec<Digest>> {
        type Row = (Digest, Option<String>, Option<String>);
        let rows: Vec<Row> = self.all(
            "WITH RECURSIVE chain (chain_id, parent, unsynced, depth) AS (
                 SELECT chain_id, parent, unsynced, 0 FROM layers WHERE chain_id = ?
                 UNION ALL
                 SELECT l.chain_id, l.parent, l.unsynced, depth + 1 FROM layers l, chain c WHERE l.chain_id = c.parent
             )
             SELECT chain_id, parent, unsynced FROM chain ORDER BY depth",
            [chain_id.as_ref()],
            |row| Ok((digest(row, 0)?, row.get(1)?, row.get(2)?)),
        )?;
        let ends = rows.last().is_some_and(|(_, parent, _)| parent.is_none());
        if !ends || rows.iter().any(|(_, _, unsynced)| is_lost(unsynced)) {
            return Ok(Vec::new());
        }
        Ok(rows.into_iter().map(|(chain_id, ..)| chain_id).collect())
    }

    /// Records an unpacked layer; its number. The parent must be recorded.
    pub(crate) fn insert_layer(
        &self,
        spec: &LayerSpec,
        parent: Option<&Digest>,
        unpacked: &Unpacked,
        archive_size: u64,
    ) -> Result<i64> {
        if let Some(parent) = parent
            && self.layer_number(parent)?.is_none()
        {
            return Err(Error::NoSuchLayer {
                chain_id: parent.clone(),
            });
        }
        let number = self.first(
            "INSERT INTO layers (chain_id, parent, diff_id, blob, size, opaque, archive_size, root_listed)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (chain_id) DO UPDATE SET blob = excluded.blob, size = excluded.size, opaque = excluded.opaque,
                 archive_size = excluded.archive_size, root_listed = excluded.root_listed, unsynced = NULL
             RETURNING number",
            (
                spec.chain_id.as_ref(),
                parent.map(AsRef::as_ref),
                spec.diff_id.as_ref(),
                spec.blob.as_ref(),
                i64::try_from(unpacked.size).unwrap_or(i64::MAX),
                unpacked.opaque_root,
                i64::try_from(archive_size).unwrap_or(i64::MAX),
                !unpacked.implied.iter().any(Vec::is_empty),
            ),
            |row| row.get(0),
        )?;
        number.ok_or_else(|| Error::NoSuchLayer {
            chain_id: spec.chain_id.clone(),
        })
    }

    pub(crate) fn layers(&self) -> Result<HashMap<String, LayerRow>> {
        let rows = self.all(
            "SELECT chain_id, parent, number, size, blob, diff_id FROM layers",
            [],
            |row| {
                Ok(LayerRow {
                    chain_id: digest(row, 0)?,
                    parent: row.get(1)?,
                    number: row.get(2)?,
                    size: row.get::<_, i64>(3)?.unsigned_abs(),
                    blob: row.get(4)?,
                    diff_id: row.get(5)?,
                })
            },
        )?;
        Ok(rows
            .into_iter()
            .map(|row| (row.chain_id.to_string(), row))
            .collect())
    }

    pub(crate) fn delete_layer(&self, chain_id: &Digest) -> Result<()> {
        self.execute("DELETE FROM layers WHERE chain_id = ?", [chain_id.as_ref()])
            .map(drop)
    }
}
