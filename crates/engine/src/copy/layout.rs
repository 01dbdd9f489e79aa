//! Writing an OCI layout (image specification, "OCI Image Layout Specification").

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::{Descriptor, DigestAlgorithm};
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, flock, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::{Value, json};

use super::archive::NAME;
use super::target::Put;
use crate::new_file::callers_mode;
use crate::push::Document;
use crate::{Error, ImageError, Result};

pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The content of `oci-layout`.
#[derive(Serialize)]
pub(super) struct LayoutVersion {
    #[serde(rename = "imageLayoutVersion")]
    version: &'static str,
}

pub(super) const LAYOUT: LayoutVersion = LayoutVersion { version: "1.0.0" };

/// A directory that images are added to.
pub(super) struct LayoutWriter {
    path: PathBuf,
    tag: Option<String>,
    dir: OwnedFd,
    blobs: Arc<OwnedFd>,
}

/// A blob that appears under its name when it is complete.
pub(super) struct BlobFile {
    file: File,
    path: PathBuf,
    blobs: Arc<OwnedFd>,
    temp: String,
    name: String,
}

impl LayoutWriter {
    pub fn open(path: PathBuf, tag: Option<String>) -> Result<LayoutWriter> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(callers_mode(0o755).as_raw_mode())
            .create(&path)
            .map_err(Error::file("create", &path))?;
        let dir = open_dir(CWD, &path, OFlags::empty())?;
        for name in ["blobs", "blobs/sha256"] {
            match mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::file("create", &path.join(name))(e.into())),
            }
        }
        let blobs = open_dir(&dir, Path::new("blobs"), OFlags::NOFOLLOW)?;
        let blobs = open_dir(blobs, Path::new("sha256"), OFlags::NOFOLLOW)?;
        let writer = LayoutWriter {
            path,
            tag,
            dir,
            blobs: Arc::new(blobs),
        };
        writer.replace("oci-layout", &json!(LAYOUT))?;
        Ok(writer)
    }

    /// Whether a blob of this size is there.
    pub fn has(&self, blob: &Descriptor) -> Result<bool> {
        let name = self.name_of(blob)?;
        match statat(&*self.blobs, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(u64::try_from(stat.st_size) == Ok(blob.size())),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(Error::file("read", &self.path.join(&name))(e.into())),
        }
    }

    pub fn begin(&self, blob: &Descriptor) -> Result<BlobFile> {
        let name = self.name_of(blob)?;
        // A process that was killed may have left one, and had the same number.
        let temp = format!(".{:016x}", rand::random::<u64>());
        let path = self.path.join("blobs/sha256").join(&name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&*self.blobs, &temp, flags, Mode::from_raw_mode(0o644));
        let file = file.map_err(|e| Error::file("create", &path)(e.into()))?;
        Ok(BlobFile {
            file: file.into(),
            path,
            blobs: Arc::clone(&self.blobs),
            temp,
            name,
        })
    }

    pub fn document(&self, document: &Document) -> Result<()> {
        if !self.has(&document.descriptor)? {
            let mut file = self.begin(&document.descriptor)?;
            file.write(&document.bytes)?;
            file.finish()?;
        }
        Ok(())
    }

    /// Puts the image in the index, in place of the one that had its name.
    pub fn name(&self, root: &Descriptor) -> Result<()> {
        self.add(index_entry(root, self.tag.as_deref()))
    }

    /// Puts a line in the index, in place of the one for the same name or, without a name, the same image.
    pub fn add(&self, entry: Value) -> Result<()> {
        let index_path = self.path.join("index.json");
        let locked = flock(self.dir.as_fd(), FlockOperation::LockExclusive);
        locked.map_err(|e| Error::file("lock", &self.path)(e.into()))?;
        let bad = |reason: String| ImageError::BadLayout {
            path: index_path.clone(),
            reason,
        };
        let mut index = match fs::read(&index_path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                json!({"schemaVersion": 2, "manifests": []})
            }
            Err(e) => return Err(Error::file("read", &index_path)(e)),
        };
        let Some(Value::Array(entries)) = index.get_mut("manifests") else {
            return Err(bad("has no list of manifests".to_owned()).into());
        };
        let name = |entry: &Value| {
            let annotations = entry.get("annotations")?;
            let name = annotations.get(NAME).or_else(|| annotations.get(REF_NAME));
            name.cloned()
        };
        let new_name = name(&entry);
        entries.retain(|old| match (name(old), &new_name) {
            (None, None) => old["digest"] != entry["digest"],
            (old, new) => old != *new,
        });
        entries.push(entry);
        self.replace("index.json", &index)
    }

    fn replace(&self, name: &str, value: &Value) -> Result<()> {
        let temp = format!(".{name}-{}", std::process::id());
        let path = self.path.join(name);
        let fail = |e: Errno| Error::file("write", &path)(e.into());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, &temp, flags, Mode::from_raw_mode(0o644)).map_err(fail)?;
        let written = File::from(file).write_all(value.to_string().as_bytes());
        written.map_err(Error::file("write", &path))?;
        renameat(&self.dir, &temp, &self.dir, name).map_err(fail)
    }

    fn name_of(&self, blob: &Descriptor) -> Result<String> {
        match blob.digest().algorithm() {
            DigestAlgorithm::Sha256 => Ok(blob.digest().digest().to_owned()),
            _ => Err(rctr_store::Error::UnsupportedDigest {
                digest: blob.digest().clone(),
            }
            .into()),
        }
    }
}

impl BlobFile {
    pub fn finish(self) -> Result<()> {
        let renamed = renameat(&*self.blobs, &self.temp, &*self.blobs, &self.name);
        renamed.map_err(|e| Error::file("rename", &self.path)(e.into()))
    }
}

impl Put for BlobFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(Error::file("write", &self.path))
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        // Gone if it was finished.
        let _ = unlinkat(&*self.blobs, &self.temp, AtFlags::empty());
    }
}

/// An image's line in an index.
pub(super) fn index_entry(root: &Descriptor, name: Option<&str>) -> Value {
    let mut entry = json!({
        "mediaType": root.media_type(),
        "digest": root.digest(),
        "size": root.size(),
    });
    if let Some(name) = name {
        entry["annotations"] = json!({REF_NAME: name});
    }
    entry
}

fn open_dir(at: impl AsFd, path: &Path, more: OFlags) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
    let opened = openat(at, path, flags, Mode::empty());
    opened.map_err(|e| Error::file("open", path)(e.into()))
}
