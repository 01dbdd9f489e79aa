//! How much disk everything takes.

use std::collections::HashMap;
use std::path::Path;

use oci_spec::image::Digest;

use crate::error::At;
use crate::store::Store;
use crate::{Result, fs};

/// Sizes together. Files with holes may be of any size: what is more than fits is the largest number there is.
pub fn sum(sizes: impl IntoIterator<Item = u64>) -> u64 {
    sizes.into_iter().fold(0, u64::saturating_add)
}

/// What is on disk, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// All unpacked layers but those that only the build cache keeps, each counted once.
    pub layers: u64,
    /// All blobs.
    pub blobs: u64,
    /// What unfinished downloads, and removals that were interrupted, have left.
    pub unfinished: u64,
    /// The images.
    pub images: Vec<ImageUsage>,
    /// The containers.
    pub containers: Vec<ContainerUsage>,
    /// The volumes.
    pub volumes: Vec<VolumeUsage>,
    /// The build cache.
    pub build_cache: BuildCacheUsage,
}

/// Size of the build cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuildCacheUsage {
    /// Remembered results.
    pub entries: usize,
    /// Those that a running build uses.
    pub in_use: usize,
    /// All layers that only the cache keeps, each counted once.
    pub size: u64,
    /// What could be freed of them.
    pub reclaimable: u64,
}

/// Size of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// Its id.
    pub id: Digest,
    /// All its layers, unpacked.
    pub size: u64,
    /// Those it shares with other images.
    pub shared: u64,
    /// Containers that use it.
    pub containers: usize,
}

/// Size of a container's writable layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its id.
    pub id: String,
    /// What it wrote.
    pub size: u64,
}

/// Size of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub size: u64,
    /// Containers that use it.
    pub containers: usize,
}

impl Store {
    /// Measures everything. Reads the directories of all containers and volumes, so it takes its time.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Database`], [`crate::Error::Document`].
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let (layers, images, users, ids, volumes) = self.read(|tx| {
            let mut volumes = Vec::new();
            for volume in tx.volumes()? {
                let users = tx.volume_users(&volume.name)?.len();
                volumes.push((volume, users));
            }
            let ids = tx.container_ids()?;
            Ok((tx.layers()?, tx.images()?, tx.image_users()?, ids, volumes))
        })?;
        let mut sharers: HashMap<&Digest, u32> = HashMap::new();
        for layer in images.iter().flat_map(|i| &i.record.layers) {
            *sharers.entry(&layer.chain_id).or_default() += 1;
        }
        let image_usage = |image: &crate::Image| ImageUsage {
            id: image.record.id.clone(),
            size: image.size,
            shared: sum(image
                .record
                .layers
                .iter()
                .filter(|l| sharers.get(&l.chain_id).is_some_and(|&n| n > 1))
                .filter_map(|l| layers.get(l.chain_id.as_ref()))
                .map(|row| row.size)),
            containers: users.get(image.record.id.as_ref()).copied().unwrap_or(0),
        };
        let all = sum(layers.values().map(|row| row.size));
        let cache = self.cache_list()?;
        let mut usage = DiskUsage {
            build_cache: BuildCacheUsage {
                entries: cache.entries.len(),
                in_use: cache.entries.iter().filter(|u| u.in_use).count(),
                size: cache.size,
                reclaimable: cache.reclaimable,
            },
            layers: all.saturating_sub(cache.size),
            blobs: size_of(&self.blobs_dir())?,
            unfinished: size_of(&self.tmp_dir())?,
            images: images.iter().map(image_usage).collect(),
            ..DiskUsage::default()
        };
        for id in ids {
            let size = self.container_size(&id)?;
            usage.containers.push(ContainerUsage { id, size });
        }
        usage.containers.sort_by(|a, b| a.id.cmp(&b.id));
        for (volume, containers) in volumes {
            usage.volumes.push(VolumeUsage {
                size: size_of(&volume.path)?,
                name: volume.name,
                containers,
            });
        }
        Ok(usage)
    }

    /// Size in bytes of what a container wrote to its root file system.
    ///
    /// # Errors
    /// [`crate::Error::InvalidId`], [`crate::Error::Io`].
    pub fn container_size(&self, id: &str) -> Result<u64> {
        size_of(&self.container_dir(id)?.join("upper"))
    }
}

/// Bytes that a directory takes, all below it included, each file counted once; 0 if it is not there.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn tree_size(path: &Path) -> Result<u64> {
    size_of(path)
}

fn size_of(path: &Path) -> Result<u64> {
    match fs::open_dir(path) {
        Ok(dir) => fs::tree_size(&dir).at("measure", path),
        Err(e) if fs::is_missing(&e) => Ok(0),
        Err(e) => Err(e),
    }
}
