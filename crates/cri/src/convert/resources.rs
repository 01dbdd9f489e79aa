//! Resource limits.

use rctr_engine::options::Resources;
use tonic::Status;

use crate::api;

/// Scores outside of this make no sense to the kernel (proc_pid_oom_score_adj(5)).
const OOM_SCORES: std::ops::RangeInclusive<i64> = -1000..=1000;

/// Limits as the engine has them; 0 and empty are what nobody said.
pub(crate) fn resources(from: api::LinuxContainerResources) -> Result<Resources, Status> {
    let some = |value: i64| (value != 0).then_some(value);
    let unsigned = |value: i64, what| {
        some(value)
            .map(|value| super::number::<u64>(value, what))
            .transpose()
    };
    let hugepages = from
        .hugepage_limits
        .into_iter()
        .map(|limit| (limit.page_size, limit.limit));
    Ok(Resources {
        cpu_period: unsigned(from.cpu_period, "cpu_period")?,
        cpu_quota: some(from.cpu_quota),
        cpu_shares: unsigned(from.cpu_shares, "cpu_shares")?,
        // -1 is no limit.
        memory: (from.memory_limit_in_bytes > 0)
            .then_some(from.memory_limit_in_bytes.unsigned_abs()),
        memory_swap: some(from.memory_swap_limit_in_bytes),
        oom_score_adj: Some(score(from.oom_score_adj)),
        cpuset_cpus: super::said(from.cpuset_cpus),
        cpuset_mems: super::said(from.cpuset_mems),
        hugepages: hugepages.collect(),
        unified: super::sorted(from.unified),
        ..Resources::default()
    })
}

/// The same for a container: who limits memory and says nothing of swap means none, with every runtime of pods.
pub(crate) fn of_container(from: api::LinuxContainerResources) -> Result<Resources, Status> {
    let mut limits = resources(from)?;
    if limits.memory_swap.is_none() && !limits.unified.contains_key("memory.swap.max") {
        let memory = limits.memory.and_then(|bytes| i64::try_from(bytes).ok());
        limits.memory_swap = memory.map(unlimited);
    }
    Ok(limits)
}

/// What is to be otherwise; 0 and empty are what stays, as a kubelet that moves a container to other processors names
/// these alone. A score is kept by a process, not by a cgroup: it stays.
pub(crate) fn changes(mut from: api::LinuxContainerResources) -> Result<Resources, Status> {
    if from.memory_limit_in_bytes < 0 {
        // A limit that goes is one that nothing reaches.
        from.memory_limit_in_bytes = i64::MAX;
    }
    Ok(Resources {
        oom_score_adj: None,
        ..of_container(from)?
    })
}

/// The limits in force, as a kubelet compares them with those it wants.
pub(crate) fn message(from: &Resources) -> api::LinuxContainerResources {
    let signed = |value: Option<u64>| value.map_or(0, |v| i64::try_from(v).unwrap_or(i64::MAX));
    api::LinuxContainerResources {
        cpu_period: signed(from.cpu_period),
        cpu_quota: from.cpu_quota.unwrap_or(0),
        cpu_shares: signed(from.cpu_shares),
        memory_limit_in_bytes: unlimited(signed(from.memory)),
        memory_swap_limit_in_bytes: from.memory_swap.unwrap_or(0),
        oom_score_adj: from.oom_score_adj.unwrap_or(0).into(),
        cpuset_cpus: from.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: from.cpuset_mems.clone().unwrap_or_default(),
        hugepage_limits: from
            .hugepages
            .iter()
            .map(|(page_size, limit)| api::HugepageLimit {
                page_size: page_size.clone(),
                limit: *limit,
            })
            .collect(),
        unified: super::unsorted(&from.unified),
    }
}

/// -1 for what nothing reaches.
fn unlimited(bytes: i64) -> i64 {
    if bytes == i64::MAX { -1 } else { bytes }
}

fn score(score: i64) -> i32 {
    let clamped = score.clamp(*OOM_SCORES.start(), *OOM_SCORES.end());
    i32::try_from(clamped).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let asked = api::LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 80_000,
            cpu_shares: 102,
            memory_limit_in_bytes: 20 << 20,
            memory_swap_limit_in_bytes: 20 << 20,
            oom_score_adj: 997,
            cpuset_cpus: "0-1".into(),
            hugepage_limits: vec![api::HugepageLimit {
                page_size: "2MB".into(),
                limit: 0,
            }],
            unified: [("memory.low".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        };
        let resources = resources(asked.clone()).unwrap();
        assert_eq!(resources.cpu_quota, Some(80_000));
        assert_eq!(message(&resources), asked);
    }

    #[test]
    fn nothing_said_is_no_limit() {
        let none = resources(api::LinuxContainerResources::default()).unwrap();
        assert_eq!(
            (none.memory, none.cpu_shares, none.cpu_quota),
            (None, None, None)
        );
        assert_eq!(none.oom_score_adj, Some(0));
        let asked = api::LinuxContainerResources {
            memory_limit_in_bytes: -1,
            oom_score_adj: -5000,
            cpu_quota: -1,
            ..Default::default()
        };
        let unlimited = resources(asked).unwrap();
        assert_eq!((unlimited.memory, unlimited.cpu_quota), (None, Some(-1)));
        assert_eq!(unlimited.oom_score_adj, Some(-1000));
        let negative = api::LinuxContainerResources {
            cpu_shares: -2,
            ..Default::default()
        };
        assert!(super::resources(negative).is_err());
    }
}
