//! What a kubelet can ask of a pod and of the containers in it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

pub use rctr_runtime::namespaces::{IdMap, IdMappings};
use serde::{Deserialize, Serialize};

use crate::options::{Protocol, Resources, SelinuxOptions};

/// Everything about a pod but its containers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodOptions {
    /// Its name, unique in its namespace.
    pub name: String,
    /// The Kubernetes namespace it is in.
    pub namespace: String,
    /// What tells it from another of the same name.
    pub uid: String,
    /// How often it was made before.
    pub attempt: u32,
    /// Host name in its own UTS namespace; empty for a pod on the host's network.
    pub hostname: String,
    /// Directory of its containers' logs.
    pub log_directory: Option<PathBuf>,
    /// What its resolv.conf says; without it the host's own.
    pub dns: Option<PodDns>,
    /// Ports of the host that lead to it.
    pub ports: Vec<PodPort>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// The cgroup of the pod: a path, or with the systemd driver a slice. Its containers' are below.
    pub cgroup_parent: Option<String>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Whose network it is on.
    pub network: NamespaceScope,
    /// Whose System V IPC and /dev/shm it has.
    pub ipc: NamespaceScope,
    /// Whose processes its containers see.
    pub pid: PidScope,
    /// A user namespace with these mappings.
    pub user: Option<IdMappings>,
    /// It will have a privileged container.
    pub privileged: bool,
    /// SELinux label of those of its containers that name none.
    #[serde(default)]
    pub selinux: Option<SelinuxOptions>,
    /// What all its containers may use together.
    pub resources: Option<Resources>,
    /// What the pod itself may use besides them.
    pub overhead: Option<Resources>,
    /// The RuntimeClass's handler; empty for the built-in.
    pub handler: String,
}

impl PodOptions {
    /// What tells pods apart: `name_namespace_uid_attempt`.
    pub fn key(&self) -> String {
        format!(
            "{}_{}_{}_{}",
            self.name, self.namespace, self.uid, self.attempt
        )
    }
}

/// A pod's resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodDns {
    /// `nameserver`.
    pub servers: Vec<String>,
    /// `search`.
    pub searches: Vec<String>,
    /// `options`.
    pub options: Vec<String>,
}

impl PodDns {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.searches.is_empty() && self.options.is_empty()
    }
}

/// A port of the host that leads to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPort {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port in the pod.
    pub container_port: u16,
    /// Port on the host.
    pub host_port: u16,
    /// Address on the host; `None` is every one.
    pub host_ip: Option<IpAddr>,
}

/// Whose namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceScope {
    /// The pod's own.
    #[default]
    Pod,
    /// The host's.
    Node,
}

/// Whose PID namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidScope {
    /// One for all containers of the pod.
    Pod,
    /// Each container its own.
    #[default]
    Container,
    /// The host's.
    Node,
    /// That of another container, by id.
    Target(String),
}

/// Everything about a container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodContainerOptions {
    /// Its name, unique in the pod.
    pub name: String,
    /// How often it was made before.
    pub attempt: u32,
    /// Its image: an id, or a reference.
    pub image: String,
    /// The image as the user wrote it.
    pub image_name: String,
    /// Instead of the image's entry point (and then of its command too).
    pub command: Vec<String>,
    /// Instead of the image's command.
    pub args: Vec<String>,
    /// Working directory, instead of the image's.
    pub working_dir: Option<String>,
    /// Environment; values are bytes.
    pub env: Vec<(String, Vec<u8>)>,
    /// What is mounted where.
    pub mounts: Vec<PodMount>,
    /// Devices of the host.
    pub devices: Vec<PodDevice>,
    /// Devices by their CDI names.
    pub cdi_devices: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// The log, below the pod's log directory.
    pub log_path: Option<PathBuf>,
    /// Keep standard input open for those who attach.
    pub stdin: bool,
    /// Close it with the first of them.
    pub stdin_once: bool,
    /// A terminal.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// User, capabilities, profiles.
    pub security: PodSecurity,
    /// Signal that `stop` sends first, instead of the image's.
    pub stop_signal: Option<String>,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodMount {
    /// Path in the container.
    pub target: String,
    /// What is shown there.
    pub source: PodMountSource,
    /// Read-only, but not what is mounted below it.
    pub read_only: bool,
    /// Read-only with all that is mounted below it.
    pub recursive_read_only: bool,
    /// Which later mounts pass.
    pub propagation: Propagation,
    /// Show other owners.
    pub mappings: Option<IdMappings>,
    /// Give the files the container's SELinux label.
    #[serde(default)]
    pub relabel: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodMountSource {
    /// A file or directory of the host.
    Host(PathBuf),
    /// An image's files, read-only, or a directory of them.
    Image {
        /// The image: an id or a reference.
        image: String,
        /// A directory in it.
        sub_path: Option<String>,
    },
}

/// Which mounts made later on one side are seen on the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// None.
    #[default]
    Private,
    /// The host's, in the container.
    HostToContainer,
    /// Each side's on the other.
    Bidirectional,
}

/// A device, or a directory of devices, of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodDevice {
    /// Path on the host.
    pub host: PathBuf,
    /// Path in the container.
    pub container: PathBuf,
    /// Of `r`, `w` and `m`.
    pub permissions: String,
}

/// A container's security context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSecurity {
    /// All capabilities and devices, nothing hidden.
    pub privileged: bool,
    /// The root filesystem cannot be written to.
    pub read_only_rootfs: bool,
    /// Set-user-id programs give nothing.
    pub no_new_privileges: bool,
    /// User id, instead of the image's user.
    pub run_as_user: Option<u32>,
    /// User name, instead of the image's user.
    pub run_as_username: Option<String>,
    /// Primary group.
    pub run_as_group: Option<u32>,
    /// Further groups.
    pub supplemental_groups: Vec<u32>,
    /// Whether the groups of the image's /etc/group count.
    pub groups_policy: GroupsPolicy,
    /// Capabilities to add, `ALL` for all.
    pub cap_add: Vec<String>,
    /// Capabilities to drop, `ALL` for all.
    pub cap_drop: Vec<String>,
    /// Capabilities to keep over the execution of programs.
    pub ambient: Vec<String>,
    /// Paths that show nothing.
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written to.
    pub readonly_paths: Vec<String>,
    /// System call filter.
    pub seccomp: PodSeccomp,
    /// AppArmor profile.
    pub apparmor: PodApparmor,
    /// SELinux label.
    pub selinux: Option<SelinuxOptions>,
    /// Whose processes it sees.
    pub pid: PidScope,
}

/// Where a container's groups come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupsPolicy {
    /// The image's /etc/group and the supplemental ones.
    #[default]
    Merge,
    /// Only the supplemental ones.
    Strict,
}

/// A system call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodSeccomp {
    /// rctr's own.
    RuntimeDefault,
    /// None.
    #[default]
    Unconfined,
    /// A profile in Docker's JSON format in a file of the host.
    Localhost(PathBuf),
}

/// An AppArmor profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodApparmor {
    /// Nobody named one: the runtime's own where the kernel enforces profiles, none for the privileged.
    #[default]
    Unnamed,
    /// The runtime's own; refused where the kernel does not enforce it.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// One that is loaded, by name.
    Localhost(String),
}
