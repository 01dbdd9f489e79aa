//! Pods: containers that share namespaces, a network and a cgroup, as a kubelet asks for them.
//!
//! A pod is a record in the store and a set of namespaces that mounts keep; only a pod whose containers share their
//! processes has a process of its own. A container of a pod is a [`crate::model::Container`] like any other, with a
//! [`PodMember`] in its record: starting, stopping and removing it is the same code.

mod cdi;
mod container;
mod images;
mod lifecycle;
mod making;
mod model;
mod network;
mod options;
mod pause;
mod profiles;
mod stats;
mod view;

pub use cdi::CdiError;
pub(crate) use cdi::{check_devices, dirs as cdi_dirs, give_devices, is_cdi_name};
pub(crate) use container::{identity, must_be_ready};
pub use model::*;
pub use options::*;
pub use rctr_runtime::namespaces::Features;
pub(crate) use stats::parse as parse_traffic;
pub use stats::{ContainerStats, InterfaceStats, LayerStats, PodStats};
pub use view::PodsView;
