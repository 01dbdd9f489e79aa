//! The rest of the limits, and what is refused or left out with a word.

use std::fs;

use rctr_tests::{Env, Output};

fn sh(env: &Env, flags: &[&str], script: &str) -> Output {
    env.sh(&[&["--network", "none"], flags].concat(), script)
}

fn v2() -> bool {
    fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default()
}

#[test]
fn quota_and_period_are_in_the_cgroup() {
    let env = Env::new();
    let script = match v2() {
        true => "cat /sys/fs/cgroup/cpu.max",
        false => {
            "echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us)"
        }
    };
    let flags = ["--cpu-period", "50000", "--cpu-quota", "25000"];
    sh(&env, &flags, script).ok().stdout_is("25000 50000");
    for (flags, named) in [
        (
            &["--cpus", "1", "--cpu-quota", "5000"][..],
            "Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            &["--cpus", "1", "--cpu-period", "5000"],
            "Nano CPUs and CPU Period cannot both be set",
        ),
        (
            &["--cpu-period", "10"],
            "CPU cfs period can not be less than 1ms",
        ),
        (
            &["--cpu-quota", "10"],
            "CPU cfs quota can not be less than 1ms",
        ),
        (
            &["--cpu-rt-runtime", "10", "--cpu-rt-period", "5"],
            "cpu real-time runtime cannot be higher",
        ),
        (
            &["--memory-swappiness", "101"],
            "valid memory swappiness range is 0-100",
        ),
        (&["--cpuset-mems", "77"], "memory nodes are not available"),
    ] {
        sh(&env, flags, "true").exits(125).stderr_has(named);
    }
}

#[test]
fn memory_nodes_and_real_time_are_in_the_cgroup_or_refused() {
    let env = Env::new();
    let file = match v2() {
        true => "cpuset.mems",
        false => "cpuset/cpuset.mems",
    };
    sh(
        &env,
        &["--cpuset-mems", "0"],
        &format!("cat /sys/fs/cgroup/{file}; grep Mems_allowed_list /proc/self/status"),
    )
    .ok()
    .stdout_is("0\nMems_allowed_list:\t0");
    let flags = ["--cpu-rt-period", "1000000", "--cpu-rt-runtime", "1000"];
    let script = "cd /sys/fs/cgroup/cpu; cat cpu.rt_period_us cpu.rt_runtime_us";
    let run = sh(&env, &flags, script);
    match fs::exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").unwrap_or_default() {
        // The groups above may leave nothing for it.
        true if run.status() == 0 => drop(run.stdout_is("1000000\n1000")),
        true => drop(run.exits(125).stderr_has("rt_runtime_us")),
        false => drop(
            run.exits(125)
                .stderr_has("Your kernel does not support CPU real-time"),
        ),
    }
}

#[test]
fn what_only_the_older_cgroups_have_is_there_or_said_to_be_left_out() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let flags = [
        "-m",
        "64m",
        "--memory-swappiness",
        "7",
        "--oom-kill-disable",
    ];
    if v2() {
        sh(&env, &flags, "true")
            .ok()
            .stderr_has("WARNING: Your kernel does not support memory swappiness capabilities")
            .stderr_has(
                "WARNING: Your kernel does not support OomKillDisable. OomKillDisable discarded.",
            );
        return;
    }
    let script = "cd /sys/fs/cgroup/memory; cat memory.swappiness; head -1 memory.oom_control";
    sh(&env, &flags, script)
        .ok()
        .stdout_is("7\noom_kill_disable 1")
        .quiet();
    sh(&env, &["--oom-kill-disable"], "true")
        .ok()
        .stderr_has("OOM killer is disabled for the container, but no memory limit is set");
    sh(&env, &["--memory-swappiness", "-1"], "true")
        .ok()
        .quiet();
    env.rctr([&["create", "--name", "swap"], &flags[..], &["busybox"]].concat())
        .ok();
    let config = env.inspect("swap")["HostConfig"].take();
    assert_eq!(config["MemorySwappiness"], 7);
    assert_eq!(config["OomKillDisable"], true);
}

#[test]
fn what_no_kernel_keeps_is_discarded_with_a_word() {
    let env = Env::new();
    sh(&env, &["--kernel-memory", "32m"], "true")
        .ok()
        .stderr_has("Kernel memory limit discarded.");
}

#[test]
fn streams_that_are_attached() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let script = "echo out; echo err >&2; cat";
    let run = |flags: &[&str]| {
        let words = [
            &["run", "--rm", "--network", "none"],
            flags,
            &["busybox", "sh", "-c", script],
        ]
        .concat();
        env.rctr_with_input(words, b"in")
    };
    run(&["-a", "stdout"]).ok().stdout_is("out").quiet();
    run(&["-a", "STDERR"]).ok().stdout_is("").stderr_has("err");
    run(&["-i", "-a", "stdin", "-a", "stdout"])
        .ok()
        .stdout_is("out\nin");
    run(&["-a", "stdout", "-d"])
        .exits(1)
        .stderr_has("cannot specify both --attach and --detach");
    run(&["-a", "x"])
        .exits(125)
        .stderr_has("valid streams are STDIN, STDOUT and STDERR");
    env.rctr(["create", "--name", "shown", "-a", "stderr", "busybox"])
        .ok();
    let config = env.inspect("shown")["Config"].take();
    assert_eq!(
        (&config["AttachStdout"], &config["AttachStderr"]),
        (&false.into(), &true.into())
    );
}

#[test]
fn annotations_and_security_options_are_kept() {
    let env = Env::new();
    let flags = [
        "create",
        "--name",
        "noted",
        "--annotation",
        "a.b/c=d=e",
        "--security-opt",
        "label=level:s0:c1",
        "--security-opt",
        "label=disable",
        "--network",
        "none",
        "busybox",
        "true",
    ];
    env.rctr(flags).ok();
    let config = env.inspect("noted")["HostConfig"].take();
    assert_eq!(config["Annotations"]["a.b/c"], "d=e");
    // A runtime is told of them.
    env.rctr(["start", "-a", "noted"]).ok();
    let id = env.inspect("noted")["Id"].as_str().unwrap().to_owned();
    let bundle = env.root().join("containers").join(id).join("config.json");
    let spec: serde_json::Value = serde_json::from_slice(&fs::read(bundle).unwrap()).unwrap();
    assert_eq!(spec["annotations"]["a.b/c"], "d=e");
    assert_eq!(
        config["SecurityOpt"],
        serde_json::json!(["label=level:s0:c1", "label=disable"])
    );
    sh(&env, &["--annotation", "x"], "true")
        .exits(125)
        .stderr_has("invalid annotation");
    sh(&env, &["--security-opt", "label=x:y"], "true")
        .exits(125)
        .stderr_has("invalid --security-opt");
}

#[test]
fn what_is_refused_says_why() {
    let env = Env::new();
    for (flag, why) in [
        ("--link=a", "links are a legacy"),
        ("--use-api-socket", "there is no daemon"),
        ("--cpu-count=1", "it is for Windows"),
        ("--io-maxiops=1", "it is for Windows"),
        (
            "--disable-content-trust=false",
            "signatures of Docker Content Trust",
        ),
        ("--isolation=hyperv", "only supports 'default'"),
        ("--log-driver=gelf", "log driver gelf is not supported"),
        ("--storage-opt=x=1", "invalid storage option: x=1"),
    ] {
        for command in ["run", "create", "container run"] {
            let words: Vec<&str> = command
                .split(' ')
                .chain([flag, "busybox", "true"])
                .collect();
            let output = env.rctr(words);
            assert!([1, 125].contains(&output.status()), "{flag}");
            output.stderr_has(why);
        }
    }
    sh(
        &env,
        &["--disable-content-trust", "--isolation", "default"],
        "true",
    )
    .ok();
    env.rctr(["swarm", "init"])
        .exits(1)
        .stderr_has("there is no Swarm");
    env.rctr(["ps", "-aq"]).ok().stdout_is("");
}
