//! What the engine remembers of a pod, and of a container that is in one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use rctr_network::cni::NetworkList;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::options::{PodContainerOptions, PodDns, PodOptions};
use crate::model::EndpointState;
use crate::selinux::SelinuxLabels;

/// A pod as the store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// 64 hex digits.
    pub id: String,
    /// What was asked for.
    pub options: PodOptions,
    /// Creation time, RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// How far it has come.
    pub state: PodState,
    /// Its network, while it is ready and not on the host's.
    pub network: Option<PodNetwork>,
    /// The cgroup that its containers' are in, if it is not the engine's own.
    pub cgroup: Option<String>,
    /// The cgroup was made for it, and goes with it.
    pub cgroup_made: bool,
    /// Its namespaces.
    pub namespaces: PodNamespaces,
    /// What its processes and files are labelled with, where SELinux is enabled.
    #[serde(default)]
    pub selinux: Option<SelinuxLabels>,
}

impl Pod {
    /// Path of its network namespace; `None` for the host's.
    pub fn netns(&self) -> Option<PathBuf> {
        self.namespaces.net.clone()
    }
}

/// How far a pod has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodState {
    /// Being made.
    Creating,
    /// Its namespaces and network are there.
    Ready,
    /// Stopped, or lost with a reboot.
    NotReady,
}

/// Where a pod's own namespaces are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNamespaces {
    /// Network.
    pub net: Option<PathBuf>,
    /// IPC.
    pub ipc: Option<PathBuf>,
    /// UTS.
    pub uts: Option<PathBuf>,
    /// User.
    pub user: Option<PathBuf>,
    /// The directory behind /dev/shm.
    pub shm: Option<PathBuf>,
}

/// A pod's place in a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodNetwork {
    /// Its addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// On the built-in bridge.
    pub endpoint: Option<EndpointState>,
    /// On a network of CNI plugins.
    pub cni: Option<CniAttachment>,
    /// Name servers that the plugins name, for a pod of which nobody says which it has.
    #[serde(default)]
    pub dns: Option<PodDns>,
}

/// What the plugins must be told to let a pod go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CniAttachment {
    /// The configuration that it was attached with.
    pub list: NetworkList,
    /// What the plugins said.
    pub result: Value,
}

/// What makes a container one of a pod's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodMember {
    /// The pod's id.
    pub pod: String,
    /// What was asked for.
    pub options: PodContainerOptions,
    /// Its log, if one is kept.
    pub log: Option<PathBuf>,
    /// Whom its first process ran as when it was last started.
    pub identity: Option<MemberIdentity>,
    /// The ids of the images it has as volumes, under the names they were asked for by.
    #[serde(default)]
    pub image_volumes: BTreeMap<String, String>,
}

/// A user and its groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberIdentity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All group ids, the primary one first.
    pub groups: Vec<u32>,
}
