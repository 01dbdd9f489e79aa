//! Reading what a cgroup uses, from v1 or v2 files.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use self::parse::{Table, blkio, io_stat, number, pressure, text};
use super::Cgroup;
use crate::error::{Error, Result};

/// What the processes of a cgroup and those below it use. A value is 0 where the host has no controller that knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Processor time used, in nanoseconds: all, in user mode, in the kernel.
    pub cpu_nanos: u64,
    /// Of that, in user mode.
    pub cpu_user_nanos: u64,
    /// Of that, in the kernel.
    pub cpu_system_nanos: u64,
    /// How long its processes were held back by its own limit, in nanoseconds.
    pub cpu_throttled_nanos: u64,
    /// How many periods its own limit has had.
    pub cpu_periods: u64,
    /// In how many of them processes were held back.
    pub cpu_throttled_periods: u64,
    /// Memory charged to it, in bytes, page cache included.
    pub memory_bytes: u64,
    /// Of that, page cache that could be dropped at once; Docker shows `memory_bytes` without it.
    pub memory_inactive_file: u64,
    /// `memory_bytes` without `memory_inactive_file`: what Kubernetes goes by.
    pub memory_working_set: u64,
    /// Memory of processes that is no file's, in bytes.
    pub memory_rss: u64,
    /// Page cache, in bytes.
    pub memory_cache: u64,
    /// Of the page cache, what is mapped into processes.
    pub memory_mapped_file: u64,
    /// Memory of the kernel's on its behalf, in bytes.
    pub memory_kernel: u64,
    /// The most that was ever charged to it, in bytes.
    pub memory_peak: u64,
    /// How often its limit was reached.
    pub memory_limit_hits: u64,
    /// Page faults, those that took no reading included.
    pub memory_page_faults: u64,
    /// Page faults that took reading from a disk.
    pub memory_major_page_faults: u64,
    /// Its memory limit in bytes; none for no limit.
    pub memory_limit: Option<u64>,
    /// How many processes the kernel has killed for want of memory.
    pub oom_kills: u64,
    /// Swap charged to it, in bytes.
    pub swap_bytes: u64,
    /// Its limit of swap beside memory, in bytes; none for no limit.
    pub swap_limit: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Their limit; none for no limit.
    pub pids_limit: Option<u64>,
    /// Bytes and operations on block devices, summed.
    pub block_io: BlockIo,
    /// The same for each device, by its major and minor number.
    pub block_devices: BTreeMap<(u32, u32), BlockIo>,
    /// Huge pages by their size as the kernel names it (`2MB`).
    pub huge_pages: BTreeMap<String, HugePages>,
    /// How long processes waited for a processor; none where the kernel does not say (always on v1).
    pub cpu_pressure: Option<Pressure>,
    /// How long they waited for memory.
    pub memory_pressure: Option<Pressure>,
    /// How long they waited for block devices.
    pub io_pressure: Option<Pressure>,
}

/// Bytes and operations on block devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// Huge pages of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// Bytes used.
    pub bytes: u64,
    /// The most ever used, in bytes; 0 on v2, where the kernel does not say.
    pub peak: u64,
    /// How often the limit was reached.
    pub limit_hits: u64,
}

/// Time lost waiting for something (the kernel's pressure stall information).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// While at least one process waited.
    pub some: Stall,
    /// While all processes waited.
    pub full: Stall,
}

/// Shares of the recent past, and the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// In all, in microseconds.
    pub total_micros: u64,
}

pub(super) fn read(cgroup: &Cgroup) -> Result<Stats> {
    if !cgroup.exists() {
        let path = cgroup.path.clone();
        return Err(Error::file(
            "read",
            &path,
            io::Error::from(io::ErrorKind::NotFound),
        ));
    }
    let mut stats = if cgroup.is_v2() {
        read_v2(cgroup)
    } else {
        read_v1(cgroup)
    };
    stats.memory_working_set = stats
        .memory_bytes
        .saturating_sub(stats.memory_inactive_file);
    for device in stats.block_devices.values() {
        stats.block_io.read_bytes += device.read_bytes;
        stats.block_io.write_bytes += device.write_bytes;
        stats.block_io.reads += device.reads;
        stats.block_io.writes += device.writes;
    }
    Ok(stats)
}

fn read_v2(cgroup: &Cgroup) -> Stats {
    let dir = cgroup.directory("memory").unwrap_or_default();
    let cpu = Table::read(&dir.join("cpu.stat"));
    let memory = Table::read(&dir.join("memory.stat"));
    let events = Table::read(&dir.join("memory.events"));
    Stats {
        cpu_nanos: cpu.get("usage_usec") * 1000,
        cpu_user_nanos: cpu.get("user_usec") * 1000,
        cpu_system_nanos: cpu.get("system_usec") * 1000,
        cpu_throttled_nanos: cpu.get("throttled_usec") * 1000,
        cpu_periods: cpu.get("nr_periods"),
        cpu_throttled_periods: cpu.get("nr_throttled"),
        memory_bytes: number(&dir.join("memory.current")).unwrap_or(0),
        memory_inactive_file: memory.get("inactive_file"),
        memory_rss: memory.get("anon"),
        memory_cache: memory.get("file"),
        memory_mapped_file: memory.get("file_mapped"),
        memory_kernel: memory.get("kernel"),
        memory_peak: number(&dir.join("memory.peak")).unwrap_or(0),
        memory_limit_hits: events.get("max"),
        memory_page_faults: memory.get("pgfault"),
        memory_major_page_faults: memory.get("pgmajfault"),
        memory_limit: number(&dir.join("memory.max")),
        oom_kills: events.get("oom_kill"),
        swap_bytes: number(&dir.join("memory.swap.current")).unwrap_or(0),
        swap_limit: number(&dir.join("memory.swap.max")),
        pids: number(&dir.join("pids.current")).unwrap_or(0),
        pids_limit: number(&dir.join("pids.max")),
        block_devices: io_stat(&text(&dir.join("io.stat"))),
        huge_pages: huge_pages(|size| HugePages {
            bytes: number(&dir.join(format!("hugetlb.{size}.current"))).unwrap_or(0),
            peak: 0,
            limit_hits: Table::read(&dir.join(format!("hugetlb.{size}.events"))).get("max"),
        }),
        cpu_pressure: pressure(&text(&dir.join("cpu.pressure"))),
        memory_pressure: pressure(&text(&dir.join("memory.pressure"))),
        io_pressure: pressure(&text(&dir.join("io.pressure"))),
        ..Stats::default()
    }
}

fn read_v1(cgroup: &Cgroup) -> Stats {
    let file = |controller: &str, name: &str| -> PathBuf {
        // A missing controller gives a path that does not exist, and so zeros.
        cgroup.directory(controller).unwrap_or_default().join(name)
    };
    let memory_file = |name: &str| number(&file("memory", &format!("memory.{name}")));
    let times = Table::read(&file("cpuacct", "cpuacct.stat"));
    let throttling = Table::read(&file("cpu", "cpu.stat"));
    let memory = Table::read(&file("memory", "memory.stat"));
    let usage = memory_file("usage_in_bytes").unwrap_or(0);
    let limit = memory_file("limit_in_bytes").filter(|&l| l < UNLIMITED);
    let with_swap = memory_file("memsw.limit_in_bytes").filter(|&l| l < UNLIMITED);
    // cpuacct.stat counts in USER_HZ, which is 100 on every architecture we run on.
    const TICK: u64 = 10_000_000;
    // "No limit" is the largest multiple of the page size below 2⁶³.
    const UNLIMITED: u64 = 0x7fff_ffff_ffff_0000;
    Stats {
        cpu_nanos: number(&file("cpuacct", "cpuacct.usage")).unwrap_or(0),
        cpu_user_nanos: times.get("user") * TICK,
        cpu_system_nanos: times.get("system") * TICK,
        cpu_throttled_nanos: throttling.get("throttled_time"),
        cpu_periods: throttling.get("nr_periods"),
        cpu_throttled_periods: throttling.get("nr_throttled"),
        memory_bytes: usage,
        memory_inactive_file: memory.get("total_inactive_file"),
        memory_rss: memory.get("total_rss"),
        memory_cache: memory.get("total_cache"),
        memory_mapped_file: memory.get("total_mapped_file"),
        memory_kernel: memory_file("kmem.usage_in_bytes").unwrap_or(0),
        memory_peak: memory_file("max_usage_in_bytes").unwrap_or(0),
        memory_limit_hits: memory_file("failcnt").unwrap_or(0),
        memory_page_faults: memory.get("total_pgfault"),
        memory_major_page_faults: memory.get("total_pgmajfault"),
        memory_limit: limit,
        oom_kills: Table::read(&file("memory", "memory.oom_control")).get("oom_kill"),
        swap_bytes: memory.get("total_swap"),
        swap_limit: with_swap
            .zip(limit)
            .map(|(all, limit)| all.saturating_sub(limit)),
        pids: number(&file("pids", "pids.current")).unwrap_or(0),
        pids_limit: number(&file("pids", "pids.max")),
        block_devices: blkio(
            &text(&file("blkio", "blkio.throttle.io_service_bytes_recursive")),
            &text(&file("blkio", "blkio.throttle.io_serviced_recursive")),
        ),
        huge_pages: match cgroup.directory("hugetlb") {
            Some(dir) => huge_pages(|size| {
                let value = |name: &str| number(&dir.join(format!("hugetlb.{size}.{name}")));
                HugePages {
                    bytes: value("usage_in_bytes").unwrap_or(0),
                    peak: value("max_usage_in_bytes").unwrap_or(0),
                    limit_hits: value("failcnt").unwrap_or(0),
                }
            }),
            None => BTreeMap::new(),
        },
        ..Stats::default()
    }
}

fn huge_pages(read: impl Fn(&str) -> HugePages) -> BTreeMap<String, HugePages> {
    let sizes = parse::huge_page_sizes().iter();
    sizes.map(|size| (size.clone(), read(size))).collect()
}
