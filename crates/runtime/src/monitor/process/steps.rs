//! System calls between libcontainer's work and execve, each of them one step.

use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::PosixRlimit;

use super::super::caps;

/// The first descriptor after the standard streams.
pub(super) const FIRST_FD: RawFd = 3;

/// Closes everything except stdio, `preserved` descriptors after it, and the report pipe, which becomes the next one
/// and closes on exec.
pub(super) fn keep_only(preserved: RawFd, report: RawFd) -> io::Result<()> {
    let kept = FIRST_FD + preserved;
    // SAFETY: system calls on integers; nothing in this process uses another descriptor after this.
    let result = unsafe {
        if report == kept {
            libc::fcntl(report, libc::F_SETFD, libc::FD_CLOEXEC)
        } else {
            libc::dup3(report, kept, libc::O_CLOEXEC)
        }
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    done(unsafe { libc::syscall(libc::SYS_close_range, kept + 1, u32::MAX, 0) })
}

/// Makes a session keyring, one that nobody else can join unless it gets a name: keys of whoever started the container
/// are not the container's. Gives its number; none where the kernel has no keyrings.
pub(in crate::monitor) fn join_keyring(name: Option<&CStr>) -> io::Result<Option<libc::c_long>> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let name = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: reads a C string, if it is given one.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name) };
    match result {
        -1 => match io::Error::last_os_error() {
            none if none.raw_os_error() == Some(libc::ENOSYS) => Ok(None),
            failed => Err(failed),
        },
        keyring => Ok(Some(keyring)),
    }
}

/// Lets other processes of its user, with `all` of every user, find a keyring by its name: those that join the container.
pub(super) fn show_keyring(keyring: libc::c_long, all: bool) -> io::Result<()> {
    const SET_PERMISSIONS: libc::c_long = 5;
    const DESCRIBE: libc::c_long = 6;
    const USER_SEARCH: u32 = 0x0008_0000;
    const OTHERS_SEARCH: u32 = 0x0000_0008;
    let mut text = [0u8; 256];
    let room = text.len();
    // SAFETY: writes no more than the buffer takes.
    let length =
        unsafe { libc::syscall(libc::SYS_keyctl, DESCRIBE, keyring, text.as_mut_ptr(), room) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    // Type, user, group, permissions in hexadecimal, name.
    let mut fields = text.split(|&byte| byte == b';');
    let own = fields.nth(3).and_then(|hex| std::str::from_utf8(hex).ok());
    let own = own.and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let own = own.ok_or(io::ErrorKind::InvalidData)?;
    let more = if all { OTHERS_SEARCH } else { USER_SEARCH };
    // SAFETY: takes integers.
    let set = unsafe { libc::syscall(libc::SYS_keyctl, SET_PERMISSIONS, keyring, own | more) };
    done(set)
}

/// `HOME=` of a user by the container's /etc/passwd, of which no more than a megabyte is read; `/` if it is not there.
pub(super) fn home_of(uid: u32) -> Option<CString> {
    let mut text = Vec::new();
    // The container may have put anything there: one that nobody writes to must not be waited for.
    let mut options = std::fs::File::options();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    if let Ok(file) = file.open("/etc/passwd")
        && file.metadata().is_ok_and(|found| found.is_file())
    {
        let _ = file.take(1 << 20).read_to_end(&mut text);
    }
    let uid = uid.to_string();
    let mut homes = text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':').skip(2);
        (fields.next()? == uid.as_bytes()).then(|| fields.nth(2))?
    });
    let home = homes.next().filter(|home| !home.is_empty());
    CString::new([b"HOME=", home.unwrap_or(b"/")].concat()).ok()
}

/// Moves this process, which has one thread, into the cgroups that these belong to.
pub(super) fn join_cgroups(doors: &[OwnedFd]) -> io::Result<()> {
    doors
        .iter()
        .try_for_each(|door| rustix::io::write(door, b"0").map(drop))
        .map_err(io::Error::from)
}

fn done(result: libc::c_long) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The monitor ignores and blocks signals; a container's program must start like any other.
pub(crate) fn reset_signals() {
    // SAFETY: zeroed sigaction is the default action; signals that cannot be changed answer EINVAL.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &default, std::ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// The monitor's death ends its container.
pub(super) fn die_with_parent() {
    // SAFETY: prctl on integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}

/// It does not.
pub(super) fn live_on() {
    // SAFETY: prctl on integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0, 0, 0, 0) };
}

/// Whether the process of a pidfd has ended.
pub(super) fn is_dead(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
}

/// Exactly these: a container must not inherit the groups of whoever started it (CVE-2023-25173).
pub(super) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: passes a slice with its length.
    let set = done(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }.into());
    let denied = |e: &io::Error| {
        e.raw_os_error() == Some(libc::EPERM)
            && std::fs::read("/proc/self/setgroups").is_ok_and(|text| text == b"deny\n")
    };
    match set {
        // An ordinary user without subordinate ids keeps its groups: the kernel lets it change none (user_namespaces(7)).
        Err(e) if denied(&e) => Ok(()),
        other => other,
    }
}

/// Changes the user, keeping all capabilities. The signal of [`die_with_parent`] has to be asked for again.
pub(super) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: system calls on integers, in a process with one thread.
    unsafe {
        done(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
        done(libc::setresgid(gid, gid, gid).into())?;
        done(libc::setresuid(uid, uid, uid).into())?;
        done(libc::prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0, 0).into())?;
    }
    caps::use_all_permitted()
}

/// Makes a process that has joined a container's other namespaces one of its user namespace, with all capabilities there.
pub(super) fn join_user_namespace(namespace: &OwnedFd) -> io::Result<()> {
    // SAFETY: setns takes two integers; this process has one thread.
    done(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) }.into())
}

/// Gives the streams to a user and group, while that is still allowed.
pub(super) fn own_stdio((uid, gid): (u32, u32)) {
    for fd in 0..3 {
        if !is_null(fd) {
            // SAFETY: takes integers. Files on a read-only filesystem stay whose they are.
            unsafe { libc::fchown(fd, uid, gid) };
        }
    }
}

fn is_null(fd: RawFd) -> bool {
    // SAFETY: fstat writes one stat structure.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::fstat(fd, &mut stat) == 0
            && stat.st_mode & libc::S_IFMT == libc::S_IFCHR
            && stat.st_rdev == libc::makedev(1, 3)
    }
}

/// Makes streams that are the host's /dev/null the container's, for reading and writing: libcontainer leaves it for
/// reading, whatever it was, and a checkpoint can name only what is inside.
pub(super) fn reopen_null() {
    for fd in (0..3).filter(|&fd| is_null(fd)) {
        let flags = libc::O_RDWR | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: system calls on a C string and integers; the new descriptor is this function's.
        unsafe {
            let own = libc::open(c"/dev/null".as_ptr(), flags);
            // In a container that has made it something else it stays what it was.
            if is_null(own) {
                libc::dup2(own, fd);
            }
            libc::close(own);
        }
    }
}

/// Lets a user other than root open /dev/stdout again, as shell scripts and web servers do.
pub(super) fn give_stdio_to(uid: u32) {
    for fd in (0..3).filter(|&fd| !is_null(fd)) {
        // SAFETY: fstat writes one stat structure; fchown takes integers.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            if libc::fstat(fd, &mut stat) == 0 && stat.st_uid != uid {
                // Files on a read-only filesystem stay whose they are.
                libc::fchown(fd, uid, u32::MAX);
            }
        }
    }
}

/// Goes to the working directory, with `create` making it, root's, if it is missing; it must lie inside the container.
#[allow(clippy::disallowed_methods)] // No other thread shares the working directory.
pub(super) fn enter_directory(cwd: &Path, create: bool) -> io::Result<()> {
    if let Err(error) = std::env::set_current_dir(cwd) {
        if !create || error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        make_directories(cwd)?;
        std::env::set_current_dir(cwd)?;
    }
    // The kernel has no path for a directory outside our root.
    std::env::current_dir().map(drop)
}

fn make_directories(path: &Path) -> io::Result<()> {
    let mut so_far = PathBuf::new();
    for component in path.components() {
        so_far.push(component);
        match std::fs::create_dir(&so_far) {
            Ok(()) => std::os::unix::fs::lchown(&so_far, Some(0), Some(0))?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub(super) fn set_limits(limits: &[PosixRlimit]) -> io::Result<()> {
    for limit in limits {
        let value = libc::rlimit {
            rlim_cur: limit.soft(),
            rlim_max: limit.hard(),
        };
        // SAFETY: setrlimit reads one structure.
        done(unsafe { libc::setrlimit(limit.typ() as libc::__rlimit_resource_t, &value) }.into())?;
    }
    Ok(())
}

/// Type and permissions of a file, if there is one.
pub(super) fn file_kind(path: &CStr) -> Option<(libc::mode_t, libc::mode_t)> {
    // SAFETY: stat reads a C string and writes one stat structure.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        let found = libc::stat(path.as_ptr(), &mut stat) == 0;
        found.then_some((stat.st_mode & libc::S_IFMT, stat.st_mode & 0o7777))
    }
}

/// A child that has ended, now reaped: its pid and exit code, or 128 + the signal that killed it. `None` when none has.
pub(crate) fn ended_child() -> Option<(i32, i32)> {
    loop {
        let mut status = 0;
        // Not through nix, whose answer to a death by a real-time signal is an error without a pid.
        // SAFETY: writes one integer.
        match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
            0 => return None,
            pid if pid > 0 && libc::WIFEXITED(status) => {
                return Some((pid, libc::WEXITSTATUS(status)));
            }
            pid if pid > 0 && libc::WIFSIGNALED(status) => {
                return Some((pid, 128 + libc::WTERMSIG(status)));
            }
            pid if pid > 0 => {}
            _ if io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
            _ => return None,
        }
    }
}
