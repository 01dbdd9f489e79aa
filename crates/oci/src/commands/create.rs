//! `create`, `start`, `run`.

use std::path::{Path, PathBuf};

use rctr_runtime::cgroup::{CgroupDriver, Hierarchies};
use rctr_runtime::oci::{self, Stdio};

use super::{load, preserved, root, send_pidfd, settle, write_pid};
use crate::cli::{Create, Global, Rootless, Run};
use crate::failure::Failure;
use crate::foreground::{self, Foreground};
use crate::log::Log;
use crate::protect;

pub fn create(global: &Global, args: &Create, log: &Log) -> Result<u8, Failure> {
    protect::protect();
    make(global, args, log, false)?;
    Ok(0)
}

pub fn start(global: &Global, id: &str, log: &Log) -> Result<u8, Failure> {
    let warnings = load(global, id)?.start()?;
    log.warnings(&warnings);
    Ok(0)
}

pub fn run(global: &Global, args: &Run, log: &Log) -> Result<u8, Failure> {
    protect::protect();
    if !args.detach && !args.no_subreaper {
        foreground::become_subreaper();
    }
    let id = &args.create.id.id;
    let made = make(global, &args.create, log, !args.detach)?;
    let foreground = Foreground::new(made.pid, made.terminal);
    let container = load(global, id)?;
    match container.start() {
        Ok(warnings) => log.warnings(&warnings),
        Err(error) => {
            let _ = container.delete(true);
            return Err(Failure::Create(error));
        }
    }
    if args.detach {
        return Ok(0);
    }
    match args.keep {
        true => Ok(foreground.wait()),
        false => stay(global, id, foreground, log),
    }
}

/// Waits for a container's end and leaves nothing of it.
pub fn stay(global: &Global, id: &str, foreground: Foreground, log: &Log) -> Result<u8, Failure> {
    let code = foreground.wait();
    match load(global, id) {
        Ok(container) => log.warnings(&container.delete(true)?),
        // It was saved, or deleted, by another command.
        Err(Failure::Runtime(rctr_runtime::Error::NoSuchContainer { .. })) => {}
        Err(failure) => return Err(failure),
    }
    Ok(code)
}

fn make(
    global: &Global,
    args: &Create,
    log: &Log,
    in_foreground: bool,
) -> Result<oci::Made, Failure> {
    settle();
    let (preserve_fds, env) = preserved(args.preserve_fds)?;
    let stdio = match &args.console_socket {
        Some(socket) if in_foreground => {
            return Err(Failure::Usage(format!(
                "cannot use console socket {} if the terminal stays here",
                socket.display()
            )));
        }
        Some(socket) => Stdio::Console(absolute(socket)?),
        None if in_foreground && wants_terminal(&args.bundle) => {
            Stdio::Terminal(foreground::window_size())
        }
        None => Stdio::Own,
    };
    let root = root(global);
    // The working directory changes on the way.
    let path = |path: &Option<PathBuf>| path.as_deref().map(absolute).transpose();
    let (pid_file, pidfd_socket) = (path(&args.pid_file)?, path(&args.pidfd_socket)?);
    let made = oci::create(&oci::Create {
        id: &args.id.id,
        root: &absolute(&root)?,
        bundle: &args.bundle,
        cgroup: driver(global),
        stdio,
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        preserve_fds,
        env,
    })
    .map_err(Failure::Create)?;
    log.warnings(&made.warnings);
    let told = || -> Result<(), Failure> {
        if let Some(path) = &pid_file {
            write_pid(path, made.pid)?;
        }
        if let Some(socket) = &pidfd_socket {
            send_pidfd(socket, made.pid)?;
        }
        Ok(())
    };
    if let Err(failure) = told() {
        // Nobody would know of it.
        let _ = load(global, &args.id.id).map(|container| container.delete(true));
        return Err(failure);
    }
    Ok(made)
}

pub fn driver(global: &Global) -> CgroupDriver {
    let may_lack = global.rootless != Rootless::False;
    match global.systemd_cgroup {
        true => CgroupDriver::Systemd,
        // Nobody has given this user a part of the hierarchies: there are no limits.
        false if may_lack && Hierarchies::detect().is_ok_and(|all| !all.is_ours()) => {
            CgroupDriver::None
        }
        false => CgroupDriver::Cgroupfs,
    }
}

pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(Failure::file("find", path))
}

pub fn wants_terminal(bundle: &Path) -> bool {
    let spec = oci_spec::runtime::Spec::load(bundle.join("config.json"));
    // One that cannot be read is an error of the creation's.
    spec.is_ok_and(|spec| {
        let process = spec.process().as_ref();
        process.is_some_and(|p| p.terminal().unwrap_or(false))
    })
}
