//! Where content goes and who is told about it: the two traits the engine implements.

use std::fmt;

use oci_spec::image::{Descriptor, Digest};

/// A sink's own error; [`Corrupt`] inside means "fetch it again".
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// One layer of the image being pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledLayer {
    /// The compressed blob as the manifest names it.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed tar (image configuration, `rootfs.diff_ids`).
    pub diff_id: Digest,
    /// Digest of this layer and all beneath it (OCI image specification, "Layer ChainID").
    pub chain_id: Digest,
}

/// Takes verified content. Every method may block (disk, another process's lock) and is called on a blocking thread.
pub trait Sink: Send + Sync {
    /// The bytes of a manifest or config that is already here.
    ///
    /// # Errors
    /// Whatever hinders reading; a blob that is not here is `None`.
    fn read_blob(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, SinkError>;

    /// Keeps a manifest, index or config; `bytes` have the descriptor's digest and size.
    ///
    /// # Errors
    /// Whatever hinders writing.
    fn put_blob(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), SinkError>;

    /// Starts taking a layer of which only the blob is known yet, so that it comes while the image's configuration does;
    /// [`LayerIngest::name`] tells the rest. `None`: the layer may be here already, or some of its bytes are, and
    /// [`begin_layer`](Self::begin_layer) must decide.
    ///
    /// # Errors
    /// Whatever hinders writing.
    fn begin_early(&self, blob: &Descriptor) -> Result<Option<Box<dyn LayerIngest>>, SinkError>;

    /// Starts taking a layer, waiting for any other process that is at it. `None`: the layer is here already.
    ///
    /// Layers are begun so that no layer waits for a slot its parent needs; one blob that occurs twice in an image
    /// is begun a second time only after the first is committed.
    ///
    /// # Errors
    /// Whatever hinders writing.
    fn begin_layer(
        &self,
        layer: &PulledLayer,
        parent_chain: Option<&Digest>,
    ) -> Result<Option<Box<dyn LayerIngest>>, SinkError>;
}

/// One layer on its way in. Dropped without [`LayerIngest::commit`], it keeps what it has for a later try.
pub trait LayerIngest: Send {
    /// Bytes of the compressed blob that earlier tries left, from where the download goes on.
    fn offset(&self) -> u64;

    /// What, called from another thread, makes a [`commit`](Self::commit) under way fail soon, because nobody wants the
    /// layer any more. Without one a commit goes on to its end.
    fn canceller(&self) -> Box<dyn Fn() + Send + Sync> {
        Box::new(|| {})
    }

    /// Takes the next bytes of the compressed blob.
    ///
    /// # Errors
    /// [`Corrupt`] if the bytes make no sense, anything else if they cannot be stored.
    fn write(&mut self, chunk: &[u8]) -> Result<(), SinkError>;

    /// Forgets all bytes: the next write is at offset 0.
    ///
    /// # Errors
    /// Whatever hinders it.
    fn reset(&mut self) -> Result<(), SinkError>;

    /// Tells what a layer is that was begun early; called once, before the commit.
    ///
    /// # Errors
    /// Whatever hinders it.
    fn name(&mut self, layer: &PulledLayer, parent_chain: Option<&Digest>)
    -> Result<(), SinkError>;

    /// Checks digest, size and diff id and makes the layer visible. Called only once the parent is visible.
    ///
    /// # Errors
    /// [`Corrupt`] if the bytes are not what the digests say; they are forgotten, and the layer is begun again from
    /// offset 0. Anything else ends the pull.
    fn commit(self: Box<Self>) -> Result<(), SinkError>;
}

/// The [`SinkError`] for bytes that are not what their digest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// What the bytes are instead: their digest, or why they could not be unpacked.
    pub actual: String,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "corrupt layer: {}", self.actual)
    }
}

impl std::error::Error for Corrupt {}

/// Told what a pull is doing. Called from the pulling task: must not block.
pub trait Progress: Send + Sync {
    /// The image is known: what its tag names, and the layers it consists of, base first.
    fn resolved(&self, target: &Descriptor, layers: &[PulledLayer]);

    /// Something happened to a layer, named by the digest of its blob.
    fn event(&self, layer: &Digest, event: LayerEvent);
}

/// What is happening to a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerEvent {
    /// Queued behind other layers, or another process is fetching it.
    Waiting,
    /// Nothing to do: it is here already.
    Exists,
    /// Bytes have arrived.
    Downloading {
        /// Bytes so far, those of earlier tries included.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The connection failed, and will be tried again after a pause.
    Retrying {
        /// Tries without progress so far.
        attempt: u32,
        /// One line.
        reason: String,
    },
    /// All bytes are here; they are verified and unpacked to the end.
    Unpacking,
    /// The layer is complete and visible.
    Done,
}
