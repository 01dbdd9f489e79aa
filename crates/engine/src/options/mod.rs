//! What a user can ask of a container, parsed and checked: `docker run`'s flags in their short syntax.
//!
//! The types here are what the front doors fill in; everything in text form (`8080:80/tcp`, `vol:/data:ro`,
//! `64m`, `nofile=1024:2048`) has a `FromStr` whose error names the flag's value and what is wrong with it,
//! in Docker's words where Docker has some.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod cpus;
mod device;
mod duration;
mod env;
mod error;
mod health;
mod isolation;
mod log;
mod misc;
mod mount;
mod mount_flag;
mod name;
mod network;
mod port;
mod restart;
mod selinux;
mod signal;
mod size;
mod validate;
mod volume;

pub use cpus::parse_cpus;
pub use device::{
    BlockIo, DeviceFlag, DeviceLimit, DeviceRule, DeviceSpec, Devices, GpuRequest,
    parse_rate_bytes, parse_rate_operations, parse_weight_device,
};
pub use duration::parse_duration;
pub use env::{parse_sysctl, resolve_env, resolve_labels};
pub use error::{LimitError, MountFlagError, NetworkFlagError, ParseError};
pub use health::HealthConfig;
pub use isolation::{AUTO_IDS, CgroupnsMode, IpcMode, Isolation, PidMode, UsernsMode};
pub(crate) use log::Reader as LogOptionReader;
pub use log::{LogChoice, LogDriver, LogPlan, parse_log_options};
pub use misc::{
    check_isolation, parse_annotation, parse_platform, parse_storage_option, parse_uts,
};
pub(crate) use mount::clean_path;
pub use name::{check_hostname, check_volume_name, parse_dns, parse_dns_search, parse_name};
pub use network::{
    EndpointFlags, EndpointRequest, combine_networks, parse_ip4, parse_ip6, parse_link_local,
    parse_mac,
};
pub use port::parse_expose;
pub use restart::{RestartMode, RestartPolicy};
pub use selinux::{Relabel, SelinuxOptions};
pub use signal::parse_signal;
pub use size::{check_cpuset, deserialize_size, parse_memory_swap, parse_size};
pub use volume::{check_volume_driver, check_volume_options};

/// Everything `run` and `create` take. `Default` is `run IMAGE` without a flag.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunOptions {
    /// The image as the user named it.
    pub image: String,
    /// `--runtime`: none is the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Command words after the image; empty means the image's.
    pub cmd: Vec<String>,
    /// `--entrypoint`: `None` keeps the image's, `Some([])` clears it.
    pub entrypoint: Option<Vec<String>>,
    /// `--name`.
    pub name: Option<String>,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub interactive: bool,
    /// `--rm`.
    pub auto_remove: bool,
    /// Whether it was started in the background (`-d` or `create`): decides attach defaults in `inspect`.
    pub detach: bool,
    /// `-p`, ranges expanded by the engine.
    pub publish: Vec<PortSpec>,
    /// `-P`.
    pub publish_all: bool,
    /// `--expose`, `80` or `80/udp` or ranges, expanded.
    pub expose: Vec<String>,
    /// `-e` and `--env-file` in order of precedence, resolved against the host: `NAME=value` sets, `NAME` alone
    /// removes.
    pub env: Vec<String>,
    /// `-v`, `--mount`, `--tmpfs`.
    pub mounts: Vec<MountSpec>,
    /// `--volumes-from`: `CONTAINER[:ro|rw]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<VolumesFrom>,
    /// `--volume-driver`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_driver: Option<String>,
    /// `-w`.
    pub working_dir: Option<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `--group-add`.
    pub group_add: Vec<String>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--add-host name:ip` (`host-gateway` as address allowed).
    pub add_hosts: Vec<AddHost>,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--network`.
    pub network: NetworkMode,
    /// A place on each network, of a container with a network of its own; none is one on the default bridge.
    #[serde(default)]
    pub endpoints: Vec<EndpointRequest>,
    /// Resource limits.
    pub resources: Resources,
    /// `--cap-add`, as given (`ALL`, `NET_ADMIN`, `CAP_NET_ADMIN`).
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--security-opt`.
    pub security: SecurityOptions,
    /// `--read-only`.
    pub read_only: bool,
    /// `--init`.
    pub init: bool,
    /// `--label` and `--label-file`.
    pub labels: BTreeMap<String, String>,
    /// `--stop-signal`.
    pub stop_signal: Option<String>,
    /// `--stop-timeout`, seconds.
    pub stop_timeout: Option<i64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// `--shm-size`, bytes; 64 MiB if not given.
    pub shm_size: Option<u64>,
    /// `--platform`.
    pub platform: Option<String>,
    /// `--pull`.
    #[serde(default)]
    pub pull: PullPolicy,
    /// `--restart`.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// `--health-*` and `--no-healthcheck`.
    #[serde(default)]
    pub health: Option<HealthConfig>,
    /// `--attach`: the streams that are shown; `None` is all of them, unless it is started in the background.
    #[serde(default)]
    pub attach: Option<AttachTo>,
    /// `--annotation`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// `--domainname`.
    #[serde(default)]
    pub domainname: Option<String>,
    /// `--cgroup-parent`.
    #[serde(default)]
    pub cgroup_parent: Option<String>,
    /// `--cgroupns`, `--ipc`, `--pid`, `--uts`, `--userns`.
    #[serde(default)]
    pub isolation: Isolation,
    /// `--device`, `--device-cgroup-rule`, `--gpus`.
    #[serde(default)]
    pub devices: Devices,
    /// `--log-driver` and `--log-opt`; in a container's record, with the configuration's where nothing was said.
    #[serde(default)]
    pub log: LogChoice,
    /// `--storage-opt size=…`, bytes.
    #[serde(default)]
    pub storage_size: Option<u64>,
    /// `--cidfile` is the front door's; the engine only records it for `inspect`.
    pub cidfile: Option<PathBuf>,
}

/// `--pull`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// Ask the registry every time.
    Always,
    /// Only if the image is not here.
    #[default]
    Missing,
    /// Fail if the image is not here.
    Never,
}

/// `--attach`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachTo {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// Transport protocol of a port.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// One `-p`: host address and ports, container ports; both ranges have the same length, or the host part is a
/// range to choose one port from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// `None`: every address of the host.
    pub host_ip: Option<IpAddr>,
    /// First and last host port; `None`: a random free one for each.
    pub host_ports: Option<(u16, u16)>,
    /// First and last container port.
    pub container_ports: (u16, u16),
    /// Protocol.
    pub protocol: Protocol,
}

/// What a mount shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A file or directory of the host.
    Bind,
    /// A volume, named or anonymous.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
    /// The files of an image, read-only.
    Image,
}

impl MountKind {
    /// The word for it in `--mount type=…` and `inspect`.
    pub fn as_str(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Volume => "volume",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Image => "image",
        }
    }
}

/// What of a bind is shown that is mounted below its source, and whether a read-only bind is that below, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BindRecursion {
    /// All is shown, and read-only too, as far as the kernel can.
    #[default]
    Enabled,
    /// Nothing is shown.
    Disabled,
    /// All is shown, and writable in a read-only bind.
    Writable,
    /// All is shown, and surely read-only.
    Readonly,
}

/// One `-v`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// What it shows.
    pub kind: MountKind,
    /// Host path (absolute) for a bind, name for a volume (`None`: anonymous), `None` for tmpfs.
    pub source: Option<String>,
    /// Absolute path in the container.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
    /// `private`, `rprivate`, `shared`, `rshared`, `slave`, `rslave`; `None`: rprivate.
    pub propagation: Option<String>,
    /// Make a missing source directory (`-v` does, `--mount` does not).
    pub create_source: bool,
    /// Copy the image's content into an empty volume (`nocopy` turns it off).
    pub copy: bool,
    /// tmpfs options: `size=`, `mode=`, `uid=`, `noexec`, … as given after the colon.
    pub tmpfs_options: Vec<String>,
    /// A volume's mount options as written, for `inspect` (`Mode`).
    pub mode: String,
    /// Asked for by `--mount`, which `inspect` tells apart.
    #[serde(default)]
    pub by_mount_flag: bool,
    /// Not the whole volume or image, but what is there in it: a relative path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// What is mounted below a bind's source.
    #[serde(default)]
    pub recursion: BindRecursion,
    /// Whose SELinux label its files get.
    #[serde(default)]
    pub relabel: Relabel,
    /// Who is to make a volume that is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_driver: Option<String>,
    /// Options of a volume that is not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volume_options: BTreeMap<String, String>,
    /// Labels of a volume that is not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volume_labels: BTreeMap<String, String>,
}

/// One `--volumes-from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// The container, as named.
    pub container: String,
    /// Whether what can be written there can be here.
    pub read_only: bool,
}

/// `--network`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The default bridge.
    #[default]
    Bridge,
    /// Only loopback.
    None,
    /// The host's own.
    Host,
    /// That of another container, by name or id.
    Container(String),
    /// One that a user made, as it was named; the first of several.
    User(String),
}

/// `--add-host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddHost {
    /// Name.
    pub name: String,
    /// Address; `None` is `host-gateway`.
    pub address: Option<IpAddr>,
}

/// Limits. Sizes are bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// `-m`.
    pub memory: Option<u64>,
    /// `--memory-swap`, memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// `--memory-reservation`.
    pub memory_reservation: Option<u64>,
    /// `--cpus`, in units of 10⁻⁹ processors as Docker keeps it (`NanoCpus`).
    pub nano_cpus: Option<u64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`; 0 and -1 are unlimited.
    pub pids_limit: Option<i64>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
    /// Length of a period of `cpu_quota`, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<u64>,
    /// Processor time in a period, in microseconds; 0 and negative are unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// `--cpu-rt-period`, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_rt_period: Option<u64>,
    /// `--cpu-rt-runtime`, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_rt_runtime: Option<i64>,
    /// `--memory-swappiness`, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<i64>,
    /// `--oom-kill-disable`.
    #[serde(default)]
    pub oom_kill_disable: bool,
    /// `--kernel-memory`, bytes: no kernel keeps it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_memory: Option<u64>,
    /// `--blkio-weight`, `--device-read-bps` and the like.
    #[serde(default)]
    pub block_io: BlockIo,
    /// Bytes of huge pages by their size (`2MB`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hugepages: BTreeMap<String, u64>,
    /// Files of the cgroup (v2) and what is written to them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unified: BTreeMap<String, String>,
}

/// `--security-opt`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityOptions {
    /// `no-new-privileges[:true|false]`.
    pub no_new_privileges: bool,
    /// `seccomp=unconfined|builtin|PATH`: the profile's JSON is read by the parser.
    pub seccomp: SeccompChoice,
    /// `apparmor=NAME|unconfined`.
    pub apparmor: Option<String>,
    /// `writable-cgroups[=true|false]`.
    #[serde(default)]
    pub writable_cgroups: bool,
    /// `systempaths=unconfined`: neither masked nor read-only paths.
    pub systempaths_unconfined: bool,
    /// `label=disable`, `label=type:…` and the like.
    #[serde(default)]
    pub selinux: SelinuxOptions,
    /// As written, for `inspect`.
    pub raw: Vec<String>,
}

/// Which seccomp profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompChoice {
    /// Docker's default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The text of a profile in Docker's JSON format.
    Profile(String),
}

/// `--ulimit name=soft[:hard]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Lower-case name without `RLIMIT_`: `nofile`.
    pub name: String,
    /// Soft limit; -1 is unlimited.
    pub soft: i64,
    /// Hard limit; -1 is unlimited.
    pub hard: i64,
}

/// What `exec` takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExecOptions {
    /// Command and arguments.
    pub cmd: Vec<String>,
    /// `-i`.
    pub interactive: bool,
    /// `-t`.
    pub tty: bool,
    /// `-d`.
    pub detach: bool,
    /// `-e`, resolved like [`RunOptions::env`].
    pub env: Vec<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `-w`.
    pub working_dir: Option<String>,
    /// `--privileged`.
    pub privileged: bool,
}
