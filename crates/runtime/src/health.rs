//! What the monitor knows of its container's health: a small file in the state directory, by Docker's rules.

use std::path::Path;
use std::time::{Duration, SystemTime};

use oci_spec::runtime::Process;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::state;

const FILE: &str = "health.json";
/// Results that are kept.
pub const KEPT_PROBES: usize = 5;
/// Bytes of a probe's output that are kept; what is longer ends with `...`.
pub const KEPT_OUTPUT: usize = 4096;
/// Exit code of a probe that could not be executed, or took too long.
const NO_EXIT_CODE: i32 = -1;

/// A command that tells by its exit code whether a container is well.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is executed in the container.
    pub process: Process,
    /// Between the end of a probe and the next one, and before the first.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// How long after the start failures do not count, until a probe succeeds.
    pub start_period: Duration,
    /// Instead of `interval` during `start_period`, until a probe succeeds.
    pub start_interval: Duration,
    /// So many failures in a row make a container unhealthy.
    pub retries: u32,
    /// Run by the monitor after each probe, with further words: the pid of the container's first process, the probe's exit
    /// code or `none` if it could not be executed, and the status if that is another one now. Empty: nothing is run.
    pub command: Vec<String>,
}

/// Docker's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No probe has succeeded yet, and not enough have failed.
    #[default]
    Starting,
    /// The last probe succeeded, or not enough have failed since.
    Healthy,
    /// Too many probes have failed in a row.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word: `starting`, `healthy`, `unhealthy`.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

/// How one probe went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it was started.
    pub start: SystemTime,
    /// When it had ended.
    pub end: SystemTime,
    /// Its exit code; -1 if it could not be executed or took too long.
    pub exit_code: i32,
    /// The beginning of what it wrote, or why there is no exit code.
    pub output: String,
}

/// A container's health since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The status.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last [`KEPT_PROBES`] results, the oldest first.
    pub log: Vec<Probe>,
}

impl Health {
    /// Takes a result in; `early` tells that failures do not count yet. Gives whether the status has changed.
    pub(crate) fn record(&mut self, probe: Probe, retries: u32, early: bool) -> bool {
        let before = self.status;
        if probe.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if !(early && self.status == HealthStatus::Starting) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        if self.log.len() >= KEPT_PROBES {
            self.log.drain(..=self.log.len() - KEPT_PROBES);
        }
        self.log.push(probe);
        self.status != before
    }

    pub(crate) fn save(&self, state_dir: &Path) -> Result<()> {
        state::save(&state_dir.join(FILE), self)
    }
}

/// What the monitor of a container with a [`HealthCheck`] last knew; `None` before the first probe has ended.
///
/// # Errors
/// [`crate::Error::Corrupt`] or [`crate::Error::File`] if the file cannot be read.
pub fn health(state_dir: &Path) -> Result<Option<Health>> {
    state::load(&state_dir.join(FILE))
}

/// The beginning of what a probe writes.
#[derive(Default)]
pub(crate) struct ProbeOutput {
    kept: Vec<u8>,
    truncated: bool,
}

impl ProbeOutput {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = KEPT_OUTPUT - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.truncated |= bytes.len() > room;
    }

    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.kept).into_owned();
        if self.truncated {
            text.push_str("...");
        }
        text
    }

    /// The result of a probe that ended by itself.
    pub(crate) fn ended(&self, start: SystemTime, exit_code: i32) -> Probe {
        Probe {
            start,
            end: SystemTime::now(),
            exit_code,
            output: self.text(),
        }
    }

    /// The result of a probe that took too long.
    pub(crate) fn timed_out(&self, start: SystemTime, timeout: Duration) -> Probe {
        let mut output = format!("Health check exceeded timeout ({})", go_duration(timeout));
        if !self.kept.is_empty() {
            output = format!("{output}: {}", self.text());
        }
        Probe {
            output,
            ..self.ended(start, NO_EXIT_CODE)
        }
    }
}

/// The result of a probe that could not be executed.
pub(crate) fn not_executed(start: SystemTime, why: String) -> Probe {
    Probe {
        start,
        end: SystemTime::now(),
        exit_code: NO_EXIT_CODE,
        output: why,
    }
}

/// As Go prints a duration: `1m30s`, `1.5s`, `20ms`.
fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let decimal = |unit: u128| {
        let text = format!(
            "{}.{:0width$}",
            nanos / unit,
            nanos % unit,
            width = unit.ilog10() as usize
        );
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(1_000_000)),
        _ => {
            let whole = duration.as_secs();
            let rest = Duration::new(whole % 60, duration.subsec_nanos());
            let seconds = rest.as_nanos();
            let text = format!("{}.{:09}", seconds / 1_000_000_000, seconds % 1_000_000_000);
            let seconds = text.trim_end_matches('0').trim_end_matches('.');
            match (whole / 3600, whole / 60 % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(exit_code: i32) -> Probe {
        ProbeOutput::default().ended(SystemTime::UNIX_EPOCH, exit_code)
    }

    #[test]
    fn failures_in_a_row_count_and_one_success_forgives_them() {
        let mut health = Health::default();
        assert!(!health.record(probe(1), 3, false));
        assert!(!health.record(probe(1), 3, false));
        assert_eq!(
            (health.status, health.failing_streak),
            (HealthStatus::Starting, 2)
        );
        assert!(health.record(probe(0), 3, false));
        assert_eq!(
            (health.status, health.failing_streak),
            (HealthStatus::Healthy, 0)
        );
        for last in [false, false, true] {
            assert_eq!(health.record(probe(7), 3, false), last);
        }
        assert_eq!(
            (health.status, health.failing_streak),
            (HealthStatus::Unhealthy, 3)
        );
        assert!(!health.record(probe(7), 3, false));
        assert_eq!(health.failing_streak, 4);
        assert_eq!(health.log.len(), KEPT_PROBES);
        assert_eq!(health.log[0].exit_code, 0);
    }

    #[test]
    fn early_failures_do_not_count_before_the_first_success() {
        let mut health = Health::default();
        for _ in 0..9 {
            assert!(!health.record(probe(1), 1, true));
        }
        assert_eq!(health.failing_streak, 0);
        assert!(health.record(probe(0), 1, true));
        assert!(health.record(probe(1), 1, true));
        assert_eq!(health.status, HealthStatus::Unhealthy);
    }

    #[test]
    fn output_is_cut_and_says_so() {
        let mut output = ProbeOutput::default();
        output.push(&[b'a'; 4000]);
        output.push(&[b'b'; 96]);
        let whole = output.ended(SystemTime::UNIX_EPOCH, 0).output;
        assert_eq!((whole.len(), whole.ends_with('b')), (KEPT_OUTPUT, true));
        output.push(b"c");
        output.push(b"d");
        let cut = output.ended(SystemTime::UNIX_EPOCH, 0).output;
        assert_eq!((cut.len(), cut.ends_with("b...")), (KEPT_OUTPUT + 3, true));
    }

    #[test]
    fn a_late_probe_is_told_in_docker_s_words() {
        let start = SystemTime::UNIX_EPOCH;
        let mut output = ProbeOutput::default();
        let late = output.timed_out(start, Duration::from_secs(30));
        assert_eq!(late.output, "Health check exceeded timeout (30s)");
        assert_eq!(late.exit_code, -1);
        output.push(b"so far");
        let late = output.timed_out(start, Duration::from_millis(1500));
        assert_eq!(late.output, "Health check exceeded timeout (1.5s): so far");
    }

    #[test]
    fn durations_are_go_s() {
        for (nanos, text) in [
            (0, "0s"),
            (1_000_000, "1ms"),
            (1_500_000, "1.5ms"),
            (999_000, "999µs"),
            (60_000_000_000, "1m0s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }
}
