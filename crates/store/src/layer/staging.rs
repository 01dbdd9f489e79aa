//! Where a layer lies until it is complete: its compressed bytes, and the tree they are unpacked into.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::image::Digest;
use rustix::fs::Mode;

use super::LayerBlob;
use crate::blob::digest_of_file;
use crate::digest::hex;
use crate::error::At;
use crate::store::Store;
use crate::{Error, Result, fs};

/// Where the compressed bytes are kept.
#[derive(Debug)]
pub(super) struct Source {
    pub file: File,
    pub path: PathBuf,
    /// The file is the complete blob, not a partial download.
    pub complete: bool,
}

/// The directory the layer is unpacked in. Its lock is the layer's lock.
#[derive(Debug)]
pub(super) struct Staging {
    pub lock: OwnedFd,
    pub path: PathBuf,
    /// The tree within, which becomes `diff`. Each try has a name of its own: ext4 chooses a place by the name, and
    /// another place than that of a tree just removed is what we want ([`fs::spread_subdirs`]).
    pub tree: PathBuf,
}

impl Source {
    /// The blob if it is in the store, else the partial download, locked.
    pub fn open(store: &Store, blob: &LayerBlob) -> Result<Self> {
        if let Some(source) = Self::complete(store, blob)? {
            return Ok(source);
        }
        let path = Self::partial(store, blob)?;
        let file = File::from(fs::lock_file(&path)?);
        // Another layer with the same blob may just have finished it.
        match Self::complete(store, blob)? {
            Some(source) => {
                rustix::fs::unlink(&path).at("remove", &path)?;
                Ok(source)
            }
            None => Ok(Source {
                file,
                path,
                complete: false,
            }),
        }
    }

    /// Of the bytes that are there.
    pub fn digest(&self) -> Result<Digest> {
        digest_of_file(&self.file).at("read", &self.path)
    }

    /// Where a download keeps what has come.
    pub fn partial(store: &Store, blob: &LayerBlob) -> Result<PathBuf> {
        let name = format!("partial-{}", hex(&blob.digest)?);
        Ok(store.tmp_dir().join(name))
    }

    fn complete(store: &Store, blob: &LayerBlob) -> Result<Option<Self>> {
        let path = store.blob_path(&blob.digest)?;
        let file = match store.open_blob(&blob.digest) {
            Err(Error::NoSuchBlob { .. }) => return Ok(None),
            other => other?,
        };
        let source = Source {
            file,
            path,
            complete: true,
        };
        let actual = source.file.metadata().at("look at", &source.path)?.len();
        if actual == blob.size {
            return Ok(Some(source));
        }
        let (digest, expected) = (blob.digest.clone(), blob.size);
        match source.digest()? == digest {
            // Other images have it, too, and say rightly how long it is.
            true if actual > expected => Err(Error::TooLong { digest, expected }),
            true => Err(Error::Truncated {
                digest,
                expected,
                actual,
            }),
            // Damaged on disk: it is fetched again.
            false => store.remove_blob(&digest).map(|()| None),
        }
    }
}

impl Staging {
    pub fn lock(path: PathBuf) -> Result<Self> {
        Ok(Staging {
            lock: fs::lock_dir(&path)?,
            tree: path.join("diff"),
            path,
        })
    }

    /// Where a layer is unpacked of which only the blob is known.
    pub fn early(store: &Store, blob: &LayerBlob) -> Result<PathBuf> {
        let name = format!("early-{}", hex(&blob.digest)?);
        Ok(store.tmp_dir().join(name))
    }

    /// Removes what an early try left that was killed; its bytes are gone on with elsewhere.
    pub fn clear_early(store: &Store, blob: &LayerBlob) -> Result<()> {
        let path = Self::early(store, blob)?;
        match fs::try_lock_entry(&path)? {
            Some(lock) => Staging {
                lock,
                tree: path.join("diff"),
                path,
            }
            .remove(store),
            None => Ok(()),
        }
    }

    /// Makes a new tree, in place of what an earlier try, perhaps of a process that was killed, left there.
    pub fn make_tree(&mut self, store: &Store) -> Result<OwnedFd> {
        for name in fs::list(&self.path)? {
            fs::remove_all(&self.lock, name.as_bytes(), &self.path.join(&name))?;
        }
        fs::spread_subdirs(&self.path)?;
        let unique = store.temp_path("tree");
        self.tree = self.path.join(unique.file_name().unwrap_or_default());
        fs::make_dirs(&self.tree, 0o755)?;
        let fd = fs::open_dir(&self.tree)?;
        // Whatever the umask, and whatever was inherited from above.
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755)).at("create", &self.tree)?;
        Ok(fd)
    }

    /// Removes the directory if it is still there; the lock is held, so nobody else uses it.
    pub fn remove(&self, store: &Store) -> Result<()> {
        let Some(name) = self.path.file_name() else {
            return Ok(());
        };
        let tmp = fs::open_dir(&store.tmp_dir())?;
        let here = rustix::fs::fstat(&self.lock).at("look at", &self.path)?;
        match rustix::fs::statat(&tmp, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) => {
                fs::remove_all(&tmp, name.as_encoded_bytes(), &self.path)
            }
            _ => Ok(()),
        }
    }
}
