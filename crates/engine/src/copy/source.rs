//! Where an image is copied from.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest, DigestAlgorithm, ImageIndex, ImageManifest};
use rctr_registry_client::{
    BlobSource, BlobStream, Client, Platform, SinkError, choose_manifest, file_blob,
    parse_reference,
};
use rctr_store::{Image, sha256};

use super::files::{Files, blob_name};
use super::{docker, place::Place};
use crate::push::{Document, Leaf, Node, Tree, is_index};
use crate::{Engine, Error, ImageError, Result};

/// Indexes within indexes followed before giving up.
const MAX_NESTING: usize = 4;
/// Annotations under which layouts keep names.
const NAMES: [&str; 2] = [
    "org.opencontainers.image.ref.name",
    "io.containerd.image.name",
];

pub(super) enum Source<'e> {
    Registry(Arc<Client>, Reference),
    Files(Box<Layout>),
    Store(&'e Engine, Box<Image>, String),
}

/// A layout or an archive.
pub(super) struct Layout {
    pub files: Arc<Files>,
    /// What is copied of it.
    pub root: Document,
    /// Blobs that are not where a layout has them.
    pub elsewhere: HashMap<String, String>,
    /// Layers are not packed as registries want them.
    pub pack: bool,
}

impl Source<'_> {
    pub async fn open<'e>(
        engine: &'e Engine,
        client: &Arc<Client>,
        place: &Place,
    ) -> Result<Source<'e>> {
        let temp = engine.config.root.join("tmp");
        let (path, name, docker) = match place {
            Place::Registry(reference) => {
                return Ok(Source::Registry(Arc::clone(client), reference.clone()));
            }
            Place::Store(name) => {
                let image = engine.find_image(name)?;
                let shown = image.tags.first().cloned();
                let shown = shown.unwrap_or_else(|| name.clone());
                return Ok(Source::Store(engine, Box::new(image), shown));
            }
            Place::Layout(path, tag) => {
                let files = Arc::new(Files::open_dir(path)?);
                let layout = Layout::of_index(files, tag.as_deref())?;
                return Ok(Source::Files(Box::new(layout)));
            }
            Place::OciArchive(path, name) => (path.clone(), name.clone(), false),
            Place::DockerArchive(path, name) => (path.clone(), name.clone(), true),
        };
        // Archives are gone through as a whole.
        let store = engine.store.clone();
        let opened = move || {
            let room = || Ok(store.require_space()?);
            let files = Arc::new(Files::open_archive(&path, &temp, &room)?);
            Layout::of_archive(files, name.as_deref(), docker)
        };
        let opened = tokio::task::spawn_blocking(opened).await;
        opened
            .map_err(|e| ImageError::BadPlace {
                place: place.to_string(),
                reason: e.to_string(),
            })?
            .map(|layout| Source::Files(Box::new(layout)))
    }

    /// What is copied: all, or the image for one platform.
    pub async fn tree(&self, all: bool, platform: Option<&Platform>) -> Result<Tree> {
        let root = match self {
            Source::Store(engine, image, name) => {
                let host = Platform::host();
                let platform = if all { None } else { platform.or(Some(&host)) };
                let tree = Tree::of(engine, image, name, platform);
                return match tree {
                    // Nothing was asked for, and there is only the one.
                    Err(Error::Image(ImageError::PlatformMissing { .. }))
                        if platform == Some(&host) =>
                    {
                        Tree::of(engine, image, name, None)
                    }
                    other => other,
                };
            }
            Source::Files(layout) => layout.root.clone(),
            Source::Registry(client, reference) => {
                let (descriptor, bytes) = client.fetch_manifest(reference).await?;
                Document { descriptor, bytes }
            }
        };
        let root = match all {
            true => root,
            false => self.one(root, platform).await?,
        };
        let mut found = Found::default();
        self.collect(root, MAX_NESTING, &mut found).await?;
        Ok(Tree {
            nodes: found.nodes,
            left_index: None,
        })
    }

    /// Goes from indexes to the manifest for a platform.
    async fn one(&self, mut root: Document, platform: Option<&Platform>) -> Result<Document> {
        for _ in 0..MAX_NESTING {
            if !is_index(root.descriptor.media_type()) {
                return Ok(root);
            }
            let index: ImageIndex = self.parse(&root.bytes)?;
            let chosen = choose_manifest(&index, platform).map_err(|available| {
                let names: Vec<_> = available.iter().map(Platform::to_string).collect();
                ImageError::NoPlatform {
                    place: self.shown(),
                    wanted: platform.cloned().unwrap_or_else(Platform::host).to_string(),
                    available: names.join(", "),
                }
            })?;
            root = self.document(chosen).await?;
        }
        Err(self.bad("its indexes are nested too deeply".to_owned()))
    }

    fn collect<'a>(
        &'a self,
        document: Document,
        depth: usize,
        found: &'a mut Found,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            if !is_index(document.descriptor.media_type()) {
                let manifest: ImageManifest = self.parse(&document.bytes)?;
                let leaves = manifest.layers().iter().map(|descriptor| Leaf {
                    label: descriptor.digest().clone(),
                    descriptor: descriptor.clone(),
                    chain_id: None,
                });
                found.nodes.push(Node::Manifest {
                    config: Box::new(manifest.config().clone()),
                    leaves: leaves.collect(),
                    document: Box::new(document),
                });
                return Ok(());
            }
            let index: ImageIndex = self.parse(&document.bytes)?;
            let Some(depth) = depth.checked_sub(1) else {
                return Err(self.bad("its indexes are nested too deeply".to_owned()));
            };
            for entry in index.manifests() {
                // However often indexes name it.
                if found.seen.insert(entry.digest().clone()) {
                    let child = self.document(entry).await?;
                    self.collect(child, depth, found).await?;
                }
            }
            found.nodes.push(Node::Index(Box::new(document)));
            Ok(())
        }
        .boxed()
    }

    async fn document(&self, descriptor: &Descriptor) -> Result<Document> {
        let bytes = match self {
            Source::Registry(client, reference) => {
                client.fetch_document(reference, descriptor).await?
            }
            _ => self.small(descriptor).await?,
        };
        let digest = descriptor.digest();
        Ok(Document::new(
            descriptor.media_type().clone(),
            digest,
            bytes,
        ))
    }

    /// A small blob, checked against its digest.
    pub async fn small(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        match self {
            Source::Registry(client, reference) => {
                Ok(client.fetch_blob(reference, descriptor).await?)
            }
            Source::Files(layout) => layout.small(descriptor),
            Source::Store(engine, _, name) => match engine.store.read_blob(descriptor.digest())? {
                Some(bytes) => Ok(bytes),
                None => Err(ImageError::ContentMissing {
                    image: crate::familiar_name(name),
                    what: format!("blob {}", descriptor.digest()),
                }
                .into()),
            },
        }
    }

    /// Repositories that may hand over blobs to others of the same registry.
    pub fn references(&self) -> Vec<Reference> {
        match self {
            Source::Registry(_, reference) => vec![reference.clone()],
            Source::Store(_, image, _) => {
                let names = image.repo_digests.iter().chain(&image.tags);
                names
                    .filter_map(|name| parse_reference(name).ok())
                    .collect()
            }
            Source::Files(_) => Vec::new(),
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|e| self.bad(format!("a manifest is malformed: {e}")))
    }

    pub fn bad(&self, reason: String) -> Error {
        match self {
            Source::Files(layout) => layout.files.bad(reason),
            _ => ImageError::BadImage {
                image: self.shown(),
                reason,
            }
            .into(),
        }
    }

    fn shown(&self) -> String {
        match self {
            Source::Registry(_, reference) => reference.whole(),
            Source::Store(_, _, name) => crate::familiar_name(name),
            Source::Files(layout) => layout.files.path().display().to_string(),
        }
    }
}

/// What was found below an index so far.
#[derive(Default)]
struct Found {
    nodes: Vec<Node>,
    /// Children of indexes.
    seen: HashSet<Digest>,
}

/// Blobs of a registry, sent on as they come.
pub(crate) struct RegistryBlobs(pub Arc<Client>, pub Reference);

impl BlobSource for RegistryBlobs {
    fn open<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<BlobStream, SinkError>> {
        let stream = self.0.stream_blob(&self.1, blob.digest(), range);
        async { Ok(stream) }.boxed()
    }
}

impl BlobSource for Source<'_> {
    fn open<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<BlobStream, SinkError>> {
        match self {
            Source::Registry(client, reference) => {
                let stream = client.stream_blob(reference, blob.digest(), range);
                async { Ok(stream) }.boxed()
            }
            Source::Store(engine, ..) => {
                let opened = engine.store.open_blob(blob.digest());
                async move { Ok(file_blob(opened?, range)) }.boxed()
            }
            Source::Files(layout) => {
                let found = layout.blob(blob);
                async move {
                    let (file, all) = found?;
                    Ok(file_blob(
                        file,
                        all.start + range.start..all.start + range.end,
                    ))
                }
                .boxed()
            }
        }
    }
}

impl Layout {
    fn of_archive(files: Arc<Files>, name: Option<&str>, docker: bool) -> Result<Layout> {
        if !docker || files.find("index.json")?.is_some() {
            let layout = Layout::of_index(files, name)?;
            return Ok(Layout {
                pack: docker,
                ..layout
            });
        }
        docker::open(files, name)
    }

    fn of_index(files: Arc<Files>, name: Option<&str>) -> Result<Layout> {
        let Some(index) = read_index(&files)? else {
            return Err(files.bad("has no index.json: it is no OCI layout"));
        };
        let entries = index.manifests().iter();
        let found: Vec<_> = match name {
            Some(name) => entries.filter(|entry| is_named(entry, name)).collect(),
            None => entries.collect(),
        };
        let descriptor = match (&found[..], name) {
            ([], Some(name)) => return Err(files.bad(format!("has no image {name:?}"))),
            ([], None) => return Err(files.bad("has no image")),
            ([one], _) | ([one, ..], Some(_)) => (*one).clone(),
            (_, None) => {
                let names: Vec<_> = found.iter().flat_map(|entry| names(entry)).collect();
                let names = names.join(", ");
                return Err(files.bad(format!("has several images, name one of them: {names}")));
            }
        };
        Layout::of_entry(files, &descriptor)
    }

    /// One entry of an `index.json`.
    pub fn of_entry(files: Arc<Files>, descriptor: &Descriptor) -> Result<Layout> {
        let mut layout = Layout {
            files,
            root: Document {
                descriptor: descriptor.clone(),
                bytes: Vec::new(),
            },
            elsewhere: HashMap::new(),
            pack: false,
        };
        let bytes = layout.small(descriptor)?;
        let media_type = descriptor.media_type().clone();
        layout.root = Document::new(media_type, descriptor.digest(), bytes);
        Ok(layout)
    }

    fn small(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let digest = descriptor.digest();
        let bytes = self.files.read(&self.name_of(digest))?;
        let bytes = bytes.ok_or_else(|| self.files.bad(format!("lacks {digest}")))?;
        match digest.algorithm() {
            DigestAlgorithm::Sha256 if sha256(&bytes) == *digest => Ok(bytes),
            _ => Err(self.files.bad(format!("{digest} is damaged"))),
        }
    }

    pub fn blob(&self, blob: &Descriptor) -> Result<(File, Range<u64>)> {
        let digest = blob.digest();
        let found = self.files.find(&self.name_of(digest))?;
        let (file, range) = found.ok_or_else(|| self.files.bad(format!("lacks {digest}")))?;
        let size = range.end - range.start;
        if size != blob.size() {
            let reason = format!("{digest} has {size} bytes instead of {}", blob.size());
            return Err(self.files.bad(reason));
        }
        Ok((file, range))
    }

    fn name_of(&self, digest: &Digest) -> String {
        let elsewhere = self.elsewhere.get(digest.as_ref());
        elsewhere.cloned().unwrap_or_else(|| blob_name(digest))
    }
}

/// `index.json`, if there is one.
pub(super) fn read_index(files: &Files) -> Result<Option<ImageIndex>> {
    let Some(index) = files.read("index.json")? else {
        return Ok(None);
    };
    let index = serde_json::from_slice(&index)
        .map_err(|e| files.bad(format!("index.json is malformed: {e}")))?;
    Ok(Some(index))
}

pub(super) fn names(entry: &Descriptor) -> Vec<&str> {
    let annotations = entry.annotations().as_ref();
    let named = NAMES.iter().filter_map(|key| annotations?.get(*key));
    named.map(String::as_str).collect()
}

fn is_named(entry: &Descriptor, wanted: &str) -> bool {
    names(entry).iter().any(|name| {
        let whole = parse_reference(name).map(|reference| reference.whole());
        *name == wanted || whole.is_ok_and(|whole| whole == wanted)
    })
}
