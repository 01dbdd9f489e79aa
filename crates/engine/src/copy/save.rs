//! `rctr save`: images of the store into an archive.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read, Write};
use std::path::Path;

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest, MediaType};
use rctr_registry_client::{Platform, familiar_name, parse_reference};
use rctr_store::{Compression, Image, ImageRecord, Lease, Store};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::archive::NAME;
use super::docker::finished;
use super::files::blob_name;
use super::layout::{LAYOUT, LayoutWriter, REF_NAME, index_entry};
use super::tarball::Tarball;
use super::target::Put;
use crate::events::{self, ImageEvent};
use crate::pull::parse_platform;
use crate::push::{Document, Leaf, Node, Tree, repository_of};
use crate::{Engine, Error, ImageError, Result};

const BUFFER: usize = 1 << 20;

/// What an archive of images is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// An OCI layout that has, for Docker, `manifest.json` and `repositories` as well.
    Docker,
    /// An OCI layout.
    Oci,
}

/// Images that are to be written to an archive. They stay in the store as long as this lives.
pub struct ImageArchive {
    store: Store,
    images: Vec<Saved>,
    _lease: Lease,
}

struct Saved {
    names: Vec<Reference>,
    /// Manifests, before the index that names them; the last is the image.
    documents: Vec<Document>,
    configs: Vec<Descriptor>,
    /// Of an image without an index.
    platform: Option<Platform>,
    /// Those of one manifest after those of another, base first.
    layers: Vec<SavedLayer>,
    /// What the archive says of it.
    annotations: BTreeMap<String, String>,
}

#[derive(Clone)]
struct SavedLayer {
    blob: Descriptor,
    diff_id: Digest,
    /// There is no blob: its archive is made of its files.
    unpacked: Option<Digest>,
}

impl Engine {
    /// Finds images to be saved, each with the names it was asked for by. A repository without a tag means all its
    /// tags, an id no name.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::AmbiguousId`], [`ImageError::PlatformMissing`], [`ImageError::ContentMissing`].
    pub fn images_to_save(&self, names: &[String], platform: Option<&str>) -> Result<ImageArchive> {
        let platform = platform.map(parse_platform).transpose()?;
        let mut wanted: Vec<(Image, Vec<Reference>)> = Vec::new();
        for name in names {
            for (image, reference) in self.find_to_save(name)? {
                let known = wanted
                    .iter_mut()
                    .find(|(known, _)| known.record.id == image.record.id);
                let tags = match known {
                    Some((_, tags)) => tags,
                    None => {
                        wanted.push((image, Vec::new()));
                        &mut wanted.last_mut().ok_or(ImageError::TagWithDigest)?.1
                    }
                };
                tags.extend(reference.filter(|new| !tags.contains(new)));
            }
        }
        let ids = wanted.iter().map(|(image, _)| image.record.id.clone());
        let told: Vec<_> = ids
            .map(|id| (events::labels_of(&self.store, &id), id))
            .collect();
        let archive = self.archive_of(wanted, platform.as_ref())?;
        self.store.write(|tx| {
            told.iter().try_for_each(|(labels, id)| {
                events::image(tx, ImageEvent::Save, id.as_ref(), id.as_ref(), labels)
            })
        })?;
        Ok(archive)
    }

    /// The same for an image whose configuration and manifest are in the store, but which need not have a record; with
    /// the index that the record names, if it does, and all that is in that. The archive gives it these annotations.
    ///
    /// # Errors
    /// [`ImageError::ContentMissing`], [`Error::Registry`] for a bad name.
    pub fn image_to_save(
        &self,
        record: ImageRecord,
        names: &[String],
        annotations: BTreeMap<String, String>,
    ) -> Result<ImageArchive> {
        let names = names.iter().map(|name| Ok(parse_reference(name)?));
        let image = Image {
            record,
            tags: Vec::new(),
            repo_digests: Vec::new(),
            size: 0,
            stored: 0,
        };
        let names = names.collect::<Result<Vec<_>>>()?;
        let lease = self.store.lease([])?;
        let shown = shown(&image, &names);
        let tree = Tree::of(self, &image, &shown, None)?;
        let mut saved = self.to_save(&tree, names, &shown, &lease)?;
        saved.annotations = annotations;
        Ok(ImageArchive {
            store: self.store.clone(),
            images: vec![saved],
            _lease: lease,
        })
    }

    fn find_to_save(&self, name: &str) -> Result<Vec<(Image, Option<Reference>)>> {
        let last = name.rsplit('/').next().unwrap_or(name);
        if let Ok(reference) = parse_reference(name) {
            if last.contains([':', '@']) {
                // A digest leads to the image, and so does an id, which looks like a tag of `sha256`.
                let image = self.find_image(name)?;
                let tag = image.tags.contains(&reference.whole()).then_some(reference);
                return Ok(vec![(image, tag)]);
            }
            let mut found = Vec::new();
            for image in self.store.images()? {
                for tag in &image.tags {
                    let tag = parse_reference(tag)?;
                    if repository_of(&tag) == repository_of(&reference) {
                        found.push((image.clone(), Some(tag)));
                    }
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(vec![(self.find_image(name)?, None)])
    }

    fn archive_of(
        &self,
        wanted: Vec<(Image, Vec<Reference>)>,
        platform: Option<&Platform>,
    ) -> Result<ImageArchive> {
        let lease = self.store.lease([])?;
        let mut images = Vec::new();
        for (image, names) in wanted {
            let shown = shown(&image, &names);
            let tree = match platform {
                Some(_) => Tree::of(self, &image, &shown, platform)?,
                // An archive of Docker's has one manifest for an image, no index.
                None => Tree::of_manifest(self, &image, &shown)?,
            };
            images.push(self.to_save(&tree, names, &shown, &lease)?);
        }
        Ok(ImageArchive {
            store: self.store.clone(),
            images,
            _lease: lease,
        })
    }

    fn to_save(
        &self,
        tree: &Tree,
        names: Vec<Reference>,
        shown: &str,
        lease: &Lease,
    ) -> Result<Saved> {
        lease.extend(tree.digests())?;
        let missing = |what: &str| {
            Error::from(ImageError::ContentMissing {
                image: crate::familiar_name(shown),
                what: what.to_owned(),
            })
        };
        let (mut known, mut now) = (HashMap::new(), Vec::new());
        let all = tree.layers();
        for leaf in &all {
            let layer = self.layer_to_save(leaf, lease, &missing)?;
            now.push(layer.blob.clone());
            known.insert(leaf.descriptor.digest(), layer);
        }
        let manifests = tree.nodes.iter().filter_map(|node| match node {
            Node::Manifest { leaves, .. } => Some(leaves),
            Node::Index(_) => None,
        });
        let layers = manifests
            .flatten()
            .filter_map(|leaf| known.get(leaf.descriptor.digest()).cloned());
        let platform = match tree.nodes.last() {
            Some(Node::Manifest { config, .. }) => Some(self.saved_platform(config.digest())?),
            Some(Node::Index(_)) => None,
            None => return Err(missing("the manifest")),
        };
        Ok(Saved {
            names,
            documents: tree.rewritten(&all, &now, shown)?,
            configs: tree.configs().cloned().collect(),
            platform,
            layers: layers.collect(),
            annotations: BTreeMap::new(),
        })
    }

    /// A layer as it is, if its blob is here; else plain, as nothing need be packed for an archive.
    fn layer_to_save(
        &self,
        leaf: &Leaf,
        lease: &Lease,
        missing: &dyn Fn(&str) -> Error,
    ) -> Result<SavedLayer> {
        let saved = |blob: Descriptor, unpacked| SavedLayer {
            blob,
            diff_id: leaf.label.clone(),
            unpacked,
        };
        if self.store.has_blob(leaf.descriptor.digest())? {
            return Ok(saved(leaf.descriptor.clone(), None));
        }
        let layer = match &leaf.chain_id {
            Some(chain_id) => self.store.built_layer(chain_id)?,
            None => None,
        };
        let layer = layer.ok_or_else(|| missing(&format!("layer {}", leaf.descriptor.digest())))?;
        if layer.archive_size > 0 {
            let kind = MediaType::ImageLayer;
            let blob = Descriptor::new(kind, layer.archive_size, layer.diff_id);
            return Ok(saved(blob, Some(layer.chain_id)));
        }
        let packed = self.store.pack_layer(&layer.chain_id, Compression::None)?;
        lease.extend([&packed.digest])?;
        let kind = MediaType::from(packed.media_type.as_str());
        Ok(saved(
            Descriptor::new(kind, packed.size, packed.digest),
            None,
        ))
    }

    fn saved_platform(&self, config: &Digest) -> Result<Platform> {
        let bytes = self.store.read_blob(config)?.unwrap_or_default();
        let config: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |key: &str| config[key].as_str().unwrap_or_default();
        let variant = Some(text("variant")).filter(|variant| !variant.is_empty());
        Ok(Platform::new(text("os"), text("architecture"), variant))
    }
}

impl ImageArchive {
    /// Digest of the manifest, or the index, of the first image, as the archive has it.
    pub fn digest(&self) -> Option<Digest> {
        let root = self.images.first()?.documents.last()?;
        Some(root.descriptor.digest().clone())
    }

    /// Writes the archive; `path` is what it is called in errors. The same images always give the same bytes.
    ///
    /// # Errors
    /// [`Error::Store`] for content that is damaged; [`Error::File`].
    pub fn write(&self, format: ArchiveFormat, out: impl Write, path: &Path) -> Result<()> {
        let mut tar = Tarball::new(out, path);
        tar.dir("blobs/")?;
        tar.dir("blobs/sha256/")?;
        let mut written = HashSet::new();
        for image in &self.images {
            for layer in &image.layers {
                if written.insert(layer.blob.digest()) {
                    tar.begin(&blob_name(layer.blob.digest()), layer.blob.size())?;
                    self.send(layer, &mut |bytes| tar.write(bytes))?;
                    tar.end(layer.blob.size())?;
                }
            }
            for config in &image.configs {
                if written.insert(config.digest()) {
                    tar.file(&blob_name(config.digest()), &self.config(config)?)?;
                }
            }
            for document in &image.documents {
                if written.insert(document.descriptor.digest()) {
                    tar.file(&blob_name(document.descriptor.digest()), &document.bytes)?;
                }
            }
        }
        tar.json("index.json", &self.index())?;
        if format == ArchiveFormat::Docker {
            tar.json("manifest.json", &self.manifest_json())?;
        }
        tar.json("oci-layout", &json!(LAYOUT))?;
        if format == ArchiveFormat::Docker {
            tar.json("repositories", &self.repositories())?;
        }
        tar.finish()
    }

    /// Writes the images into a directory, as an OCI layout; other images in it stay.
    ///
    /// # Errors
    /// As [`write`](Self::write); [`ImageError::BadLayout`] if there is something else in the directory's `index.json`.
    pub fn write_dir(&self, path: &Path) -> Result<()> {
        for image in &self.images {
            let layout = LayoutWriter::open(path.to_owned(), None)?;
            for layer in &image.layers {
                if !layout.has(&layer.blob)? {
                    let mut file = layout.begin(&layer.blob)?;
                    self.send(layer, &mut |bytes| file.write(bytes))?;
                    file.finish()?;
                }
            }
            for config in &image.configs {
                layout.document(&Document {
                    descriptor: config.clone(),
                    bytes: self.config(config)?,
                })?;
            }
            for document in &image.documents {
                layout.document(document)?;
            }
            for entry in image.entries() {
                layout.add(entry)?;
            }
        }
        Ok(())
    }

    fn config(&self, config: &Descriptor) -> Result<Vec<u8>> {
        let bytes = self.store.read_blob(config.digest())?;
        Ok(bytes.ok_or_else(|| ImageError::ContentMissing {
            image: config.digest().to_string(),
            what: "the configuration".to_owned(),
        })?)
    }

    /// Sends the bytes of a layer, and checks them.
    fn send(&self, layer: &SavedLayer, to: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let Some(chain_id) = &layer.unpacked {
            let mut sink = Sink { to, failed: None };
            let sent = self.store.write_layer_archive(chain_id, &mut sink);
            return match sink.failed {
                Some(error) => Err(error),
                None => Ok(sent?),
            };
        }
        let digest = layer.blob.digest();
        let shown = Path::new(digest.as_ref());
        let mut file = self
            .store
            .open_blob(digest)?
            .take(layer.blob.size().saturating_add(1));
        let mut hash = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let got = match file.read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(Error::file("read blob", shown))?,
            };
            if got == 0 {
                break;
            }
            hash.update(&buffer[..got]);
            to(&buffer[..got])?;
        }
        match finished(hash) {
            Some(actual) if actual == *digest => Ok(()),
            _ => Err(rctr_store::Error::BlobDamaged {
                digest: digest.clone(),
            }
            .into()),
        }
    }

    fn index(&self) -> Value {
        let entries: Vec<Value> = self.images.iter().flat_map(Saved::entries).collect();
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        })
    }

    fn manifest_json(&self) -> Value {
        let images = self.images.iter().filter_map(|image| {
            // One that has an index is not for readers of this.
            let [config] = &image.configs[..] else {
                return None;
            };
            let names: Vec<String> = image.names.iter().map(familiar_name).collect();
            let layers = image.layers.iter();
            let sources: Map<String, Value> = layers
                .clone()
                .map(|layer| (layer.diff_id.to_string(), json!(layer.blob)))
                .collect();
            Some(json!({
                "Config": blob_name(config.digest()),
                "RepoTags": if names.is_empty() { Value::Null } else { json!(names) },
                "Layers": layers.map(|layer| blob_name(layer.blob.digest())).collect::<Vec<_>>(),
                "LayerSources": sources,
            }))
        });
        images.collect()
    }

    /// What the oldest readers look at: repository, tag, topmost layer.
    fn repositories(&self) -> Value {
        let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for image in &self.images {
            let Some(top) = image.layers.last() else {
                continue;
            };
            for name in &image.names {
                let familiar = familiar_name(name);
                if let Some((repository, tag)) = familiar.rsplit_once(':') {
                    let tags = all.entry(repository.to_owned()).or_default();
                    tags.insert(tag.to_owned(), top.blob.digest().digest().to_owned());
                }
            }
        }
        json!(all)
    }
}

impl Saved {
    /// The image's lines in an index, one for each name.
    fn entries(&self) -> Vec<Value> {
        let Some(root) = self.documents.last() else {
            return Vec::new();
        };
        let mut plain = index_entry(&root.descriptor, None);
        if let Some(platform) = &self.platform {
            let mut shown = json!({"architecture": platform.architecture, "os": platform.os});
            if let Some(variant) = &platform.variant {
                shown["variant"] = json!(variant);
            }
            plain["platform"] = shown;
        }
        if !self.annotations.is_empty() {
            plain["annotations"] = json!(self.annotations);
        }
        if self.names.is_empty() {
            return vec![plain];
        }
        let named = self.names.iter().map(|name| {
            let mut entry = plain.clone();
            let tag = name.tag().unwrap_or("latest");
            let mut annotations = self.annotations.clone();
            annotations.insert(NAME.to_owned(), name.whole());
            annotations.insert(REF_NAME.to_owned(), tag.to_owned());
            entry["annotations"] = json!(annotations);
            entry
        });
        named.collect()
    }
}

/// What an image is called in errors.
fn shown(image: &Image, names: &[Reference]) -> String {
    match names.first() {
        Some(name) => name.whole(),
        None => image.record.id.to_string(),
    }
}

/// Hands on what is written; an error of whoever takes it is kept.
struct Sink<'a> {
    to: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    failed: Option<Error>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.to)(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("cannot be written"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
