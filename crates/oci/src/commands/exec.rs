//! `exec`.

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;

use oci_spec::runtime::{Capability, LinuxCapabilities, Process, User};
use rctr_runtime::oci::{self, Stdio};
use rctr_runtime::selinux;

use super::create::absolute;
use super::{load, preserved, send_pidfd, settle, write_pid};
use crate::cli::{Exec, Global};
use crate::failure::Failure;
use crate::foreground::{self, Foreground};
use crate::log::Log;
use crate::protect;

pub fn exec(global: &Global, args: &Exec, log: &Log) -> Result<u8, Failure> {
    protect::protect();
    if !args.detach && !args.no_subreaper {
        foreground::become_subreaper();
    }
    settle();
    let container = load(global, &args.id.id)?;
    let (preserve_fds, listen) = preserved(args.preserve_fds)?;
    let own = container.spec()?.process().clone().unwrap_or_default();
    let score = own.oom_score_adj();
    let label_of_init = own.selinux_label().clone();
    let mut process = match &args.process {
        Some(path) => from_file(path)?,
        None => from_flags(own, args)?,
    };
    // As runc has it: a process is no less in danger than the container's own, unless it is said to be.
    process.set_oom_score_adj(process.oom_score_adj().or(score));
    if process.args().as_ref().is_none_or(|args| args.is_empty()) {
        return Err(Failure::Usage("process args cannot be empty".to_owned()));
    }
    let label = args
        .process_label
        .clone()
        .or(process.selinux_label().clone());
    let label = label.filter(|label| !label.is_empty()).or(label_of_init);
    if label.is_some() && !selinux::is_enabled() {
        return Err(Failure::Unsupported(
            "an SELinux label: SELinux is disabled or not supported",
        ));
    }
    process.set_selinux_label(label);
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(listen);
    process.set_env(Some(env));

    let terminal = process.terminal().unwrap_or(false);
    let stdio = match (&args.console_socket, terminal, args.detach) {
        (Some(socket), true, true) => Stdio::Console(absolute(socket)?),
        (None, true, false) => Stdio::Terminal(foreground::window_size()),
        (None, false, _) => Stdio::Own,
        (None, true, true) => {
            return Err(Failure::Usage(
                "cannot allocate tty if it will be detached without a console socket".to_owned(),
            ));
        }
        (Some(_), _, _) => {
            return Err(Failure::Usage(
                "cannot use a console socket if not detached or no tty is allocated".to_owned(),
            ));
        }
    };
    let made = container.exec(&oci::Exec {
        process: &process,
        stdio,
        preserve_fds,
        cgroup: args.cgroup.clone(),
        ignore_paused: args.ignore_paused,
    })?;
    log.warnings(&made.warnings);
    let told = || -> Result<(), Failure> {
        if let Some(path) = &args.pid_file {
            write_pid(path, made.pid)?;
        }
        match &args.pidfd_socket {
            Some(socket) => send_pidfd(socket, made.pid),
            None => Ok(()),
        }
    };
    told().inspect_err(|_| {
        // Nobody would know of it.
        // SAFETY: takes integers; it is our child and not yet reaped.
        unsafe { libc::kill(made.pid, libc::SIGKILL) };
    })?;
    let foreground = Foreground::new(made.pid, made.terminal);
    match args.detach {
        true => Ok(0),
        false => Ok(foreground.wait()),
    }
}

fn from_file(path: &Path) -> Result<Process, Failure> {
    let bytes = std::fs::read(path).map_err(Failure::file("read", path))?;
    serde_json::from_slice(&bytes).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
}

/// The container's own process with what the flags change.
fn from_flags(mut process: Process, args: &Exec) -> Result<Process, Failure> {
    process
        .set_args(Some(args.command.clone()))
        .set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    for variable in &args.env {
        let name = match variable.split_once('=') {
            Some((name, _)) if !name.is_empty() => name,
            _ => {
                let words = format!("environment variable {variable:?} is not NAME=VALUE");
                return Err(Failure::Usage(words));
            }
        };
        let prefix = format!("{name}=");
        env.retain(|other| !other.starts_with(&prefix));
        env.push(variable.clone());
    }
    process.set_env(Some(env));
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(profile) = &args.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(user) = &args.user {
        process.set_user(user_of(user, process.user())?);
    }
    if !args.additional_gids.is_empty() {
        let mut user = process.user().clone();
        user.set_additional_gids(Some(args.additional_gids.clone()));
        process.set_user(user);
    }
    if !args.cap.is_empty() {
        let own = process.capabilities().clone();
        process.set_capabilities(Some(with_capabilities(own, &args.cap)?));
    }
    Ok(process)
}

fn user_of(text: &str, before: &User) -> Result<User, Failure> {
    let number = |part: &str| {
        let number = part.parse::<u32>();
        number.map_err(|_| Failure::Usage(format!("user {text:?} is not UID[:GID]")))
    };
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (number(uid)?, number(gid)?),
        None => (number(text)?, before.gid()),
    };
    let mut user = before.clone();
    user.set_uid(uid).set_gid(gid);
    Ok(user)
}

/// In all sets but the inheritable one, and in the ambient one only with that (runc's CVE-2022-29162).
fn with_capabilities(
    own: Option<LinuxCapabilities>,
    names: &[String],
) -> Result<LinuxCapabilities, Failure> {
    let mut added = HashSet::new();
    for name in names {
        let word = name.to_uppercase();
        let capability = Capability::from_str(word.strip_prefix("CAP_").unwrap_or(&word));
        added.insert(
            capability.map_err(|_| Failure::Usage(format!("unknown capability {name:?}")))?,
        );
    }
    let plus = |set: &Option<HashSet<Capability>>| -> Option<HashSet<Capability>> {
        Some(set.iter().flatten().chain(&added).copied().collect())
    };
    let mut own = own.unwrap_or_else(|| {
        let mut none = LinuxCapabilities::default();
        none.set_bounding(None)
            .set_effective(None)
            .set_permitted(None);
        none.set_inheritable(None).set_ambient(None);
        none
    });
    let (bounding, effective) = (plus(own.bounding()), plus(own.effective()));
    let permitted = plus(own.permitted());
    own.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted);
    if own
        .inheritable()
        .as_ref()
        .is_some_and(|set| !set.is_empty())
    {
        let inheritable = own.inheritable().clone().unwrap_or_default();
        let ambient = plus(own.ambient());
        let allowed = ambient
            .into_iter()
            .flatten()
            .filter(|c| inheritable.contains(c));
        own.set_ambient(Some(allowed.collect()));
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_the_container_s_own_process() {
        let own: Process = serde_json::from_value(serde_json::json!({
            "args": ["sh"], "cwd": "/", "env": ["A=1", "B=2"],
            "user": {"uid": 1, "gid": 2, "additionalGids": [7]},
            "capabilities": {"bounding": ["CAP_KILL"]},
        }))
        .unwrap();
        let cli = <crate::cli::Cli as clap::Parser>::parse_from([
            "rctr-oci",
            "exec",
            "-t",
            "--cwd",
            "/w",
            "-e",
            "B=3",
            "-e",
            "C=",
            "-u",
            "9:8",
            "--cap",
            "CAP_NET_RAW",
            "it",
            "ls",
            "-l",
            "--all",
        ]);
        let crate::cli::Command::Exec(mut args) = cli.command else {
            panic!("exec");
        };
        let process = from_flags(own, &args).unwrap();
        assert_eq!(process.args().as_ref().unwrap(), &["ls", "-l", "--all"]);
        assert_eq!(process.env().as_ref().unwrap(), &["A=1", "B=3", "C="]);
        assert_eq!((process.user().uid(), process.user().gid()), (9, 8));
        assert_eq!(process.cwd().to_str(), Some("/w"));
        assert_eq!(process.terminal(), Some(true));
        let capabilities = process.capabilities().as_ref().unwrap();
        assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 2);
        assert_eq!(capabilities.ambient(), &None);
        for bad in ["C", "=x"] {
            args.env = vec![bad.to_owned()];
            assert!(from_flags(Process::default(), &args).is_err(), "{bad}");
        }
        assert!(user_of("root", &User::default()).is_err());
        assert!(with_capabilities(None, &["CAP_NONE".to_owned()]).is_err());
    }
}
