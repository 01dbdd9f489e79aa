//! What containers and pods use.

use std::time::Instant;

use rctr_runtime::cgroup::{Pressure, Stall, Stats};

use crate::api;

/// A number in its box.
pub(crate) fn boxed(value: u64) -> Option<api::UInt64Value> {
    Some(api::UInt64Value { value })
}

/// Processor use. `rate` is in nanoseconds of processor a second.
pub(crate) fn cpu(at: i64, stats: &Stats, rate: Option<u64>) -> api::CpuUsage {
    api::CpuUsage {
        timestamp: at,
        usage_core_nano_seconds: boxed(stats.cpu_nanos),
        usage_nano_cores: rate.and_then(boxed),
        psi: stats.cpu_pressure.as_ref().map(psi),
    }
}

/// Memory use.
pub(crate) fn memory(at: i64, stats: &Stats) -> api::MemoryUsage {
    let left = |limit: u64| limit.saturating_sub(stats.memory_working_set);
    api::MemoryUsage {
        timestamp: at,
        working_set_bytes: boxed(stats.memory_working_set),
        available_bytes: stats.memory_limit.map(left).and_then(boxed),
        usage_bytes: boxed(stats.memory_bytes),
        rss_bytes: boxed(stats.memory_rss),
        page_faults: boxed(stats.memory_page_faults),
        major_page_faults: boxed(stats.memory_major_page_faults),
        psi: stats.memory_pressure.as_ref().map(psi),
    }
}

/// Swap use.
pub(crate) fn swap(at: i64, stats: &Stats) -> api::SwapUsage {
    let left = |limit: u64| limit.saturating_sub(stats.swap_bytes);
    api::SwapUsage {
        timestamp: at,
        swap_available_bytes: stats.swap_limit.map(left).and_then(boxed),
        swap_usage_bytes: boxed(stats.swap_bytes),
    }
}

/// Waiting for block devices.
pub(crate) fn io(at: i64, stats: &Stats) -> api::IoUsage {
    api::IoUsage {
        timestamp: at,
        psi: stats.io_pressure.as_ref().map(psi),
    }
}

fn psi(pressure: &Pressure) -> api::PsiStats {
    // The kernel counts microseconds, the interface hands its numbers on as they are.
    let data = |stall: &Stall| api::PsiData {
        total: stall.total_micros,
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
    };
    api::PsiStats {
        full: Some(data(&pressure.full)),
        some: Some(data(&pressure.some)),
    }
}

/// A counter at some time, to tell how fast it grows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    cpu_nanos: u64,
    rate: Option<u64>,
}

impl Reading {
    /// The next reading after `before`. Two that are close together have the same rate: it would be mostly noise.
    pub fn after(before: Option<&Reading>, at: Instant, cpu_nanos: u64) -> Reading {
        let Some(before) = before else {
            return Reading {
                at,
                cpu_nanos,
                rate: None,
            };
        };
        let passed = at.saturating_duration_since(before.at);
        if passed < SHORTEST {
            return *before;
        }
        let used = cpu_nanos.saturating_sub(before.cpu_nanos);
        Reading {
            at,
            cpu_nanos,
            rate: u64::try_from(u128::from(used) * 1_000_000_000 / passed.as_nanos()).ok(),
        }
    }

    /// Nanoseconds of processor a second since the reading before; none after the first.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }
}

/// Readings closer than this are one.
const SHORTEST: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_are_over_what_has_passed() {
        let start = Instant::now();
        let first = Reading::after(None, start, 5);
        assert_eq!(first.rate(), None);
        let second = Reading::after(Some(&first), start + Duration::from_secs(2), 1_000_000_005);
        assert_eq!(second.rate(), Some(500_000_000));
        let soon = start + Duration::from_millis(2500);
        let third = Reading::after(Some(&second), soon, 2_000_000_005);
        assert_eq!(third.rate(), Some(500_000_000), "too soon");
        let restarted = Reading::after(Some(&third), start + Duration::from_secs(4), 7);
        assert_eq!(restarted.rate(), Some(0));
    }

    #[test]
    fn what_is_left_of_a_limit() {
        let stats = Stats {
            memory_bytes: 80,
            memory_working_set: 60,
            memory_limit: Some(100),
            ..Stats::default()
        };
        let told = memory(1, &stats);
        assert_eq!(told.available_bytes, boxed(40));
        assert_eq!(told.working_set_bytes, boxed(60));
        assert_eq!(memory(1, &Stats::default()).available_bytes, None);
    }
}
