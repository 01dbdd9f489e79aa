//! A further process in a container that nobody watches.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use oci_spec::runtime::{ContainerState as Status, LinuxNamespaceType, Process};

use super::super::adapt::LentOomScore;
use super::super::process::Joined;
use super::super::runtime::{ContainerRuntime, Detached, Libcontainer};
use super::{Container, Made, SECCOMP_CACHE, Stdio, keyring};
use crate::error::{Error, Result};
use crate::namespaces::IdMappings;
use crate::rootless;
use crate::seccomp;
use crate::spec::SeccompPolicy;

/// A process to be executed.
#[derive(Clone, Debug)]
pub struct Exec<'a> {
    /// What it is.
    pub process: &'a Process,
    /// Its standard streams.
    pub stdio: Stdio,
    /// So many of the caller's descriptors from 3 on are its too.
    pub preserve_fds: u32,
    /// A cgroup below the container's, which exists.
    pub cgroup: Option<String>,
    /// Also in a frozen container, where it waits for the thaw.
    pub ignore_paused: bool,
}

impl Container {
    /// Executes a process in it, whether or not it has been started: a child of the caller's. Waits until its program runs.
    ///
    /// # Errors
    /// [`Error::WrongStatus`], [`Error::Start`].
    pub fn exec(&self, request: &Exec<'_>) -> Result<Made> {
        let made = self.execute(request);
        made.map_err(|error| self.unless_stopped(error, "exec in"))
    }

    fn execute(&self, request: &Exec<'_>) -> Result<Made> {
        if self.status() == Status::Stopped {
            return Err(self.wrong("exec in"));
        }
        if self.is_paused() && !request.ignore_paused {
            return Err(self.wrong("exec in"));
        }
        if let Some(part) = &request.cgroup {
            self.cgroup()?.find_part(Path::new(part))?;
        }
        if !nix::unistd::geteuid().is_root() {
            rootless::become_root_of(self.record.init.pid)?;
            rootless::check_groups(request.process)?;
        }
        let spec = self.spec()?;
        let linux = spec.linux().as_ref();
        let policy = match linux.and_then(|linux| linux.seccomp().clone()) {
            Some(profile) => SeccompPolicy::Custom(Box::new(profile)),
            None => SeccompPolicy::Unconfined,
        };
        let root = self.dir.parent().unwrap_or(Path::new("/"));
        let program = seccomp::program(&policy, request.process, &root.join(SECCOMP_CACHE))?;
        let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
        let has_user = namespaces
            .into_iter()
            .flatten()
            .any(|n| n.typ() == LinuxNamespaceType::User);
        // It may be the one that this process is in.
        let user = if has_user { self.user()? } else { None };
        let has_user = user.is_some();
        let detached = Detached {
            preserve_fds: request.preserve_fds,
            keyring: (!self.record.no_new_keyring)
                .then(|| keyring(&self.record.id, has_user))
                .flatten(),
            sub_cgroup: request.cgroup.clone(),
            ..Detached::default()
        };
        let mut runtime = Libcontainer::new(&self.dir, &self.cgroup()?, program, user)
            .map_err(|e| Error::system("memfd_create", e))?
            .running(self.record.init.pid)
            .detached(detached);
        let (score, warning) = LentOomScore::of(request.process);
        let made = runtime.exec(request.process, request.stdio.of(request.process));
        drop(score);
        let made = made?;
        Ok(Made {
            pid: made.pid,
            terminal: made.pty,
            warnings: warning.into_iter().collect(),
        })
    }

    /// The user namespace that init is in, if it is another.
    fn user(&self) -> Result<Option<Joined>> {
        let path = format!("/proc/{}/ns/user", self.record.init.pid);
        let path = Path::new(&path);
        let failed = |e| Error::file("open", path, e);
        let namespace = File::open(path).map_err(failed)?;
        let inode = |file: &File| file.metadata().map(|found| found.ino());
        let own = File::open("/proc/self/ns/user").and_then(|own| inode(&own));
        if own.map_err(failed)? == inode(&namespace).map_err(failed)? {
            return Ok(None);
        }
        let root = IdMappings::of(namespace.as_fd())?.root().unwrap_or((0, 0));
        Ok(Some(Joined {
            namespace: Rc::new(namespace.into()),
            root,
        }))
    }
}
