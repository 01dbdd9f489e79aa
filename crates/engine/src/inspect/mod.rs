//! Docker's JSON shapes of containers and images, as `inspect` and the Docker Engine API give them.
//!
//! Field names, their order, and which of them are left out when empty are Docker's; a field that rctr has no
//! use for is there with the value Docker gives an unused one. [`ContainerInspect::new`] and [`ImageInspect::new`]
//! fill them from what the engine remembers.

mod config;
mod container;
mod host_config;
mod image;
mod mount_request;
mod network;
mod user_network;

use std::collections::BTreeMap;

use serde::Serialize;

pub use config::ContainerConfig;
pub use container::{ContainerInspect, ContainerPaths, ContainerState, MountPoint};
pub use host_config::{HostConfig, LogConfig, RestartPolicy, UlimitJson};
pub use image::{ImageFacts, ImageInspect, ImageMetadata, RootFs};
pub use mount_request::{BindOptions, MountRequest, TmpfsOptions, VolumeOptions};
pub use network::{
    EndpointSettings, IpamConfig, NetworkSettings, PortBinding, PortMap, port_map, published_ports,
};
pub(crate) use network::{derived_id, network_id};
pub use user_network::{Ipam, IpamPool, Member, NetworkInspect};

/// An object without content, `{}`: how Docker writes sets as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

/// A set of names, as Docker writes `ExposedPorts` and `Volumes`.
pub type NameSet = BTreeMap<String, Empty>;

/// Makes a [`NameSet`].
pub fn name_set<I: IntoIterator<Item = String>>(names: I) -> NameSet {
    names.into_iter().map(|name| (name, Empty {})).collect()
}

/// Which directories a container's root filesystem is put together from.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    /// Directories by role: `LowerDir`, `UpperDir`, `WorkDir`, `MergedDir`.
    pub data: BTreeMap<&'static str, String>,
    /// `overlay2`.
    pub name: &'static str,
}

/// The storage driver's name, Docker's word for overlayfs.
pub const STORAGE_DRIVER: &str = "overlay2";

/// `None` for an empty list: Docker writes `null` for lists that nobody set.
fn none_if_empty(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}
