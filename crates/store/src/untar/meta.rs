//! Owners, modes, times and extended attributes.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
    chmodat, chownat, fchmod, fchown, flistxattr, fsetxattr, fstat, futimens, openat, setxattr,
    statat, utimensat,
};
use rustix::io::Errno;

use super::member::Attributes;
use super::tree::open_real;
use crate::overlay;

pub(super) fn times(mtime: Timespec) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: mtime,
    }
}

/// Gives an open file or directory its owner, mode, attributes and time. `mode` is what it has already.
pub(super) fn apply(
    fd: impl AsFd,
    attributes: &Attributes,
    mode: Option<u32>,
) -> rustix::io::Result<()> {
    let fd = fd.as_fd();
    let chowned = attributes.uid != 0 || attributes.gid != 0;
    if chowned {
        let (uid, gid) = owner(attributes);
        fchown(fd, Some(uid), Some(gid))?;
    }
    // chown(2) drops setuid and setgid.
    if mode != Some(attributes.mode) || (chowned && attributes.mode & 0o6000 != 0) {
        fchmod(fd, Mode::from_raw_mode(attributes.mode))?;
    }
    for (name, value) in wanted_xattrs(attributes) {
        tolerate(name, fsetxattr(fd, name, value, XattrFlags::empty()))?;
    }
    futimens(fd, &times(attributes.mtime))
}

/// The same for something that cannot be opened: a link, device or fifo. Its mode was given when it was made.
pub(super) fn apply_at(
    dir: &OwnedFd,
    name: &[u8],
    attributes: &Attributes,
) -> rustix::io::Result<()> {
    if attributes.uid != 0 || attributes.gid != 0 {
        let (uid, gid) = owner(attributes);
        chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        // As above; a link has no mode of its own, and must not be followed.
        if attributes.mode & 0o6000 != 0 && !is_symlink(dir, name)? {
            let mode = Mode::from_raw_mode(attributes.mode);
            chmodat(dir, name, mode, AtFlags::empty())?;
        }
    }
    if wanted_xattrs(attributes).next().is_some() {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(dir, name, flags, Mode::empty())?;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        for (name, value) in wanted_xattrs(attributes) {
            tolerate(name, setxattr(&path, name, value, XattrFlags::empty()))?;
        }
    }
    utimensat(
        dir,
        name,
        &times(attributes.mtime),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

fn is_symlink(dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<bool> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_symlink())
}

pub(crate) fn set_opaque(dir: &OwnedFd) -> rustix::io::Result<()> {
    fsetxattr(dir, overlay::opaque(), b"y", XattrFlags::empty())
}

fn owner(attributes: &Attributes) -> (Uid, Gid) {
    (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid))
}

/// All but those that the archive has no right to say.
fn wanted_xattrs(attributes: &Attributes) -> impl Iterator<Item = (&[u8], &[u8])> {
    attributes
        .xattrs
        .iter()
        .filter(|(name, _)| !is_hosts(name))
        .map(|(name, value)| (&name[..], &value[..]))
}

/// What would make overlayfs see something else in the layer; and labels, which the host gives its files: one on the
/// layer's root says that all its files have been labelled.
fn is_hosts(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.")
        || name.starts_with(b"user.overlay.")
        || name == b"security.selinux"
}

/// An attribute that this file system or kind of file cannot have is left out, as containerd and Docker do.
fn tolerate(name: &[u8], result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP) => {}
        Err(Errno::PERM) if name.starts_with(b"user.") || overlay::in_user_namespace() => {}
        other => return other,
    }
    tracing::warn!(name = %String::from_utf8_lossy(name), "extended attribute left out: not supported here");
    Ok(())
}

/// Gives directories that the archive did not list what the topmost lower layer that has them says, else root and 0755.
///
/// `lowers` are the `diff` directories of the layers below, top first.
pub(crate) fn inherit(
    root: &OwnedFd,
    implied: &[Vec<u8>],
    lowers: &[OwnedFd],
) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for path in implied {
        let lower = lowers.iter().find_map(|l| open_real(l, path, flags).ok());
        if let Some(lower) = lower {
            copy_attributes(&lower, &open_real(root, path, flags)?)?;
        }
    }
    Ok(())
}

/// Gives an open file or directory mode, owner, attributes and time of another; what is the host's stays behind.
pub(crate) fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let stat = fstat(from)?;
    fchown(
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for name in xattr_names(from)? {
        if !is_hosts(name.to_bytes()) {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::fgetxattr(from, &name, &mut value[..])?;
            tolerate(
                name.to_bytes(),
                fsetxattr(to, &name, &value[..length], XattrFlags::empty()),
            )?;
        }
    }
    futimens(
        to,
        &times(Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        }),
    )
}

fn xattr_names(fd: &OwnedFd) -> rustix::io::Result<Vec<std::ffi::CString>> {
    let mut list = vec![0; 64 << 10];
    let length = match flistxattr(fd, &mut list[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    Ok(list[..length]
        .split_inclusive(|&b| b == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .map(CStr::to_owned)
        .collect())
}
