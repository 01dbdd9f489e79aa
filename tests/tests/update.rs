//! `update`, `rename` and `port`: what can be changed of, or asked about, a container that is there.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, wait_for};
use serde_json::json;

/// A file of a container's cgroup, whichever of these names it has here (v1, v2).
fn limit(env: &Env, id: &str, names: &[&str]) -> String {
    let dirs = env.cgroups_of(id);
    let paths = dirs
        .iter()
        .flat_map(|dir| names.iter().map(|name| dir.join(name)));
    let mut texts = paths.filter_map(|path| std::fs::read_to_string(path).ok());
    texts.next().expect("a limit").trim().to_owned()
}

#[test]
fn limits_change_at_once_and_stay() {
    let env = Env::new();
    let id = env.run_detached(["--name", "web", "-m", "64m", "busybox", "sleep", "600"]);
    let update = |flags: &[&str]| env.rctr([&["update"], flags, &["web"]].concat());
    update(&["-m", "100m", "--pids-limit", "77"])
        .ok()
        .stdout_is("web");
    let memory = ["memory.limit_in_bytes", "memory.max"];
    assert_eq!(limit(&env, &id, &memory), (100 << 20).to_string());
    assert_eq!(limit(&env, &id, &["pids.max"]), "77");
    let host = env.inspect("web")["HostConfig"].take();
    assert_eq!(host["Memory"], 100 << 20);
    assert_eq!(
        host["MemorySwap"],
        128 << 20,
        "what it was by default stays"
    );
    assert_eq!(host["PidsLimit"], 77);

    update(&["-m", "200m", "--memory-swap", "300m"]).ok();
    assert_eq!(limit(&env, &id, &memory), (200 << 20).to_string());
    update(&["--cpus", "1.5", "-c", "512"]).ok();
    let quota = limit(&env, &id, &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(quota.starts_with("150000"), "{quota}");
    let out = update(&["--kernel-memory", "50m"]);
    out.ok().stdout_has("Kernel memory limit discarded");
    // As with Docker, 0 is nothing to change, and no limit is told as 0.
    update(&["--pids-limit", "0"]).ok();
    assert_eq!(limit(&env, &id, &["pids.max"]), "77");
    update(&["--pids-limit", "-1"]).ok();
    assert_eq!(limit(&env, &id, &["pids.max"]), "max");
    assert_eq!(env.inspect("web")["HostConfig"]["PidsLimit"], 0);
    assert_eq!(env.inspect("web")["HostConfig"]["NanoCpus"], 1_500_000_000);

    // They hold for the next run too.
    env.rctr(["stop", "-t", "0", "web"]).ok();
    env.rctr(["start", "web"]).ok();
    assert_eq!(limit(&env, &id, &memory), (200 << 20).to_string());
    env.rctr(["create", "--name", "made", "--pids-limit", "-1", "busybox"])
        .ok();
    env.rctr(["update", "--cpuset-cpus", "0", "made"]).ok();
    env.rctr(["update", "--cpuset-cpus", "", "made"]).ok();
    let host = env.inspect("made")["HostConfig"].take();
    assert_eq!(host["CpusetCpus"], "0");
    assert_eq!(host["PidsLimit"], json!(null));
}

#[test]
fn what_cannot_be_is_refused_in_docker_s_words() {
    let env = Env::new();
    let id = env.run_detached([
        "--name", "web", "-m", "64m", "--cpus", "1", "busybox", "sleep", "600",
    ]);
    let update = |flags: &[&str]| env.rctr([&["update"], flags, &["web"]].concat());
    for (flags, words) in [
        (&["-m", "4m"][..], "Minimum memory limit allowed is 6MB"),
        (
            &["-m", "200m"],
            "Memory limit should be smaller than already set memoryswap limit",
        ),
        (
            &["--cpu-quota", "50000"],
            "CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (
            &["--cpu-period", "50000"],
            "CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            &["--memory-reservation", "80m"],
            "can not be less than memory reservation limit",
        ),
        (
            &["--memory-swap", "32m"],
            "should be larger than memory limit",
        ),
    ] {
        update(flags).refused(1, words);
    }
    update(&[]).refused(1, "you must provide one or more flags");
    update(&["-m", "lots"]).exits(125);
    update(&["--restart", "often"]).exits(1);
    env.rctr(["update"]).exits(1);
    env.rctr(["update", "-m", "64m", "nobody"])
        .refused(1, "nobody");
    assert_eq!(
        limit(&env, &id, &["memory.limit_in_bytes", "memory.max"]),
        (64 << 20).to_string()
    );
    env.run_detached(["--name", "rm", "--rm", "busybox", "sleep", "600"]);
    env.rctr(["update", "--restart", "always", "rm"])
        .refused(1, "AutoRemove is enabled");
}

#[test]
fn each_limit_is_another_one_in_the_cgroup() {
    let env = Env::new();
    let flags = ["--name", "web", "-m", "128m", "--network", "none"];
    let id = env.run_detached([&flags[..], &["busybox", "sleep", "600"]].concat());
    let v2 = std::fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let swap = "memory.memsw.limit_in_bytes";
    let has = |name: &str| {
        env.cgroups_of(&id)
            .iter()
            .any(|dir| dir.join(name).exists())
    };
    for (flags, v1_file, v2_file, v1_value, v2_value, key, told) in [
        (
            &["--cpu-shares", "512"][..],
            "cpu.shares",
            "cpu.weight",
            "512",
            "59",
            "CpuShares",
            json!(512),
        ),
        (
            &["--cpu-quota", "25000"],
            "cpu.cfs_quota_us",
            "cpu.max",
            "25000",
            "25000 100000",
            "CpuQuota",
            json!(25000),
        ),
        (
            &["--cpu-period", "50000"],
            "cpu.cfs_period_us",
            "cpu.max",
            "50000",
            "25000 50000",
            "CpuPeriod",
            json!(50000),
        ),
        (
            &["--cpuset-cpus", "0"],
            "cpuset.cpus",
            "cpuset.cpus",
            "0",
            "0",
            "CpusetCpus",
            json!("0"),
        ),
        (
            &["--cpuset-mems", "0"],
            "cpuset.mems",
            "cpuset.mems",
            "0",
            "0",
            "CpusetMems",
            json!("0"),
        ),
        (
            &["--memory-reservation", "32m"],
            "memory.soft_limit_in_bytes",
            "memory.low",
            "33554432",
            "33554432",
            "MemoryReservation",
            json!(32 << 20),
        ),
        (
            &["--memory-swap", "256m"],
            swap,
            "memory.swap.max",
            "268435456",
            "134217728",
            "MemorySwap",
            json!(256 << 20),
        ),
        (
            &["--pids-limit", "55"],
            "pids.max",
            "pids.max",
            "55",
            "55",
            "PidsLimit",
            json!(55),
        ),
    ] {
        env.rctr([&["update"], flags, &["web"]].concat())
            .ok()
            .stdout_has("web");
        let (file, value) = if v2 {
            (v2_file, v2_value)
        } else {
            (v1_file, v1_value)
        };
        // A kernel that does not account for swap has no file for it.
        if has(file) || file != swap {
            assert_eq!(limit(&env, &id, &[file]), value, "{flags:?}");
        }
        assert_eq!(env.inspect("web")["HostConfig"][key], told, "{flags:?}");
    }
    // What the process itself sees of it.
    env.rctr(["exec", "web", "nproc"]).ok().stdout_is("1");
    let weight = [
        "blkio.bfq.weight",
        "blkio.weight",
        "io.bfq.weight",
        "io.weight",
    ];
    let said = env
        .rctr(["update", "--blkio-weight", "300", "web"])
        .ok()
        .stdout();
    match weight.into_iter().find(|name| has(name)) {
        Some(name) => assert!(limit(&env, &id, &[name]).contains("300")),
        None => assert!(said.contains("eight"), "{said}"),
    }
    assert_eq!(env.inspect("web")["HostConfig"]["BlkioWeight"], 300);
}

#[test]
fn the_restart_policy_holds_from_the_next_end_on() {
    let env = Env::new();
    let sleep = ["--network", "none", "busybox", "sleep", "600"];
    env.run_detached([&["--name", "web"], &sleep[..]].concat());
    env.rctr(["update", "--restart", "on-failure:3", "web"])
        .ok();
    let policy = env.inspect("web")["HostConfig"]["RestartPolicy"].take();
    assert_eq!(
        policy,
        json!({"Name": "on-failure", "MaximumRetryCount": 3})
    );
    let crash = || {
        let pid = env.inspect("web")["State"]["Pid"].as_i64().expect("a pid");
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("it runs");
    };
    crash();
    wait_for("it to come back", || {
        env.inspect("web")["RestartCount"] == 1
    });
    env.wait_status("web", "running");
    env.rctr(["update", "--restart", "no", "web"]).ok();
    assert_eq!(
        env.inspect("web")["HostConfig"]["RestartPolicy"]["Name"],
        "no"
    );
    crash();
    env.wait_status("web", "exited");
    // Longer than it waited before.
    std::thread::sleep(Duration::from_millis(700));
    env.wait_status("web", "exited");
    assert_eq!(env.inspect("web")["RestartCount"], 1);
}

#[test]
fn names() {
    let env = Env::new();
    let id = env.run_detached(["--name", "old", "busybox", "sleep", "600"]);
    env.rctr(["rename", "old", "new"]).ok().stdout_is("");
    assert_eq!(env.inspect("new")["Id"], id.as_str());
    assert_eq!(env.inspect("new")["Name"], "/new");
    env.rctr(["inspect", "old"]).exits(1);
    env.rctr(["create", "--name", "other", "busybox"]).ok();
    env.rctr(["rename", "other", "new"])
        .exits(1)
        .stderr_has("is already in use by container");
    env.rctr(["rename", "new", "new"]).refused(
        1,
        "Renaming a container with the same name as its current name",
    );
    env.rctr(["rename", "new", "no good"])
        .refused(1, "Invalid container name");
    env.rctr(["rename", "nobody", "somebody"])
        .refused(1, "nobody");
    env.rctr(["rename", "new"]).exits(1);
    // By its id, and while it is stopped; the name that it had is free.
    env.rctr(["stop", "-t", "0", "new"]).ok();
    env.rctr(["container", "rename", &id[..12], "/third"]).ok();
    env.rctr(["create", "--name", "new", "busybox"]).ok();
    env.rctr(["start", "third"]).ok();
}

#[test]
fn ports() {
    let env = Env::new();
    let publish = ["-p", "127.0.0.1:0:80", "-p", "127.0.0.1::53/udp"];
    env.run_detached(
        [
            &["--name", "web"],
            &publish[..],
            &["busybox", "sleep", "600"],
        ]
        .concat(),
    );
    let ports = env.inspect("web")["NetworkSettings"]["Ports"].take();
    let of = |port: &str| {
        ports[port][0]["HostPort"]
            .as_str()
            .expect("a port")
            .to_owned()
    };
    let (tcp, udp) = (of("80/tcp"), of("53/udp"));
    env.rctr(["port", "web"]).ok().stdout_is(&format!(
        "53/udp -> 127.0.0.1:{udp}\n80/tcp -> 127.0.0.1:{tcp}"
    ));
    env.rctr(["port", "web", "80"])
        .ok()
        .stdout_is(&format!("127.0.0.1:{tcp}"));
    env.rctr(["port", "web", "53/udp"])
        .ok()
        .stdout_is(&format!("127.0.0.1:{udp}"));
    env.rctr(["port", "web", "53"])
        .refused(1, "Error: No public port '53' published for web");
    env.rctr(["port", "web", "http"])
        .refused(1, "invalid port (http)");
    env.rctr(["port", "nobody"]).refused(1, "nobody");
    env.rctr(["stop", "-t", "0", "web"]).ok();
    env.rctr(["port", "web"]).ok().stdout_is("");
}
