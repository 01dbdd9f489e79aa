//! Build caches kept elsewhere: a manifest whose configuration says what its layers are the results of. An image can be
//! one, too.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, TryStreamExt};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest, ImageManifestBuilder, MediaType};
use rctr_registry_client::{BlobSource, Platform};
use rctr_store::{ImageLayer, LayerSpec, sha256};

use super::layout::LayoutWriter;
use super::place::Place;
use super::source::Source;
use super::target::Target;
use crate::push::{Document, Node, StoreBlobs};
use crate::{Engine, ImageError, Result};

/// Where a build cache is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// A tag of a registry's repository.
    Registry(Reference),
    /// An image in an OCI layout.
    Layout {
        /// The directory.
        path: PathBuf,
        /// The name of the image in it.
        tag: String,
    },
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CachePlace::Registry(reference) => f.write_str(&reference.whole()),
            CachePlace::Layout { path, tag } => write!(f, "{}:{tag}", path.display()),
        }
    }
}

impl From<&CachePlace> for Place {
    fn from(place: &CachePlace) -> Place {
        match place {
            CachePlace::Registry(reference) => Place::Registry(reference.clone()),
            CachePlace::Layout { path, tag } => Place::Layout(path.clone(), Some(tag.clone())),
        }
    }
}

/// A build cache that was found.
pub struct KeptCache<'e> {
    engine: &'e Engine,
    source: Source<'e>,
    config: Descriptor,
    bytes: Vec<u8>,
    layers: Vec<Descriptor>,
}

impl Engine {
    /// Reads what a place has, for a platform if it has several images. No layer is fetched.
    ///
    /// # Errors
    /// [`ImageError::BadPlace`], [`ImageError::BadLayout`], [`ImageError::NoPlatform`], and whatever a registry or the
    /// disk says.
    pub async fn find_cache(
        &self,
        place: &CachePlace,
        platform: &Platform,
    ) -> Result<KeptCache<'_>> {
        let client = Arc::new(self.registry_client()?);
        let source = Source::open(self, &client, &place.into()).await?;
        let tree = source.tree(false, Some(platform)).await?;
        let Some(Node::Manifest { config, leaves, .. }) = tree.nodes.last() else {
            return Err(source.bad("it is no manifest".to_owned()));
        };
        Ok(KeptCache {
            engine: self,
            bytes: source.small(config).await?,
            config: (**config).clone(),
            layers: leaves.iter().map(|leaf| leaf.descriptor.clone()).collect(),
            source,
        })
    }

    /// Keeps a build cache in a place: layers, whose blobs the store has, and a configuration that tells of them; the
    /// descriptor of its manifest. `tell` is given the descriptor of each blob before it is sent.
    ///
    /// # Errors
    /// [`ImageError::BadLayout`], and whatever a registry or the disk says.
    pub async fn keep_cache(
        &self,
        place: &CachePlace,
        layers: &[Descriptor],
        (media_type, config): (&str, &[u8]),
        tell: &(dyn Fn(&Descriptor) + Sync),
    ) -> Result<Descriptor> {
        let id = sha256(config);
        let lease = self.store.lease(layers.iter().map(Descriptor::digest))?;
        lease.extend([&id])?;
        self.store.put_blob(&id, config)?;
        let config = Descriptor::new(MediaType::from(media_type), config.len() as u64, id);
        let client = Arc::new(self.registry_client()?);
        let target = match place {
            CachePlace::Registry(reference) => {
                let tag = reference.tag().unwrap_or("latest").to_owned();
                Target::Registry(client.pusher(reference, [])?, tag)
            }
            CachePlace::Layout { path, tag } => {
                Target::Layout(LayoutWriter::open(path.clone(), Some(tag.clone()))?)
            }
        };
        let blobs = StoreBlobs(&self.store);
        stream::iter(layers.iter().chain([&config]))
            .map(|blob| {
                tell(blob);
                target.blob(blob, &blobs, &|_| ())
            })
            .buffer_unordered(target.parallel())
            .try_collect::<()>()
            .await?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(layers)
            .build();
        let manifest = manifest
            .map_err(|e| e.to_string())
            .and_then(|manifest| serde_json::to_vec(&manifest).map_err(|e| e.to_string()));
        let bytes = manifest.map_err(|reason| ImageError::BadImage {
            image: place.to_string(),
            reason,
        })?;
        let root = Document::new(MediaType::ImageManifest, &sha256(&bytes), bytes);
        target.finish(&root).await?;
        Ok(root.descriptor)
    }
}

impl KeptCache<'_> {
    /// The media type of the configuration, and its text.
    pub fn config(&self) -> (&str, &[u8]) {
        (self.config.media_type().as_ref(), &self.bytes)
    }

    /// The layers that are kept there.
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// Unpacks one of the layers upon `below`, unless it is here. Blocks the thread while it unpacks, and waits for
    /// other processes that are at the same layer.
    ///
    /// # Errors
    /// Whatever a registry or the disk says; [`crate::Error::Store`] if the bytes are not what they should be.
    pub async fn fetch(&self, layer: &ImageLayer, below: Option<&Digest>) -> Result<()> {
        let spec = LayerSpec::from(layer);
        let Some(mut ingest) = self.engine.store.begin_layer(spec)? else {
            return Ok(());
        };
        let unreadable = |source| rctr_registry_client::Error::Source {
            digest: layer.blob.clone(),
            source,
        };
        let blob = Descriptor::new(
            MediaType::from(layer.media_type.as_str()),
            layer.size,
            layer.blob.clone(),
        );
        let rest = ingest.offset()..layer.size;
        let mut stream = self.source.open(&blob, rest).await.map_err(unreadable)?;
        while let Some(piece) = stream.next().await {
            ingest.write(&piece.map_err(unreadable)?)?;
        }
        Ok(ingest.commit(below)?)
    }
}
