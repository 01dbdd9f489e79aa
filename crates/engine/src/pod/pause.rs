//! The process that holds a PID namespace which the containers of a pod share: its first one, which takes in orphans.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, MountBuilder,
    ProcessBuilder, RootBuilder, SpecBuilder, UserBuilder,
};
use rctr_runtime::{
    Launch, LaunchFds, MonitorClient, Rootfs, SeccompPolicy, StdioConfig, defaults,
};

use super::Pod;
use super::lifecycle::make_dir;
use crate::{Engine, Result, settle, spec};

impl Engine {
    /// Starts it; it is no container that anybody sees.
    pub(super) fn start_pause(&self, pod: &Pod) -> Result<()> {
        let bundle = self.pod_files(&pod.id).join("pause");
        let state_dir = self.pause_dir(&pod.id);
        make_dir(&bundle)?;
        make_dir(&state_dir)?;
        let monitor = self.monitor_path()?;
        let own = self.config.settings.cgroup.parent.as_deref();
        let driver = self.cgroup_driver();
        let cgroup = spec::cgroup_path(driver, pod.cgroup.as_deref().or(own), &pod.id);
        let config = bundle.join("config.json");
        let made = configuration(pod, &monitor, &cgroup).map_err(spec::SpecError::from)?;
        spec::save(&made, &config)?;
        let launch = Launch {
            id: pod.id.clone(),
            bundle,
            state_dir,
            rootfs: Rootfs::Empty,
            copy_up: Vec::new(),
            log_driver: None,
            log: None,
            stdio: StdioConfig::default(),
            cgroup: driver,
            seccomp: SeccompPolicy::Default,
            seccomp_cache: self.config.root.join("seccomp"),
            exit_command: Vec::new(),
            tethered: false,
            runtime: None,
            forward: Vec::new(),
            health: None,
            oom_command: Vec::new(),
        };
        rctr_runtime::launch(&monitor, &launch, LaunchFds::default()).map_err(|e| e.error)?;
        Ok(())
    }

    /// Its process id on the host, while it lives.
    pub(super) fn pause_pid(&self, pod: &str) -> Option<i32> {
        match rctr_runtime::status(&self.pause_dir(pod)) {
            Ok(rctr_runtime::Status::Running { pid, .. }) => Some(pid),
            _ => None,
        }
    }

    /// Ends it, and with it all processes of its namespace; fine if there is none.
    pub(super) fn end_pause(&self, pod: &str) -> Result<()> {
        let dir = self.pause_dir(pod);
        if !dir.exists() {
            return Ok(());
        }
        if let Ok(client) = MonitorClient::connect(&dir) {
            match rctr_runtime::signal(&dir, libc::SIGKILL, None) {
                Err(rctr_runtime::Error::NotRunning { .. } | rctr_runtime::Error::MonitorLost) => {}
                other => other?,
            }
            match client.wait() {
                Err(rctr_runtime::Error::NotRunning { .. } | rctr_runtime::Error::MonitorLost) => {}
                other => drop(other?),
            }
            rctr_runtime::await_release(&dir)?;
        }
        settle::discard_state_dir(&dir)
    }

    fn pause_dir(&self, pod: &str) -> PathBuf {
        self.state_dir(pod)
    }
}

fn configuration(
    pod: &Pod,
    monitor: &Path,
    cgroup: &str,
) -> Result<oci_spec::runtime::Spec, oci_spec::OciSpecError> {
    use LinuxNamespaceType::{Ipc, Mount, Network, Pid, User, Uts};
    let mut namespaces: Vec<LinuxNamespace> = Vec::new();
    for typ in [Mount, Pid] {
        namespaces.push(LinuxNamespaceBuilder::default().typ(typ).build()?);
    }
    let kept = &pod.namespaces;
    for (typ, path) in [
        (Network, &kept.net),
        (Ipc, &kept.ipc),
        (Uts, &kept.uts),
        (User, &kept.user),
    ] {
        if let Some(path) = path {
            let namespace = LinuxNamespaceBuilder::default().typ(typ).path(path.clone());
            namespaces.push(namespace.build()?);
        }
    }
    let bind = ["bind", "ro", "rprivate"].map(str::to_owned).to_vec();
    let mounts = vec![
        MountBuilder::default()
            .destination("/proc")
            .typ("proc")
            .source("proc")
            .options(["nosuid", "noexec", "nodev"].map(str::to_owned).to_vec())
            .build()?,
        MountBuilder::default()
            .destination(defaults::pause_path())
            .typ("bind")
            .source(monitor)
            .options(bind)
            .build()?,
    ];
    let mut process = ProcessBuilder::default()
        .args(vec![defaults::pause_path().to_string_lossy().into_owned()])
        .env(vec![
            format!("PATH={}", defaults::PATH),
            "HOME=/".to_owned(),
        ])
        .cwd("/")
        .user(UserBuilder::default().uid(0u32).gid(0u32).build()?)
        .capabilities(spec::caps::none()?)
        .no_new_privileges(true)
        .build()?;
    process.set_rlimits(None);
    // As with containerd; one with privileged containers has none.
    let label = pod.selinux.as_ref().filter(|_| !pod.options.privileged);
    process.set_selinux_label(label.map(|labels| labels.process.clone()));
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(cgroup)
        .build()?;
    linux.set_seccomp(None);
    linux.set_mount_label(pod.selinux.as_ref().map(|labels| labels.mount.clone()));
    let mut spec = SpecBuilder::default()
        .root(
            RootBuilder::default()
                .path("rootfs")
                .readonly(true)
                .build()?,
        )
        .mounts(mounts)
        .process(process)
        .linux(linux)
        .build()?;
    spec.set_hostname(None);
    Ok(spec)
}
