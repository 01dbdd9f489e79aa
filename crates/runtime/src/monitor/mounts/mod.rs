//! A container's mounts, made by us.
//!
//! libcontainer checks the process filesystem anew for each path, 40 system calls every time, and knows nothing
//! of propagation. It is left to pivot into the root filesystem and to fill /dev. The rest happens in three places:
//! what shows the host is taken in the host's mount namespace ([`Mounts::take_from`]), /dev is mounted in the
//! monitor's ([`Mounts::mount_dev`]), everything else inside the container, before its program, by its init
//! ([`Mounts::make`]). Every path is resolved within the root and mounted on by descriptor; every step must succeed.

mod cgroups;
mod filesystem;
mod hidden;
mod options;
mod target;
mod tree;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use serde::{Deserialize, Serialize};

use self::cgroups::Cgroups;
use self::filesystem::Filesystem;
use self::hidden::{Masks, make_read_only};
use self::options::Options;
use self::tree::{Tree, is_proc};
use super::user::{UserNamespace, mappings};
use crate::cgroup::Hierarchies;
use crate::error::StartError;
use crate::namespaces::IdMappings;

pub(super) use self::target::{Kind, open as open_target};
pub(super) use self::tree::copy;
pub(crate) use self::tree::{set_attributes, show_owners};

/// The files in /proc that a user may cover, as with runc.
const COVERABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What a container's specification wants mounted, hidden and set.
pub(super) struct Mounts {
    dev: Filesystem,
    pts: Filesystem,
    mounts: Vec<(PathBuf, What)>,
    sysctls: Vec<(String, String)>,
    read_only_paths: Vec<PathBuf>,
    masked_paths: Vec<PathBuf>,
    read_only_root: bool,
}

enum What {
    Filesystem(Filesystem),
    Cgroups(Cgroups),
    Tree(Tree),
}

/// What could not be done inside the container.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    action: Action,
    /// What it was done to.
    name: String,
    errno: i32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Action {
    Mount,
    CoverProc,
    Sysctl,
    MakeReadOnly,
    Mask,
}

impl Failure {
    fn at<E: Into<io::Error>>(action: Action, name: impl Into<String>) -> impl FnOnce(E) -> Self {
        let name = name.into();
        move |error| Self {
            action,
            name,
            errno: error.into().raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// The error for the user; `words` are the kernel's for an error number.
    pub(super) fn describe(&self, words: impl Fn(i32) -> String) -> StartError {
        let name = &self.name;
        let rootfs = |step: String| StartError::Rootfs {
            step,
            reason: words(self.errno),
        };
        match self.action {
            Action::Mount => rootfs(format!("mount {name}")),
            Action::CoverProc => StartError::Config {
                reason: format!("{name} cannot be mounted because it is inside /proc"),
            },
            Action::Sysctl => StartError::Config {
                reason: format!("sysctl {name}: {}", words(self.errno)),
            },
            Action::MakeReadOnly => rootfs(format!("make {name} read-only")),
            Action::Mask => rootfs(format!("mask {name}")),
        }
    }
}

impl Mounts {
    /// Takes what we do ourselves out of a container's specification. Call in the host's mount namespace: what of the
    /// host is shown in the container is taken here.
    ///
    /// # Errors
    /// [`StartError::Config`] for what cannot be, [`StartError::Rootfs`] for a source that cannot be had.
    ///
    /// In a user namespace /proc and /sys are left to libcontainer, which mounts them before it pivots: the kernel lets
    /// nobody there mount them who does not see the host's.
    pub(super) fn take_from(
        spec: &mut Spec,
        hierarchies: &Hierarchies,
        user: Option<&UserNamespace>,
    ) -> Result<Self, StartError> {
        let mut dev = None;
        let mut pts = None;
        let mut mounts = Vec::new();
        let mut left = Vec::new();
        for mount in spec.mounts().iter().flatten() {
            let destination = mount.destination();
            let what = What::of(mount, spec, hierarchies, user)?;
            let kind = mount.typ().as_deref();
            if is(destination, "/proc") && !what.is_proc() {
                return Err(StartError::Config {
                    reason: "/proc cannot be mounted because it is not of type proc".to_owned(),
                });
            }
            match what {
                What::Filesystem(mut new) if is(destination, "/dev") && kind == Some("tmpfs") => {
                    // It is where devices are made.
                    new.flags &= !(libc::MS_NODEV | libc::MS_RDONLY);
                    dev = Some(new);
                }
                What::Filesystem(new) if is(destination, "/dev/pts") && kind == Some("devpts") => {
                    pts = Some(new);
                }
                What::Filesystem(new) if user.is_some() && new.is_the_kernel_s() => {
                    left.push(mount.clone());
                }
                what => mounts.push((destination.clone(), what)),
            }
        }
        spec.set_mounts(Some(left));
        let mut taken = Self {
            dev: dev.unwrap_or_else(Filesystem::dev),
            pts: pts.unwrap_or_else(Filesystem::pts),
            mounts,
            sysctls: Vec::new(),
            read_only_paths: Vec::new(),
            masked_paths: Vec::new(),
            read_only_root: false,
        };
        if let Some(user) = user {
            taken.dev.owned_by(user);
            taken.pts.owned_by(user);
        }
        if let Some(mut linux) = spec.linux().clone() {
            taken.sysctls = linux.sysctl().clone().into_iter().flatten().collect();
            taken.read_only_paths = paths(linux.readonly_paths());
            taken.masked_paths = paths(linux.masked_paths());
            linux
                .set_sysctl(None)
                .set_readonly_paths(None)
                .set_masked_paths(None)
                // Each mount has its own: nothing mounted on a shared root could stay private.
                .set_rootfs_propagation(Some("private".to_owned()));
            spec.set_linux(Some(linux));
        }
        if let Some(mut root) = spec.root().clone() {
            taken.read_only_root = root.readonly().unwrap_or(false);
            root.set_readonly(Some(false));
            spec.set_root(Some(root));
        }
        Ok(taken)
    }

    /// Mounts /dev and /dev/pts, where libcontainer puts devices and opens a terminal before the container's init
    /// comes to the rest. Call in the monitor's mount namespace; `root` has been checked by [`check_image`](super::rootfs::check_image).
    pub(super) fn mount_dev(&self, root: BorrowedFd<'_>) -> Result<(), StartError> {
        let mount = |path: &str, filesystem: &Filesystem| {
            let mounted = filesystem.mount(root, Path::new(path), Kind::System);
            mounted.map_err(|e| StartError::Rootfs {
                step: format!("mount {path}"),
                reason: e.to_string(),
            })
        };
        mount("/dev", &self.dev)?;
        let mounted = mount("/dev/pts", &self.pts);
        // Do not keep what is mounted busy.
        let _ = rustix::process::chdir("/");
        mounted
    }

    /// Makes the mounts in the container's init, which has its namespaces, its root and all capabilities yet.
    pub(super) fn make(&self) -> Result<(), Failure> {
        let root = rustix::fs::open(
            "/",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(Failure::at(Action::Mount, "/"))?;
        let root = root.as_fd();
        let mut masks = match self.masked_paths.is_empty() {
            true => None,
            false => Some(Masks::new(root).map_err(Failure::at(Action::Mask, "/dev/null"))?),
        };
        for (path, what) in &self.mounts {
            what.mount(root, path)?;
        }
        self.set_sysctls(root)?;
        for path in &self.read_only_paths {
            let failed = Failure::at(Action::MakeReadOnly, path.to_string_lossy());
            make_read_only(root, path).map_err(failed)?;
        }
        for path in &self.masked_paths {
            if let Some(masks) = &mut masks {
                let failed = Failure::at(Action::Mask, path.to_string_lossy());
                masks.hide(root, path).map_err(failed)?;
            }
        }
        if self.read_only_root {
            let done = set_attributes(root, libc::MS_RDONLY, 0, 0, false);
            done.map_err(Failure::at(Action::MakeReadOnly, "/"))?;
        }
        Ok(())
    }

    /// Writes kernel parameters, to the kernel's own files and nothing that stands in their place (CVE-2019-16884).
    fn set_sysctls(&self, root: BorrowedFd<'_>) -> Result<(), Failure> {
        if self.sysctls.is_empty() {
            return Ok(());
        }
        let proc = target::open(root, Path::new("/proc"), Kind::System)
            .map_err(Failure::at(Action::Sysctl, "/proc"))?;
        if is_proc(proc.as_fd()) != Ok(true) {
            return Err(Failure::at(Action::Sysctl, "/proc")(
                rustix::io::Errno::NODEV,
            ));
        }
        for (name, value) in &self.sysctls {
            let write = || -> rustix::io::Result<()> {
                let file = openat2(
                    &proc,
                    format!("sys/{}", name.replace('.', "/")),
                    OFlags::WRONLY | OFlags::CLOEXEC,
                    Mode::empty(),
                    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
                )?;
                rustix::io::write(file, value.as_bytes()).map(drop)
            };
            write().map_err(Failure::at(Action::Sysctl, name))?;
        }
        Ok(())
    }
}

pub(super) fn has_cgroup_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    let mut namespaces = namespaces.into_iter().flatten();
    namespaces.any(|n| n.typ() == LinuxNamespaceType::Cgroup)
}

fn is(path: &Path, other: &str) -> bool {
    // Compared by component: a slash at the end does not matter.
    path == Path::new(other)
}

fn paths(list: &Option<Vec<String>>) -> Vec<PathBuf> {
    list.iter().flatten().map(PathBuf::from).collect()
}

impl What {
    fn of(
        mount: &Mount,
        spec: &Spec,
        hierarchies: &Hierarchies,
        user: Option<&UserNamespace>,
    ) -> Result<Self, StartError> {
        let options = Options::parse(mount.options().as_deref().unwrap_or_default());
        let config = |reason: &str| StartError::Config {
            reason: format!("mount {}: {reason}", mount.destination().display()),
        };
        let wanted = mappings(mount.uid_mappings(), mount.gid_mappings());
        let owners = match (options.idmap || wanted != IdMappings::default(), user) {
            (false, _) => None,
            (true, Some(user)) => Some(user.for_mount(&wanted)?),
            (true, None) => return Err(config("mapped owners need a user namespace")),
        };
        let kind = mount.typ().as_deref();
        if options.bind || kind == Some("bind") {
            let source = mount.source().as_deref();
            let source = source.ok_or_else(|| config("no source"))?;
            let owners = owners.as_ref().map(AsFd::as_fd);
            return Ok(Self::Tree(Tree::take(source, &options, owners)?));
        }
        if owners.is_some() {
            return Err(config("only places of the host can have mapped owners"));
        }
        Ok(match kind {
            Some("cgroup") => Self::Cgroups(Cgroups::new(spec, &options, hierarchies)?),
            Some(kind) => {
                let source = mount.source().as_deref().unwrap_or(Path::new(kind));
                let c_string =
                    |text: &str| CString::new(text).map_err(|_| config("a NUL byte in a name"));
                Self::Filesystem(Filesystem {
                    source: c_string(&source.to_string_lossy())?,
                    kind: c_string(kind)?,
                    flags: options.flags,
                    data: options.data(),
                })
            }
            None => return Err(config("no type")),
        })
    }

    fn is_proc(&self) -> bool {
        match self {
            Self::Filesystem(new) => new.kind.as_c_str() == c"proc",
            Self::Tree(tree) => tree.is_proc(),
            Self::Cgroups(_) => false,
        }
    }

    fn mount(&self, root: BorrowedFd<'_>, path: &Path) -> Result<(), Failure> {
        let failed = Failure::at::<io::Error>(Action::Mount, path.to_string_lossy());
        match self {
            Self::Cgroups(cgroups) => cgroups.mount(root, path).map_err(failed),
            Self::Filesystem(new) if new.is_the_kernel_s() => {
                new.mount(root, path, Kind::System).map_err(failed)
            }
            Self::Filesystem(new) => {
                let target = target::open(root, path, Kind::Directory).map_err(failed)?;
                may_cover(target.as_fd(), path, false)?;
                new.mount_on(target.as_fd())
                    .map_err(Failure::at(Action::Mount, path.to_string_lossy()))
            }
            Self::Tree(tree) => {
                let kind = if tree.directory {
                    Kind::Directory
                } else {
                    Kind::File
                };
                let target = target::open(root, path, kind).map_err(failed)?;
                may_cover(target.as_fd(), path, tree.is_proc())?;
                tree.attach(target.as_fd())
                    .map_err(Failure::at(Action::Mount, path.to_string_lossy()))
            }
        }
    }
}

/// Covering a part of /proc could mislead whoever trusts it, us not least.
fn may_cover(target: BorrowedFd<'_>, path: &Path, with_proc: bool) -> Result<(), Failure> {
    let allowed = || {
        let proc_itself = is(path, "/proc") && with_proc;
        proc_itself || COVERABLE.iter().any(|file| is(path, file))
    };
    let inside = is_proc(target).map_err(Failure::at(Action::Mount, path.to_string_lossy()))?;
    if !inside || allowed() {
        return Ok(());
    }
    let failed = Failure::at(Action::CoverProc, path.to_string_lossy());
    Err(failed(rustix::io::Errno::PERM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults;
    use oci_spec::runtime::{
        LinuxBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, MountBuilder, RootBuilder,
        SpecBuilder,
    };

    fn spec(namespaces: &[LinuxNamespaceType], mounts: Vec<Mount>) -> Spec {
        let namespace = |&typ| LinuxNamespaceBuilder::default().typ(typ).build().unwrap();
        let linux = LinuxBuilder::default()
            .namespaces(namespaces.iter().map(namespace).collect::<Vec<_>>())
            .masked_paths(defaults::masked_paths())
            .readonly_paths(defaults::readonly_paths())
            .rootfs_propagation("shared");
        let root = RootBuilder::default().path("/r").readonly(true);
        SpecBuilder::default()
            .mounts(mounts)
            .linux(linux.build().unwrap())
            .root(root.build().unwrap())
            .build()
            .unwrap()
    }

    fn v2() -> Hierarchies {
        Hierarchies::V2 {
            root: "/sys/fs/cgroup".into(),
        }
    }

    #[test]
    fn libcontainer_is_left_with_nothing_to_mount() {
        let own = [LinuxNamespaceType::Cgroup];
        let mut spec = spec(&own, defaults::mounts(1 << 20, false));
        let taken = Mounts::take_from(&mut spec, &v2(), None).unwrap();
        assert_eq!(spec.mounts().as_deref(), Some(&[][..]));
        assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(false));
        let linux = spec.linux().as_ref().unwrap();
        assert!(linux.masked_paths().is_none() && linux.readonly_paths().is_none());
        assert_eq!(linux.rootfs_propagation().as_deref(), Some("private"));

        assert!(taken.read_only_root);
        assert_eq!(taken.masked_paths.len(), defaults::masked_paths().len());
        assert_eq!(taken.dev, Filesystem::dev());
        assert_eq!(taken.pts, Filesystem::pts());
        let nodev = MountBuilder::default().destination("/dev").typ("tmpfs");
        let nodev = nodev.options(vec!["nodev".to_owned(), "nosuid".to_owned()]);
        let mut spec = self::spec(&own, vec![nodev.build().unwrap()]);
        let usable = Mounts::take_from(&mut spec, &v2(), None).unwrap();
        assert_eq!(usable.dev.flags, libc::MS_NOSUID);
        let order: Vec<_> = taken.mounts.iter().map(|(path, _)| path.to_str()).collect();
        let rest = ["/proc", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"];
        assert_eq!(order, rest.map(Some));
    }

    #[test]
    fn what_cannot_be_shown_safely_is_refused() {
        let refused = |spec: &mut Spec| match Mounts::take_from(spec, &v2(), None) {
            Err(StartError::Config { reason }) => reason,
            _ => panic!("accepted"),
        };
        let mut host_cgroups = spec(&[], defaults::mounts(1, false));
        let mut linux = host_cgroups.linux().clone().unwrap();
        linux.set_cgroups_path(None);
        host_cgroups.set_linux(Some(linux));
        assert_eq!(
            refused(&mut host_cgroups),
            "a mount of type cgroup needs a cgroup namespace"
        );
        let bind = |options: &[&str]| {
            let options: Vec<_> = options.iter().map(|o| (*o).to_owned()).collect();
            let bind = MountBuilder::default().destination("/x").source("/proc");
            vec![bind.options(options).build().unwrap()]
        };
        let over_proc = MountBuilder::default().destination("/proc/").typ("tmpfs");
        let not_proc = refused(&mut spec(&[], vec![over_proc.build().unwrap()]));
        assert_eq!(
            not_proc,
            "/proc cannot be mounted because it is not of type proc"
        );
        let mapped = refused(&mut spec(&[], bind(&["rbind", "idmap"])));
        assert_eq!(mapped, "mount /x: mapped owners need a user namespace");
        let unshared = refused(&mut spec(&[], bind(&["rbind", "rshared"])));
        assert!(
            unshared.starts_with("path /proc is mounted on "),
            "{unshared}"
        );
    }
}
