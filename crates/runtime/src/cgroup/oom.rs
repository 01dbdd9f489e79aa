//! Noticing that the kernel killed a process of the container for want of memory within its limit.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use super::Cgroup;

/// The kernel's own counter, kept open: the cgroup may be removed by others at the end.
/// Both cgroup versions count (`oom_kill N` in v2's memory.events and v1's memory.oom_control),
/// so nobody needs to be woken when it happens: looking once after the end is enough.
pub(crate) struct OomWatch {
    events: Option<File>,
}

impl OomWatch {
    /// Starts watching; without a memory controller it never reports anything.
    pub(crate) fn new(cgroup: &Cgroup) -> Self {
        let file = if cgroup.is_v2() {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let path = cgroup.directory("memory").map(|d| d.join(file));
        Self {
            events: path.and_then(|p| fs::File::open(p).ok()),
        }
    }

    /// Whether a process has been killed since the cgroup was made.
    pub(crate) fn killed(&self) -> bool {
        self.events
            .as_ref()
            .and_then(|file| count(file).ok())
            .is_some_and(|count| count > 0)
    }
}

fn count(file: &File) -> io::Result<u64> {
    let mut buffer = [0u8; 1024];
    let length = file.read_at(&mut buffer, 0)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    Ok(text
        .lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .filter_map(|value| value.trim().parse::<u64>().ok())
        .sum())
}
