//! Writing an archive: an OCI layout in a tar file, for Docker with a `manifest.json` as well.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use oci_spec::image::{Descriptor, Digest, ImageManifest};
use rctr_registry_client::parse_reference;
use serde_json::{Value, json};

use super::files::blob_name;
use super::layout::{LAYOUT, index_entry};
use super::tarball::Tarball;
use super::target::Put;
use crate::push::Document;
use crate::{Error, ImageError, NewFile, Result};

/// Under which annotation Docker looks for the whole name.
pub(super) const NAME: &str = "io.containerd.image.name";

/// An archive that appears under its name only when it is complete.
pub(super) struct ArchiveWriter {
    new: NewFile,
    tar: Tarball<BufWriter<File>>,
    written: HashSet<Digest>,
    tag: Option<String>,
    /// For Docker: the name the image gets, if one.
    docker: Option<Option<String>>,
}

impl ArchiveWriter {
    pub fn create(
        path: &Path,
        tag: Option<String>,
        docker: Option<Option<String>>,
    ) -> Result<ArchiveWriter> {
        let new = NewFile::create(path)?;
        let out = new.file().try_clone();
        let out = out.map_err(Error::file("create", path))?;
        Ok(ArchiveWriter {
            tar: Tarball::new(BufWriter::with_capacity(256 << 10, out), path),
            new,
            written: HashSet::new(),
            tag,
            docker,
        })
    }

    pub fn has(&self, blob: &Descriptor) -> bool {
        self.written.contains(blob.digest())
    }

    pub fn begin(&mut self, blob: &Descriptor) -> Result<()> {
        self.tar.begin(&blob_name(blob.digest()), blob.size())
    }

    pub fn end(&mut self, blob: &Descriptor) -> Result<()> {
        self.tar.end(blob.size())?;
        self.written.insert(blob.digest().clone());
        Ok(())
    }

    pub fn document(&mut self, document: &Document) -> Result<()> {
        if !self.has(&document.descriptor) {
            let name = blob_name(document.descriptor.digest());
            self.tar.file(&name, &document.bytes)?;
            self.written.insert(document.descriptor.digest().clone());
        }
        Ok(())
    }

    pub fn finish(mut self, root: &Document) -> Result<()> {
        self.document(root)?;
        let mut entry = index_entry(&root.descriptor, self.tag.as_deref());
        if let Some(Some(name)) = &self.docker
            && let Ok(reference) = parse_reference(name)
        {
            let tag = reference.tag().unwrap_or("latest");
            entry["annotations"] =
                json!({NAME: reference.whole(), "org.opencontainers.image.ref.name": tag});
        }
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        self.tar.json("index.json", &index)?;
        self.tar.json("oci-layout", &json!(LAYOUT))?;
        if let Some(name) = self.docker.clone() {
            let manifest = self.docker_manifest(root, name)?;
            self.tar.json("manifest.json", &manifest)?;
        }
        self.tar.finish()?;
        self.new.commit()
    }

    fn docker_manifest(&self, root: &Document, name: Option<String>) -> Result<Value> {
        let manifest: ImageManifest =
            serde_json::from_slice(&root.bytes).map_err(|e| ImageError::BadLayout {
                path: self.new.path().to_owned(),
                reason: format!("the manifest is malformed: {e}"),
            })?;
        let layers = manifest.layers().iter();
        let layers: Vec<_> = layers.map(|layer| blob_name(layer.digest())).collect();
        let config = blob_name(manifest.config().digest());
        let tags: Vec<String> = name.into_iter().collect();
        Ok(json!([{"Config": config, "RepoTags": tags, "Layers": layers}]))
    }
}

impl Put for ArchiveWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.tar.write(bytes)
    }
}
