//! What an ordinary container may not see, or not change, of the kernel's filesystems.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::tree::{attach, copy, set_attributes};

/// Makes a path, and what is mounted below it, read-only. One that does not exist need not be.
pub(super) fn make_read_only(root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let Some(place) = existing(root, path)? else {
        return Ok(());
    };
    let mount = copy(place.as_fd(), Path::new(""), true)?;
    set_attributes(mount.as_fd(), libc::MS_RDONLY, 0, 0, true)?;
    Ok(attach(mount.as_fd(), place.as_fd())?)
}

/// Lays something empty over paths: the container's /dev/null over a file, a filesystem without files over a directory.
pub(super) struct Masks {
    null: OwnedFd,
    /// The filesystem without files, once a directory has needed it.
    empty: Option<OwnedFd>,
    /// Its SELinux label.
    label: Option<String>,
}

impl Masks {
    /// `root` has its own /dev, and nothing of a user's is mounted on it yet.
    pub(super) fn new(root: BorrowedFd<'_>, label: Option<&str>) -> io::Result<Self> {
        let null = open(root, Path::new("/dev/null"))?;
        let stat = fstat(&null)?;
        let is_null = FileType::from_raw_mode(stat.st_mode).is_char_device()
            && stat.st_rdev == rustix::fs::makedev(1, 3);
        match is_null {
            true => Ok(Self {
                null,
                empty: None,
                label: label.map(str::to_owned),
            }),
            false => Err(Errno::NODEV.into()),
        }
    }

    /// Hides a path. One that does not exist need not be.
    pub(super) fn hide(&mut self, root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        let Some(place) = existing(root, path)? else {
            return Ok(());
        };
        if !FileType::from_raw_mode(fstat(&place)?.st_mode).is_dir() {
            let mount = copy(self.null.as_fd(), Path::new(""), false)?;
            return Ok(attach(mount.as_fd(), place.as_fd())?);
        }
        if let Some(empty) = &self.empty {
            let mount = copy(empty.as_fd(), Path::new(""), false)?;
            return Ok(attach(mount.as_fd(), place.as_fd())?);
        }
        let mount = empty_filesystem(self.label.as_deref())?;
        attach(mount.as_fd(), place.as_fd())?;
        self.empty = Some(mount);
        Ok(())
    }
}

fn empty_filesystem(label: Option<&str>) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(context.as_fd(), "ro")?;
    if let Some(label) = label {
        fsconfig_set_string(context.as_fd(), "context", label)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
}

fn existing(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    match open(root, path) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT) => Ok(None),
        Err(other) => Err(other),
    }
}

/// The kernel's filesystems have no links on these paths: one means that something else stands there.
fn open(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}
