//! Who makes cgroups, and where.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Hierarchies;
use crate::rootless;

/// Who makes cgroups on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// We make directories below /sys/fs/cgroup ourselves.
    Cgroupfs,
    /// systemd makes a scope for us, asked over D-Bus (cgroup v2 only).
    Systemd,
    /// Nobody: an ordinary user, or the root of some user namespace, to whom no part of the hierarchy was delegated. There
    /// are no limits then.
    None,
}

/// The driver for a host: systemd where it is init and cgroups are v2, else cgroupfs.
pub fn detect_driver() -> CgroupDriver {
    if let Some(session) = rootless::session() {
        return match session.delegated() {
            true => CgroupDriver::Systemd,
            false => CgroupDriver::None,
        };
    }
    if !rootless::in_initial_namespace() && Hierarchies::detect().is_ok_and(|all| !all.is_ours()) {
        return CgroupDriver::None;
    }
    if !Path::new("/run/systemd/system").is_dir() {
        return CgroupDriver::Cgroupfs;
    }
    match Hierarchies::detect() {
        Ok(Hierarchies::V2 { .. }) => CgroupDriver::Systemd,
        _ => CgroupDriver::Cgroupfs,
    }
}

/// The value of `linux.cgroupsPath` for a container. `parent` is `--cgroup-parent`: a path for
/// cgroupfs (default `/rctr`), a slice for systemd (default `system.slice`).
pub fn cgroups_path(driver: CgroupDriver, parent: Option<&str>, id: &str) -> PathBuf {
    match driver {
        CgroupDriver::Cgroupfs | CgroupDriver::None => {
            let parent = parent.unwrap_or("rctr").trim_matches('/');
            PathBuf::from(format!("/{parent}/{id}"))
        }
        CgroupDriver::Systemd => {
            let usual = match rootless::session() {
                Some(_) => "user.slice",
                None => "system.slice",
            };
            PathBuf::from(format!("{}:rctr:{id}", parent.unwrap_or(usual)))
        }
    }
}

/// `a-b.slice` lies in `a.slice/a-b.slice`; `-.slice` is the root.
pub(super) fn expand_slice(slice: &str) -> PathBuf {
    let Some(name) = slice.strip_suffix(".slice") else {
        return PathBuf::from(slice);
    };
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-').filter(|part| !part.is_empty()) {
        if !prefix.is_empty() {
            prefix.push('-');
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
    }
    path
}
