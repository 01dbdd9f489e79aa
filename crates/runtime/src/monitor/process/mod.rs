//! The last steps of a process in a container, between libcontainer's work and the program itself.
//!
//! libcontainer leaves these to us (see `adapt`): it would compile the seccomp filter anew each time,
//! refuses programs it thinks not executable, and cannot make a missing working directory.

mod report;
mod steps;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use oci_spec::runtime::{PosixRlimit, Process, Spec};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use self::report::{Failure, Step, init_failed};
use self::steps::{
    FIRST_FD, become_user, die_with_parent, enter_directory, file_kind, give_stdio_to, home_of,
    is_dead, join_cgroups, join_user_namespace, keep_only, live_on, own_stdio, reopen_null,
    set_groups, set_limits, show_keyring,
};
use super::caps::CapabilitySets;
use super::hooks;
use super::mounts::Mounts;
use crate::apparmor;
use crate::client::set_window_size;
use crate::defaults;
use crate::environment::bytes_of;
use crate::error::StartError;
use crate::namespaces::set_loopback_up;
use crate::seccomp::Program;
use crate::selinux;
use crate::spec::WindowSize;

pub(super) use self::report::{ExecReport, label_failed, message, read_report};
pub(super) use self::steps::join_keyring;
pub(crate) use self::steps::{ended_child, reset_signals};

const NUL: &str = "a NUL byte in an argument or variable";

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
    gid: u32,
    groups: Vec<u32>,
    limits: Vec<PosixRlimit>,
    apparmor: Option<String>,
    selinux: Option<String>,
    capabilities: CapabilitySets,
    no_new_privileges: bool,
    seccomp: Option<Rc<Program>>,
    mounts: Option<Mounts>,
    terminal: Option<WindowSize>,
    cgroups: Vec<OwnedFd>,
    user: Option<Joined>,
    report: RawFd,
    monitor: OwnedFd,
    fate: Fate,
}

/// What becomes of a process when the one that made it ends.
pub(super) enum Fate {
    /// It ends too: that one is its monitor.
    Shared,
    /// It lives on.
    Alone(Box<Alone>),
}

/// A process that nobody of ours watches.
#[derive(Default)]
pub(super) struct Alone {
    /// So many of its maker's descriptors, after the standard streams, are the program's.
    pub preserve_fds: u32,
    /// The session keyring it gets; none keeps its maker's.
    pub keyring: Option<Keyring>,
    /// Its network namespace is new.
    pub loopback: bool,
    /// Run inside, just before the program, with this state.
    pub hooks: Option<hooks::Round>,
}

/// A container's session keyring.
#[derive(Clone)]
pub(super) struct Keyring {
    pub name: CString,
    /// Those who join the container, and it by name, do so as users that are none of its user namespace.
    pub other_users: bool,
}

impl Alone {
    fn join_keyring(
        &self,
        label: Option<&str>,
    ) -> Result<Option<(libc::c_long, &Keyring)>, Failure> {
        let Some(keyring) = &self.keyring else {
            return Ok(None);
        };
        let joined = selinux::with_keys(label, || join_keyring(Some(&keyring.name)))
            .map_err(|e| Failure::label(label.unwrap_or_default(), &e))?
            .map_err(Failure::at(Step::Keyring))?;
        Ok(joined.map(|number| (number, keyring)))
    }
}

/// What a process is surrounded by.
pub(super) struct Circumstances {
    pub seccomp: Option<Rc<Program>>,
    /// For a container's first process.
    pub mounts: Option<Mounts>,
    pub terminal: Option<WindowSize>,
    /// Of cgroups to be joined; see [`crate::cgroup::Cgroup::doors`].
    pub cgroups: Vec<OwnedFd>,
    /// To be joined.
    pub user: Option<Joined>,
    pub fate: Fate,
}

/// A user namespace that a process has yet to join.
#[derive(Clone)]
pub(super) struct Joined {
    pub namespace: Rc<OwnedFd>,
    /// User and group on the host that are root inside.
    pub root: (u32, u32),
}

impl ProcessExecutor {
    /// Prepares a process of a container's specification.
    pub(super) fn new(
        process: &Process,
        circumstances: Circumstances,
        report: &ExecReport,
    ) -> Result<Self, StartError> {
        let config = |reason: String| StartError::Config { reason };
        let args = process.args().clone().unwrap_or_default();
        let command = args
            .first()
            .cloned()
            .ok_or_else(|| config("no command".to_owned()))?;
        let env = last_of_each(process.env().clone().unwrap_or_default());
        let user = process.user();
        // The kernel's word for "the one it has already": root's.
        if [user.uid(), user.gid()].contains(&u32::MAX) {
            return Err(config(
                "user and group 4294967295 are none that there are".to_owned(),
            ));
        }
        let Circumstances {
            seccomp,
            mounts,
            terminal,
            cgroups,
            user,
            fate,
        } = circumstances;
        let prepared = Prepared {
            candidates: candidates(&command, &env).map_err(config)?,
            searched: !command.contains('/'),
            args: c_strings(args).map_err(config)?,
            env: variables(&env).map_err(config)?,
            cwd: process.cwd().clone(),
            uid: process.user().uid(),
            gid: process.user().gid(),
            groups: process.user().additional_gids().clone().unwrap_or_default(),
            limits: super::adapt::limits(process).0,
            apparmor: process
                .apparmor_profile()
                .clone()
                .filter(|profile| !profile.is_empty()),
            selinux: process
                .selinux_label()
                .clone()
                .filter(|label| !label.is_empty()),
            capabilities: CapabilitySets::new(process.capabilities().as_ref()),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            seccomp,
            mounts,
            terminal,
            cgroups,
            user,
            report: report.pipe(),
            monitor: pidfd_open(getpid(), PidfdFlags::empty())
                .map_err(|e| init_failed("open the monitor's pidfd", &e.to_string()))?,
            fate,
        };
        Ok(Self(Rc::new(prepared)))
    }
}

impl Executor for ProcessExecutor {
    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        if let Err(failure) = self.0.settle_in() {
            failure.tell_and_exit(self.0.report);
        }
        let Err(failure) = self.0.become_program();
        failure.tell_and_exit(self.0.kept_report())
    }

    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        // What can be executed execve will say, with the final user and capabilities.
        let ready = match &self.0.fate {
            Fate::Alone(alone) => self.0.get_ready(alone),
            // From here on it waits to be started, and nobody would start it if the monitor was killed.
            Fate::Shared => self.0.share_fate(),
        };
        ready.map_err(|failure| {
            failure.tell(self.0.report);
            ExecutorValidationError::ArgValidationError("not ready".to_owned())
        })
    }

    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The environment goes to execve as it is in the specification.
        Ok(())
    }
}

impl Prepared {
    /// What a process does before it waits that will be started when its maker is gone: all that may fail.
    fn get_ready(&self, alone: &Alone) -> Result<(), Failure> {
        let Some(mounts) = &self.mounts else {
            // A further process is told to go on by its maker, or by nobody.
            return self.share_fate();
        };
        if alone.loopback {
            set_loopback_up().map_err(Failure::at(Step::Loopback))?;
        }
        mounts.make().map_err(Failure::Mounts)?;
        // Its label is written below /proc.
        if let Some((number, keyring)) = alone.join_keyring(self.selinux.as_deref())? {
            let shown = show_keyring(number, keyring.other_users);
            shown.map_err(Failure::at(Step::Keyring))?;
        }
        self.look_for_program()
    }

    /// Whether there is a program, as far as root can tell; execve will know the rest.
    fn look_for_program(&self) -> Result<(), Failure> {
        let failed = |step, errno| Err(Failure::Step { step, errno });
        let absolute = |path: &CString| path.as_bytes().starts_with(b"/");
        if !self.candidates.iter().all(absolute) {
            return Ok(());
        }
        let mut step = (Step::Search, libc::ENOENT);
        for path in &self.candidates {
            match (file_kind(path), self.searched) {
                (Some((libc::S_IFDIR, _)), false) => step = (Step::Execute, libc::EACCES),
                (Some((libc::S_IFDIR, _)), true) => {}
                (Some((_, mode)), _) if mode & 0o111 != 0 => return Ok(()),
                (Some(_), _) => step = (Step::Execute, libc::EACCES),
                (None, false) => step = (Step::Execute, libc::ENOENT),
                (None, true) => {}
            }
        }
        failed(step.0, step.1)
    }

    /// The report's descriptor once [`keep_only`] has run.
    fn kept_report(&self) -> RawFd {
        FIRST_FD + self.preserved()
    }

    fn preserved(&self) -> RawFd {
        match &self.fate {
            Fate::Shared => 0,
            Fate::Alone(alone) => alone.preserve_fds as RawFd,
        }
    }

    /// What needs the monitor's descriptors, or its user: no path is resolved through the former.
    fn settle_in(&self) -> Result<(), Failure> {
        join_cgroups(&self.cgroups).map_err(Failure::at(Step::Cgroup))?;
        if let (Some(mounts), Fate::Shared) = (&self.mounts, &self.fate) {
            mounts.make().map_err(Failure::Mounts)?;
        }
        if let Some(user) = &self.user {
            own_stdio(user.root);
            join_user_namespace(&user.namespace).map_err(Failure::at(Step::UserNamespace))?;
        }
        if let (Fate::Alone(alone), None) = (&self.fate, &self.mounts) {
            // By its name it is found in the container's user namespace only.
            alone.join_keyring(self.selinux.as_deref())?;
        }
        set_groups(&self.groups).map_err(Failure::at(Step::Groups))?;
        become_user(self.uid, self.gid).map_err(Failure::at(Step::User))?;
        if let Fate::Alone(_) = &self.fate {
            live_on();
            return Ok(());
        }
        self.share_fate()
    }

    /// From here on the end of the process that made it is its own.
    fn share_fate(&self) -> Result<(), Failure> {
        die_with_parent();
        match is_dead(&self.monitor) {
            true => Err(Failure::at(Step::Monitor)(rustix::io::Errno::SRCH.into())),
            false => Ok(()),
        }
    }

    fn become_program(&self) -> Result<Infallible, Failure> {
        // First of all no descriptor of the host is left, so that no path can lead through one (CVE-2024-21626).
        keep_only(self.preserved(), self.report).map_err(Failure::at(Step::Descriptors))?;
        reset_signals();
        reopen_null();
        give_stdio_to(self.uid);
        if let Some(size) = self.terminal {
            // The program's first look must see it. A size is not worth failing for.
            let _ = set_window_size(io::stdin().as_fd(), size);
        }
        // Only a container's first process makes it: one that joins later must name what is there.
        let create = self.mounts.is_some();
        enter_directory(&self.cwd, create).map_err(Failure::at(Step::WorkingDirectory))?;

        if let Some(profile) = &self.apparmor {
            apparmor::confine_program(profile).map_err(Failure::at(Step::Apparmor))?;
        }
        if let Some(label) = &self.selinux {
            selinux::label_program(label).map_err(|e| Failure::label(label, &e))?;
        }
        set_limits(&self.limits).map_err(Failure::at(Step::Limits))?;
        let keep_admin = self.seccomp.is_some() && !self.no_new_privileges;
        self.capabilities
            .apply(keep_admin)
            .map_err(Failure::at(Step::Capabilities))?;
        if let Some(program) = &self.seccomp {
            program.load().map_err(Failure::at(Step::Seccomp))?;
        }
        if let Fate::Alone(alone) = &self.fate
            && let Some(round) = &alone.hooks
        {
            let pid = std::process::id() as i32;
            round.run(pid, &self.env).map_err(Failure::Hook)?;
        }
        self.execute()
    }

    /// Tries every candidate; the kernel decides what is executable, and by whom.
    fn execute(&self) -> Result<Infallible, Failure> {
        let argv = pointers(&self.args);
        let is_home = |v: &&CString| v.as_bytes().starts_with(b"HOME=");
        let set = |v: &&CString| !is_home(v) || v.as_bytes().len() > b"HOME=".len();
        let home = match self.env.iter().filter(set).any(|v| is_home(&v)) {
            true => None,
            false => home_of(self.uid),
        };
        let envp = pointers(self.env.iter().filter(set).chain(&home));
        let mut errno = libc::ENOENT;
        for path in &self.candidates {
            // Looking costs a tenth of trying.
            if self.searched && file_kind(path).is_none() {
                continue;
            }
            // SAFETY: both arrays end with a null pointer and live until execve returns.
            unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
            errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            let kind = file_kind(path).map(|(kind, _)| kind);
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
                let step = Step::Execute;
                return Err(Failure::Step { step, errno });
            }
        }
        let step = if self.searched {
            Step::Search
        } else {
            Step::Execute
        };
        Err(Failure::Step { step, errno })
    }
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
        .map(|s| CString::new(s).map_err(|_| NUL.to_owned()))
        .collect()
}

/// Of a variable that is there several times the last one counts; most programs look at the first they find.
fn last_of_each(env: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    let last = env
        .into_iter()
        .rev()
        .filter(|entry| seen.insert(name(entry)));
    let mut last: Vec<String> = last.collect();
    last.reverse();
    last
}

fn variables(entries: &[String]) -> Result<Vec<CString>, String> {
    entries
        .iter()
        .map(|entry| bytes_of(entry).ok_or_else(|| NUL.to_owned()))
        .collect()
}

fn pointers<'a>(strings: impl IntoIterator<Item = &'a CString>) -> Vec<*const libc::c_char> {
    strings
        .into_iter()
        .map(|s| s.as_ptr())
        .chain([std::ptr::null()])
        .collect()
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
}
