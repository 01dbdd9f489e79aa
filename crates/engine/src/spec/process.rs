//! The process: user, environment, capabilities, resource limits.

use oci_spec::runtime::{
    PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, User, UserBuilder,
};

use super::{HostFacts, SpecError, SpecInput, caps};
use crate::apparmor;
use crate::model::Container;
use crate::options::{ExecOptions, RunOptions};
use crate::resolve::set_env;
use crate::user::Identity;

pub(super) fn build(input: &SpecInput, warnings: &mut Vec<String>) -> Result<Process, SpecError> {
    let SpecInput {
        container,
        user,
        facts,
        ..
    } = input;
    let options = &container.options;
    let bounding = caps::of_container(options, facts, warnings)?;
    let mut process = ProcessBuilder::default()
        .terminal(options.tty)
        .user(oci_user(user)?)
        .args(args(container))
        .env(environment(
            container,
            &input.files.name,
            options.tty,
            &[],
            &user.home,
        ))
        .cwd(&container.process.working_dir)
        .capabilities(caps::sets(bounding, user.uid)?)
        .rlimits(rlimits(options, facts, warnings)?)
        .build()?;
    // libcontainer takes a field that says `false` for a wish to have it.
    process.set_no_new_privileges(options.security.no_new_privileges.then_some(true));
    process.set_oom_score_adj(oom_score_adj(options, facts, warnings));
    process.set_apparmor_profile(apparmor_profile(input, warnings));
    Ok(process)
}

/// The process of an `exec` in a container whose first process is `init`.
///
/// # Errors
/// [`SpecError::Oci`] if the parts do not fit together.
pub(crate) fn exec_process(
    init: &Process,
    container: &Container,
    user: &Identity,
    options: &ExecOptions,
) -> Result<Process, SpecError> {
    let bounding = match options.privileged {
        true => HostFacts::gather().capabilities,
        // Not the effective set: a container whose user is not root has none, yet an exec as root has them.
        false => init
            .capabilities()
            .as_ref()
            .and_then(|c| c.bounding().clone())
            .unwrap_or_default(),
    };
    let hostname = init
        .env()
        .iter()
        .flatten()
        .find_map(|e| e.strip_prefix("HOSTNAME="))
        .unwrap_or_default();
    let mut process = ProcessBuilder::default()
        .terminal(options.tty)
        .user(oci_user(user)?)
        .args(options.cmd.clone())
        .env(environment(
            container,
            hostname,
            options.tty,
            &options.env,
            &user.home,
        ))
        .cwd(
            options
                .working_dir
                .as_ref()
                .unwrap_or(&container.process.working_dir),
        )
        .capabilities(caps::sets(bounding, user.uid)?)
        .build()?;
    process.set_rlimits(init.rlimits().clone());
    process.set_no_new_privileges(init.no_new_privileges());
    process.set_oom_score_adj(init.oom_score_adj());
    // As with Docker, whom the container is confined by stays, whatever else the process may do.
    process.set_apparmor_profile(init.apparmor_profile().clone());
    process.set_selinux_label(init.selinux_label().clone());
    Ok(process)
}

/// The process of an `exec` in a container of a pod: in everything that is not asked for as its first one, devices'
/// variables and groups among it.
pub(crate) fn like_init(init: &Process, options: &ExecOptions) -> Process {
    let mut env = init.env().clone().unwrap_or_default();
    if options.tty {
        set_env(&mut env, "TERM=xterm");
    }
    for entry in &options.env {
        set_env(&mut env, entry);
    }
    let mut process = init.clone();
    process
        .set_terminal(Some(options.tty))
        .set_args(Some(options.cmd.clone()))
        .set_env(Some(env));
    if let Some(dir) = &options.working_dir {
        process.set_cwd(dir.into());
    }
    process
}

fn oci_user(user: &Identity) -> Result<User, SpecError> {
    Ok(UserBuilder::default()
        .uid(user.uid)
        .gid(user.gid)
        .additional_gids(user.groups.clone())
        .build()?)
}

fn args(container: &Container) -> Vec<String> {
    let process = &container.process;
    let mut args = Vec::new();
    if container.options.init {
        args.extend([
            rctr_runtime::defaults::init_path()
                .to_string_lossy()
                .into_owned(),
            "--".to_owned(),
        ]);
    }
    args.push(process.path.clone());
    args.extend(process.args.iter().cloned());
    args
}

/// Docker's order: its own defaults, what image and user say over them, HOME last if nobody says it.
fn environment(
    container: &Container,
    hostname: &str,
    tty: bool,
    extra: &[String],
    home: &str,
) -> Vec<String> {
    let mut env = vec![
        format!("PATH={}", rctr_runtime::defaults::PATH),
        format!("HOSTNAME={hostname}"),
    ];
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in container.process.env.iter().chain(extra) {
        set_env(&mut env, entry);
    }
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    // Nothing can be looked up without one, and libcontainer refuses to try.
    if !env.iter().any(|e| e.starts_with("PATH=")) {
        env.push(format!("PATH={}", rctr_runtime::defaults::PATH));
    }
    env
}

fn rlimits(
    options: &RunOptions,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> Result<Vec<PosixRlimit>, SpecError> {
    let may_raise = facts.may_raise_limits();
    let mut limits: Vec<PosixRlimit> = Vec::new();
    for ulimit in &options.ulimits {
        let Some(typ) = rlimit_type(&ulimit.name) else {
            continue;
        };
        // -1, unlimited, becomes the largest number.
        let (mut soft, mut hard) = (ulimit.soft as u64, ulimit.hard as u64);
        let host = facts
            .hard_limits
            .get(ulimit.name.as_str())
            .copied()
            .unwrap_or(u64::MAX);
        if hard > host && !may_raise {
            warnings.push(format!(
                "ulimit {}: {} is above the host's hard limit {host}, and only CAP_SYS_RESOURCE may raise it. Using {host}.",
                ulimit.name, ulimit.hard
            ));
            hard = host;
            soft = soft.min(host);
        }
        limits.retain(|l| l.typ() != typ);
        limits.push(
            PosixRlimitBuilder::default()
                .typ(typ)
                .soft(soft)
                .hard(hard)
                .build()?,
        );
    }
    Ok(limits)
}

fn rlimit_type(name: &str) -> Option<PosixRlimitType> {
    Some(match name {
        "core" => PosixRlimitType::RlimitCore,
        "cpu" => PosixRlimitType::RlimitCpu,
        "data" => PosixRlimitType::RlimitData,
        "fsize" => PosixRlimitType::RlimitFsize,
        "locks" => PosixRlimitType::RlimitLocks,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "nofile" => PosixRlimitType::RlimitNofile,
        "nproc" => PosixRlimitType::RlimitNproc,
        "rss" => PosixRlimitType::RlimitRss,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "stack" => PosixRlimitType::RlimitStack,
        _ => return None,
    })
}

fn oom_score_adj(
    options: &RunOptions,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> Option<i32> {
    let wanted = options.resources.oom_score_adj?;
    if wanted >= facts.oom_score_adj || facts.may_raise_limits() {
        return Some(wanted);
    }
    warnings.push(format!(
        "oom-score-adj {wanted} is below the host process's own {0}, and only CAP_SYS_RESOURCE may lower it. Using {0}.",
        facts.oom_score_adj
    ));
    Some(facts.oom_score_adj)
}

fn apparmor_profile(input: &SpecInput, warnings: &mut Vec<String>) -> Option<String> {
    let options = &input.container.options;
    let wanted = apparmor::wanted(options, input.pod.is_some())?;
    if input.facts.apparmor {
        return Some(wanted.to_owned());
    }
    if options.security.apparmor.is_some() {
        warnings.push(format!(
            "AppArmor is not enabled on this host. Profile {wanted} discarded."
        ));
    }
    None
}
