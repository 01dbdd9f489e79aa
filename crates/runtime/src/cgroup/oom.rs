//! Noticing that the kernel killed a process of the container for want of memory within its limit.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use super::Cgroup;

/// The kernel's own counter, kept open: `oom_kill N` in v2's memory.events and v1's memory.oom_control.
/// On v2 it can be polled, and is looked at each time it moves: where systemd made the cgroup it also removes it,
/// maybe before the end of the last process is known here.
pub(crate) struct OomWatch {
    events: Option<File>,
    killed: bool,
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
            killed: false,
        }
    }

    /// Urgent (POLLPRI) when the counter moves.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(File::as_fd)
    }

    /// Takes note of what has happened; stops watching when the cgroup is gone.
    pub(crate) fn look(&mut self) {
        match self.events.as_ref().map(count) {
            Some(Ok(count)) => self.killed |= count > 0,
            Some(Err(_)) => self.events = None,
            None => {}
        }
    }

    /// Whether a process has been killed since the cgroup was made.
    pub(crate) fn killed(&mut self) -> bool {
        self.look();
        self.killed
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
