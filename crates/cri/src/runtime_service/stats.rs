//! What containers and pods use: for the kubelet's decisions, and as metrics.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rctr_engine::Engine;
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
    fn keep(&self, ids: &dyn Fn(&str) -> bool) {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.retain(|id, _| ids(id));
    }
}

impl Service {
    pub(super) async fn stats_of_container(
        &self,
        request: api::ContainerStatsRequest,
    ) -> Result<api::ContainerStatsResponse, Status> {
        let rates = self.rates.clone();
        self.engine_work(move |engine| {
            let container = member(engine, &request.container_id)?;
            let stats = of_container(engine, &rates, &container).map_err(|e| error::status(&e))?;
            Ok(api::ContainerStatsResponse { stats })
        })
        .await
    }

    pub(super) async fn stats_of_containers(
        &self,
        filter: Option<api::ContainerStatsFilter>,
    ) -> Result<Vec<api::ContainerStats>, Status> {
        let rates = self.rates.clone();
        let filter = filter.unwrap_or_default();
        self.blocking(move |engine| {
            let mut all = Vec::new();
            for container in engine.pod_containers()? {
                let Some(member) = Member::of(&container) else {
                    continue;
                };
                let wanted = container.state.status.is_live()
                    && container.id.starts_with(&filter.id)
                    && member.pod().starts_with(&filter.pod_sandbox_id)
                    && crate::convert::selects(&filter.label_selector, &member.options().labels);
                if wanted {
                    all.extend(of_container(engine, &rates, &container)?);
                }
            }
            Ok(all)
        })
        .await
    }

    pub(super) async fn stats_of_pod(
        &self,
        request: api::PodSandboxStatsRequest,
    ) -> Result<api::PodSandboxStatsResponse, Status> {
        let rates = self.rates.clone();
        self.blocking(move |engine| {
            let pod = engine.pod(&request.pod_sandbox_id)?;
            Ok(api::PodSandboxStatsResponse {
                stats: Some(of_pod(engine, &rates, &pod)?),
            })
        })
        .await
    }

    pub(super) async fn stats_of_pods(
        &self,
        filter: Option<api::PodSandboxStatsFilter>,
    ) -> Result<Vec<api::PodSandboxStats>, Status> {
        let rates = self.rates.clone();
        let filter = filter.unwrap_or_default();
        self.blocking(move |engine| {
            let mut all = Vec::new();
            for pod in ready_pods(engine)? {
                if pod.id.starts_with(&filter.id)
                    && crate::convert::selects(&filter.label_selector, &pod.options.labels)
                {
                    all.extend(unless_gone(of_pod(engine, &rates, &pod))?);
                }
            }
            let known: Vec<&str> = all
                .iter()
                .flat_map(|stats| {
                    let linux = stats.linux.iter().flat_map(|linux| &linux.containers);
                    let containers = linux.filter_map(|c| c.attributes.as_ref());
                    let pod = stats.attributes.iter().map(|a| a.id.as_str());
                    pod.chain(containers.map(|a| a.id.as_str()))
                })
                .collect();
            if filter.id.is_empty() && filter.label_selector.is_empty() {
                rates.keep(&|id| known.contains(&id));
            }
            Ok(all)
        })
        .await
    }

    pub(super) async fn metrics_of_pods(&self) -> Result<Vec<api::PodSandboxMetrics>, Status> {
        self.blocking(|engine| {
            let mut all = Vec::new();
            let disk = disk_of(&engine.config().root);
            for pod in ready_pods(engine)? {
                all.extend(unless_gone(metrics_of_pod(engine, &pod, &disk))?);
            }
            Ok(all)
        })
        .await
    }
}

fn ready_pods(engine: &Engine) -> rctr_engine::Result<impl Iterator<Item = Pod>> {
    let pods = engine.pods()?.into_iter();
    Ok(pods.filter(|pod| pod.state == PodState::Ready))
}

/// Something that was stopped while the others were looked at is left out.
fn unless_gone<T>(looked: rctr_engine::Result<T>) -> rctr_engine::Result<Option<T>> {
    use rctr_engine::Error as E;
    match looked {
        Err(E::NoSuchPod { .. } | E::PodNotReady { .. } | E::NoSuchContainer { .. }) => Ok(None),
        other => other.map(Some),
    }
}

fn of_container(
    engine: &Engine,
    rates: &Rates,
    container: &Container,
) -> rctr_engine::Result<Option<api::ContainerStats>> {
    let Some(member) = Member::of(container) else {
        return Ok(None);
    };
    let used = engine.stats_of(container)?;
    let at = time::of(used.at);
    let live = container.state.status.is_live();
    let rate = rates.of(&container.id, used.stats.cpu_nanos);
    Ok(Some(api::ContainerStats {
        attributes: Some(member.attributes()),
        cpu: live.then(|| cpu(at, &used.stats, rate)),
        memory: live.then(|| memory(at, &used.stats)),
        swap: live.then(|| swap(at, &used.stats)),
        io: live.then(|| io(at, &used.stats)),
        writable_layer: Some(api::FilesystemUsage {
            timestamp: at,
            fs_id: Some(api::FilesystemIdentifier {
                mountpoint: engine.config().root.to_string_lossy().into_owned(),
            }),
            used_bytes: boxed(used.writable_bytes),
            inodes_used: boxed(used.writable_inodes),
        }),
    }))
}

fn of_pod(engine: &Engine, rates: &Rates, pod: &Pod) -> rctr_engine::Result<api::PodSandboxStats> {
    let used = engine.pod_stats(&pod.id)?;
    let at = time::of(used.at);
    let mut containers = Vec::new();
    for container in engine.containers_of(&pod.id)? {
        if container.state.status.is_live() {
            containers.extend(of_container(engine, rates, &container)?);
        }
    }
    let mut interfaces = used.interfaces.iter().map(interface);
    // A kubelet takes it for granted that there is a default interface where there is a network: without one, none.
    let network = interfaces.next().map(|default| api::NetworkUsage {
        timestamp: at,
        default_interface: Some(default),
        interfaces: interfaces.collect(),
    });
    let rate = rates.of(&pod.id, used.stats.cpu_nanos);
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

fn interface(from: &InterfaceStats) -> api::NetworkInterfaceUsage {
    api::NetworkInterfaceUsage {
        name: from.name.clone(),
        rx_bytes: boxed(from.rx_bytes),
        rx_errors: boxed(from.rx_errors),
        tx_bytes: boxed(from.tx_bytes),
        tx_errors: boxed(from.tx_errors),
    }
}

fn metrics_of_pod(
    engine: &Engine,
    pod: &Pod,
    disk: &Disk,
) -> rctr_engine::Result<api::PodSandboxMetrics> {
    let used = engine.pod_stats(&pod.id)?;
    let mut container_metrics = Vec::new();
    for container in engine.containers_of(&pod.id)? {
        if container.state.status.is_live() {
            let subject = container_subject(engine, pod, &container, disk)?;
            container_metrics.push(api::ContainerMetrics {
                container_id: container.id.clone(),
                metrics: metrics::samples(&subject),
            });
        }
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
    engine: &Engine,
    pod: &Pod,
    container: &Container,
    disk: &Disk,
) -> rctr_engine::Result<Subject> {
    let used = engine.stats_of(container)?;
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
            used_bytes: used.writable_bytes,
            ..disk.clone()
        }),
        ..Subject::default()
    })
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
