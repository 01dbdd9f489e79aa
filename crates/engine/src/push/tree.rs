//! What a tag stands for, as far as it is here: manifests with their blobs, and the indexes above them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci_spec::image::{Descriptor, Digest, ImageIndex, ImageManifest, MediaType};
use rctr_registry_client::{BlobSource, BlobStream, Platform, SinkError, file_blob};
use rctr_store::{Image, Store, chain_id};
use serde::Deserialize;

use super::PushLayer;
use super::rewrite::rewrite;
use crate::{Engine, Error, ImageError, Result};

/// Indexes within indexes followed before giving up.
const MAX_NESTING: usize = 4;

/// A manifest or index as it is to be at the registry.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
}

/// A layer of one of the manifests.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub descriptor: Descriptor,
    /// Digest of the uncompressed archive, or of the blob where there is no such thing.
    pub label: Digest,
    /// The unpacked layer, from which it can be packed again.
    pub chain_id: Option<Digest>,
}

pub(crate) enum Node {
    Manifest {
        document: Box<Document>,
        config: Box<Descriptor>,
        leaves: Vec<Leaf>,
    },
    Index(Box<Document>),
}

/// Children before their parents; the last is what the tag will name.
pub(crate) struct Tree {
    pub nodes: Vec<Node>,
    /// The index that the image was found through, and of which not all is here.
    pub left_index: Option<Digest>,
}

/// Blobs of the store, to be sent.
pub(crate) struct StoreBlobs<'a>(pub &'a Store);

impl BlobSource for StoreBlobs<'_> {
    fn open<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<BlobStream, SinkError>> {
        let opened = self.0.open_blob(blob.digest());
        async move { Ok(file_blob(opened?, range)) }.boxed()
    }
}

impl Leaf {
    /// As a build left it: only named, and not packed.
    pub fn is_raw(&self) -> bool {
        self.descriptor.media_type().as_ref().ends_with(".tar")
    }

    pub fn shown(&self) -> PushLayer {
        PushLayer {
            label: self.label.clone(),
            size: self.descriptor.size(),
        }
    }
}

impl Tree {
    /// What of an image can be pushed: its index if all of that is here, else its manifest. With a platform, only the
    /// manifest for that.
    pub fn of(
        engine: &Engine,
        image: &Image,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<Tree> {
        let reader = Reader {
            store: &engine.store,
            name,
        };
        let mut left_index = None;
        for digest in &image.record.other_blobs {
            let Some(index) = reader.index(digest)? else {
                continue;
            };
            if let Some(platform) = platform {
                if let Some(tree) = reader.of_platform(&index, platform)? {
                    return Ok(tree);
                }
                continue;
            }
            let mut nodes = Vec::new();
            match reader.collect(index, MAX_NESTING, &mut nodes) {
                Ok(()) => {
                    return Ok(Tree {
                        nodes,
                        left_index: None,
                    });
                }
                Err(Error::Image(ImageError::ContentMissing { .. })) => {
                    left_index = Some(digest.clone())
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(platform) = platform {
            let own = engine.image(image.record.id.as_ref())?.platform;
            if !platform.matches(&own) || platform.architecture != own.architecture {
                return Err(ImageError::PlatformMissing {
                    reference: crate::familiar_name(name),
                    wanted: platform.to_string(),
                }
                .into());
            }
            left_index = None;
        }
        Ok(Tree {
            left_index,
            ..Tree::of_manifest(engine, image, name)?
        })
    }

    /// The image's own manifest, and nothing above it.
    pub fn of_manifest(engine: &Engine, image: &Image, name: &str) -> Result<Tree> {
        let reader = Reader {
            store: &engine.store,
            name,
        };
        let media_type = MediaType::from(image.record.media_type.as_str());
        let document = reader.document(&image.record.manifest, media_type)?;
        let mut nodes = Vec::new();
        reader.collect(document, MAX_NESTING, &mut nodes)?;
        Ok(Tree {
            nodes,
            left_index: None,
        })
    }

    /// Everything that must not go while it is pushed.
    pub fn digests(&self) -> Vec<&Digest> {
        let mut all = Vec::new();
        for node in &self.nodes {
            match node {
                Node::Index(document) => all.push(document.descriptor.digest()),
                Node::Manifest {
                    document,
                    config,
                    leaves,
                } => {
                    all.extend([document.descriptor.digest(), config.digest()]);
                    for leaf in leaves {
                        all.push(leaf.descriptor.digest());
                        all.extend(&leaf.chain_id);
                    }
                }
            }
        }
        all
    }

    /// All layers, each once.
    pub fn layers(&self) -> Vec<Leaf> {
        let mut seen = HashSet::new();
        let manifests = self.nodes.iter().filter_map(|node| match node {
            Node::Manifest { leaves, .. } => Some(leaves),
            Node::Index(_) => None,
        });
        let leaves = manifests.flatten();
        leaves
            .filter(|leaf| seen.insert(leaf.descriptor.digest().clone()))
            .cloned()
            .collect()
    }

    /// All configurations.
    pub fn configs(&self) -> impl Iterator<Item = &Descriptor> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Manifest { config, .. } => Some(&**config),
            Node::Index(_) => None,
        })
    }

    /// The manifests and indexes once `layers` are called as in `sent`. What need not change does not, byte for byte.
    pub fn rewritten(
        &self,
        layers: &[Leaf],
        sent: &[Descriptor],
        name: &str,
    ) -> Result<Vec<Document>> {
        let originals = layers
            .iter()
            .map(|leaf| leaf.descriptor.digest().to_string());
        let mut renamed: HashMap<String, Descriptor> = originals
            .zip(sent.iter().cloned())
            .filter(|(original, now)| original != now.digest().as_ref())
            .collect();
        let mut documents = Vec::new();
        for node in &self.nodes {
            let (document, list) = match node {
                Node::Manifest { document, .. } => (document, "layers"),
                Node::Index(document) => (document, "manifests"),
            };
            let now = rewrite(document, list, &renamed, name)?;
            let original = document.descriptor.digest().to_string();
            if original != now.descriptor.digest().as_ref() {
                renamed.insert(original, now.descriptor.clone());
            }
            documents.push(now);
        }
        Ok(documents)
    }
}

/// Reads documents of one image.
struct Reader<'a> {
    store: &'a Store,
    name: &'a str,
}

impl Reader<'_> {
    /// A blob, if it is an index.
    fn index(&self, digest: &Digest) -> Result<Option<Document>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            media_type: Option<String>,
            manifests: Vec<serde::de::IgnoredAny>,
        }
        let Ok(bytes) = self.bytes(digest, "an index") else {
            return Ok(None);
        };
        let Ok(shape) = serde_json::from_slice::<Shape>(&bytes) else {
            return Ok(None);
        };
        let media_type = match shape.media_type {
            Some(named) => MediaType::from(named.as_str()),
            None => MediaType::ImageIndex,
        };
        Ok((!shape.manifests.is_empty()).then(|| Document::new(media_type, digest, bytes)))
    }

    fn document(&self, digest: &Digest, media_type: MediaType) -> Result<Document> {
        let bytes = self.bytes(digest, "the manifest")?;
        Ok(Document::new(media_type, digest, bytes))
    }

    fn bytes(&self, digest: &Digest, what: &str) -> Result<Vec<u8>> {
        match self.store.read_blob(digest) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) | Err(rctr_store::Error::BlobDamaged { .. }) => Err(self.missing(what)),
            Err(error) => Err(error.into()),
        }
    }

    /// The manifest of an index for a platform, if it is here.
    fn of_platform(&self, index: &Document, platform: &Platform) -> Result<Option<Tree>> {
        let parsed: ImageIndex = self.parse(&index.bytes)?;
        let fitting = parsed.manifests().iter().find(|entry| {
            let of_entry = entry.platform().as_ref().map(Platform::from);
            of_entry.is_some_and(|of_entry| of_entry == *platform)
        });
        let Some(entry) = fitting else {
            return Ok(None);
        };
        let mut nodes = Vec::new();
        let document = self.document(entry.digest(), entry.media_type().clone());
        match document.and_then(|document| self.collect(document, MAX_NESTING, &mut nodes)) {
            Ok(()) => Ok(Some(Tree {
                nodes,
                left_index: None,
            })),
            Err(Error::Image(ImageError::ContentMissing { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A document and all below it, children first; an error if something is not here.
    fn collect(&self, document: Document, depth: usize, nodes: &mut Vec<Node>) -> Result<()> {
        if !is_index(document.descriptor.media_type()) {
            nodes.push(self.manifest(document)?);
            return Ok(());
        }
        let index: ImageIndex = self.parse(&document.bytes)?;
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.bad("its indexes are nested too deeply".to_owned()));
        };
        for entry in index.manifests() {
            let child = self.document(entry.digest(), entry.media_type().clone())?;
            self.collect(child, depth, nodes)?;
        }
        nodes.push(Node::Index(Box::new(document)));
        Ok(())
    }

    fn manifest(&self, document: Document) -> Result<Node> {
        #[derive(Deserialize)]
        struct Config {
            rootfs: Option<RootFs>,
        }
        #[derive(Deserialize)]
        struct RootFs {
            diff_ids: Option<Vec<Digest>>,
        }
        let manifest: ImageManifest = self.parse(&document.bytes)?;
        let config = Box::new(manifest.config().clone());
        let bytes = self.bytes(config.digest(), "the configuration")?;
        // An artifact's configuration may be anything.
        let parsed = serde_json::from_slice::<Config>(&bytes).ok();
        let diff_ids = parsed.and_then(|config| config.rootfs?.diff_ids);
        let diff_ids = diff_ids.filter(|ids| ids.len() == manifest.layers().len());
        let mut leaves: Vec<Leaf> = Vec::new();
        for (position, descriptor) in manifest.layers().iter().enumerate() {
            let diff_id = diff_ids.as_ref().map(|ids| &ids[position]);
            let below = leaves.last().and_then(|leaf| leaf.chain_id.as_ref());
            let leaf = Leaf {
                label: diff_id.unwrap_or(descriptor.digest()).clone(),
                chain_id: diff_id.map(|diff_id| chain_id(below, diff_id)),
                descriptor: descriptor.clone(),
            };
            let unpacked = match &leaf.chain_id {
                Some(chain_id) => self.store.has_layer(chain_id)?,
                None => false,
            };
            if !unpacked && !self.store.has_blob(descriptor.digest())? {
                return Err(self.missing(&format!("layer {}", descriptor.digest())));
            }
            leaves.push(leaf);
        }
        Ok(Node::Manifest {
            document: Box::new(document),
            config,
            leaves,
        })
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|e| self.bad(e.to_string()))
    }

    fn bad(&self, reason: String) -> Error {
        ImageError::BadImage {
            image: self.name.to_owned(),
            reason,
        }
        .into()
    }

    fn missing(&self, what: &str) -> Error {
        ImageError::ContentMissing {
            image: crate::familiar_name(self.name),
            what: what.to_owned(),
        }
        .into()
    }
}

impl Document {
    pub fn new(media_type: MediaType, digest: &Digest, bytes: Vec<u8>) -> Document {
        Document {
            descriptor: Descriptor::new(media_type, bytes.len() as u64, digest.clone()),
            bytes,
        }
    }
}

pub(crate) fn is_index(media_type: &MediaType) -> bool {
    const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    *media_type == MediaType::ImageIndex || media_type.as_ref() == DOCKER_LIST
}
