//! Containers made by another program, one with the command line of an OCI runtime (runc's).
//!
//! The root filesystem is mounted here as ever, in the monitor's mount namespace; the program is given a bundle and does
//! the rest. What it starts becomes the monitor's child when it ends, for the monitor is made a subreaper.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, umount2};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources, Process, RootBuilder, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::adapt::{Adapted, limits};
use super::mounts;
use super::process::reset_signals;
use super::rootfs;
use super::runtime::{Console, ContainerRuntime, NewProcess, ProcessStdio};
use super::user::UserNamespace;
use crate::cgroup::{Cgroup, CgroupDriver, Hierarchies, fit};
use crate::client::set_window_size;
use crate::error::StartError;
use crate::seccomp;
use crate::spec::{ForeignRuntime, Launch, SeccompPolicy, WindowSize};

/// What a descriptor of ours is called in a specification of the engine's.
const OWN: &str = "/proc/self/fd/";

fn failed(step: impl Into<String>, error: impl Into<io::Error>) -> StartError {
    StartError::Rootfs {
        step: step.into(),
        reason: error.into().to_string(),
    }
}

/// Mounts the root filesystem, in the monitor's mount namespace, and writes the bundle's configuration for the program.
pub(super) fn prepare(
    launch: &Launch,
    mut spec: Spec,
    sources: Vec<Source>,
    hierarchies: &Hierarchies,
    user: Option<&UserNamespace>,
) -> Result<Adapted, StartError> {
    let missing = |what: &str| StartError::Config {
        reason: format!("{what} is missing"),
    };
    let process = spec.process().clone().ok_or_else(|| missing("process"))?;
    if let Hierarchies::V1 { .. } = hierarchies {
        hide_second_hierarchy();
    }
    let target = rootfs::mount_point(&launch.state_dir, user);
    let label = spec
        .linux()
        .as_ref()
        .and_then(|l| l.mount_label().as_deref());
    rootfs::mount_rootfs(&launch.rootfs, &target, user, label)?;
    let root = rootfs::open_root(&target)?;
    rootfs::prepare(root.as_fd(), process.cwd(), &launch.copy_up, user)?;

    let (clamped, mut warnings) = limits(&process);
    let mut given = process.clone();
    given.set_rlimits(Some(clamped)).set_oom_score_adj(None);
    spec.set_process(Some(given));
    let read_only = spec.root().as_ref().and_then(|root| root.readonly());
    let root = RootBuilder::default()
        .path(target)
        .readonly(read_only.unwrap_or(false));
    spec.set_root(root.build().ok());
    attach_sources(&mut spec, sources, &launch.state_dir)?;
    simplify_files(&mut spec);

    let mut linux = spec.linux().clone().ok_or_else(|| missing("linux"))?;
    let bounding = process.capabilities().as_ref();
    let bounding = bounding.and_then(|sets| sets.bounding().clone());
    linux.set_seccomp(match &launch.seccomp {
        SeccompPolicy::Unconfined => None,
        SeccompPolicy::Default => Some(seccomp::default_profile(&bounding.unwrap_or_default())),
        SeccompPolicy::Custom(profile) => Some(profile.as_ref().clone()),
    });
    let propagates = |wanted: &str| {
        let mut words = spec
            .mounts()
            .iter()
            .flatten()
            .flat_map(|m| m.options().iter().flatten());
        words.any(|word| word.trim_start_matches('r') == wanted)
    };
    // As Docker does: crun makes all private otherwise, and what comes later on the host would not be seen.
    if propagates("shared") {
        linux.set_rootfs_propagation(Some("shared".to_owned()));
    } else if propagates("slave") {
        linux.set_rootfs_propagation(Some("rslave".to_owned()));
    }
    if let Some(mut resources) = linux.resources().clone() {
        resources.set_devices(device_rules(&resources));
        warnings.extend(fit(&mut resources, hierarchies));
        linux.set_resources(Some(resources));
    }
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    for namespace in &mut namespaces {
        let seen = namespace.path().as_deref().and_then(from_outside);
        if seen.is_some() {
            namespace.set_path(seen);
        }
    }
    linux.set_namespaces(Some(namespaces));
    spec.set_linux(Some(linux));

    let path = launch.state_dir.join("config.json");
    let json = serde_json::to_vec(&spec).map_err(|e| StartError::Config {
        reason: e.to_string(),
    })?;
    fs::write(&path, json).map_err(|e| failed(format!("write {}", path.display()), e))?;
    let oom_score_adj = process.oom_score_adj();
    Ok(Adapted {
        spec,
        process,
        oom_score_adj,
        late_limits: None,
        device_rules: Vec::new(),
        warnings,
    })
}

/// Nothing is mounted below a file: crun 1.8 fails where one is to be read-only with all that is below it.
fn simplify_files(spec: &mut Spec) {
    let mut list = spec.mounts().clone().unwrap_or_default();
    for mount in &mut list {
        let source = mount.source().as_ref();
        if source.is_some_and(|source| source.exists() && !source.is_dir()) {
            let mut options = mount.options().clone().unwrap_or_default();
            options.retain(|option| option != "rro");
            mount.set_options(Some(options));
        }
    }
    spec.set_mounts(Some(list));
}

/// A host with cgroup v1 may have the v2 hierarchy beside, which nothing of ours is in: crun refuses to work where it
/// sees it. It is taken out of the monitor's mount namespace alone.
fn hide_second_hierarchy() {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let second = table.lines().filter(|line| line.contains(" - cgroup2 "));
    for place in second.filter_map(|line| line.split(' ').nth(4)) {
        // If it stays the program will say what it thinks of that.
        let _ = umount2(place, MntFlags::MNT_DETACH);
    }
}

/// Without what forbids single devices: that is forbidden already unless it is allowed, and runc cannot take a part of a
/// wildcard back on cgroup v1.
fn device_rules(resources: &LinuxResources) -> Option<Vec<LinuxDeviceCgroup>> {
    let rules = resources.devices().clone()?;
    let narrow = |rule: &LinuxDeviceCgroup| rule.major().is_some() || rule.minor().is_some();
    Some(
        rules
            .into_iter()
            .filter(|rule| rule.allow() || !narrow(rule))
            .collect(),
    )
}

/// A descriptor of ours as another process finds it.
fn from_outside(path: &Path) -> Option<PathBuf> {
    let number = path.to_str()?.strip_prefix(OWN)?;
    let own = std::process::id();
    Some(PathBuf::from(format!("/proc/{own}/fd/{number}")))
}

/// A mount's number in the list, and a copy of what it shows that is attached nowhere.
pub(super) type Source = (usize, OwnedFd);

/// Copies what mounts show that the launcher handed over. Call in the host's mount namespace: what is part of that can be
/// copied nowhere else.
pub(super) fn take_sources(spec: &Spec) -> Result<Vec<Source>, StartError> {
    let mut taken = Vec::new();
    for (number, mount) in spec.mounts().iter().flatten().enumerate() {
        let source = mount.source().as_ref().and_then(|path| path.to_str());
        let Some(fd) = source.and_then(|path| path.strip_prefix(OWN)?.parse().ok()) else {
            continue;
        };
        // SAFETY: the launcher handed it over, and it stays open until the container has ended.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let copy = match mounts::copy(fd, Path::new(""), true) {
            // A mount that is attached nowhere, and so nobody else's, need not be copied.
            Err(Errno::INVAL) => rustix::io::fcntl_dupfd_cloexec(fd, 0),
            copied => copied,
        };
        let place = || format!("mount {}", mount.destination().display());
        taken.push((number, copy.map_err(|e| failed(place(), e))?));
    }
    Ok(taken)
}

/// Attaches them where the program finds them, in the monitor's mount namespace.
fn attach_sources(
    spec: &mut Spec,
    sources: Vec<Source>,
    state_dir: &Path,
) -> Result<(), StartError> {
    let mut list = spec.mounts().clone().unwrap_or_default();
    for (number, copy) in sources {
        let place = state_dir.join("mounts").join(number.to_string());
        attach(copy, &place).map_err(|e| failed(format!("mount {}", place.display()), e))?;
        if let Some(mount) = list.get_mut(number) {
            mount.set_source(Some(place));
        }
    }
    spec.set_mounts(Some(list));
    Ok(())
}

fn attach(copy: OwnedFd, place: &Path) -> io::Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&copy)?.st_mode);
    if kind.is_dir() {
        fs::create_dir_all(place)?;
    } else {
        fs::create_dir_all(place.parent().unwrap_or(place))?;
        fs::File::create(place)?;
    }
    let target = rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(mounts::attach(copy.as_fd(), target.as_fd())?)
}

/// [`ContainerRuntime`] on another program.
pub(super) struct Foreign {
    program: ForeignRuntime,
    id: String,
    state_dir: PathBuf,
    systemd: bool,
    cgroup: Cgroup,
    resources: LinuxResources,
    command: String,
    /// Whether there is something to be deleted.
    exists: bool,
}

impl Foreign {
    /// For the container whose bundle is `state_dir`.
    pub(super) fn new(
        program: &ForeignRuntime,
        launch: &Launch,
        cgroup: Cgroup,
        spec: &Spec,
    ) -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let linux = spec.linux().as_ref();
        Ok(Self {
            program: program.clone(),
            id: launch.id.clone(),
            state_dir: launch.state_dir.clone(),
            systemd: launch.cgroup == CgroupDriver::Systemd,
            cgroup,
            resources: linux
                .and_then(|linux| linux.resources().clone())
                .unwrap_or_default(),
            command: String::new(),
            exists: false,
        })
    }

    /// Runs the program with these words and streams until it ends; what it has to say if it fails.
    fn call(&self, words: &[&OsStr], stdio: Option<&ProcessStdio>) -> Result<(), StartError> {
        let log = self.state_dir.join("runtime.log");
        let _ = fs::remove_file(&log);
        let mut command = Command::new(&self.program.path);
        command
            .arg("--root")
            .arg(self.state_dir.join("runtime"))
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json"])
            .args(self.systemd.then_some("--systemd-cgroup"))
            .args(&self.program.args)
            .args(words)
            .env("PATH", crate::defaults::PATH);
        set_streams(&mut command, stdio).map_err(|e| self.broken(&e.to_string()))?;
        // SAFETY: only system calls on integers between fork and exec.
        unsafe {
            command.pre_exec(|| {
                reset_signals();
                Ok(())
            });
        }
        let status = command.status().map_err(|e| self.broken(&e.to_string()))?;
        match status.success() {
            true => Ok(()),
            false => Err(self.explain(&fs::read_to_string(&log).unwrap_or_default())),
        }
    }

    fn broken(&self, reason: &str) -> StartError {
        StartError::Init {
            reason: format!("runtime {}: {reason}", self.program.path.display()),
        }
    }

    /// The last error in the program's log, and what Docker makes of such words.
    fn explain(&self, log: &str) -> StartError {
        let message = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let error = line["level"] != "warning" && line["level"] != "debug";
            error.then(|| line["msg"].as_str().map(str::to_owned))?
        };
        let told = log.lines().rev().find_map(message);
        let reason = told.unwrap_or_else(|| "it failed without a word".to_owned());
        let command = self.command.clone();
        let lower = reason.to_lowercase();
        let about_it = !command.is_empty() && reason.contains(command.as_str());
        if lower.contains("executable file") && lower.contains("not found") {
            let reason = "executable file not found in $PATH".to_owned();
            return StartError::NotFound { command, reason };
        }
        if about_it && lower.contains("no such file or directory") {
            let reason = "no such file or directory".to_owned();
            return StartError::NotFound { command, reason };
        }
        if about_it && lower.contains("permission denied") {
            let reason = "permission denied".to_owned();
            return StartError::NotExecutable { command, reason };
        }
        self.broken(&reason)
    }

    /// Makes a process with one call: its pid, and its terminal.
    fn make(
        &mut self,
        process: &Process,
        words: &[&OsStr],
        stdio: &ProcessStdio,
    ) -> Result<NewProcess, StartError> {
        let command = process.args().as_ref().and_then(|args| args.first());
        self.command = command.cloned().unwrap_or_default();
        let pid_file = self.state_dir.join("runtime.pid");
        let _ = fs::remove_file(&pid_file);
        let mut words = words.to_vec();
        words.extend([OsStr::new("--pid-file"), pid_file.as_os_str()]);
        let size = stdio.terminal();
        let console = match size {
            Some(_) => Some(Console::listen(&self.state_dir)?),
            None => None,
        };
        if let Some(console) = &console {
            words.extend([OsStr::new("--console-socket"), console.path.as_os_str()]);
        }
        words.push(OsStr::new(&self.id));
        self.call(&words, Some(stdio))?;
        let pid = fs::read_to_string(&pid_file).ok();
        let pid: Option<i32> = pid.and_then(|text| text.trim().parse().ok());
        let pid = pid.ok_or_else(|| self.broken("it has written no pid"))?;
        let pty = console.map(Console::receive).transpose()?;
        if let (Some(pty), Some(size)) = (&pty, size.filter(|size| *size != WindowSize::default()))
        {
            // A size is not worth failing for.
            let _ = set_window_size(pty.as_fd(), size);
        }
        self.cgroup
            .adopt(pid, &self.resources)
            .map_err(|e| StartError::Cgroup {
                reason: e.to_string(),
            })?;
        Ok(NewProcess { pid, pty })
    }

    fn delete(&mut self) {
        if std::mem::take(&mut self.exists) {
            // What it leaves goes with our namespaces and with the cgroup.
            let _ = self.call(&["delete", "--force", &self.id].map(OsStr::new), None);
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.delete();
    }
}

impl ContainerRuntime for Foreign {
    fn create(&mut self, process: &Process, stdio: ProcessStdio) -> Result<NewProcess, StartError> {
        self.exists = true;
        let bundle = self.state_dir.clone();
        let words = [
            OsStr::new("create"),
            OsStr::new("--bundle"),
            bundle.as_os_str(),
        ];
        self.make(process, &words, &stdio)
    }

    fn start(&mut self) -> Result<(), StartError> {
        self.call(&["start", &self.id].map(OsStr::new), None)
    }

    fn exec(&mut self, process: &Process, stdio: ProcessStdio) -> Result<NewProcess, StartError> {
        let description = super::runtime::in_memory(process)?;
        let path = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            description.as_raw_fd()
        );
        let words = ["exec", "--detach", "--process", &path].map(OsStr::new);
        self.make(process, &words, &stdio)
    }

    fn ended(&mut self) {
        self.delete();
    }
}

fn set_streams(command: &mut Command, stdio: Option<&ProcessStdio>) -> io::Result<()> {
    let given = |fd: &OwnedFd| -> io::Result<Stdio> { Ok(fd.try_clone()?.into()) };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(ProcessStdio::Files {
        stdin,
        stdout,
        stderr,
    }) = stdio
    {
        command.stdout(given(stdout)?).stderr(given(stderr)?);
        if let Some(stdin) = stdin {
            command.stdin(given(stdin)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_named_as_others_find_them() {
        let own = std::process::id();
        let seen = from_outside(Path::new("/proc/self/fd/6")).unwrap();
        assert_eq!(seen, PathBuf::from(format!("/proc/{own}/fd/6")));
        assert_eq!(from_outside(Path::new("/proc/1/ns/net")), None);
    }

    #[test]
    fn what_a_runtime_says_is_told_as_docker_tells_it() {
        let foreign = Foreign {
            program: ForeignRuntime {
                path: "/bin/x".into(),
                args: Vec::new(),
            },
            id: "a".to_owned(),
            state_dir: PathBuf::new(),
            systemd: false,
            cgroup: Cgroup::open(CgroupDriver::Cgroupfs, Path::new("/rctr/none")).unwrap(),
            resources: LinuxResources::default(),
            command: "nosuch".to_owned(),
            exists: false,
        };
        let explain = |line: serde_json::Value| foreign.explain(&format!("{line}\n"));
        let line = |msg: &str| serde_json::json!({"level": "error", "msg": msg});
        for words in [
            "exec: \"nosuch\": executable file not found in $PATH",
            "executable file `nosuch` not found in $PATH: No such file or directory",
        ] {
            let error = explain(line(words));
            assert!(matches!(error, StartError::NotFound { .. }), "{error}");
        }
        let error = explain(line("open `nosuch`: Permission denied"));
        assert!(matches!(error, StartError::NotExecutable { .. }));
        assert_eq!(
            explain(line("no luck")).to_string(),
            "runtime /bin/x: no luck"
        );
        let silent = foreign.explain("").to_string();
        assert!(silent.ends_with("without a word"), "{silent}");
    }
}
