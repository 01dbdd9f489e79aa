//! Resource limits, read back where the kernel keeps them, and what happens at the limit.

use std::fs;

use rctr_tests::Env;

fn v2() -> bool {
    fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default()
}

/// A file of the container's cgroup: its name on v1 with the controller, and on v2.
fn limit(env: &Env, flags: &[&str], on_v1: &str, on_v2: &str) -> String {
    let file = if v2() { on_v2 } else { on_v1 };
    env.sh(flags, &format!("cat /sys/fs/cgroup/{file}"))
        .ok()
        .stdout()
}

#[test]
fn memory_limits_are_in_the_cgroup() {
    let env = Env::new();
    let memory = ("memory/memory.limit_in_bytes", "memory.max");
    assert_eq!(limit(&env, &["-m", "64m"], memory.0, memory.1), "67108864");
    let soft = ["-m", "64m", "--memory-reservation", "32m"];
    assert_eq!(
        limit(
            &env,
            &soft,
            "memory/memory.soft_limit_in_bytes",
            "memory.low"
        ),
        "33554432"
    );
    env.rctr(["create", "-m", "64m", "--name", "twice", "busybox"])
        .ok();
    let config = env.inspect("twice")["HostConfig"].take();
    assert_eq!(
        (&config["Memory"], &config["MemorySwap"]),
        (&67_108_864.into(), &134_217_728.into())
    );
    if fs::exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").unwrap_or_default() {
        let swap = "memory/memory.memsw.limit_in_bytes";
        assert_eq!(limit(&env, &["-m", "64m"], swap, ""), "134217728");
        assert_eq!(
            limit(&env, &["-m", "64m", "--memory-swap", "64m"], swap, ""),
            "67108864"
        );
    }
    for (flags, named) in [
        (&["-m", "lots"][..], "lots"),
        (&["-m", "1k"], "6MB"),
        (&["-m", "64m", "--memory-swap", "32m"], "swap"),
        (&["--memory-swap", "64m"], "Memory limit"),
    ] {
        env.sh(flags, "true").exits(125).stderr_has(named);
    }
}

#[test]
fn cpu_limits_are_in_the_cgroup() {
    let env = Env::new();
    let quota = limit(&env, &["--cpus", "0.5"], "cpu/cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("50000"));
    let quota = limit(&env, &["--cpus", "3/10"], "cpu/cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("30000"));
    let shares = limit(
        &env,
        &["--cpu-shares", "512"],
        "cpu/cpu.shares",
        "cpu.weight",
    );
    assert_eq!(shares, if v2() { "20" } else { "512" });
    assert_eq!(
        limit(
            &env,
            &["--cpuset-cpus", "0"],
            "cpuset/cpuset.cpus",
            "cpuset.cpus"
        ),
        "0"
    );
    for beyond in ["9999", "-1"] {
        env.sh(&["--cpus", beyond], "true")
            .exits(125)
            .stderr_has("Range of CPUs is from 0.01 to");
        let create = ["create", "--cpus", beyond, "busybox"];
        env.rctr(create).exits(1).stderr_has("Range of CPUs");
    }
    env.sh(&["--cpus", "1/3"], "true").refused(
        125,
        "invalid argument \"1/3\" for \"--cpus\" flag: value is too precise",
    );
    env.sh(&["--cpuset-cpus", "0"], "nproc").ok().stdout_is("1");
    for (flag, value) in [
        ("--cpus", "none"),
        ("--cpus", "1/0"),
        ("--cpuset-cpus", "zero"),
        ("--cpuset-cpus", "999"),
    ] {
        env.sh(&[flag, value], "true").exits(125).stderr_has(value);
    }
}

#[test]
fn the_pids_limit_is_felt() {
    let env = Env::new();
    assert_eq!(
        limit(&env, &["--pids-limit", "7"], "pids/pids.max", "pids.max"),
        "7"
    );
    assert_eq!(
        limit(&env, &["--pids-limit", "-1"], "pids/pids.max", "pids.max"),
        "max"
    );
    let script = "for n in 1 2 3 4 5 6 7 8; do sleep 5 & done";
    env.sh(&["--pids-limit", "5"], script)
        .exits(2)
        .stderr_has("can't fork");
}

#[test]
fn one_process_may_be_all_there_is() {
    let env = Env::new();
    let one = limit(&env, &["--pids-limit", "1"], "pids/pids.max", "pids.max");
    assert_eq!(one, "1");
    env.sh(&["--pids-limit", "1"], "true & wait")
        .exits(2)
        .stderr_has("can't fork");
    // Whoever looks in is one more, as with Docker: only what forks is refused.
    let id = env.run_detached(["--pids-limit", "1", "busybox", "sleep", "1000"]);
    let exec = |script: &str| env.rctr(["exec", &id, "sh", "-c", script]);
    exec("exec echo in").ok().stdout_is("in");
    exec("cat /proc/1/cgroup; true")
        .exits(2)
        .stderr_has("can't fork");
    env.rctr(["update", "--pids-limit", "2", &id]).ok();
    env.rctr(["exec", &id, "cmp", "/proc/1/cgroup", "/proc/self/cgroup"])
        .ok();
}

#[test]
fn memory_beyond_the_limit_ends_it_with_137_and_a_note() {
    let env = Env::new();
    let flags = ["-m", "16m", "--memory-swap", "16m"];
    let words = [
        &["run", "--name", "eater"],
        &flags[..],
        &["busybox", "tail", "/dev/zero"],
    ]
    .concat();
    env.rctr(words).exits(137);
    let state = env.inspect("eater")["State"].take();
    assert_eq!(
        (&state["OOMKilled"], &state["ExitCode"]),
        (&true.into(), &137.into()),
        "{state}"
    );
    env.rctr([
        "run", "--name", "killed", "-m", "16m", "busybox", "sh", "-c", "exit 137",
    ])
    .exits(137);
    assert_eq!(env.inspect("killed")["State"]["OOMKilled"], false);
}

#[test]
fn a_dead_child_of_oom_is_noted_too() {
    let env = Env::new();
    let script = "tail /dev/zero; echo went on";
    let flags = [
        "run",
        "--name",
        "parent",
        "-m",
        "16m",
        "--memory-swap",
        "16m",
    ];
    env.rctr([&flags[..], &["busybox", "sh", "-c", script]].concat())
        .ok()
        .stdout_has("went on");
    assert_eq!(env.inspect("parent")["State"]["OOMKilled"], true);
}

#[test]
fn oom_score_is_clamped_with_a_word() {
    let env = Env::new();
    env.sh(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj")
        .ok()
        .stdout_is("500");
    let low = env.sh(&["--oom-score-adj", "-900"], "cat /proc/self/oom_score_adj");
    if low.ok().stdout() != "-900" {
        low.stderr_has("WARNING: oom-score-adj -900");
    }
    env.sh(&["--oom-score-adj", "2000"], "true")
        .exits(125)
        .stderr_has("2000");
}
