//! `docker inspect` of a container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{ContainerConfig, GraphDriver, HostConfig, NetworkSettings, STORAGE_DRIVER};
use crate::model::{Container, Health, ResolvedMount, State, Status};
use crate::options::MountKind;
use crate::selinux::SelinuxLabels;

/// `docker inspect` of a container.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerInspect {
    /// 64 hex digits.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// First word of the command line.
    pub path: String,
    /// The others.
    pub args: Vec<String>,
    /// How far it has come.
    pub state: ContainerState,
    /// The image's id.
    pub image: String,
    /// The file that is /etc/resolv.conf in the container.
    pub resolv_conf_path: String,
    /// The file that is /etc/hostname.
    pub hostname_path: String,
    /// The file that is /etc/hosts.
    pub hosts_path: String,
    /// The log.
    pub log_path: String,
    /// Name with a leading slash.
    pub name: String,
    /// Starts by the restart policy.
    pub restart_count: u32,
    /// `overlay2`.
    pub driver: &'static str,
    /// `linux`.
    pub platform: String,
    /// SELinux label of its files.
    pub mount_label: String,
    /// SELinux label of its processes.
    pub process_label: String,
    /// AppArmor profile; the engine knows it ([`Engine::apparmor_profile`](crate::Engine::apparmor_profile)).
    pub app_armor_profile: String,
    /// Processes beside the first; nobody remembers them, so `null`.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// What the host gives it.
    pub host_config: HostConfig,
    /// Its layers on disk.
    pub graph_driver: GraphDriver,
    /// With `--size`: bytes written by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// With `--size`: bytes in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
    /// What is mounted in it.
    pub mounts: Vec<MountPoint>,
    /// What it runs.
    pub config: ContainerConfig,
    /// Addresses and ports.
    pub network_settings: NetworkSettings,
}

/// `State`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerState {
    /// `created`, `running`, …
    pub status: &'static str,
    /// A process of it lives.
    pub running: bool,
    /// Frozen.
    pub paused: bool,
    /// Between two runs.
    pub restarting: bool,
    /// Killed by the kernel for memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Ended, nobody knows how.
    pub dead: bool,
    /// First process on the host; 0 if none.
    pub pid: i32,
    /// Exit code of the last run.
    pub exit_code: i32,
    /// Why the last start failed.
    pub error: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// If it is looked after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

impl From<&State> for ContainerState {
    fn from(state: &State) -> ContainerState {
        ContainerState {
            status: state.status.as_str(),
            running: state.status.is_live(),
            paused: state.status == Status::Paused,
            restarting: state.status == Status::Restarting,
            oom_killed: state.oom_killed,
            dead: state.status == Status::Dead,
            pid: state.pid,
            exit_code: state.exit_code,
            error: state.error.clone(),
            started_at: state.started_at.clone(),
            finished_at: state.finished_at.clone(),
            health: state.health.clone(),
        }
    }
}

/// One of `Mounts`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    pub r#type: &'static str,
    /// The volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// The volume's driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<&'static str>,
    /// Options as written.
    pub mode: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// Mount propagation of a bind.
    pub propagation: String,
}

impl From<&ResolvedMount> for MountPoint {
    fn from(mount: &ResolvedMount) -> MountPoint {
        let spec = &mount.spec;
        let (driver, propagation) = match spec.kind {
            MountKind::Bind => (None, spec.propagation.clone().unwrap_or("rprivate".into())),
            MountKind::Volume => (Some("local"), spec.propagation.clone().unwrap_or_default()),
            MountKind::Tmpfs | MountKind::Image => (None, String::new()),
        };
        MountPoint {
            r#type: spec.kind.as_str(),
            name: mount.volume.clone(),
            source: mount.source.display().to_string(),
            destination: spec.target.clone(),
            driver,
            mode: spec.mode.clone(),
            rw: !spec.read_only,
            propagation,
        }
    }
}

/// Where the engine keeps a container's files.
#[derive(Debug, Clone)]
pub struct ContainerPaths {
    /// The container's own directory.
    pub dir: PathBuf,
    /// The unpacked layers of its image, topmost first.
    pub layers: Vec<PathBuf>,
    /// The log; empty if none is kept.
    pub log: Option<PathBuf>,
}

impl ContainerPaths {
    /// The paths as [the design](crate) lays them out under the root directory.
    pub fn new(root: &Path, container: &Container, has_log: bool) -> ContainerPaths {
        let dir = root.join("containers").join(&container.id);
        let layers = root.join("layers");
        ContainerPaths {
            log: has_log.then(|| dir.join("log")),
            dir,
            layers: container
                .layers
                .iter()
                .rev()
                .map(|chain| {
                    layers
                        .join(chain.trim_start_matches("sha256:"))
                        .join("diff")
                })
                .collect(),
        }
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

impl ContainerInspect {
    /// That of a container; `log_driver` is the configuration's word for it, `size` what [`Self::size_rw`] and
    /// [`Self::size_root_fs`] show.
    pub fn new(
        container: &Container,
        paths: &ContainerPaths,
        log_driver: &str,
        size: Option<(u64, u64)>,
    ) -> ContainerInspect {
        let label = |of: fn(&SelinuxLabels) -> &String| {
            container
                .selinux
                .as_ref()
                .map(of)
                .cloned()
                .unwrap_or_default()
        };
        ContainerInspect {
            id: container.id.clone(),
            created: container.created.clone(),
            path: container.process.path.clone(),
            args: container.process.args.clone(),
            state: ContainerState::from(&container.state),
            image: container.image_id.clone(),
            resolv_conf_path: paths.file("resolv.conf"),
            hostname_path: paths.file("hostname"),
            hosts_path: paths.file("hosts"),
            log_path: paths
                .log
                .as_ref()
                .map(|log| log.display().to_string())
                .unwrap_or_default(),
            name: format!("/{}", container.name),
            restart_count: container.restart_count,
            driver: STORAGE_DRIVER,
            platform: container
                .platform
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
            mount_label: label(|labels| &labels.mount),
            process_label: label(|labels| &labels.process),
            app_armor_profile: String::new(),
            exec_ids: None,
            host_config: HostConfig::new(container, log_driver),
            graph_driver: graph_driver(paths),
            size_rw: size.map(|(rw, _)| rw),
            size_root_fs: size.map(|(_, all)| all),
            mounts: container.mount_points().map(MountPoint::from).collect(),
            config: ContainerConfig::of_container(container),
            network_settings: NetworkSettings::new(container),
        }
    }
}

fn graph_driver(paths: &ContainerPaths) -> GraphDriver {
    let lower: Vec<String> = paths
        .layers
        .iter()
        .map(|layer| layer.display().to_string())
        .collect();
    GraphDriver {
        data: BTreeMap::from([
            ("LowerDir", lower.join(":")),
            ("MergedDir", paths.file("merged")),
            ("UpperDir", paths.file("upper")),
            ("WorkDir", paths.file("work")),
        ]),
        name: STORAGE_DRIVER,
    }
}
