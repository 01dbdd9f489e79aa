//! What a walk finds.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Stat, fgetxattr, flistxattr};
use rustix::io::Errno;

/// One thing in a tree.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Relative to the source it was found under; empty for the source itself.
    pub path: Box<[u8]>,
    /// Not wanted for itself, only for what is in it: a directory above what `--parents` or `--exclude` leaves.
    pub implied: bool,
    pub meta: Meta,
    /// Target of a symbolic link.
    pub link: Option<Box<[u8]>>,
    /// Of a directory; those of a file are part of its hash.
    pub xattrs: Vec<Xattr>,
}

/// Name and value of an extended attribute.
pub(super) type Xattr = (CString, Vec<u8>);

impl Entry {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.meta.mode)
    }

    /// How many names its path has.
    pub fn depth(&self) -> usize {
        match self.path.len() {
            0 => 0,
            _ => 1 + self.path.iter().filter(|&&b| b == b'/').count(),
        }
    }

    pub fn name(&self) -> &[u8] {
        super::path::split(&self.path).1
    }
}

/// A file's status: equal as long as nobody changed the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meta {
    pub dev: u64,
    pub ino: u64,
    pub links: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub mtime: (i64, u64),
    pub ctime: (i64, u64),
}

impl From<&Stat> for Meta {
    // The types of the fields differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    fn from(s: &Stat) -> Self {
        Meta {
            dev: s.st_dev as u64,
            ino: s.st_ino as u64,
            links: s.st_nlink as u64,
            mode: s.st_mode,
            uid: s.st_uid,
            gid: s.st_gid,
            rdev: s.st_rdev as u64,
            size: s.st_size as u64,
            mtime: (s.st_mtime, s.st_mtime_nsec as u64),
            ctime: (s.st_ctime, s.st_ctime_nsec as u64),
        }
    }
}

impl Meta {
    /// Whether the content is certainly the same. A link made or removed elsewhere changes only count and ctime, but so
    /// does nothing else that can be told apart from a change.
    pub fn same_content(&self, other: &Meta) -> bool {
        (self.dev, self.ino, self.size, self.mtime, self.ctime)
            == (other.dev, other.ino, other.size, other.mtime, other.ctime)
    }

    /// Time of the last change of any kind, in nanoseconds.
    pub fn changed_ns(&self) -> i128 {
        i128::from(self.ctime.0) * 1_000_000_000 + i128::from(self.ctime.1)
    }
}

/// Which extended attributes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attributes {
    /// Those of users: a context's file capabilities mean nothing in an image.
    User,
    /// All but the host's own.
    All,
}

impl Attributes {
    fn wants(self, name: &CStr) -> bool {
        let name = name.to_bytes();
        let host = [
            &b"trusted.overlay."[..],
            b"user.overlay.",
            b"security.selinux",
        ];
        (self == Attributes::All || name.starts_with(b"user."))
            && !host.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// The extended attributes of an open file, sorted by name.
pub(super) fn xattrs(fd: BorrowedFd<'_>, which: Attributes) -> rustix::io::Result<Vec<Xattr>> {
    let mut names = [0u8; 1024];
    let length = match flistxattr(fd, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(Errno::RANGE) => return long_xattrs(fd, which),
        Err(e) => return Err(e),
    };
    values(fd, &names[..length], which)
}

fn long_xattrs(fd: BorrowedFd<'_>, which: Attributes) -> rustix::io::Result<Vec<Xattr>> {
    // No file system has more names than this (XATTR_LIST_MAX).
    let mut names = vec![0u8; 64 << 10];
    let length = flistxattr(fd, &mut names[..])?;
    values(fd, &names[..length], which)
}

fn values(fd: BorrowedFd<'_>, names: &[u8], which: Attributes) -> rustix::io::Result<Vec<Xattr>> {
    let mut found = Vec::new();
    let names = names
        .split_inclusive(|&b| b == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    for name in names.filter(|name| which.wants(name)) {
        let mut value = vec![0u8; 64 << 10];
        match fgetxattr(fd, name, &mut value[..]) {
            Ok(length) => value.truncate(length),
            // Removed meanwhile, or not for us to read.
            Err(Errno::NODATA | Errno::PERM) => continue,
            Err(e) => return Err(e),
        }
        found.push((name.to_owned(), value));
    }
    found.sort();
    Ok(found)
}
