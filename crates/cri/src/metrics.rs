//! The metrics of containers and pods by cAdvisor's names, which a kubelet hands on to Prometheus as they come.
//!
//! A table: each family has a name, a kind, labels of its own, and how its samples are read from what was measured.

use std::collections::BTreeMap;

use rctr_engine::options::Resources;
use rctr_runtime::cgroup::Stats;

use crate::api;
use crate::api::MetricType::{self, Counter, Gauge};

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

fn one(value: u64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

fn some(value: Option<u64>) -> Vec<Sample> {
    value.into_iter().flat_map(one).collect()
}

/// The interface has whole numbers, cAdvisor's unit is the second.
fn seconds(nanos: u64) -> Vec<Sample> {
    one(nanos / 1_000_000_000)
}

fn stalled(micros: Option<u64>) -> Vec<Sample> {
    some(micros.map(|micros| micros / 1_000_000))
}

fn disk(subject: &Subject, value: fn(&Disk) -> u64) -> Vec<Sample> {
    let disk = subject.disk.iter();
    disk.map(|disk| (vec![disk.device.clone()], value(disk)))
        .collect()
}

fn devices(subject: &Subject, value: fn(&rctr_runtime::cgroup::BlockIo) -> u64) -> Vec<Sample> {
    let devices = subject.stats.block_devices.iter();
    devices
        .map(|((major, minor), io)| (vec![device_name(*major, *minor)], value(io)))
        .collect()
}

fn blkio(subject: &Subject) -> Vec<Sample> {
    let devices = subject.stats.block_devices.iter();
    devices
        .flat_map(|((major, minor), io)| {
            let labels = |operation: &str| {
                vec![
                    device_name(*major, *minor),
                    major.to_string(),
                    minor.to_string(),
                    operation.to_owned(),
                ]
            };
            [
                (labels("Read"), io.read_bytes),
                (labels("Write"), io.write_bytes),
            ]
        })
        .collect()
}

/// `/dev/sda` where the kernel knows a name.
pub(crate) fn device_name(major: u32, minor: u32) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link.ok().and_then(|link| {
        let name = link.file_name()?.to_str()?;
        Some(format!("/dev/{name}"))
    });
    name.unwrap_or_else(|| format!("{major}:{minor}"))
}

fn interfaces(subject: &Subject, value: fn(&Interface) -> u64) -> Vec<Sample> {
    let interfaces = subject.interfaces.iter();
    interfaces
        .map(|(name, traffic)| (vec![name.clone()], value(traffic)))
        .collect()
}

fn huge_pages(
    subject: &Subject,
    value: fn(&rctr_runtime::cgroup::HugePages) -> u64,
) -> Vec<Sample> {
    let sizes = subject.stats.huge_pages.iter();
    sizes
        .map(|(size, pages)| (vec![size.clone()], value(pages)))
        .collect()
}

fn faults(subject: &Subject) -> Vec<Sample> {
    let stats = &subject.stats;
    let labels = |kind: &str| vec![kind.to_owned(), "container".to_owned()];
    vec![
        (labels("pgfault"), stats.memory_page_faults),
        (labels("pgmajfault"), stats.memory_major_page_faults),
    ]
}

const INTERFACE: &[&str] = &["interface"];
const DEVICE: &[&str] = &["device"];
const PAGE: &[&str] = &["pagesize"];

const FAMILIES: &[Family] = &[
    family(
        "container_last_seen",
        Gauge,
        "When it was last seen, in seconds since 1970.",
        |s| seconds(s.at.unsigned_abs()),
    ),
    family(
        "container_start_time_seconds",
        Gauge,
        "When it was started, in seconds since 1970.",
        |s| seconds(s.started_at.unsigned_abs()),
    ),
    // Processor
    family(
        "container_cpu_usage_seconds_total",
        Counter,
        "Processor time used, in seconds.",
        |s| seconds(s.stats.cpu_nanos),
    ),
    family(
        "container_cpu_user_seconds_total",
        Counter,
        "Processor time used in user mode, in seconds.",
        |s| seconds(s.stats.cpu_user_nanos),
    ),
    family(
        "container_cpu_system_seconds_total",
        Counter,
        "Processor time used in the kernel, in seconds.",
        |s| seconds(s.stats.cpu_system_nanos),
    ),
    family(
        "container_cpu_cfs_periods_total",
        Counter,
        "Periods that its limit has had.",
        |s| one(s.stats.cpu_periods),
    ),
    family(
        "container_cpu_cfs_throttled_periods_total",
        Counter,
        "Periods in which its limit held it back.",
        |s| one(s.stats.cpu_throttled_periods),
    ),
    family(
        "container_cpu_cfs_throttled_seconds_total",
        Counter,
        "How long its limit held it back, in seconds.",
        |s| seconds(s.stats.cpu_throttled_nanos),
    ),
    // Memory
    family(
        "container_memory_usage_bytes",
        Gauge,
        "Memory charged to it, page cache included.",
        |s| one(s.stats.memory_bytes),
    ),
    family(
        "container_memory_working_set_bytes",
        Gauge,
        "Memory without page cache that could be dropped at once.",
        |s| one(s.stats.memory_working_set),
    ),
    family(
        "container_memory_rss",
        Gauge,
        "Memory that is no file's.",
        |s| one(s.stats.memory_rss),
    ),
    family("container_memory_cache", Gauge, "Page cache.", |s| {
        one(s.stats.memory_cache)
    }),
    family(
        "container_memory_mapped_file",
        Gauge,
        "Page cache that is mapped.",
        |s| one(s.stats.memory_mapped_file),
    ),
    family(
        "container_memory_kernel_usage",
        Gauge,
        "Memory of the kernel's on its behalf.",
        |s| one(s.stats.memory_kernel),
    ),
    family("container_memory_swap", Gauge, "Swap.", |s| {
        one(s.stats.swap_bytes)
    }),
    family(
        "container_memory_max_usage_bytes",
        Gauge,
        "The most memory there ever was.",
        |s| one(s.stats.memory_peak),
    ),
    family(
        "container_memory_failcnt",
        Counter,
        "How often its limit was reached.",
        |s| one(s.stats.memory_limit_hits),
    ),
    family(
        "container_memory_total_active_file_bytes",
        Gauge,
        "Page cache in use.",
        |s| {
            one(s
                .stats
                .memory_cache
                .saturating_sub(s.stats.memory_inactive_file))
        },
    ),
    family(
        "container_memory_total_inactive_file_bytes",
        Gauge,
        "Page cache that could be dropped at once.",
        |s| one(s.stats.memory_inactive_file),
    ),
    labelled(
        &["failure_type", "scope"],
        family(
            "container_memory_failures_total",
            Counter,
            "Page faults.",
            faults,
        ),
    ),
    family(
        "container_oom_events_total",
        Counter,
        "Processes killed for want of memory.",
        |s| one(s.stats.oom_kills),
    ),
    labelled(
        PAGE,
        family(
            "container_hugetlb_usage_bytes",
            Gauge,
            "Huge pages in use.",
            |s| huge_pages(s, |p| p.bytes),
        ),
    ),
    labelled(
        PAGE,
        family(
            "container_hugetlb_max_usage_bytes",
            Gauge,
            "The most huge pages there ever were in use.",
            |s| huge_pages(s, |p| p.peak),
        ),
    ),
    // Disk
    labelled(
        DEVICE,
        family(
            "container_fs_usage_bytes",
            Gauge,
            "Bytes that it wrote to its file system.",
            |s| disk(s, |d| d.used_bytes),
        ),
    ),
    labelled(
        DEVICE,
        family(
            "container_fs_limit_bytes",
            Gauge,
            "Size of that file system.",
            |s| disk(s, |d| d.limit_bytes),
        ),
    ),
    labelled(
        DEVICE,
        family(
            "container_fs_inodes_total",
            Gauge,
            "Inodes of that file system.",
            |s| disk(s, |d| d.inodes_total),
        ),
    ),
    labelled(
        DEVICE,
        family(
            "container_fs_inodes_free",
            Gauge,
            "Free inodes of that file system.",
            |s| disk(s, |d| d.inodes_free),
        ),
    ),
    labelled(
        DEVICE,
        family(
            "container_fs_reads_bytes_total",
            Counter,
            "Bytes read.",
            |s| devices(s, |io| io.read_bytes),
        ),
    ),
    labelled(
        DEVICE,
        family("container_fs_reads_total", Counter, "Reads.", |s| {
            devices(s, |io| io.reads)
        }),
    ),
    labelled(
        DEVICE,
        family(
            "container_fs_writes_bytes_total",
            Counter,
            "Bytes written.",
            |s| devices(s, |io| io.write_bytes),
        ),
    ),
    labelled(
        DEVICE,
        family("container_fs_writes_total", Counter, "Writes.", |s| {
            devices(s, |io| io.writes)
        }),
    ),
    labelled(
        &["device", "major", "minor", "operation"],
        family(
            "container_blkio_device_usage_total",
            Counter,
            "Bytes read from and written to devices.",
            blkio,
        ),
    ),
    // Network
    labelled(
        INTERFACE,
        family(
            "container_network_receive_bytes_total",
            Counter,
            "Bytes received.",
            |s| interfaces(s, |i| i.rx_bytes),
        ),
    ),
    labelled(
        INTERFACE,
        family(
            "container_network_receive_packets_total",
            Counter,
            "Packets received.",
            |s| interfaces(s, |i| i.rx_packets),
        ),
    ),
    labelled(
        INTERFACE,
        family(
            "container_network_receive_packets_dropped_total",
            Counter,
            "Packets dropped while receiving.",
            |s| interfaces(s, |i| i.rx_dropped),
        ),
    ),
    labelled(
        INTERFACE,
        family(
            "container_network_receive_errors_total",
            Counter,
            "Errors while receiving.",
            |s| interfaces(s, |i| i.rx_errors),
        ),
    ),
    labelled(
        INTERFACE,
        family(
            "container_network_transmit_bytes_total",
            Counter,
            "Bytes sent.",
            |s| interfaces(s, |i| i.tx_bytes),
        ),
    ),
    labelled(
        INTERFACE,
        family(
            "container_network_transmit_packets_total",
            Counter,
            "Packets sent.",
            |s| interfaces(s, |i| i.tx_packets),
        ),
    ),
    labelled(
        INTERFACE,
        family(
            "container_network_transmit_packets_dropped_total",
            Counter,
            "Packets dropped while sending.",
            |s| interfaces(s, |i| i.tx_dropped),
        ),
    ),
    labelled(
        INTERFACE,
        family(
            "container_network_transmit_errors_total",
            Counter,
            "Errors while sending.",
            |s| interfaces(s, |i| i.tx_errors),
        ),
    ),
    // Processes
    family("container_processes", Gauge, "Processes.", |s| {
        one(s.processes.count)
    }),
    family("container_threads", Gauge, "Processes and threads.", |s| {
        one(s.stats.pids)
    }),
    family(
        "container_threads_max",
        Gauge,
        "The limit of processes and threads, 0 for none.",
        |s| one(s.stats.pids_limit.unwrap_or(0)),
    ),
    family("container_file_descriptors", Gauge, "Open files.", |s| {
        one(s.processes.file_descriptors)
    }),
    family("container_sockets", Gauge, "Open sockets.", |s| {
        one(s.processes.sockets)
    }),
    labelled(
        &["ulimit"],
        family(
            "container_ulimits_soft",
            Gauge,
            "Soft limits of the first process.",
            |s| {
                vec![(
                    vec!["max_open_files".to_owned()],
                    s.processes.max_open_files,
                )]
            },
        ),
    ),
    // What was asked for
    family(
        "container_spec_cpu_period",
        Gauge,
        "The period of its processor limit, in microseconds.",
        |s| one(s.limits.cpu_period.unwrap_or(100_000)),
    ),
    family(
        "container_spec_cpu_quota",
        Gauge,
        "Its processor limit in a period, in microseconds.",
        |s| {
            some(
                s.limits
                    .cpu_quota
                    .and_then(|quota| u64::try_from(quota).ok()),
            )
        },
    ),
    family(
        "container_spec_cpu_shares",
        Gauge,
        "Its share of processors.",
        |s| one(s.limits.cpu_shares.unwrap_or(0)),
    ),
    family(
        "container_spec_memory_limit_bytes",
        Gauge,
        "Its memory limit, 0 for none.",
        |s| one(s.limits.memory.unwrap_or(0)),
    ),
    family(
        "container_spec_memory_reservation_limit_bytes",
        Gauge,
        "The memory kept for it, 0 for none.",
        |s| one(s.limits.memory_reservation.unwrap_or(0)),
    ),
    family(
        "container_spec_memory_swap_limit_bytes",
        Gauge,
        "Its limit of memory and swap together, 0 for none.",
        |s| {
            one(s
                .limits
                .memory_swap
                .and_then(|swap| u64::try_from(swap).ok())
                .unwrap_or(0))
        },
    ),
    // Pressure
    family(
        "container_pressure_cpu_waiting_seconds_total",
        Counter,
        "How long some process waited for a processor.",
        |s| stalled(s.stats.cpu_pressure.map(|p| p.some.total_micros)),
    ),
    family(
        "container_pressure_cpu_stalled_seconds_total",
        Counter,
        "How long all processes waited for a processor.",
        |s| stalled(s.stats.cpu_pressure.map(|p| p.full.total_micros)),
    ),
    family(
        "container_pressure_memory_waiting_seconds_total",
        Counter,
        "How long some process waited for memory.",
        |s| stalled(s.stats.memory_pressure.map(|p| p.some.total_micros)),
    ),
    family(
        "container_pressure_memory_stalled_seconds_total",
        Counter,
        "How long all processes waited for memory.",
        |s| stalled(s.stats.memory_pressure.map(|p| p.full.total_micros)),
    ),
    family(
        "container_pressure_io_waiting_seconds_total",
        Counter,
        "How long some process waited for a device.",
        |s| stalled(s.stats.io_pressure.map(|p| p.some.total_micros)),
    ),
    family(
        "container_pressure_io_stalled_seconds_total",
        Counter,
        "How long all processes waited for a device.",
        |s| stalled(s.stats.io_pressure.map(|p| p.full.total_micros)),
    ),
];

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
