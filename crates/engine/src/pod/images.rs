//! Images as volumes: mounted once for a pod, read-only, beside its namespaces, whose end is theirs too.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use rctr_runtime::LowerDir;
use rctr_runtime::overlay::{Overlay, mount_detached, mount_mapped};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use super::Pod;
use super::lifecycle::make_dir;
use super::options::IdMappings;
use crate::{Engine, Error, Result};

impl Engine {
    /// Where an image's files are found on the host while the pod lasts, or what is at `sub_path` among them; in a pod with
    /// a user namespace with the owners that they have there.
    pub(super) fn image_volume(
        &self,
        pod: &Pod,
        reference: &str,
        sub_path: Option<&str>,
        owners: Option<&IdMappings>,
    ) -> Result<PathBuf> {
        let image = self.image(reference)?;
        let mut name: String = image
            .id
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        if let Some((uid, gid)) = owners.and_then(IdMappings::root) {
            name += &format!("-{uid}-{gid}");
        }
        let dir = self.pins(&pod.id).join(format!("image-{name}"));
        match fs::create_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::file("create", &dir)(e));
            }
            _ => {}
        }
        if !is_mounted(&dir)? {
            // The image may be removed while it is mounted; its files stay until the pod goes.
            if let Some(top) = image.layers.last() {
                self.store.write(|tx| tx.keep_layer(&pod.id, top))?;
            }
            let empty = self.pod_files(&pod.id).join("empty");
            let mut lower = self.lower_dirs(&image.layers)?;
            // The kernel wants two.
            for name in ["one", "two"].into_iter().skip(lower.len()) {
                let path = empty.join(name);
                make_dir(&path)?;
                lower.push(LowerDir { path, short: None });
            }
            let shown = Overlay {
                lower: &lower,
                writable: None,
                label: pod.selinux.as_ref().map(|labels| labels.mount.as_str()),
            };
            mount_once(&dir, shown, owners)?;
        }
        match sub_path.filter(|path| !path.is_empty()) {
            Some(path) => beneath(&dir, path, reference),
            None => Ok(dir),
        }
    }
}

fn is_mounted(dir: &Path) -> Result<bool> {
    let stat = rustix::fs::statx(CWD, dir, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)
        .map_err(|e| Error::file("look at", dir)(e.into()))?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Mounts layers on a directory, unless another container's start does it at this moment.
fn mount_once(dir: &Path, shown: Overlay<'_>, owners: Option<&IdMappings>) -> Result<()> {
    let below = File::open(dir).map_err(Error::file("open", dir))?;
    let _lock = Flock::lock(below, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::file("lock", dir)(errno.into()))?;
    if is_mounted(dir)? {
        return Ok(());
    }
    let attach = || -> io::Result<()> {
        let overlay = match owners {
            Some(owners) => mount_mapped(shown, owners, dir)?,
            None => mount_detached(shown)?,
        };
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(overlay.as_fd(), "", CWD, dir, flags)?;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        Ok(mount(None::<&str>, dir, None::<&str>, flags, None::<&str>)?)
    };
    attach().map_err(Error::file("mount an image on", dir))
}

/// A path in an image, its links followed within it, as the host sees it.
fn beneath(dir: &Path, path: &str, image: &str) -> Result<PathBuf> {
    let open = || -> Result<OwnedFd, Errno> {
        let root = rustix::fs::open(dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)
    };
    let found = open().map_err(|errno| Error::PodOption {
        what: format!("image {image}: {path}: {errno}"),
    })?;
    let link = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    fs::read_link(&link).map_err(Error::file("read", &link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_paths_stay_within_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink("/a", root.join("link")).unwrap();
        std::os::unix::fs::symlink("../../../../etc", root.join("out")).unwrap();
        let find = |path: &str| beneath(&root, path, "i");
        assert_eq!(find("a/b").unwrap(), root.join("a/b"));
        assert_eq!(find("/link/b").unwrap(), root.join("a/b"));
        assert_eq!(find("../a").unwrap(), root.join("a"));
        let message = find("out").unwrap_err().to_string();
        assert!(message.starts_with("image i: out: "), "{message}");
    }
}
