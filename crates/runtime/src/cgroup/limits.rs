//! Making a cgroup for a pod, and setting limits on cgroups, also of running containers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libcgroups::common::{AnyCgroupManager, CgroupConfig, CgroupManager, ControllerOpt, TaskId};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxMemory, LinuxResources};

use super::{Cgroup, CgroupDriver, Hierarchies, attach_device_filter};
use crate::error::{Error, Result};

/// The v1 controllers whose cgroups containers are in.
pub(crate) const V1_CONTROLLERS: [&str; 12] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

impl Cgroup {
    /// Makes it if it does not exist (with the systemd driver it must then be a slice), and sets limits on it if it
    /// was made. Gives a line for each limit that this host cannot keep and that was left out.
    ///
    /// # Errors
    /// [`Error::File`], or as [`update`](Self::update).
    pub fn create(&self, resources: &LinuxResources) -> Result<Vec<String>> {
        if self.exists() {
            return Ok(Vec::new());
        }
        let made = match (self.driver, &self.hierarchies) {
            (CgroupDriver::Systemd, Hierarchies::V2 { .. }) => self.start_slice(),
            (_, Hierarchies::V2 { root }) => make_v2(root, &self.path),
            (_, Hierarchies::V1 { mounts }) => {
                let ours = |name: &String| V1_CONTROLLERS.contains(&name.as_str());
                let mut ours = mounts.iter().filter(|(names, _)| names.iter().all(ours));
                ours.try_for_each(|(names, root)| make_v1(names, root, &self.path))
            }
        };
        made.and_then(|()| self.update(resources)).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = self.remove();
        })
    }

    /// Puts a process into it that is in none, or not in all of its hierarchies, where a runtime was told to leave cgroups
    /// alone; it is then made with these limits.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Error::File`].
    pub(crate) fn adopt(&self, pid: i32, resources: &LinuxResources) -> Result<()> {
        self.create(resources)?;
        for directory in self.directories() {
            let file = directory.join("cgroup.procs");
            let Ok(members) = fs::read_to_string(&file) else {
                // A hierarchy that containers are not in.
                continue;
            };
            if !members.lines().any(|line| line.parse() == Ok(pid)) {
                fs::write(&file, pid.to_string()).map_err(|e| Error::file("write", &file, e))?;
            }
        }
        Ok(())
    }

    /// Makes it with these limits, but those of devices, around a process. Gives a line for each limit that this host
    /// cannot keep and that was left out.
    ///
    /// # Errors
    /// [`Error::Limits`] if the kernel or systemd refuses something; it may be there then.
    pub(crate) fn admit(&self, pid: i32, resources: &LinuxResources) -> Result<Vec<String>> {
        let mut resources = resources.clone();
        resources.set_devices(None);
        let warnings = fit(&mut resources, &self.hierarchies);
        let added = self.manager()?.add_task(TaskId::from_raw(pid));
        added.map_err(|e| self.refused(&e))?;
        self.apply(&resources)?;
        Ok(warnings)
    }

    /// Limits the devices that its processes may use.
    ///
    /// # Errors
    /// [`Error::Limits`], or as [`attach_device_filter`].
    pub(crate) fn limit_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        if self.is_v2() {
            return attach_device_filter(self, rules);
        }
        let mut resources = LinuxResources::default();
        resources.set_devices(Some(rules.to_vec()));
        self.apply(&resources)
    }

    fn apply(&self, resources: &LinuxResources) -> Result<()> {
        let options = ControllerOpt {
            resources,
            disable_oom_killer: false,
            oom_score_adj: None,
            freezer_state: None,
        };
        let applied = self.manager()?.apply(&options);
        applied.map_err(|e| self.refused(&e))
    }

    /// Sets limits; those not named stay as they are, and so do device rules. Gives a line for each that this host
    /// cannot keep and that was left out.
    ///
    /// # Errors
    /// [`Error::MemoryBelowUsage`], [`Error::Limits`] if the kernel or systemd refuses one, [`Error::File`] if the
    /// cgroup does not exist.
    pub fn update(&self, resources: &LinuxResources) -> Result<Vec<String>> {
        if !self.exists() {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return Err(Error::file("set limits of", &self.path, missing));
        }
        let mut resources = resources.clone();
        resources.set_devices(None);
        let warnings = fit(&mut resources, &self.hierarchies);
        self.check_memory(&resources)?;
        self.apply(&resources)?;
        Ok(warnings)
    }

    /// A limit that what is used already exceeds would kill processes at once.
    fn check_memory(&self, resources: &LinuxResources) -> Result<()> {
        let limit = resources.memory().as_ref().and_then(LinuxMemory::limit);
        let Some(limit) = limit.and_then(|l| u64::try_from(l).ok()).filter(|&l| l > 0) else {
            return Ok(());
        };
        let now = self.stats()?;
        let lowered = now.memory_limit.is_none_or(|current| limit < current);
        match now.memory_working_set {
            usage if lowered && limit < usage => Err(Error::MemoryBelowUsage { limit, usage }),
            _ => Ok(()),
        }
    }

    fn refused(&self, error: &dyn std::error::Error) -> Error {
        Error::Limits {
            cgroup: self.path.clone(),
            reason: error.to_string(),
        }
    }

    fn manager(&self) -> Result<AnyCgroupManager> {
        let config = CgroupConfig {
            cgroup_path: self.name.clone(),
            systemd_cgroup: self.driver == CgroupDriver::Systemd,
            container_name: String::new(),
        };
        libcgroups::common::create_cgroup_manager(config).map_err(|e| self.refused(&e))
    }

    pub(super) fn stop_slice(&self) -> Result<()> {
        self.manager()?.remove().map_err(|e| self.refused(&e))
    }

    fn start_slice(&self) -> Result<()> {
        let AnyCgroupManager::Systemd(systemd) = self.manager()? else {
            return Ok(());
        };
        systemd.start_slice().map_err(|e| self.refused(&e))?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.exists() {
            if Instant::now() > deadline {
                let late = io::Error::from(io::ErrorKind::TimedOut);
                return Err(Error::file("wait for systemd to make", &self.path, late));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(Error::file("create", path, e)),
        _ => Ok(()),
    }
}

/// The cgroup's directories from the hierarchy's root down.
fn steps(root: &Path, path: &Path) -> Vec<PathBuf> {
    let mut step = root.to_owned();
    let further = path.components().map(|component| {
        step.push(component);
        step.clone()
    });
    further.collect()
}

fn make_v1(controllers: &[String], root: &Path, path: &Path) -> Result<()> {
    for step in steps(root, path) {
        make_directory(&step)?;
        if controllers.iter().any(|c| c == "cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                inherit(&step, file)?;
            }
        }
    }
    Ok(())
}

/// A v1 cpuset is empty when it is new, and an empty one takes no process.
fn inherit(directory: &Path, file: &str) -> Result<()> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| Error::file("read", path, e));
    let own = directory.join(file);
    if !read(&own)?.trim().is_empty() {
        return Ok(());
    }
    let parent = directory.parent().unwrap_or(directory).join(file);
    fs::write(&own, read(&parent)?).map_err(|e| Error::file("write", &own, e))
}

fn make_v2(root: &Path, path: &Path) -> Result<()> {
    let mut parent = root.to_owned();
    for step in steps(root, path) {
        // Where one cannot be passed on, a limit that needs it will say so.
        let controllers = fs::read_to_string(parent.join("cgroup.controllers"));
        for controller in controllers.unwrap_or_default().split_whitespace() {
            let _ = fs::write(
                parent.join("cgroup.subtree_control"),
                format!("+{controller}"),
            );
        }
        make_directory(&step)?;
        parent = step;
    }
    Ok(())
}

/// Takes back what this host cannot keep, with a line for each thing that somebody may have relied on.
pub(crate) fn fit(resources: &mut LinuxResources, hierarchies: &Hierarchies) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(drop_unenforceable_swap(resources, hierarchies));
    warnings.extend(drop_unified(resources, hierarchies));
    drop_empty_huge_pages(resources, hierarchies);
    warnings
}

/// As Docker: a kernel without swap accounting limits memory alone, and says so.
fn drop_unenforceable_swap(
    resources: &mut LinuxResources,
    hierarchies: &Hierarchies,
) -> Option<String> {
    let memory: LinuxMemory = (*resources.memory())?;
    memory.swap()?;
    let mount = hierarchies.mount_of("memory")?;
    let accounted = match hierarchies {
        // The root cgroup has no swap files: any cgroup below it shows whether there is accounting.
        Hierarchies::V2 { root } => any_child_has(root, "memory.swap.max"),
        Hierarchies::V1 { .. } => mount.join("memory.memsw.limit_in_bytes").exists(),
    };
    if accounted {
        return None;
    }
    let mut without = memory;
    without.set_swap(None);
    resources.set_memory(Some(without));
    // "No limit" and "none beyond memory" cannot fail loudly on a host that cannot tell them apart.
    (memory.swap() != Some(-1))
        .then(|| "the kernel does not account for swap; memory is limited without swap".to_owned())
}

fn any_child_has(root: &Path, file: &str) -> bool {
    let Ok(entries) = fs::read_dir(root) else {
        return false;
    };
    let mut directories = entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .peekable();
    // With no cgroup to look at, the kernel's configuration is taken to be the usual one.
    directories.peek().is_none() || directories.any(|e| e.path().join(file).exists())
}

/// What is written to files of v2 has no meaning on v1.
fn drop_unified(resources: &mut LinuxResources, hierarchies: &Hierarchies) -> Option<String> {
    let Hierarchies::V1 { .. } = hierarchies else {
        return None;
    };
    let names = resources.unified().as_ref().filter(|u| !u.is_empty())?;
    let mut names: Vec<&str> = names.keys().map(String::as_str).collect();
    names.sort_unstable();
    let warning = format!("this host has cgroup v1, without {}", names.join(", "));
    resources.set_unified(None);
    Some(warning)
}

/// A kubelet limits pages of every size to none, also where the kernel does not count them.
fn drop_empty_huge_pages(resources: &mut LinuxResources, hierarchies: &Hierarchies) {
    let Some(limits) = resources.hugepage_limits().clone() else {
        return;
    };
    let counted = hierarchies.has_controller("hugetlb");
    let kept = limits.into_iter().filter(|l| counted || l.limit() > 0);
    resources.set_hugepage_limits(Some(kept.collect()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxHugepageLimitBuilder, LinuxResourcesBuilder};
    use std::collections::HashMap;

    #[test]
    fn what_v1_cannot_do_is_left_out_and_told() {
        let v1 = Hierarchies::V1 {
            mounts: vec![(vec!["pids".to_owned()], "/sys/fs/cgroup/pids".into())],
        };
        let huge = |limit: i64| {
            let builder = LinuxHugepageLimitBuilder::default().page_size("2MB");
            builder.limit(limit).build().unwrap()
        };
        let mut resources = LinuxResourcesBuilder::default()
            .unified(HashMap::from([("memory.high".to_owned(), "1".to_owned())]))
            .hugepage_limits(vec![huge(0), huge(4096)])
            .build()
            .unwrap();
        let warnings = fit(&mut resources, &v1);
        assert_eq!(warnings, ["this host has cgroup v1, without memory.high"]);
        assert_eq!(resources.unified(), &None);
        // One that means something stays, and will fail where it cannot be kept.
        assert_eq!(resources.hugepage_limits(), &Some(vec![huge(4096)]));
    }
}
