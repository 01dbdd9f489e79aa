//! The directories of containers.

use std::path::PathBuf;

use oci_spec::image::Digest;
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;

use crate::error::At;
use crate::records::check_id;
use crate::store::Store;
use crate::{Error, Result, fs};

impl Store {
    /// `containers/<id>`, whether it exists or not.
    ///
    /// # Errors
    /// [`crate::Error::InvalidId`].
    pub fn container_dir(&self, id: &str) -> Result<PathBuf> {
        check_id(id)?;
        Ok(self.containers_dir().join(id))
    }

    /// Makes `containers/<id>` with `upper` and `work` for an overlay; the directory. Fine if it is there already.
    ///
    /// The root directory of the container gets mode and owner from the topmost layer.
    ///
    /// # Errors
    /// [`Error::InvalidId`], [`Error::UnsupportedDigest`], [`Error::NoSuchLayer`], [`Error::DiskFull`], [`Error::Io`].
    pub fn create_container_dir(&self, id: &str, layer: Option<&Digest>) -> Result<PathBuf> {
        let dir = self.container_dir(id)?;
        fs::make_dirs(&dir, 0o711)?;
        fs::make_dirs(&dir.join("work"), 0o700)?;
        let upper = dir.join("upper");
        fs::make_dirs(&upper, 0o755)?;
        if let Some(layer) = layer {
            let lower = self.layer_dir(layer)?.join("diff");
            let stat = match rustix::fs::stat(&lower) {
                Err(Errno::NOENT) => {
                    return Err(Error::NoSuchLayer {
                        chain_id: layer.clone(),
                    });
                }
                other => other.at("look at", &lower)?,
            };
            let fd = fs::open_dir(&upper)?;
            rustix::fs::fchown(
                &fd,
                Some(Uid::from_raw(stat.st_uid)),
                Some(Gid::from_raw(stat.st_gid)),
            )
            .and_then(|()| rustix::fs::fchmod(&fd, Mode::from_raw_mode(stat.st_mode & 0o7777)))
            .at("set the attributes of", &upper)?;
        }
        Ok(dir)
    }

    /// Removes what the container wrote, but neither its directory nor its record, which may need space to be
    /// forgotten. Fine if it is gone.
    ///
    /// # Errors
    /// [`crate::Error::InvalidId`], [`crate::Error::Mounted`], [`crate::Error::Io`].
    pub fn discard_container_files(&self, id: &str) -> Result<()> {
        let trash = self.trash(&self.container_dir(id)?.join("upper"))?;
        self.empty_trash(trash)
    }

    /// Removes `containers/<id>` with all that is in it. Fine if it is gone.
    ///
    /// # Errors
    /// [`crate::Error::InvalidId`], [`crate::Error::Mounted`], [`crate::Error::Io`].
    pub fn remove_container_dir(&self, id: &str) -> Result<()> {
        let trash = self.trash(&self.container_dir(id)?)?;
        self.empty_trash(trash)
    }
}
