//! A container's OCI configuration, with Docker's defaults.
//!
//! [`build`] is a function of its input alone, but for the host's devices, which a privileged container gets as they
//! are at that moment.

mod block_io;
pub(crate) mod caps;
mod devices;
mod facts;
mod linux;
mod mounts;
mod pod;
mod process;
mod resources;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{LinuxResources, LinuxSeccomp, RootBuilder, Spec, SpecBuilder};
use rctr_runtime::cgroup::CgroupDriver;

pub(crate) use facts::HostFacts;
pub(crate) use pod::{InPod, InPodMount};
pub(crate) use process::{exec_process, like_init};

use crate::files::EtcFiles;
use crate::model::Container;
use crate::options::{ParseError, Resources, SeccompChoice};
use crate::selinux::SelinuxLabels;
use crate::user::Identity;
use crate::{Error, Result};

/// What was asked for cannot be had on this host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// `--cpus` beyond the host's.
    #[error(
        "Range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"
    )]
    CpuRange {
        /// How many there are.
        available: usize,
    },
    /// `--cpus` without the means to keep it.
    #[error(
        "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted"
    )]
    CpuController,
    /// `--cpuset-cpus` or `--cpuset-mems` that the host does not have.
    #[error("Requested {kind} are not available - requested {requested}, available: {available}")]
    Cpuset {
        /// `CPUs` or `memory nodes`.
        kind: &'static str,
        /// What was asked for.
        requested: String,
        /// What there is.
        available: String,
    },
    /// A capability's name is none.
    #[error(transparent)]
    Capability(#[from] ParseError),
    /// The seccomp profile cannot be used.
    #[error("seccomp profile")]
    Seccomp(#[source] rctr_runtime::Error),
    /// The host's devices cannot be listed for a privileged container.
    #[error("list {}", path.display())]
    Devices {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// `--device` that is not there, or is no device.
    #[error("error gathering device information while adding custom device \"{}\"", path.display())]
    CustomDevice {
        /// The device.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A device with a limit that is not there.
    #[error("stat {}", path.display())]
    Stat {
        /// The device.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// `--cpu-rt-runtime` or `--cpu-rt-period` without the means to keep it.
    #[error("Your kernel does not support CPU real-time scheduler")]
    CpuRealtime,
    /// The parts do not make an OCI configuration.
    #[error("OCI configuration")]
    Oci(#[from] OciSpecError),
}

/// What a configuration is made from.
#[derive(Debug)]
pub(crate) struct SpecInput<'a> {
    /// The container.
    pub(crate) container: &'a Container,
    /// Its user.
    pub(crate) user: &'a Identity,
    /// Its files under /etc.
    pub(crate) files: &'a EtcFiles,
    /// The network namespace; `None` is the host's.
    pub(crate) netns: Option<PathBuf>,
    /// Other namespaces that it joins.
    pub(crate) joined: JoinedPaths,
    /// The monitor's binary, which serves as `--init`.
    pub(crate) monitor: PathBuf,
    /// The host.
    pub(crate) facts: &'a HostFacts,
    /// What the container's pod makes of it.
    pub(crate) pod: Option<&'a InPod>,
}

/// Where the namespaces are found that a container joins; what is not named is as its options say.
#[derive(Debug, Clone, Default)]
pub(crate) struct JoinedPaths {
    /// Another container's IPC namespace.
    pub(crate) ipc: Option<PathBuf>,
    /// Another container's /dev/shm.
    pub(crate) shm: Option<PathBuf>,
    /// Another container's PID namespace.
    pub(crate) pid: Option<PathBuf>,
    /// The user namespace that was made for it.
    pub(crate) user: Option<PathBuf>,
}

/// A configuration.
#[derive(Debug)]
pub(crate) struct SpecOutput {
    /// config.json.
    pub(crate) spec: Spec,
    /// The user's own seccomp profile, resolved for this machine and the container's capabilities.
    pub(crate) seccomp: Option<LinuxSeccomp>,
    /// One line each, for the user.
    pub(crate) warnings: Vec<String>,
}

/// Makes the configuration.
///
/// # Errors
/// [`SpecError`]: limits and profiles that cannot be had, in Docker's words.
pub(crate) fn build(input: &SpecInput) -> Result<SpecOutput, SpecError> {
    let mut warnings = Vec::new();
    let options = &input.container.options;
    let process = process::build(input, &mut warnings)?;
    let bounding = process
        .capabilities()
        .as_ref()
        .and_then(|c| c.bounding().clone())
        .unwrap_or_default();
    let seccomp = match &options.security.seccomp {
        SeccompChoice::Profile(json) if !options.privileged => Some(
            rctr_runtime::seccomp::custom_profile(json.as_bytes(), &bounding)
                .map_err(SpecError::Seccomp)?,
        ),
        _ => None,
    };
    let root = RootBuilder::default()
        .path("rootfs")
        .readonly(options.read_only)
        .build()?;
    let mut spec = SpecBuilder::default()
        .root(root)
        .hostname(input.files.name.clone())
        .mounts(mounts::build(input)?)
        .linux(linux::build(input, &mut warnings)?)
        .process(process)
        .build()?;
    if options.isolation.uts_host {
        spec.set_hostname(None);
    }
    if options.domainname.is_some() {
        spec.set_domainname(options.domainname.clone());
    }
    if !options.annotations.is_empty() {
        spec.set_annotations(Some(options.annotations.clone().into_iter().collect()));
    }
    if let Some(labels) = input
        .container
        .selinux
        .as_ref()
        .filter(|_| input.facts.selinux)
    {
        label(&mut spec, labels, options.privileged);
    }
    if let Some(in_pod) = input.pod {
        pod::adjust(&mut spec, input, in_pod, &mut warnings)?;
    }
    Ok(SpecOutput {
        spec,
        seccomp,
        warnings,
    })
}

/// As with Docker and containerd the privileged run as what the policy makes of their programs.
fn label(spec: &mut Spec, labels: &SelinuxLabels, privileged: bool) {
    let of_processes = Some(&labels.process).filter(|label| !privileged && !label.is_empty());
    if let Some(process) = spec.process_mut() {
        process.set_selinux_label(of_processes.cloned());
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_mount_label(Some(labels.mount.clone()));
    }
}

/// The limits of a container, for one that runs already.
///
/// # Errors
/// [`SpecError`]: limits that cannot be had.
pub(crate) fn limits(
    container: &Container,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> Result<LinuxResources, SpecError> {
    let swap = resources::Swap::of(container);
    resources::limits(&container.options.resources, swap, facts, warnings)
}

/// The limits of a whole pod.
///
/// # Errors
/// [`SpecError`]: limits that cannot be had.
pub(crate) fn limits_of_pod(
    wanted: &Resources,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> Result<LinuxResources, SpecError> {
    resources::limits(wanted, resources::Swap::AsSaid, facts, warnings)
}

/// The value of `linux.cgroupsPath`: `/parent/id`, or `slice:rctr:id` for systemd.
pub(crate) fn cgroup_path(driver: CgroupDriver, parent: Option<&str>, id: &str) -> String {
    rctr_runtime::cgroup::cgroups_path(driver, parent, id)
        .to_string_lossy()
        .into_owned()
}

/// Writes the configuration into a bundle.
pub(crate) fn save(spec: &Spec, path: &Path) -> Result<()> {
    let text = serde_json::to_vec(spec).map_err(|e| Error::BadRecord {
        what: format!("{}: {e}", path.display()),
    })?;
    std::fs::write(path, text).map_err(Error::file("write", path))
}

/// Reads what [`save`] has written.
pub(crate) fn load(path: &Path) -> Result<Spec> {
    let text = std::fs::read(path).map_err(Error::file("read", path))?;
    serde_json::from_slice(&text).map_err(|e| Error::BadRecord {
        what: format!("{}: {e}", path.display()),
    })
}
