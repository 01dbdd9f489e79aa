//! Bundles of busybox for the tests, each in a directory of its own, cleaned up whatever happens.
#![allow(dead_code)] // Each test file uses its part.

pub mod pod;

use std::collections::HashSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::poll::{PollFd, PollFlags, poll};
use oci_spec::runtime::{
    Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxIdMapping,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResourcesBuilder, MountBuilder, Process,
    ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use rctr_runtime::cgroup::{Cgroup, CgroupDriver, cgroups_path};
use rctr_runtime::{
    AttachEvent, AttachOptions, AttachStream, Launch, LaunchError, LaunchFds, Launched, Launching,
    LogConfig, LowerDir, Rootfs, SeccompPolicy, Status, StdioConfig, defaults, status,
};

pub const EVERYTHING: AttachOptions = AttachOptions {
    stdin: true,
    stdout: true,
    stderr: true,
    settle: false,
};

/// One container's directories.
pub struct Bundle {
    pub dir: tempfile::TempDir,
    pub launch: Launch,
    pub spec: Spec,
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

impl Bundle {
    /// A busybox container that runs `args`.
    pub fn new(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("rctr-test-{}-{number}", std::process::id());
        let path = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        busybox(&path("lower"));
        let launch = Launch {
            id: id.clone(),
            bundle: path("bundle"),
            state_dir: path("state/container"),
            rootfs: Rootfs::Overlay {
                lower: vec![LowerDir {
                    path: path("lower"),
                    short: None,
                }],
                upper: path("upper"),
                work: path("work"),
                volatile: false,
            },
            log_driver: None,
            log: Some(LogConfig {
                path: dir.path().join("log"),
                max_size: 1 << 20,
                max_file: 2,
            }),
            stdio: StdioConfig::default(),
            cgroup: CgroupDriver::Cgroupfs,
            seccomp: SeccompPolicy::Default,
            copy_up: Vec::new(),
            seccomp_cache: std::env::temp_dir().join("rctr-test-seccomp"),
            exit_command: vec![],
            tethered: false,
            runtime: None,
            forward: Vec::new(),
            health: None,
            oom_command: Vec::new(),
        };
        let spec = spec(&id, args);
        Self { dir, launch, spec }
    }

    pub fn process(&mut self, change: impl FnOnce(&mut Process)) {
        let mut process = self.spec.process().clone().unwrap();
        change(&mut process);
        self.spec.set_process(Some(process));
    }

    pub fn linux(&mut self, change: impl FnOnce(&mut Linux)) {
        let mut linux = self.spec.linux().clone().unwrap();
        change(&mut linux);
        self.spec.set_linux(Some(linux));
    }

    /// A namespace by its path instead of one of its own; none for the host's.
    pub fn join(&mut self, kind: LinuxNamespaceType, path: Option<&Path>) {
        self.linux(|linux| {
            let mut namespaces = linux.namespaces().clone().unwrap_or_default();
            namespaces.retain(|n| n.typ() != kind);
            if let Some(path) = path {
                let namespace = LinuxNamespaceBuilder::default().typ(kind).path(path);
                namespaces.push(namespace.build().unwrap());
            }
            linux.set_namespaces(Some(namespaces));
        });
    }

    /// A further namespace of its own.
    pub fn own(&mut self, kind: LinuxNamespaceType) {
        self.linux(|linux| {
            let mut namespaces = linux.namespaces().clone().unwrap_or_default();
            namespaces.push(LinuxNamespaceBuilder::default().typ(kind).build().unwrap());
            linux.set_namespaces(Some(namespaces));
        });
    }

    /// Users and groups as the mount added last shows them.
    pub fn map_last_mount(&mut self, maps: &[LinuxIdMapping]) {
        let mut mounts = self.spec.mounts().clone().unwrap();
        let last = mounts.last_mut().unwrap();
        last.set_uid_mappings(Some(maps.to_vec()))
            .set_gid_mappings(Some(maps.to_vec()));
        self.spec.set_mounts(Some(mounts));
    }

    /// Shows a place of the host, instead of what is mounted there.
    pub fn bind(&mut self, source: &Path, destination: &str, options: &[&str]) {
        let mut mounts = self.spec.mounts().clone().unwrap_or_default();
        mounts.retain(|m| m.destination() != Path::new(destination));
        let mount = MountBuilder::default()
            .destination(destination)
            .typ("bind")
            .source(source)
            .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>());
        mounts.push(mount.build().unwrap());
        self.spec.set_mounts(Some(mounts));
    }

    pub fn launch_with(&self, fds: LaunchFds<'_>) -> Result<Launched, LaunchError> {
        self.begin_launch(fds)?.finish()
    }

    pub fn begin_launch(&self, fds: LaunchFds<'_>) -> Result<Launching<'_>, LaunchError> {
        let json = serde_json::to_vec(&self.spec).unwrap();
        fs::write(self.launch.bundle.join("config.json"), json).unwrap();
        let monitor = Path::new(env!("CARGO_BIN_EXE_rctr-monitor"));
        rctr_runtime::begin_launch(monitor, &self.launch, fds)
    }

    pub fn launch(&self) -> Launched {
        self.launch_with(LaunchFds::default()).unwrap()
    }

    pub fn attached(&self, attach: AttachOptions) -> Launched {
        let fds = LaunchFds {
            attach: Some(attach),
            ..LaunchFds::default()
        };
        self.launch_with(fds).unwrap()
    }

    /// Runs it to its end: output, error output, exit code.
    pub fn run(&self) -> (String, String, i32) {
        let mut launched = self.attached(EVERYTHING);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let stream = launched.attach.as_mut().unwrap();
        let code = loop {
            match stream.next_event().unwrap() {
                AttachEvent::Stdout(bytes) => out.extend(bytes),
                AttachEvent::Stderr(bytes) => err.extend(bytes),
                AttachEvent::Exit(exit) => break exit.code,
            }
        };
        reap(launched.monitor_pid);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(out), text(err), code)
    }

    pub fn fails(&self) -> (String, i32) {
        let error = self
            .launch_with(LaunchFds::default())
            .err()
            .expect("it started");
        self.assert_nothing_left();
        (error.to_string(), error.error.exit_code())
    }

    pub fn state_dir(&self) -> &Path {
        &self.launch.state_dir
    }

    pub fn status(&self) -> Status {
        status(self.state_dir()).unwrap()
    }

    pub fn cgroup(&self) -> Cgroup {
        let path = self
            .spec
            .linux()
            .as_ref()
            .unwrap()
            .cgroups_path()
            .clone()
            .unwrap();
        Cgroup::open(self.launch.cgroup, &path).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn assert_nothing_left(&self) {
        assert!(!self.cgroup().exists(), "a cgroup is left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = self.dir.path().to_str().unwrap();
        assert!(!mounts.contains(ours), "a mount is left");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let cgroup = self.cgroup();
        if cgroup.exists() {
            let _ = cgroup.kill_all();
            let _ = cgroup.remove();
        }
    }
}

/// Waits for a monitor we started.
pub fn reap(pid: i32) {
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
}

fn busybox(root: &Path) {
    let bin = root.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for name in ["tmp", "etc", "root"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for applet in [
        "sh", "true", "false", "cat", "echo", "sleep", "id", "ls", "stty", "kill", "env", "pwd",
        "tail", "head", "dd", "seq", "yes", "hostname", "grep", "mount", "ps", "touch", "readlink",
        "trap", "awk", "printf", "stat", "sync", "tty", "setsid", "rm", "mv", "umount", "mkdir",
        "wc", "tr", "mknod",
    ] {
        symlink("busybox", bin.join(applet)).unwrap();
    }
}

fn spec(id: &str, args: &[&str]) -> Spec {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let namespaces = [Mount, Pid, Ipc, Uts, Cgroup, Network]
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build().unwrap());
    let resources = LinuxResourcesBuilder::default()
        .devices(defaults::device_rules())
        .build()
        .unwrap();
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(cgroups_path(CgroupDriver::Cgroupfs, Some("rctr-test"), id))
        .masked_paths(defaults::masked_paths())
        .readonly_paths(defaults::readonly_paths())
        .resources(resources)
        .build()
        .unwrap();
    SpecBuilder::default()
        .hostname("box")
        .root(
            RootBuilder::default()
                .path("rootfs")
                .readonly(false)
                .build()
                .unwrap(),
        )
        .mounts(defaults::mounts(64 << 20, false))
        .process(process(args))
        .linux(linux)
        .build()
        .unwrap()
}

/// A process with Docker's capabilities.
pub fn process(args: &[&str]) -> Process {
    let caps = defaults::capabilities();
    let none = HashSet::<Capability>::new();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(caps.clone())
        .effective(caps.clone())
        .permitted(caps)
        .inheritable(none.clone())
        .ambient(none)
        .build()
        .unwrap();
    let mut process = ProcessBuilder::default()
        .args(args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
        .env(vec![
            format!("PATH={}", defaults::PATH),
            "HOME=/root".to_owned(),
        ])
        .cwd(PathBuf::from("/"))
        .user(UserBuilder::default().uid(0u32).gid(0u32).build().unwrap())
        .capabilities(capabilities)
        .build()
        .unwrap();
    process.set_no_new_privileges(None).set_rlimits(None);
    process
}

/// Reads an attach stream until its output contains `text`.
pub fn read_until(stream: &mut AttachStream, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let Some(event) = stream.try_next().unwrap() else {
            let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, 60_000u16).unwrap();
            assert_eq!(ready, 1, "waited for {text:?}, saw {seen:?}");
            continue;
        };
        match event {
            AttachEvent::Stdout(bytes) | AttachEvent::Stderr(bytes) => {
                seen.push_str(&String::from_utf8_lossy(&bytes));
            }
            AttachEvent::Exit(exit) => panic!("ended with {exit:?} after {seen:?}"),
        }
    }
    seen
}
