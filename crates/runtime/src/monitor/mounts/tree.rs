//! Places of the host that a container gets to see: taken while the host's mounts are in reach, attached
//! inside the container.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::options::{Options, attributes};
use crate::error::StartError;

/// A copy of a mount, attached nowhere yet. What is never attached goes with the descriptor.
pub(super) struct Tree {
    mount: OwnedFd,
    pub directory: bool,
    pub propagation: Option<libc::c_ulong>,
}

impl Tree {
    /// Takes `source` from the calling process's mount namespace. If the mount there is shared the copy is its
    /// peer, unless the options make it a slave or (the default) private. With a user namespace as `owners` it shows
    /// that one's.
    pub(super) fn take(
        source: &Path,
        options: &Options,
        owners: Option<BorrowedFd<'_>>,
    ) -> Result<Self, StartError> {
        let propagation = options.propagation.unwrap_or(libc::MS_PRIVATE);
        let take = || -> io::Result<Self> {
            let mount = match copy(CWD, source, options.rbind) {
                // A mount that is attached nowhere, and so nobody else's, need not be copied.
                Err(Errno::INVAL) if source.starts_with("/proc/self/fd") => {
                    let flags = OFlags::PATH | OFlags::CLOEXEC;
                    rustix::fs::open(source, flags, Mode::empty())?
                }
                copied => copied?,
            };
            if let Some(namespace) = owners {
                show_owners(mount.as_fd(), namespace, options.recursive_idmap)?;
            }
            let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&mount)?.st_mode);
            let (set, clear) = options.recursive;
            // Nothing below a private or slave mount may stay shared either.
            set_attributes(mount.as_fd(), set, clear, propagation, true)?;
            if options.flags != 0 {
                set_attributes(mount.as_fd(), options.flags, 0, 0, false)?;
            }
            Ok(Self {
                mount,
                directory: kind.is_dir(),
                propagation: options.propagation,
            })
        };
        take().map_err(|e| StartError::Rootfs {
            step: match owners {
                None => format!("take {}", source.display()),
                Some(_) => format!("take {} with mapped owners", source.display()),
            },
            reason: match e.raw_os_error() {
                Some(libc::EINVAL) if owners.is_some() => {
                    "its filesystem does not support that in this kernel".to_owned()
                }
                _ => e.to_string(),
            },
        })
    }

    /// Attaches it on `target`.
    pub(super) fn attach(&self, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
        match attach(self.mount.as_fd(), target) {
            // A file and a directory do not go together.
            Err(Errno::INVAL) => Err(Errno::NOTDIR),
            other => other,
        }
    }

    /// Whether it is (a part of) the kernel's process filesystem.
    pub(super) fn is_proc(&self) -> bool {
        is_proc(self.mount.as_fd()) == Ok(true)
    }
}

/// Whether a descriptor is of the kernel's process filesystem.
pub(super) fn is_proc(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// A copy of the mount at `path` (of the descriptor itself if that is empty).
pub(in super::super) fn copy(
    at: BorrowedFd<'_>,
    path: &Path,
    recursive: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(at, path, flags)
}

/// Attaches a mount on a place.
pub(in super::super) fn attach(
    mount: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// Sets and clears flags (`MS_*`) of a mount, and its propagation unless that is 0.
pub(crate) fn set_attributes(
    mount: BorrowedFd<'_>,
    set: libc::c_ulong,
    clear: libc::c_ulong,
    propagation: libc::c_ulong,
    recursive: bool,
) -> io::Result<()> {
    const ACCESS_TIMES: libc::c_ulong = libc::MS_NOATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;
    let mut attributes = libc::mount_attr {
        attr_set: attributes(set),
        attr_clr: attributes(clear),
        propagation,
        userns_fd: 0,
    };
    if set & ACCESS_TIMES != 0 {
        // One of several: the kernel wants them all named.
        attributes.attr_clr |= libc::MOUNT_ATTR__ATIME;
    }
    mount_setattr(mount, &attributes, recursive)
}

/// Makes a mount that is attached nowhere show the owners of a user namespace: who is 0 on the disk is its root.
pub(crate) fn show_owners(
    mount: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.as_raw_fd() as u64,
    };
    mount_setattr(mount, &attributes, recursive)
}

fn mount_setattr(
    mount: BorrowedFd<'_>,
    attributes: &libc::mount_attr,
    recursive: bool,
) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: reads a C string and one mount_attr of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// As Docker: asking for mounts to pass between host and container where they cannot is an error.
pub(super) fn must_be_shared(source: &Path, options: &Options) -> Result<(), StartError> {
    let Some(propagation @ (libc::MS_SLAVE | libc::MS_SHARED)) = options.propagation else {
        return Ok(());
    };
    let config = |reason: String| StartError::Config { reason };
    let place = statx(CWD, source, AtFlags::empty(), StatxFlags::MNT_ID)
        .map_err(|e| config(format!("{}: {e}", source.display())))?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|e| config(format!("/proc/self/mountinfo: {e}")))?;
    let Some((mount_point, shared, slave)) = mount_with_id(&table, place.stx_mnt_id) else {
        return Err(config(format!("no mount holds {}", source.display())));
    };
    let word = match propagation {
        libc::MS_SLAVE if !shared && !slave => "shared or slave",
        libc::MS_SHARED if !shared => "shared",
        _ => return Ok(()),
    };
    Err(config(format!(
        "path {} is mounted on {} but it is not a {word} mount",
        source.display(),
        mount_point.display()
    )))
}

/// Mount point of a mount, and whether it is shared and slave.
fn mount_with_id(mountinfo: &str, id: u64) -> Option<(PathBuf, bool, bool)> {
    let line = mountinfo.lines().find(|line| {
        let first = line.split(' ').next();
        first.and_then(|number| number.parse().ok()) == Some(id)
    })?;
    let mut fields = line.split(' ').skip(4);
    let mount_point = PathBuf::from(fields.next()?);
    let optional: Vec<&str> = fields.skip(1).take_while(|&field| field != "-").collect();
    let has = |tag: &str| optional.iter().any(|field| field.starts_with(tag));
    Some((mount_point, has("shared:"), has("master:")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn propagation_is_read_from_the_table() {
        let table = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                     49 27 254:0 /n /run/n rw shared:2 master:1 - ext4 /dev/vda rw\n\
                     5 27 0:4 / /s rw master:7 - tmpfs t rw\n";
        assert_eq!(mount_with_id(table, 27), Some(("/".into(), false, false)));
        assert_eq!(
            mount_with_id(table, 49),
            Some(("/run/n".into(), true, true))
        );
        assert_eq!(mount_with_id(table, 5), Some(("/s".into(), false, true)));
        assert_eq!(mount_with_id(table, 9), None);
    }
}
