//! What containers use, as `stats` shows it: figures of two moments and what lies between them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::info::memory_total;
use crate::model::Container;
use crate::pod::parse_traffic;
use crate::{Engine, Result};

/// What a container has used up to a moment. All is 0 for one that does not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Processor time, in nanoseconds.
    pub cpu_nanos: u64,
    /// Processor time of the whole machine, idle time included, in nanoseconds.
    pub system_nanos: u64,
    /// How many processors the machine has.
    pub processors: u64,
    /// Memory in bytes, without page cache that could be dropped at once.
    pub memory: u64,
    /// The most it can have: its limit, or what the machine has.
    pub memory_limit: u64,
    /// Bytes received on all interfaces but the loopback; 0 on the host's network.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes read from block devices.
    pub read: u64,
    /// Bytes written to block devices.
    pub written: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Sample {
    /// Share of one processor, in percent, that was used since an earlier moment.
    pub fn cpu_percent(&self, before: &Sample) -> f64 {
        let used = self.cpu_nanos.saturating_sub(before.cpu_nanos) as f64;
        match self.system_nanos.saturating_sub(before.system_nanos) {
            0 => 0.0,
            passed => used / passed as f64 * self.processors as f64 * 100.0,
        }
    }

    /// Share of the memory limit, in percent.
    pub fn memory_percent(&self) -> f64 {
        match self.memory_limit {
            0 => 0.0,
            limit => self.memory as f64 / limit as f64 * 100.0,
        }
    }
}

impl Engine {
    /// What a container has used until now.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn sample(&self, container: &Container) -> Result<Sample> {
        if !container.state.status.is_live() {
            return Ok(Sample::default());
        }
        let (stats, _) = self.cgroup_stats(container)?;
        let (system_nanos, processors) = machine_time();
        let (received, sent) = traffic(container.state.pid);
        let machine = memory_total();
        Ok(Sample {
            cpu_nanos: stats.cpu_nanos,
            system_nanos,
            processors,
            memory: match stats.memory_inactive_file < stats.memory_bytes {
                true => stats.memory_bytes - stats.memory_inactive_file,
                false => stats.memory_bytes,
            },
            memory_limit: stats.memory_limit.map_or(machine, |own| own.min(machine)),
            received,
            sent,
            read: stats.block_io.read_bytes,
            written: stats.block_io.write_bytes,
            pids: stats.pids,
        })
    }
}

/// Nanoseconds that all processors have spent since the machine was started, and how many there are.
fn machine_time() -> (u64, u64) {
    parse_machine_time(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn parse_machine_time(text: &str) -> (u64, u64) {
    // What guests use is in user and nice already (proc_stat(5)); a tick is what the kernel tells programs it is.
    let ticks = |line: &str| -> u64 {
        let fields = line.split_whitespace().skip(1).take(7);
        fields.filter_map(|field| field.parse::<u64>().ok()).sum()
    };
    let mut all = 0;
    let mut processors = 0;
    for line in text.lines() {
        match line.strip_prefix("cpu") {
            Some(rest) if rest.starts_with(' ') => all = ticks(line),
            Some(_) => processors += 1,
            None => {}
        }
    }
    (all * (1_000_000_000 / TICKS_PER_SECOND), processors)
}

const TICKS_PER_SECOND: u64 = 100;

/// Bytes received and sent in the network namespace of a process, unless that is the host's.
fn traffic(pid: i32) -> (u64, u64) {
    let namespace = |of: &Path| fs::metadata(of.join("ns/net")).map(|m| m.ino()).ok();
    let process = Path::new("/proc").join(pid.to_string());
    if pid <= 0 || namespace(&process) == namespace(Path::new("/proc/self")) {
        return (0, 0);
    }
    let text = fs::read_to_string(process.join("net/dev")).unwrap_or_default();
    let interfaces = parse_traffic(&text);
    let sum = |of: fn(&crate::pod::InterfaceStats) -> u64| interfaces.iter().map(of).sum();
    (sum(|i| i.rx_bytes), sum(|i| i.tx_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_the_machine() {
        let text = "cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1 2 3 4 5 6 7 8 9 10\nintr 5\n";
        assert_eq!(parse_machine_time(text), (2_800_000_000, 2));
        assert!(machine_time().0 > 0);
    }

    #[test]
    fn shares() {
        let before = Sample::default();
        let now = Sample {
            cpu_nanos: 500,
            system_nanos: 2_000,
            processors: 2,
            memory: 1,
            memory_limit: 4,
            ..before
        };
        assert!((now.cpu_percent(&before) - 50.0).abs() < 1e-9);
        assert!((now.memory_percent() - 25.0).abs() < 1e-9);
        assert_eq!(
            (before.cpu_percent(&now), before.memory_percent()),
            (0.0, 0.0)
        );
    }
}
