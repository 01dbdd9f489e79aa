//! What containers and pods use.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use rctr_runtime::cgroup::{Cgroup, Stats};

use super::{Pod, PodState};
use crate::model::Container;
use crate::{Engine, Error, Result, settle};

/// What a running container uses.
#[derive(Debug, Clone)]
pub struct ContainerStats {
    /// When it was looked at.
    pub at: SystemTime,
    /// Its cgroup's figures.
    pub stats: Stats,
    /// Processes, without their threads.
    pub process_count: u64,
}

/// What a container has written to its own layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerStats {
    /// When it was looked at.
    pub at: SystemTime,
    /// Bytes on disk.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// What a pod uses.
#[derive(Debug, Clone)]
pub struct PodStats {
    /// When it was looked at.
    pub at: SystemTime,
    /// Its cgroup's figures, or the sum of its containers' where it has none of its own.
    pub stats: Stats,
    /// Processes of all its containers.
    pub process_count: u64,
    /// Its network interfaces, `eth0` first; none on the host's network.
    pub interfaces: Vec<InterfaceStats>,
}

/// Traffic of a network interface since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    /// Its name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Packets dropped on the way in.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Send errors.
    pub tx_errors: u64,
    /// Packets dropped on the way out.
    pub tx_dropped: u64,
}

impl Engine {
    /// What a container uses now: nothing, if it does not run.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; whatever hinders reading.
    pub fn container_stats(&self, name: &str) -> Result<ContainerStats> {
        let container = self.container(name)?;
        self.stats_of(&container)
    }

    /// The same of a container whose record is known.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn stats_of(&self, container: &Container) -> Result<ContainerStats> {
        let at = SystemTime::now();
        let (stats, process_count) = match container.state.status.is_live() {
            true => self.cgroup_stats(container)?,
            false => (Stats::default(), 0),
        };
        Ok(ContainerStats {
            at,
            stats,
            process_count,
        })
    }

    /// What a container has written. All its files are looked at.
    ///
    /// # Errors
    /// Whatever hinders finding them.
    pub fn layer_stats(&self, id: &str) -> Result<LayerStats> {
        let upper = self.store.container_dir(id)?.join("upper");
        let at = SystemTime::now();
        let (bytes, inodes) = tree(&upper);
        Ok(LayerStats { at, bytes, inodes })
    }

    pub(crate) fn cgroup_stats(&self, container: &Container) -> Result<(Stats, u64)> {
        let driver = settle::driver_of(container);
        let cgroup = Cgroup::open(driver, Path::new(&container.cgroup_path))?;
        // It may end at any moment, and its cgroup with it.
        match cgroup.exists() {
            true => Ok((cgroup.stats()?, cgroup.process_count()? as u64)),
            false => Ok((Stats::default(), 0)),
        }
    }

    /// What a pod uses now, with its running containers.
    ///
    /// # Errors
    /// [`Error::PodNotReady`]; whatever hinders reading.
    pub fn stats_of_pod(&self, pod: &Pod, running: &[&Container]) -> Result<PodStats> {
        if pod.state != PodState::Ready {
            return Err(Error::PodNotReady { id: pod.id.clone() });
        }
        let at = SystemTime::now();
        let mut process_count = 0;
        let mut total = Stats::default();
        for container in running {
            let (stats, count) = self.cgroup_stats(container)?;
            process_count += count;
            add(&mut total, &stats);
        }
        if let Some(path) = &pod.cgroup {
            let cgroup = Cgroup::open(self.cgroup_driver(), Path::new(path))?;
            if cgroup.exists() {
                total = cgroup.stats()?;
            }
        }
        Ok(PodStats {
            at,
            stats: total,
            process_count,
            interfaces: self.interfaces(pod)?,
        })
    }

    fn interfaces(&self, pod: &Pod) -> Result<Vec<InterfaceStats>> {
        let Some(path) = pod.netns() else {
            return Ok(Vec::new());
        };
        let netns = fs::File::open(&path).map_err(Error::file("open", &path))?;
        let text = rctr_network::traffic(netns.into())?;
        let mut interfaces = parse(&text);
        interfaces.sort_by_key(|interface| interface.name != "eth0");
        Ok(interfaces)
    }
}

fn add(total: &mut Stats, one: &Stats) {
    total.cpu_nanos += one.cpu_nanos;
    total.cpu_user_nanos += one.cpu_user_nanos;
    total.cpu_system_nanos += one.cpu_system_nanos;
    total.memory_bytes += one.memory_bytes;
    total.memory_inactive_file += one.memory_inactive_file;
    total.memory_working_set += one.memory_working_set;
    total.memory_rss += one.memory_rss;
    total.memory_cache += one.memory_cache;
    total.memory_page_faults += one.memory_page_faults;
    total.memory_major_page_faults += one.memory_major_page_faults;
    total.swap_bytes += one.swap_bytes;
    total.pids += one.pids;
}

/// /proc/net/dev without the loopback.
pub(crate) fn parse(text: &str) -> Vec<InterfaceStats> {
    let line = |line: &str| -> Option<InterfaceStats> {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        let at = |n: usize| numbers.get(n).copied();
        Some(InterfaceStats {
            name: name.trim().to_owned(),
            rx_bytes: at(0)?,
            rx_packets: at(1)?,
            rx_errors: at(2)?,
            rx_dropped: at(3)?,
            tx_bytes: at(8)?,
            tx_packets: at(9)?,
            tx_errors: at(10)?,
            tx_dropped: at(11)?,
        })
    };
    let all = text.lines().filter_map(line);
    all.filter(|interface| interface.name != "lo").collect()
}

/// Bytes on disk and number of files of a tree; what vanishes meanwhile does not count.
fn tree(root: &Path) -> (u64, u64) {
    let (mut bytes, mut inodes) = (0, 0);
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            inodes += 1;
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    (bytes, inodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_read_without_the_loopback() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0\n";
        let eth0 = InterfaceStats {
            name: "eth0".into(),
            rx_bytes: 100,
            rx_packets: 2,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 500,
            tx_packets: 6,
            tx_errors: 7,
            tx_dropped: 8,
        };
        assert_eq!(parse(text), [eth0]);
    }
}
