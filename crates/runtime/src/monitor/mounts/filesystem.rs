//! New filesystems, as against places of the host.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;

use super::super::copy_up::copy_content;
use super::super::user::UserNamespace;
use super::target::{self, Kind, mount_at, mount_on};
use super::tree::set_attributes;
use crate::selinux;

/// A new filesystem.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filesystem {
    pub source: CString,
    pub kind: CString,
    pub flags: libc::c_ulong,
    pub data: CString,
    /// It starts with what the directory has that it covers.
    pub copy_up: bool,
    /// `MS_SHARED`, … of the mount.
    pub propagation: Option<libc::c_ulong>,
    /// The SELinux label of its root, where it takes none as an option.
    pub root_label: Option<String>,
}

impl Filesystem {
    fn new(kind: &CStr, flags: libc::c_ulong, data: &CStr) -> Self {
        Self {
            source: kind.to_owned(),
            kind: kind.to_owned(),
            flags,
            data: data.to_owned(),
            copy_up: false,
            propagation: None,
            root_label: None,
        }
    }

    /// For a specification without /dev.
    pub(super) fn dev() -> Self {
        let flags = libc::MS_NOSUID | libc::MS_STRICTATIME;
        Self::new(c"tmpfs", flags, c"mode=755,size=65536k")
    }

    pub(super) fn pts() -> Self {
        let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
        Self::new(
            c"devpts",
            flags,
            c"newinstance,ptmxmode=0666,mode=0620,gid=5",
        )
    }

    /// Makes it its user namespace's root's: it is mounted by the host's.
    pub(super) fn owned_by(&mut self, user: &UserNamespace) {
        let (uid, gid) = user.root();
        let data = self.data.to_string_lossy().into_owned();
        let mut options: Vec<String> = data
            .split(',')
            .filter(|option| !option.is_empty())
            .map(|option| {
                let group = option.strip_prefix("gid=").and_then(|id| id.parse().ok());
                match group.and_then(|id| user.group(id)) {
                    Some(host) => format!("gid={host}"),
                    None => option.to_owned(),
                }
            })
            .collect();
        if self.kind.as_c_str() == c"tmpfs" {
            options.extend([format!("uid={uid}"), format!("gid={gid}")]);
        }
        self.data = CString::new(options.join(",")).unwrap_or_default();
    }

    /// Gives its files an SELinux label; last of all options, for its commas. Those of the kernel have labels of their own,
    /// and a message queue filesystem has been mounted before, by its namespace.
    pub(super) fn labelled(&mut self, label: &str) {
        match self.kind.to_bytes() {
            b"proc" | b"sysfs" | b"cgroup" | b"cgroup2" => {}
            b"mqueue" => self.root_label = Some(label.to_owned()),
            _ => {
                let options = selinux::mount_options(&self.data.to_string_lossy(), label);
                self.data = CString::new(options).unwrap_or_default();
            }
        }
    }

    pub(super) fn is_the_kernel_s(&self) -> bool {
        [c"proc", c"sysfs"].contains(&self.kind.as_c_str())
    }

    pub(super) fn mount(&self, root: BorrowedFd<'_>, path: &Path, place: Kind) -> io::Result<()> {
        let what = (self.source.as_c_str(), self.kind.as_c_str());
        let read_only = self.flags & libc::MS_RDONLY;
        if read_only == 0 || !self.is_the_kernel_s() {
            return mount_at(root, path, place, what, self.flags, &self.data);
        }
        // There is one for all who share a namespace: the mount is read-only, not what it shows, or a privileged container
        // of the same pod could not write to it either.
        mount_at(root, path, place, what, self.flags & !read_only, &self.data)?;
        let mounted = target::open(root, path, place)?;
        set_attributes(mounted.as_fd(), read_only, 0, 0, false)
    }

    /// Mounts it on an open directory, which was found at `path`.
    pub(super) fn mount_over(
        &self,
        target: BorrowedFd<'_>,
        root: BorrowedFd<'_>,
        path: &Path,
    ) -> io::Result<()> {
        let flags = match self.copy_up {
            true => self.flags & !libc::MS_RDONLY,
            false => self.flags,
        };
        mount_on(target, &self.source, &self.kind, flags, &self.data)?;
        if !self.copy_up && self.propagation.is_none() && self.root_label.is_none() {
            return Ok(());
        }
        let mounted = target::open(root, path, Kind::Directory)?;
        if let Some(label) = &self.root_label {
            match selinux::label_file(mounted.as_fd(), label) {
                // In a user namespace it may be another's, and keeps the policy's label.
                Ok(()) | Err(Errno::PERM) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if self.copy_up {
            copy_content(target, mounted.as_fd())?;
        }
        let read_only = self.flags & libc::MS_RDONLY;
        let propagation = self.propagation.unwrap_or_default();
        set_attributes(mounted.as_fd(), read_only, 0, propagation, false)
    }
}
