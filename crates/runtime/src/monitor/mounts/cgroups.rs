//! /sys/fs/cgroup, as the container's cgroup namespace shows it. In the host's it is all of v2's tree, as the kernel
//! has it, and the container's own part of v1's.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2, symlinkat};
use rustix::mount::UnmountFlags;

use super::has_cgroup_namespace;
use super::options::Options;
use super::target::{self, Kind, mount_at, mount_on};
use super::tree::{attach, copy, set_attributes};
use crate::cgroup::{Hierarchies, V1_CONTROLLERS};
use crate::error::StartError;

/// What is mounted.
#[derive(Debug)]
pub(super) enum Cgroups {
    /// The one hierarchy.
    V2 { flags: libc::c_ulong },
    /// A directory for each hierarchy.
    V1 {
        flags: libc::c_ulong,
        hierarchies: Vec<Hierarchy>,
        /// In the host's cgroup namespace: the part of each that is shown.
        part: Option<PathBuf>,
    },
}

/// One v1 hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Its directory's name: `cpu`, `cpu,cpuacct`.
    directory: CString,
    /// Its controllers, as mount data.
    controllers: CString,
    /// Names of single controllers, for links to the directory.
    links: Vec<String>,
}

impl Cgroups {
    /// For a mount of type `cgroup`.
    pub(super) fn new(
        spec: &Spec,
        options: &Options,
        hierarchies: &Hierarchies,
    ) -> Result<Self, StartError> {
        let path = spec.linux().as_ref().and_then(|l| l.cgroups_path().clone());
        let part = match (has_cgroup_namespace(spec), path) {
            (true, _) => None,
            (false, Some(path)) => Some(path),
            (false, None) => {
                return Err(StartError::Config {
                    reason: "a mount of type cgroup needs a cgroup namespace".to_owned(),
                });
            }
        };
        let flags = options.flags;
        Ok(match hierarchies {
            Hierarchies::V2 { .. } => Self::V2 { flags },
            Hierarchies::V1 { mounts } => Self::V1 {
                flags,
                hierarchies: mounts.iter().filter_map(Hierarchy::new).collect(),
                part,
            },
        })
    }

    /// Mounts it on `path`, in the container.
    pub(super) fn mount(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        let (flags, hierarchies, part) = match self {
            Self::V2 { flags } => {
                let what = (c"cgroup", c"cgroup2");
                return mount_at(root, path, Kind::System, what, *flags, c"");
            }
            Self::V1 {
                flags,
                hierarchies,
                part,
            } => (*flags, hierarchies, part),
        };
        let writable = flags & !libc::MS_RDONLY;
        let what = (c"tmpfs", c"tmpfs");
        mount_at(root, path, Kind::System, what, writable, c"mode=755")?;
        // The filesystem, not the directory below it.
        let directory = target::open(root, path, Kind::System)?;
        for hierarchy in hierarchies {
            hierarchy.mount(directory.as_fd(), flags)?;
            if let Some(part) = part {
                hierarchy.show_part(directory.as_fd(), part, flags)?;
            }
        }
        if flags & libc::MS_RDONLY != 0 {
            set_attributes(directory.as_fd(), libc::MS_RDONLY, 0, 0, false)?;
        }
        Ok(())
    }
}

impl Hierarchy {
    fn new((controllers, mount_point): &(Vec<String>, PathBuf)) -> Option<Self> {
        // It is in no cgroup of another hierarchy, which would show the host's.
        let ours = |name: &String| V1_CONTROLLERS.contains(&name.as_str());
        if !controllers.iter().all(ours) {
            return None;
        }
        let directory = mount_point.file_name()?.to_str()?;
        let links = controllers.iter().filter(|name| *name != directory);
        Some(Self {
            directory: CString::new(directory).ok()?,
            controllers: CString::new(controllers.join(",")).ok()?,
            links: links.cloned().collect(),
        })
    }

    fn mount(&self, parent: BorrowedFd<'_>, flags: libc::c_ulong) -> io::Result<()> {
        let directory: &CStr = &self.directory;
        mkdirat(parent, directory, Mode::from_raw_mode(0o755))?;
        let target = rustix::fs::openat(
            parent,
            directory,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        // `flags` are the mount's: the filesystem exists already and is the host's too.
        mount_on(
            target.as_fd(),
            c"cgroup",
            c"cgroup",
            flags,
            &self.controllers,
        )?;
        for link in &self.links {
            symlinkat(directory, parent, link.as_str())?;
        }
        Ok(())
    }
}

impl Hierarchy {
    /// Puts a part of the hierarchy in the place of all of it. Changes the working directory.
    fn show_part(
        &self,
        parent: BorrowedFd<'_>,
        part: &Path,
        flags: libc::c_ulong,
    ) -> io::Result<()> {
        let open = |at: BorrowedFd<'_>, path: &Path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            openat2(at, path, flags, Mode::empty(), within)
        };
        let name = Path::new(OsStr::from_bytes(self.directory.to_bytes()));
        let whole = open(parent, name)?;
        let part = copy(open(whole.as_fd(), part)?.as_fd(), Path::new(""), false)?;
        drop(whole);
        rustix::process::fchdir(parent)?;
        rustix::mount::unmount(self.directory.as_c_str(), UnmountFlags::DETACH)?;
        attach(part.as_fd(), open(parent, name)?.as_fd())?;
        set_attributes(
            part.as_fd(),
            flags & MOUNT_FLAGS,
            0,
            libc::MS_PRIVATE,
            false,
        )
    }
}

/// What of a mount's flags is the mount's own, and not its filesystem's.
const MOUNT_FLAGS: libc::c_ulong =
    libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RELATIME;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hierarchies_the_container_is_in_are_shown() {
        let of = |names: &[&str], path: &str| {
            Hierarchy::new(&(names.iter().map(|n| (*n).to_owned()).collect(), path.into()))
        };
        let both = of(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct").unwrap();
        assert_eq!(both.directory.as_c_str(), c"cpu,cpuacct");
        assert_eq!(both.controllers.as_c_str(), c"cpu,cpuacct");
        assert_eq!(both.links, ["cpu", "cpuacct"]);
        assert!(
            of(&["pids"], "/sys/fs/cgroup/pids")
                .unwrap()
                .links
                .is_empty()
        );
        assert_eq!(of(&["name=systemd"], "/sys/fs/cgroup/systemd"), None);
        assert_eq!(of(&["rdma"], "/sys/fs/cgroup/rdma"), None);
    }
}
