//! Other limits and another restart policy for a container that is there.

use std::path::Path;

use oci_spec::runtime::LinuxPids;
use rctr_runtime::cgroup::Cgroup;

use crate::events::{self, ContainerEvent};
use crate::model::Container;
use crate::options::{Resources, RestartMode, RestartPolicy, RunOptions};
use crate::{Engine, Error, Result, lifecycle, settle, spec};

/// What is to be otherwise; what is not said stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// Limits.
    pub resources: Resources,
    /// The restart policy, from the next end on.
    pub restart: Option<RestartPolicy>,
}

impl Engine {
    /// Changes limits of a container, at once if it runs, and its restart policy. Gives lines for the user, of limits
    /// that cannot be kept here.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; limits that contradict each other or those that it has, in Docker's words; a limit
    /// that cannot be set. Then nothing has changed.
    pub fn update(&self, name: &str, wanted: &Update) -> Result<Vec<String>> {
        let id = self.find(name)?;
        let lock = self.lock(&id)?;
        let mut container = self.refresh_locked(self.load(&id)?, &lock)?;
        let mut warnings = check(&container, wanted)?;
        let current = &mut container.options.resources;
        if wanted.resources.memory.is_some() && current.memory_swap.is_none() {
            // It was taken from the memory limit before.
            current.memory_swap = current.memory.map(swap_beside);
        }
        merge(current, &wanted.resources);
        if let Some(policy) = wanted.restart {
            container.options.restart = policy;
        }
        // What cannot be recorded afterwards is not changed.
        self.store.require_space()?;
        if container.state.status.is_live() && wanted.resources != Resources::default() {
            let mut limits = spec::limits(&container, self.facts(), &mut warnings)?;
            if wanted.resources.pids_limit.is_some_and(|limit| limit <= 0) {
                // For a new container no limit is nothing to set; here one may have to go.
                let mut unlimited = LinuxPids::default();
                unlimited.set_limit(-1);
                limits.set_pids(Some(unlimited));
            }
            let driver = settle::driver_of(&container);
            let cgroup = Cgroup::open(driver, Path::new(&container.cgroup_path))?;
            // One that is between two runs gets them with the next.
            if cgroup.exists() {
                warnings.extend(cgroup.update(&limits)?);
            }
        }
        if let Some(member) = &mut container.pod {
            member.options.resources = container.options.resources.clone();
        }
        self.store.write(|tx| {
            events::container(tx, &container, ContainerEvent::Update)?;
            lifecycle::save(tx, &container)
        })?;
        Ok(warnings)
    }
}

/// Docker's default: as much swap as memory.
fn swap_beside(memory: u64) -> i64 {
    i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX)
}

/// What is to be said of an update that is possible.
fn check(container: &Container, update: &Update) -> Result<Vec<String>> {
    let (wanted, current) = (&update.resources, &container.options.resources);
    let refuse = |reason: &'static str| Err(Error::UpdateConflict { reason });
    // What is said must hold together, also with the memory limit that stays.
    let mut options = RunOptions::default();
    options.resources.clone_from(wanted);
    options.resources.memory = wanted.memory.or(current.memory);
    let mut warnings = Vec::new();
    options.check_resources(&mut warnings)?;

    let given = |n: Option<u64>| n.is_some_and(|n| n != 0);
    let quota = |of: &Resources| of.cpu_quota.is_some_and(|quota| quota > 0);
    if given(wanted.nano_cpus) && given(current.cpu_period) {
        return refuse(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        );
    }
    if given(wanted.nano_cpus) && quota(current) {
        return refuse(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        );
    }
    if given(wanted.cpu_period) && given(current.nano_cpus) {
        return refuse(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        );
    }
    if quota(wanted) && given(current.nano_cpus) {
        return refuse(
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        );
    }
    if let Some(memory) = wanted.memory.filter(|_| wanted.memory_swap.is_none()) {
        let swap = match (current.memory_swap, current.memory) {
            (Some(swap), _) => swap,
            (None, Some(memory)) => swap_beside(memory),
            (None, None) => 0,
        };
        if i128::from(memory) > i128::from(swap) {
            return refuse(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            );
        }
    }
    let restarts = |policy: RestartPolicy| policy.mode != RestartMode::No;
    if container.options.auto_remove && update.restart.is_some_and(restarts) {
        return Err(Error::RestartPolicyAndRemove);
    }
    Ok(warnings)
}

/// What is said takes the place of what was.
pub(crate) fn merge(resources: &mut Resources, wanted: &Resources) {
    fn put<T: Clone>(to: &mut Option<T>, from: &Option<T>) {
        if from.is_some() {
            to.clone_from(from);
        }
    }
    put(&mut resources.memory, &wanted.memory);
    put(&mut resources.memory_swap, &wanted.memory_swap);
    put(
        &mut resources.memory_reservation,
        &wanted.memory_reservation,
    );
    put(&mut resources.nano_cpus, &wanted.nano_cpus);
    put(&mut resources.cpu_shares, &wanted.cpu_shares);
    put(&mut resources.cpu_period, &wanted.cpu_period);
    put(&mut resources.cpu_quota, &wanted.cpu_quota);
    put(&mut resources.cpu_rt_period, &wanted.cpu_rt_period);
    put(&mut resources.cpu_rt_runtime, &wanted.cpu_rt_runtime);
    put(&mut resources.cpuset_cpus, &wanted.cpuset_cpus);
    put(&mut resources.cpuset_mems, &wanted.cpuset_mems);
    put(&mut resources.pids_limit, &wanted.pids_limit);
    put(&mut resources.oom_score_adj, &wanted.oom_score_adj);
    if wanted.block_io.weight != 0 {
        resources.block_io.weight = wanted.block_io.weight;
    }
    resources.hugepages.extend(wanted.hugepages.clone());
    resources.unified.extend(wanted.unified.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::container;

    fn refused(
        current: impl FnOnce(&mut Resources),
        wanted: impl FnOnce(&mut Resources),
    ) -> Option<String> {
        let mut container = container();
        current(&mut container.options.resources);
        let mut update = Update::default();
        wanted(&mut update.resources);
        check(&container, &update).err().map(|e| e.to_string())
    }

    #[test]
    fn what_is_said_must_go_with_what_is_set() {
        const MIB: u64 = 1 << 20;
        let swap = "update the memoryswap at the same time";
        let cases = [
            (
                refused(|_| {}, |w| w.memory = Some(4 * MIB)),
                "Minimum memory limit allowed is 6MB",
            ),
            (refused(|_| {}, |w| w.memory = Some(64 * MIB)), swap),
            (
                refused(
                    |c| c.memory = Some(64 * MIB),
                    |w| w.memory = Some(200 * MIB),
                ),
                swap,
            ),
            (
                refused(|c| c.nano_cpus = Some(1), |w| w.cpu_quota = Some(5000)),
                "CPU Quota cannot be updated as NanoCPUs has already been set",
            ),
            (
                refused(|c| c.cpu_period = Some(5000), |w| w.nano_cpus = Some(1)),
                "Nano CPUs cannot be updated as CPU Period has already been set",
            ),
            (
                refused(
                    |c| c.memory = Some(64 * MIB),
                    |w| w.memory_swap = Some(32 << 20),
                ),
                "Minimum memoryswap limit should be larger than memory limit",
            ),
        ];
        for (refused, words) in cases {
            assert!(
                refused.as_ref().is_some_and(|r| r.contains(words)),
                "{refused:?}: {words}"
            );
        }
        for fine in [
            refused(
                |c| c.memory = Some(64 * MIB),
                |w| w.memory = Some(128 * MIB),
            ),
            refused(|_| {}, |w| w.pids_limit = Some(-1)),
            refused(
                |_| {},
                |w| (w.memory, w.memory_swap) = (Some(64 * MIB), Some(-1)),
            ),
        ] {
            assert_eq!(fine, None);
        }
    }

    #[test]
    fn one_that_removes_itself_is_not_restarted() {
        let mut container = container();
        container.options.auto_remove = true;
        let update = |policy: &str| Update {
            restart: policy.parse().ok(),
            ..Update::default()
        };
        assert!(matches!(
            check(&container, &update("always")),
            Err(Error::RestartPolicyAndRemove)
        ));
        assert!(check(&container, &update("no")).is_ok());
    }
}
