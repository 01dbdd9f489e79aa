//! `rctr-oci checkpoint` and `restore`, where CRIU works: Debian's of one's own release may not know one's kernel.

mod asked_for;
mod streams;

use std::fs;
use std::path::Path;
use std::process::Command;

use rctr_tests::{Bundle, text, wait_for};
use serde_json::json;

/// Whether there is a CRIU that can do its work on this kernel.
fn criu_works() -> bool {
    let works = Command::new("criu").arg("check").output();
    let works = works.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: no CRIU works here");
    }
    works
}

/// A container that counts in a file, a variable of its shell's.
fn counting() -> Bundle {
    let mut bundle = Bundle::new(&[
        "sh",
        "-c",
        "n=0; while sleep 0.05; do n=$((n+1)); echo $n >> /count; done",
    ]);
    bundle.config["root"]["readonly"] = false.into();
    bundle
}

fn count(bundle: &Bundle) -> usize {
    let counted = fs::read_to_string(bundle.path("rootfs/count")).unwrap_or_default();
    let numbers: Vec<usize> = counted.lines().filter_map(|n| n.parse().ok()).collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>(), "one run");
    numbers.len()
}

fn wait_count(bundle: &Bundle, more_than: usize) {
    wait_for("it to count", || count(bundle) > more_than);
}

/// Runs in the background, with nothing of ours as its streams.
fn detached(bundle: &Bundle, words: &[&str]) {
    let null = || {
        fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .expect("a device")
    };
    let said = bundle.path("said");
    let mut command = bundle.command(&[&["--log", &text(&said)], words].concat());
    command.stdin(null()).stdout(null()).stderr(null());
    let done = command.status().expect("a status").success();
    assert!(
        done,
        "{words:?}: {}",
        fs::read_to_string(&said).unwrap_or_default()
    );
}

fn cgroup_of(pid: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs")
}

#[test]
fn without_criu_it_is_said_what_is_missing() {
    let bundle = counting();
    detached(&bundle, &["run", "-d", "one"]);
    let gone = [
        "--criu",
        "/nosuch/criu",
        "checkpoint",
        "--image-path",
        "saved",
        "one",
    ];
    bundle
        .oci(&gone)
        .exits(1)
        .stderr_has("checkpoints need CRIU, and there is no program /nosuch/criu");
    bundle
        .oci(&["--criu", "true", "checkpoint", "one"])
        .exits(1)
        .stderr_has("criu failed to checkpoint");
    assert_eq!(bundle.status("one"), "running");
    for flag in ["--pre-dump", "--parent-path=x", "--lazy-pages"] {
        bundle
            .oci(&["checkpoint", flag, "one"])
            .exits(1)
            .stderr_has("is not supported");
    }
    bundle
        .oci(&["checkpoint", "none"])
        .exits(1)
        .stderr_has("does not exist");
    bundle.oci(&["restore", "one"]).exits(1);
    bundle
        .oci(&["restore", "--image-path", "nosuch", "two"])
        .exits(1)
        .stderr_has("nosuch");
    bundle.oci(&["kill", "one", "KILL"]).ok();
    wait_for("the end", || bundle.status("one") == "stopped");
    bundle
        .oci(&["checkpoint", "one"])
        .exits(1)
        .stderr_has("stopped");
}

#[test]
fn a_container_goes_on_where_it_was() {
    if !criu_works() {
        return;
    }
    let mut bundle = counting();
    let data = bundle.path("data");
    fs::create_dir(&data).expect("a directory");
    fs::write(data.join("file"), "the host's").expect("a file");
    bundle.bind(&data, "/data", &["rw"]);
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 50});
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    });
    bundle.config["hostname"] = "saved".into();
    let log = bundle.path("hooks");
    let hook = |point: &str| {
        let script = format!("echo {point} >> {}", text(&log));
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
    };
    bundle.config["hooks"] =
        json!({"createRuntime": hook("createRuntime"), "poststop": hook("poststop")});
    detached(&bundle, &["run", "-d", "one"]);
    bundle.oci(&[
        "exec",
        "one",
        "sh",
        "-c",
        "echo shm > /dev/shm/kept; mount -o remount,size=1m /dev/shm",
    ]);
    wait_count(&bundle, 2);

    // It may go on: what it was then is saved all the same.
    let saved = bundle.path("running");
    bundle
        .oci(&[
            "checkpoint",
            "--leave-running",
            "--image-path",
            &text(&saved),
            "one",
        ])
        .ok();
    assert_eq!(bundle.status("one"), "running");
    assert!(saved.join("pstree.img").is_file() && saved.join("dump.log").is_file());
    wait_count(&bundle, count(&bundle));

    let work = bundle.path("work");
    let paths = ["--image-path", "saved", "--work-path", &text(&work)];
    bundle
        .oci(&[&["checkpoint"], &paths[..], &["one"]].concat())
        .ok();
    assert!(work.join("dump.log").is_file());
    bundle
        .oci(&["state", "one"])
        .exits(1)
        .stderr_has("does not exist");
    let before = count(&bundle);

    let pid_file = bundle.path("pid");
    let restore = [
        "restore",
        "--detach",
        "--no-pivot",
        "--pid-file",
        &text(&pid_file),
    ];
    detached(&bundle, &[&restore, &paths[..], &["one"]].concat());
    let state = bundle.oci(&["state", "one"]).ok().json();
    let pid = fs::read_to_string(&pid_file).expect("a pid");
    assert_eq!(
        (&state["status"], state["pid"].to_string()),
        (&json!("running"), pid.clone())
    );
    wait_count(&bundle, before);
    let cgroup = bundle.config["linux"]["cgroupsPath"]
        .as_str()
        .expect("a path")
        .to_owned();
    assert!(cgroup_of(&pid).contains(&cgroup), "{}", cgroup_of(&pid));
    let stats = bundle.oci(&["events", "--stats", "one"]).ok().json();
    assert_eq!(stats["data"]["pids"]["limit"], 50);
    let look = "cat /data/file; echo; cat /dev/shm/kept; cat /proc/sys/kernel/hostname; grep Seccomp: /proc/1/status; cat /proc/1/mounts | grep -c /sys/fs/cgroup";
    let seen = bundle.oci(&["exec", "one", "sh", "-c", look]);
    seen.ok().stdout_has("the host's\nshm\nsaved\nSeccomp:\t2");
    bundle
        .oci(&["exec", "one", "sh", "-c", "echo back > /data/back"])
        .ok();
    assert_eq!(
        fs::read_to_string(data.join("back")).expect("a file"),
        "back\n"
    );
    // What devices it may use is as it was.
    let tun =
        "cat /dev/net/tun 2>/dev/null || test -c /dev/null && echo x > /dev/null && echo fine";
    bundle
        .oci(&["exec", "one", "sh", "-c", tun])
        .ok()
        .stdout_is("fine");
    bundle.oci(&["pause", "one"]).ok();
    // Also one that is frozen can be saved.
    bundle
        .oci(&[
            "checkpoint",
            "--image-path",
            "frozen",
            "--leave-running",
            "one",
        ])
        .ok();
    assert_eq!(bundle.status("one"), "paused");
    bundle.oci(&["resume", "one"]).ok();
    bundle
        .oci(&["restore", "--image-path", "saved", "one"])
        .exits(1)
        .stderr_has("already exists");
    bundle.oci(&["delete", "--force", "one"]).ok();
    let said = fs::read_to_string(&log).expect("a log");
    let points: Vec<&str> = said.lines().collect();
    assert_eq!(
        points,
        ["createRuntime", "poststop", "createRuntime", "poststop"]
    );

    // Another id, and another cgroup.
    fs::remove_file(bundle.path("rootfs/count")).expect("a file");
    bundle.config["linux"]["cgroupsPath"] = format!("{cgroup}-two").into();
    detached(
        &bundle,
        &["restore", "--detach", "--image-path", "saved", "two"],
    );
    let pid = bundle.oci(&["state", "two"]).ok().json()["pid"].to_string();
    assert!(
        cgroup_of(&pid).contains(&format!("{cgroup}-two\n")),
        "{}",
        cgroup_of(&pid)
    );
    bundle.oci(&["kill", "two", "KILL"]).ok();
    wait_for("the end", || bundle.status("two") == "stopped");
    bundle.oci(&["delete", "two"]).ok();
    assert!(no_mounts_below(bundle.path("").as_path()));
}

fn no_mounts_below(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    !mounts.contains(&text(dir))
}

#[test]
fn a_container_in_a_user_namespace_is_not_lost() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.in_user_namespace(300_000);
    detached(&bundle, &["run", "-d", "one"]);
    // CRIU would end it, and could not make it again.
    bundle
        .oci(&["checkpoint", "--image-path", "saved", "one"])
        .exits(1)
        .stderr_has("user namespace is not supported");
    assert_eq!(bundle.status("one"), "running");
}

#[test]
fn mounts_come_back_below_links_and_other_mounts() {
    if !criu_works() {
        return;
    }
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    for name in ["outer", "inner", "linked", "rootfs/real"] {
        fs::create_dir(bundle.path(name)).expect("a directory");
    }
    for name in ["inner", "linked"] {
        fs::write(bundle.path(name).join("name"), name).expect("a file");
    }
    std::os::unix::fs::symlink("/real", bundle.path("rootfs/link")).expect("a link");
    for (source, place) in [
        ("outer", "/outer"),
        ("inner", "/outer/deep/inner"),
        ("linked", "/link"),
    ] {
        let source = bundle.path(source);
        bundle.bind(&source, place, &["rw"]);
    }
    // Options of CRIU's own.
    fs::write(bundle.path("criu.conf"), "log-file=own.log\n").expect("a file");
    bundle.config["annotations"] = json!({"org.criu.config": text(&bundle.path("criu.conf"))});
    detached(&bundle, &["run", "-d", "one"]);
    let paths = ["--image-path", "saved"];
    bundle
        .oci(&[&["checkpoint"], &paths[..], &["one"]].concat())
        .ok();
    assert!(bundle.path("saved/own.log").is_file());
    // What it was mounted on is made again.
    fs::remove_dir_all(bundle.path("outer/deep")).expect("a directory");
    detached(
        &bundle,
        &[&["restore", "-d"], &paths[..], &["one"]].concat(),
    );
    let look = ["exec", "one", "cat", "/outer/deep/inner/name", "/real/name"];
    bundle.oci(&look).ok().stdout_is("innerlinked");
    bundle.oci(&["delete", "--force", "one"]).ok();
}
