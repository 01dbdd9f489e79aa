//! Limits, classes of service and pods' cgroups, in the kernel's own files: v1 or v2, made by us and by systemd.

use std::fs;
use std::path::{Path, PathBuf};

use rctr_cri::api;
use rctr_tests::cri::{Cri, Pod, limits, map, shell, text};
use rctr_tests::{Env, entries, wait_for};

/// Those that this machine has.
fn drivers() -> Vec<&'static str> {
    let systemd = Path::new("/run/systemd/system").is_dir() && is_v2();
    ["cgroupfs", "systemd"][..1 + usize::from(systemd)].to_vec()
}

fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A pod whose cgroup a kubelet has named, below that of a class of service.
fn pod(driver: &str, class: &str, resources: Option<api::LinuxContainerResources>) -> Pod {
    pod_with(driver, class, |linux| linux.resources = resources)
}

fn pod_with(
    driver: &str,
    class: &str,
    change: impl FnOnce(&mut api::LinuxPodSandboxConfig),
) -> Pod {
    let cri = Cri::over(Env::builder().cgroup_driver(driver));
    cri.pull("busybox");
    let mut config = cri.pod_config(class);
    let number = cri.env().slot().subnet().network().octets()[2];
    let linux = config.linux.as_mut().expect("linux");
    linux.cgroup_parent = match driver {
        "systemd" => format!(
            "/rctrtest{number}.slice/rctrtest{number}-{class}.slice/rctrtest{number}-{class}-pod1.slice"
        ),
        _ => format!("/rctr-test-{number}/{class}/pod1"),
    };
    change(linux);
    let id = cri.run_pod(&config);
    Pod { cri, config, id }
}

/// Removes a pod and, as a kubelet would, the cgroup of its class.
fn remove(pod: Pod, class: &str) {
    pod.cri.remove_pod(&pod.id);
    let number = pod.cri.env().slot().subnet().network().octets()[2];
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = entries(base).into_iter().map(|name| base.join(name));
    for hierarchy in hierarchies.chain([base.to_owned()]) {
        let class = hierarchy.join(format!("rctr-test-{number}/{class}"));
        if class.is_dir() {
            fs::remove_dir(&class).expect("it is empty");
        }
    }
}

fn info(pod: &Pod, id: &str) -> serde_json::Value {
    let request = api::ContainerStatusRequest {
        container_id: id.into(),
        verbose: true,
    };
    let answer = pod.cri.runtime(async |c| c.container_status(request).await);
    serde_json::from_str(&answer.expect("ContainerStatus").info["info"]).expect("JSON")
}

/// Where a container's first process is in the hierarchy of a controller.
fn cgroup(pod: &Pod, id: &str, controller: &str) -> PathBuf {
    let pid = info(pod, id)["pid"].as_i64().expect("a pid");
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let mut lines = table
        .lines()
        .map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    let base = Path::new("/sys/fs/cgroup");
    let (mount, path) = match is_v2() {
        true => (
            base.to_owned(),
            lines.find(|l| l[0] == "0").expect("v2")[2].to_owned(),
        ),
        false => {
            let has = |l: &Vec<&str>| l[1].split(',').any(|c| c == controller);
            let path = lines.find(has).expect("the controller")[2].to_owned();
            (base.join(controller), path)
        }
    };
    mount.join(path.trim_start_matches('/'))
}

fn read(dir: &Path, file: &str) -> String {
    let path = dir.join(file);
    let text = fs::read_to_string(&path);
    text.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .trim()
        .to_owned()
}

/// One value of a controller's, by the names of v1 and v2.
fn value(pod: &Pod, id: &str, controller: &str, v1: &str, v2: &str) -> String {
    read(&cgroup(pod, id, controller), if is_v2() { v2 } else { v1 })
}

/// `cpu.max` also of v1's two files.
fn cpu_max(pod: &Pod, id: &str) -> String {
    let dir = cgroup(pod, id, "cpu");
    match is_v2() {
        true => read(&dir, "cpu.max"),
        false => format!(
            "{} {}",
            read(&dir, "cpu.cfs_quota_us"),
            read(&dir, "cpu.cfs_period_us")
        ),
    }
}

/// What a kubelet makes of a container's requests and limits: millicores and bytes.
fn resources(
    request: i64,
    limit: Option<i64>,
    memory: Option<i64>,
    score: i64,
) -> api::LinuxContainerResources {
    api::LinuxContainerResources {
        cpu_shares: (request * 1024 / 1000).max(2),
        cpu_period: 100_000,
        cpu_quota: limit.unwrap_or(0) * 100,
        memory_limit_in_bytes: memory.unwrap_or(0),
        memory_swap_limit_in_bytes: memory.unwrap_or(0),
        oom_score_adj: score,
        hugepage_limits: vec![api::HugepageLimit {
            page_size: "2MB".into(),
            limit: 0,
        }],
        ..Default::default()
    }
}

fn with(name: &str, resources: api::LinuxContainerResources) -> api::ContainerConfig {
    api::ContainerConfig {
        linux: Some(limits(|l| *l = resources)),
        ..shell(name, "sleep 1000")
    }
}

#[test]
fn a_container_may_have_one_process() {
    for driver in drivers() {
        let pod = pod(driver, "single", None);
        let mut config = shell("c", "exec sleep 1000");
        // There is no other word for it, and none at all on v1.
        config.linux = Some(limits(|l| {
            if is_v2() {
                l.unified = map(&[("pids.max", "1")]);
            }
        }));
        let id = pod.run(config);
        let pids = cgroup(&pod, &id, "pids");
        if !is_v2() {
            fs::write(pids.join("pids.max"), "1").expect("a limit");
        }
        assert_eq!(read(&pids, "pids.max"), "1");
        let look = "echo in; true & wait";
        let answer = pod.cri.try_exec(&id, &["sh", "-c", look], 20);
        let answer = answer.expect("ExecSync");
        assert_eq!(text(&answer.stdout), "in\n");
        assert!(text(&answer.stderr).contains("can't fork"), "{answer:?}");
        remove(pod, "single");
    }
}

#[test]
fn requests_and_limits_of_a_course() {
    for driver in drivers() {
        // requests: 100m, 4Mi; limits: 0.8, 20Mi.
        let pod = pod(driver, "burstable", None);
        let told = pod
            .cri
            .runtime(async |c| c.runtime_config(api::RuntimeConfigRequest {}).await)
            .expect("RuntimeConfig");
        let told = told.linux.expect("linux").cgroup_driver();
        assert_eq!(told.as_str_name().to_lowercase(), driver);
        let id = pod.run(with("c", resources(100, Some(800), Some(20 << 20), 997)));
        assert_eq!(cpu_max(&pod, &id), "80000 100000", "{driver}");
        let memory = |id| value(&pod, id, "memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(memory(&id), "20971520", "{driver}");
        // 102 shares, by the kernel's newer conversion as runc 1.3 and later have it.
        let weight = value(&pod, &id, "cpu", "cpu.shares", "cpu.weight");
        assert_eq!(weight, if is_v2() { "17" } else { "102" }, "{driver}");
        if is_v2() {
            assert_eq!(value(&pod, &id, "memory", "", "memory.swap.max"), "0");
        }
        assert_eq!(pod.cri.sh(&id, "cat /proc/1/oom_score_adj"), "997");

        // In place, as a kubelet resizes it; what it does not name stays.
        let to = api::LinuxContainerResources {
            cpu_period: 20_000,
            cpu_quota: 10_000,
            memory_limit_in_bytes: 40 << 20,
            memory_swap_limit_in_bytes: 40 << 20,
            ..Default::default()
        };
        pod.cri.resize(&id, to);
        assert_eq!(cpu_max(&pod, &id), "10000 20000", "{driver}");
        assert_eq!(memory(&id), "41943040", "{driver}");
        let now = value(&pod, &id, "cpu", "cpu.shares", "cpu.weight");
        assert_eq!(now, weight, "{driver}");

        if is_v2() {
            let mut unified = resources(100, None, None, 997);
            unified.unified = map(&[("memory.high", "16777216")]);
            let id = pod.run(with("unified", unified));
            let high = value(&pod, &id, "memory", "", "memory.high");
            assert_eq!(high, "16777216", "{driver}");
        }

        let greedy = api::ContainerConfig {
            command: ["tail", "/dev/zero"].map(str::to_owned).to_vec(),
            ..with("greedy", resources(100, None, Some(20 << 20), 997))
        };
        let ended = pod.cri.wait_exit(&pod.run(greedy));
        let end = (ended.exit_code, ended.reason.as_str());
        assert_eq!(end, (137, "OOMKilled"), "{driver}");
        remove(pod, "burstable");
    }
}

#[test]
fn classes_of_service() {
    for driver in drivers() {
        // Guaranteed, burstable, best effort: a kubelet's scores and shares.
        let own: i64 = fs::read_to_string("/proc/self/oom_score_adj")
            .expect("a score")
            .trim()
            .parse()
            .expect("a number");
        for (class, request, memory, score, weight) in [
            ("guaranteed", 500, Some(64 << 20), -997, ("512", "59")),
            ("burstable", 250, None, 900, ("256", "35")),
            ("besteffort", 0, None, 1000, ("2", "1")),
        ] {
            let pod = pod(driver, class, None);
            let id = pod.run(with("c", resources(request, None, memory, score)));
            let told = value(&pod, &id, "cpu", "cpu.shares", "cpu.weight");
            let expected = if is_v2() { weight.1 } else { weight.0 };
            assert_eq!(told, expected, "{driver} {class}");
            let told = pod.cri.sh(&id, "cat /proc/1/oom_score_adj");
            // Below our own only who may lower it gets there.
            let lowest = told == own.to_string() && score < own;
            assert!(
                told == score.to_string() || lowest,
                "{driver} {class}: {told}"
            );
            // The container is in its pod's cgroup, the pod in its class's.
            let dir = cgroup(&pod, &id, "memory");
            let parents: Vec<_> = dir
                .ancestors()
                .filter_map(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()))
                .take(3)
                .collect();
            assert!(parents[0].contains(&id), "{parents:?}");
            assert!(parents[1].contains("pod1"), "{parents:?}");
            assert!(parents[2].contains(class), "{parents:?}");
            let of_pod = dir.parent().expect("the pod's").to_owned();
            remove(pod, class);
            wait_for("the pod's cgroup to go", || !of_pod.exists());
        }
    }
}

#[test]
fn a_pod_has_limits_of_its_own_and_what_running_it_costs() {
    for driver in drivers() {
        let limits = api::LinuxContainerResources {
            cpu_shares: 512,
            cpu_period: 100_000,
            cpu_quota: 50_000,
            memory_limit_in_bytes: 64 << 20,
            ..Default::default()
        };
        let pod = pod(driver, "limited", Some(limits));
        let id = pod.run(with("c", resources(100, Some(500), None, 900)));
        // A shorter period with the old quota would be more than the pod has.
        let to = api::LinuxContainerResources {
            cpu_period: 20_000,
            cpu_quota: 10_000,
            ..Default::default()
        };
        pod.cri.resize(&id, to);
        assert_eq!(cpu_max(&pod, &id), "10000 20000", "{driver}");
        let of_pod = |controller: &str| {
            let dir = cgroup(&pod, &id, controller);
            dir.parent().expect("the pod's").to_owned()
        };
        let memory = || {
            let file = if is_v2() {
                "memory.max"
            } else {
                "memory.limit_in_bytes"
            };
            read(&of_pod("memory"), file)
        };
        let cpu = || match is_v2() {
            true => read(&of_pod("cpu"), "cpu.max"),
            false => read(&of_pod("cpu"), "cpu.cfs_quota_us") + " 100000",
        };
        assert_eq!(memory(), (64 << 20).to_string(), "{driver}");
        assert_eq!(cpu(), "50000 100000", "{driver}");
        let request = api::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: pod.id.clone(),
            overhead: Some(api::LinuxContainerResources {
                memory_limit_in_bytes: 8 << 20,
                ..Default::default()
            }),
            resources: Some(api::LinuxContainerResources {
                cpu_period: 100_000,
                cpu_quota: 70_000,
                memory_limit_in_bytes: 80 << 20,
                ..Default::default()
            }),
        };
        pod.cri
            .runtime(async |c| c.update_pod_sandbox_resources(request).await)
            .expect("UpdatePodSandboxResources");
        assert_eq!(memory(), (88 << 20).to_string(), "{driver}");
        assert_eq!(cpu(), "70000 100000", "{driver}");

        // What the containers use counts for the pod.
        let stats = pod
            .cri
            .runtime(async |c| {
                c.pod_sandbox_stats(api::PodSandboxStatsRequest {
                    pod_sandbox_id: pod.id.clone(),
                })
                .await
            })
            .expect("PodSandboxStats")
            .stats
            .expect("stats");
        let linux = stats.linux.expect("linux");
        let used = linux.memory.expect("memory").usage_bytes.expect("a value");
        assert!(used.value > 0);
        assert_eq!(linux.containers.len(), 1);
        remove(pod, "limited");
    }
}

#[test]
fn pressure_and_swap_are_told_where_the_kernel_counts_them() {
    for driver in drivers() {
        let pod = pod(driver, "pressed", None);
        let id = pod.run(with("c", resources(100, Some(100), Some(64 << 20), 900)));
        let container_id = id.clone();
        let stats = pod
            .cri
            .runtime(async |c| {
                c.container_stats(api::ContainerStatsRequest { container_id })
                    .await
            })
            .expect("ContainerStats")
            .stats
            .expect("stats");
        let counted = is_v2() && Path::new("/proc/pressure/cpu").exists();
        let memory = stats.memory.expect("memory");
        let told = [
            stats.cpu.and_then(|cpu| cpu.psi),
            memory.psi,
            stats.io.and_then(|io| io.psi),
        ];
        for psi in told {
            assert_eq!(psi.is_some(), counted, "{driver}");
            if let Some(psi) = psi {
                let (some, full) = (psi.some.expect("some"), psi.full.expect("full"));
                assert!(
                    some.total >= full.total && some.avg10 <= 100.0,
                    "{driver}: {some:?} {full:?}"
                );
            }
        }
        let swap = stats.swap.expect("swap");
        assert_eq!(
            swap.swap_usage_bytes.map(|used| used.value),
            Some(0),
            "{driver}"
        );
        assert!(
            memory.rss_bytes.expect("a value").value > 0
                && memory.page_faults.expect("a value").value > 0
        );
        let of_pod = pod
            .cri
            .runtime(async |c| {
                c.list_pod_sandbox_metrics(api::ListPodSandboxMetricsRequest {})
                    .await
            })
            .expect("ListPodSandboxMetrics")
            .pod_metrics;
        let names: Vec<_> = of_pod[0].container_metrics[0]
            .metrics
            .iter()
            .map(|m| m.name.as_str())
            .collect();
        assert_eq!(
            names.contains(&"container_pressure_cpu_waiting_seconds_total"),
            counted,
            "{driver}"
        );
        assert!(
            names.contains(&"container_memory_swap"),
            "{driver}: {names:?}"
        );
        remove(pod, "pressed");
    }
}

#[test]
fn what_running_a_pod_costs_counts_from_its_start() {
    for driver in drivers() {
        let pod = pod_with(driver, "overhead", |linux| {
            linux.resources = Some(api::LinuxContainerResources {
                cpu_period: 100_000,
                cpu_quota: 50_000,
                memory_limit_in_bytes: 64 << 20,
                ..Default::default()
            });
            linux.overhead = Some(api::LinuxContainerResources {
                cpu_period: 100_000,
                cpu_quota: 25_000,
                memory_limit_in_bytes: 16 << 20,
                ..Default::default()
            });
        });
        let id = pod.run(with("c", resources(100, None, None, 900)));
        let of_pod = |controller: &str, v1: &str, v2: &str| {
            let dir = cgroup(&pod, &id, controller);
            read(
                dir.parent().expect("the pod's"),
                if is_v2() { v2 } else { v1 },
            )
        };
        let memory = of_pod("memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(memory, (80 << 20).to_string(), "{driver}");
        let cpu = of_pod("cpu", "cpu.cfs_quota_us", "cpu.max");
        assert_eq!(cpu.split(' ').next(), Some("75000"), "{driver}: {cpu}");
        remove(pod, "overhead");
    }
}

#[test]
fn processors_swap_and_huge_pages_are_those_it_was_given() {
    for driver in drivers() {
        let pod = pod(driver, "pinned", None);
        let mut given = resources(100, None, Some(64 << 20), 900);
        given.cpuset_cpus = "0".into();
        given.cpuset_mems = "0".into();
        given.memory_swap_limit_in_bytes = 96 << 20;
        let huge = is_v2() && Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists();
        if huge {
            given.hugepage_limits[0].limit = 4 << 20;
        }
        let id = pod.run(with("c", given));
        let cpus = || value(&pod, &id, "cpuset", "cpuset.cpus", "cpuset.cpus");
        assert_eq!(cpus(), "0", "{driver}");
        let mems = value(&pod, &id, "cpuset", "cpuset.mems", "cpuset.mems");
        assert_eq!(mems, "0", "{driver}");
        assert_eq!(pod.cri.sh(&id, "nproc"), "1", "{driver}");
        // v1 counts memory and swap together, where it counts swap at all; v2 swap alone.
        let dir = cgroup(&pod, &id, "memory");
        let (file, wanted) = match is_v2() {
            true => ("memory.swap.max", 32 << 20),
            false => ("memory.memsw.limit_in_bytes", 96 << 20),
        };
        if dir.join(file).exists() {
            assert_eq!(read(&dir, file), wanted.to_string(), "{driver}");
        }
        if huge {
            let limit = value(&pod, &id, "hugetlb", "", "hugetlb.2MB.max");
            assert_eq!(limit, (4 << 20).to_string(), "{driver}");
        }
        // A kubelet's CPU manager moves it, and names nothing else.
        let last = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_CONF);
        let last = last.expect("a number").expect("a limit") - 1;
        let to = api::LinuxContainerResources {
            cpuset_cpus: last.to_string(),
            ..Default::default()
        };
        pod.cri.resize(&id, to);
        assert_eq!(cpus(), last.to_string(), "{driver}");
        let memory = value(&pod, &id, "memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(memory, (64 << 20).to_string(), "{driver}");
        remove(pod, "pinned");
    }
}
