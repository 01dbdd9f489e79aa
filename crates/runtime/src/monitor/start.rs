//! Bringing a container up.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::adapt::{Adapted, adapt, set_oom_score};
use super::foreign::{self, Foreign};
use super::input::Input;
use super::mounts::Mounts;
use super::pinned::Pinned;
use super::process::{join_keyring, label_failed};
use super::rootfs;
use super::runtime::{ContainerRuntime, Libcontainer, ProcessStdio};
use super::supervise::{Checker, Container, Forward, Output};
use super::user::UserNamespace;
use crate::cgroup::{Cgroup, CgroupDriver, Hierarchies, OomWatch, attach_device_filter};
use crate::client::terminal_peer;
use crate::error::StartError;
use crate::launch::{Handover, adopt};
use crate::logs::{LogWriter, Stream};
use crate::spec::{Launch, LaunchFds, StdioConfig};
use crate::state::{EXIT_FILE, ProcessId, SOCKET_FILE, STATE_FILE, State};
use crate::{rootless, seccomp, selinux};

/// A container that did not come up, after everything of it has been removed.
pub(super) struct Failure {
    pub error: StartError,
    pub warnings: Vec<String>,
}

fn monitor_failed(step: &str, error: impl ToString) -> StartError {
    StartError::Monitor {
        step: step.to_owned(),
        reason: error.to_string(),
    }
}

/// Brings the container up, up to and including its program's execve, for which the launcher gives the word.
pub(super) fn start(
    handover: &Handover,
    launcher: &UnixStream,
) -> Result<(Container, Vec<String>), Failure> {
    // Everything forked until then holds it too, so nobody else takes the container for abandoned before that is so.
    let _lock = handover
        .lock
        // SAFETY: the launcher put this descriptor there for us, and this is the only place that takes it.
        .then(|| unsafe { adopt(LaunchFds::FIRST + handover.inherited as RawFd) });
    let mut warnings = Vec::new();
    match bring_up(handover, launcher, &mut warnings) {
        Ok(container) => Ok((container, warnings)),
        Err(error) => {
            tidy(&handover.launch);
            Err(Failure { error, warnings })
        }
    }
}

fn bring_up(
    handover: &Handover,
    launcher: &UnixStream,
    warnings: &mut Vec<String>,
) -> Result<Container, StartError> {
    let launch = &handover.launch;
    let inherited = inherited(handover.inherited);
    let mut spec = load_spec(launch)?;
    let sees_network = launch.runtime.is_some() || sees_network(&spec);
    let cgroup_path = cgroup_path(&spec)?;
    let mut state = State {
        monitor: ProcessId::of(std::process::id() as i32)
            .map_err(|e| monitor_failed("read /proc/self/stat", e))?,
        container: None,
        started_at: SystemTime::now(),
        cgroup_driver: launch.cgroup,
        cgroup_path: cgroup_path.clone(),
    };
    remove_state(launch);
    // Whoever finds us dead can then clean up after us.
    save_state(&state, launch)?;

    let hierarchies = match launch.cgroup {
        CgroupDriver::None => Hierarchies::V1 { mounts: Vec::new() },
        _ => Hierarchies::detect().map_err(cgroup_failed)?,
    };
    let host_mounts = File::open("/proc/self/ns/mnt")
        .map_err(|e| monitor_failed("open the mount namespace", e))?;
    let pinned = Pinned::take_from(&mut spec, &launch.state_dir)?;
    let user = UserNamespace::take_from(&mut spec)?;
    let cgroup = Cgroup::within(hierarchies.clone(), launch.cgroup, &cgroup_path);
    let cgroup = cgroup.map_err(cgroup_failed)?;
    let label = spec
        .process()
        .as_ref()
        .and_then(|process| process.selinux_label().as_deref())
        .filter(|label| !label.is_empty());
    let joined = selinux::with_keys(label, || join_keyring(None)).map_err(|e| {
        let errno = e.raw_os_error().unwrap_or(libc::EIO);
        label_failed(label.unwrap_or_default(), errno)
    })?;
    if let Err(error) = joined {
        warnings.push(format!(
            "the container has its caller's session keyring: no other can be made: {error}"
        ));
    }
    if sees_network {
        await_word(launcher)?;
    }
    let (adapted, mut runtime): (_, Box<dyn ContainerRuntime>) = match &launch.runtime {
        None => built_in(launch, spec, &cgroup, &hierarchies, user.as_ref())?,
        Some(program) => {
            let sources = foreign::take_sources(&spec)?;
            rootfs::enter_private_namespace()?;
            let adapted = foreign::prepare(launch, spec, sources, &hierarchies, user.as_ref())?;
            let runtime = Foreign::new(program, launch, cgroup.clone(), &adapted.spec)
                .map_err(|e| monitor_failed("become a subreaper", e))?;
            (adapted, Box::new(runtime))
        }
    };
    warnings.extend(adapted.warnings.iter().cloned());

    let log = open_log(launch)?;
    let forward = launch.log_driver.clone().map(Forward::new).transpose();
    let forward = forward.map_err(|e| monitor_failed("make a pipe", e))?;
    let listener = listen(launch)?;
    let (stdio, mut streams) = make_stdio(launch.stdio)?;
    if let Some(user) = &user {
        stdio.own(user);
    }
    let created = runtime.create(&adapted.process, stdio)?;
    let unsettled = Unsettled(created.pid);
    let pods = pinned.close();
    if let Some(pty) = created.pty {
        streams = Streams::of_terminal(pty)?;
    }

    if let Some(score) = adapted.oom_score_adj {
        warnings.extend(set_oom_score(created.pid, score));
    }
    // Only the machine's root may load one; another's devices are protected by their owners and modes.
    if cgroup.is_v2() && rootless::in_initial_namespace() {
        attach_device_filter(&cgroup, &adapted.device_rules).map_err(cgroup_failed)?;
    }
    if let Some(limits) = &adapted.late_limits {
        warnings.extend(cgroup.update(limits).map_err(cgroup_failed)?);
    }
    let oom = OomWatch::new(&cgroup);
    state.started_at = SystemTime::now();
    state.container = Some(
        ProcessId::of(created.pid).map_err(|e| monitor_failed("find the container's init", e))?,
    );
    if !sees_network {
        await_word(launcher)?;
    }
    runtime.start()?;
    save_state(&state, launch)?;
    std::mem::forget(unsettled);
    Ok(Container {
        pid: created.pid,
        started_at: state.started_at,
        started: Instant::now(),
        own_pid_namespace: has_own_namespace(&adapted.spec, LinuxNamespaceType::Pid),
        state_dir: launch.state_dir.clone(),
        stdin_once: launch.stdio.stdin_once && launch.stdio.terminal.is_none(),
        terminal: launch.stdio.terminal.is_some(),
        exit_command: launch.exit_command.clone(),
        tethered: launch.tethered,
        runtime,
        listener,
        outputs: streams.outputs,
        input: streams.input,
        terminal_peer: streams.peer,
        log,
        forward,
        oom,
        cgroup,
        host_mounts: host_mounts.into(),
        inherited,
        forwarding: None,
        user,
        pods,
        health: launch.health.clone().map(Checker::new),
        oom_command: launch.oom_command.clone(),
    })
}

/// Whether something of a container that comes before its program may depend on the interfaces there are.
fn sees_network(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let sysctls = linux.and_then(|linux| linux.sysctl().as_ref());
    let mut names = sysctls.into_iter().flat_map(|all| all.keys());
    spec.hooks().is_some() || names.any(|name| name.starts_with("net"))
}

/// Waits until the launcher, too, has made what the program is to find.
fn await_word(mut launcher: &UnixStream) -> Result<(), StartError> {
    let heard = launcher.read_exact(&mut [0]);
    heard.map_err(|e| monitor_failed("await the launcher's word", e))
}

/// A container's first process, which ends with this: where there are no cgroups nothing else of a start that fails
/// would end it.
struct Unsettled(i32);

impl Drop for Unsettled {
    fn drop(&mut self) {
        if self.0 > 0 {
            // SAFETY: takes integers; it is our child and not yet reaped.
            unsafe { libc::kill(self.0, libc::SIGKILL) };
        }
    }
}

/// Makes the bundle for libcontainer.
fn built_in(
    launch: &Launch,
    mut spec: Spec,
    cgroup: &Cgroup,
    hierarchies: &Hierarchies,
    user: Option<&UserNamespace>,
) -> Result<(Adapted, Box<dyn ContainerRuntime>), StartError> {
    let mounts = Mounts::take_from(&mut spec, hierarchies, user)?;
    rootfs::enter_private_namespace()?;
    let adapted = prepare_bundle(launch, spec, &mounts, hierarchies, user)?;
    let program = seccomp::program(&launch.seccomp, &adapted.process, &launch.seccomp_cache)?;
    let joined = user.map(UserNamespace::joined).transpose();
    let joined = joined.map_err(|e| monitor_failed("duplicate the user namespace", e))?;
    let runtime = Libcontainer::new(&launch.state_dir, cgroup, program, joined)
        .map_err(|e| monitor_failed("set up logging", e))?
        .mounting(mounts);
    Ok((adapted, Box::new(runtime)))
}

/// Removes what a failed start has left. Mounts and namespaces go when this process ends.
fn tidy(launch: &Launch) {
    // Not from the bundle: where a builder was killed, that may be gone already.
    let state = State::load(&launch.state_dir).ok().flatten();
    let cgroup = state.map(|state| Cgroup::open(state.cgroup_driver, &state.cgroup_path));
    if let Some(Ok(cgroup)) = cgroup {
        // Nothing to be done about a failure here: the first error is the one to tell.
        let _ = cgroup.kill_all();
        while nix::sys::wait::waitpid(None, None).is_ok() {}
        let _ = cgroup.remove();
    }
    remove_state(launch);
}

/// Removes what this or an earlier run of the container has left in the state directory.
fn remove_state(launch: &Launch) {
    for name in [SOCKET_FILE, STATE_FILE, EXIT_FILE, "config.json"] {
        let _ = std::fs::remove_file(launch.state_dir.join(name));
    }
    // The mounts in the last one are in the monitor's mount namespace alone.
    for name in ["oci", "runtime", "mounts"] {
        let _ = std::fs::remove_dir_all(launch.state_dir.join(name));
    }
}

fn inherited(count: usize) -> Vec<OwnedFd> {
    (0..count as RawFd)
        // SAFETY: the launcher put these descriptors there for us, and this is the only place that takes them.
        .map(|n| unsafe { adopt(LaunchFds::FIRST + n) })
        .collect()
}

fn load_spec(launch: &Launch) -> Result<Spec, StartError> {
    let path = launch.bundle.join("config.json");
    let bytes = std::fs::read(&path).map_err(|e| StartError::Config {
        reason: format!("read {}: {e}", path.display()),
    })?;
    serde_json::from_slice(&bytes).map_err(|e| StartError::Config {
        reason: format!("{}: {e}", path.display()),
    })
}

fn cgroup_path(spec: &Spec) -> Result<std::path::PathBuf, StartError> {
    spec.linux()
        .as_ref()
        .and_then(|linux| linux.cgroups_path().clone())
        .ok_or_else(|| StartError::Config {
            reason: "linux.cgroupsPath is missing".to_owned(),
        })
}

fn cgroup_failed(error: crate::Error) -> StartError {
    StartError::Cgroup {
        reason: error.to_string(),
    }
}

fn save_state(state: &State, launch: &Launch) -> Result<(), StartError> {
    state
        .save(&launch.state_dir)
        .map_err(|e| monitor_failed("save state", e))
}

/// Mounts the root filesystem, in the monitor's mount namespace, and writes the adapted specification where libcontainer will look.
fn prepare_bundle(
    launch: &Launch,
    spec: Spec,
    mounts: &Mounts,
    hierarchies: &Hierarchies,
    user: Option<&UserNamespace>,
) -> Result<Adapted, StartError> {
    let target = rootfs::mount_point(&launch.state_dir, user);
    rootfs::mount_rootfs(&launch.rootfs, &target, user, mounts.label())?;
    let mut adapted = adapt(spec, &target, hierarchies)?;
    let root = rootfs::open_root(&target)?;
    let cwd = adapted.process.cwd();
    rootfs::prepare(root.as_fd(), cwd, &launch.copy_up, user)?;
    match user {
        None => mounts.mount_dev(root.as_fd(), &adapted.spec)?,
        Some(user) => {
            user.as_root(|| mounts.mount_dev(root.as_fd(), &adapted.spec))?;
            user.make_devices(&mut adapted.spec, root.as_fd())?;
        }
    }

    let path = launch.state_dir.join("config.json");
    let json = serde_json::to_vec(&adapted.spec).map_err(|e| monitor_failed("adapt", e))?;
    std::fs::write(&path, json)
        .map_err(|e| monitor_failed(&format!("write {}", path.display()), e))?;
    Ok(adapted)
}

fn open_log(launch: &Launch) -> Result<Option<LogWriter>, StartError> {
    let file = launch.log.clone().map(LogWriter::open).transpose();
    let file = file.map_err(|e| monitor_failed("log", e))?;
    Ok(match &launch.log_driver {
        None => file,
        Some(_) => Some(file.unwrap_or_else(LogWriter::without_file).with_copy()),
    })
}

fn listen(launch: &Launch) -> Result<UnixListener, StartError> {
    let listen = || -> io::Result<UnixListener> {
        let listener = super::bind(&launch.state_dir, SOCKET_FILE)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|e| monitor_failed("make the monitor's socket", e))
}

/// Whether a container is made with a new namespace of a kind.
pub(super) fn has_own_namespace(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    let mut namespaces = namespaces.into_iter().flatten();
    let is_new = |path: &Option<PathBuf>| path.as_ref().is_none_or(|p| p.as_os_str().is_empty());
    namespaces.any(|n| n.typ() == kind && is_new(n.path()))
}

/// The monitor's ends of the container's streams.
#[derive(Default)]
struct Streams {
    outputs: Vec<Output>,
    input: Option<Input>,
    /// The other side of a terminal.
    peer: Option<OwnedFd>,
}

impl Streams {
    fn of_terminal(pty: OwnedFd) -> Result<Self, StartError> {
        let output = pty
            .try_clone()
            .map_err(|e| monitor_failed("duplicate the terminal", e))?;
        Ok(Self {
            outputs: vec![Output::new(output, Stream::Stdout)?],
            // Where the kernel cannot give it the terminal ends with its last user.
            peer: terminal_peer(pty.as_fd()).ok(),
            input: Some(Input::new(pty)),
        })
    }
}

fn make_stdio(config: StdioConfig) -> Result<(ProcessStdio, Streams), StartError> {
    if let Some(size) = config.terminal {
        return Ok((ProcessStdio::Terminal(size), Streams::default()));
    }
    let (out_reader, stdout) = pipe()?;
    let (error_reader, stderr) = pipe()?;
    let mut streams = Streams {
        outputs: vec![
            Output::new(out_reader, Stream::Stdout)?,
            Output::new(error_reader, Stream::Stderr)?,
        ],
        ..Streams::default()
    };
    let mut stdin = None;
    if config.open_stdin {
        let (reader, writer) = pipe()?;
        set_nonblocking(&writer)?;
        stdin = Some(reader);
        streams.input = Some(Input::new(writer));
    }
    let stdio = ProcessStdio::Files {
        stdin,
        stdout,
        stderr,
    };
    Ok((stdio, streams))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), StartError> {
    pipe2(OFlag::O_CLOEXEC).map_err(|e| monitor_failed("make a pipe", e))
}

/// Also used for outputs: reading must never block the one thread there is.
pub(super) fn set_nonblocking(fd: &OwnedFd) -> Result<(), StartError> {
    rustix::io::ioctl_fionbio(fd, true).map_err(|e| monitor_failed("set a pipe non-blocking", e))
}
