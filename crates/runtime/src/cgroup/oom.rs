//! Noticing that the kernel killed a process of the container for want of memory within its limit.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};

use super::Cgroup;

/// The kernel's own counter, kept open: `oom_kill N` in v2's memory.events and v1's memory.oom_control.
/// It is looked at each time it moves: where systemd made the cgroup it also removes it, maybe before the end of the last
/// process is known here.
pub(crate) struct OomWatch {
    events: Option<File>,
    /// v1 tells through this one, where it can: there the counter itself cannot be polled.
    bell: Option<OwnedFd>,
    seen: u64,
}

impl OomWatch {
    /// Starts watching; without a memory controller it never reports anything.
    pub(crate) fn new(cgroup: &Cgroup) -> Self {
        let directory = cgroup.directory("memory");
        let open = |name: &str| File::open(directory.as_ref()?.join(name)).ok();
        match cgroup.is_v2() {
            true => Self {
                events: open("memory.events"),
                bell: None,
                seen: 0,
            },
            false => {
                let events = open("memory.oom_control");
                let bell = directory.as_ref().zip(events.as_ref());
                let bell = bell.and_then(|(directory, events)| bell_of(directory, events).ok());
                let seen = 0;
                Self { events, bell, seen }
            }
        }
    }

    /// What to poll, and for what, to learn that it is time to look.
    pub(crate) fn fd(&self) -> Option<(BorrowedFd<'_>, libc::c_short)> {
        let events = self.events.as_ref()?;
        Some(match &self.bell {
            Some(bell) => (bell.as_fd(), libc::POLLIN),
            None => (events.as_fd(), libc::POLLPRI),
        })
    }

    /// Takes note of what has happened since the last look; whether a process was killed, or on v1 is about to be. Stops
    /// watching when the cgroup is gone.
    pub(crate) fn look(&mut self) -> bool {
        let rung = self.bell.as_ref().is_some_and(|bell| {
            let mut count = [0u8; 8];
            rustix::io::read(bell, &mut count).is_ok()
        });
        match self.events.as_ref().map(count) {
            Some(Ok(count)) => {
                let more = count > self.seen;
                self.seen = count;
                // The bell rings before the kernel has chosen whom to kill.
                more || rung
            }
            Some(Err(_)) => {
                self.events = None;
                false
            }
            None => false,
        }
    }

    /// Whether a process has been killed since the cgroup was made.
    pub(crate) fn killed(&mut self) -> bool {
        self.look();
        self.seen > 0
    }
}

/// A descriptor that can be read once a v1 cgroup runs out of memory.
fn bell_of(directory: &Path, oom_control: &File) -> io::Result<OwnedFd> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let line = format!("{} {}", bell.as_raw_fd(), oom_control.as_raw_fd());
    fs::write(directory.join("cgroup.event_control"), line)?;
    Ok(bell)
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
