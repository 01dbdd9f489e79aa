//! User namespaces. A thread cannot make one for itself: a short-lived child does.

use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{IdMap, IdMappings};
use crate::error::{Error, Result};

/// A process that does nothing in a new user namespace and other new ones that belong to it; it ends with this value.
pub(super) struct Member {
    pid: Pid,
}

impl Member {
    pub(super) fn new(mappings: &IdMappings, others: CloneFlags) -> Result<Self> {
        let flags = CloneFlags::CLONE_NEWUSER | others;
        let member = start(flags).map_err(|e| Error::system("clone in a user namespace", e))?;
        for (file, maps) in [("gid_map", &mappings.gids), ("uid_map", &mappings.uids)] {
            let path = format!("/proc/{}/{file}", member.pid);
            fs::write(&path, lines(maps)).map_err(|e| Error::file("write", Path::new(&path), e))?;
        }
        Ok(member)
    }

    /// The kernel's file for one of its namespaces.
    pub(super) fn path(&self, name: &str) -> String {
        format!("/proc/{}/ns/{name}", self.pid)
    }

    pub(super) fn namespace(&self, name: &str) -> Result<OwnedFd> {
        let path = self.path(name);
        let file = File::open(&path).map_err(|e| Error::file("open", Path::new(&path), e))?;
        Ok(file.into())
    }

    /// Puts the calling thread into its namespaces, but the user namespace.
    pub(super) fn join(&self, others: CloneFlags) -> Result<()> {
        for (flag, name) in [
            (CloneFlags::CLONE_NEWIPC, "ipc"),
            (CloneFlags::CLONE_NEWUTS, "uts"),
            (CloneFlags::CLONE_NEWNET, "net"),
        ] {
            if others.contains(flag) {
                setns(self.namespace(name)?, flag).map_err(|e| Error::system("setns", e))?;
            }
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, Some(WaitPidFlag::__WALL));
    }
}

fn lines(maps: &[IdMap]) -> String {
    let line = |map: &IdMap| format!("{} {} {}\n", map.container, map.host, map.length);
    maps.iter().map(line).collect()
}

fn start(flags: CloneFlags) -> io::Result<Member> {
    let parent = std::process::id() as libc::pid_t;
    // Nobody's signal handler may run in the child.
    let mut before = SigSet::empty();
    let block = SigmaskHow::SIG_BLOCK;
    pthread_sigmask(block, Some(&SigSet::all()), Some(&mut before))?;
    // Without a signal to tell of its end: nobody but us knows that it was.
    // SAFETY: a fork; the child makes only raw system calls on integers.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags.bits(), 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: as above.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            if libc::getppid() == parent {
                loop {
                    libc::pause();
                }
            }
            libc::_exit(0);
        }
    }
    let failed = (pid < 0).then(io::Error::last_os_error);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    match failed {
        Some(error) => Err(error),
        None => Ok(Member {
            pid: Pid::from_raw(pid as libc::pid_t),
        }),
    }
}
