//! User namespaces. A thread cannot make one for itself: a short-lived child does.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{IdMap, IdMappings};
use crate::error::{Error, Result};

/// A process that does nothing in a new user namespace and other new ones that belong to it; it ends with this value.
pub(crate) struct Member {
    pid: Pid,
}

impl Member {
    /// In a user namespace that has no ids yet.
    pub(crate) fn without_ids() -> io::Result<Self> {
        start(CloneFlags::CLONE_NEWUSER, None)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    pub(super) fn new(mappings: &IdMappings, others: CloneFlags) -> Result<Self> {
        let flags = CloneFlags::CLONE_NEWUSER | others;
        let member =
            start(flags, None).map_err(|e| Error::system("clone in a user namespace", e))?;
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

    pub(crate) fn namespace(&self, name: &str) -> Result<OwnedFd> {
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

/// The mappings of a user namespace that exists.
pub(super) fn mappings(namespace: BorrowedFd<'_>) -> Result<IdMappings> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| Error::system("pipe", e))?;
    let join = Join {
        namespace: namespace.as_raw_fd(),
        joined: writer.as_fd().as_raw_fd(),
    };
    let failed = |e: io::Error| Error::system("join a user namespace", e);
    let member = start(CloneFlags::empty(), Some(join)).map_err(failed)?;
    drop(writer);
    // It has joined when it says so, and has ended if it does not.
    let mut answer = [0];
    File::from(reader).read_exact(&mut answer).map_err(failed)?;
    let read = |file: &str| -> Result<Vec<IdMap>> {
        let path = format!("/proc/{}/{file}", member.pid);
        let text =
            fs::read_to_string(&path).map_err(|e| Error::file("read", Path::new(&path), e))?;
        Ok(parse(&text))
    };
    Ok(IdMappings {
        uids: read("uid_map")?,
        gids: read("gid_map")?,
    })
}

fn parse(text: &str) -> Vec<IdMap> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(IdMap {
            container: next()?,
            host: next()?,
            length: next()?,
        })
    };
    text.lines().filter_map(line).collect()
}

/// Descriptors of the namespace a child is to join, and of the pipe to say so.
struct Join {
    namespace: i32,
    joined: i32,
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

fn start(flags: CloneFlags, join: Option<Join>) -> io::Result<Member> {
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
            if let Some(join) = &join {
                if libc::setns(join.namespace, libc::CLONE_NEWUSER) != 0 {
                    libc::_exit(1);
                }
                libc::write(join.joined, c"".as_ptr().cast(), 1);
                libc::close(join.joined);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_s_mappings_are_read_from_it() {
        let maps = vec![
            IdMap {
                container: 0,
                host: 300_000,
                length: 10,
            },
            IdMap {
                container: 10,
                host: 400_000,
                length: 5,
            },
        ];
        let wanted = IdMappings {
            uids: maps.clone(),
            gids: maps,
        };
        let namespace = wanted.namespace().unwrap();
        assert_eq!(mappings(namespace.as_fd()).unwrap(), wanted);
        let other = File::open("/proc/self/ns/net").unwrap();
        assert!(mappings(other.as_fd()).is_err());
    }
}
