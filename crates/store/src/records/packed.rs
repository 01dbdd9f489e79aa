//! What layers have been packed to.

use oci_spec::image::Digest;

use super::Tx;
use super::layers::digest;
use crate::Result;
use crate::pack::{Estargz, PackedLayer};

/// A packed layer as garbage collection sees it.
pub(crate) struct PackedRow {
    pub diff_id: String,
    pub variant: String,
    pub blob: Digest,
}

impl Tx<'_> {
    pub(crate) fn packed(&self, diff_id: &Digest, variant: &str) -> Result<Option<PackedLayer>> {
        self.first(
            "SELECT blob, size, media_type, archive, toc, archive_size FROM packed_layers
             WHERE diff_id = ? AND variant = ?",
            (diff_id.as_ref(), variant),
            |row| {
                let estargz = match row.get::<_, Option<String>>(4)? {
                    Some(_) => Some(Estargz {
                        toc: digest(row, 4)?,
                        archive_size: row.get::<_, i64>(5)?.unsigned_abs(),
                    }),
                    None => None,
                };
                Ok(PackedLayer {
                    digest: digest(row, 0)?,
                    size: row.get::<_, i64>(1)?.unsigned_abs(),
                    media_type: row.get(2)?,
                    diff_id: match estargz {
                        Some(_) => digest(row, 3)?,
                        None => diff_id.clone(),
                    },
                    estargz,
                })
            },
        )
    }

    pub(crate) fn insert_packed(
        &self,
        diff_id: &Digest,
        variant: &str,
        packed: &PackedLayer,
    ) -> Result<()> {
        let number = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        let estargz = packed.estargz.as_ref();
        self.execute(
            "INSERT OR REPLACE INTO packed_layers
             (diff_id, variant, blob, size, media_type, archive, toc, archive_size) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                diff_id.as_ref(),
                variant,
                packed.digest.as_ref(),
                number(packed.size),
                &packed.media_type,
                estargz.map(|_| packed.diff_id.as_ref()),
                estargz.map(|estargz| estargz.toc.as_ref()),
                estargz.map(|estargz| number(estargz.archive_size)),
            ),
        )
        .map(drop)
    }

    pub(crate) fn packed_layers(&self) -> Result<Vec<PackedRow>> {
        self.all(
            "SELECT diff_id, variant, blob FROM packed_layers",
            [],
            |row| {
                Ok(PackedRow {
                    diff_id: row.get(0)?,
                    variant: row.get(1)?,
                    blob: digest(row, 2)?,
                })
            },
        )
    }

    pub(crate) fn delete_packed(&self, row: &PackedRow) -> Result<()> {
        self.execute(
            "DELETE FROM packed_layers WHERE diff_id = ? AND variant = ?",
            (&row.diff_id, &row.variant),
        )
        .map(drop)
    }
}
