//! `--cgroupns`, `--ipc`, `--pid`, `--uts`, `--userns`, `--domainname`, `--cgroup-parent`: what the container sees.

use std::fs;

use rctr_tests::{Env, Output};

/// `run --rm --network none FLAGS… busybox sh -c SCRIPT`.
fn sh(env: &Env, flags: &[&str], script: &str) -> Output {
    env.sh(&[&["--network", "none"], flags].concat(), script)
}

fn host_namespace(name: &str) -> String {
    let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    link.to_string_lossy().into_owned()
}

fn namespace(env: &Env, flags: &[&str], name: &str) -> String {
    let script = format!("readlink /proc/self/ns/{name}");
    sh(env, flags, &script).ok().stdout()
}

#[test]
fn the_host_s_namespaces_are_the_host_s() {
    let env = Env::new();
    for (flag, name) in [
        ("--ipc", "ipc"),
        ("--pid", "pid"),
        ("--uts", "uts"),
        ("--cgroupns", "cgroup"),
    ] {
        let host = host_namespace(name);
        assert_eq!(namespace(&env, &[flag, "host"], name), host, "{flag}");
        assert_ne!(namespace(&env, &[], name), host, "{flag}");
    }
    let own = std::process::id();
    sh(&env, &["--pid", "host"], &format!("ls -d /proc/{own}"))
        .ok()
        .stdout_is(&format!("/proc/{own}"));
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    sh(&env, &["--uts", "host"], "hostname")
        .ok()
        .stdout_is(name.trim());
    env.run_detached([
        "--uts", "host", "--pid", "host", "--ipc", "host", "--name", "all", "busybox", "sleep",
        "60",
    ]);
    let config = env.inspect("all")["HostConfig"].take();
    for mode in ["UTSMode", "PidMode", "IpcMode"] {
        assert_eq!(config[mode], "host");
    }
    env.rctr(["stop", "-t", "0", "all"]).ok();
}

#[test]
fn a_container_with_the_host_s_processes_ends_whole() {
    let env = Env::new();
    let id = env.run_detached([
        "--pid",
        "host",
        "--name",
        "many",
        "busybox",
        "sh",
        "-c",
        "sleep 1234 & sleep 1234; true",
    ]);
    rctr_tests::wait_for("both to run", || env.processes_of(&id).len() == 3);
    env.rctr(["rm", "-f", "many"]).ok();
    assert!(env.processes_of(&id).is_empty());
}

#[test]
fn shared_memory_is_shared_by_consent() {
    let env = Env::new();
    env.run_detached([
        "--ipc",
        "shareable",
        "--name",
        "donor",
        "busybox",
        "sleep",
        "60",
    ]);
    env.run_detached(["--name", "private", "busybox", "sleep", "60"]);
    env.rctr(["exec", "donor", "sh", "-c", "echo hello > /dev/shm/x"])
        .ok();
    let joined = sh(
        &env,
        &["--ipc", "container:donor"],
        "cat /dev/shm/x; readlink /proc/self/ns/ipc",
    );
    let own = env
        .rctr(["exec", "donor", "readlink", "/proc/1/ns/ipc"])
        .stdout();
    joined.ok().stdout_is(&format!("hello\n{own}"));
    // It stays when the donor goes.
    env.run_detached([
        "--ipc",
        "container:donor",
        "--name",
        "heir",
        "busybox",
        "sleep",
        "60",
    ]);
    env.rctr(["rm", "-f", "donor"]).ok();
    env.rctr(["exec", "heir", "cat", "/dev/shm/x"])
        .ok()
        .stdout_is("hello");

    sh(&env, &["--ipc", "container:private"], "true")
        .exits(125)
        .stderr_has("non-shareable IPC");
    sh(&env, &["--ipc", "container:donor"], "true")
        .exits(125)
        .stderr_has("No such container: donor");
    env.rctr(["create", "--name", "idle", "busybox"]).ok();
    sh(&env, &["--ipc", "container:idle"], "true")
        .exits(125)
        .stderr_has("cannot join IPC of a non running container");
    sh(&env, &["--ipc", "none"], "ls -d /dev/shm").exits(1);
    sh(&env, &["--ipc", "private"], "ls -d /dev/shm").ok();
    sh(&env, &["--ipc", "foo"], "true")
        .exits(125)
        .stderr_has("invalid IPC mode: foo");
    sh(
        &env,
        &["--ipc", "host", "--sysctl", "kernel.shmmax=1"],
        "true",
    )
    .exits(125)
    .stderr_has("sysctl 'kernel.shmmax' not allowed in host ipc namespace");
}

#[test]
fn processes_of_another_container_are_seen() {
    let env = Env::new();
    env.run_detached(["--name", "first", "busybox", "sleep", "77"]);
    sh(
        &env,
        &["--pid", "container:first"],
        "tr '\\0' ' ' < /proc/1/cmdline",
    )
    .ok()
    .stdout_has("sleep 77");
    env.run_detached([
        "--pid",
        "container:first",
        "--name",
        "second",
        "busybox",
        "sleep",
        "60",
    ]);
    let id = env.inspect("first")["Id"].clone();
    let mode = env.inspect("second")["HostConfig"]["PidMode"].take();
    assert_eq!(mode, format!("container:{}", id.as_str().unwrap()));
    env.rctr(["stop", "-t", "0", "second"]).ok();
    assert_eq!(env.inspect("first")["State"]["Running"], true);
    env.rctr(["stop", "-t", "0", "first"]).ok();
    sh(&env, &["--pid", "container:first"], "true")
        .exits(125)
        .stderr_has("cannot join PID of a non running container");
    sh(&env, &["--pid", "x"], "true")
        .exits(125)
        .stderr_has("--pid: invalid PID mode");
}

#[test]
fn names_of_host_and_domain() {
    let env = Env::new();
    let script = "hostname; cat /proc/sys/kernel/domainname";
    sh(&env, &["-h", "box", "--domainname", "example.org"], script)
        .ok()
        .stdout_is("box\nexample.org");
    let hosts = env.sh(
        &["-h", "box", "--domainname", "example.org"],
        "cat /etc/hosts; cat /etc/hostname; echo $HOSTNAME; hostname -f",
    );
    hosts
        .ok()
        .stdout_has("\tbox.example.org box\nbox\nbox\nbox.example.org");
    for (flags, named) in [
        (
            &["--uts", "host", "-h", "x"][..],
            "hostname and the UTS mode",
        ),
        (
            &["--uts", "host", "--domainname", "x"],
            "domainname and the UTS mode",
        ),
        (&["--uts", "x"], "--uts: invalid UTS mode"),
        (&["--cgroupns", "x"], "--cgroupns: invalid CGROUP mode"),
    ] {
        sh(&env, flags, "true").exits(125).stderr_has(named);
    }
}

#[test]
fn a_cgroup_of_the_host_s_namespace_shows_its_place() {
    let env = Env::new();
    let v2 = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let parent = format!("/{}/below", env.cgroup_parent());
    let flags = ["--cgroupns", "host", "--cgroup-parent", &parent];
    let shown = sh(&env, &flags, "cat /proc/self/cgroup").ok().stdout();
    assert!(
        shown
            .lines()
            .any(|line| line.contains(&format!(":{parent}/"))),
        "{shown}"
    );
    if !v2 {
        // Its own part of each hierarchy, not the host's.
        sh(
            &env,
            &flags,
            "[ $(wc -l < /sys/fs/cgroup/memory/cgroup.procs) -le 4 ]",
        )
        .ok();
        sh(&env, &flags, "test -e /sys/fs/cgroup/memory/release_agent").exits(1);
    }
    sh(&env, &flags, "mkdir /sys/fs/cgroup/memory/x").exits(1);
    let write = "cd /sys/fs/cgroup/memory 2>/dev/null || cd /sys/fs/cgroup; mkdir x && rmdir x";
    sh(&env, &["--security-opt", "writable-cgroups=true"], write).ok();
    sh(&env, &[], write).exits(1);
    // As with Docker, what was made for the container stays.
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    for place in hierarchies
        .map(|entry| entry.path())
        .chain(["/sys/fs/cgroup".into()])
    {
        let _ = fs::remove_dir(place.join(parent.trim_start_matches('/')));
    }
}

#[test]
fn root_of_a_user_namespace_is_nobody_outside() {
    let env = Env::new();
    let maps = |flags: &[&str]| {
        let shown = sh(&env, flags, "cat /proc/self/uid_map /proc/self/gid_map")
            .ok()
            .stdout();
        let lines = shown
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(":"));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(
        maps(&["--userns", "0:200000:5000,5000:300000:10"]),
        [
            "0:200000:5000",
            "5000:300000:10",
            "0:200000:5000",
            "5000:300000:10"
        ]
    );
    assert_eq!(maps(&["--userns", "host"])[0], "0:0:4294967295");
    let sized = maps(&["--userns", "auto:size=1000"]);
    assert!(
        sized[0].starts_with("0:") && sized[0].ends_with(":1000"),
        "{sized:?}"
    );

    // Two at once have nothing in common, and outside neither is root.
    for name in ["one", "two"] {
        env.run_detached(["--userns", "auto", "--name", name, "busybox", "sleep", "60"]);
    }
    let outside = |name: &str| {
        let pid = env.inspect(name)["State"]["Pid"].as_i64().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:\t"))
            .unwrap();
        uid.split('\t').next().unwrap().parse::<u64>().unwrap()
    };
    let (one, two) = (outside("one"), outside("two"));
    assert!(
        one >= 65536 && two >= 65536 && one.abs_diff(two) >= 65536,
        "{one} {two}"
    );
    env.rctr(["exec", "one", "id", "-u"]).ok().stdout_is("0");
    let mode = env.inspect("one")["HostConfig"]["UsernsMode"].take();
    assert_eq!(mode, format!("0:{one}:65536"));
}

#[test]
fn owners_are_the_same_on_both_sides_of_a_user_namespace() {
    let env = Env::new();
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(1234), Some(1234)).unwrap();
    let bind = format!("{}:/m", dir.path().display());
    let flags = [
        "--userns",
        "auto",
        "-v",
        &bind,
        "-v",
        "data:/var/www",
        "--init",
        "-t",
    ];
    let script = "stat -c %u /m; touch /m/new; chown 77 /m/new; touch /var/www/x; stat -c %u /etc/hosts /var/www/x";
    let output = sh(&env, &flags, script).ok().stdout().replace('\r', "");
    assert_eq!(output, "1234\n0\n0");
    let metadata = fs::metadata(dir.path().join("new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), 77);
    env.sh(&["-v", "data:/d"], "stat -c %u /d/x")
        .ok()
        .stdout_is("0");
    // On the bridge, too.
    env.sh(&["--userns", "auto"], "ip route")
        .ok()
        .stdout_has("default via");
}

#[test]
fn what_a_user_namespace_cannot_have_is_refused() {
    let env = Env::new();
    for (flags, named) in [
        (
            &["--userns", "auto", "--privileged"][..],
            "privileged mode is incompatible with user namespaces",
        ),
        (
            &["--userns", "auto", "--network", "host"],
            "sharing a network namespace",
        ),
        (
            &["--userns", "auto", "--pid", "host"],
            "sharing a PID namespace",
        ),
        (
            &["--userns", "auto", "--ipc", "host"],
            "sharing an IPC namespace",
        ),
        (&["--userns", "keep-id"], "--userns: invalid USER mode"),
        (&["--userns", "auto:size=4000000000"], "are left of"),
    ] {
        env.sh(flags, "true").exits(125).stderr_has(named);
    }
}

#[test]
fn images_that_are_mounted_have_the_owners_of_the_user_namespace() {
    let env = Env::new();
    env.rctr(["pull", "-q", "layers128"]).ok();
    for (image, sub_path) in [
        ("busybox", ""),
        ("layers128", ""),
        ("busybox", ",image-subpath=bin"),
    ] {
        let mount = format!("type=image,source={image},target=/i{sub_path}");
        env.sh(
            &["--userns", "auto", "--mount", &mount],
            "id -u; stat -c %u /i; touch /i/x",
        )
        .exits(1)
        .stdout_is("0\n0");
    }
    let mount = "type=image,source=busybox,target=/i";
    env.sh(
        &["--userns", "auto", "--mount", mount],
        "/i/bin/busybox echo ran",
    )
    .ok()
    .stdout_is("ran");
}
