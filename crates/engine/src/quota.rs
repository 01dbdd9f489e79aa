//! Limits on a container's writable layer, by project quotas of xfs and ext4.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use crate::{Error, Result};

/// Projects of containers are numbered from here on.
const FIRST: u32 = 0x7263_0000;

/// The kernel's `struct fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// The kernel's `struct if_dqblk`.
#[repr(C)]
#[derive(Default)]
struct Limits {
    /// In blocks of 1 KiB.
    block_hard_limit: u64,
    block_soft_limit: u64,
    space: u64,
    inode_hard_limit: u64,
    inode_soft_limit: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

const GET: libc::Ioctl = 0x801c_581f_u32 as libc::Ioctl;
const SET: libc::Ioctl = 0x401c_5820;
/// What is made in the directory belongs to its project.
const INHERIT: u32 = 0x200;
const BLOCK_LIMITS: u32 = 1;
const SET_QUOTA: u32 = 0x0080_0008;
const PROJECTS: u32 = 2;

/// Limits what a container may write to `bytes`; `dir` is its directory among those of all containers, which nobody else
/// changes meanwhile.
///
/// # Errors
/// [`Error::NoQuota`] where the filesystem does not count.
pub(crate) fn limit(dir: &Path, bytes: u64) -> Result<()> {
    let fail = |source| Error::NoQuota {
        path: dir.into(),
        source,
    };
    let project = free_project(dir.parent().unwrap_or(dir));
    for name in ["upper", "work"] {
        let file = File::open(dir.join(name)).map_err(fail)?;
        let mut attributes = attributes(file.as_fd()).map_err(fail)?;
        attributes.project = project;
        attributes.flags |= INHERIT;
        ioctl(file.as_fd(), SET, &mut attributes).map_err(fail)?;
    }
    let file = File::open(dir).map_err(fail)?;
    set_limit(file.as_fd(), project, bytes).map_err(fail)
}

/// The number after the highest in use.
fn free_project(containers: &Path) -> u32 {
    let entries = fs::read_dir(containers).into_iter().flatten().flatten();
    let project = |entry: fs::DirEntry| {
        let file = File::open(entry.path().join("upper")).ok()?;
        Some(attributes(file.as_fd()).ok()?.project)
    };
    let highest = entries.filter_map(project).max().unwrap_or(0);
    highest.max(FIRST).wrapping_add(1)
}

fn attributes(fd: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    ioctl(fd, GET, &mut attributes)?;
    Ok(attributes)
}

fn ioctl(fd: BorrowedFd<'_>, request: libc::Ioctl, attributes: &mut Attributes) -> io::Result<()> {
    // SAFETY: both requests read or write one structure of this kind.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut *attributes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_limit(fd: BorrowedFd<'_>, project: u32, bytes: u64) -> io::Result<()> {
    let limits = Limits {
        block_hard_limit: bytes.div_ceil(1024),
        block_soft_limit: bytes.div_ceil(1024),
        valid: BLOCK_LIMITS,
        ..Limits::default()
    };
    let command = SET_QUOTA << 8 | PROJECTS;
    // SAFETY: reads one structure of this kind.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            fd.as_raw_fd(),
            command,
            project,
            &raw const limits,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
