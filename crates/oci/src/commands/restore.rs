//! `checkpoint`, `restore`: CRIU's work.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rctr_runtime::checkpoint::{CgroupsMode, Settings};
use rctr_runtime::oci::{self, Stdio};

use super::create::{absolute, driver, stay, wants_terminal};
use super::{is_root, load, root, settle, write_pid};
use crate::cli::{self, Checkpoint, Global, Images, Restore};
use crate::failure::Failure;
use crate::foreground::{self, Foreground};
use crate::log::Log;

pub fn checkpoint(global: &Global, args: &Checkpoint, log: &Log) -> Result<u8, Failure> {
    for (given, what) in [
        (args.pre_dump, "--pre-dump is not supported"),
        (args.parent_path.is_some(), "--parent-path is not supported"),
        (args.page_server.is_some(), "--page-server is not supported"),
        (args.status_fd.is_some(), "--status-fd is not supported"),
    ] {
        refuse(given, what)?;
    }
    let container = load(global, &args.id.id)?;
    let spec = container.spec()?;
    let linux = spec.linux().as_ref();
    let mut namespaces = linux
        .and_then(|l| l.namespaces().as_ref())
        .into_iter()
        .flatten();
    refuse(
        namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::User),
        "a checkpoint of a container in a user namespace is not supported: it could not be restored",
    )?;
    let mut settings = settings(global, &args.images, &spec)?;
    settings.tcp_skip_in_flight = args.tcp_skip_in_flight;
    settings.link_remap = args.link_remap;
    container.checkpoint(&settings, args.leave_running)?;
    if !args.leave_running {
        log.warnings(&container.delete(true)?);
    }
    Ok(0)
}

pub fn restore(global: &Global, args: &Restore, log: &Log) -> Result<u8, Failure> {
    let lsm = args.lsm_profile.is_some() || args.lsm_mount_context.is_some();
    refuse(
        lsm,
        "--lsm-profile and --lsm-mount-context are not supported",
    )?;
    refuse(!is_root(), "only root can restore: CRIU needs its rights")?;
    let config = args.bundle.join("config.json");
    // One that cannot be read is an error of the restoration's.
    let spec = Spec::load(config).unwrap_or_default();
    let settings = settings(global, &args.images, &spec)?;
    settle();
    if !args.detach && !args.no_subreaper {
        foreground::become_subreaper();
    }
    let terminal = wants_terminal(&args.bundle);
    let stdio = match (&args.console_socket, args.detach) {
        (Some(socket), true) => Stdio::Console(absolute(socket)?),
        (Some(_), false) => {
            return Err(Failure::Usage(
                "cannot use a console socket if the terminal stays here".to_owned(),
            ));
        }
        (None, true) if terminal => {
            return Err(Failure::Usage(
                "cannot allocate tty if it will be detached without a console socket".to_owned(),
            ));
        }
        (None, false) if terminal => Stdio::Terminal(foreground::window_size()),
        (None, _) => Stdio::Own,
    };
    // The working directory changes on the way.
    let pid_file = args.pid_file.as_deref().map(absolute).transpose()?;
    let made = oci::restore(&oci::Restore {
        id: &args.id.id,
        root: &absolute(&root(global))?,
        bundle: &args.bundle,
        cgroup: driver(global),
        stdio,
        settings: &settings,
    })?;
    log.warnings(&made.warnings);
    if let Some(path) = &pid_file
        && let Err(failure) = write_pid(path, made.pid)
    {
        // Nobody would know of it.
        let _ = load(global, &args.id.id).map(|container| container.delete(true));
        return Err(failure);
    }
    if args.detach {
        return Ok(0);
    }
    stay(
        global,
        &args.id.id,
        Foreground::new(made.pid, made.terminal),
        log,
    )
}

fn refuse(given: bool, what: &'static str) -> Result<(), Failure> {
    match given {
        true => Err(Failure::Unsupported(what)),
        false => Ok(()),
    }
}

/// The file of CRIU's options that a container's annotation names; the host's, which is runc's, if there is no such.
fn criu_options(spec: &Spec) -> Option<PathBuf> {
    let annotations = spec.annotations().as_ref();
    let named = annotations.and_then(|all| all.get("org.criu.config"));
    match named.map(String::as_str) {
        Some("") => None,
        Some(path) => Some(path.into()),
        None => Some(PathBuf::from("/etc/criu/runc.conf")).filter(|path| path.exists()),
    }
}

fn settings(global: &Global, args: &Images, spec: &Spec) -> Result<Settings, Failure> {
    refuse(args.auto_dedup, "--auto-dedup is not supported")?;
    refuse(args.lazy_pages, "--lazy-pages is not supported")?;
    let images = absolute(&args.image_path)?;
    let work = args.work_path.as_deref().map(absolute).transpose()?;
    if let Some(other) = args.empty_ns.iter().find(|name| *name != "network") {
        return Err(Failure::Usage(format!(
            "namespace {other} is not supported by --empty-ns"
        )));
    }
    Ok(Settings {
        program: global.criu.clone(),
        work: work.unwrap_or_else(|| images.clone()),
        tcp_established: args.tcp_established,
        external_unix_sockets: args.ext_unix_sk,
        shell_job: args.shell_job,
        file_locks: args.file_locks,
        empty_network: !args.empty_ns.is_empty(),
        config: criu_options(spec),
        cgroups: match args.manage_cgroups_mode {
            cli::CgroupsMode::Soft => CgroupsMode::Soft,
            cli::CgroupsMode::Full => CgroupsMode::Full,
            cli::CgroupsMode::Strict => CgroupsMode::Strict,
            cli::CgroupsMode::Ignore => CgroupsMode::Ignore,
        },
        ..Settings::new(&images)
    })
}
