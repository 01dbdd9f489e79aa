//! Mounting the root filesystem in the monitor's own mount namespace, and looking at what the image
//! put where the kernel's filesystems go, before anything follows its links.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MsFlags, mount};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use super::copy_up::copy_up;
use super::mounts;
use super::user::UserNamespace;
use crate::error::StartError;
use crate::overlay::{self, Overlay, Writable};
use crate::selinux;
use crate::spec::{CopyUp, LowerDir, Rootfs};

/// Where the root filesystem of a container in a user namespace is mounted: on the way to the state directory there may
/// be some that not everybody may enter.
const FOR_EVERYBODY: &str = "/dev/shm";

/// The directory every monitor mounts on, each in its own mount namespace. Not one per container: removing
/// a directory that is a mount point somewhere makes the kernel unmount it there and then, which takes milliseconds.
pub(super) fn mount_point(state_dir: &Path, user: Option<&UserNamespace>) -> PathBuf {
    if user.is_some() {
        return PathBuf::from(FOR_EVERYBODY);
    }
    state_dir.parent().unwrap_or(state_dir).join(".rootfs")
}

fn failed(step: impl Into<String>, error: impl Into<io::Error>) -> StartError {
    StartError::Rootfs {
        step: step.into(),
        reason: error.into().to_string(),
    }
}

/// Leaves the host's mount namespace: mounts made there still arrive, none of ours go back.
pub(super) fn enter_private_namespace() -> Result<(), StartError> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(|e| failed("unshare the mount namespace", e))?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_SLAVE | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(|e| failed("make mounts slaves of the host's", e))
}

/// A mount namespace that the calling process, which must have one thread, is in as long as this lives. Leaving it
/// changes the working directory.
pub(crate) struct PrivateMounts {
    host: OwnedFd,
    own: OwnedFd,
}

impl PrivateMounts {
    /// One in which a directory, with all below it, is also seen at a place that exists.
    pub(crate) fn with(directory: &Path, place: &Path) -> Result<Self, StartError> {
        let current = || {
            let file = std::fs::File::open("/proc/self/ns/mnt").map(OwnedFd::from);
            file.map_err(|e| failed("open the mount namespace", e))
        };
        let host = current()?;
        enter_private_namespace()?;
        let own = current().inspect_err(|_| drop(return_to(&host)))?;
        let private = Self { host, own };
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(directory), place, None::<&str>, flags, None::<&str>)
            .map_err(|e| failed(format!("bind {}", directory.display()), e))?;
        Ok(private)
    }

    /// Goes back to the namespace it was in before.
    pub(crate) fn leave(&self) -> bool {
        return_to(&self.host).is_ok()
    }

    /// Comes again.
    pub(crate) fn enter(&self) -> bool {
        return_to(&self.own).is_ok()
    }
}

impl Drop for PrivateMounts {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Mounts the root filesystem on `target`, which is made if it does not exist. What is new in it has the SELinux label.
pub(super) fn mount_rootfs(
    rootfs: &Rootfs,
    target: &Path,
    user: Option<&UserNamespace>,
    label: Option<&str>,
) -> Result<(), StartError> {
    if let Some(user) = user {
        return mount_mapped(rootfs, target, user, label);
    }
    match std::fs::create_dir(target) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed(format!("create {}", target.display()), e));
        }
        _ => {}
    }
    match rootfs {
        Rootfs::Directory(directory) => mount(
            Some(directory),
            target,
            None::<&str>,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            None::<&str>,
        )
        .map_err(|e| failed(format!("bind {}", directory.display()), e)),
        Rootfs::Empty => mount_empty(target, (0, 0), label),
        Rootfs::Overlay {
            lower,
            upper,
            work,
            volatile,
        } => {
            let writable = Writable {
                upper,
                work,
                volatile: *volatile,
            };
            mount_overlay(lower, writable, target, label)
        }
    }
}

fn mount_empty(
    target: &Path,
    (uid, gid): (u32, u32),
    label: Option<&str>,
) -> Result<(), StartError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let (kind, mut options) = (Some("tmpfs"), format!("mode=755,uid={uid},gid={gid}"));
    if let Some(label) = label {
        options = selinux::mount_options(&options, label);
    }
    mount(kind, target, kind, flags, Some(options.as_str()))
        .map_err(|e| failed(format!("mount a tmpfs on {}", target.display()), e))
}

fn mount_overlay(
    lower: &[LowerDir],
    writable: Writable<'_>,
    target: &Path,
    label: Option<&str>,
) -> Result<(), StartError> {
    let overlay = Overlay {
        lower,
        writable: Some(writable),
        label,
    };
    let by_context = overlay::by_context(overlay).and_then(|mounted| attach(&mounted, target));
    // Kernels that know `lowerdir+` only half accept it and fail at the end.
    by_context
        .or_else(|_| overlay::by_options(overlay, target))
        .map_err(|e| failed(format!("mount an overlay of {} layers", lower.len()), e))
}

/// The same with the owners of a user namespace. An overlay cannot show others than it has, its layers can: each is
/// mounted for itself, on a filesystem that the overlay then covers.
fn mount_mapped(
    rootfs: &Rootfs,
    target: &Path,
    user: &UserNamespace,
    label: Option<&str>,
) -> Result<(), StartError> {
    let (lower, writable) = match rootfs {
        Rootfs::Directory(directory) => return mount_with_owners(directory, target, user, true),
        Rootfs::Empty => return mount_empty(target, user.root(), label),
        Rootfs::Overlay {
            lower,
            upper,
            work,
            volatile,
        } => {
            let volatile = *volatile;
            let writable = Writable {
                upper,
                work,
                volatile,
            };
            (lower, writable)
        }
    };
    mount_empty(target, (0, 0), None)?;
    let mut mapped = Vec::with_capacity(lower.len());
    for (number, layer) in lower.iter().enumerate() {
        let path = target.join(number.to_string());
        std::fs::create_dir(&path).map_err(|e| failed(format!("create {}", path.display()), e))?;
        mount_with_owners(&layer.path, &path, user, false)?;
        mapped.push(LowerDir { path, short: None });
    }
    user.own_layer(writable.upper)?;
    mount_overlay(&mapped, writable, target, label)
}

fn mount_with_owners(
    source: &Path,
    target: &Path,
    user: &UserNamespace,
    recursive: bool,
) -> Result<(), StartError> {
    let make = || -> io::Result<()> {
        let mounted = mounts::copy(CWD, source, recursive)?;
        mounts::show_owners(mounted.as_fd(), user.as_fd(), recursive)?;
        attach(&mounted, target)
    };
    make().map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => StartError::Rootfs {
            step: format!("show {} with mapped owners", source.display()),
            reason: "its filesystem does not support that in this kernel".to_owned(),
        },
        _ => failed(
            format!("show {} with mapped owners", source.display()),
            error,
        ),
    })
}

fn attach(mounted: &OwnedFd, target: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(mounted.as_fd(), "", CWD, target, flags)?)
}

/// Makes an image's files ready for a container: refuses what would lead elsewhere, makes what is missing, and fills
/// empty volumes.
pub(super) fn prepare(
    root: BorrowedFd<'_>,
    cwd: &Path,
    volumes: &[CopyUp],
    user: Option<&UserNamespace>,
) -> Result<(), StartError> {
    let complete = || -> Result<(), StartError> {
        check_image(root)?;
        create_working_directory(root, cwd)
    };
    match user {
        None => complete()?,
        Some(user) => user.as_root(complete)?,
    }
    volumes
        .iter()
        .try_for_each(|volume| copy_up(root, volume, user))
}

/// Refuses an image whose /dev, /proc or /sys would lead elsewhere, and makes those that are missing.
pub(super) fn check_image(root: BorrowedFd<'_>) -> Result<(), StartError> {
    for name in ["dev", "proc", "sys"] {
        let hostile = |reason: &str| StartError::HostileImage {
            path: format!("/{name}"),
            reason: reason.to_owned(),
        };
        match open_beneath(root, Path::new(name), ResolveFlags::NO_SYMLINKS) {
            Ok(_) => {}
            Err(Errno::LOOP) => return Err(hostile("is a symbolic link")),
            Err(Errno::NOTDIR) => return Err(hostile("is not a directory")),
            Err(Errno::NOENT) => rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755))
                .map_err(|e| failed(format!("create /{name}"), e))?,
            Err(e) => return Err(failed(format!("open /{name}"), e)),
        }
    }
    Ok(())
}

fn open_beneath(
    root: BorrowedFd<'_>,
    path: &Path,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        resolve | ResolveFlags::NO_MAGICLINKS | ResolveFlags::IN_ROOT,
    )
}

/// Makes the directory that a container's process starts in, as [`create_directory`] does.
pub(super) fn create_working_directory(
    root: BorrowedFd<'_>,
    path: &Path,
) -> Result<(), StartError> {
    create_directory(root, path).map_err(|e| failed(format!("create {}", path.display()), e))
}

/// Makes a directory and its parents in the root filesystem, owned by root, if they are missing;
/// links of the image are followed within it. Fails where the disk does; what else hinders it is left for the container
/// to report.
pub(super) fn create_directory(root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let mut so_far = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                let parent = if so_far.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    &so_far
                };
                let Ok(parent) = open_beneath(root, parent, ResolveFlags::empty()) else {
                    return Ok(());
                };
                match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                    Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => return Err(e.into()),
                    _ => so_far.push(name),
                }
            }
            Component::ParentDir => drop(so_far.pop()),
            _ => {}
        }
    }
    Ok(())
}

/// Makes the file that a dangling link of the image leads to, within the root, so that a file can be mounted
/// on it: many images have /etc/resolv.conf → ../run/systemd/resolve/stub-resolv.conf.
pub(super) fn create_link_target(root: BorrowedFd<'_>, path: &Path) {
    let mut path = path.to_owned();
    // As many links as the kernel follows.
    for links in 0..40 {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        if links > 0 && create_directory(root, parent).is_err() {
            return;
        }
        let Ok(directory) = open_beneath(root, parent, ResolveFlags::empty()) else {
            return;
        };
        match rustix::fs::readlinkat(&directory, name, Vec::new()) {
            Ok(target) => path = parent.join(std::ffi::OsStr::from_bytes(target.as_bytes())),
            Err(Errno::NOENT) if links > 0 => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                // What cannot be made here is reported by the mount.
                let _ = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644));
                return;
            }
            Err(_) => return,
        }
    }
}

/// Opens the mounted root filesystem.
pub(super) fn open_root(target: &Path) -> Result<OwnedFd, StartError> {
    rustix::fs::open(
        target,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| failed(format!("open {}", target.display()), e))
}

/// Runs `body` in the mount namespace behind `namespace`, in the calling thread, for good.
pub(super) fn return_to(namespace: &OwnedFd) -> io::Result<()> {
    // SAFETY: setns takes two integers.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn images_with_links_for_system_directories_are_refused() {
        for name in ["dev", "proc", "sys"] {
            let dir = tempfile::tempdir().unwrap();
            symlink("/etc", dir.path().join(name)).unwrap();
            let root = open_root(dir.path()).unwrap();
            let error = check_image(root.as_fd()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("refusing this image: /{name} is a symbolic link")
            );
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("proc"), "").unwrap();
        let root = open_root(dir.path()).unwrap();
        assert!(matches!(
            check_image(root.as_fd()),
            Err(StartError::HostileImage { .. })
        ));
    }

    #[test]
    fn an_empty_image_gets_its_directories() {
        let dir = tempfile::tempdir().unwrap();
        let root = open_root(dir.path()).unwrap();
        check_image(root.as_fd()).unwrap();
        assert!(dir.path().join("sys").is_dir());
    }

    #[test]
    fn directories_are_made_within_the_root_whatever_links_say() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink("real", dir.path().join("in")).unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        let root = open_root(dir.path()).unwrap();

        create_directory(root.as_fd(), Path::new("/in/a/b")).unwrap();
        assert!(dir.path().join("real/a/b").is_dir());
        create_directory(root.as_fd(), Path::new("/out/x")).unwrap();
        create_directory(root.as_fd(), Path::new("/../../y")).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(dir.path().join("y").is_dir());
    }

    #[test]
    fn targets_of_dangling_links_are_made_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let root = open_root(dir.path()).unwrap();
        let link = |name: &str, target: &str| {
            symlink(target, dir.path().join("etc").join(name)).unwrap();
            create_link_target(root.as_fd(), &Path::new("/etc").join(name));
        };
        link("a", "../run/systemd/a");
        assert!(dir.path().join("run/systemd/a").is_file());
        link("b", "/run/b");
        assert!(dir.path().join("run/b").is_file());
        let outside = dir.path().file_name().unwrap().to_str().unwrap();
        link("c", &format!("../../../../../../tmp/{outside}-escape"));
        assert!(dir.path().join(format!("tmp/{outside}-escape")).is_file());
        assert!(!Path::new(&format!("/tmp/{outside}-escape")).exists());
        link("d", "d");
        std::fs::write(dir.path().join("run/b"), "kept").unwrap();
        create_link_target(root.as_fd(), Path::new("/etc/b"));
        assert_eq!(std::fs::read(dir.path().join("run/b")).unwrap(), b"kept");
        create_link_target(root.as_fd(), Path::new("/etc/missing"));
        assert!(!dir.path().join("etc/missing").exists());
    }
}
