//! The metrics of containers and pods by cAdvisor's names, which a kubelet hands on to Prometheus as they come.
//!
//! A table: each family has a name, a kind, labels of its own, and how its samples are read from what was measured.

mod families;
mod read;

use std::collections::BTreeMap;

use rctr_engine::options::Resources;
use rctr_runtime::cgroup::Stats;

use self::families::FAMILIES;
pub(crate) use self::read::device_name;
use crate::api;
use crate::api::MetricType;

/// The labels that every sample has.
const LABELS: [&str; 6] = ["id", "name", "image", "container", "pod", "namespace"];

/// What was measured of a container or of a whole pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    /// Values of [`LABELS`].
    pub labels: [String; LABELS.len()],
    /// Nanoseconds since 1970.
    pub at: i64,
    pub started_at: i64,
    pub stats: Stats,
    pub limits: Resources,
    /// What a container wrote, and the file system that it is on.
    pub disk: Option<Disk>,
    pub processes: Processes,
    /// By interface name; only pods have some.
    pub interfaces: BTreeMap<String, Interface>,
}

/// A writable layer and its file system.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub device: String,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    pub inodes_total: u64,
    pub inodes_free: u64,
}

/// What its processes hold.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Processes {
    pub count: u64,
    pub file_descriptors: u64,
    pub sockets: u64,
    /// Soft limit of open files of the first one.
    pub max_open_files: u64,
}

/// Traffic of a network interface.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Interface {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_dropped: u64,
    pub rx_errors: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_dropped: u64,
    pub tx_errors: u64,
}

/// A value with its family's own labels.
type Sample = (Vec<String>, u64);

struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    /// Labels besides [`LABELS`].
    labels: &'static [&'static str],
    read: fn(&Subject) -> Vec<Sample>,
}

/// The families with what they mean.
pub(crate) fn descriptors() -> Vec<api::MetricDescriptor> {
    let descriptor = |family: &Family| api::MetricDescriptor {
        name: family.name.into(),
        help: family.help.into(),
        label_keys: LABELS
            .iter()
            .chain(family.labels)
            .map(|label| (*label).to_owned())
            .collect(),
    };
    FAMILIES.iter().map(descriptor).collect()
}

/// All samples of a subject.
pub(crate) fn samples(subject: &Subject) -> Vec<api::Metric> {
    let mut metrics = Vec::new();
    for family in FAMILIES {
        for (own, value) in (family.read)(subject) {
            metrics.push(api::Metric {
                name: family.name.into(),
                timestamp: subject.at,
                metric_type: family.kind.into(),
                label_values: subject.labels.iter().cloned().chain(own).collect(),
                value: Some(api::UInt64Value { value }),
            });
        }
    }
    metrics
}

const fn family(
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    read: fn(&Subject) -> Vec<Sample>,
) -> Family {
    Family {
        name,
        help,
        kind,
        labels: &[],
        read,
    }
}

const fn labelled(labels: &'static [&'static str], family: Family) -> Family {
    Family { labels, ..family }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rctr_runtime::cgroup::{BlockIo, HugePages, Pressure};

    use super::*;

    fn subject() -> Subject {
        let mut subject = Subject {
            labels: LABELS.map(str::to_owned),
            at: 7_000_000_000,
            disk: Some(Disk::default()),
            ..Subject::default()
        };
        subject.limits.cpu_quota = Some(80_000);
        subject.stats.cpu_nanos = 2_500_000_000;
        subject.stats.cpu_pressure = Some(Pressure::default());
        subject.stats.memory_pressure = Some(Pressure::default());
        subject.stats.io_pressure = Some(Pressure::default());
        subject
            .stats
            .block_devices
            .insert((999, 1), BlockIo::default());
        subject
            .stats
            .huge_pages
            .insert("2MB".into(), HugePages::default());
        subject
            .interfaces
            .insert("eth0".into(), Interface::default());
        subject
    }

    /// What a kubelet's cAdvisor tells of containers and pods that it knows by itself. Left out: what is zero there, as the
    /// kubelet does not have it counted (`container_tasks_state`, `container_cpu_load_average_10s`), and what is counted of
    /// whole disks alone (`container_fs_io_current` and its like).
    const OF_CADVISOR: &[&str] = &[
        "container_blkio_device_usage_total",
        "container_cpu_cfs_periods_total",
        "container_cpu_cfs_throttled_periods_total",
        "container_cpu_cfs_throttled_seconds_total",
        "container_cpu_system_seconds_total",
        "container_cpu_usage_seconds_total",
        "container_cpu_user_seconds_total",
        "container_file_descriptors",
        "container_fs_inodes_free",
        "container_fs_inodes_total",
        "container_fs_limit_bytes",
        "container_fs_reads_bytes_total",
        "container_fs_reads_total",
        "container_fs_usage_bytes",
        "container_fs_writes_bytes_total",
        "container_fs_writes_total",
        "container_hugetlb_max_usage_bytes",
        "container_hugetlb_usage_bytes",
        "container_last_seen",
        "container_memory_cache",
        "container_memory_failcnt",
        "container_memory_failures_total",
        "container_memory_kernel_usage",
        "container_memory_mapped_file",
        "container_memory_max_usage_bytes",
        "container_memory_rss",
        "container_memory_swap",
        "container_memory_total_active_file_bytes",
        "container_memory_total_inactive_file_bytes",
        "container_memory_usage_bytes",
        "container_memory_working_set_bytes",
        "container_network_receive_bytes_total",
        "container_network_receive_errors_total",
        "container_network_receive_packets_dropped_total",
        "container_network_receive_packets_total",
        "container_network_transmit_bytes_total",
        "container_network_transmit_errors_total",
        "container_network_transmit_packets_dropped_total",
        "container_network_transmit_packets_total",
        "container_oom_events_total",
        "container_pressure_cpu_stalled_seconds_total",
        "container_pressure_cpu_waiting_seconds_total",
        "container_pressure_io_stalled_seconds_total",
        "container_pressure_io_waiting_seconds_total",
        "container_pressure_memory_stalled_seconds_total",
        "container_pressure_memory_waiting_seconds_total",
        "container_processes",
        "container_sockets",
        "container_spec_cpu_period",
        "container_spec_cpu_quota",
        "container_spec_cpu_shares",
        "container_spec_memory_limit_bytes",
        "container_spec_memory_reservation_limit_bytes",
        "container_spec_memory_swap_limit_bytes",
        "container_start_time_seconds",
        "container_threads",
        "container_threads_max",
        "container_ulimits_soft",
    ];

    #[test]
    fn all_of_cadvisor_s_names_are_there() {
        let own: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
        let wanted = BTreeSet::from_iter(OF_CADVISOR.iter().copied());
        assert_eq!(own, wanted);
    }

    #[test]
    fn every_family_is_described_once_and_has_samples_with_its_labels() {
        let described: BTreeMap<_, _> = descriptors()
            .into_iter()
            .map(|d| (d.name, d.label_keys.len()))
            .collect();
        assert_eq!(described.len(), FAMILIES.len());
        let samples = samples(&subject());
        for sample in &samples {
            assert_eq!(
                described[&sample.name],
                sample.label_values.len(),
                "{}",
                sample.name
            );
        }
        let names: BTreeSet<_> = samples.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names.len(), FAMILIES.len());
    }

    #[test]
    fn seconds_are_whole() {
        let samples = samples(&subject());
        let cpu = samples
            .iter()
            .find(|s| s.name == "container_cpu_usage_seconds_total");
        assert_eq!(cpu.unwrap().value.unwrap().value, 2);
    }

    #[test]
    fn nothing_is_said_of_pressure_where_the_kernel_says_nothing() {
        let samples = samples(&Subject::default());
        assert!(!samples.iter().any(|s| s.name.contains("pressure")));
    }
}
