//! Writing an archive: an OCI layout in a tar file, for Docker with a `manifest.json` as well.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, Digest, ImageManifest};
use rctr_registry_client::parse_reference;
use serde_json::{Value, json};

use super::files::blob_name;
use super::layout::{LAYOUT, index_entry};
use super::target::Put;
use crate::push::Document;
use crate::{Error, Result};

const BLOCK: u64 = 512;
/// Under which annotation Docker looks for the whole name.
const NAME: &str = "io.containerd.image.name";

/// An archive that appears under its name only when it is complete.
pub(super) struct ArchiveWriter {
    path: PathBuf,
    temp: PathBuf,
    out: BufWriter<File>,
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
        let mut temp = path.as_os_str().to_owned();
        temp.push(format!(".{}", std::process::id()));
        let temp = PathBuf::from(temp);
        let file = File::create_new(&temp).map_err(Error::file("create", &temp))?;
        Ok(ArchiveWriter {
            path: path.to_owned(),
            temp,
            out: BufWriter::with_capacity(256 << 10, file),
            written: HashSet::new(),
            tag,
            docker,
        })
    }

    pub fn has(&self, blob: &Descriptor) -> bool {
        self.written.contains(blob.digest())
    }

    pub fn begin(&mut self, blob: &Descriptor) -> Result<()> {
        self.header(&blob_name(blob.digest()), blob.size())
    }

    pub fn end(&mut self, blob: &Descriptor) -> Result<()> {
        self.pad(blob.size())?;
        self.written.insert(blob.digest().clone());
        Ok(())
    }

    pub fn document(&mut self, document: &Document) -> Result<()> {
        if !self.has(&document.descriptor) {
            self.begin(&document.descriptor)?;
            self.write(&document.bytes)?;
            self.end(&document.descriptor)?;
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
        self.file("index.json", &index)?;
        self.file("oci-layout", &json!(LAYOUT))?;
        if let Some(name) = self.docker.clone() {
            let manifest = self.docker_manifest(root, name)?;
            self.file("manifest.json", &manifest)?;
        }
        self.write(&[0; 2 * BLOCK as usize])?;
        let (temp, path) = (self.temp.clone(), self.path.clone());
        self.out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all())
            .map_err(Error::file("write", &temp))?;
        fs::rename(&temp, &path).map_err(Error::file("rename", &path))
    }

    fn docker_manifest(&self, root: &Document, name: Option<String>) -> Result<Value> {
        let manifest: ImageManifest =
            serde_json::from_slice(&root.bytes).map_err(|e| Error::BadLayout {
                path: self.path.clone(),
                reason: format!("the manifest is malformed: {e}"),
            })?;
        let layers = manifest.layers().iter();
        let layers: Vec<_> = layers.map(|layer| blob_name(layer.digest())).collect();
        let config = blob_name(manifest.config().digest());
        let tags: Vec<String> = name.into_iter().collect();
        Ok(json!([{"Config": config, "RepoTags": tags, "Layers": layers}]))
    }

    fn file(&mut self, name: &str, value: &Value) -> Result<()> {
        let bytes = value.to_string().into_bytes();
        self.header(name, bytes.len() as u64)?;
        self.write(&bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn header(&mut self, name: &str, size: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        let named = header.set_path(name);
        named.map_err(Error::file("archive", Path::new(name)))?;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let rest = (BLOCK - size % BLOCK) % BLOCK;
        self.write(&[0; BLOCK as usize][..rest as usize])
    }
}

impl Put for ArchiveWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.out.write_all(bytes);
        written.map_err(Error::file("write", &self.temp))
    }
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        // Gone if it was finished.
        let _ = fs::remove_file(&self.temp);
    }
}
