//! What the engine remembers of a container: the document kept in the store.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

pub use rctr_runtime::HealthStatus;

use crate::inspect::network_id;
use crate::network::Driver;
use crate::options::{EndpointRequest, MountKind, MountSpec, NetworkMode, Protocol, RunOptions};
use crate::pod::PodMember;
use crate::selinux::SelinuxLabels;
use crate::time;

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
    /// The network endpoints while it runs, in the order of their interfaces; addresses that nobody asked for are given
    /// back at exit.
    #[serde(default, alias = "network", deserialize_with = "one_or_several")]
    pub networks: Vec<EndpointState>,
    /// The networks it is connected to, whether it runs or not; `None` in a record from before there were several.
    #[serde(default)]
    pub connections: Option<Vec<Connection>>,
    /// How often the restart policy started it again.
    #[serde(default)]
    pub restart_count: u32,
    /// What the restart policy has to remember.
    #[serde(default)]
    pub restarts: Restarts,
    /// `cgroupfs` or `systemd`, and the path in it.
    pub cgroup_driver: String,
    /// The cgroup path as in the OCI configuration (`linux.cgroupsPath`).
    pub cgroup_path: String,
    /// The pod it is in, and what was asked for there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodMember>,
    /// Its SELinux labels, where it was enabled when the container was made or started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux: Option<SelinuxLabels>,
}

/// Records from before there were several have one endpoint or none.
fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<EndpointState>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Several(Vec<EndpointState>),
        One(Box<EndpointState>),
    }
    Ok(match Option::<Stored>::deserialize(from)? {
        None => Vec::new(),
        Some(Stored::One(one)) => vec![*one],
        Some(Stored::Several(several)) => several,
    })
}

impl Container {
    /// The networks it is connected to, whether it runs or not.
    pub fn connections(&self) -> Cow<'_, [Connection]> {
        match (&self.connections, &self.options.network) {
            (Some(connections), _) => Cow::Borrowed(connections),
            (None, NetworkMode::Bridge) if self.pod.is_none() => {
                Cow::Owned(vec![Connection::to_default()])
            }
            _ => Cow::Borrowed(&[]),
        }
    }

    /// The endpoint that leads to the world, with the published ports, while it runs.
    pub fn way_out(&self) -> Option<&EndpointState> {
        let mut ways: Vec<&EndpointState> = self.networks.iter().filter(|e| e.leads_out).collect();
        ways.sort_by(|a, b| {
            let priority = b.gw_priority.cmp(&a.gw_priority);
            priority.then_with(|| a.network.cmp(&b.network))
        });
        ways.first().copied()
    }

    /// The same for IPv6.
    pub fn way_out_v6(&self) -> Option<&EndpointState> {
        let mut ways: Vec<&EndpointState> = self
            .networks
            .iter()
            .filter(|e| e.leads_out && e.v6.is_some())
            .collect();
        ways.sort_by(|a, b| {
            let priority = b.gw_priority.cmp(&a.gw_priority);
            priority.then_with(|| a.network.cmp(&b.network))
        });
        ways.first().copied()
    }

    /// Whether it is on a network that a user made, where containers have names.
    pub fn has_names(&self) -> bool {
        self.connections()
            .iter()
            .any(|connection| connection.is_custom())
    }

    /// What `inspect` and `ps` list as mounts: as with Docker, a `--tmpfs` is none of them.
    pub fn mount_points(&self) -> impl Iterator<Item = &ResolvedMount> {
        self.mounts
            .iter()
            .filter(|mount| mount.spec.kind != MountKind::Tmpfs || mount.spec.by_mount_flag)
    }
}

/// What a restart policy has to remember beyond a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restarts {
    /// Somebody has stopped it since its last start by hand.
    pub stopped: bool,
    /// How long it last waited before it was started again, milliseconds; 0 if it did not.
    pub backoff: u64,
    /// While it is `restarting`: when it is to be started, RFC 3339.
    pub due: String,
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
    /// Nobody has seen the end of the last run: the exit code is made up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen_end: bool,
    /// Why the last start failed, or its end was not seen; empty if neither.
    pub error: String,
    /// Start of the last run, RFC 3339; `0001-01-01T00:00:00Z` if there was none.
    pub started_at: String,
    /// End of the last run, RFC 3339; `0001-01-01T00:00:00Z` if there was none.
    pub finished_at: String,
    /// How long the last run was, as long as its monitor's word is there: by a clock that nobody sets.
    #[serde(skip)]
    pub ran: Option<Duration>,
    /// Its health, if it is looked after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// A container's health as Docker tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// The status; of a container that is paused or has ended `unhealthy`.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results, the oldest first, those of earlier runs among them.
    pub log: Vec<HealthResult>,
}

/// How one probe went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthResult {
    /// When it was started, RFC 3339.
    pub start: String,
    /// When it had ended, RFC 3339.
    pub end: String,
    /// Its exit code; -1 if it could not be executed or took too long.
    pub exit_code: i32,
    /// The beginning of what it wrote.
    pub output: String,
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
            unseen_end: false,
            error: String::new(),
            started_at: ZERO_TIME.into(),
            finished_at: ZERO_TIME.into(),
            ran: None,
            health: None,
        }
    }

    /// How long the last run was, at least.
    pub(crate) fn lived(&self) -> Duration {
        let times = (
            time::parse(&self.started_at),
            time::parse(&self.finished_at),
        );
        match (self.ran, times) {
            (Some(ran), _) => ran,
            // Somebody may have set the clock back.
            (None, (Some(start), Some(end))) if self.started_at != ZERO_TIME => {
                end.duration_since(start).unwrap_or_default()
            }
            _ => Duration::ZERO,
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

/// A network that a container is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The network's id.
    pub network_id: String,
    /// The network's driver.
    pub driver: Driver,
    /// What was asked for; the network in it by name.
    pub request: EndpointRequest,
}

impl Connection {
    /// To the default bridge, without a wish.
    pub(crate) fn to_default() -> Connection {
        Connection {
            network_id: network_id("bridge"),
            driver: Driver::Bridge,
            request: EndpointRequest::on("bridge"),
        }
    }

    /// Whether a user made the network.
    pub fn is_custom(&self) -> bool {
        self.request.network != "bridge"
    }
}

/// A container's place in a network while it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointState {
    /// Name of the network as the user knows it: `bridge`.
    pub network: String,
    /// The network's id; empty in a record from before there were several.
    #[serde(default)]
    pub network_id: String,
    /// The network's driver.
    #[serde(default)]
    pub driver: Driver,
    /// 64 hex digits, others for every run; empty in a record from before there were several.
    #[serde(default)]
    pub endpoint_id: String,
    /// The interface's name inside.
    #[serde(default = "first_interface")]
    pub ifname: String,
    /// Whether the network leads to the world.
    #[serde(default = "yes")]
    pub leads_out: bool,
    /// Of several endpoints the one with the highest leads to the world.
    #[serde(default)]
    pub gw_priority: i64,
    /// Addresses besides.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Kernel parameters of the interface, `net.ipv4.conf.IFNAME.log_martians=1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sysctls: Vec<String>,
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

impl EndpointState {
    /// The network's id, also of an old record.
    pub fn network_id(&self) -> String {
        match self.network_id.is_empty() {
            true => network_id(&self.network),
            false => self.network_id.clone(),
        }
    }
}

fn first_interface() -> String {
    "eth0".into()
}

fn yes() -> bool {
    true
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::container;

    #[test]
    fn a_record_from_before_there_were_several_networks_is_read() {
        let mut record = serde_json::to_value(container()).unwrap();
        let fields = record.as_object_mut().unwrap();
        fields.remove("networks");
        fields.remove("connections");
        let endpoint = serde_json::json!({
            "network": "bridge", "host_ifname": "rv0123456789", "mac": "02:42:0a:58:00:02",
            "address": "10.88.0.2", "prefix_len": 16, "gateway": "10.88.0.1", "v6": null, "ports": [],
        });
        fields.insert("network".into(), endpoint);
        let old: Container = serde_json::from_value(record.clone()).unwrap();
        assert_eq!(old.networks.len(), 1);
        let place = &old.networks[0];
        assert_eq!((place.ifname.as_str(), place.leads_out), ("eth0", true));
        assert_eq!(place.network_id(), network_id("bridge"));
        assert_eq!(old.connections()[..], [Connection::to_default()]);
        assert!(!old.has_names());
        record["network"] = serde_json::Value::Null;
        let ended: Container = serde_json::from_value(record).unwrap();
        assert!(ended.networks.is_empty());
    }

    #[test]
    fn the_way_out_is_the_one_of_highest_priority_then_the_first_by_name() {
        let mut c = container();
        let place = |name: &str, priority, leads_out| EndpointState {
            network: name.into(),
            gw_priority: priority,
            leads_out,
            ..container().networks[0].clone()
        };
        let name = |c: &Container| c.way_out().map(|e| e.network.clone());
        c.networks = vec![
            place("b", 0, true),
            place("a", 0, true),
            place("c", 9, false),
        ];
        assert_eq!(name(&c).as_deref(), Some("a"));
        c.networks[0].gw_priority = 1;
        assert_eq!(name(&c).as_deref(), Some("b"));
        c.networks.retain(|e| !e.leads_out);
        assert_eq!(name(&c), None);
    }
}
