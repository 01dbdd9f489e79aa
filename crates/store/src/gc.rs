//! Garbage collection: what no image, container or lease leads to goes.

mod check;
mod leftovers;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::image::Digest;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::digest::hex;
use crate::error::At;
use crate::layer::short_name;
use crate::records::{DeletedImage, LayerRow, PackedRow, Tx};
use crate::store::Store;
use crate::usage::sum;
use crate::{Result, fs, reserve};

pub use check::Finding;

/// How long a partial download is kept for a pull to go on with.
const KEEP_PARTIAL: Duration = Duration::from_secs(24 * 3600);

/// What a garbage collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Chain ids of layers.
    pub layers: Vec<Digest>,
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Remains of processes that died, relative to the store's directory.
    pub leftovers: Vec<String>,
    /// Bytes that became free: unpacked layers and blobs; leftovers are not counted.
    pub bytes: u64,
}

impl Store {
    /// Removes all blobs and layers that no image, container or living process's lease leads to, and what processes
    /// that died left half-done. Partial downloads younger than a day stay, for a pull to go on with.
    ///
    /// Images stay, also those without a name, until [`delete_image`](Self::delete_image). What a running process is
    /// working on is locked and stays, too.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Mounted`], [`crate::Error::Database`].
    pub fn gc(&self) -> Result<GcReport> {
        self.gc_keeping_partials(KEEP_PARTIAL)
    }

    /// The same, but removes partial downloads that have not grown for `age`.
    ///
    /// # Errors
    /// As [`gc`](Self::gc).
    pub fn gc_keeping_partials(&self, age: Duration) -> Result<GcReport> {
        let trash = Trash::new(self)?;
        let mut report = self.write(|tx| self.sweep(tx, &trash))?;
        self.sweep_partials(&trash, age, &mut report)?;
        trash.empty()?;
        report.layers.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        report.blobs.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        report.leftovers.sort();
        Ok(report)
    }

    /// Deletes an image with its names, and the blobs and layers nothing else needs. `also` is done in the same
    /// transaction.
    ///
    /// # Errors
    /// Those of `also`; [`crate::Error::NoSuchImage`]; [`crate::Error::ImageInUse`] if a container uses it, unless `force`: then the
    /// layers stay as long as the container. [`crate::Error::Io`], [`crate::Error::Database`].
    pub fn delete_image(
        &self,
        id: &Digest,
        force: bool,
        also: impl FnOnce(&Tx<'_>) -> Result<()>,
    ) -> Result<DeletedImage> {
        let trash = Trash::new(self)?;
        let deleted = self.write(|tx| {
            let image = tx.image(id)?;
            let mut deleted = DeletedImage {
                untagged: tx.remove_image(id, force)?,
                deleted: vec![id.clone()],
            };
            also(tx)?;
            let Some(image) = image else {
                return Ok(deleted);
            };
            let live = Live::gather(tx)?;
            for layer in image.record.layers.iter().rev() {
                if let Some(row) = live.layers.get(layer.chain_id.as_ref())
                    && !live.keeps_layer(row)
                {
                    self.drop_layer(tx, row, &trash)?;
                    deleted.deleted.push(layer.chain_id.clone());
                }
            }
            for blob in image.record.blobs().filter(|b| !live.keeps_blob(b)) {
                trash.put(&self.blob_path(blob)?)?;
            }
            for row in &live.dead_packed {
                tx.delete_packed(row)?;
                if !live.keeps_blob(&row.blob) {
                    trash.put(&self.blob_path(&row.blob)?)?;
                }
            }
            Ok::<_, crate::Error>(deleted)
        })?;
        trash.empty()?;
        Ok(deleted)
    }

    /// Within one write transaction: nothing gets recorded, leased or put in place meanwhile.
    pub(crate) fn sweep(&self, tx: &Tx<'_>, trash: &Trash) -> Result<GcReport> {
        let live = Live::gather(tx)?;
        let mut report = GcReport::default();
        for row in live.layers.values().filter(|row| !live.keeps_layer(row)) {
            self.drop_layer(tx, row, trash)?;
            report.bytes = sum([report.bytes, row.size]);
            report.layers.push(row.chain_id.clone());
        }
        for row in &live.dead_packed {
            tx.delete_packed(row)?;
        }
        let numbers: HashSet<String> = live
            .layers
            .values()
            .map(|row| short_name(row.number))
            .collect();
        for name in fs::list(&self.links_dir())? {
            if !numbers.contains(&name) {
                trash.put(&self.links_dir().join(&name))?;
            }
        }
        for name in fs::list(&self.blobs_dir())? {
            let path = self.blobs_dir().join(&name);
            let digest: Option<Digest> = format!("sha256:{name}").parse().ok();
            match digest {
                Some(digest) if live.keeps_blob(&digest) => {}
                Some(digest) => {
                    report.bytes += rustix::fs::lstat(&path)
                        .at("look at", &path)?
                        .st_size
                        .unsigned_abs();
                    trash.put(&path)?;
                    report.blobs.push(digest);
                }
                None => {
                    trash.put(&path)?;
                    report.leftovers.push(format!("blobs/sha256/{name}"));
                }
            }
        }
        self.each_leftover(tx, |path| {
            trash.put(&self.root().join(path))?;
            report.leftovers.push(path.into());
            Ok(())
        })?;
        Ok(report)
    }

    fn drop_layer(&self, tx: &Tx<'_>, row: &LayerRow, trash: &Trash) -> Result<()> {
        tx.delete_layer(&row.chain_id)?;
        trash.put(&self.links_dir().join(short_name(row.number)))?;
        trash.put(&self.layer_dir(&row.chain_id)?)
    }

    fn sweep_partials(&self, trash: &Trash, age: Duration, report: &mut GcReport) -> Result<()> {
        for name in fs::list(&self.tmp_dir())? {
            if !name.starts_with("partial-") {
                continue;
            }
            let path = self.tmp_dir().join(&name);
            // Held while it is moved, so that nobody begins to work in it.
            let Some(_lock) = fs::try_lock_entry(&path)? else {
                continue;
            };
            if !older_than(&path, age)? {
                continue;
            }
            trash.put(&path)?;
            report.leftovers.push(format!("tmp/{name}"));
        }
        Ok(())
    }

    /// Moves a directory out of its place at once; [`empty_trash`](Self::empty_trash) then takes its time. None if it
    /// is gone.
    pub(crate) fn trash(&self, dir: &Path) -> Result<Option<Trash>> {
        let lock = match fs::open_dir(dir) {
            Err(e) if fs::is_missing(&e) => return Ok(None),
            other => other?,
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
            // Our caller holds it, who works on what is in there: that keeps a garbage collection away as well.
            Ok(()) | Err(Errno::WOULDBLOCK) => {}
            Err(e) => return Err(e).at("lock", dir),
        }
        let path = self.temp_path("trash");
        let moved = reserve::spend(self.root(), || match rustix::fs::rename(dir, &path) {
            Err(Errno::NOENT) => Ok(false),
            other => other.at("remove", dir).map(|()| true),
        })?;
        if !moved {
            return Ok(None);
        }
        Ok(Some(Trash {
            tmp: self.open_tmp()?,
            _lock: lock,
            root: self.root().to_owned(),
            path,
            emptied: false,
        }))
    }

    pub(crate) fn empty_trash(&self, trash: Option<Trash>) -> Result<()> {
        trash.map_or(Ok(()), Trash::empty)
    }
}

/// A directory in `tmp/` that holds what is to be removed. Locked; if this process dies, a garbage collection goes on.
#[must_use]
pub(crate) struct Trash {
    tmp: OwnedFd,
    _lock: OwnedFd,
    root: PathBuf,
    path: PathBuf,
    emptied: bool,
}

impl Drop for Trash {
    fn drop(&mut self) {
        if !self.emptied {
            // Best effort: there was an error before, which is the one to tell.
            let _ = self.remove();
        }
    }
}

impl Trash {
    pub(crate) fn new(store: &Store) -> Result<Self> {
        let path = store.temp_path("trash");
        Ok(Trash {
            tmp: store.open_tmp()?,
            _lock: reserve::spend(store.root(), || fs::lock_dir(&path))?,
            root: store.root().to_owned(),
            path,
            emptied: false,
        })
    }

    /// Moves it here; fine if it is gone.
    fn put(&self, path: &Path) -> Result<()> {
        // Things from different directories may have the same name.
        let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
        let mut name = parent.to_owned();
        name.push("-");
        name.push(path.file_name().unwrap_or(OsStr::new("x")));
        let to = self.path.join(name);
        reserve::spend(&self.root, || match rustix::fs::rename(path, &to) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e).at("remove", path),
        })
    }

    pub(crate) fn empty(mut self) -> Result<()> {
        self.emptied = true;
        self.remove()?;
        // If that made room: what the removal may have spent is put by again.
        let _ = reserve::keep(&self.root);
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        let name = self.path.file_name().unwrap_or_default();
        fs::remove_all(&self.tmp, name.as_encoded_bytes(), &self.path)
    }
}

/// What must stay.
pub(crate) struct Live {
    pub layers: HashMap<String, LayerRow>,
    kept_layers: HashSet<String>,
    /// Layers that images and containers keep, whatever the build cache does.
    pub kept_otherwise: HashSet<String>,
    /// What processes hold on to, blobs and layers; not what is below those.
    pub leased: HashSet<String>,
    kept_blobs: HashSet<String>,
    /// Packed forms of layers that no kept one has the content of.
    dead_packed: Vec<PackedRow>,
}

impl Live {
    /// Forgets what nobody holds any more, and finds what must stay.
    fn gather(tx: &Tx<'_>) -> Result<Self> {
        tx.drop_dead_leases()?;
        tx.drop_lost_layers()?;
        Self::of(tx)
    }

    /// What must stay; what only processes that died held on to still does.
    pub fn of(tx: &Tx<'_>) -> Result<Self> {
        let layers = tx.layers()?;
        let leased = tx.leased()?;
        let mut kept_blobs = leased.clone();
        let mut roots = Vec::new();
        for image in tx.images()? {
            kept_blobs.extend(image.record.blobs().map(ToString::to_string));
            roots.extend(image.record.layers.iter().map(|l| l.chain_id.to_string()));
        }
        roots.extend(tx.container_tops()?);
        roots.extend(tx.pod_layers()?);
        let kept_otherwise = with_lower(&layers, roots.iter());
        let mut kept_layers = kept_otherwise.clone();
        kept_layers.extend(with_lower(&layers, leased.iter()));
        kept_layers.extend(with_lower(&layers, tx.cache_layers()?.iter()));
        // What a layer was unpacked from or packed to is kept with it: nobody could pack it again as others did.
        let kept = || kept_layers.iter().filter_map(|id| layers.get(id));
        kept_blobs.extend(kept().map(|row| row.blob.clone()));
        let contents: HashSet<&str> = kept().map(|row| row.diff_id.as_str()).collect();
        let (packed, dead_packed): (Vec<_>, Vec<_>) = tx
            .packed_layers()?
            .into_iter()
            .partition(|row| contents.contains(row.diff_id.as_str()));
        kept_blobs.extend(packed.into_iter().map(|row| row.blob.to_string()));
        Ok(Live {
            kept_layers,
            kept_otherwise,
            leased,
            kept_blobs,
            dead_packed,
            layers,
        })
    }

    /// Layers that processes hold on to, and those below.
    pub fn leased_layers(&self) -> HashSet<String> {
        with_lower(&self.layers, self.leased.iter())
    }

    fn keeps_layer(&self, row: &LayerRow) -> bool {
        self.kept_layers.contains(row.chain_id.as_ref())
    }

    fn keeps_blob(&self, digest: &Digest) -> bool {
        hex(digest).is_err() || self.kept_blobs.contains(digest.as_ref())
    }
}

/// The roots, and the layers below them.
fn with_lower<'a>(
    layers: &HashMap<String, LayerRow>,
    roots: impl Iterator<Item = &'a String>,
) -> HashSet<String> {
    let mut found = HashSet::new();
    for root in roots {
        let mut at = Some(root.clone());
        while let Some(chain_id) = at {
            at = layers.get(&chain_id).and_then(|row| row.parent.clone());
            if !found.insert(chain_id) {
                break;
            }
        }
    }
    found
}

fn older_than(path: &Path, age: Duration) -> Result<bool> {
    let stat = match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(false),
        other => other.at("look at", path)?,
    };
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
    Ok(now.saturating_sub(stat.st_mtime) >= i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}
