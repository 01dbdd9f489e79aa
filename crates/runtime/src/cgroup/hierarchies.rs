//! Where the kernel's cgroup hierarchies are mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::error::{Error, Result};
use crate::rootless;

/// The usual place.
const USUAL: &str = "/sys/fs/cgroup";

/// Where the kernel's cgroup hierarchies are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchies {
    /// One hierarchy with all controllers.
    V2 {
        /// Its mount point.
        root: PathBuf,
    },
    /// A hierarchy per controller, perhaps with a v2 hierarchy without controllers beside them (hybrid).
    V1 {
        /// Controllers (or `name=…`) and mount point of each hierarchy.
        mounts: Vec<(Vec<String>, PathBuf)>,
    },
}

impl Hierarchies {
    /// Looks at the usual place, and where that is no cgroup2, into /proc/self/mountinfo, which may be long.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::MissingController`] if no cgroups are mounted.
    pub fn detect() -> Result<Self> {
        let root = Path::new(USUAL);
        if statfs(root).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC) {
            return Ok(Self::V2 { root: root.into() });
        }
        let path = Path::new("/proc/self/mountinfo");
        let text = fs::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
        Self::parse(&text).ok_or_else(|| Error::MissingController {
            controller: "cgroup".to_owned(),
        })
    }

    /// The same, read once in the life of a process: they do not change while anything uses them.
    pub(super) fn of_host() -> Result<Self> {
        static HOST: OnceLock<Hierarchies> = OnceLock::new();
        if let Some(known) = HOST.get() {
            return Ok(known.clone());
        }
        let detected = Self::detect()?;
        Ok(HOST.get_or_init(|| detected).clone())
    }

    /// A hierarchy that is mounted several times (below a chroot, say) counts once, where it usually is if it is there.
    fn parse(mountinfo: &str) -> Option<Self> {
        let mut mounts: Vec<(Vec<String>, PathBuf)> = Vec::new();
        let mut unified = None;
        for line in mountinfo.lines() {
            let (before, after) = line.split_once(" - ")?;
            let mount_point = PathBuf::from(before.split(' ').nth(4)?);
            let mut after = after.split(' ');
            match (after.next(), after.nth(1)) {
                (Some("cgroup2"), _) if unified.is_none() => unified = Some(mount_point),
                (Some("cgroup"), Some(options)) => {
                    let controllers = options.split(',').filter(|o| !is_mount_option(o));
                    let controllers: Vec<String> = controllers.map(String::from).collect();
                    match mounts.iter_mut().find(|(known, _)| *known == controllers) {
                        None => mounts.push((controllers, mount_point)),
                        Some((_, known)) if is_usual(&mount_point) && !is_usual(known) => {
                            *known = mount_point;
                        }
                        Some(_) => {}
                    }
                }
                _ => {}
            }
        }
        match unified {
            Some(root) if mounts.is_empty() => Some(Self::V2 { root }),
            None if mounts.is_empty() => None,
            _ => Some(Self::V1 { mounts }),
        }
    }

    /// The mount point of the hierarchy that has a controller (v1 names: `cpuacct`, `blkio`, …).
    pub fn mount_of(&self, controller: &str) -> Option<&Path> {
        match self {
            Self::V2 { root } => Some(root),
            Self::V1 { mounts } => mounts
                .iter()
                .find(|(names, _)| names.iter().any(|n| n == controller))
                .map(|(_, path)| path.as_path()),
        }
    }

    /// Whether this process may make groups there: not an ordinary user, nor root of a user namespace, to whom nobody gave
    /// a part.
    pub fn is_ours(&self) -> bool {
        let ours = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
        (nix::unistd::geteuid().is_root() && rootless::in_initial_namespace())
            || match self {
                Self::V2 { root } => ours(root),
                Self::V1 { mounts } => mounts.iter().all(|(_, path)| ours(path)),
            }
    }

    /// Whether there are none, for an ordinary user without delegation.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::V1 { mounts } if mounts.is_empty())
    }

    /// Whether the host can enforce what a controller does (v2 names: `memory`, `cpu`, `io`, …).
    pub fn has_controller(&self, controller: &str) -> bool {
        match self {
            Self::V2 { root } => fs::read_to_string(root.join("cgroup.controllers"))
                .is_ok_and(|list| list.split_whitespace().any(|c| c == controller)),
            Self::V1 { .. } => {
                let name = if controller == "io" {
                    "blkio"
                } else {
                    controller
                };
                self.mount_of(name).is_some()
            }
        }
    }
}

fn is_usual(mount_point: &Path) -> bool {
    mount_point.starts_with(USUAL)
}

fn is_mount_option(option: &str) -> bool {
    matches!(
        option,
        "rw" | "ro"
            | "relatime"
            | "noatime"
            | "nosuid"
            | "nodev"
            | "noexec"
            | "xattr"
            | "clone_children"
    ) || option.starts_with("release_agent=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_hosts_count_as_v1() {
        let text = "\
26 25 0:23 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
27 26 0:24 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
28 26 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
29 26 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let found = Hierarchies::parse(text).unwrap();
        assert_eq!(
            found.mount_of("cpuacct"),
            Some(Path::new("/sys/fs/cgroup/cpu"))
        );
        assert_eq!(found.mount_of("memory"), None);
        assert!(!found.has_controller("io"));

        let v2 = "29 26 0:26 / /sys/fs/cgroup rw shared:1 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(
            Hierarchies::parse(v2),
            Some(Hierarchies::V2 {
                root: "/sys/fs/cgroup".into()
            })
        );
        assert_eq!(Hierarchies::parse(""), None);
    }

    #[test]
    fn a_hierarchy_that_is_mounted_twice_counts_once() {
        let cpu = |at: &str| format!("26 25 0:24 / {at} rw - cgroup cgroup rw,cpu\n");
        let (usual, other) = ("/sys/fs/cgroup/cpu", "/chroot/sys/fs/cgroup/cpu");
        for places in [[usual, other], [other, usual]] {
            assert_eq!(
                Hierarchies::parse(&places.map(cpu).concat()),
                Some(Hierarchies::V1 {
                    mounts: vec![(vec!["cpu".to_owned()], usual.into())]
                })
            );
        }
    }
}
