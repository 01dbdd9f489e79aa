//! What the engine remembers of a container: the document kept in the store.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::options::{MountKind, MountSpec, Protocol, RunOptions};
use crate::pod::PodMember;

/// A container as the store keeps it: what was asked for, what the image said, and how far it has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Container {
    /// 64 hex digits.
    pub id: String,
    /// Unique name, without a leading slash.
    pub name: String,
    /// The image's id: the digest of its configuration, `sha256:…`. Empty for a container without an image.
    pub image_id: String,
    /// The image as the user named it (`nginx`, `debian:12`, an id).
    pub image_name: String,
    /// Digest of the manifest that the image was made from, if known.
    pub manifest_digest: Option<String>,
    /// `os/arch[/variant]` of the image.
    pub platform: String,
    /// Chain ids of the image's layers, lowest first.
    pub layers: Vec<String>,
    /// What the user asked for, after validation.
    pub options: RunOptions,
    /// The process as resolved from options and image configuration.
    pub process: ResolvedProcess,
    /// Anonymous and named volumes in use, and binds: what is mounted where.
    pub mounts: Vec<ResolvedMount>,
    /// Creation time, RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// How far it has come.
    pub state: State,
    /// The network endpoint while it runs; addresses are given back at exit.
    pub network: Option<EndpointState>,
    /// How often the restart policy started it again.
    #[serde(default)]
    pub restart_count: u32,
    /// `cgroupfs` or `systemd`, and the path in it.
    pub cgroup_driver: String,
    /// The cgroup path as in the OCI configuration (`linux.cgroupsPath`).
    pub cgroup_path: String,
    /// The pod it is in, and what was asked for there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodMember>,
}

impl Container {
    /// What `inspect` and `ps` list as mounts: as with Docker, a `--tmpfs` is none of them.
    pub fn mount_points(&self) -> impl Iterator<Item = &ResolvedMount> {
        self.mounts
            .iter()
            .filter(|mount| mount.spec.kind != MountKind::Tmpfs || mount.spec.by_mount_flag)
    }
}

/// The process that a container runs, with image defaults, flags and files of the image resolved.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ResolvedProcess {
    /// First word of the command line, as `docker inspect` shows in `.Path`.
    pub path: String,
    /// The other words.
    pub args: Vec<String>,
    /// Entry point after flags and image, if there is one.
    pub entrypoint: Option<Vec<String>>,
    /// Command after flags and image, if there is one.
    pub cmd: Option<Vec<String>>,
    /// Environment, `NAME=value`, the flags' first, then the image's that no flag names, as Docker has it; without what
    /// is added at start (HOSTNAME, HOME, TERM). A bare `NAME` removes what would be added.
    pub env: Vec<String>,
    /// Working directory, `/` if nobody said.
    pub working_dir: String,
    /// `user[:group]` as given by flag or image; empty means root.
    pub user: String,
    /// Signal that `stop` sends first, as given (`SIGTERM` if nobody said).
    pub stop_signal: String,
    /// Labels of image and flags together.
    pub labels: BTreeMap<String, String>,
    /// Ports that the image or `--expose` names, `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Volumes that the image names.
    pub volumes: Vec<String>,
    /// The image's health check, for `inspect`, as the image configuration has it.
    pub healthcheck: Option<serde_json::Value>,
}

/// Status words are Docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, never started.
    Created,
    /// Its first process lives.
    Running,
    /// Frozen.
    Paused,
    /// Between two runs of the restart policy.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended, with a known exit code.
    Exited,
    /// Ended, and nobody can say how (its monitor was killed).
    Dead,
}

impl Status {
    /// Docker's word: `created`, `running`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Removing => "removing",
            Status::Exited => "exited",
            Status::Dead => "dead",
        }
    }

    /// Whether a process of the container may be alive.
    pub fn is_live(self) -> bool {
        matches!(self, Status::Running | Status::Paused | Status::Restarting)
    }
}

/// How far a container has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The status word.
    pub status: Status,
    /// Process id of the container's first process on the host; 0 if none.
    pub pid: i32,
    /// Exit code of the last run.
    pub exit_code: i32,
    /// Whether the kernel killed it for memory.
    pub oom_killed: bool,
    /// Why the last start failed; empty if it did not.
    pub error: String,
    /// Start of the last run, RFC 3339; `0001-01-01T00:00:00Z` if there was none.
    pub started_at: String,
    /// End of the last run, RFC 3339; `0001-01-01T00:00:00Z` if there was none.
    pub finished_at: String,
}

/// Docker's zero time.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

impl State {
    /// The state of a container that was just made.
    pub fn created() -> State {
        State {
            status: Status::Created,
            pid: 0,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            started_at: ZERO_TIME.into(),
            finished_at: ZERO_TIME.into(),
        }
    }
}

/// A mount with its source found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResolvedMount {
    /// What was asked for.
    pub spec: MountSpec,
    /// Name of the volume, if it is one.
    pub volume: Option<String>,
    /// Made for this container alone: `rm -v` and `--rm` remove it.
    pub anonymous: bool,
    /// Directory or file on the host; empty for tmpfs.
    pub source: PathBuf,
}

/// A container's place in a network while it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointState {
    /// Name of the network as the user knows it: `bridge`.
    pub network: String,
    /// Interface on the host.
    pub host_ifname: String,
    /// `02:42:0a:58:00:02`.
    pub mac: String,
    /// IPv4 address and prefix length.
    pub address: IpAddr,
    /// Prefix length of the subnet.
    pub prefix_len: u8,
    /// Gateway.
    pub gateway: IpAddr,
    /// IPv6 address, prefix length and gateway, where the network has IPv6.
    pub v6: Option<(IpAddr, u8, IpAddr)>,
    /// Ports as they were published, random ones chosen.
    pub ports: Vec<PublishedPort>,
}

/// One published port of a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Address on the host: `0.0.0.0`, `::` or one of its own.
    pub host_ip: IpAddr,
    /// Port on the host.
    pub host_port: u16,
    /// Port in the container.
    pub container_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}
