use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use oci_spec::image::Digest;

use super::feed::Feed;
use super::staging::{Source, Staging};
use super::unpack::{self, Done, Failure};
use super::{LayerBlob, LayerSpec};
use crate::digest::{chain_id, hex};
use crate::error::At;
use crate::fs::{self, SyncMark};
use crate::store::Store;
use crate::{Error, Result};

/// A layer being fetched and unpacked. Dropped without [`commit`](Self::commit) it keeps what came for a later try.
///
/// Bytes go to `tmp/partial-<hex>` and from there, as they come, through the decompressor into `tmp/unpack-<hex>/diff`.
/// Both are locked, and take their final names when everything is verified and on disk.
#[derive(Debug)]
pub struct LayerIngest {
    store: Store,
    blob: LayerBlob,
    /// What it is in an image, once that is known.
    spec: Option<LayerSpec>,
    source: Source,
    /// Compressed bytes that are there.
    present: u64,
    staging: Staging,
    worker: Option<Worker>,
    cancelled: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Worker {
    feed: Arc<Feed>,
    thread: JoinHandle<Result<Done, Failure>>,
}

impl LayerIngest {
    pub(super) fn begin(store: &Store, spec: LayerSpec) -> Result<Option<Self>> {
        let blob = LayerBlob::from(&spec);
        check_media_type(&blob)?;
        if store.has_layer(&spec.chain_id)? {
            return Ok(None);
        }
        let name = format!("unpack-{}", hex(&spec.chain_id)?);
        let staging = Staging::lock(store.tmp_dir().join(name))?;
        if store.has_layer(&spec.chain_id)? {
            staging.remove(store)?;
            return Ok(None);
        }
        let mut ingest = Self::fill(store, blob, staging)?;
        Staging::clear_early(store, &ingest.blob)?;
        // Whoever had the blob until now may have unpacked it, too.
        if ingest.source.complete && store.has_layer(&spec.chain_id)? {
            return Ok(None);
        }
        ingest.spec = Some(spec);
        ingest.start()?;
        Ok(Some(ingest))
    }

    pub(super) fn begin_early(store: &Store, blob: LayerBlob) -> Result<Option<Self>> {
        check_media_type(&blob)?;
        let partial = Source::partial(store, &blob)?;
        let known = || -> Result<bool> {
            Ok(store.has_blob(&blob.digest)?
                || fs::exists(&partial)?
                || store.read(|tx| tx.has_layer_of(&blob.digest))?)
        };
        if known()? {
            return Ok(None);
        }
        let staging = Staging::lock(Staging::early(store, &blob)?)?;
        if known()? {
            staging.remove(store)?;
            return Ok(None);
        }
        let mut ingest = Self::fill(store, blob, staging)?;
        ingest.start()?;
        Ok(Some(ingest))
    }

    fn fill(store: &Store, blob: LayerBlob, staging: Staging) -> Result<Self> {
        let source = Source::open(store, &blob).inspect_err(|_| {
            // The error to tell is the other one.
            let _ = staging.remove(store);
        })?;
        let present = source.file.metadata().at("look at", &source.path)?.len();
        let mut ingest = LayerIngest {
            store: store.clone(),
            blob,
            spec: None,
            source,
            present,
            staging,
            worker: None,
            cancelled: Arc::default(),
        };
        if ingest.present > ingest.blob.size {
            ingest.forget_source()?;
        }
        Ok(ingest)
    }

    /// Tells what a layer is that was begun before that was known.
    pub fn name(&mut self, spec: LayerSpec) {
        self.spec = Some(spec);
    }

    /// How many of the layer's compressed bytes are there already: the next [`write`](Self::write) must begin with the
    /// byte of this offset. Equal to the size if none is missing.
    pub fn offset(&self) -> u64 {
        self.present
    }

    /// What, called from another thread, makes a [`commit`](Self::commit) that is still unpacking fail soon. What came
    /// is kept, as when the ingest is dropped before.
    pub fn canceller(&self) -> impl Fn() + Send + Sync + 'static {
        let cancelled = Arc::clone(&self.cancelled);
        move || cancelled.store(true, Ordering::Relaxed)
    }

    /// Takes the next compressed bytes. They are kept even if this process is killed.
    ///
    /// # Errors
    /// [`Error::TooLong`] for more bytes than announced; [`Error::DiskFull`] or [`Error::Io`] if they, and
    /// [`Error::Member`] if the files of the layer, cannot be written. The ingest is over then. What is wrong with the
    /// layer's content is told by [`commit`](Self::commit), which knows whether the blob was damaged on its way.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        let Some(worker) = &self.worker else {
            return Err(self.failed());
        };
        if data.len() as u64 > self.blob.size - self.present {
            let digest = self.blob.digest.clone();
            let expected = self.blob.size;
            self.forget_source()?;
            return Err(Error::TooLong { digest, expected });
        }
        self.source
            .file
            .write_all_at(data, self.present)
            .at("write", &self.source.path)?;
        self.present += data.len() as u64;
        let taken = worker.feed.advance(self.present);
        if self.present == self.blob.size {
            // While the last of it is unpacked.
            fs::begin_writing(&self.source.file);
        }
        if taken {
            return Ok(());
        }
        match self.finish() {
            Err(failure) => Err(failure.of_layer(&self.blob.digest, &self.source.path)),
            Ok(_) => Err(self.failed()),
        }
    }

    /// Forgets all bytes and starts from the first, as when a server cannot continue in the middle.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn reset(&mut self) -> Result<()> {
        self.forget_source()?;
        self.start()
    }

    /// Verifies size, digest and diff id, makes everything safe on disk, and puts blob and layer in their places.
    ///
    /// `parent` is the chain id of the layer below, which must be in the store already: directories the layer does not
    /// list take their mode and owner from there.
    ///
    /// # Errors
    /// [`Error::Truncated`] (what came is kept), [`Error::DigestMismatch`], [`Error::DiffIdMismatch`],
    /// [`Error::Decompress`], [`Error::BadArchive`], [`Error::BadMember`] (what came is dropped),
    /// [`Error::Member`], [`Error::DiskFull`], [`Error::Io`], [`Error::NoSuchLayer`] (for the parent), [`Error::Database`].
    pub fn commit(mut self, parent: Option<&Digest>) -> Result<()> {
        let spec = match self.spec.take() {
            Some(spec) if self.worker.is_some() => spec,
            _ => return Err(self.failed()),
        };
        if self.present < self.blob.size {
            return Err(Error::Truncated {
                digest: self.blob.digest.clone(),
                expected: self.blob.size,
                actual: self.present,
            });
        }
        let done = match self.finish() {
            Ok(done) => done,
            Err(failure) if failure.is_content() => {
                let actual = self.source.digest()?;
                self.forget_source()?;
                return Err(if actual == self.blob.digest {
                    failure.of_layer(&self.blob.digest, &self.source.path)
                } else {
                    self.mismatch(actual)
                });
            }
            Err(failure) => return Err(failure.of_layer(&self.blob.digest, &self.source.path)),
        };
        if done.blob != self.blob.digest {
            self.forget_source()?;
            return Err(self.mismatch(done.blob));
        }
        let named = chain_id(parent, &done.diff_id);
        if done.diff_id != spec.diff_id || named != spec.chain_id {
            self.forget_source()?;
            return Err(Error::DiffIdMismatch {
                blob: self.blob.digest.clone(),
                expected: Box::new(spec.diff_id),
                actual: Box::new(done.diff_id),
            });
        }
        let mut mark = done.mark;
        if let Some(parent) = parent {
            if !self.store.has_layer(parent)? {
                return Err(Error::NoSuchLayer {
                    chain_id: parent.clone(),
                });
            }
            if !done.unpacked.implied.is_empty() {
                self.inherit(&done, parent)?;
                mark = self.store.syncer().mark();
            }
        }
        self.publish(&spec, &done, parent, mark)
    }

    /// Directories implied by the archive get what lower layers say of them.
    fn inherit(&self, done: &Done, parent: &Digest) -> Result<()> {
        let lowers = self
            .store
            .read(|tx| tx.layer_chain(parent))?
            .into_iter()
            .map(|chain_id| fs::open_dir(&self.store.layer_dir(&chain_id)?.join("diff")))
            .collect::<Result<Vec<_>>>()?;
        let tree = &self.staging.tree;
        crate::untar::inherit(&fs::open_dir(tree)?, &done.unpacked.implied, &lowers)
            .at("set the attributes of directories in", tree)
    }

    fn publish(
        &mut self,
        spec: &LayerSpec,
        done: &Done,
        parent: Option<&Digest>,
        mark: SyncMark,
    ) -> Result<()> {
        self.store
            .syncer()
            .sync(&self.staging.lock, mark)
            .at("sync", &self.staging.path)?;
        let blob = self.store.blob_path(&self.blob.digest)?;
        let dir = self.store.layer_dir(&spec.chain_id)?;
        let leftover = self.store.write(|tx| {
            if !self.source.complete {
                fs::rename(&self.source.path, &blob)?;
                self.source.complete = true;
            }
            if tx.layer_number(&spec.chain_id)?.is_some() && fs::exists(&dir.join("diff"))? {
                // Built here meanwhile, and perhaps in use.
                tx.set_blob(&spec.chain_id, &self.blob.digest)?;
                return Ok(None);
            }
            // A crash between rename and record may have left one.
            let leftover = self.store.trash(&dir)?;
            fs::rename(&self.staging.tree, &self.staging.path.join("diff"))?;
            fs::rename(&self.staging.path, &dir)?;
            let number = tx.insert_layer(spec, parent, &done.unpacked, done.archive_size)?;
            self.store.link_layer(&spec.chain_id, number)?;
            Ok::<_, Error>(leftover)
        })?;
        self.store.empty_trash(leftover)
    }

    fn start(&mut self) -> Result<()> {
        let root = self.staging.make_tree(&self.store)?;
        let file = self.source.file.try_clone().at("open", &self.source.path)?;
        let feed = Feed::new(self.present, Arc::clone(&self.cancelled));
        let thread = unpack::start(self.store.clone(), file, feed.clone(), root)
            .at("start a thread to unpack", &self.staging.tree)?;
        self.worker = Some(Worker { feed, thread });
        Ok(())
    }

    /// Waits for the unpacker, which has all bytes or has failed.
    fn finish(&mut self) -> Result<Done, Failure> {
        match self.worker.take() {
            Some(worker) => {
                worker.feed.end();
                worker
                    .thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            None => Err(Failure::Read(std::io::Error::other("already over"))),
        }
    }

    fn stop(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.feed.abort();
            // Whatever it says, nobody wants it.
            let _ = worker.thread.join();
        }
    }

    /// Drops the bytes that are there; a complete blob only if it is damaged: whatever an image says of it, others may
    /// have it, too.
    fn forget_source(&mut self) -> Result<()> {
        self.stop();
        if self.source.complete {
            if self.source.digest()? == self.blob.digest {
                return Ok(());
            }
            self.store.remove_blob(&self.blob.digest)?;
            self.source = Source::open(&self.store, &self.blob)?;
        }
        self.source
            .file
            .set_len(0)
            .at("truncate", &self.source.path)?;
        self.present = 0;
        Ok(())
    }

    fn mismatch(&self, actual: Digest) -> Error {
        Error::DigestMismatch {
            expected: self.blob.digest.clone(),
            actual,
        }
    }

    fn failed(&self) -> Error {
        Error::IngestFailed {
            blob: self.blob.digest.clone(),
        }
    }
}

impl Drop for LayerIngest {
    fn drop(&mut self) {
        self.stop();
        // Best effort: what cannot be removed now, a garbage collection removes.
        if !self.source.complete && self.present == 0 {
            let _ = rustix::fs::unlink(&self.source.path);
        }
        let _ = self.staging.remove(&self.store);
    }
}

impl Failure {
    fn of_layer(self, blob: &Digest, path: &std::path::Path) -> Error {
        match self {
            Failure::Read(source) => match Err::<(), _>(source).at("read", path) {
                Err(e) => e,
                Ok(()) => unreachable!("made from an error"),
            },
            Failure::Decompress(source) => Error::Decompress {
                blob: blob.clone(),
                source,
            },
            Failure::Untar(e) => e.of_layer(blob),
        }
    }
}

/// The compression itself is seen from the content; what no decoder of ours could read is refused at once.
fn check_media_type(blob: &LayerBlob) -> Result<()> {
    let known = [".tar", ".tar.gzip", "+gzip", "+zstd", ".tar.zstd"];
    if known.iter().any(|end| blob.media_type.ends_with(end)) {
        return Ok(());
    }
    Err(Error::UnsupportedLayer {
        blob: blob.digest.clone(),
        media_type: blob.media_type.clone(),
    })
}
