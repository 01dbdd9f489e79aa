//! All that an exec'd process has started.

use std::collections::BTreeSet;

use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::state::parent_and_session;

/// Kills a process of the container's, its descendants, and all of its session. What has left both, a daemon
/// whose parent has ended, belongs to the container and stays.
pub(super) fn kill(leader: i32, cgroup: &Cgroup) -> Result<()> {
    let mut members = BTreeSet::from([leader]);
    // Stopped first: who is stopped starts nothing new, and stays the parent of what it has started.
    send(leader, libc::SIGSTOP);
    loop {
        let found = further_members(&members, leader, cgroup)?;
        if found.is_empty() {
            break;
        }
        for pid in found {
            send(pid, libc::SIGSTOP);
            members.insert(pid);
        }
    }
    for pid in members {
        send(pid, libc::SIGKILL);
    }
    Ok(())
}

fn further_members(known: &BTreeSet<i32>, leader: i32, cgroup: &Cgroup) -> Result<Vec<i32>> {
    let mut found = cgroup.processes()?;
    found.retain(|pid| {
        !known.contains(pid)
            && parent_and_session(*pid)
                .is_some_and(|(parent, session)| session == leader || known.contains(&parent))
    });
    Ok(found)
}

pub(super) fn send(pid: i32, signal: i32) {
    // SAFETY: kill takes integers. A process that has ended meanwhile is what we want.
    unsafe { libc::kill(pid, signal) };
}
