//! What can be wrong with limits.

/// What is wrong with a limit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// `--cpus`: not a number.
    #[error("failed to parse {value} as a rational number")]
    Cpus {
        /// What was given.
        value: String,
    },
    /// `--cpus`: no whole number of billionths.
    #[error("value is too precise")]
    CpusPrecision,
    /// `--cpus`: more than there are, or negative.
    #[error(
        "Range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"
    )]
    CpusRange {
        /// How many there are.
        available: usize,
    },
    /// `--cpuset-cpus`, `--cpuset-mems`: no list of numbers and ranges.
    #[error("invalid value {value} for cpuset {kind}")]
    Cpuset {
        /// `cpus` or `mems`.
        kind: &'static str,
        /// What was given.
        value: String,
    },
    /// `--ulimit` without `=`, or with values that are no numbers.
    #[error("invalid ulimit argument: {value}")]
    Ulimit {
        /// What was given.
        value: String,
    },
    /// `--ulimit` of a limit the kernel does not have.
    #[error("invalid ulimit type: {name}")]
    UlimitName {
        /// What was given.
        name: String,
    },
    /// `--ulimit` with a soft limit above the hard one.
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    UlimitOrder {
        /// Soft limit.
        soft: i64,
        /// Hard limit.
        hard: i64,
    },
    /// `--blkio-weight` out of range.
    #[error("Range of blkio weight is from 10 to 1000")]
    BlkioWeight,
    /// `--memory-swappiness` out of range.
    #[error("Invalid value: {value}, valid memory swappiness range is 0-100")]
    Swappiness {
        /// What was given.
        value: i64,
    },
    /// `--cpus` with `--cpu-period` or `--cpu-quota`.
    #[error("Conflicting options: Nano CPUs and CPU {other} cannot both be set")]
    NanoCpus {
        /// `Period` or `Quota`.
        other: &'static str,
    },
    /// `--cpu-period` out of range.
    #[error("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")]
    CpuPeriod,
    /// `--cpu-quota` too small.
    #[error("CPU cfs quota can not be less than 1ms (i.e. 1000)")]
    CpuQuota,
    /// `--cpu-rt-runtime` above `--cpu-rt-period`.
    #[error("cpu real-time runtime cannot be higher than cpu real-time period")]
    CpuRealtime,
    /// `-m` below what a container can start in.
    #[error("Minimum memory limit allowed is 6MB")]
    MemoryMinimum,
    /// `--memory-swap` below `-m`.
    #[error("Minimum memoryswap limit should be larger than memory limit, see usage")]
    SwapBelowMemory,
    /// `--memory-swap` without `-m`.
    #[error("You should always set the Memory limit when using Memoryswap limit, see usage")]
    SwapWithoutMemory,
    /// `--memory-reservation` above `-m`.
    #[error("Minimum memory limit can not be less than memory reservation limit, see usage")]
    ReservationAboveMemory,
    /// `--memory-reservation` below the minimum.
    #[error("Minimum memory reservation allowed is 6MB")]
    ReservationMinimum,
    /// `--oom-score-adj` out of range.
    #[error("Invalid value {value}, range for oom score adj is [-1000, 1000]")]
    OomScoreAdj {
        /// What was given.
        value: i32,
    },
    /// A number beyond what its flag takes.
    #[error("{flag} {value} is out of range")]
    OutOfRange {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: i64,
    },
}

impl LimitError {
    /// As [`ParseError::found_by_engine`](super::ParseError::found_by_engine).
    pub(super) fn found_by_engine(&self) -> bool {
        matches!(
            self,
            Self::CpusRange { .. }
                | Self::Cpuset { .. }
                | Self::BlkioWeight
                | Self::Swappiness { .. }
                | Self::NanoCpus { .. }
                | Self::CpuPeriod
                | Self::CpuQuota
                | Self::CpuRealtime
                | Self::MemoryMinimum
                | Self::SwapBelowMemory
                | Self::SwapWithoutMemory
                | Self::ReservationAboveMemory
                | Self::ReservationMinimum
                | Self::OomScoreAdj { .. }
                | Self::OutOfRange { .. }
        )
    }
}
