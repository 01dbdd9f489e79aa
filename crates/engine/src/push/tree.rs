//! What a tag stands for, as far as it is here: manifests with their blobs, and the indexes above them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci_spec::image::{Descriptor, Digest, ImageIndex, ImageManifest, MediaType};
use rctr_registry_client::{BlobSource, BlobStream, Platform, SinkError, file_blob};
use rctr_store::{Image, Store, chain_id, sha256};
use serde::Deserialize;
use serde_json::{Value, json};

use super::PushLayer;
use crate::{Engine, Error, Result};

/// Under which annotation an attestation names the manifest it is about.
const SUBJECT: &str = "vnd.docker.reference.digest";
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
                Err(Error::ContentMissing { .. }) => left_index = Some(digest.clone()),
                Err(error) => return Err(error),
            }
        }
        if let Some(platform) = platform {
            let own = engine.image(image.record.id.as_ref())?.platform;
            if !platform.matches(&own) || platform.architecture != own.architecture {
                return Err(Error::PlatformMissing {
                    reference: crate::familiar_name(name),
                    wanted: platform.to_string(),
                });
            }
            left_index = None;
        }
        let media_type = MediaType::from(image.record.media_type.as_str());
        let document = reader.document(&image.record.manifest, media_type)?;
        let mut nodes = Vec::new();
        reader.collect(document, MAX_NESTING, &mut nodes)?;
        Ok(Tree { nodes, left_index })
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

/// A document in which the descriptors of one list have other digests.
fn rewrite(
    document: &Document,
    list: &str,
    renamed: &HashMap<String, Descriptor>,
    name: &str,
) -> Result<Document> {
    let bad = |reason: String| Error::BadImage {
        image: name.to_owned(),
        reason,
    };
    let mut value: Value =
        serde_json::from_slice(&document.bytes).map_err(|e| bad(e.to_string()))?;
    let docker = document
        .descriptor
        .media_type()
        .as_ref()
        .contains(".docker.");
    let mut changed = false;
    let entries = value.get_mut(list).and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let subject = entry.pointer(&format!("/annotations/{SUBJECT}"));
        if let Some(now) = subject.and_then(Value::as_str).and_then(|s| renamed.get(s)) {
            entry["annotations"][SUBJECT] = json!(now.digest());
            changed = true;
        }
        let digest = entry.get("digest").and_then(Value::as_str);
        if let Some(now) = digest.and_then(|digest| renamed.get(digest)) {
            entry["digest"] = json!(now.digest());
            entry["size"] = json!(now.size());
            entry["mediaType"] = json!(media_type(now.media_type().as_ref(), docker));
            changed = true;
        }
    }
    if !changed {
        return Ok(document.clone());
    }
    let bytes = serde_json::to_vec(&value).map_err(|e| bad(e.to_string()))?;
    let mut descriptor = document.descriptor.clone();
    descriptor.set_digest(sha256(&bytes));
    descriptor.set_size(bytes.len() as u64);
    Ok(Document { descriptor, bytes })
}

/// The name of a layer's type in the kind of manifest that it stands in.
fn media_type(oci: &str, docker: bool) -> &str {
    match oci {
        "application/vnd.oci.image.layer.v1.tar+gzip" if docker => {
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" if docker => {
            "application/vnd.docker.image.rootfs.diff.tar.zstd"
        }
        "application/vnd.oci.image.layer.v1.tar" if docker => {
            "application/vnd.docker.image.rootfs.diff.tar"
        }
        other => other,
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
            Err(Error::ContentMissing { .. }) => Ok(None),
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
        Error::BadImage {
            image: self.name.to_owned(),
            reason,
        }
    }

    fn missing(&self, what: &str) -> Error {
        Error::ContentMissing {
            image: crate::familiar_name(self.name),
            what: what.to_owned(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(from: &[u8], to: &[u8]) -> HashMap<String, Descriptor> {
        let now = Descriptor::new(MediaType::ImageLayerGzip, to.len() as u64, sha256(to));
        HashMap::from([(sha256(from).to_string(), now)])
    }

    fn document(media_type: &str, value: &Value) -> Document {
        let bytes = serde_json::to_vec_pretty(value).unwrap();
        Document::new(MediaType::from(media_type), &sha256(&bytes), bytes)
    }

    #[test]
    fn what_need_not_change_stays_byte_for_byte() {
        let layers = json!({"layers": [{"mediaType": "x", "digest": sha256(b"a"), "size": 1}]});
        let original = document("application/vnd.oci.image.manifest.v1+json", &layers);
        let same = rewrite(&original, "layers", &renamed(b"other", b"z"), "x").unwrap();
        assert_eq!(same.bytes, original.bytes);
        assert_eq!(same.descriptor, original.descriptor);
    }

    #[test]
    fn a_packed_layer_is_named_in_its_manifest_as_the_manifest_s_kind_has_it() {
        for (kind, layer) in [
            (
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.layer.v1.tar+gzip",
            ),
            (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
        ] {
            let layers =
                json!({"layers": [{"mediaType": "x", "digest": sha256(b"raw"), "size": 1}]});
            let now = rewrite(
                &document(kind, &layers),
                "layers",
                &renamed(b"raw", b"packed"),
                "x",
            );
            let now = now.unwrap();
            let value: Value = serde_json::from_slice(&now.bytes).unwrap();
            let expected = json!({"mediaType": layer, "digest": sha256(b"packed"), "size": 6});
            assert_eq!(value["layers"][0], expected);
            assert_eq!(*now.descriptor.digest(), sha256(&now.bytes));
            assert_eq!(now.descriptor.size(), now.bytes.len() as u64);
        }
    }

    #[test]
    fn an_index_follows_its_manifests_and_attestations_their_subject() {
        let index = json!({"manifests": [
            {"mediaType": "m", "digest": sha256(b"m"), "size": 1, "platform": {"os": "linux"}},
            {"mediaType": "m", "digest": sha256(b"att"), "size": 3, "annotations": {SUBJECT: sha256(b"m")}},
        ]});
        let original = document("application/vnd.oci.image.index.v1+json", &index);
        let now = rewrite(&original, "manifests", &renamed(b"m", b"new"), "x").unwrap();
        let value: Value = serde_json::from_slice(&now.bytes).unwrap();
        let entries = &value["manifests"];
        assert_eq!(entries[0]["digest"], json!(sha256(b"new")));
        assert_eq!(entries[0]["platform"]["os"], "linux");
        assert_eq!(entries[1]["digest"], json!(sha256(b"att")));
        assert_eq!(entries[1]["annotations"][SUBJECT], json!(sha256(b"new")));
    }
}
