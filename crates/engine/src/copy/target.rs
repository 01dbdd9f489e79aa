//! Where an image is copied to.

use std::collections::HashSet;

use futures_util::StreamExt;
use oci_spec::image::Descriptor;
use rctr_registry_client::{BlobSource, Client, PushEvent, Pusher};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::archive::ArchiveWriter;
use super::docker::finished;
use super::layout::LayoutWriter;
use super::place::Place;
use super::source::Source;
use super::store::StoreWriter;
use crate::push::{Document, Node, Tree};
use crate::{Engine, ImageError, Result};

/// Blobs copied at the same time where that is possible.
const PARALLEL: usize = 5;

pub(super) enum Target<'a> {
    Registry(Pusher<'a>, String),
    Layout(LayoutWriter),
    Archive(Mutex<ArchiveWriter>),
    Store(Mutex<StoreWriter>),
}

/// What a layout or an archive puts a blob into.
pub(super) trait Put {
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
}

impl<'a> Target<'a> {
    pub async fn open(
        engine: &'a Engine,
        client: &'a Client,
        place: &Place,
        (source, tree): (&Source<'_>, &Tree),
    ) -> Result<Target<'a>> {
        let one = |what: &str| match tree.nodes.last() {
            Some(Node::Manifest { .. }) => Ok(()),
            _ => Err(ImageError::BadPlace {
                place: place.to_string(),
                reason: format!("{what} takes a single image: copy without --all"),
            }),
        };
        Ok(match place {
            Place::Registry(reference) => {
                let from = source.references();
                let name = reference.tag().or(reference.digest()).unwrap_or("latest");
                Target::Registry(client.pusher(reference, &from)?, name.to_owned())
            }
            Place::Layout(path, tag) => {
                Target::Layout(LayoutWriter::open(path.clone(), tag.clone())?)
            }
            Place::OciArchive(path, tag) => {
                let writer = ArchiveWriter::create(path, tag.clone(), None)?;
                Target::Archive(Mutex::new(writer))
            }
            Place::DockerArchive(path, name) => {
                one("a docker-archive")?;
                if path.metadata().is_ok_and(|meta| meta.len() > 0) {
                    return Err(ImageError::BadPlace {
                        place: place.to_string(),
                        reason: "the file exists, and other images in it would be lost".to_owned(),
                    }
                    .into());
                }
                let name = name.as_deref().map(crate::familiar_name);
                let writer = ArchiveWriter::create(path, None, Some(name))?;
                Target::Archive(Mutex::new(writer))
            }
            Place::Store(name) => {
                one("the store")?;
                let writer = StoreWriter::begin(engine, Some(name), source, tree).await?;
                Target::Store(Mutex::new(writer))
            }
        })
    }

    pub fn parallel(&self) -> usize {
        match self {
            Target::Registry(..) | Target::Layout(_) => PARALLEL,
            Target::Archive(_) | Target::Store(_) => 1,
        }
    }

    /// What can be had of a blob without sending anything.
    pub async fn ready(&self, blob: &Descriptor) -> Result<Option<PushEvent>> {
        Ok(match self {
            Target::Registry(pusher, _) => pusher.ready(blob).await?,
            Target::Layout(writer) if writer.has(blob)? => Some(PushEvent::Exists),
            Target::Archive(writer) if writer.lock().await.has(blob) => Some(PushEvent::Exists),
            _ => None,
        })
    }

    /// Copies a layer or a configuration.
    pub async fn blob(
        &self,
        blob: &Descriptor,
        source: &(dyn BlobSource + '_),
        report: &(dyn Fn(PushEvent) + Sync),
    ) -> Result<()> {
        if let Target::Registry(pusher, _) = self {
            return Ok(pusher.blob(blob, source, report).await?);
        }
        if let Some(event) = self.ready(blob).await? {
            report(event);
            return Ok(());
        }
        match self {
            Target::Registry(..) => {}
            Target::Layout(writer) => {
                let mut file = writer.begin(blob)?;
                checked(blob, source, &mut file, report).await?;
                file.finish()?;
            }
            Target::Archive(writer) => {
                let mut writer = writer.lock().await;
                writer.begin(blob)?;
                checked(blob, source, &mut *writer, report).await?;
                writer.end(blob)?;
            }
            Target::Store(writer) => {
                if !writer.lock().await.layer(blob, source, report).await? {
                    report(PushEvent::Exists);
                    return Ok(());
                }
            }
        }
        report(PushEvent::Pushed);
        Ok(())
    }

    /// Copies a manifest or index that another one names.
    pub async fn document(&self, document: &Document) -> Result<()> {
        let (descriptor, bytes) = (&document.descriptor, &document.bytes);
        match self {
            Target::Registry(pusher, _) => {
                let name = descriptor.digest().to_string();
                pusher.manifest(&name, descriptor, bytes).await?;
            }
            Target::Layout(writer) => writer.document(document)?,
            Target::Archive(writer) => writer.lock().await.document(document)?,
            Target::Store(_) => {}
        }
        Ok(())
    }

    /// Copies what is to have the name, and makes all of it visible.
    pub async fn finish(self, root: &Document) -> Result<()> {
        match self {
            Target::Registry(pusher, name) => {
                pusher
                    .manifest(&name, &root.descriptor, &root.bytes)
                    .await?;
                Ok(())
            }
            Target::Layout(writer) => {
                writer.document(root)?;
                writer.name(&root.descriptor)
            }
            Target::Archive(writer) => writer.into_inner().finish(root),
            Target::Store(writer) => writer.into_inner().finish(root).map(drop),
        }
    }
}

/// Puts a blob where it belongs, piece by piece, and checks that it is what its descriptor says.
async fn checked(
    blob: &Descriptor,
    source: &(dyn BlobSource + '_),
    to: &mut (dyn Put + Send),
    report: &(dyn Fn(PushEvent) + Sync),
) -> Result<()> {
    let unreadable = |source| rctr_registry_client::Error::Source {
        digest: blob.digest().clone(),
        source,
    };
    let total = blob.size();
    let mut stream = source.open(blob, 0..total).await.map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut current = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(unreadable)?;
        hash.update(&piece);
        to.write(&piece)?;
        current += piece.len() as u64;
        report(PushEvent::Pushing { current, total });
    }
    match finished(hash) {
        Some(digest) if digest == *blob.digest() => Ok(()),
        actual => Err(rctr_store::Error::DigestMismatch {
            expected: blob.digest().clone(),
            actual: actual.unwrap_or_else(|| blob.digest().clone()),
        }
        .into()),
    }
}

/// The blobs of a tree, each once.
pub(super) fn unique<'t>(blobs: impl Iterator<Item = &'t Descriptor>) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    let blobs = blobs.filter(|blob| seen.insert(blob.digest().clone()));
    blobs.cloned().collect()
}
