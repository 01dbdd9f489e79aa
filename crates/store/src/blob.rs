//! Blobs: manifests, configurations and packed layers, by digest, as a registry served them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use oci_spec::image::Digest;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::digest::{from_hash, hex, sha256};
use crate::error::At;
use crate::store::Store;
use crate::{Error, Result, fs};

impl Store {
    /// Whether the blob is in the store.
    ///
    /// # Errors
    /// [`Error::UnsupportedDigest`], [`Error::Io`].
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        fs::exists(&self.blob_path(digest)?)
    }

    /// Opens a blob for reading. Its content is not verified.
    ///
    /// # Errors
    /// [`Error::NoSuchBlob`], [`Error::UnsupportedDigest`], [`Error::Io`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(CWD, &path, flags, Mode::empty()) {
            Err(Errno::NOENT) => Err(Error::NoSuchBlob {
                digest: digest.clone(),
            }),
            other => other.at("open", path).map(File::from),
        }
    }

    /// Reads and verifies a blob; None if it is not in the store.
    ///
    /// # Errors
    /// [`Error::BlobDamaged`] if the content does not match: the blob has then been removed, so that it will be fetched
    /// again. [`Error::UnsupportedDigest`], [`Error::Io`].
    pub fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let mut file = match self.open_blob(digest) {
            Err(Error::NoSuchBlob { .. }) => return Ok(None),
            other => other?,
        };
        let mut data = Vec::new();
        file.read_to_end(&mut data)
            .at("read", self.blob_path(digest)?)?;
        if sha256(&data) == *digest {
            return Ok(Some(data));
        }
        self.remove_blob(digest)?;
        Err(Error::BlobDamaged {
            digest: digest.clone(),
        })
    }

    /// Puts a blob in the store; it is on disk when this returns. Fine if it is there already.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], [`Error::UnsupportedDigest`], [`Error::DiskFull`], [`Error::Io`].
    pub fn put_blob(&self, digest: &Digest, data: &[u8]) -> Result<()> {
        let path = self.blob_path(digest)?;
        let actual = sha256(data);
        if actual != *digest {
            return Err(Error::DigestMismatch {
                expected: digest.clone(),
                actual,
            });
        }
        if fs::exists(&path)? {
            return Ok(());
        }
        let temp = self.temp_path("blob");
        let mut file = File::from(fs::lock_file(&temp)?);
        let written = file
            .write_all(data)
            .and_then(|()| file.sync_all())
            .at("write", &temp)
            .and_then(|()| fs::rename(&temp, &path));
        if written.is_err() {
            // The first error is the one to tell; a garbage collection removes what stays.
            let _ = rustix::fs::unlink(&temp);
        }
        written
    }

    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<()> {
        let path = self.blob_path(digest)?;
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e).at("remove", path),
        }
    }

    /// `blobs/sha256/<hex>`.
    pub(crate) fn blob_path(&self, digest: &Digest) -> Result<PathBuf> {
        Ok(self.blobs_dir().join(hex(digest)?))
    }

    /// A name in `tmp/` nobody else uses.
    pub(crate) fn temp_path(&self, kind: &str) -> PathBuf {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        self.tmp_dir().join(format!(
            "{kind}-{}-{}{:09}-{count}",
            std::process::id(),
            time.tv_sec,
            time.tv_nsec
        ))
    }
}

/// The digest of a whole file.
pub(crate) fn digest_of_file(file: &File) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut position = 0;
    loop {
        match file.read_at(&mut buffer, position) {
            Ok(0) => return Ok(from_hash(hash)),
            Ok(count) => {
                hash.update(&buffer[..count]);
                position += count as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    #[test]
    fn blobs_are_verified_going_in_and_coming_out() {
        let (_dir, store) = store();
        let digest = sha256(b"hello");
        assert!(!store.has_blob(&digest).unwrap());
        assert_eq!(store.read_blob(&digest).unwrap(), None);
        assert!(matches!(
            store.put_blob(&digest, b"hullo"),
            Err(Error::DigestMismatch { .. })
        ));
        store.put_blob(&digest, b"hello").unwrap();
        store.put_blob(&digest, b"hello").unwrap();
        assert_eq!(store.read_blob(&digest).unwrap().unwrap(), b"hello");
        assert!(fs::list(&store.tmp_dir()).unwrap().is_empty());

        std::fs::write(store.blob_path(&digest).unwrap(), "hell0").unwrap();
        assert!(matches!(
            store.read_blob(&digest),
            Err(Error::BlobDamaged { .. })
        ));
        assert!(
            !store.has_blob(&digest).unwrap(),
            "damage counts as missing"
        );
    }
}
