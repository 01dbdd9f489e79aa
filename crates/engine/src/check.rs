//! Whether all that rctr keeps agrees: records with directories, layers, the state directory, the firewall.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rctr_runtime::cgroup::{self, Cgroup};
use rctr_store::Finding;

use crate::model::{Container, EndpointState};
use crate::{Engine, Error, Result, settle, sweep};

/// How long the kernel may take to remove what a container left when it ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// In the store.
    Store(Finding),
    /// A container has ended, and its record says that it runs.
    Unsettled {
        /// Its id.
        id: String,
    },
    /// Processes or files of a container that there is no record of.
    StateLeftover {
        /// The directory.
        path: PathBuf,
    },
    /// The cgroup of a container that does not run.
    CgroupLeftover {
        /// The container's id.
        id: String,
        /// The cgroup.
        path: String,
    },
    /// The rules for a bridge with running containers are gone.
    FirewallLost {
        /// The bridge.
        bridge: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Store(finding) => tell(f, finding),
            Problem::Unsettled { id } => {
                write!(f, "container {id}: has ended, its record says it runs")
            }
            Problem::StateLeftover { path } => {
                write!(f, "{}: of a container without a record", path.display())
            }
            Problem::CgroupLeftover { id, path } => {
                write!(
                    f,
                    "container {id}: does not run, its cgroup {path} is there"
                )
            }
            Problem::FirewallLost { bridge } => {
                write!(f, "bridge {bridge}: its firewall rules are gone")
            }
        }
    }
}

fn tell(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    match finding {
        Finding::Database { reason } => write!(f, "database: {reason}"),
        Finding::LayerMissing { chain_id } => write!(f, "layer {chain_id}: no directory"),
        Finding::LayerUnrecorded { image, chain_id } => {
            write!(
                f,
                "image {image}: layer {chain_id} is missing; pull it again"
            )
        }
        Finding::BlobMissing { image, digest } => write!(
            f,
            "image {image}: {digest} is missing or damaged; pull it again"
        ),
        Finding::ContainerMissing { id, .. } => write!(f, "container {id}: no directory"),
        Finding::VolumeMissing { name } => write!(f, "volume {name}: no directory"),
        Finding::AddressHeld { network, container } => write!(
            f,
            "network {network}: an address is held for {container}, which is not there"
        ),
        Finding::VolumeHeld { volume, container } => write!(
            f,
            "volume {volume}: held for container {container}, which is not there"
        ),
        Finding::Leftover { path } => write!(f, "{path}: no record leads to it"),
    }
}

impl Engine {
    /// Looks for what does not agree. Nothing is changed.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn check(&self) -> Result<Vec<Problem>> {
        let found = self.store.check()?;
        let damaged = found.iter().any(|f| matches!(f, Finding::Database { .. }));
        let mut problems: Vec<Problem> = found.into_iter().map(Problem::Store).collect();
        if damaged {
            return Ok(problems);
        }
        let containers = self.records()?;
        for container in &containers {
            problems.extend(self.check_run(container)?);
        }
        problems.extend(self.check_state_dirs()?);
        problems.extend(self.check_firewall(&containers)?);
        Ok(problems)
    }

    fn check_run(&self, container: &Container) -> Result<Option<Problem>> {
        let id = container.id.clone();
        if container.state.status.is_live() {
            // Whoever has the lock is at work on it.
            let free = match self.try_lock(&id) {
                Err(Error::NoSuchContainer { .. }) => false,
                other => other?.is_some(),
            };
            let unsettled = free && self.has_ended(container)?;
            return Ok(unsettled.then_some(Problem::Unsettled { id }));
        }
        let path = Path::new(&container.cgroup_path);
        let cgroup = Cgroup::open(settle::driver_of(container), path)?;
        let deadline = Instant::now() + PATIENCE;
        while cgroup.exists() {
            if Instant::now() >= deadline {
                let path = container.cgroup_path.clone();
                return Ok(Some(Problem::CgroupLeftover { id, path }));
            }
            std::thread::sleep(PATIENCE / 100);
        }
        Ok(None)
    }

    fn check_state_dirs(&self) -> Result<Vec<Problem>> {
        let mut found = Vec::new();
        for path in self.unknown_state_dirs()? {
            // A build that runs a step holds the lock.
            if sweep::lock_dir(&path)?.is_some() {
                found.push(Problem::StateLeftover { path });
            }
        }
        Ok(found)
    }

    fn check_firewall(&self, containers: &[Container]) -> Result<Vec<Problem>> {
        let mut found = Vec::new();
        for bridge in self.bridges_of(live_endpoints(containers))? {
            if rctr_network::firewall_lost(&bridge)? {
                found.push(Problem::FirewallLost {
                    bridge: bridge.name,
                });
            }
        }
        Ok(found)
    }

    /// Mends what can be mended; gives what could not.
    ///
    /// # Errors
    /// Whatever hinders it.
    pub fn repair(&self) -> Result<Vec<Problem>> {
        self.store.repair()?;
        for problem in self.check()? {
            match problem {
                Problem::Store(_) => {}
                Problem::Unsettled { id } => {
                    self.settle(&id)?;
                }
                Problem::StateLeftover { path } => {
                    if let Some(id) = path.file_name().and_then(|name| name.to_str()) {
                        self.kill_and_wait(id, None)?;
                    }
                    settle::discard_state_dir(&path)?;
                }
                Problem::CgroupLeftover { id, path } => {
                    if let Some(container) = self.record(&id)? {
                        cgroup::clear(settle::driver_of(&container), Path::new(&path))?;
                    }
                }
                Problem::FirewallLost { .. } => {
                    self.restore_rules(live_endpoints(&self.records()?));
                }
            }
        }
        self.check()
    }
}

fn live_endpoints(containers: &[Container]) -> impl Iterator<Item = &EndpointState> {
    let live = containers.iter().filter(|c| c.state.status.is_live());
    live.flat_map(|container| &container.networks)
}
