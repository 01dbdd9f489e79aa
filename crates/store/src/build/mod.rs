//! Layers that are made here: the steps of a build.

mod relink;
mod step;

#[cfg(test)]
mod tests;

use oci_spec::image::Digest;

use crate::records::{Lease, NewCacheEntry};
use crate::store::Store;
use crate::{Result, fs};

pub use step::BuildStep;

/// Size of an archive without members: two blocks that mark its end.
pub(crate) const EMPTY_ARCHIVE: u64 = 1024;

/// A layer, as far as a manifest and a configuration tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltLayer {
    /// Name of the layer upon all those below it.
    pub chain_id: Digest,
    /// Digest of its archive.
    pub diff_id: Digest,
    /// Size of the archive in bytes.
    pub archive_size: u64,
    /// Size of the files in it in bytes.
    pub size: u64,
    /// It changes nothing.
    pub is_empty: bool,
}

impl BuiltLayer {
    pub(crate) fn new(chain_id: Digest, diff_id: Digest, archive_size: u64, size: u64) -> Self {
        BuiltLayer {
            chain_id,
            diff_id,
            archive_size,
            size,
            is_empty: archive_size == EMPTY_ARCHIVE,
        }
    }
}

/// How a step becomes a layer.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommitOptions<'a> {
    /// No file's time is later than this, in seconds since 1970.
    pub clamp_mtime: Option<i64>,
    /// Remembers the layer in the same transaction, so that no garbage collection can come between.
    pub cache: Option<NewCacheEntry<'a>>,
    /// Leases the layer in the same transaction.
    pub lease: Option<&'a Lease>,
}

impl Store {
    /// Begins a step upon the layer `parent` and those below it.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchLayer`], [`crate::Error::UnsupportedDigest`], [`crate::Error::DiskFull`],
    /// [`crate::Error::Io`].
    pub fn begin_build_step(&self, parent: Option<&Digest>) -> Result<BuildStep> {
        self.require_space()?;
        let step = BuildStep::begin(self, parent)?;
        step.inherit_root()?;
        Ok(step)
    }

    /// Makes sure that all layers built so far, by whatever process, outlive a crash of the machine. Before, they outlive
    /// only the end of the process. Costs next to nothing if there are none; [`put_image`](Self::put_image) does it.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Database`].
    pub fn flush_build(&self) -> Result<()> {
        use crate::error::At;
        let unsynced = self.read(|tx| tx.unsynced_layers())?;
        if unsynced.is_empty() {
            return Ok(());
        }
        let mark = self.syncer().mark();
        let dir = fs::open_dir(&self.layers_dir())?;
        self.syncer()
            .sync(&dir, mark)
            .at("sync", self.layers_dir())?;
        self.write(|tx| tx.mark_synced(&unsynced))
    }

    /// What a manifest and a configuration say of a layer; None if it is not in the store.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedDigest`], [`crate::Error::Io`], [`crate::Error::Database`].
    pub fn built_layer(&self, chain_id: &Digest) -> Result<Option<BuiltLayer>> {
        if !fs::exists(&self.layer_dir(chain_id)?.join("diff"))? {
            return Ok(None);
        }
        Ok(self.read(|tx| tx.built(chain_id))?.map(|row| row.layer))
    }
}
