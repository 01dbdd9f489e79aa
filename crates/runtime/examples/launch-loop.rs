//! Measures how long a container takes: `launch-loop MONITOR ROUNDS PAUSE_MS [STATE_ROOT]`.
//!
//! Makes a busybox bundle without a network, runs /bin/true in it, and prints the median time until the program
//! runs and until its end is known, in milliseconds.

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::{
    LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxResourcesBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use rctr_runtime::cgroup::{CgroupDriver, cgroups_path};
use rctr_runtime::{
    AttachEvent, AttachOptions, Launch, LaunchFds, LogConfig, LowerDir, Rootfs, SeccompPolicy,
    StdioConfig, defaults,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, monitor, rounds, pause, rest @ ..] = arguments.as_slice() else {
        return Err("usage: launch-loop MONITOR ROUNDS PAUSE_MS [STATE_ROOT]".into());
    };
    let rounds: usize = rounds.parse()?;
    let pause = Duration::from_millis(pause.parse()?);
    let base = tempfile::tempdir()?;
    let state = match rest {
        [root, ..] => PathBuf::from(root),
        [] => base.path().join("state"),
    };
    let lower = base.path().join("lower");
    fs::create_dir_all(lower.join("bin"))?;
    fs::copy("/bin/busybox", lower.join("bin/true"))?;

    let (mut started, mut ended) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        std::thread::sleep(pause);
        let launch = prepare(base.path(), &state, round)?;
        let fds = LaunchFds {
            attach: Some(AttachOptions {
                stdout: true,
                stderr: true,
                ..AttachOptions::default()
            }),
            ..LaunchFds::default()
        };
        let begin = Instant::now();
        let launched = rctr_runtime::launch(Path::new(monitor), &launch, fds)?;
        started.push(begin.elapsed());
        let mut stream = launched.attach.ok_or("no stream")?;
        while !matches!(stream.next_event()?, AttachEvent::Exit(_)) {}
        ended.push(begin.elapsed());
        drop(stream);
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(launched.monitor_pid), None)?;
        fs::remove_dir_all(&launch.state_dir)?;
    }
    println!(
        "started {:.2} ms, ended {:.2} ms",
        median(started),
        median(ended)
    );
    Ok(())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn prepare(base: &Path, state: &Path, round: usize) -> Result<Launch, Box<dyn Error>> {
    let id = format!("loop-{}-{round}", std::process::id());
    let directory = |name: &str| -> std::io::Result<PathBuf> {
        let path = base.join(&id).join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    };
    let launch = Launch {
        id: id.clone(),
        bundle: directory("bundle")?,
        state_dir: state.join(&id),
        rootfs: Rootfs::Overlay {
            lower: vec![LowerDir {
                path: base.join("lower"),
                short: None,
            }],
            upper: directory("upper")?,
            work: directory("work")?,
            volatile: false,
        },
        copy_up: Vec::new(),
        log_driver: None,
        log: Some(LogConfig {
            path: directory("bundle")?.join("log"),
            max_size: 10 << 20,
            max_file: 3,
        }),
        stdio: StdioConfig::default(),
        cgroup: CgroupDriver::Cgroupfs,
        seccomp: SeccompPolicy::Default,
        seccomp_cache: base.join("seccomp"),
        exit_command: Vec::new(),
        tethered: false,
        runtime: None,
        forward: Vec::new(),
        health: None,
        oom_command: Vec::new(),
    };
    fs::create_dir_all(&launch.state_dir)?;
    fs::write(
        launch.bundle.join("config.json"),
        serde_json::to_vec(&spec(&id)?)?,
    )?;
    Ok(launch)
}

fn spec(id: &str) -> Result<Spec, Box<dyn Error>> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Pid, Uts};
    let namespaces = [Mount, Pid, Ipc, Uts, Cgroup]
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    let caps = defaults::capabilities();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(caps.clone())
        .effective(caps.clone())
        .permitted(caps)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?;
    let mut process = ProcessBuilder::default()
        .args(vec!["/bin/true".to_owned()])
        .env(vec!["HOME=/root".to_owned()])
        .cwd("/")
        .user(UserBuilder::default().uid(0u32).gid(0u32).build()?)
        .capabilities(capabilities)
        .build()?;
    process.set_no_new_privileges(None).set_rlimits(None);
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(cgroups_path(CgroupDriver::Cgroupfs, Some("rctr-bench"), id))
        .masked_paths(defaults::masked_paths())
        .readonly_paths(defaults::readonly_paths())
        .resources(
            LinuxResourcesBuilder::default()
                .devices(defaults::device_rules())
                .build()?,
        )
        .build()?;
    Ok(SpecBuilder::default()
        .hostname("box")
        .root(
            RootBuilder::default()
                .path("rootfs")
                .readonly(false)
                .build()?,
        )
        .mounts(defaults::mounts(64 << 20, false))
        .process(process)
        .linux(linux)
        .build()?)
}
