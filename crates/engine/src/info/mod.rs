//! What `info`, `version` and `system df` tell.

mod host;

use rctr_registry_client::Platform;
use rctr_store::sum;
use serde::Serialize;

use crate::model::Container;
use crate::{Engine, Result};

pub use host::{ClientInfo, Commit, Index, Info, Plugins, RegistryConfig, RuntimeInfo, Swarm};

/// `docker version`, one side: there is no server.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // Docker's own field names (Engine API, GET /version)
pub struct VersionInfo {
    pub version: String,
    pub os: String,
    pub arch: String,
    pub kernel_version: String,
}

/// A line of `system df`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UsageLine {
    /// How many there are.
    pub total: usize,
    /// How many are in use.
    pub active: usize,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes that a removal of what is not in use would free.
    pub reclaimable: u64,
}

/// `system df`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Images, layers counted once, with what unfinished pulls have left.
    pub images: UsageLine,
    /// Writable layers and logs of containers.
    pub containers: UsageLine,
    /// Volumes.
    pub volumes: UsageLine,
    /// Layers that only the build cache keeps.
    pub build_cache: UsageLine,
}

impl Engine {
    /// Version and platform.
    pub fn version(&self) -> VersionInfo {
        let host = Platform::host();
        let uname = nix::sys::utsname::uname().ok();
        VersionInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            kernel_version: uname
                .map(|u| u.release().to_string_lossy().into_owned())
                .unwrap_or_default(),
            os: host.os,
            arch: host.architecture,
        }
    }

    /// What images, containers and volumes take on disk.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let usage = self.store.disk_usage()?;
        let cache = usage.build_cache;
        let containers = self.containers()?;
        let live = |id: &str| {
            containers
                .iter()
                .any(|c| c.id == id && c.state.status.is_live())
        };
        // What an image shares with another one in use stays when it goes.
        let own = |image: &rctr_store::ImageUsage| image.size.saturating_sub(image.shared);
        let idle_images = usage.images.iter().filter(|image| image.containers == 0);
        let idle_containers = usage.containers.iter().filter(|c| !live(&c.id));
        let idle_volumes = usage.volumes.iter().filter(|volume| volume.containers == 0);
        Ok(DiskUsage {
            images: UsageLine {
                total: usage.images.len(),
                active: usage.images.len() - idle_images.clone().count(),
                size: sum([usage.layers.saturating_sub(cache.size), usage.unfinished]),
                reclaimable: sum(idle_images.map(own).chain([usage.unfinished])),
            },
            containers: UsageLine {
                total: usage.containers.len(),
                active: usage.containers.len() - idle_containers.clone().count(),
                size: sum(usage.containers.iter().map(|c| c.size)),
                reclaimable: sum(idle_containers.map(|c| c.size)),
            },
            volumes: UsageLine {
                total: usage.volumes.len(),
                active: usage.volumes.len() - idle_volumes.clone().count(),
                size: sum(usage.volumes.iter().map(|v| v.size)),
                reclaimable: sum(idle_volumes.map(|v| v.size)),
            },
            build_cache: UsageLine {
                total: cache.entries,
                active: cache.in_use,
                size: cache.size,
                reclaimable: cache.reclaimable,
            },
        })
    }

    /// What takes space, one by one.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn space_usage(&self) -> Result<rctr_store::DiskUsage> {
        Ok(self.store.disk_usage()?)
    }

    /// Bytes of a container's writable layer, and of it and its image together.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn container_size(&self, container: &Container) -> Result<(u64, u64)> {
        let writable = self.store.container_size(&container.id)?;
        let image = self
            .store
            .images()?
            .into_iter()
            .find(|image| image.record.id.as_ref() == container.image_id);
        Ok((writable, writable + image.map_or(0, |image| image.size)))
    }

    pub(crate) fn cgroup_driver_name(&self) -> &'static str {
        self.config.settings.cgroup.driver_name()
    }
}

pub(crate) fn memory_total() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total
        .and_then(|t| t.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}
