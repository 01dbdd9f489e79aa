//! Turning the engine's specification into the one libcontainer is given: without what we do ourselves
//! (see `process` and `mounts`), and with what this host cannot do taken back, each with a warning.

use std::path::Path;

use oci_spec::runtime::{
    LinuxDeviceCgroup, LinuxResources, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process,
    RootBuilder, Spec,
};

use crate::cgroup::{Hierarchies, fit};
use crate::error::StartError;

/// A specification taken apart.
pub(super) struct Adapted {
    /// For libcontainer.
    pub spec: Spec,
    /// The process as it was asked for.
    pub process: Process,
    /// Set on the process from outside.
    pub oom_score_adj: Option<i32>,
    /// Set on the cgroup once the container is made.
    pub late_limits: Option<LinuxResources>,
    /// For a v2 cgroup, where libcgroups does not set them.
    pub device_rules: Vec<LinuxDeviceCgroup>,
    /// What could not be done in full.
    pub warnings: Vec<String>,
}

fn missing(what: &str) -> StartError {
    StartError::Config {
        reason: format!("{what} is missing"),
    }
}

/// Adapts a container's specification, of which the mounts have been taken; its root filesystem is mounted on `rootfs`.
pub(super) fn adapt(
    mut spec: Spec,
    rootfs: &Path,
    hierarchies: &Hierarchies,
) -> Result<Adapted, StartError> {
    if spec
        .hooks()
        .as_ref()
        .is_some_and(|h| h.poststart().is_some())
    {
        return Err(StartError::Config {
            reason: "poststart hooks are not supported".to_owned(),
        });
    }
    let mut warnings = Vec::new();
    let process = spec.process().clone().ok_or_else(|| missing("process"))?;
    let oom_score_adj = process.oom_score_adj();
    let (for_libcontainer, more) = adapt_process(&process);
    warnings.extend(more);
    spec.set_process(Some(for_libcontainer));

    let root = RootBuilder::default()
        .path(rootfs)
        // Made so last of all by `mounts`.
        .readonly(false)
        .build()
        .map_err(|e| StartError::Config {
            reason: e.to_string(),
        })?;
    spec.set_root(Some(root));

    let mut linux = spec.linux().clone().ok_or_else(|| missing("linux"))?;
    linux.set_seccomp(None);
    let mut device_rules = Vec::new();
    let mut late_limits = None;
    if hierarchies.is_none() {
        linux.set_resources(None);
        linux.set_cgroups_path(Some(libcgroups::common::NO_CGROUP.into()));
    }
    if let Some(mut resources) = linux.resources().clone() {
        device_rules = resources.devices().clone().unwrap_or_default();
        warnings.extend(fit(&mut resources, hierarchies));
        late_limits = take_late_limits(&mut resources);
        linux.set_resources(Some(resources));
    }
    spec.set_linux(Some(linux));
    Ok(Adapted {
        spec,
        process,
        oom_score_adj,
        late_limits,
        device_rules,
        warnings,
    })
}

/// While it makes a container libcontainer has two processes in its cgroup, and only one may be allowed.
fn take_late_limits(resources: &mut LinuxResources) -> Option<LinuxResources> {
    const FILE: &str = "pids.max";
    let mut late = LinuxResources::default();
    late.set_devices(None);
    if let Some(pids) = resources.pids().filter(|pids| pids.limit() == 1) {
        late.set_pids(Some(pids));
        resources.set_pids(None);
    }
    if let Some(mut unified) = resources.unified().clone()
        && let Some(limit) = unified.get(FILE).filter(|limit| limit.trim() == "1")
    {
        late.set_unified(Some([(FILE.to_owned(), limit.clone())].into()));
        unified.remove(FILE);
        resources.set_unified(Some(unified));
    }
    (late.pids().is_some() || late.unified().is_some()).then_some(late)
}

/// Leaves libcontainer only the part of a process that it does well, and clamps limits.
pub(super) fn adapt_process(process: &Process) -> (Process, Vec<String>) {
    let mut adapted = process.clone();
    adapted
        .set_cwd("/".into())
        // With HOME present libcontainer does not look into /etc/passwd.
        .set_env(Some(vec!["HOME=/".to_owned()]))
        .set_capabilities(None)
        // It looks for /proc, which is not mounted yet.
        .set_apparmor_profile(None)
        .set_selinux_label(None)
        .set_oom_score_adj(None);
    // The user changes just before execve, too: until then it takes root's to mount.
    let mut user = process.user().clone();
    user.set_uid(0).set_gid(0).set_additional_gids(None);
    adapted.set_user(user);

    // Limits are set just before execve: libcontainer opens files of its own after setting them.
    adapted.set_rlimits(None);
    (adapted, limits(process).1)
}

/// A process's limits as far as this host allows them, and a line for each that it does not.
pub(super) fn limits(process: &Process) -> (Vec<PosixRlimit>, Vec<String>) {
    let mut warnings = Vec::new();
    let limits = process.rlimits().iter().flatten();
    let clamped = limits.map(|limit| clamp(limit, &mut warnings)).collect();
    (clamped, warnings)
}

/// Only a process with CAP_SYS_RESOURCE may raise a hard limit.
fn clamp(limit: &PosixRlimit, warnings: &mut Vec<String>) -> PosixRlimit {
    let resource = limit.typ() as libc::__rlimit_resource_t;
    let mut own = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit writes one structure.
    let known = unsafe { libc::getrlimit(resource, &mut own) } == 0;
    if has_sys_resource() {
        own.rlim_max = kernel_maximum(limit.typ());
    }
    if known && limit.hard() > own.rlim_max {
        warnings.push(format!(
            "ulimit {}: {} is more than this host allows; using {}",
            limit
                .typ()
                .to_string()
                .trim_start_matches("RLIMIT_")
                .to_lowercase(),
            show_limit(limit.hard()),
            show_limit(own.rlim_max),
        ));
        let lower = PosixRlimitBuilder::default()
            .typ(limit.typ())
            .hard(own.rlim_max)
            .soft(limit.soft().min(own.rlim_max));
        return lower.build().unwrap_or(*limit);
    }
    *limit
}

/// What even CAP_SYS_RESOURCE cannot raise.
fn kernel_maximum(kind: PosixRlimitType) -> u64 {
    if kind != PosixRlimitType::RlimitNofile {
        return u64::MAX;
    }
    std::fs::read_to_string("/proc/sys/fs/nr_open")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(u64::MAX)
}

fn show_limit(value: u64) -> String {
    match value {
        u64::MAX => "unlimited".to_owned(),
        other => other.to_string(),
    }
}

fn has_sys_resource() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    // Of a user namespace's capabilities, the kernel takes no notice here.
    if !crate::rootless::in_initial_namespace() {
        return false;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|caps| caps & 1 << CAP_SYS_RESOURCE != 0)
}

/// Sets how willing the kernel is to kill a process; without CAP_SYS_RESOURCE it can only become more so.
pub(super) fn set_oom_score(pid: i32, score: i32) -> Option<String> {
    let path = oom_score_of(pid);
    if std::fs::write(&path, score.to_string()).is_ok() {
        return None;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    Some(format!(
        "oom-score-adj {score} needs CAP_SYS_RESOURCE; it stays at {}",
        kept.trim()
    ))
}

fn oom_score_of(pid: i32) -> String {
    format!("/proc/{pid}/oom_score_adj")
}

/// While this lives, the kernel is as willing to kill this process, and what it forks, as a process that it makes is to
/// have it; so it is in force before that one's program runs.
pub(super) struct LentOomScore {
    before: String,
}

impl LentOomScore {
    /// Gives a line, too, if the host does not allow the score.
    pub(super) fn of(process: &Process) -> (Option<Self>, Option<String>) {
        let own = std::process::id() as i32;
        let before = std::fs::read_to_string(oom_score_of(own)).unwrap_or_default();
        match process.oom_score_adj() {
            Some(score) if before.trim() != score.to_string() => {
                (Some(Self { before }), set_oom_score(own, score))
            }
            _ => (None, None),
        }
    }
}

impl Drop for LentOomScore {
    fn drop(&mut self) {
        // What it once was it may always be again.
        let _ = std::fs::write(oom_score_of(std::process::id() as i32), &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::ProcessBuilder;

    #[test]
    fn libcontainer_gets_a_bare_process() {
        let process = ProcessBuilder::default()
            .args(vec!["x".to_owned()])
            .cwd("/nosuch")
            .env(vec!["HOME=/h".to_owned(), "X=1".to_owned()])
            .oom_score_adj(-5)
            .apparmor_profile("p")
            .build()
            .unwrap();
        let (adapted, warnings) = adapt_process(&process);
        assert_eq!(adapted.cwd(), Path::new("/"));
        assert_eq!(adapted.oom_score_adj(), None);
        assert!(adapted.capabilities().is_none());
        assert_eq!(*adapted.apparmor_profile(), None);
        assert_eq!(adapted.args().as_ref().unwrap(), &["x"]);
        assert!(warnings.is_empty());
    }

    #[test]
    fn limits_above_the_host_s_are_clamped_and_told() {
        let limit = PosixRlimitBuilder::default()
            .typ(PosixRlimitType::RlimitNofile)
            .soft(u64::MAX - 1)
            .hard(u64::MAX - 1)
            .build()
            .unwrap();
        let mut warnings = Vec::new();
        let clamped = clamp(&limit, &mut warnings);
        assert!(clamped.hard() < u64::MAX - 1);
        assert_eq!(clamped.soft(), clamped.hard());
        assert!(warnings[0].starts_with("ulimit nofile"), "{warnings:?}");
    }
}
