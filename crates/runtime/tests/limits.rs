//! Cgroups of pods and containers: made, limited while they run, measured, exhausted.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxHugepageLimitBuilder, LinuxMemoryBuilder, LinuxPidsBuilder,
    LinuxResources, LinuxResourcesBuilder,
};
use rctr_runtime::cgroup::{Cgroup, CgroupDriver, Hierarchies, cgroups_path, detect_driver};
use rctr_runtime::{Error, Status};
use support::pod::await_that;
use support::{Bundle, reap};

const MIB: i64 = 1 << 20;

fn memory(limit: i64) -> LinuxResources {
    let memory = LinuxMemoryBuilder::default().limit(limit).swap(limit);
    LinuxResourcesBuilder::default()
        .memory(memory.build().unwrap())
        .build()
        .unwrap()
}

/// A pod's cgroup, removed whatever happens.
struct Pod {
    path: PathBuf,
    cgroup: Cgroup,
}

impl Pod {
    fn new(resources: &LinuxResources) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/rctr-test/pod-{}-{number}", std::process::id()));
        let cgroup = Cgroup::open(CgroupDriver::Cgroupfs, &path).unwrap();
        assert_eq!(cgroup.create(resources).unwrap(), Vec::<String>::new());
        Self { path, cgroup }
    }

    fn take_in(&self, bundle: &mut Bundle) {
        let path = self.path.join("container");
        bundle.linux(|linux| _ = linux.set_cgroups_path(Some(path)));
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all();
        self.cgroup.remove().unwrap();
        assert!(!self.cgroup.exists());
    }
}

fn read(directory: Option<PathBuf>, file: &str) -> String {
    let path = directory.unwrap().join(file);
    fs::read_to_string(path).unwrap().trim().to_owned()
}

fn stop(bundle: &Bundle, monitor: i32) {
    rctr_runtime::signal(bundle.state_dir(), libc::SIGKILL, None).unwrap();
    reap(monitor);
    bundle.assert_nothing_left();
}

#[test]
fn a_running_container_s_limits_are_changed_in_place() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.linux(|linux| {
        let mut resources = memory(64 * MIB);
        resources.set_devices(linux.resources().clone().unwrap().devices().clone());
        linux.set_resources(Some(resources));
    });
    let launched = bundle.launch();
    let cgroup = bundle.cgroup();
    let limits = || {
        let stats = cgroup.stats().unwrap();
        (
            stats.memory_limit.unwrap(),
            stats.swap_limit,
            stats.pids_limit,
        )
    };
    let swap = cgroup.stats().unwrap().swap_limit.map(|_| 0);
    assert_eq!(limits(), (64 << 20, swap, None));

    // Up, down, and up again beyond the first limit.
    for megabytes in [128, 32, 256] {
        cgroup.update(&memory(megabytes * MIB)).unwrap();
        assert_eq!(limits(), ((megabytes * MIB) as u64, swap, None));
    }
    let cpu = LinuxCpuBuilder::default()
        .quota(80_000)
        .period(100_000u64)
        .shares(102u64);
    let more = LinuxResourcesBuilder::default()
        .cpu(cpu.build().unwrap())
        .pids(LinuxPidsBuilder::default().limit(50).build().unwrap())
        .build()
        .unwrap();
    assert_eq!(cgroup.update(&more).unwrap(), Vec::<String>::new());
    assert_eq!(
        limits(),
        (256 << 20, swap, Some(50)),
        "what is not named stays"
    );
    let directory = cgroup.directory("cpu");
    if cgroup.is_v2() {
        assert_eq!(read(directory.clone(), "cpu.max"), "80000 100000");
        // As runc 1.3 and later have it, not the old straight line (4).
        assert_eq!(read(directory, "cpu.weight"), "17");
    } else {
        assert_eq!(read(directory.clone(), "cpu.cfs_quota_us"), "80000");
        assert_eq!(read(directory, "cpu.shares"), "102");
    }
    stop(&bundle, launched.monitor_pid);
    let gone = cgroup.update(&more).unwrap_err();
    assert!(matches!(gone, Error::File { .. }), "{gone}");
}

#[test]
fn a_memory_limit_below_what_is_in_use_is_refused() {
    let script =
        "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo ${#x} > /tmp/ready; sleep 1000";
    let bundle = Bundle::new(&["sh", "-c", script]);
    let launched = bundle.launch();
    let cgroup = bundle.cgroup();
    await_that("no memory used", || {
        cgroup.stats().unwrap().memory_rss > 20_000_000
    });
    let error = cgroup.update(&memory(4 * MIB)).unwrap_err();
    let Error::MemoryBelowUsage { limit, usage } = error else {
        panic!("{error}");
    };
    assert!(limit == 4 << 20 && usage > 20_000_000, "{usage}");
    assert_eq!(cgroup.stats().unwrap().memory_limit, None);
    assert!(matches!(bundle.status(), Status::Running { .. }));
    stop(&bundle, launched.monitor_pid);
}

#[test]
fn a_pod_s_cgroup_limits_its_containers_and_a_kill_is_told() {
    let pod = Pod::new(&memory(24 * MIB));
    assert_eq!(pod.cgroup.stats().unwrap().memory_limit, Some(24 << 20));
    // It is made once: another time its limits stay.
    pod.cgroup.create(&memory(48 * MIB)).unwrap();
    assert_eq!(pod.cgroup.stats().unwrap().memory_limit, Some(24 << 20));

    let mut bundle = Bundle::new(&["awk", "BEGIN { s = \"0123456789\"; while (1) s = s s }"]);
    pod.take_in(&mut bundle);
    let (_, _, code) = bundle.run();
    assert_eq!(code, 137);
    assert!(matches!(bundle.status(), Status::Exited(exit) if exit.oom_killed));
    let mut calm = Bundle::new(&["true"]);
    pod.take_in(&mut calm);
    assert_eq!(calm.run().2, 0);
    assert!(matches!(calm.status(), Status::Exited(exit) if !exit.oom_killed));
}

#[test]
fn what_a_pod_uses_is_the_sum_of_its_containers() {
    let pod = Pod::new(&LinuxResources::default());
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/file bs=1M count=8 2>/dev/null; echo done > /tmp/ready; sleep 1000 & wait";
    let mut bundle = Bundle::new(&["sh", "-c", script]);
    pod.take_in(&mut bundle);
    let launched = bundle.launch();
    let ready = bundle.dir.path().join("upper/tmp/ready");
    await_that("not ready", || Path::new(&ready).exists());
    await_that("no processes", || pod.cgroup.process_count().unwrap() == 2);
    // Some counters come a second or two late.
    await_that("nothing measured", || {
        let stats = pod.cgroup.stats().unwrap();
        stats.memory_cache >= 8 << 20 && stats.memory_rss > 0 && stats.memory_page_faults > 0
    });
    let stats = pod.cgroup.stats().unwrap();
    assert!(stats.cpu_nanos > 1_000_000, "{stats:?}");
    assert!(stats.memory_bytes > 8 << 20, "{stats:?}");
    assert_eq!(
        stats.memory_working_set,
        stats.memory_bytes - stats.memory_inactive_file
    );
    assert!(stats.memory_working_set > 0, "{stats:?}");
    assert_eq!(stats.pids, 2);
    let v2 = pod.cgroup.is_v2();
    let psi = Path::new("/proc/pressure/cpu").exists() && v2;
    assert_eq!(stats.cpu_pressure.is_some(), psi);
    assert_eq!(stats.memory_pressure.is_some(), psi);
    assert_eq!(stats.io_pressure.is_some(), psi);
    stop(&bundle, launched.monitor_pid);
    assert!(pod.cgroup.exists());
}

#[test]
fn a_kubelet_s_empty_limits_of_huge_pages_are_no_obstacle() {
    let none = LinuxHugepageLimitBuilder::default()
        .page_size("2MB")
        .limit(0);
    let resources = LinuxResourcesBuilder::default()
        .hugepage_limits(vec![none.build().unwrap()])
        .build()
        .unwrap();
    let pod = Pod::new(&resources);
    pod.cgroup.update(&resources).unwrap();
    let hierarchies = Hierarchies::detect().unwrap();
    if !hierarchies.has_controller("hugetlb") {
        let some = LinuxHugepageLimitBuilder::default()
            .page_size("2MB")
            .limit(4 * MIB);
        let resources = LinuxResourcesBuilder::default()
            .hugepage_limits(vec![some.build().unwrap()])
            .build()
            .unwrap();
        let refused = pod.cgroup.update(&resources).unwrap_err();
        assert!(matches!(refused, Error::Limits { .. }), "{refused}");
    }
}

/// Where systemd makes cgroups: it must know of every limit, or takes it back when it is reloaded.
#[test]
fn systemd_has_slices_for_pods_and_keeps_limits_that_were_changed() {
    if detect_driver() != CgroupDriver::Systemd {
        return;
    }
    let slice = format!("rctrtest-pod{}.slice", std::process::id());
    let pod = Cgroup::open(CgroupDriver::Systemd, Path::new(&slice)).unwrap();
    pod.create(&memory(64 * MIB)).unwrap();
    assert_eq!(pod.stats().unwrap().memory_limit, Some(64 << 20));

    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.launch.cgroup = CgroupDriver::Systemd;
    let path = cgroups_path(CgroupDriver::Systemd, Some(&slice), &bundle.launch.id);
    bundle.linux(|linux| _ = linux.set_cgroups_path(Some(path)));
    let launched = bundle.launch();
    let cgroup = bundle.cgroup();
    let quota = LinuxCpuBuilder::default()
        .quota(50_000)
        .period(100_000u64)
        .shares(1024u64);
    let cpu = LinuxResourcesBuilder::default().cpu(quota.build().unwrap());
    cgroup.update(&cpu.build().unwrap()).unwrap();
    let shares = LinuxCpuBuilder::default().shares(102u64).build().unwrap();
    let cpu = LinuxResourcesBuilder::default().cpu(shares);
    cgroup.update(&cpu.build().unwrap()).unwrap();
    cgroup.update(&memory(32 * MIB)).unwrap();
    pod.update(&memory(48 * MIB)).unwrap();
    let reload = std::process::Command::new("systemctl")
        .arg("daemon-reload")
        .status();
    assert!(reload.unwrap().success());
    assert_eq!(cgroup.stats().unwrap().memory_limit, Some(32 << 20));
    assert_eq!(pod.stats().unwrap().memory_limit, Some(48 << 20));
    assert_eq!(read(cgroup.directory("cpu"), "cpu.max"), "50000 100000");
    assert_eq!(read(cgroup.directory("cpu"), "cpu.weight"), "17");
    assert_eq!(pod.process_count().unwrap(), 1);

    rctr_runtime::signal(bundle.state_dir(), libc::SIGKILL, None).unwrap();
    reap(launched.monitor_pid);
    pod.remove().unwrap();
    await_that("the slice stays", || !pod.exists());
}
