mod formats;
mod merged;
mod property;

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

use super::xattrs::Xattrs;
use super::{WriteSink, archive};
use crate::fs::open_dir;
use crate::untar::{Unpacked, inherit, untar};

/// An overlay that is attached nowhere, and gone when dropped.
struct Overlay {
    fd: OwnedFd,
}

impl Overlay {
    /// `lowers`: top first. Without `upper` and `work` it cannot be written to.
    fn mount(lowers: &[PathBuf], writable: Option<(&Path, &Path)>) -> Self {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        let set = |key: &str, value: &Path| fsconfig_set_string(&context, key, value).unwrap();
        for lower in lowers {
            set("lowerdir+", lower);
        }
        if let Some((upper, work)) = writable {
            set("upperdir", upper);
            set("workdir", work);
            rustix::mount::fsconfig_set_flag(&context, "volatile").unwrap();
        }
        for option in ["redirect_dir", "metacopy", "index"] {
            fsconfig_set_string(&context, option, "off").unwrap();
        }
        fsconfig_create(&context).unwrap();
        let fd = fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
        .unwrap();
        Overlay { fd }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }
}

/// Everything of a file that an image keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    device: u64,
    content: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first of the names of the same file.
    same_as: PathBuf,
}

/// All files of a tree but sockets, by their paths. The time of the root is left out.
fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        // A slash at the end leads through the link in /proc.
        let full = root.join(&path);
        let full = if path.as_os_str().is_empty() {
            root.join("")
        } else {
            full
        };
        let stat = match std::fs::symlink_metadata(&full) {
            // A whiteout with nothing below: overlayfs lists it, though it is not there.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                seen.insert(path, Seen::default());
                continue;
            }
            other => other.unwrap(),
        };
        let kind = stat.mode() & 0o170_000;
        if kind == 0o140_000 {
            continue;
        }
        let mut xattrs = Vec::new();
        let content = match kind {
            0o040_000 => {
                for entry in std::fs::read_dir(&full).unwrap() {
                    todo.push(path.join(entry.unwrap().file_name()));
                }
                Vec::new()
            }
            0o100_000 => std::fs::read(&full).unwrap(),
            0o120_000 => std::fs::read_link(&full)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec(),
            _ => Vec::new(),
        };
        if matches!(kind, 0o040_000 | 0o100_000) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(rustix::fs::CWD, &full, flags, Mode::empty()).unwrap();
            xattrs = Xattrs::read(&fd, &mut Vec::new()).unwrap().kept;
        }
        let found = Seen {
            mode: stat.mode(),
            owner: (stat.uid(), stat.gid()),
            mtime: if path.as_os_str().is_empty() {
                0
            } else {
                stat.mtime()
            },
            device: stat.rdev(),
            content,
            xattrs,
            same_as: path.clone(),
        };
        seen.insert(path, found);
    }
    let mut first = HashMap::new();
    for (path, found) in &mut seen {
        let stat = std::fs::symlink_metadata(root.join(path));
        if let Ok(stat) = stat.as_ref()
            && !stat.is_dir()
        {
            found.same_as = first
                .entry((stat.dev(), stat.ino()))
                .or_insert_with(|| path.clone())
                .clone();
        }
    }
    seen
}

/// The archive of a layer as it is on disk.
fn bytes(dir: &Path, root_listed: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let root = open_dir(dir).unwrap();
    archive(root.as_fd(), root_listed, None, &mut WriteSink(&mut bytes)).unwrap();
    bytes
}

/// Unpacks an archive as a layer upon others, top first.
fn unpack(bytes: &[u8], dir: &Path, lowers: &[PathBuf]) -> Unpacked {
    std::fs::create_dir(dir).unwrap();
    let root = open_dir(dir).unwrap();
    // A thread of its own, as the umask is changed.
    let unpacked = std::thread::scope(|s| s.spawn(|| untar(bytes, root)).join().unwrap()).unwrap();
    let lowers: Vec<OwnedFd> = lowers.iter().map(|l| open_dir(l).unwrap()).collect();
    inherit(&open_dir(dir).unwrap(), &unpacked.implied, &lowers).unwrap();
    unpacked
}

/// Names and types of the members of an archive, as another reader sees them.
fn members(bytes: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(bytes);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            match entry.link_name_bytes() {
                Some(link) if entry.header().entry_type().is_hard_link() => {
                    format!("{name} = {}", String::from_utf8_lossy(&link))
                }
                Some(link) => format!("{name} -> {}", String::from_utf8_lossy(&link)),
                None => name,
            }
        })
        .collect()
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(
        path,
        CString::new(name).unwrap(),
        value,
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
}
