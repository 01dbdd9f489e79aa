//! What containers and pods use: for the kubelet's decisions, and as metrics.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rctr_engine::model::Container;
use rctr_engine::pod::{InterfaceStats, Pod, PodState};
use rctr_runtime::cgroup::{Cgroup, CgroupDriver};
use tonic::Status;

use super::containers::member;
use crate::convert::container::Member;
use crate::convert::stats::{Reading, boxed, cpu, io, memory, swap};
use crate::convert::{pod, time};
use crate::metrics::{self, Disk, Interface, Processes, Subject};
use crate::service::Service;
use crate::snapshot::Snapshot;
use crate::{api, error};

/// The last readings of processor time, by container or pod.
#[derive(Clone, Default)]
pub(crate) struct Rates {
    readings: Arc<Mutex<HashMap<String, Reading>>>,
}

impl Rates {
    /// Nanoseconds of processor a second since the last reading.
    fn of(&self, id: &str, cpu_nanos: u64) -> Option<u64> {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = Reading::after(readings.get(id), Instant::now(), cpu_nanos);
        readings.insert(id.to_owned(), reading);
        reading.rate()
    }

    /// Forgets all but these.
    fn keep(&self, there: &HashSet<&str>) {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.retain(|id, _| there.contains(id.as_str()));
    }
}

impl Service {
    pub(super) async fn stats_of_container(
        &self,
        request: api::ContainerStatsRequest,
    ) -> Result<api::ContainerStatsResponse, Status> {
        let service = self.clone();
        self.engine_work(move |engine| {
            let container = member(engine, &request.container_id)?;
            let stats = service.of_container(&container);
            Ok(api::ContainerStatsResponse {
                stats: stats.map_err(|e| error::status(&e))?,
            })
        })
        .await
    }

    pub(super) async fn stats_of_containers(
        &self,
        filter: Option<api::ContainerStatsFilter>,
    ) -> Result<Vec<api::ContainerStats>, Status> {
        let service = self.clone();
        let filter = filter.unwrap_or_default();
        self.blocking(move |engine| {
            let mut all = Vec::new();
            let snapshot = service.snapshots.now(engine)?;
            for container in &snapshot.containers {
                let Some(member) = Member::of(container) else {
                    continue;
                };
                let wanted = container.state.status.is_live()
                    && container.id.starts_with(&filter.id)
                    && member.pod().starts_with(&filter.pod_sandbox_id)
                    && crate::convert::selects(&filter.label_selector, &member.options().labels);
                if wanted {
                    all.extend(unless_gone(service.of_container(container))?.flatten());
                }
            }
            service.forget_rates(&snapshot);
            Ok(all)
        })
        .await
    }

    pub(super) async fn stats_of_pod(
        &self,
        request: api::PodSandboxStatsRequest,
    ) -> Result<api::PodSandboxStatsResponse, Status> {
        let service = self.clone();
        self.blocking(move |engine| {
            let snapshot = service.snapshots.now(engine)?;
            let pod = snapshot.pod(&request.pod_sandbox_id)?;
            Ok(api::PodSandboxStatsResponse {
                stats: Some(service.of_pod(pod, &snapshot)?),
            })
        })
        .await
    }

    pub(super) async fn stats_of_pods(
        &self,
        filter: Option<api::PodSandboxStatsFilter>,
    ) -> Result<Vec<api::PodSandboxStats>, Status> {
        let service = self.clone();
        let filter = filter.unwrap_or_default();
        self.blocking(move |engine| {
            let mut all = Vec::new();
            let snapshot = service.snapshots.now(engine)?;
            for pod in ready_pods(&snapshot) {
                if pod.id.starts_with(&filter.id)
                    && crate::convert::selects(&filter.label_selector, &pod.options.labels)
                {
                    all.extend(unless_gone(service.of_pod(pod, &snapshot))?);
                }
            }
            service.forget_rates(&snapshot);
            Ok(all)
        })
        .await
    }

    pub(super) async fn metrics_of_pods(&self) -> Result<Vec<api::PodSandboxMetrics>, Status> {
        let service = self.clone();
        self.blocking(move |engine| {
            let mut all = Vec::new();
            let disk = disk_of(&engine.config().root);
            let snapshot = service.snapshots.now(engine)?;
            for pod in ready_pods(&snapshot) {
                all.extend(unless_gone(service.metrics_of_pod(pod, &snapshot, &disk))?);
            }
            Ok(all)
        })
        .await
    }

    /// Those of what is no more.
    fn forget_rates(&self, snapshot: &Snapshot) {
        let pods = snapshot.pods.iter().map(|pod| pod.id.as_str());
        let containers = snapshot
            .containers
            .iter()
            .map(|container| container.id.as_str());
        let there: HashSet<&str> = pods.chain(containers).collect();
        self.rates.keep(&there);
    }

    fn of_container(
        &self,
        container: &Container,
    ) -> rctr_engine::Result<Option<api::ContainerStats>> {
        let Some(member) = Member::of(container) else {
            return Ok(None);
        };
        let used = self.engine.stats_of(container)?;
        let layer = self.layers.of(&self.engine, &container.id)?;
        let at = time::of(used.at);
        let live = container.state.status.is_live();
        let rate = self.rates.of(&container.id, used.stats.cpu_nanos);
        Ok(Some(api::ContainerStats {
            attributes: Some(member.attributes()),
            cpu: live.then(|| cpu(at, &used.stats, rate)),
            memory: live.then(|| memory(at, &used.stats)),
            swap: live.then(|| swap(at, &used.stats)),
            io: live.then(|| io(at, &used.stats)),
            writable_layer: Some(api::FilesystemUsage {
                timestamp: time::of(layer.at),
                fs_id: Some(api::FilesystemIdentifier {
                    mountpoint: self.engine.config().root.to_string_lossy().into_owned(),
                }),
                used_bytes: boxed(layer.bytes),
                inodes_used: boxed(layer.inodes),
            }),
        }))
    }

    fn of_pod(&self, pod: &Pod, snapshot: &Snapshot) -> rctr_engine::Result<api::PodSandboxStats> {
        let members = running(pod, snapshot);
        let used = self.engine.stats_of_pod(pod, &members)?;
        let at = time::of(used.at);
        let mut containers = Vec::new();
        for container in members {
            containers.extend(self.of_container(container)?);
        }
        let mut interfaces = used.interfaces.iter().map(interface);
        // A kubelet takes it for granted that there is a default interface where there is a network: without one, none.
        let network = interfaces.next().map(|default| api::NetworkUsage {
            timestamp: at,
            default_interface: Some(default),
            interfaces: interfaces.collect(),
        });
        let rate = self.rates.of(&pod.id, used.stats.cpu_nanos);
        Ok(api::PodSandboxStats {
            attributes: Some(pod::attributes(pod)),
            linux: Some(api::LinuxPodSandboxStats {
                cpu: Some(cpu(at, &used.stats, rate)),
                memory: Some(memory(at, &used.stats)),
                io: Some(io(at, &used.stats)),
                network,
                process: Some(api::ProcessUsage {
                    timestamp: at,
                    process_count: boxed(used.process_count),
                }),
                containers,
            }),
        })
    }

    fn metrics_of_pod(
        &self,
        pod: &Pod,
        snapshot: &Snapshot,
        disk: &Disk,
    ) -> rctr_engine::Result<api::PodSandboxMetrics> {
        let members = running(pod, snapshot);
        let used = self.engine.stats_of_pod(pod, &members)?;
        let mut container_metrics = Vec::new();
        for container in members {
            let subject = self.container_subject(pod, container, disk)?;
            container_metrics.push(api::ContainerMetrics {
                container_id: container.id.clone(),
                metrics: metrics::samples(&subject),
            });
        }
        let options = &pod.options;
        let subject = Subject {
            labels: [
                pod.cgroup.clone().unwrap_or_default(),
                pod.id.clone(),
                String::new(),
                // What cAdvisor calls the container that stands for the pod.
                "POD".into(),
                options.name.clone(),
                options.namespace.clone(),
            ],
            at: time::of(used.at),
            started_at: time::nanos(&pod.created),
            limits: options.resources.clone().unwrap_or_default(),
            processes: Processes {
                count: used.process_count,
                ..Processes::default()
            },
            interfaces: used
                .interfaces
                .iter()
                .map(|i| (i.name.clone(), traffic(i)))
                .collect(),
            stats: used.stats,
            disk: None,
        };
        Ok(api::PodSandboxMetrics {
            pod_sandbox_id: pod.id.clone(),
            metrics: metrics::samples(&subject),
            container_metrics,
        })
    }

    fn container_subject(
        &self,
        pod: &Pod,
        container: &Container,
        disk: &Disk,
    ) -> rctr_engine::Result<Subject> {
        let used = self.engine.stats_of(container)?;
        let layer = self.layers.of(&self.engine, &container.id)?;
        let options = container.pod.as_ref().map(|member| &member.options);
        Ok(Subject {
            labels: [
                container.cgroup_path.clone(),
                container.id.clone(),
                container.image_name.clone(),
                options.map(|o| o.name.clone()).unwrap_or_default(),
                pod.options.name.clone(),
                pod.options.namespace.clone(),
            ],
            at: time::of(used.at),
            started_at: time::nanos(&container.state.started_at),
            limits: options.map(|o| o.resources.clone()).unwrap_or_default(),
            processes: processes(container, used.process_count),
            stats: used.stats,
            disk: Some(Disk {
                used_bytes: layer.bytes,
                ..disk.clone()
            }),
            ..Subject::default()
        })
    }
}

fn ready_pods(snapshot: &Snapshot) -> impl Iterator<Item = &Pod> {
    let pods = snapshot.pods.iter().map(Arc::as_ref);
    pods.filter(|pod| pod.state == PodState::Ready)
}

fn running<'a>(pod: &Pod, snapshot: &'a Snapshot) -> Vec<&'a Container> {
    let members = snapshot.containers_of(&pod.id);
    members
        .filter(|container| container.state.status.is_live())
        .collect()
}

/// Something that was stopped while the others were looked at is left out.
fn unless_gone<T>(looked: rctr_engine::Result<T>) -> rctr_engine::Result<Option<T>> {
    use rctr_engine::Error as E;
    match looked {
        Err(E::NoSuchPod { .. } | E::PodNotReady { .. } | E::NoSuchContainer { .. }) => Ok(None),
        other => other.map(Some),
    }
}

fn interface(from: &InterfaceStats) -> api::NetworkInterfaceUsage {
    api::NetworkInterfaceUsage {
        name: from.name.clone(),
        rx_bytes: boxed(from.rx_bytes),
        rx_errors: boxed(from.rx_errors),
        tx_bytes: boxed(from.tx_bytes),
        tx_errors: boxed(from.tx_errors),
    }
}

fn traffic(from: &InterfaceStats) -> Interface {
    Interface {
        rx_bytes: from.rx_bytes,
        rx_packets: from.rx_packets,
        rx_dropped: from.rx_dropped,
        rx_errors: from.rx_errors,
        tx_bytes: from.tx_bytes,
        tx_packets: from.tx_packets,
        tx_dropped: from.tx_dropped,
        tx_errors: from.tx_errors,
    }
}

/// What a container's processes hold open; those that end meanwhile hold nothing.
fn processes(container: &Container, count: u64) -> Processes {
    let mut held = Processes {
        count,
        max_open_files: max_open_files(container.state.pid),
        ..Processes::default()
    };
    let driver = match container.cgroup_driver.as_str() {
        "systemd" => CgroupDriver::Systemd,
        _ => CgroupDriver::Cgroupfs,
    };
    let cgroup = Cgroup::open(driver, Path::new(&container.cgroup_path));
    let pids = cgroup.and_then(|cgroup| cgroup.processes());
    for pid in pids.into_iter().flatten() {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
        for file in files.flatten().flatten() {
            held.file_descriptors += 1;
            let target = fs::read_link(file.path()).unwrap_or_default();
            held.sockets += u64::from(target.to_string_lossy().starts_with("socket:"));
        }
    }
    held
}

fn max_open_files(pid: i32) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    soft.unwrap_or(0)
}

/// The file system of the containers' writable layers.
fn disk_of(root: &Path) -> Disk {
    let device = fs::metadata(root).map(|meta| {
        let dev = meta.dev();
        let (major, minor) = (libc::major(dev), libc::minor(dev));
        metrics::device_name(major, minor)
    });
    let Ok(stat) = nix::sys::statvfs::statvfs(root) else {
        return Disk::default();
    };
    Disk {
        device: device.unwrap_or_default(),
        used_bytes: 0,
        limit_bytes: stat.blocks() * stat.fragment_size(),
        inodes_total: stat.files(),
        inodes_free: stat.files_free(),
    }
}
