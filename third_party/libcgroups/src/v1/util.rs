use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::Pid;
use procfs::ProcError;
use procfs::process::MountInfo;

use super::ControllerType;
use super::controller_type::CONTROLLERS;
use crate::common::{self, CGROUP_PROCS, WrappedIoError};

const CGROUP_TASKS: &str = "tasks";

#[derive(thiserror::Error, Debug)]
pub enum V1MountPointError {
    #[error("io error: {0}")]
    Io(#[from] std::io::Error),
    #[error("failed to get mountinfo: {0}")]
    MountInfo(ProcError),
    #[error("could not find mountpoint for {subsystem}")]
    NotFound { subsystem: ControllerType },
}

/// rctr: the mount points are the same for as long as a process lives; mountinfo is long and was read 28 times.
static MOUNT_POINTS: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// List all cgroup v1 subsystem mount points on the system. This can include unsupported
/// subsystems, comounted controllers and named hierarchies.
pub fn list_subsystem_mount_points() -> Result<Vec<PathBuf>, V1MountPointError> {
    Ok(mount_points()?.to_vec())
}

fn mount_points() -> Result<&'static [PathBuf], V1MountPointError> {
    if let Some(mount_points) = MOUNT_POINTS.get() {
        return Ok(mount_points);
    }
    let read = read_mount_points()?;
    Ok(MOUNT_POINTS.get_or_init(|| read))
}

fn read_mount_points() -> Result<Vec<PathBuf>, V1MountPointError> {
    // rctr: the host's /proc need not be checked, which takes 40 system calls.
    let reader = BufReader::new(fs::File::open("/proc/self/mountinfo")?);

    reader
        .lines()
        .map(|lr| {
            lr.map_err(V1MountPointError::Io)
                .and_then(|line| MountInfo::from_line(&line).map_err(V1MountPointError::MountInfo))
        })
        .try_fold(Vec::new(), |mut mount_points, r| {
            r.map(|m| {
                if m.fs_type == "cgroup" {
                    mount_points.push(m.mount_point);
                }
                mount_points
            })
        })
}

/// rctr: moves a process into a cgroup. A process with one thread that moves itself writes `0` to `tasks`:
/// the kernel then skips the grace period of its threadgroup lock, 10 ms for each hierarchy together.
pub(super) fn join(pid: Pid, cgroup_path: &Path) -> Result<(), WrappedIoError> {
    if pid == Pid::this() && has_one_thread() {
        common::write_cgroup_file_str(cgroup_path.join(CGROUP_TASKS), "0")
    } else {
        common::write_cgroup_file(cgroup_path.join(CGROUP_PROCS), pid)
    }
}

fn has_one_thread() -> bool {
    // A directory's link count is 2 + its subdirectories, of which there is one for each thread.
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self/task").is_ok_and(|m| m.nlink() == 3)
}

/// List the mount points of all currently supported cgroup subsystems.
pub fn list_supported_mount_points() -> Result<HashMap<ControllerType, PathBuf>, V1MountPointError>
{
    let mut mount_paths = HashMap::with_capacity(CONTROLLERS.len());

    for controller in CONTROLLERS {
        if let Ok(mount_point) = get_subsystem_mount_point(controller) {
            mount_paths.insert(controller.to_owned(), mount_point);
        }
    }

    Ok(mount_paths)
}

pub fn get_subsystem_mount_point(subsystem: &ControllerType) -> Result<PathBuf, V1MountPointError> {
    let subsystem_name = subsystem.to_string();
    mount_points()?
        .iter()
        .find(|mount_point| {
            // Some systems mount net_prio and net_cls in the same directory
            // other systems mount them in their own directories. This
            // should handle both cases.
            let names: &[&str] = match subsystem_name.as_str() {
                "net_cls" => &["net_cls,net_prio", "net_prio,net_cls", "net_cls"],
                "net_prio" => &["net_cls,net_prio", "net_prio,net_cls", "net_prio"],
                "cpu" => &["cpu,cpuacct", "cpu"],
                "cpuacct" => &["cpu,cpuacct", "cpuacct"],
                _ => return mount_point.ends_with(&subsystem_name),
            };
            names.iter().any(|name| mount_point.ends_with(name))
        })
        .cloned()
        .ok_or(V1MountPointError::NotFound {
            subsystem: *subsystem,
        })
}
