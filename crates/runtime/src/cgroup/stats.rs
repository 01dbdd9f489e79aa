//! Reading what a cgroup uses, from v1 or v2 files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Cgroup;
use crate::error::{Error, Result};

/// What a container uses. A value is 0 where the host has no controller that knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time used, in nanoseconds: all, in user mode, in the kernel.
    pub cpu_nanos: u64,
    /// Of that, in user mode.
    pub cpu_user_nanos: u64,
    /// Of that, in the kernel.
    pub cpu_system_nanos: u64,
    /// How long its processes were held back by its own limit, in nanoseconds.
    pub cpu_throttled_nanos: u64,
    /// Memory charged to it, in bytes, page cache included.
    pub memory_bytes: u64,
    /// Of that, page cache that could be dropped at once; Docker shows `memory_bytes` without it.
    pub memory_inactive_file: u64,
    /// Its memory limit in bytes; none for no limit.
    pub memory_limit: Option<u64>,
    /// Swap charged to it, in bytes.
    pub swap_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Their limit; none for no limit.
    pub pids_limit: Option<u64>,
    /// Bytes and operations on block devices, summed.
    pub block_io: BlockIo,
}

/// Bytes and operations on block devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

pub(super) fn read(cgroup: &Cgroup) -> Result<Stats> {
    if !cgroup.exists() {
        let path = cgroup.path.clone();
        return Err(Error::file(
            "read",
            &path,
            io::Error::from(io::ErrorKind::NotFound),
        ));
    }
    Ok(if cgroup.is_v2() {
        read_v2(cgroup)
    } else {
        read_v1(cgroup)
    })
}

fn read_v2(cgroup: &Cgroup) -> Stats {
    let dir = cgroup.directory("memory").unwrap_or_default();
    let cpu = Table::read(&dir.join("cpu.stat"));
    let memory = Table::read(&dir.join("memory.stat"));
    Stats {
        cpu_nanos: cpu.get("usage_usec") * 1000,
        cpu_user_nanos: cpu.get("user_usec") * 1000,
        cpu_system_nanos: cpu.get("system_usec") * 1000,
        cpu_throttled_nanos: cpu.get("throttled_usec") * 1000,
        memory_bytes: number(&dir.join("memory.current")).unwrap_or(0),
        memory_inactive_file: memory.get("inactive_file"),
        memory_limit: number(&dir.join("memory.max")),
        swap_bytes: number(&dir.join("memory.swap.current")).unwrap_or(0),
        pids: number(&dir.join("pids.current")).unwrap_or(0),
        pids_limit: number(&dir.join("pids.max")),
        block_io: io_stat(&text(&dir.join("io.stat"))),
    }
}

fn read_v1(cgroup: &Cgroup) -> Stats {
    let file = |controller: &str, name: &str| -> PathBuf {
        // A missing controller gives a path that does not exist, and so zeros.
        cgroup.directory(controller).unwrap_or_default().join(name)
    };
    let times = Table::read(&file("cpuacct", "cpuacct.stat"));
    let throttling = Table::read(&file("cpu", "cpu.stat"));
    let memory = Table::read(&file("memory", "memory.stat"));
    let usage = number(&file("memory", "memory.usage_in_bytes")).unwrap_or(0);
    let with_swap = number(&file("memory", "memory.memsw.usage_in_bytes")).unwrap_or(usage);
    // cpuacct.stat counts in USER_HZ, which is 100 on every architecture we run on.
    const TICK: u64 = 10_000_000;
    // "No limit" is the largest multiple of the page size below 2⁶³.
    const UNLIMITED: u64 = 0x7fff_ffff_ffff_0000;
    Stats {
        cpu_nanos: number(&file("cpuacct", "cpuacct.usage")).unwrap_or(0),
        cpu_user_nanos: times.get("user") * TICK,
        cpu_system_nanos: times.get("system") * TICK,
        cpu_throttled_nanos: throttling.get("throttled_time"),
        memory_bytes: usage,
        memory_inactive_file: memory.get("total_inactive_file"),
        memory_limit: number(&file("memory", "memory.limit_in_bytes")).filter(|&l| l < UNLIMITED),
        swap_bytes: with_swap.saturating_sub(usage),
        pids: number(&file("pids", "pids.current")).unwrap_or(0),
        pids_limit: number(&file("pids", "pids.max")),
        block_io: blkio(
            &text(&file("blkio", "blkio.throttle.io_service_bytes")),
            &text(&file("blkio", "blkio.throttle.io_serviced")),
        ),
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The single number in a file; none for "max" and for a missing file.
fn number(path: &Path) -> Option<u64> {
    text(path).trim().parse().ok()
}

/// Lines of `key value`.
struct Table(String);

impl Table {
    fn read(path: &Path) -> Self {
        Self(text(path))
    }

    fn get(&self, key: &str) -> u64 {
        self.0
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(name, _)| *name == key)
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0)
    }
}

/// v2: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`
fn io_stat(text: &str) -> BlockIo {
    let mut sum = BlockIo::default();
    let fields = text.split_whitespace().filter_map(|f| f.split_once('='));
    for (key, value) in fields {
        let value: u64 = value.parse().unwrap_or(0);
        match key {
            "rbytes" => sum.read_bytes += value,
            "wbytes" => sum.write_bytes += value,
            "rios" => sum.reads += value,
            "wios" => sum.writes += value,
            _ => {}
        }
    }
    sum
}

/// v1: `8:0 Read 1`, one line for each device and direction.
fn blkio(bytes: &str, operations: &str) -> BlockIo {
    let sum = |text: &str, direction: &str| -> u64 {
        text.lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .filter(|fields| fields.len() == 3 && fields[1] == direction)
            .filter_map(|fields| fields[2].parse::<u64>().ok())
            .sum()
    };
    BlockIo {
        read_bytes: sum(bytes, "Read"),
        write_bytes: sum(bytes, "Write"),
        reads: sum(operations, "Read"),
        writes: sum(operations, "Write"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_block_io_formats_are_summed_over_devices() {
        let expected = BlockIo {
            read_bytes: 11,
            write_bytes: 2,
            reads: 3,
            writes: 4,
        };
        let v2 = "8:0 rbytes=10 wbytes=2 rios=2 wios=4 dbytes=0\n8:16 rbytes=1 rios=1\n";
        assert_eq!(io_stat(v2), expected);
        let bytes = "8:0 Read 10\n8:0 Write 2\n8:0 Total 12\n8:16 Read 1\nTotal 13\n";
        let operations = "8:0 Read 3\n8:0 Write 4\nTotal 7\n";
        assert_eq!(blkio(bytes, operations), expected);
    }

    #[test]
    fn tables_are_looked_up_by_whole_key() {
        let table = Table("user 12\nsystem 3\n".to_owned());
        assert_eq!(table.get("user"), 12);
        assert_eq!(table.get("use"), 0);
    }
}
