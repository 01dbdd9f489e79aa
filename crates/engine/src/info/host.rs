//! `info`: the host, and what rctr has there. Docker's own names throughout (Engine API, GET /info), and for what does not
//! exist here the values that a Docker has which does not use it: scripts ask for any of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rctr_registry_client::{HostConfigs, Platform};
use rctr_runtime::rootless::session;
use serde::Serialize;

use crate::model::Status;
use crate::{Engine, Result, pod, time};

/// `docker info`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // Docker's own field names
pub struct Info {
    #[serde(rename = "ID")]
    pub id: String,
    pub containers: usize,
    pub containers_running: usize,
    pub containers_paused: usize,
    pub containers_stopped: usize,
    pub images: usize,
    pub driver: String,
    pub driver_status: Vec<[String; 2]>,
    pub plugins: Plugins,
    pub memory_limit: bool,
    pub swap_limit: bool,
    pub cpu_cfs_period: bool,
    pub cpu_cfs_quota: bool,
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    pub pids_limit: bool,
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    pub debug: bool,
    #[serde(rename = "NFd")]
    pub nfd: usize,
    pub oom_kill_disable: bool,
    #[serde(rename = "NGoroutines")]
    pub ngoroutines: usize,
    pub system_time: String,
    pub logging_driver: String,
    pub cgroup_driver: String,
    pub cgroup_version: String,
    #[serde(rename = "NEventsListener")]
    pub nevents_listener: usize,
    pub kernel_version: String,
    pub operating_system: String,
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    #[serde(rename = "OSType")]
    pub os_type: String,
    pub architecture: String,
    pub index_server_address: String,
    pub registry_config: RegistryConfig,
    #[serde(rename = "NCPU")]
    pub ncpu: usize,
    pub mem_total: u64,
    pub generic_resources: Option<Vec<String>>,
    pub docker_root_dir: String,
    /// Not Docker's: where what does not outlive a boot is.
    pub state_dir: String,
    pub http_proxy: String,
    pub https_proxy: String,
    pub no_proxy: String,
    pub name: String,
    pub labels: Vec<String>,
    pub experimental_build: bool,
    pub server_version: String,
    pub runtimes: BTreeMap<String, RuntimeInfo>,
    pub default_runtime: String,
    pub swarm: Swarm,
    pub live_restore_enabled: bool,
    pub isolation: String,
    pub init_binary: String,
    pub containerd_commit: Commit,
    pub runc_commit: Commit,
    pub init_commit: Commit,
    pub security_options: Vec<String>,
    #[serde(rename = "CDISpecDirs")]
    pub cdi_spec_dirs: Vec<PathBuf>,
    pub warnings: Vec<String>,
    pub client_info: ClientInfo,
}

/// Drivers by kind.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // Docker's own field names
pub struct Plugins {
    pub volume: Vec<String>,
    pub network: Vec<String>,
    pub authorization: Option<Vec<String>>,
    pub log: Vec<String>,
}

/// How registries are spoken to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // Docker's own field names
pub struct RegistryConfig {
    #[serde(rename = "InsecureRegistryCIDRs")]
    pub insecure_registry_cidrs: Vec<String>,
    pub index_configs: BTreeMap<String, Index>,
    pub mirrors: Vec<String>,
}

/// One registry.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // Docker's own field names
pub struct Index {
    pub name: String,
    pub mirrors: Vec<String>,
    pub secure: bool,
    pub official: bool,
}

/// What makes containers.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // Docker's own field names
pub struct RuntimeInfo {
    pub path: PathBuf,
}

/// A node that is in no swarm.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // Docker's own field names
pub struct Swarm {
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub node_addr: String,
    pub local_node_state: String,
    pub control_available: bool,
    pub error: String,
    pub remote_managers: Option<Vec<String>>,
}

/// The version of a program that Docker consists of.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(missing_docs)] // Docker's own field names
pub struct Commit {
    #[serde(rename = "ID")]
    pub id: String,
}

/// The command line: the same program.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // Docker's own field names
pub struct ClientInfo {
    pub debug: bool,
    pub version: String,
    #[serde(rename = "DefaultAPIVersion")]
    pub default_api_version: String,
    pub git_commit: String,
    pub go_version: String,
    pub os: String,
    pub arch: String,
    pub build_time: String,
    pub context: String,
    pub plugins: Vec<String>,
    pub warnings: Option<Vec<String>>,
}

impl Engine {
    /// The host and what is on it.
    ///
    /// # Errors
    /// Whatever hinders reading the store.
    pub fn info(&self) -> Result<Info> {
        let containers = self.containers()?;
        let count = |status: Status| {
            let of = containers.iter().filter(|c| c.state.status == status);
            of.count()
        };
        let (running, paused) = (count(Status::Running), count(Status::Paused));
        let uname = nix::sys::utsname::uname().ok();
        let text = |part: Option<&std::ffi::OsStr>| {
            part.map(|s| s.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let (facts, settings) = (self.facts(), &self.config.settings);
        let limits = &facts.limits;
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Ok(Info {
            id: self.config.root.display().to_string(),
            containers: containers.len(),
            containers_running: running,
            containers_paused: paused,
            containers_stopped: containers.len() - running - paused,
            images: self.store.images()?.len(),
            driver: "overlay2".into(),
            driver_status: driver_status(&self.config.root),
            plugins: Plugins::built_in(),
            memory_limit: limits.memory,
            swap_limit: limits.swap,
            cpu_cfs_period: limits.cpu,
            cpu_cfs_quota: limits.cpu,
            cpu_shares: limits.cpu,
            cpu_set: limits.cpuset,
            pids_limit: limits.pids,
            ipv4_forwarding: forwards(),
            debug: false,
            nfd: 0,
            oom_kill_disable: limits.oom_kill_disable,
            ngoroutines: 0,
            system_time: time::now(),
            logging_driver: settings.log.driver.clone(),
            cgroup_driver: self.cgroup_driver_name().into(),
            cgroup_version: if facts.cgroup_v2() { "2" } else { "1" }.into(),
            nevents_listener: 0,
            kernel_version: text(uname.as_ref().map(|u| u.release())),
            operating_system: os_release("PRETTY_NAME").unwrap_or_else(|| "Linux".into()),
            os_version: os_release("VERSION_ID").unwrap_or_default(),
            os_type: "linux".into(),
            architecture: text(uname.as_ref().map(|u| u.machine())),
            index_server_address: "https://index.docker.io/v1/".into(),
            registry_config: RegistryConfig::of(&settings.registry),
            ncpu: std::thread::available_parallelism().map_or(1, usize::from),
            mem_total: super::memory_total(),
            generic_resources: None,
            docker_root_dir: self.config.root.display().to_string(),
            state_dir: self.config.state.display().to_string(),
            http_proxy: variable("HTTP_PROXY"),
            https_proxy: variable("HTTPS_PROXY"),
            no_proxy: variable("NO_PROXY"),
            name: text(uname.as_ref().map(|u| u.nodename())),
            labels: Vec::new(),
            experimental_build: false,
            server_version: env!("CARGO_PKG_VERSION").into(),
            runtimes: self.runtimes()?,
            default_runtime: "rctr".into(),
            swarm: Swarm::none(),
            // There is nothing whose restart they would have to outlive.
            live_restore_enabled: true,
            isolation: String::new(),
            init_binary: "rctr-monitor".into(),
            containerd_commit: Commit::default(),
            runc_commit: Commit::default(),
            init_commit: Commit::default(),
            security_options: facts.security_options(),
            cdi_spec_dirs: pod::cdi_dirs().into(),
            warnings: facts.warnings(),
            client_info: ClientInfo::own(),
        })
    }

    fn runtimes(&self) -> Result<BTreeMap<String, RuntimeInfo>> {
        let built_in = self.monitor_path()?;
        let all = self.runtime_names().into_iter().map(|name| {
            let configured = self.config.settings.runtimes.get(&name);
            let path = configured.map_or_else(|| built_in.clone(), |runtime| runtime.path.clone());
            (name, RuntimeInfo { path })
        });
        Ok(all.collect())
    }
}

impl Plugins {
    fn built_in() -> Plugins {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Plugins {
            volume: list(&["local"]),
            network: list(&["bridge", "host", "ipvlan", "macvlan", "null"]),
            authorization: None,
            log: list(&["fluentd", "journald", "json-file", "local", "syslog"]),
        }
    }
}

impl RegistryConfig {
    fn of(hosts: &HostConfigs) -> RegistryConfig {
        const HUB: &str = "docker.io";
        let index = |name: &str| {
            let config = hosts.get(name).cloned().unwrap_or_default();
            Index {
                name: name.to_owned(),
                mirrors: config.mirrors,
                secure: !config.insecure,
                official: name == HUB,
            }
        };
        let names = hosts.keys().map(String::as_str).chain([HUB]);
        let index_configs: BTreeMap<_, _> =
            names.map(|name| (name.to_owned(), index(name))).collect();
        RegistryConfig {
            insecure_registry_cidrs: ["::1/128", "127.0.0.0/8"].map(str::to_owned).into(),
            mirrors: index(HUB).mirrors,
            index_configs,
        }
    }
}

impl Swarm {
    fn none() -> Swarm {
        Swarm {
            node_id: String::new(),
            node_addr: String::new(),
            local_node_state: "inactive".into(),
            control_available: false,
            error: String::new(),
            remote_managers: None,
        }
    }
}

impl ClientInfo {
    fn own() -> ClientInfo {
        let host = Platform::host();
        ClientInfo {
            debug: false,
            version: env!("CARGO_PKG_VERSION").into(),
            default_api_version: String::new(),
            git_commit: String::new(),
            go_version: String::new(),
            os: host.os,
            arch: host.architecture,
            build_time: String::new(),
            context: "default".into(),
            plugins: Vec::new(),
            warnings: None,
        }
    }
}

/// What Docker's overlay driver tells of itself, as far as it means something here.
fn driver_status(root: &Path) -> Vec<[String; 2]> {
    let pair = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
    vec![
        pair("Backing Filesystem", filesystem(root)),
        pair("Supports d_type", "true"),
        pair(
            "userxattr",
            if session().is_some() { "true" } else { "false" },
        ),
    ]
}

/// Docker's name of the filesystem that a path is on.
fn filesystem(path: &Path) -> &'static str {
    use nix::sys::statfs;
    match statfs::statfs(path).map(|stat| stat.filesystem_type()) {
        Ok(statfs::EXT4_SUPER_MAGIC) => "extfs",
        Ok(statfs::XFS_SUPER_MAGIC) => "xfs",
        Ok(statfs::BTRFS_SUPER_MAGIC) => "btrfs",
        Ok(statfs::TMPFS_MAGIC) => "tmpfs",
        Ok(statfs::OVERLAYFS_SUPER_MAGIC) => "overlayfs",
        Ok(statfs::F2FS_SUPER_MAGIC) => "f2fs",
        _ => "<unknown>",
    }
}

fn forwards() -> bool {
    let value = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
    value.is_ok_and(|value| value.trim() == "1")
}

fn os_release(name: &str) -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let mut values = release
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Some(values.next()?.trim_matches('"').to_owned())
}
