//! What layers have been packed to.

use oci_spec::image::Digest;

use super::Tx;
use super::layers::digest;
use crate::Result;
use crate::pack::PackedLayer;

/// A packed layer as garbage collection sees it.
pub(crate) struct PackedRow {
    pub diff_id: String,
    pub variant: String,
    pub blob: Digest,
}

impl Tx<'_> {
    pub(crate) fn packed(&self, diff_id: &Digest, variant: &str) -> Result<Option<PackedLayer>> {
        self.first(
            "SELECT blob, size, media_type FROM packed_layers WHERE diff_id = ? AND variant = ?",
            (diff_id.as_ref(), variant),
            |row| {
                Ok(PackedLayer {
                    digest: digest(row, 0)?,
                    size: row.get::<_, i64>(1)?.unsigned_abs(),
                    media_type: row.get(2)?,
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
        self.execute(
            "INSERT OR REPLACE INTO packed_layers (diff_id, variant, blob, size, media_type) VALUES (?, ?, ?, ?, ?)",
            (
                diff_id.as_ref(),
                variant,
                packed.digest.as_ref(),
                i64::try_from(packed.size).unwrap_or(i64::MAX),
                &packed.media_type,
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
