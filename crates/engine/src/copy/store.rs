//! Copying into the store: as a pull, only that the content comes from anywhere.

use bytes::Bytes;
use futures_util::StreamExt;
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest};
use rctr_registry_client::{BlobSource, Platform, PushEvent, parse_reference};
use rctr_store::{ImageLayer, ImageRecord, LayerSpec, Lease, Store, chain_id};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::source::Source;
use crate::events::{self, ImageEvent};
use crate::push::{Document, Node, Tree, repository_of};
use crate::{Engine, Error, ImageError, Result};

/// Pieces on their way to the thread that unpacks.
const PIECES: usize = 8;

pub(super) struct StoreWriter {
    store: Store,
    /// Keeps what has arrived from garbage collection.
    lease: Lease,
    name: Option<Reference>,
    config: Digest,
    platform: Platform,
    layers: Vec<ImageLayer>,
    /// The registry it comes from, with this digest there.
    repo_digest: Option<String>,
}

impl StoreWriter {
    pub async fn begin(
        engine: &Engine,
        name: Option<&str>,
        source: &Source<'_>,
        tree: &Tree,
    ) -> Result<StoreWriter> {
        let reference = name.map(parse_reference).transpose()?;
        if reference.as_ref().is_some_and(|r| r.digest().is_some()) {
            return Err(ImageError::TagWithDigest.into());
        }
        let bad = |reason: &str| source.bad(reason.to_owned());
        let Some(Node::Manifest {
            config,
            leaves,
            document,
        }) = tree.nodes.last()
        else {
            return Err(bad("it is several images"));
        };
        let lease = engine
            .store
            .lease([config.digest(), document.descriptor.digest()])?;
        let bytes = source.small(config).await?;
        engine.store.put_blob(config.digest(), &bytes)?;
        let facts = facts(&bytes).filter(|(ids, _)| ids.len() == leaves.len());
        let (diff_ids, platform) = facts.ok_or_else(|| bad("it is no container image"))?;
        let mut layers: Vec<ImageLayer> = Vec::new();
        for (leaf, diff_id) in leaves.iter().zip(diff_ids) {
            let below = layers.last().map(|layer| &layer.chain_id);
            layers.push(ImageLayer {
                chain_id: chain_id(below, &diff_id),
                diff_id,
                blob: leaf.descriptor.digest().clone(),
                size: leaf.descriptor.size(),
                media_type: leaf.descriptor.media_type().to_string(),
            });
        }
        lease.extend(
            layers
                .iter()
                .flat_map(|layer| [&layer.blob, &layer.chain_id]),
        )?;
        let repo_digest = match source {
            Source::Registry(_, from) => {
                let digest = document.descriptor.digest();
                Some(format!("{}@{digest}", repository_of(from)))
            }
            _ => None,
        };
        Ok(StoreWriter {
            store: engine.store.clone(),
            lease,
            name: reference,
            config: config.digest().clone(),
            platform,
            layers,
            repo_digest,
        })
    }

    /// The image must be for this platform.
    pub fn require(&self, wanted: &Platform, source: &Source<'_>) -> Result<()> {
        if wanted.matches(&self.platform) {
            return Ok(());
        }
        let reason = format!("the image is for {}, not for {wanted}", self.platform);
        Err(source.bad(reason))
    }

    /// Unpacks a layer as it comes, wherever it stands in the image; false if it is here already. The configuration is
    /// here since the beginning.
    pub async fn layer(
        &mut self,
        blob: &Descriptor,
        source: &(dyn BlobSource + '_),
        report: &(dyn Fn(PushEvent) + Sync),
    ) -> Result<bool> {
        let mut new = false;
        for (position, layer) in self.layers.iter().enumerate() {
            if layer.blob == *blob.digest() {
                let below = position
                    .checked_sub(1)
                    .map(|below| &self.layers[below].chain_id);
                new |= self.unpack(layer, below, (blob, source), report).await?;
            }
        }
        Ok(new)
    }

    async fn unpack(
        &self,
        layer: &ImageLayer,
        below: Option<&Digest>,
        (blob, source): (&Descriptor, &(dyn BlobSource + '_)),
        report: &(dyn Fn(PushEvent) + Sync),
    ) -> Result<bool> {
        let spec = LayerSpec::from(layer);
        let (store, below) = (self.store.clone(), below.cloned());
        let (ready, begun) = tokio::sync::oneshot::channel();
        let (pieces, mut received) = mpsc::channel::<Option<Bytes>>(PIECES);
        let thread = tokio::task::spawn_blocking(move || -> rctr_store::Result<()> {
            let Some(mut ingest) = store.begin_layer(spec)? else {
                return Ok(());
            };
            // Nobody listens any more if the copy was given up.
            let _ = ready.send(ingest.offset());
            while let Some(piece) = received.blocking_recv() {
                match piece {
                    Some(piece) => ingest.write(&piece)?,
                    None => return ingest.commit(below.as_ref()),
                }
            }
            Ok(())
        });
        let offset = begun.await.ok();
        let sent = match offset {
            Some(offset) => send(offset, (blob, source), pieces, report).await,
            None => Ok(()),
        };
        let stored = thread.await.map_err(|e| Error::BadRecord {
            what: format!("unpacking of {}: {e}", layer.blob),
        })?;
        // What the thread says is the cause, if both have something to say.
        stored?;
        sent?;
        Ok(offset.is_some())
    }

    /// Records the image under its name, if it has one; its id.
    pub fn finish(self, root: &Document) -> Result<Digest> {
        let digest = root.descriptor.digest();
        self.lease.extend([digest])?;
        self.store.put_blob(digest, &root.bytes)?;
        // An image that is here keeps the manifest that it was pulled with: it is pushed with the digest it had.
        let known = self.store.image(&self.config)?.map(|known| known.record);
        let record = known.unwrap_or_else(|| ImageRecord {
            id: self.config.clone(),
            manifest: digest.clone(),
            media_type: root.descriptor.media_type().to_string(),
            layers: self.layers,
            other_blobs: Vec::new(),
        });
        let tag = self.name.map(|name| name.whole());
        let repo_digest = self.repo_digest.as_deref();
        let id = record.id.as_ref();
        // From a registry it was pulled, from elsewhere loaded.
        let (event, actor, name) = match (repo_digest, &tag) {
            (None, _) => (ImageEvent::Load, id.to_owned(), id.to_owned()),
            (Some(digest), tag) => {
                let actor = crate::familiar_name(tag.as_deref().unwrap_or(digest));
                (ImageEvent::Pull, actor, events::repository(digest))
            }
        };
        let labels = events::labels_of(&self.store, &record.id);
        self.store.flush_build()?;
        self.store.write(|tx| {
            tx.put_image(&record, tag.as_deref(), repo_digest)?;
            events::image(tx, event, &actor, &name, &labels)
        })?;
        Ok(self.config)
    }
}

/// Sends what is missing of a blob to the thread that unpacks it; an end by `None` only if all went well.
async fn send(
    offset: u64,
    (blob, source): (&Descriptor, &(dyn BlobSource + '_)),
    pieces: mpsc::Sender<Option<Bytes>>,
    report: &(dyn Fn(PushEvent) + Sync),
) -> Result<()> {
    let unreadable = |source| rctr_registry_client::Error::Source {
        digest: blob.digest().clone(),
        source,
    };
    let total = blob.size();
    let (mut current, opened) = (offset, source.open(blob, offset..total).await);
    let mut stream = opened.map_err(unreadable)?;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(unreadable)?;
        current += piece.len() as u64;
        if pieces.send(Some(piece)).await.is_err() {
            return Ok(());
        }
        report(PushEvent::Pushing { current, total });
    }
    // If the thread is gone, joining it says why.
    let _ = pieces.send(None).await;
    Ok(())
}

/// What a configuration says of layers and platform.
fn facts(config: &[u8]) -> Option<(Vec<Digest>, Platform)> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
        #[serde(default)]
        os: String,
        #[serde(default)]
        architecture: String,
        variant: Option<String>,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Option<Vec<Digest>>,
    }
    let config: Config = serde_json::from_slice(config).ok()?;
    let platform = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
    Some((config.rootfs.diff_ids.unwrap_or_default(), platform))
}
