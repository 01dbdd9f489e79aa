//! What goes on only if that is asked for.

use std::fs;
use std::io::Write;
use std::process::Command;

use rctr_tests::{Bundle, wait_for};
use serde_json::json;

use super::{criu_works, detached};

#[test]
fn established_connections_go_on_if_that_is_asked_for() {
    if !criu_works() {
        return;
    }
    let script = "busybox mkfifo /in; busybox nc -l -p 7000 -e busybox cat & exec 9<>/in; \
        while ! busybox nc 127.0.0.1 7000 <&9 >> /out; do sleep 0.05; done & while true; do sleep 0.05; done";
    let bundle = Bundle::new(&["sh", "-c", script]);
    detached(&bundle, &["run", "-d", "one"]);
    wait_for("the way in", || bundle.path("rootfs/in").exists());
    let say = |word: &str| {
        let way = fs::File::options()
            .read(true)
            .write(true)
            .open(bundle.path("rootfs/in"));
        let mut way = way.expect("a fifo");
        writeln!(way, "{word}").expect("it is said");
        wait_for("the echo", || {
            let out = fs::read_to_string(bundle.path("rootfs/out")).unwrap_or_default();
            out.lines().last() == Some(word)
        });
    };
    say("before");
    bundle
        .oci(&["checkpoint", "--image-path", "refused", "one"])
        .exits(1)
        .stderr_has("criu failed to checkpoint");
    say("between");
    let flags = ["--tcp-established", "--image-path", "saved"];
    let saved = bundle.oci(&[&["checkpoint"], &flags[..], &["one"]].concat());
    if saved.stderr().contains("Can't get 1:16 opt") {
        // SO_PASSCRED, which kernels since 6.16 have for Unix sockets alone.
        eprintln!("skipped: this CRIU does not know this kernel's sockets");
        return;
    }
    saved.ok();
    detached(
        &bundle,
        &[&["restore", "--detach"], &flags[..], &["one"]].concat(),
    );
    say("after");
    bundle.oci(&["delete", "--force", "one"]).ok();
}

#[test]
fn locks_are_kept_if_that_is_asked_for() {
    if !criu_works() {
        return;
    }
    let script = "exec 9>/lock; /usr/bin/flock 9; echo > /ready; while true; do sleep 0.05; done";
    let mut bundle = Bundle::new(&["sh", "-c", script]);
    bundle.with_usr();
    detached(&bundle, &["run", "-d", "one"]);
    wait_for("the lock", || bundle.path("rootfs/ready").exists());
    let locked = || {
        let file = fs::File::open(bundle.path("rootfs/lock")).expect("a file");
        let taken = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock);
        taken.is_err()
    };
    assert!(locked());
    bundle
        .oci(&["checkpoint", "--image-path", "refused", "one"])
        .exits(1)
        .stderr_has("lock");
    assert_eq!(bundle.status("one"), "running");
    let flags = ["--file-locks", "--image-path", "saved"];
    bundle
        .oci(&[&["checkpoint"], &flags[..], &["one"]].concat())
        .ok();
    assert!(!locked());
    detached(
        &bundle,
        &[&["restore", "--detach"], &flags[..], &["one"]].concat(),
    );
    assert!(locked());
    bundle.oci(&["delete", "--force", "one"]).ok();
    assert!(!locked());
}

#[test]
fn a_network_is_left_to_whoever_makes_it_if_that_is_asked_for() {
    if !criu_works() {
        return;
    }
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    // As docker and podman have it: one hook makes the network, each time.
    let make = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter -t $pid -n ip link add made type bridge";
    bundle.config["hooks"] = json!({"createRuntime": [{
        "path": "/bin/sh", "args": ["sh", "-c", make], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
    }]});
    detached(&bundle, &["run", "-d", "one"]);
    let devices = || {
        let seen = bundle
            .oci(&["exec", "one", "cat", "/proc/net/dev"])
            .ok()
            .stdout();
        let named = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
        let mut names: Vec<String> = seen.lines().filter_map(named).collect();
        names.sort();
        names
    };
    assert_eq!(devices(), ["lo", "made"]);
    let pid = bundle.oci(&["state", "one"]).ok().json()["pid"].to_string();
    let mut add = Command::new("nsenter");
    add.args([
        "-t", &pid, "-n", "ip", "link", "add", "other", "type", "bridge",
    ]);
    rctr_tests::run(&mut add);
    let flags = ["--empty-ns", "network", "--image-path", "saved"];
    bundle
        .oci(&[&["checkpoint"], &flags[..], &["one"]].concat())
        .ok();
    detached(
        &bundle,
        &[&["restore", "--detach"], &flags[..], &["one"]].concat(),
    );
    assert_eq!(devices(), ["lo", "made"]);
    bundle.oci(&["delete", "--force", "one"]).ok();
    bundle
        .oci(&["checkpoint", "--empty-ns", "mount", "one"])
        .exits(1);
}
