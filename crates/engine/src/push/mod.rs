//! Pushing: what the store has of an image goes to a registry.

mod rewrite;
mod tree;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest, MediaType};
use rctr_registry_client::{Client, Platform, PushEvent, Pusher, familiar_name, parse_reference};
use rctr_store::{Compression, Image};

use crate::copy::RegistryBlobs;
use crate::events::{self, ImageEvent};
use crate::pull::parse_platform;
use crate::{Engine, Error, ImageError, Result};
pub(crate) use tree::{Document, Leaf, Node, StoreBlobs, Tree, is_index};

/// Blobs sent at the same time, as Docker does.
const PARALLEL: usize = 5;

/// How to push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Every tag of the repository.
    pub all_tags: bool,
    /// Only the image for this platform, without an index.
    pub platform: Option<String>,
    /// How layers are packed, also those that are packed otherwise. If not said, these stay so, and what was built here
    /// becomes gzip. Not eStargz, which would make another image of it.
    pub compression: Option<Compression>,
}

/// One tag that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedImage {
    /// Canonical name: `docker.io/library/nginx:latest`.
    pub reference: String,
    /// The tag alone.
    pub tag: String,
    /// Digest of what the tag names at the registry now.
    pub digest: String,
    /// Bytes of that manifest or index.
    pub size: u64,
    /// The image was found through this index, which was not pushed since not all of it is here.
    pub left_index: Option<String>,
}

/// A layer that is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushLayer {
    /// What it is called in events: digest of its uncompressed archive, where it is known.
    pub label: Digest,
    /// Bytes of the packed layer; 0 if it is not packed yet.
    pub size: u64,
}

/// Told what a push is doing. Called from the pushing task: must not block.
pub trait PushProgress: Send + Sync {
    /// A repository's turn begins: `docker.io/library/nginx`.
    fn repository(&self, name: &str);

    /// The layers of an image, base first.
    fn layers(&self, layers: &[PushLayer]);

    /// Something happened to the layer with this label.
    fn event(&self, layer: &Digest, event: PushEvent);

    /// A tag is at the registry.
    fn pushed(&self, image: &PushedImage);
}

impl Engine {
    /// Sends an image to the registry that its name names, and records under which digest it is there.
    ///
    /// Dropping the future stops everything. Nothing is half-done then: a later push skips what the registry has.
    ///
    /// # Errors
    /// [`ImageError::NoSuchTag`], [`ImageError::PushDigest`], [`ImageError::PushTagAndAll`],
    /// [`ImageError::PlatformMissing`], [`ImageError::ContentMissing`], [`Error::Store`] for eStargz, and whatever the
    /// registry says.
    pub async fn push(
        &self,
        name: &str,
        options: &PushOptions,
        progress: Arc<dyn PushProgress>,
    ) -> Result<Vec<PushedImage>> {
        if let Some(compression @ Compression::Estargz(_)) = options.compression {
            return Err(rctr_store::Error::UnsupportedCompression { compression }.into());
        }
        let reference = parse_reference(name)?;
        let platform = options
            .platform
            .as_deref()
            .map(parse_platform)
            .transpose()?;
        let tags = self.tags_to_push(name, &reference, options.all_tags)?;
        let repository = repository_of(&reference);
        progress.repository(&repository);
        if tags.is_empty() {
            let name = familiar_name(&reference);
            let name = if options.all_tags { repository } else { name };
            return Err(ImageError::NoSuchTag { name }.into());
        }
        let client = Arc::new(self.registry_client()?);
        let mut pushed = Vec::new();
        for (reference, image) in tags {
            let one = self
                .push_tag(
                    &client,
                    (&reference, &image),
                    platform.as_ref(),
                    options,
                    &*progress,
                )
                .await?;
            progress.pushed(&one);
            pushed.push(one);
        }
        Ok(pushed)
    }

    fn tags_to_push(
        &self,
        name: &str,
        reference: &Reference,
        all: bool,
    ) -> Result<Vec<(Reference, Image)>> {
        if reference.digest().is_some() {
            return Err(ImageError::PushDigest.into());
        }
        if !all {
            let found = self.store.find_image(&reference.whole())?;
            return Ok(found
                .map(|image| (reference.clone(), image))
                .into_iter()
                .collect());
        }
        let last = name.rsplit('/').next().unwrap_or(name);
        if last.contains(':') {
            return Err(ImageError::PushTagAndAll.into());
        }
        let repository = repository_of(reference);
        let mut tags = Vec::new();
        for image in self.store.images()? {
            for tag in &image.tags {
                let tag = parse_reference(tag)?;
                if repository_of(&tag) == repository {
                    tags.push((tag, image.clone()));
                }
            }
        }
        tags.sort_by_key(|(tag, _)| tag.whole());
        Ok(tags)
    }

    async fn push_tag(
        &self,
        client: &Arc<Client>,
        (reference, image): (&Reference, &Image),
        platform: Option<&Platform>,
        options: &PushOptions,
        progress: &dyn PushProgress,
    ) -> Result<PushedImage> {
        let tree = Tree::of(self, image, &reference.whole(), platform)?;
        let _lease = self.store.lease(tree.digests())?;
        let others = self.related(image)?;
        // Plain layers stay so only if that is how a registry has them already.
        let served = image.repo_digests.iter().any(|known| {
            let digest = known.rsplit_once('@').map(|(_, digest)| digest);
            digest == Some(image.record.manifest.as_ref())
        });
        let push = Push {
            engine: self,
            packs_plain: !served,
            client,
            pusher: client.pusher(reference, &others)?,
            origins: names_of(&image.repo_digests),
            tree: &tree,
            compression: options.compression,
            name: reference.whole(),
            progress,
        };
        let root = push.run(reference.tag().unwrap_or("latest")).await?;

        let digest = root.descriptor.digest().to_string();
        let repo_digest = format!("{}@{digest}", repository_of(reference));
        // It may have been removed meanwhile.
        if let Some(image) = self.store.image(&image.record.id)? {
            let labels = events::labels_of(&self.store, &image.record.id);
            let (whole, short) = (familiar_name(reference), events::repository(&repo_digest));
            self.store.flush_build()?;
            self.store.write(|tx| {
                tx.put_image(&image.record, None, Some(&repo_digest))?;
                events::image(tx, ImageEvent::Push, &whole, &short, &labels)
            })?;
        }
        Ok(PushedImage {
            reference: reference.whole(),
            tag: reference.tag().unwrap_or("latest").to_owned(),
            digest,
            size: root.descriptor.size(),
            left_index: tree.left_index.as_ref().map(Digest::to_string),
        })
    }

    /// Names of images that share layers with this one, its own first: their repositories may hand blobs over.
    fn related(&self, image: &Image) -> Result<Vec<Reference>> {
        let chain_ids = image.record.chain_ids();
        let own = &image.record.id;
        let mut images = self.store.images()?;
        images.retain(|other| {
            let lowest = other.record.layers.first();
            other.record.id == *own || lowest.is_some_and(|l| chain_ids.contains(&l.chain_id))
        });
        images.sort_by_key(|other| other.record.id != *own);
        let names = images
            .iter()
            .flat_map(|i| i.repo_digests.iter().chain(&i.tags));
        Ok(names_of(names))
    }
}

impl Engine {
    /// Packs a layer that no registry has and no blob is left of.
    pub(crate) async fn pack(
        &self,
        layer: &Leaf,
        compression: Option<Compression>,
        image: &str,
    ) -> Result<Descriptor> {
        let Some(chain_id) = layer.chain_id.clone() else {
            return Err(ImageError::ContentMissing {
                image: crate::familiar_name(image),
                what: format!("blob {}", layer.descriptor.digest()),
            }
            .into());
        };
        let usual = match layer.descriptor.media_type().as_ref().ends_with("zstd") {
            true => Compression::DEFAULT_ZSTD,
            false => Compression::DEFAULT_GZIP,
        };
        let store = self.store.clone();
        let compression = compression.unwrap_or(usual);
        let packing = tokio::task::spawn_blocking(move || store.pack_layer(&chain_id, compression));
        let packed = packing.await.map_err(|e| Error::BadRecord {
            what: format!("packing of {}: {e}", layer.descriptor.digest()),
        })??;
        Ok(Descriptor::new(
            MediaType::from(packed.media_type.as_str()),
            packed.size,
            packed.digest,
        ))
    }
}

/// One image on its way.
struct Push<'a> {
    engine: &'a Engine,
    client: &'a Arc<Client>,
    pusher: Pusher<'a>,
    /// Where the image was pulled from or pushed to before.
    origins: Vec<Reference>,
    tree: &'a Tree,
    /// Layers that an archive had plain are packed.
    packs_plain: bool,
    compression: Option<Compression>,
    name: String,
    progress: &'a dyn PushProgress,
}

impl Push<'_> {
    /// Blobs, then manifests, then what the tag names.
    async fn run(&self, tag: &str) -> Result<Document> {
        let layers = self.tree.layers();
        let shown: Vec<PushLayer> = layers.iter().map(Leaf::shown).collect();
        self.progress.layers(&shown);
        // What a layer is called once it is packed, in the same order.
        let sent: Vec<_> = stream::iter(&layers)
            .map(|layer| self.layer(layer))
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        let blobs = StoreBlobs(&self.engine.store);
        for config in self.tree.configs() {
            self.pusher.blob(config, &blobs, &|_| ()).await?;
        }
        let documents = self.tree.rewritten(&layers, &sent, &self.name)?;
        let Some((root, children)) = documents.split_last() else {
            return Err(ImageError::ContentMissing {
                image: self.name.clone(),
                what: "the manifest".to_owned(),
            }
            .into());
        };
        for child in children {
            let digest = child.descriptor.digest();
            let (name, bytes) = (digest.to_string(), &child.bytes);
            self.pusher
                .manifest(&name, &child.descriptor, bytes)
                .await?;
        }
        let (descriptor, bytes) = (&root.descriptor, &root.bytes);
        self.pusher.manifest(tag, descriptor, bytes).await?;
        Ok(root.clone())
    }

    /// Sends one layer, packing it first if nobody has; what it is called then.
    async fn layer(&self, layer: &Leaf) -> Result<Descriptor> {
        let report = |event| self.progress.event(&layer.label, event);
        report(PushEvent::Waiting);
        let blobs = StoreBlobs(&self.engine.store);
        let anew = match (&self.compression, &layer.chain_id) {
            // Not what is no archive, as attestations.
            (Some(_), Some(chain_id)) => self.engine.store.has_layer(chain_id)?,
            _ => false,
        };
        let plain = anew || self.packs_plain && layer.is_raw() && layer.chain_id.is_some();
        if !plain && self.engine.store.has_blob(layer.descriptor.digest())? {
            self.pusher.blob(&layer.descriptor, &blobs, &report).await?;
            return Ok(layer.descriptor.clone());
        }
        if !plain && !layer.is_raw() && self.obtained_elsewhere(layer, &report).await? {
            return Ok(layer.descriptor.clone());
        }
        report(PushEvent::Preparing);
        let engine = self.engine;
        let packed = engine.pack(layer, self.compression, &self.name).await?;
        self.pusher.blob(&packed, &blobs, &report).await?;
        Ok(packed)
    }

    /// Sends a layer that is here only unpacked, from another archive with the same content, as it was pulled: the
    /// registry may have it, or it is fetched again. False if nobody has it any more.
    async fn obtained_elsewhere(
        &self,
        layer: &Leaf,
        report: &(dyn Fn(PushEvent) + Sync),
    ) -> Result<bool> {
        let blob = &layer.descriptor;
        if let Some(event) = self.pusher.ready(blob).await? {
            report(event);
            return Ok(true);
        }
        for origin in &self.origins {
            let blobs = RegistryBlobs(Arc::clone(self.client), origin.clone());
            match self.pusher.blob(blob, &blobs, report).await {
                Ok(()) => return Ok(true),
                Err(error @ rctr_registry_client::Error::Source { .. }) => {
                    tracing::debug!(%error, %origin, "layer packed anew");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

fn names_of<'n>(names: impl IntoIterator<Item = &'n String>) -> Vec<Reference> {
    let names = names.into_iter();
    names
        .filter_map(|name| parse_reference(name).ok())
        .collect()
}

/// `docker.io/library/nginx`.
pub(crate) fn repository_of(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}
