//! The process that keeps a user's namespaces while anybody is in them.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use rustix::fs::{FlockOperation, flock};

use super::error::RootlessError;
use super::ids::Ids;
use super::record::{LOCK, MAKING, Record};
use super::{Result, lock, open_lock, place};
use crate::monitor;
use crate::namespaces::set_loopback_up;
use crate::state::{ProcessId, State};

/// The name under which the monitor's binary is the keeper.
pub(crate) const NAME: &str = "rctr-keeper";

/// The descriptors it finds open: the lock, and one that tells whoever started it that it runs.
const LOCK_FD: RawFd = 3;
const STARTED_FD: RawFd = 4;

/// Starts it, unless somebody else does so at this moment. The caller holds the shared lock, or it would end at once.
pub(super) fn start(state: &Path, program: &Path) -> Result<(Record, Vec<String>)> {
    let _making = lock(&state.join(MAKING), FlockOperation::LockExclusive)?;
    if let Some(record) = Record::of_living(state)? {
        return Ok((record, Vec::new()));
    }
    // Of a keeper that was killed.
    let last = Record::load(state)?;
    let kept = last.as_ref().and_then(|last| Kept::find(state, last));
    let namespaces = match (kept, last) {
        (Some(kept), Some(last)) => Namespaces::Kept(kept, last),
        (_, last) => {
            if let Some(helper) = last.and_then(|last| last.helper) {
                helper.end();
            }
            Namespaces::New(Ids::of_user()?)
        }
    };
    let pid = spawn(state, program, &namespaces)?;
    let inode = |name: &str| {
        let path = PathBuf::from(format!("/proc/{pid}/ns/{name}"));
        let found = std::fs::metadata(&path).map(|found| found.ino());
        found.map_err(RootlessError::file("look at", &path))
    };
    let (single_id, helper, warnings) = match namespaces {
        Namespaces::New(ids) => (ids.is_single(), None, ids.warnings),
        Namespaces::Kept(_, last) => (last.single_id, last.helper, Vec::new()),
    };
    let record = Record {
        uid: nix::unistd::geteuid().as_raw(),
        keeper: ProcessId::of(pid).map_err(RootlessError::keeper("look at it"))?,
        single_id,
        helper,
        inodes: (inode("user")?, inode("net")?),
    };
    record.save(state)?;
    Ok((record, warnings))
}

/// Which namespaces a keeper keeps.
enum Namespaces {
    /// New ones, with these ids.
    New(Ids),
    /// Those of one that was killed.
    Kept(Kept, Record),
}

/// A user and a network namespace.
struct Kept {
    user: File,
    network: File,
}

impl Kept {
    /// Those of a keeper that was killed, if there is still a container whose monitor has them open.
    fn find(state: &Path, last: &Record) -> Option<Self> {
        let entries = std::fs::read_dir(state).ok()?.flatten();
        let states = entries.filter_map(|entry| State::load(&entry.path()).ok()?);
        let mut monitors = states.map(|state| state.monitor);
        monitors.find_map(|monitor| {
            let proc = PathBuf::from(format!("/proc/{}", monitor.pid));
            let user = File::open(proc.join("ns/user")).ok()?;
            let descriptors = std::fs::read_dir(proc.join("fd")).ok()?.flatten();
            let mut paths = descriptors.map(|entry| entry.path());
            // Only what it is said to be is opened: with other files that might take for ever.
            let network = paths.find(|path| inode_of(path) == Some(last.inodes.1))?;
            let network = File::open(network).ok()?;
            let same = user
                .metadata()
                .is_ok_and(|user| user.ino() == last.inodes.0);
            (same && monitor.is_alive()).then_some(Self { user, network })
        })
    }

    fn join(&self) -> nix::Result<()> {
        setns(&self.user, CloneFlags::CLONE_NEWUSER)?;
        setns(&self.network, CloneFlags::CLONE_NEWNET)
    }
}

/// The number of the namespace that a descriptor is of.
fn inode_of(descriptor: &Path) -> Option<u64> {
    let target = std::fs::read_link(descriptor).ok()?;
    let number = target.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?;
    number.parse().ok()
}

fn spawn(state: &Path, program: &Path, namespaces: &Namespaces) -> Result<i32> {
    let failed = RootlessError::keeper;
    let path = state.join(LOCK);
    let held = open_lock(&path).map_err(RootlessError::file("open", &path))?;
    let (mut ours, theirs) = UnixStream::pair().map_err(failed("socketpair"))?;
    let child = Child {
        program: c_string(program)?,
        arguments: [CString::from(c"rctr-keeper"), c_string(state)?],
        lock: held.into(),
        socket: theirs,
    };
    // SAFETY: this process has one thread, and the child but makes system calls before it executes.
    let forked = unsafe { fork() };
    let pid = match forked.map_err(RootlessError::keeper("fork"))? {
        ForkResult::Child => {
            drop(ours);
            child.run(namespaces);
        }
        ForkResult::Parent { child } => child,
    };
    drop(child);
    let given = answer(&mut ours)
        .and_then(|errno| match errno {
            0 => Ok(()),
            errno => Err(RootlessError::no_user_namespaces(
                io::Error::from_raw_os_error(errno),
            )),
        })
        .and_then(|()| match namespaces {
            Namespaces::New(ids) => ids.give_to(pid.as_raw()),
            Namespaces::Kept(..) => Ok(()),
        });
    let started = given.and_then(|()| {
        ours.write_all(&[1]).map_err(failed("release it"))?;
        match answer(&mut ours) {
            // The socket was closed by its execve.
            Err(_) => Ok(()),
            Ok(errno) => Err(failed("execute it")(io::Error::from_raw_os_error(errno))),
        }
    });
    if let Err(error) = started {
        drop(ours);
        let _ = waitpid(pid, None);
        return Err(error);
    }
    Ok(pid.as_raw())
}

fn answer(socket: &mut UnixStream) -> Result<i32> {
    let mut number = [0; 4];
    let read = socket.read_exact(&mut number);
    read.map_err(RootlessError::keeper("hear from it"))?;
    Ok(i32::from_ne_bytes(number))
}

fn c_string(path: &Path) -> Result<CString> {
    let text = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    text.map_err(RootlessError::file("name", path))
}

struct Child {
    program: CString,
    arguments: [CString; 2],
    lock: OwnedFd,
    socket: UnixStream,
}

impl Child {
    /// Makes or joins the namespaces, waits for their ids, and becomes the keeper.
    fn run(mut self, namespaces: &Namespaces) -> ! {
        let made = match namespaces {
            Namespaces::New(_) => unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET),
            Namespaces::Kept(kept, _) => kept.join(),
        };
        let mut go = [0];
        self.tell(made.err().map_or(0, |errno| errno as i32));
        if made.is_ok() && self.socket.read_exact(&mut go).is_ok() {
            // Published ports come in there, also where nothing leads outside.
            let error = set_loopback_up().and_then(|()| self.become_keeper()).err();
            let errno = error.and_then(|e| e.raw_os_error()).unwrap_or(libc::EIO);
            self.tell(errno);
        }
        // SAFETY: ends the process, without anything of the parent's.
        unsafe { libc::_exit(1) }
    }

    fn tell(&mut self, errno: i32) {
        // A parent that is gone will ask for nothing.
        let _ = self.socket.write_all(&errno.to_ne_bytes());
    }

    fn become_keeper(&mut self) -> io::Result<()> {
        nix::unistd::setsid()?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        // Out of the way of the numbers they go to.
        let above = |fd: RawFd| -> io::Result<OwnedFd> {
            // SAFETY: takes integers, and gives a new descriptor.
            match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 16) } {
                -1 => Err(io::Error::last_os_error()),
                // SAFETY: the kernel has just made it for us.
                new => Ok(unsafe { OwnedFd::from_raw_fd(new) }),
            }
        };
        let (lock, socket) = (
            above(self.lock.as_raw_fd())?,
            above(self.socket.as_raw_fd())?,
        );
        for number in 0..3 {
            place(null.as_fd(), number)?;
        }
        place(lock.as_fd(), LOCK_FD)?;
        place(socket.as_fd(), STARTED_FD)?;
        let all = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
        // SAFETY: takes integers.
        unsafe { libc::syscall(libc::SYS_close_range, STARTED_FD, u32::MAX, all) };
        monitor::reset_signals();
        let none: [&CString; 0] = [];
        let errno = match nix::unistd::execve(&self.program, &self.arguments, &none) {
            Ok(never) => match never {},
            Err(errno) => errno,
        };
        // To tell of it, through what is still open.
        self.socket = UnixStream::from(socket);
        Err(errno.into())
    }
}

/// The keeper: waits until nobody is in the namespaces any more, and takes what leads out of them along. Gives the exit
/// code.
pub(crate) fn main(mut arguments: impl Iterator<Item = OsString>) -> i32 {
    let Some(state) = arguments.next() else {
        return 125;
    };
    let state = Path::new(&state);
    // SAFETY: whoever started us put it there, and nobody else owns it.
    let lock = unsafe { OwnedFd::from_raw_fd(LOCK_FD) };
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP] {
        // SAFETY: takes integers.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // Whatever it stands in could not be unmounted.
    let _ = rustix::process::chdir("/");
    monitor::release_memory();
    loop {
        match flock(&lock, FlockOperation::LockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return 1,
        }
    }
    let record = Record::load(state).ok().flatten();
    if let Some(record) = record.filter(|r| r.keeper.pid == std::process::id() as i32) {
        if let Some(helper) = record.helper {
            helper.end();
        }
        Record::remove(state);
    }
    0
}
