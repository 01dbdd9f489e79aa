//! Whether records and directories agree, and making them agree.

use oci_spec::image::Digest;

use super::{Live, Trash};
use crate::digest::{hex, sha256};
use crate::error::At;
use crate::records::Tx;
use crate::store::Store;
use crate::{Error, Result, fs};

/// Something in the store that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// SQLite finds the database damaged.
    Database {
        /// What it says.
        reason: String,
    },
    /// A layer has a record and no directory.
    LayerMissing {
        /// Its chain id.
        chain_id: String,
    },
    /// An image names a layer that has no record.
    LayerUnrecorded {
        /// The image's id.
        image: String,
        /// The layer's chain id.
        chain_id: String,
    },
    /// The manifest or configuration of an image is gone or damaged.
    BlobMissing {
        /// The image's id.
        image: String,
        /// The blob.
        digest: Digest,
    },
    /// A container has a record and no directory.
    ContainerMissing {
        /// Its id.
        id: String,
        /// Chain id of the topmost layer it stands on.
        layer: Option<Digest>,
    },
    /// A volume has a record and no directory.
    VolumeMissing {
        /// Its name.
        name: String,
    },
    /// An address is held for a container that is not there.
    AddressHeld {
        /// The network.
        network: String,
        /// Who is said to have it.
        container: String,
    },
    /// A volume is held for a container that is not there.
    VolumeHeld {
        /// The volume.
        volume: String,
        /// Who is said to use it.
        container: String,
    },
    /// A file or directory that no record leads to, relative to the store's directory.
    Leftover {
        /// Its path.
        path: String,
    },
}

impl Store {
    /// Compares records with directories. Nothing is changed; whoever is writing at this moment is waited for.
    ///
    /// What processes are at work on, partial downloads, and content that only the next garbage collection will find
    /// unneeded is no finding.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Document`], [`Error::Database`].
    pub fn check(&self) -> Result<Vec<Finding>> {
        self.alone(|tx| {
            let mut found = tx.integrity()?;
            if found.is_empty() {
                self.compare(tx, &mut found)?;
            }
            Ok(found)
        })
    }

    fn compare(&self, tx: &Tx<'_>, found: &mut Vec<Finding>) -> Result<()> {
        let live = Live::of(tx)?;
        let mut rows: Vec<_> = live.layers.values().collect();
        rows.sort_by_key(|row| row.number);
        for row in rows {
            if !fs::exists(&self.layer_dir(&row.chain_id)?.join("diff"))? {
                found.push(Finding::LayerMissing {
                    chain_id: row.chain_id.to_string(),
                });
            }
        }
        for image in tx.images()? {
            let id = image.record.id.to_string();
            for layer in &image.record.layers {
                if !live.layers.contains_key(layer.chain_id.as_ref()) {
                    found.push(Finding::LayerUnrecorded {
                        image: id.clone(),
                        chain_id: layer.chain_id.to_string(),
                    });
                }
            }
            for digest in [&image.record.id, &image.record.manifest] {
                if !self.is_whole(digest)? {
                    found.push(Finding::BlobMissing {
                        image: id.clone(),
                        digest: digest.clone(),
                    });
                }
            }
        }
        for (id, layer) in tx.container_layers()? {
            if !fs::exists(&self.container_dir(&id)?.join("upper"))? {
                found.push(Finding::ContainerMissing { id, layer });
            }
        }
        for volume in tx.volumes()? {
            if !fs::exists(&volume.path)? {
                found.push(Finding::VolumeMissing { name: volume.name });
            }
        }
        found.extend(tx.held_for_nobody()?);
        self.each_leftover(tx, |path| {
            found.push(Finding::Leftover { path: path.into() });
            Ok(())
        })
    }

    /// Whether a blob is there and is what its digest says.
    fn is_whole(&self, digest: &Digest) -> Result<bool> {
        let path = self.blob_path(digest)?;
        match std::fs::read(&path) {
            Ok(bytes) => Ok(sha256(&bytes) == *digest),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e).at("read", &path),
        }
    }

    /// Makes records and directories agree; what could not be mended, in the words of [`check`](Self::check).
    ///
    /// A layer without its directory is forgotten, so that the next pull brings it again. A container or volume without
    /// its directory gets an empty one. What nothing leads to is removed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Mounted`], [`Error::Document`], [`Error::Database`].
    pub fn repair(&self) -> Result<Vec<Finding>> {
        let trash = Trash::new(self)?;
        self.write(|tx| {
            let mut found = tx.integrity()?;
            if !found.is_empty() {
                return Ok(());
            }
            self.compare(tx, &mut found)?;
            for finding in &found {
                self.mend(tx, finding, &trash)?;
            }
            tx.release_held_for_nobody()
        })?;
        trash.empty()?;
        self.gc()?;
        self.check()
    }

    fn mend(&self, tx: &Tx<'_>, finding: &Finding, trash: &Trash) -> Result<()> {
        match finding {
            Finding::LayerMissing { chain_id } => match chain_id.parse() {
                Ok(chain_id) if hex(&chain_id).is_ok() => tx.delete_layer(&chain_id),
                _ => Ok(()),
            },
            Finding::ContainerMissing { id, layer } => {
                match self.create_container_dir(id, layer.as_ref()) {
                    // Whatever it stood on is gone as well.
                    Err(Error::NoSuchLayer { .. }) => self.create_container_dir(id, None),
                    other => other,
                }
                .map(drop)
            }
            Finding::VolumeMissing { name } => match tx.volume(name)? {
                Some(volume) => crate::volumes::make_dirs(&volume.path),
                None => Ok(()),
            },
            Finding::Leftover { path } => trash.put(&self.root().join(path)),
            Finding::Database { .. }
            | Finding::LayerUnrecorded { .. }
            | Finding::BlobMissing { .. }
            | Finding::AddressHeld { .. }
            | Finding::VolumeHeld { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::store;
    use crate::{NewContainer, NewVolume};

    #[test]
    fn what_is_lost_is_found_and_mended() {
        let (_dir, store) = store();
        assert_eq!(store.check().unwrap(), []);
        let new = NewContainer {
            id: "c1",
            name: "web",
            image: None,
            layer: None,
        };
        store.insert_container(new, &json!({})).unwrap();
        let volume = NewVolume {
            name: "data",
            ..NewVolume::default()
        };
        let (volume, _) = store.ensure_volume(&volume).unwrap();
        store.write(|tx| tx.use_volume("data", "gone")).unwrap();
        std::fs::remove_dir_all(&volume.path).unwrap();
        for path in ["containers/stray", "tmp/half", "layers/0123"] {
            std::fs::create_dir(store.root().join(path)).unwrap();
        }
        let leftover = |path: &str| Finding::Leftover { path: path.into() };
        assert_eq!(
            store.check().unwrap(),
            [
                Finding::ContainerMissing {
                    id: "c1".into(),
                    layer: None
                },
                Finding::VolumeMissing {
                    name: "data".into()
                },
                Finding::VolumeHeld {
                    volume: "data".into(),
                    container: "gone".into()
                },
                leftover("layers/0123"),
                leftover("containers/stray"),
                leftover("tmp/half"),
            ]
        );
        assert_eq!(store.repair().unwrap(), []);
        assert!(volume.path.is_dir());
        assert!(store.container_dir("c1").unwrap().join("upper").is_dir());
        assert!(!store.root().join("tmp/half").exists());
    }
}
