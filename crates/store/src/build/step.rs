use std::io::{BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::image::Digest;
use rustix::fs::Mode;

use super::{BuiltLayer, CommitOptions};
use crate::archive::{HashSink, Lowers, Settle, WriteSink, archive, archive_upper, same_root};
use crate::digest::chain_id;
use crate::error::At;
use crate::layer::decompress;
use crate::records::BuiltRow;
use crate::store::Store;
use crate::untar::{UnpackError, untar};
use crate::{Error, Result, fs};

/// A step of a build: the directories for an overlay mount upon the layers below. Dropped without
/// [`commit`](Self::commit) it is removed; should the process be killed, a garbage collection does that.
#[derive(Debug)]
pub struct BuildStep {
    store: Store,
    parent: Option<Digest>,
    /// In `tmp/`, and locked as long as this lives.
    dir: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    _lock: OwnedFd,
}

impl BuildStep {
    pub(super) fn begin(store: &Store, parent: Option<&Digest>) -> Result<Self> {
        let dir = store.temp_path("build");
        let step = BuildStep {
            store: store.clone(),
            parent: parent.cloned(),
            _lock: fs::lock_dir(&dir)?,
            upper: dir.join("upper"),
            work: dir.join("work"),
            dir,
        };
        fs::make_dirs(&step.upper, 0o755)?;
        fs::make_dirs(&step.work, 0o700)?;
        let upper = fs::open_dir(&step.upper)?;
        // Whatever the umask, and whatever was inherited from above.
        rustix::fs::fchmod(&upper, Mode::from_raw_mode(0o755)).at("create", &step.upper)?;
        Ok(step)
    }

    /// Makes the root look like the one below: of what is mounted, the root is what the topmost directory says.
    pub(super) fn inherit_root(&self) -> Result<()> {
        let Some(parent) = &self.parent else {
            return Ok(());
        };
        let (upper, lower) = (fs::open_dir(&self.upper)?, self.store.open_layer(parent)?);
        crate::untar::inherit(&upper, &[Vec::new()], &[lower])
            .at("set the attributes of", &self.upper)
    }

    /// The upper directory for the overlay.
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// Makes the upper directory a copy of another one, which may be in use, without what `skip` says of paths relative
    /// to it.
    ///
    /// # Errors
    /// [`Error::NotArchivable`] for a file that no layer can hold, [`Error::Unpack`], [`Error::DiskFull`], [`Error::Io`].
    pub fn fill_from(&self, other: &Path, skip: &dyn Fn(&[u8]) -> bool) -> Result<()> {
        let from = fs::open_dir(other)?;
        let to = fs::open_dir(&self.upper)?;
        let (reader, writer) = std::io::pipe().map_err(|source| Error::Io {
            action: "copy",
            path: other.to_owned(),
            source,
        })?;
        let (archived, unpacked) = std::thread::scope(|scope| {
            // It sets its thread's umask.
            let unpacking = scope.spawn(|| untar(BufReader::with_capacity(1 << 20, reader), to));
            let archived = archive_upper(from.as_fd(), skip, &mut WriteSink(writer));
            let unpacked = unpacking
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (archived, unpacked)
        });
        unpacked.map_err(|e| e.of_unpacking(&self.upper))?;
        archived.map_err(|e| e.beneath(other))
    }

    /// Unpacks the archive of a layer, plain or packed, in the upper directory, which must be empty.
    ///
    /// # Errors
    /// [`Error::Unpack`].
    pub fn fill_with(&self, archive: impl Read + Send) -> Result<()> {
        let to = fs::open_dir(&self.upper)?;
        let unpack = || {
            let packed = BufReader::with_capacity(1 << 20, archive);
            let plain = decompress(packed).map_err(UnpackError::Read)?;
            untar(BufReader::with_capacity(1 << 20, plain), to)
                .map_err(|e| e.of_unpacking(&self.upper))
        };
        // It sets its thread's umask.
        let unpacked = std::thread::scope(|scope| scope.spawn(unpack).join());
        unpacked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(())
    }

    /// The work directory for the overlay.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// A directory for whatever else the step needs, such as a bundle; it goes when the step does.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a layer of what is in the upper directory, which nobody must use any more. If there is the same layer upon
    /// the same parent already, that one is given.
    ///
    /// The layer can be used at once, by all processes. It survives their end, but a crash of the machine only after
    /// [`Store::flush_build`].
    ///
    /// # Errors
    /// [`Error::NotArchivable`] for a file that no layer can hold; [`Error::NoSuchLayer`] if the parent is gone,
    /// [`Error::Mounted`], [`Error::DiskFull`], [`Error::Io`], [`Error::Database`].
    pub fn commit(self, options: CommitOptions<'_>) -> Result<BuiltLayer> {
        let below = match &self.parent {
            Some(parent) => self.store.layers_below(parent)?,
            None => Vec::new(),
        };
        let upper = fs::open_dir(&self.upper)?;
        let lower = below.first().map(|top| fs::open_dir(top)).transpose()?;
        let root_listed = !same_root(&upper, lower.as_ref()).at("look at", &self.upper)?;
        let lowers = Lowers::new(below);
        let settle = Settle {
            lowers: &lowers,
            clamp_mtime: options.clamp_mtime,
        };
        let mut hash = HashSink::default();
        let archived = archive(upper.as_fd(), root_listed, Some(settle), &mut hash)
            .map_err(|e| e.beneath(&self.upper))?;
        let diff_id = hash.finish();
        let layer = BuiltLayer::new(
            chain_id(self.parent.as_ref(), &diff_id),
            diff_id,
            archived.archive_size,
            archived.size,
        );
        let row = BuiltRow {
            parent: self.parent.clone(),
            blob: layer.diff_id.clone(),
            root_listed: Some(root_listed),
            opaque: false,
            archive_size: Some(layer.archive_size),
            layer: layer.clone(),
        };
        self.publish(&row, &options)?;
        Ok(layer)
    }

    /// Puts the upper directory in its place and records it, unless the layer is there.
    pub(super) fn publish(self, row: &BuiltRow, options: &CommitOptions<'_>) -> Result<()> {
        let (store, layer) = (&self.store, &row.layer);
        let dir = store.layer_dir(&layer.chain_id)?;
        let leftover = store.write(|tx| {
            let known =
                tx.layer_number(&layer.chain_id)?.is_some() && fs::exists(&dir.join("diff"))?;
            let mut leftover = None;
            if !known {
                // A crash between rename and record may have left one.
                leftover = store.trash(&dir)?;
                fs::make_dirs(&dir, 0o700)?;
                fs::rename(&self.upper, &dir.join("diff"))?;
                let number = tx.insert_built(row)?;
                store.link_layer(&layer.chain_id, number)?;
            }
            if let Some(entry) = &options.cache {
                tx.cache_put(entry, &layer.chain_id)?;
            }
            if let Some(lease) = options.lease {
                lease.extend_in(tx, [&layer.chain_id])?;
            }
            Ok::<_, Error>(leftover)
        })?;
        store.empty_trash(leftover)
    }

    fn remove(&self) -> Result<()> {
        let name = self.dir.file_name().unwrap_or_default();
        fs::remove_all(self.store.open_tmp()?, name.as_encoded_bytes(), &self.dir)
    }
}

impl Drop for BuildStep {
    fn drop(&mut self) {
        // What cannot be removed now, a garbage collection removes.
        if let Err(e) = self.remove() {
            tracing::warn!(error = %e, "remains of a build step left to garbage collection");
        }
    }
}

impl Store {
    /// The `diff` directory of a layer.
    pub(crate) fn open_layer(&self, chain_id: &Digest) -> Result<OwnedFd> {
        fs::open_dir(&self.layer_dir(chain_id)?.join("diff")).map_err(|e| {
            if fs::is_missing(&e) {
                Error::NoSuchLayer {
                    chain_id: chain_id.clone(),
                }
            } else {
                e
            }
        })
    }

    /// The `diff` directories of a layer and all below it, top first.
    pub(super) fn layers_below(&self, chain_id: &Digest) -> Result<Vec<PathBuf>> {
        let chain = self.read(|tx| tx.layer_chain(chain_id))?;
        if chain.is_empty() {
            return Err(Error::NoSuchLayer {
                chain_id: chain_id.clone(),
            });
        }
        chain
            .iter()
            .map(|layer| Ok(self.layer_dir(layer)?.join("diff")))
            .collect()
    }
}
