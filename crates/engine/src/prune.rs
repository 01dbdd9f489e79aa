//! Removing what nobody uses.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use crate::model::Container;
use crate::{
    Engine, Error, ImageError, ImageRemoval, ImageSummary, RemoveImage, RemoveOptions, Result, time,
};

/// What `image prune` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedImages {
    /// Names and layers that are gone, in order.
    pub removed: Vec<ImageRemoval>,
    /// Bytes of the layers that are gone.
    pub bytes: u64,
}

/// What `container prune` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedContainers {
    /// Ids.
    pub removed: Vec<String>,
    /// Bytes of what they had written.
    pub bytes: u64,
}

impl Engine {
    /// Removes those of the images that no container uses which `chosen` chooses, with all their names.
    ///
    /// # Errors
    /// Whatever hinders reading or removing.
    pub fn prune_images(&self, chosen: &dyn Fn(&ImageSummary) -> bool) -> Result<PrunedImages> {
        let used: HashSet<String> = self.records()?.into_iter().map(|c| c.image_id).collect();
        let mut pruned = PrunedImages::default();
        for summary in self.images()? {
            if used.contains(&summary.id) || !chosen(&summary) {
                continue;
            }
            let mut sizes = HashMap::new();
            let found = match self.find_image(&summary.id) {
                Err(Error::NoSuchImage { .. }) => continue,
                other => other?,
            };
            for id in self.with_its_parts(&found)? {
                let image = self.store.image(&id)?;
                for chain_id in image.iter().flat_map(|image| image.record.chain_ids()) {
                    let size = self.layer_size(&chain_id)?.unwrap_or(0);
                    sizes.insert(chain_id.to_string(), size);
                }
            }
            let options = RemoveImage { force: true };
            let removed = match self.remove_image(&summary.id, options) {
                // A container was made meanwhile, or somebody else removed it.
                Err(Error::Image(ImageError::InUse { .. }) | Error::NoSuchImage { .. }) => {
                    continue;
                }
                other => other?,
            };
            for removal in &removed {
                if let ImageRemoval::Deleted(digest) = removal {
                    pruned.bytes += sizes.get(digest).copied().unwrap_or(0);
                }
            }
            pruned.removed.extend(removed);
        }
        self.sweep();
        self.tell_of_prune("image", pruned.bytes)?;
        Ok(pruned)
    }

    /// Removes those of the containers that do not run which `chosen` chooses.
    ///
    /// # Errors
    /// Whatever hinders reading or removing.
    pub fn prune_containers(
        &self,
        chosen: &dyn Fn(&Container) -> bool,
    ) -> Result<PrunedContainers> {
        let mut pruned = PrunedContainers::default();
        for container in self.containers()? {
            // What is in a pod is the kubelet's to remove.
            let live = container.state.status.is_live();
            if live || container.pod.is_some() || !chosen(&container) {
                continue;
            }
            let (bytes, _) = self.container_size(&container)?;
            match self.remove(&container.id, RemoveOptions::default()) {
                // Started or removed meanwhile.
                Err(Error::RemoveRunning { .. } | Error::NoSuchContainer { .. }) => continue,
                other => other?,
            };
            pruned.bytes += bytes;
            pruned.removed.push(container.id);
        }
        self.sweep();
        self.tell_of_prune("container", pruned.bytes)?;
        Ok(pruned)
    }
}

/// A time of a filter such as `until=24h`: RFC 3339, a date, seconds since 1970, or a duration back from now. Seconds
/// since 1970; `None` for what is no time.
pub fn parse_time(text: &str) -> Option<i64> {
    let since = time::parse(text)?.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.ok()?.as_secs()).ok()
}
