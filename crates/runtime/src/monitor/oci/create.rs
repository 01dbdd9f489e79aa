//! Making a container that nobody watches.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::stat::Mode as NixMode;
use oci_spec::runtime::{
    ContainerState as Status, Hooks, Linux, LinuxDeviceCgroup, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxResources, Process, Spec,
};
use rustix::fs::{Mode, OFlags};

use super::super::adapt::{Adapted, adapt, set_oom_score};
use super::super::hooks::{Orders, Round};
use super::super::mounts::{Mounts, Order};
use super::super::outside;
use super::super::rootfs;
use super::super::runtime::{ContainerRuntime, Detached, Libcontainer};
use super::super::start::has_own_namespace;
use super::super::user::UserNamespace;
use super::record::{Record, state_of};
use super::{FIFO, Made, SECCOMP_CACHE, SPEC_FILE, Stdio, UNFINISHED, check, keyring};
use crate::cgroup::{Cgroup, CgroupDriver, Hierarchies, attach_device_filter};
use crate::error::{Error, Result, StartError};
use crate::logs::format_time;
use crate::rootless;
use crate::seccomp;
use crate::spec::{Rootfs, SeccompPolicy, WindowSize};
use crate::state::ProcessId;

/// A container to be made.
#[derive(Clone, Debug)]
pub struct Create<'a> {
    /// Its id: letters, digits and `_+-.`.
    pub id: &'a str,
    /// The directory below which its own is made; made if it is missing.
    pub root: &'a Path,
    /// The directory with its config.json.
    pub bundle: &'a Path,
    /// Who makes its cgroup.
    pub cgroup: CgroupDriver,
    /// Its standard streams; must go with `process.terminal`.
    pub stdio: Stdio,
    /// Move the root mount instead of pivoting, for a root filesystem in the host's initial memory disk.
    pub no_pivot: bool,
    /// It keeps the session keyring of the caller.
    pub no_new_keyring: bool,
    /// So many of the caller's descriptors from 3 on are its program's too.
    pub preserve_fds: u32,
    /// Added to its program's environment.
    pub env: Vec<String>,
}

/// Makes a container; its init, a child of the caller's, waits to be started. Runs the hooks that belong here. The
/// working directory is then another.
///
/// # Errors
/// [`Error::InvalidId`], [`Error::ContainerExists`], [`Error::CgroupInUse`], [`Error::Start`], [`Error::File`];
/// nothing of it is left then.
pub fn create(request: &Create<'_>) -> Result<Made> {
    let console = match request.stdio {
        Stdio::Own => Some(false),
        Stdio::Console(_) => Some(true),
        Stdio::Terminal(_) => None,
    };
    let (bundle, original, warnings) = check::bundle(request.id, request.bundle, console)?;
    let owner = nix::unistd::geteuid();
    let mut spec = original.clone();
    if !owner.is_root() {
        if check::has_hooks_outside(&original) {
            outside::stay_behind().map_err(|e| Error::system("fork", e))?;
        }
        rootless::become_root_for(&mut spec)?;
    }
    let mut record = new_record(request.id, request.cgroup, bundle, &original);
    record.owner = owner.as_raw();
    let dir = make_directory(request.root, request.id)?;
    let path = Path::new("/proc/self/ns/mnt");
    let host_mounts = File::open(path).map_err(|e| Error::file("open", path, e))?;
    let host_mounts = OwnedFd::from(host_mounts);
    let mut cgroup = None;
    let wanted = Wanted { spec, original };
    let mut made = bring_up(request, &dir, record, wanted, &host_mounts, &mut cgroup);
    // Where hooks are run that come later.
    let _ = rootfs::return_to(&host_mounts);
    if made.is_err() {
        undo(&dir, cgroup);
    }
    if let Ok(made) = &mut made {
        made.warnings.splice(0..0, warnings);
    }
    made
}

pub(super) fn make_directory(root: &Path, id: &str) -> Result<PathBuf> {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o711).recursive(true);
    let made = builder.create(root);
    made.map_err(|e| Error::file("create", root, e))?;
    let dir = root.join(id);
    match builder.recursive(false).create(&dir) {
        Ok(()) => Ok(dir),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::ContainerExists { id: id.to_owned() })
        }
        Err(e) => Err(Error::file("create", &dir, e)),
    }
}

/// A configuration as it is followed, and as the bundle has it.
struct Wanted {
    spec: Spec,
    original: Spec,
}

fn bring_up(
    request: &Create<'_>,
    dir: &Path,
    mut record: Record,
    wanted: Wanted,
    host_mounts: &OwnedFd,
    cgroup_made: &mut Option<Cgroup>,
) -> Result<Made> {
    let Wanted { mut spec, original } = wanted;
    if let (Some(mut process), false) = (spec.process().clone(), request.env.is_empty()) {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(request.env.iter().cloned());
        process.set_env(Some(env));
        spec.set_process(Some(process));
    }
    let hooks = spec.hooks().clone().unwrap_or_default();
    spec.set_hooks(None);
    record.no_new_keyring = request.no_new_keyring;
    let seccomp_policy = complete(&mut spec, &mut record)?;
    write(dir, SPEC_FILE, &original)?;

    let hierarchies = match request.cgroup {
        CgroupDriver::None => Hierarchies::V1 { mounts: Vec::new() },
        _ => Hierarchies::detect()?,
    };
    let cgroup = take_cgroup(&hierarchies, &record, dir)?;
    *cgroup_made = Some(cgroup.clone());

    let user = UserNamespace::take_from(&mut spec)?;
    let order = match hooks
        .create_container()
        .as_ref()
        .is_some_and(|h| !h.is_empty())
    {
        true => Order::ForHooks,
        false => Order::AsListed,
    };
    let mounts = Mounts::take_in_order(&mut spec, &hierarchies, user.as_ref(), order)?;
    rootfs::enter_private_namespace()?;
    let adapted = prepare(dir, &record, spec, &mounts, &hierarchies, user.as_ref())?;
    let orders = give_hooks(&adapted, &hooks, &record, host_mounts, dir)?;

    let process = &adapted.process;
    let cache = request.root.join(SECCOMP_CACHE);
    let program = seccomp::program(&seccomp_policy, process, &cache)?;
    let detached = Detached {
        fifo: Some(make_fifo(dir)?),
        no_pivot: request.no_pivot,
        preserve_fds: request.preserve_fds,
        keyring: (!request.no_new_keyring)
            .then(|| keyring(request.id, user.is_some()))
            .flatten(),
        loopback: has_own_namespace(&adapted.spec, LinuxNamespaceType::Network),
        start_hooks: Round::new(
            "startContainer",
            hooks.start_container().as_ref(),
            &record.state(Status::Created),
        ),
        sub_cgroup: None,
    };
    let joined = user.as_ref().map(UserNamespace::joined).transpose();
    let joined = joined.map_err(|e| Error::system("dup", e))?;
    let mut runtime = Libcontainer::new(dir, &cgroup, program, joined)
        .map_err(|e| Error::system("memfd_create", e))?
        .mounting(mounts)
        .detached(detached);
    let stdio = request.stdio.of(process);
    // Where hooks that libcontainer starts expect to be.
    let _ = rustix::process::chdir(&record.bundle);
    let created = runtime.create(process, stdio);
    let created = created.map_err(|error| match orders.and_then(|orders| orders.failure()) {
        Some(reason) => StartError::Hook { reason },
        None => error,
    })?;

    let mut warnings = adapted.warnings;
    if request.cgroup == CgroupDriver::None && check::asks_for_limits(&original) {
        warnings.push(
            "limits of linux.resources are not kept: no part of the cgroup hierarchies is this user's"
                .to_owned(),
        );
    }
    if let Some(score) = adapted.oom_score_adj {
        warnings.extend(set_oom_score(created.pid, score));
    }
    let mut settle = || -> Result<()> {
        if cgroup.is_v2() && rootless::in_initial_namespace() {
            attach_device_filter(&cgroup, &adapted.device_rules)?;
        }
        if let Some(limits) = &adapted.late_limits {
            warnings.extend(cgroup.update(limits)?);
        }
        let stat = format!("/proc/{}/stat", created.pid);
        let init = ProcessId::of(created.pid);
        record.init = init.map_err(|e| Error::file("read", Path::new(&stat), e))?;
        record.save(dir)
    };
    settle().inspect_err(|_| {
        // Its cgroup may be none that it can be killed by.
        // SAFETY: takes integers; it is our child and not yet reaped.
        unsafe { libc::kill(created.pid, libc::SIGKILL) };
    })?;
    Ok(Made {
        pid: created.pid,
        terminal: created.pty,
        warnings,
    })
}

/// Leaves nothing of a container that could not be made.
pub(super) fn undo(dir: &Path, cgroup: Option<Cgroup>) {
    if let Some(cgroup) = cgroup {
        // Nothing to be done about a failure here: the first error is the one to tell.
        let _ = cgroup.kill_all();
        let ends = cgroup.driver() != CgroupDriver::None || kill_children().is_ok();
        while ends && nix::sys::wait::waitpid(None, None).is_ok() {}
        let _ = cgroup.remove();
    }
    let _ = fs::remove_dir_all(dir);
}

/// Ends what this process has started, where no cgroup tells what that is.
fn kill_children() -> io::Result<()> {
    let path = format!("/proc/self/task/{}/children", std::process::id());
    let children = fs::read_to_string(path)?;
    for child in children.split_whitespace() {
        if let Ok(pid) = child.parse() {
            // SAFETY: takes integers; it is our child and not yet reaped.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
    Ok(())
}

/// What is known of a container before it is made.
pub(super) fn new_record(id: &str, driver: CgroupDriver, bundle: PathBuf, spec: &Spec) -> Record {
    Record {
        id: id.to_owned(),
        init: ProcessId { pid: 0, start: 0 },
        bundle,
        rootfs: PathBuf::new(),
        created: format_time(SystemTime::now()),
        // SAFETY: takes nothing, gives an integer.
        owner: unsafe { libc::geteuid() },
        annotations: spec.annotations().clone().unwrap_or_default(),
        cgroup_driver: driver,
        cgroup_path: PathBuf::new(),
        own_pid_namespace: has_own_namespace(spec, LinuxNamespaceType::Pid),
        no_new_keyring: false,
    }
}

/// A container's cgroup, in which nothing may be yet; from then on what is in it is the container's, also if this process
/// is killed.
pub(super) fn take_cgroup(
    hierarchies: &Hierarchies,
    record: &Record,
    dir: &Path,
) -> Result<Cgroup> {
    let driver = record.cgroup_driver;
    let cgroup = Cgroup::within(hierarchies.clone(), driver, &record.cgroup_path)?;
    if !cgroup.is_v2() && driver == CgroupDriver::Systemd {
        return Err(Error::MissingController {
            controller: "v2 (--systemd-cgroup)".to_owned(),
        });
    }
    match cgroup.has_processes() {
        true => Err(Error::CgroupInUse {
            cgroup: record.cgroup_path.clone(),
        }),
        false => {
            write(dir, UNFINISHED, record)?;
            Ok(cgroup)
        }
    }
}

/// Makes explicit what the specification leaves to the runtime, and takes the filter out.
pub(super) fn complete(spec: &mut Spec, record: &mut Record) -> Result<SeccompPolicy, StartError> {
    let root = spec.root().as_ref().ok_or_else(|| StartError::Config {
        reason: "root must be specified".to_owned(),
    })?;
    let path = record.bundle.join(root.path());
    record.rootfs = fs::canonicalize(&path).map_err(|e| StartError::Rootfs {
        step: format!("open {}", path.display()),
        reason: e.to_string(),
    })?;
    let mut linux = spec.linux().clone().unwrap_or_else(bare_linux);
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    for namespace in &mut namespaces {
        // An empty path means a new one.
        if namespace
            .path()
            .as_ref()
            .is_some_and(|p| p.as_os_str().is_empty())
        {
            namespace.set_path(None);
        }
    }
    // Without one of its own it would be the host's that mounts are made in. It gets one that the host's mounts reach.
    if !namespaces
        .iter()
        .any(|n| n.typ() == LinuxNamespaceType::Mount)
    {
        let own = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Mount);
        namespaces.extend(own.build());
    }
    linux.set_namespaces(Some(namespaces));
    let asked = linux
        .cgroups_path()
        .clone()
        .filter(|p| !p.as_os_str().is_empty());
    record.cgroup_path = asked.unwrap_or_else(|| match record.cgroup_driver {
        CgroupDriver::Cgroupfs | CgroupDriver::None => Path::new("/").join(&record.id),
        CgroupDriver::Systemd => PathBuf::from(format!(":rctr-oci:{}", record.id)),
    });
    linux.set_cgroups_path(Some(record.cgroup_path.clone()));
    let mut resources = linux.resources().clone().unwrap_or_default();
    resources.set_devices(Some(device_rules(&resources)));
    linux.set_resources(Some(resources));
    let policy = match linux.seccomp().clone() {
        Some(profile) => SeccompPolicy::Custom(Box::new(profile)),
        None => SeccompPolicy::Unconfined,
    };
    spec.set_linux(Some(linux));
    Ok(policy)
}

fn bare_linux() -> Linux {
    let mut linux = Linux::default();
    linux
        .set_namespaces(None)
        .set_resources(None)
        .set_masked_paths(None)
        .set_readonly_paths(None);
    linux
}

/// The specification's rules on top of "nothing", and what every container may use on top of these, as with runc.
fn device_rules(resources: &LinuxResources) -> Vec<LinuxDeviceCgroup> {
    let rule = |json: serde_json::Value| serde_json::from_value::<LinuxDeviceCgroup>(json).ok();
    let allow = |kind: &str, major: i64, minor: i64, access: &str| {
        let mut json = serde_json::json!({"allow": true, "type": kind, "access": access});
        for (name, number) in [("major", major), ("minor", minor)] {
            if number >= 0 {
                json[name] = number.into();
            }
        }
        rule(json)
    };
    let mut rules: Vec<_> = rule(serde_json::json!({"allow": false, "access": "rwm"}))
        .into_iter()
        .collect();
    rules.extend(resources.devices().iter().flatten().cloned());
    rules.extend(
        ["c", "b"]
            .iter()
            .filter_map(|kind| allow(kind, -1, -1, "m")),
    );
    let usual = [
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 1),
        (5, 2),
        (136, -1),
    ];
    rules.extend(
        usual
            .iter()
            .filter_map(|&(major, minor)| allow("c", major, minor, "rwm")),
    );
    rules
}

/// Mounts what can be mounted before the container is.
fn prepare(
    dir: &Path,
    record: &Record,
    spec: Spec,
    mounts: &Mounts,
    hierarchies: &Hierarchies,
    user: Option<&UserNamespace>,
) -> Result<Adapted> {
    let target = &record.rootfs;
    // Owners are as they should be on the disk already: that is the caller's part.
    rootfs::mount_rootfs(&Rootfs::Directory(target.clone()), target, None, None)?;
    let mut adapted = adapt(spec, target, hierarchies)?;
    let root = rootfs::open_root(target)?;
    let in_root = |work: &dyn Fn() -> Result<(), StartError>| match user {
        None => work(),
        Some(user) => user.as_root(work),
    };
    // What is missing on a read-only filesystem may not be needed.
    if let Err(error @ StartError::HostileImage { .. }) = rootfs::check_image(root.as_fd()) {
        return Err(error.into());
    }
    in_root(&|| {
        rootfs::create_working_directory(root.as_fd(), adapted.process.cwd())?;
        mounts.mount_dev(root.as_fd(), &adapted.spec)
    })?;
    if let Some(user) = user.filter(|_| mounts.has_dev()) {
        user.make_devices(&mut adapted.spec, root.as_fd())?;
    }
    mounts.make_early(root.as_fd())?;
    write(dir, "config.json", &adapted.spec)?;
    Ok(adapted)
}

/// Puts into the configuration what makes libcontainer run the hooks.
fn give_hooks(
    adapted: &Adapted,
    hooks: &Hooks,
    record: &Record,
    host_mounts: &OwnedFd,
    dir: &Path,
) -> Result<Option<Orders>> {
    let state = state_of(
        &record.id,
        Status::Creating,
        0,
        &record.bundle,
        &record.annotations,
    );
    #[allow(deprecated)] // Docker's network is made by one.
    let prestart = Round::new("prestart", hooks.prestart().as_ref(), &state);
    let runtime = Round::new("createRuntime", hooks.create_runtime().as_ref(), &state);
    let container = Round::new("createContainer", hooks.create_container().as_ref(), &state);
    if prestart.is_none() && runtime.is_none() && container.is_none() {
        return Ok(None);
    }
    let failed = |e| Error::system("memfd_create", e);
    let mut orders = Orders::new(host_mounts).map_err(failed)?;
    let outside = prestart.into_iter().chain(runtime).collect();
    let outside = orders.hook(outside, true).map_err(failed)?;
    let inside = orders
        .hook(container.into_iter().collect(), false)
        .map_err(failed)?;
    let mut given = Hooks::default();
    given
        .set_create_runtime(outside)
        .set_create_container(inside);
    let mut spec = adapted.spec.clone();
    spec.set_hooks(Some(given));
    write(dir, "config.json", &spec)?;
    Ok(Some(orders))
}

fn make_fifo(dir: &Path) -> Result<OwnedFd> {
    let path = dir.join(FIFO);
    nix::unistd::mkfifo(&path, NixMode::S_IRUSR | NixMode::S_IWUSR)
        .map_err(|e| Error::file("create", &path, e))?;
    rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::file("open", &path, e))
}

/// The size that a process's terminal is to have at first.
pub(super) fn console_size(process: &Process) -> Option<WindowSize> {
    let size = process.console_size()?;
    Some(WindowSize {
        rows: u16::try_from(size.height()).ok()?,
        cols: u16::try_from(size.width()).ok()?,
    })
}

pub(super) fn write(dir: &Path, name: &str, value: &impl serde::Serialize) -> Result<()> {
    crate::state::save(&dir.join(name), value)
}
