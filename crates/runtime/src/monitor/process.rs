//! The last steps of a process in a container, between libcontainer's work and the program itself.
//!
//! libcontainer leaves these to us (see `adapt`): it would compile the seccomp filter anew each time,
//! refuses programs it thinks not executable, and cannot make a missing working directory.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::{PosixRlimit, Process, Spec};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use serde::{Deserialize, Serialize};

use super::caps::CapabilitySets;
use super::mounts::FinalMounts;
use crate::client::set_window_size;
use crate::defaults;
use crate::error::StartError;
use crate::seccomp::Program;
use crate::spec::WindowSize;

/// What a process becomes, with everything prepared that needs memory.
#[derive(Clone)]
pub(super) struct ProcessExecutor(Rc<Prepared>);

struct Prepared {
    args: Vec<CString>,
    env: Vec<CString>,
    /// The program's path, or where it may be, in the order of $PATH.
    candidates: Vec<CString>,
    searched: bool,
    cwd: PathBuf,
    uid: u32,
    groups: Vec<u32>,
    limits: Vec<PosixRlimit>,
    capabilities: CapabilitySets,
    no_new_privileges: bool,
    seccomp: Option<Rc<Program>>,
    mounts: Option<FinalMounts>,
    terminal: Option<WindowSize>,
    report: RawFd,
    monitor: OwnedFd,
}

/// The end of [`ProcessExecutor`]'s pipe that tells whether the program runs.
pub(super) struct ExecReport {
    command: String,
    reader: OwnedFd,
    writer: OwnedFd,
}

/// What a process writes there if it fails.
#[derive(Serialize, Deserialize)]
struct Failure {
    step: Step,
    errno: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    Descriptors,
    Mounts,
    Groups,
    WorkingDirectory,
    Limits,
    Capabilities,
    Seccomp,
    Search,
    Execute,
}

impl ProcessExecutor {
    /// Prepares a process of a container's specification.
    pub(super) fn new(
        process: &Process,
        seccomp: Option<Rc<Program>>,
        mounts: Option<FinalMounts>,
        terminal: Option<WindowSize>,
    ) -> Result<(Self, ExecReport), StartError> {
        let config = |reason: String| StartError::Config { reason };
        let args = process.args().clone().unwrap_or_default();
        let command = args
            .first()
            .cloned()
            .ok_or_else(|| config("no command".to_owned()))?;
        let env = process.env().clone().unwrap_or_default();
        let (reader, writer) = pipe()?;
        let prepared = Prepared {
            candidates: candidates(&command, &env).map_err(config)?,
            searched: !command.contains('/'),
            args: c_strings(args).map_err(config)?,
            env: c_strings(env).map_err(config)?,
            cwd: process.cwd().clone(),
            uid: process.user().uid(),
            groups: process.user().additional_gids().clone().unwrap_or_default(),
            limits: super::adapt::limits(process).0,
            capabilities: CapabilitySets::new(process.capabilities().as_ref()),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            seccomp,
            mounts,
            terminal,
            report: writer.as_raw_fd(),
            monitor: pidfd_open(getpid(), PidfdFlags::empty())
                .map_err(|e| init_failed("open the monitor's pidfd", &e.to_string()))?,
        };
        let report = ExecReport {
            command,
            reader,
            writer,
        };
        Ok((Self(Rc::new(prepared)), report))
    }
}

impl Executor for ProcessExecutor {
    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        let Err(failure) = self.0.become_program();
        failure.report_and_exit()
    }

    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        // What can be executed execve will say, with the final user and capabilities.
        // From here on this process waits to be started, and nobody would start it if the monitor was killed.
        die_with_parent();
        match is_dead(&self.0.monitor) {
            true => Err(ExecutorValidationError::ArgValidationError(
                "the monitor was killed".to_owned(),
            )),
            false => Ok(()),
        }
    }

    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The environment goes to execve as it is in the specification.
        Ok(())
    }
}

impl Prepared {
    fn become_program(&self) -> Result<std::convert::Infallible, Failure> {
        // First of all no descriptor of the host is left, so that no path can lead through one (CVE-2024-21626).
        keep_only(self.report).map_err(Failure::at(Step::Descriptors))?;
        reset_signals();
        die_with_parent();
        if let Some(mounts) = &self.mounts {
            mounts.make().map_err(Failure::at(Step::Mounts))?;
        }
        set_groups(&self.groups).map_err(Failure::at(Step::Groups))?;
        give_stdio_to(self.uid);
        if let Some(size) = self.terminal {
            // The program's first look must see it. A size is not worth failing for.
            let _ = set_window_size(io::stdin().as_fd(), size);
        }
        enter_directory(&self.cwd).map_err(Failure::at(Step::WorkingDirectory))?;

        set_limits(&self.limits).map_err(Failure::at(Step::Limits))?;
        let keep_admin = self.seccomp.is_some() && !self.no_new_privileges;
        self.capabilities
            .apply(keep_admin)
            .map_err(Failure::at(Step::Capabilities))?;
        if let Some(program) = &self.seccomp {
            program.load().map_err(Failure::at(Step::Seccomp))?;
        }
        self.execute()
    }

    /// Tries every candidate; the kernel decides what is executable, and by whom.
    fn execute(&self) -> Result<std::convert::Infallible, Failure> {
        let argv = pointers(&self.args);
        let envp = pointers(&self.env);
        let mut errno = libc::ENOENT;
        for path in &self.candidates {
            // SAFETY: both arrays end with a null pointer and live until execve returns.
            unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
            errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            let kind = file_kind(path);
            let found = match errno {
                // A search passes over what this user may not execute.
                libc::EACCES => kind.is_some() && !self.searched,
                // The program may be there and its interpreter not.
                libc::ENOENT | libc::ENOTDIR => kind.is_some(),
                _ => true,
            };
            if found {
                if kind == Some(libc::S_IFDIR) {
                    errno = libc::EISDIR;
                }
                return Err(Failure {
                    step: Step::Execute,
                    errno,
                });
            }
        }
        let step = if self.searched {
            Step::Search
        } else {
            Step::Execute
        };
        Err(Failure { step, errno })
    }
}

fn set_limits(limits: &[PosixRlimit]) -> io::Result<()> {
    for limit in limits {
        let value = libc::rlimit {
            rlim_cur: limit.soft(),
            rlim_max: limit.hard(),
        };
        // SAFETY: setrlimit reads one structure.
        if unsafe { libc::setrlimit(limit.typ() as libc::__rlimit_resource_t, &value) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The monitor's death ends its container.
fn die_with_parent() {
    // SAFETY: prctl on integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}

/// Whether the process of a pidfd has ended.
fn is_dead(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
}

fn file_kind(path: &CStr) -> Option<libc::mode_t> {
    // SAFETY: stat reads a C string and writes one stat structure.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::stat(path.as_ptr(), &mut stat) == 0).then_some(stat.st_mode & libc::S_IFMT)
    }
}

impl Failure {
    fn at(step: Step) -> impl Fn(io::Error) -> Failure {
        move |error| Failure {
            step,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    fn report_and_exit(&self) -> ! {
        // Serialising two integers cannot fail.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        // SAFETY: writes from a live buffer; then ends the process without running the monitor's destructors.
        unsafe {
            libc::write(REPORT_FD, bytes.as_ptr().cast(), bytes.len());
            libc::_exit(if self.not_found() { 127 } else { 126 })
        }
    }

    fn not_found(&self) -> bool {
        self.step == Step::Search
            || (self.step == Step::Execute && matches!(self.errno, libc::ENOENT | libc::ENOTDIR))
    }

    fn describe(&self, command: &str) -> StartError {
        let reason = message(self.errno);
        let command = command.to_owned();
        match self.step {
            Step::Search => StartError::NotFound {
                command,
                reason: "executable file not found in $PATH".to_owned(),
            },
            Step::Execute if self.not_found() => StartError::NotFound { command, reason },
            Step::Execute => StartError::NotExecutable { command, reason },
            Step::WorkingDirectory => StartError::NotExecutable {
                command,
                reason: format!("working directory: {reason}"),
            },
            Step::Seccomp => StartError::Seccomp {
                reason: format!("load the filter: {reason}"),
            },
            Step::Descriptors => init_failed("close descriptors", &reason),
            Step::Mounts => init_failed("finish mounts", &reason),
            Step::Groups => init_failed("set supplementary groups", &reason),
            Step::Limits => init_failed("set resource limits", &reason),
            Step::Capabilities => init_failed("set capabilities", &reason),
        }
    }
}

fn init_failed(step: &str, reason: &str) -> StartError {
    StartError::Init {
        reason: format!("{step}: {reason}"),
    }
}

/// The kernel's words for an error number, as Docker users know them: lower case, without the number.
fn message(errno: i32) -> String {
    match errno {
        libc::EACCES => "permission denied".to_owned(),
        libc::ENOENT => "no such file or directory".to_owned(),
        libc::ENOTDIR => "not a directory".to_owned(),
        libc::EISDIR => "is a directory".to_owned(),
        libc::ENOEXEC => "exec format error".to_owned(),
        libc::EPERM => "operation not permitted".to_owned(),
        libc::E2BIG => "argument list too long".to_owned(),
        libc::EROFS => "read-only file system".to_owned(),
        other => io::Error::from_raw_os_error(other).to_string(),
    }
}

impl ExecReport {
    /// Waits until the program runs. Call once no other process can hold the pipe open.
    pub(super) fn wait(self) -> Result<(), StartError> {
        drop(self.writer);
        let mut bytes = Vec::new();
        std::fs::File::from(self.reader)
            .read_to_end(&mut bytes)
            .map_err(|e| init_failed("read the report of the new process", &e.to_string()))?;
        if bytes.is_empty() {
            return Ok(());
        }
        match serde_json::from_slice::<Failure>(&bytes) {
            Ok(failure) => Err(failure.describe(&self.command)),
            Err(e) => Err(init_failed(
                "read the report of the new process",
                &e.to_string(),
            )),
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), StartError> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|e| init_failed("make a pipe", e.desc()))
}

/// As a shell would look for it: a name with a slash is a path, another is searched in $PATH.
fn candidates(command: &str, env: &[String]) -> Result<Vec<CString>, String> {
    if command.contains('/') {
        return c_strings(vec![command.to_owned()]);
    }
    if command.is_empty() {
        return Ok(Vec::new());
    }
    let path = env
        .iter()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(defaults::PATH);
    let found = path
        .split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory })
        .map(|directory| format!("{}/{command}", directory.trim_end_matches('/')))
        .collect();
    c_strings(found)
}

fn c_strings(strings: Vec<String>) -> Result<Vec<CString>, String> {
    strings
        .into_iter()
        .map(|s| CString::new(s).map_err(|_| "a NUL byte in an argument or variable".to_owned()))
        .collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

const REPORT_FD: RawFd = 3;

/// Closes everything except stdio and the report pipe, which becomes descriptor 3 and closes on exec.
fn keep_only(report: RawFd) -> io::Result<()> {
    // SAFETY: system calls on integers; nothing in this process uses another descriptor after this.
    let result = unsafe {
        if report == REPORT_FD {
            libc::fcntl(report, libc::F_SETFD, libc::FD_CLOEXEC)
        } else {
            libc::dup3(report, REPORT_FD, libc::O_CLOEXEC)
        }
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    match unsafe { libc::syscall(libc::SYS_close_range, REPORT_FD + 1, u32::MAX, 0) } {
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

/// A child that has ended, now reaped: its pid and exit code, or 128 + the signal that killed it. `None` when none has.
pub(super) fn ended_child() -> Option<(i32, i32)> {
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

/// Exactly these: a container must not inherit the groups of whoever started it (CVE-2023-25173).
fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: passes a slice with its length.
    match unsafe { libc::setgroups(groups.len(), groups.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets a user other than root open /dev/stdout again, as shell scripts and web servers do.
fn give_stdio_to(uid: u32) {
    for fd in 0..3 {
        // SAFETY: fstat writes one stat structure; fchown takes integers.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            let is_null = |s: &libc::stat| {
                s.st_mode & libc::S_IFMT == libc::S_IFCHR && s.st_rdev == libc::makedev(1, 3)
            };
            if libc::fstat(fd, &mut stat) == 0 && stat.st_uid != uid && !is_null(&stat) {
                // Files on a read-only filesystem stay whose they are.
                libc::fchown(fd, uid, u32::MAX);
            }
        }
    }
}

/// Goes to the working directory, making it, root's, if it is missing; it must lie inside the container.
fn enter_directory(cwd: &Path) -> io::Result<()> {
    if let Err(error) = std::env::set_current_dir(cwd) {
        if error.kind() != io::ErrorKind::NotFound {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[CString]) -> Vec<&str> {
        list.iter().map(|s| s.to_str().unwrap()).collect()
    }

    #[test]
    fn the_search_path_is_the_process_s_own() {
        let env = vec!["A=1".to_owned(), "PATH=/x/:/y::".to_owned()];
        let found = candidates("sh", &env).unwrap();
        assert_eq!(strings(&found), ["/x/sh", "/y/sh", "./sh", "./sh"]);
        assert_eq!(strings(&candidates("./sh", &env).unwrap()), ["./sh"]);
        assert!(strings(&candidates("sh", &[]).unwrap()).contains(&"/usr/local/bin/sh"));
        assert!(candidates("a\0b", &env).is_err());
    }

    #[test]
    fn failures_are_told_apart_as_docker_does() {
        let describe = |step, errno| Failure { step, errno }.describe("x").to_string();
        assert_eq!(
            describe(Step::Search, libc::ENOENT),
            "exec: \"x\": executable file not found in $PATH"
        );
        assert_eq!(
            describe(Step::Execute, libc::EACCES),
            "exec: \"x\": permission denied"
        );
        let not_found = Failure {
            step: Step::Execute,
            errno: libc::ENOENT,
        };
        assert!(matches!(
            not_found.describe("x"),
            StartError::NotFound { .. }
        ));
    }
}
