//! Extended attributes of files in an upper directory: those that belong to the layer, and overlayfs's own.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{fgetxattr, flistxattr, fstat};
use rustix::io::Errno;

use crate::overlay;

/// The attributes of a file or directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Xattrs {
    /// Those that go into the archive, by name.
    pub kept: Vec<(Vec<u8>, Vec<u8>)>,
    /// The value of [`overlay::opaque`].
    pub opaque: Option<u8>,
    /// Whether [`overlay::whiteout`] is there.
    pub whiteout: bool,
}

impl Xattrs {
    /// Reads them; none where the file system knows none.
    pub fn read(file: impl AsFd, names: &mut Vec<u8>) -> rustix::io::Result<Self> {
        let file = file.as_fd();
        if names.is_empty() {
            names.resize(64 << 10, 0);
        }
        let length = match flistxattr(file, &mut names[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        let mut found = Xattrs::default();
        for name in names[..length].split_inclusive(|&b| b == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else {
                continue;
            };
            if name == overlay::opaque() {
                found.opaque = value(file, name)?.first().copied();
            } else if name == overlay::whiteout() {
                found.whiteout = true;
            } else if is_kept(name.to_bytes()) {
                found
                    .kept
                    .push((name.to_bytes().to_owned(), value(file, name)?));
            }
        }
        found.kept.sort();
        Ok(found)
    }
}

fn value(file: impl AsFd, name: &CStr) -> rustix::io::Result<Vec<u8>> {
    let mut value = vec![0; 64 << 10];
    let length = fgetxattr(file, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

/// What an image is told of: file capabilities and what users set. A name with `=` in it cannot be told (POSIX, pax).
fn is_kept(name: &[u8]) -> bool {
    let kept = name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
    kept && !name.contains(&b'=')
}

/// Whether two root directories have the same mode, owner and attributes; the other may be the implied one of a layer
/// without a parent.
pub(crate) fn same_root(root: impl AsFd, other: Option<impl AsFd>) -> rustix::io::Result<bool> {
    let mut names = Vec::new();
    let mut of = |dir: std::os::fd::BorrowedFd<'_>| {
        let stat = fstat(dir)?;
        let xattrs = Xattrs::read(dir, &mut names)?.kept;
        Ok::<_, Errno>((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, xattrs))
    };
    let ours = of(root.as_fd())?;
    let theirs = match other {
        Some(other) => of(other.as_fd())?,
        None => (0o755, 0, 0, Vec::new()),
    };
    Ok(ours == theirs)
}

/// Whether a directory of a layer hides what is below it.
pub(crate) fn is_opaque(dir: impl AsFd) -> rustix::io::Result<bool> {
    let mut value = [0; 1];
    match fgetxattr(dir, overlay::opaque(), &mut value[..]) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(e) => Err(e),
    }
}
