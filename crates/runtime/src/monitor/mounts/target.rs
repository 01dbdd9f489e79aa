//! Where in the root filesystem something is mounted, found without leaving it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::super::rootfs::{create_directory, create_link_target};

/// What a mount point must be, if it has to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    /// A directory, and not reached through a link: the kernel's own filesystems go where everybody looks for them.
    System,
}

/// Opens a mount point, made if it is missing. Links of the image are followed within the root.
pub(crate) fn open(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    match existing(root, path, kind) {
        Err(Errno::NOENT) => {
            make(root, path, kind)?;
            Ok(existing(root, path, kind)?)
        }
        other => Ok(other?),
    }
}

fn existing(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> rustix::io::Result<OwnedFd> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if kind == Kind::System {
        resolve |= ResolveFlags::NO_SYMLINKS;
        flags |= OFlags::DIRECTORY;
    }
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn make(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> io::Result<()> {
    if kind != Kind::File {
        return create_directory(root, path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::ISDIR.into());
    };
    create_directory(root, parent)?;
    create_link_target(root, path);
    let parent = existing(root, parent, Kind::Directory)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::from_raw_mode(0o644)) {
        // A link whose target is there now.
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// Makes a new filesystem and mounts it on an open directory. Changes the working directory.
pub(super) fn mount_on(
    target: BorrowedFd<'_>,
    source: &CStr,
    kind: &CStr,
    flags: libc::c_ulong,
    data: &CStr,
) -> io::Result<()> {
    // SAFETY: fchdir takes an integer, mount reads four C strings.
    let result = unsafe {
        match libc::fchdir(target.as_raw_fd()) {
            0 => libc::mount(
                source.as_ptr(),
                c".".as_ptr(),
                kind.as_ptr(),
                flags,
                data.as_ptr().cast(),
            ),
            failed => failed,
        }
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// [`open`] and [`mount_on`] in one.
pub(super) fn mount_at(
    root: BorrowedFd<'_>,
    path: &Path,
    place: Kind,
    (source, kind): (&CStr, &CStr),
    flags: libc::c_ulong,
    data: &CStr,
) -> io::Result<()> {
    let target = open(root, path, place)?;
    mount_on(target.as_fd(), source, kind, flags, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn mount_points_are_made_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink("../run/file", dir.path().join("link")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let open = |path: &str, kind| open(root.as_fd(), Path::new(path), kind);

        open("/a/b", Kind::Directory).unwrap();
        assert!(dir.path().join("a/b").is_dir());
        open("/a/c/f", Kind::File).unwrap();
        assert!(dir.path().join("a/c/f").is_file());
        open("/link", Kind::File).unwrap();
        assert!(dir.path().join("run/file").is_file());
        open("/out/x", Kind::Directory).unwrap_err();
        open("/out", Kind::File).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        let error = open("/out", Kind::System).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }
}
