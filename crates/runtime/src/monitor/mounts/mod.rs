//! A container's mounts, made by us.
//!
//! libcontainer checks the process filesystem anew for each path, 40 system calls every time, and knows nothing
//! of propagation. It is left to pivot into the root filesystem and to fill /dev. The rest happens in three places:
//! what shows the host is taken in the host's mount namespace ([`Mounts::take_from`]), /dev is mounted in the
//! monitor's ([`Mounts::mount_dev`]), everything else inside the container, before its program, by its init
//! ([`Mounts::make`]). Every path is resolved within the root and mounted on by descriptor; every step must succeed.

mod cgroups;
mod failure;
mod filesystem;
mod hidden;
mod options;
mod target;
mod tree;
mod what;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use self::failure::Action;
use self::filesystem::Filesystem;
use self::hidden::{Masks, make_read_only};
pub(crate) use self::options::Options;
use self::tree::is_proc;
use self::what::What;
use super::user::UserNamespace;
use crate::cgroup::Hierarchies;
use crate::error::StartError;
use crate::rootless;
use crate::selinux;

pub(super) use self::failure::Failure;
pub(crate) use self::target::{Kind, open as open_target};
pub(super) use self::tree::{attach, copy};
pub(crate) use self::tree::{set_attributes, show_owners};

/// What a container's specification wants mounted, hidden and set.
pub(super) struct Mounts {
    /// /dev and /dev/pts, unless they are left to libcontainer.
    dev: Option<(Filesystem, Filesystem)>,
    /// Made before the container is; none unless hooks may want to see them.
    early: Vec<(PathBuf, What)>,
    mounts: Vec<(PathBuf, What)>,
    /// Cgroups that libcontainer mounts, without flags, and the flags they are to have.
    host_cgroups: Vec<(PathBuf, libc::c_ulong)>,
    sysctls: Vec<(String, String)>,
    read_only_paths: Vec<PathBuf>,
    masked_paths: Vec<PathBuf>,
    read_only_root: bool,
    /// The SELinux label of what is made for the container.
    label: Option<String>,
    /// Of the root filesystem itself, once all is mounted (`MS_SHARED`, …).
    root_propagation: Option<libc::c_ulong>,
}

/// When mounts are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As early as we like: all but /dev inside.
    Any,
    /// Each after the one before it in the list.
    AsListed,
    /// As many as can be before the container is, for hooks that may want to see them.
    ForHooks,
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
        Self::take(spec, hierarchies, user, Order::Any)
    }

    /// The same for any specification. With hooks that run inside before the pivot, and may want to see the mounts, as
    /// many as can be are made by [`make_early`](Self::make_early), or left to libcontainer, which makes them before it
    /// pivots.
    pub(super) fn take_in_order(
        spec: &mut Spec,
        hierarchies: &Hierarchies,
        user: Option<&UserNamespace>,
        order: Order,
    ) -> Result<Self, StartError> {
        let propagation = spec
            .linux()
            .as_ref()
            .and_then(|l| l.rootfs_propagation().clone());
        let mut taken = Self::take(spec, hierarchies, user, order)?;
        if order == Order::ForHooks && user.is_none() {
            // In a user namespace only its own root may make all mount points.
            taken.sort_early(spec.mounts().as_deref().unwrap_or_default());
        }
        let word = propagation.unwrap_or_else(|| "slave".to_owned());
        let before = match word.as_str() {
            "private" | "rprivate" => "private",
            "slave" | "rslave" => "slave",
            "shared" | "rshared" => {
                taken.root_propagation = Some(libc::MS_SHARED);
                "private"
            }
            "unbindable" | "runbindable" => {
                taken.root_propagation = Some(libc::MS_UNBINDABLE);
                "private"
            }
            _ => {
                return Err(StartError::Config {
                    reason: format!("rootfsPropagation {word} is none that there is"),
                });
            }
        };
        if let Some(mut linux) = spec.linux().clone() {
            linux.set_rootfs_propagation(Some(before.to_owned()));
            spec.set_linux(Some(linux));
        }
        Ok(taken)
    }

    /// Puts those first that can be: nothing that needs the container's namespaces, that propagates, or that is covered
    /// by what is mounted later. `left` is libcontainer's.
    fn sort_early(&mut self, left: &[Mount]) {
        let mut later: Vec<PathBuf> = left.iter().map(|m| m.destination().clone()).collect();
        later.push("/dev/console".into());
        for (path, what) in std::mem::take(&mut self.mounts) {
            let below = later.iter().any(|other| path.starts_with(other));
            if below || is(&path, "/dev") || is(&path, "/") || what.needs_container() {
                later.push(path.clone());
                self.mounts.push((path, what));
            } else {
                self.early.push((path, what));
            }
        }
    }

    /// Makes those that can be made before the container, in a private mount namespace that will be its.
    pub(super) fn make_early(&self, root: BorrowedFd<'_>) -> Result<(), StartError> {
        for (path, what) in &self.early {
            let made = what.mount(root, path);
            made.map_err(|failure| failure.describe(super::process::message))?;
        }
        // Do not keep what is mounted busy.
        let _ = rustix::process::chdir("/");
        Ok(())
    }

    fn take(
        spec: &mut Spec,
        hierarchies: &Hierarchies,
        user: Option<&UserNamespace>,
        order: Order,
    ) -> Result<Self, StartError> {
        let label = take_label(spec)?;
        let mut dev = None;
        let mut pts = None;
        let mut mounts = Vec::new();
        let mapped = user.is_some() || !rootless::in_initial_namespace();
        let mut left = Vec::new();
        let mut host_cgroups = Vec::new();
        let shows_host = order != Order::Any && !has_cgroup_namespace(spec);
        let is_cgroup = |m: &Mount| m.typ().as_deref() == Some("cgroup");
        let shows_host = shows_host && spec.mounts().iter().flatten().any(is_cgroup);
        // Where that one mounts the cgroups, it mounts what they are mounted on.
        let leave_kernel_s = mapped || order == Order::ForHooks || shows_host;
        let listed = spec.mounts().as_deref().unwrap_or_default();
        let leading = match order {
            // It would not quote the label.
            Order::AsListed if label.is_none() => leading(listed, leave_kernel_s),
            _ => 0,
        };
        for (number, mount) in spec.mounts().iter().flatten().enumerate() {
            let destination = &Path::new("/").join(mount.destination());
            let kind = mount.typ().as_deref();
            if shows_host && is_cgroup(mount) {
                let options = Options::parse(mount.options().as_deref().unwrap_or_default());
                host_cgroups.push((destination.clone(), options.flags));
                left.push(mount.clone());
                continue;
            }
            if number < leading {
                left.push(mount.clone());
                continue;
            }
            let what = What::of(mount, spec, hierarchies, user, order)?;
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
                What::Filesystem(new) if leave_kernel_s && new.is_the_kernel_s() => {
                    left.push(mount.clone());
                }
                what => mounts.push((destination.clone(), what)),
            }
        }
        spec.set_mounts(Some(left));
        let mut taken = Self {
            dev: (leading == 0).then(|| {
                let dev = dev.unwrap_or_else(Filesystem::dev);
                (dev, pts.unwrap_or_else(Filesystem::pts))
            }),
            early: Vec::new(),
            mounts,
            host_cgroups,
            sysctls: Vec::new(),
            read_only_paths: Vec::new(),
            masked_paths: Vec::new(),
            read_only_root: false,
            label,
            root_propagation: None,
        };
        if let (Some(user), Some((dev, pts))) = (user, &mut taken.dev) {
            dev.owned_by(user);
            pts.owned_by(user);
        }
        taken.give_label();
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

    fn give_label(&mut self) {
        let Some(label) = &self.label else {
            return;
        };
        let own = self.dev.iter_mut().flat_map(|(dev, pts)| [dev, pts]);
        let listed = self.mounts.iter_mut().filter_map(|(_, what)| match what {
            What::Filesystem(new) => Some(new),
            What::Cgroups(_) | What::Tree(_) => None,
        });
        own.chain(listed).for_each(|new| new.labelled(label));
    }

    /// The SELinux label of what is made for the container.
    pub(super) fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Whether /dev is mounted by [`mount_dev`](Self::mount_dev).
    pub(super) fn has_dev(&self) -> bool {
        self.dev.is_some()
    }

    /// Mounts /dev and /dev/pts, where libcontainer puts devices and opens a terminal before the container's init
    /// comes to the rest. Call in the monitor's mount namespace; `root` has been checked by
    /// [`check_image`](super::rootfs::check_image).
    pub(super) fn mount_dev(&self, root: BorrowedFd<'_>, spec: &Spec) -> Result<(), StartError> {
        let mount = |path: &str, filesystem: &Filesystem| {
            let mounted = filesystem.mount(root, Path::new(path), Kind::System);
            mounted.map_err(|e| StartError::Rootfs {
                step: format!("mount {path}"),
                reason: e.to_string(),
            })
        };
        let Some((dev, pts)) = &self.dev else {
            return Ok(());
        };
        mount("/dev", dev)?;
        let mounted = mount("/dev/pts", pts);
        // Do not keep what is mounted busy.
        let _ = rustix::process::chdir("/");
        mounted?;
        make_device_directories(root, spec)
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
            false => Some(
                Masks::new(root, self.label()).map_err(Failure::at(Action::Mask, "/dev/null"))?,
            ),
        };
        for (path, flags) in &self.host_cgroups {
            let limit = || {
                let mounted = target::open(root, path, Kind::System)?;
                set_attributes(mounted.as_fd(), *flags, 0, 0, true)
            };
            limit().map_err(Failure::at(Action::Mount, path.to_string_lossy()))?;
        }
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
        if let Some(propagation) = self.root_propagation {
            let done = set_attributes(root, 0, 0, propagation, false);
            done.map_err(Failure::at(Action::Mount, "/"))?;
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

/// Makes what a specification's mounts are mounted on, for somebody else to mount them.
///
/// # Errors
/// [`StartError::Rootfs`].
pub(super) fn make_mount_points(root: BorrowedFd<'_>, spec: &Spec) -> Result<(), StartError> {
    for mount in spec.mounts().iter().flatten() {
        let options = Options::parse(mount.options().as_deref().unwrap_or_default());
        let is_file = |source: &PathBuf| std::fs::metadata(source).is_ok_and(|m| !m.is_dir());
        let kind = match options.bind && mount.source().as_ref().is_some_and(is_file) {
            true => Kind::File,
            false => Kind::Directory,
        };
        let destination = Path::new("/").join(mount.destination());
        let failed = |e: std::io::Error| StartError::Rootfs {
            step: format!("create {}", destination.display()),
            reason: e.to_string(),
        };
        let above = |other: &&Mount| {
            let other = Path::new("/").join(other.destination());
            destination != other && destination.starts_with(other)
        };
        let mounts = spec.mounts().iter().flatten().filter(above);
        let Some(above) = mounts.max_by_key(|m| m.destination().components().count()) else {
            target::open(root, &destination, kind).map_err(failed)?;
            continue;
        };
        let options = Options::parse(above.options().as_deref().unwrap_or_default());
        let source = above.source().as_ref().filter(|_| options.bind);
        // Otherwise it is mounted on what comes with the checkpoint.
        if let (Some(source), Ok(below)) = (
            source,
            destination.strip_prefix(Path::new("/").join(above.destination())),
        ) {
            let source = std::fs::File::open(source).map_err(failed)?;
            target::open(source.as_fd(), below, kind).map_err(failed)?;
        }
    }
    Ok(())
}

/// Makes the directories below /dev that devices are to be in: libcontainer would let everybody write to them.
fn make_device_directories(root: BorrowedFd<'_>, spec: &Spec) -> Result<(), StartError> {
    let devices = spec.linux().iter().flat_map(|linux| linux.devices());
    let parents = devices
        .flatten()
        .filter_map(|device| device.path().parent());
    for directory in parents.filter(|path| path.starts_with("/dev")) {
        super::rootfs::create_directory(root, directory).map_err(|e| StartError::Rootfs {
            step: format!("create {}", directory.display()),
            reason: e.to_string(),
        })?;
    }
    Ok(())
}

/// Takes the SELinux label of what is made for a container out of its specification.
fn take_label(spec: &mut Spec) -> Result<Option<String>, StartError> {
    let Some(mut linux) = spec.linux().clone() else {
        return Ok(None);
    };
    let label = linux
        .mount_label()
        .clone()
        .filter(|label| !label.is_empty());
    let Some(label) = label else {
        return Ok(None);
    };
    if !selinux::fits_mount(&label) {
        return Err(StartError::Config {
            reason: format!("linux.mountLabel {label:?} is none that there can be"),
        });
    }
    linux.set_mount_label(None);
    spec.set_linux(Some(linux));
    Ok(Some(label))
}

/// How many mounts, from the first on, can be left to libcontainer, so that it mounts /dev and /dev/pts in their places
/// among them.
fn leading(mounts: &[Mount], with_sys: bool) -> usize {
    let find = |path: &str, kind: &str| {
        let position = |m: &Mount| is(m.destination(), path) && m.typ().as_deref() == Some(kind);
        mounts.iter().position(position)
    };
    let Some(dev) = find("/dev", "tmpfs") else {
        return 0;
    };
    let mut count = find("/dev/pts", "devpts").unwrap_or(dev).max(dev) + 1;
    if let Some(sys) = find("/sys", "sysfs").filter(|_| with_sys) {
        count = count.max(sys + 1);
    }
    let plain = |mount: &Mount| {
        let options = Options::parse(mount.options().as_deref().unwrap_or_default());
        let kinds = ["proc", "sysfs", "mqueue", "tmpfs", "devpts"];
        let makes_devices = is(mount.destination(), "/dev");
        mount
            .typ()
            .as_deref()
            .is_some_and(|kind| kinds.contains(&kind))
            && mount.destination().is_absolute()
            && !(options.copy_up || options.bind || options.idmap || options.propagation.is_some())
            && !(makes_devices && options.flags & (libc::MS_NODEV | libc::MS_RDONLY) != 0)
    };
    match mounts[..count].iter().all(plain) {
        true => count,
        false => 0,
    }
}

pub(crate) fn has_cgroup_namespace(spec: &Spec) -> bool {
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

#[cfg(test)]
mod tests;
