//! Plugins whose runtime was killed while they were at work: they would go on making what is being taken back.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{Error, Result};

/// How long a killed plugin may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kills the plugins, and those that they have started, that are at work for this container, and waits for their end. To
/// be called when nobody runs plugins for it: they are orphans then.
///
/// # Errors
/// [`Error::CniOrphan`] if one cannot be killed or does not end.
pub fn end_orphans(container_id: &str) -> Result<()> {
    let word = format!("CNI_CONTAINERID={container_id}");
    let deadline = Instant::now() + PATIENCE;
    // One may start another until it is killed.
    while end_those_there(&word, deadline)? {}
    Ok(())
}

/// Whether there were any.
fn end_those_there(word: &str, deadline: Instant) -> Result<bool> {
    let failed = |pid: Pid, source: io::Error| Error::CniOrphan {
        pid: pid.as_raw_nonzero().get(),
        source,
    };
    let mut killed: Vec<(Pid, OwnedFd)> = Vec::new();
    for pid in processes() {
        if !is_at_work(pid, word) {
            continue;
        }
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        // Now that the number is kept: it may have been another's.
        if is_at_work(pid, word) {
            match pidfd_send_signal(&process, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => killed.push((pid, process)),
                Err(errno) => return Err(failed(pid, errno.into())),
            }
        }
    }
    for (pid, process) in &killed {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left
            .try_into()
            .map_err(|_| failed(*pid, io::ErrorKind::TimedOut.into()))?;
        let mut ended = [PollFd::new(process, PollFlags::IN)];
        match poll(&mut ended, Some(&timeout)) {
            Ok(0) => return Err(failed(*pid, io::ErrorKind::TimedOut.into())),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed(*pid, errno.into())),
        }
    }
    Ok(!killed.is_empty())
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// Only plugins have such a variable. A process that has ended has none any more.
fn is_at_work(pid: Pid, word: &str) -> bool {
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    let environ = fs::read(path).unwrap_or_default();
    environ
        .split(|byte| *byte == 0)
        .any(|variable| variable == word.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn plugins_at_work_for_a_container_are_ended_with_their_own() {
        let sleeper = |id: &str| {
            let mut command = Command::new("sh");
            command
                .args(["-c", "sleep 1000 & wait"])
                .env("CNI_CONTAINERID", id);
            command.spawn().unwrap()
        };
        let id = format!("orphan-{}", std::process::id());
        let other_id = format!("{id}-other");
        let (mut orphan, mut other) = (sleeper(&id), sleeper(&other_id));
        let of = |id: &str| {
            let word = format!("CNI_CONTAINERID={id}");
            processes().filter(|pid| is_at_work(*pid, &word)).count()
        };
        let deadline = Instant::now() + PATIENCE;
        while of(&id) < 2 || of(&other_id) < 2 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        end_orphans(&id).unwrap();
        assert_eq!((of(&id), of(&other_id)), (0, 2));
        assert!(!orphan.wait().unwrap().success());
        end_orphans(&other_id).unwrap();
        other.wait().unwrap();
        end_orphans(&other_id).unwrap();
    }
}
