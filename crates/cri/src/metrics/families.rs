//! The table: one entry for each family of metrics.

use super::read::{
    blkio, devices, disk, faults, huge_pages, interfaces, one, seconds, some, stalled,
};
use super::{Family, family, labelled};
use crate::api::MetricType::{Counter, Gauge};

const INTERFACE: &[&str] = &["interface"];
const DEVICE: &[&str] = &["device"];
const PAGE: &[&str] = &["pagesize"];

pub(super) const FAMILIES: &[Family] = &[
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
