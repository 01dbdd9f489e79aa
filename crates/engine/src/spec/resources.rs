//! Limits. One that this host cannot keep is left out with Docker's warning, or refused where Docker refuses.

use std::collections::{BTreeSet, HashMap};

use oci_spec::runtime::{
    LinuxCpu, LinuxCpuBuilder, LinuxHugepageLimit, LinuxHugepageLimitBuilder, LinuxMemory,
    LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
};

use super::{HostFacts, SpecError, SpecInput, block_io, devices};
use crate::model::Container;
use crate::options::Resources;
use crate::rootless;

const CPU_PERIOD: u64 = 100_000;

pub(super) fn build(
    input: &SpecInput,
    warnings: &mut Vec<String>,
) -> Result<LinuxResources, SpecError> {
    let container = input.container;
    let wanted = &container.options.resources;
    let mut discarded = Vec::new();
    let mut resources = limits(wanted, Swap::of(container), input.facts, &mut discarded)?;
    if !discarded.is_empty() {
        discarded.extend(rootless::undelegated().map(str::to_owned));
    }
    warnings.append(&mut discarded);
    resources.set_devices(Some(devices::rules(container.options.privileged)?));
    Ok(resources)
}

/// What a memory limit means for swap if nothing is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swap {
    /// As much again as memory: Docker's default.
    AsMuchAgain,
    /// Nothing: a kubelet says what it wants.
    AsSaid,
}

impl Swap {
    pub(super) fn of(container: &Container) -> Swap {
        match container.pod {
            Some(_) => Swap::AsSaid,
            None => Swap::AsMuchAgain,
        }
    }
}

/// All limits but those on devices.
pub(super) fn limits(
    wanted: &Resources,
    swap: Swap,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> Result<LinuxResources, SpecError> {
    let mut resources = LinuxResourcesBuilder::default().build()?;
    resources.set_devices(None);
    resources.set_memory(memory(wanted, swap, facts, warnings)?);
    resources.set_cpu(cpu(wanted, facts, warnings)?);
    if let Some(limit) = wanted.pids_limit.filter(|limit| *limit > 0) {
        match facts.limits.pids {
            true => {
                resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
            }
            false => discard(warnings, "PIDs limit capabilities", "PIDs limit discarded"),
        }
    }
    resources.set_block_io(block_io::limits(&wanted.block_io, facts, warnings)?);
    resources.set_hugepage_limits(hugepages(wanted, facts, warnings)?);
    let mut unified: HashMap<String, String> = HashMap::new();
    match facts.cgroup_v2() {
        true => unified.extend(wanted.unified.clone()),
        false if !wanted.unified.is_empty() => {
            discard(warnings, "cgroup v2", "Unified resources discarded");
        }
        false => {}
    }
    if let (true, Swap::AsSaid, Some(mut cpu)) = (facts.cgroup_v2(), swap, resources.cpu().clone())
        && let Some(shares) = cpu.shares()
    {
        // As the weight that it is, for whoever sets it.
        unified
            .entry("cpu.weight".to_owned())
            .or_insert_with(|| weight(shares).to_string());
        cpu.set_shares(None);
        resources.set_cpu(Some(cpu));
    }
    // libcgroups takes a swap of 0 for no wish at all.
    let no_swap = resources
        .memory()
        .as_ref()
        .is_some_and(|m| m.limit().is_some() && m.limit() == m.swap());
    if no_swap && facts.cgroup_v2() {
        unified.insert("memory.swap.max".to_owned(), "0".to_owned());
    }
    resources.set_unified(Some(unified).filter(|unified| !unified.is_empty()));
    Ok(resources)
}

/// A kubelet always says 0 for every size, also on hosts without the controller.
fn hugepages(
    wanted: &Resources,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<LinuxHugepageLimit>>, SpecError> {
    let has = facts
        .hierarchies
        .as_ref()
        .is_some_and(|h| h.has_controller("hugetlb"));
    if !has {
        if wanted.hugepages.values().any(|bytes| *bytes > 0) {
            discard(warnings, "huge page limits", "Huge page limits discarded");
        }
        return Ok(None);
    }
    let mut limits = Vec::new();
    for (size, bytes) in &wanted.hugepages {
        let limit = i64::try_from(*bytes).unwrap_or(i64::MAX);
        limits.push(
            LinuxHugepageLimitBuilder::default()
                .page_size(size)
                .limit(limit)
                .build()?,
        );
    }
    Ok(Some(limits).filter(|limits| !limits.is_empty()))
}

fn memory(
    wanted: &Resources,
    unsaid: Swap,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> Result<Option<LinuxMemory>, SpecError> {
    let bytes = |size: Option<u64>| {
        size.filter(|size| *size != 0)
            .map(|size| i64::try_from(size).unwrap_or(i64::MAX))
    };
    let (limit, reservation) = (bytes(wanted.memory), bytes(wanted.memory_reservation));
    let (swappiness, no_oom_kill) = oom_and_swap(wanted, facts, warnings);
    if limit.is_none() && reservation.is_none() && swappiness.is_none() && !no_oom_kill {
        return Ok(None);
    }
    if !facts.limits.memory {
        if limit.is_some() {
            discard(
                warnings,
                "memory limit capabilities",
                "Limitation discarded",
            );
        }
        if reservation.is_some() {
            discard(
                warnings,
                "memory soft limit capabilities",
                "Limitation discarded",
            );
        }
        return Ok(None);
    }
    let swap = limit.and_then(|limit| {
        let said = wanted.memory_swap.filter(|swap| *swap != 0);
        let unsaid = (unsaid == Swap::AsMuchAgain).then(|| limit.saturating_mul(2));
        said.or(unsaid)
    });
    // With a kubelet every limit comes with this one.
    let usual = unsaid == Swap::AsSaid && swap == limit;
    if swap.is_some() && !facts.limits.swap && !usual {
        discard(
            warnings,
            "swap limit capabilities",
            "Memory limited without swap",
        );
    }
    let mut memory = LinuxMemoryBuilder::default().build()?;
    memory.set_limit(limit);
    memory.set_swap(swap.filter(|_| facts.limits.swap));
    memory.set_reservation(reservation);
    memory.set_swappiness(swappiness);
    memory.set_disable_oom_killer(no_oom_kill.then_some(true));
    Ok(Some(memory))
}

/// `--memory-swappiness` and `--oom-kill-disable`, as far as this host can.
fn oom_and_swap(
    wanted: &Resources,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> (Option<u64>, bool) {
    let mut swappiness = wanted.memory_swappiness.and_then(|s| u64::try_from(s).ok());
    if swappiness.is_some() && !facts.limits.swappiness {
        discard(
            warnings,
            "memory swappiness capabilities",
            "Memory swappiness discarded",
        );
        swappiness = None;
    }
    if !wanted.oom_kill_disable {
        return (swappiness, false);
    }
    if !facts.limits.oom_kill_disable {
        let gone = "Your kernel does not support OomKillDisable. OomKillDisable discarded.";
        warnings.push(gone.to_owned());
    } else if wanted.memory.is_none() {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                .to_owned(),
        );
    }
    (swappiness, facts.limits.oom_kill_disable)
}

fn cpu(
    wanted: &Resources,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> Result<Option<LinuxCpu>, SpecError> {
    let mut cpu = LinuxCpuBuilder::default().build()?;
    if let Some(nanos) = wanted.nano_cpus.filter(|nanos| *nanos != 0) {
        if !facts.limits.cpu {
            return Err(SpecError::CpuController);
        }
        if nanos < 10_000_000 || nanos > facts.cpu_count as u64 * 1_000_000_000 {
            return Err(SpecError::CpuRange {
                available: facts.cpu_count,
            });
        }
        cpu.set_period(Some(CPU_PERIOD));
        cpu.set_quota(Some((nanos / (1_000_000_000 / CPU_PERIOD)) as i64));
    }
    let period = wanted.cpu_period.filter(|period| *period != 0);
    if period.is_some() || wanted.cpu_quota.is_some_and(|quota| quota != 0) {
        match facts.limits.cpu {
            true => {
                cpu.set_period(period);
                cpu.set_quota(wanted.cpu_quota.filter(|quota| *quota != 0));
            }
            false => warnings.push(
                "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
                    .to_owned(),
            ),
        }
    }
    let realtime = (
        wanted.cpu_rt_period.filter(|n| *n != 0),
        wanted.cpu_rt_runtime.filter(|n| *n != 0),
    );
    if realtime != (None, None) {
        if !facts.limits.cpu_realtime {
            return Err(SpecError::CpuRealtime);
        }
        cpu.set_realtime_period(realtime.0);
        cpu.set_realtime_runtime(realtime.1);
    }
    if let Some(shares) = wanted.cpu_shares.filter(|shares| *shares != 0) {
        match facts.limits.cpu {
            true => {
                // The kernel's own bounds.
                cpu.set_shares(Some(shares.clamp(2, 262_144)));
            }
            false => discard(warnings, "CPU shares", "Shares discarded"),
        }
    }
    let cpus = wanted.cpuset_cpus.clone().filter(|list| !list.is_empty());
    let mems = wanted.cpuset_mems.clone().filter(|list| !list.is_empty());
    if (cpus.is_some() || mems.is_some()) && !facts.limits.cpuset {
        discard(warnings, "cpuset", "Cpuset discarded");
    } else {
        check_available("CPUs", cpus.as_deref(), &facts.cpus)?;
        check_available("memory nodes", mems.as_deref(), &facts.mems)?;
        cpu.set_cpus(cpus);
        cpu.set_mems(mems);
    }
    Ok((cpu != LinuxCpuBuilder::default().build()?).then_some(cpu))
}

/// `cpu.weight` (1 to 10000, by default 100) for CPU shares (2 to 262144, by default 1024): a parabola through the three
/// pairs in logarithms, as runtimes have agreed on.
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

fn check_available(
    kind: &'static str,
    requested: Option<&str>,
    available: &str,
) -> Result<(), SpecError> {
    match requested {
        Some(list) if !available.is_empty() && !numbers(list).is_subset(&numbers(available)) => {
            Err(SpecError::Cpuset {
                kind,
                requested: list.to_owned(),
                available: available.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// `0-2,5` as numbers.
fn numbers(list: &str) -> BTreeSet<u16> {
    let ranges = list.split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    });
    ranges.flatten().collect()
}

pub(super) fn discard(warnings: &mut Vec<String>, what: &str, consequence: &str) {
    warnings.push(format!(
        "Your kernel does not support {what} or the cgroup is not mounted. {consequence}."
    ));
}
