//! What images take on disk, asked for every few seconds: layers never change, so each is measured once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{Engine, Error, Result};

/// What images take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFs {
    /// A directory of the file system they are on.
    pub path: PathBuf,
    /// Bytes of their unpacked layers and of their blobs.
    pub used_bytes: u64,
    /// Files and directories.
    pub inodes_used: u64,
}

/// Size of layers by their chain ids.
pub(crate) type LayerInodes = Mutex<BTreeMap<String, Tree>>;

/// Size of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    bytes: u64,
    inodes: u64,
}

impl Engine {
    /// Measures the images. Only layers that came since the last time cost more than a look into the records.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn image_fs(&self) -> Result<ImageFs> {
        let images = self.store.images()?;
        let mut chains = BTreeSet::new();
        for image in &images {
            chains.extend(image.record.chain_ids().into_iter().map(|c| c.to_string()));
        }
        let mut known = self
            .layer_inodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.retain(|chain, _| chains.contains(chain));
        let mut total = measure(&self.config.root.join("blobs"));
        for chain in chains {
            let tree = match known.get(&chain) {
                Some(tree) => *tree,
                None => {
                    let digest =
                        crate::image::parse_digests(std::slice::from_ref(&chain), "a layer")?;
                    match self.store.layer_paths(&digest) {
                        Ok(paths) => {
                            let tree = paths.first().map(|path| measure(path)).unwrap_or_default();
                            known.insert(chain, tree);
                            tree
                        }
                        // Its image is being removed.
                        Err(rctr_store::Error::NoSuchLayer { .. }) => Tree::default(),
                        Err(e) => return Err(Error::Store(e)),
                    }
                }
            };
            total.bytes += tree.bytes;
            total.inodes += tree.inodes;
        }
        Ok(ImageFs {
            path: self.config.root.clone(),
            used_bytes: total.bytes,
            inodes_used: total.inodes,
        })
    }
}

/// What is in a directory of ours; what goes away meanwhile counts nothing.
fn measure(top: &Path) -> Tree {
    let mut tree = Tree::default();
    let mut seen = BTreeSet::new();
    let mut dirs = vec![top.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(stat) = entry.metadata() else { continue };
            if stat.is_dir() {
                dirs.push(entry.path());
            } else if stat.nlink() > 1 && !seen.insert(stat.ino()) {
                continue;
            }
            tree.inodes += 1;
            tree.bytes += stat.blocks() * 512;
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/a"), [1; 10_000]).unwrap();
        fs::hard_link(dir.path().join("sub/a"), dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("c")).unwrap();
        let tree = measure(dir.path());
        assert_eq!(tree.inodes, 3);
        assert!((10_000..100_000).contains(&tree.bytes), "{tree:?}");
        assert_eq!(measure(&dir.path().join("missing")), Tree::default());
    }
}
