//! Signals, and containers that are deleted before they ran.

use super::*;

/// Says `NAME` in a file of the container's when it gets SIGTERM.
fn told(name: &str) -> String {
    format!(
        "trap 'echo {name} >> /told' TERM; echo {name} >> /ready; while true; do sleep 0.05; done"
    )
}

#[test]
fn a_signal_goes_to_init_or_to_all() {
    let bundle = running(&["sh", "-c", &told("init")]);
    quietly(bundle.command(&["exec", "--detach", "one", "sh", "-c", &told("second")]));
    wait_for("both to listen", || {
        read(&bundle, "ready").lines().count() == 2
    });
    // Nothing is sent: it is only asked whether it could be.
    bundle.oci(&["kill", "one", "0"]).ok();
    bundle.oci(&["kill", "one", "sigterm"]).ok();
    wait_for("init to be told", || read(&bundle, "told") == "init\n");
    bundle.oci(&["kill", "--all", "one", "15"]).ok();
    wait_for("both to be told", || {
        read(&bundle, "told").lines().count() == 3
    });
    assert!(read(&bundle, "told").contains("second"));
    bundle
        .oci(&["kill", "one", "NOSUCH"])
        .exits(1)
        .stderr_has("unknown signal");
    bundle.oci(&["kill", "--all", "one", "KILL"]).ok();
    wait_for("the end", || bundle.status("one") == "stopped");
    // With nobody left that is no error of `--all`'s.
    bundle.oci(&["kill", "--all", "one", "KILL"]).ok();
}

#[test]
fn a_create_that_is_killed_leaves_nothing_that_cannot_be_deleted() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    let (pid, script) = (
        bundle.path("hook"),
        "echo $$ > hook.new; mv hook.new hook; exec sleep 1000",
    );
    let hook =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    bundle.config["hooks"] = json!({"createRuntime": hook});
    let create = Running::start(bundle.command(&["create", "one"]), Some(b""));
    wait_for("the hook to run", || pid.exists());
    create.signal(Signal::SIGKILL);
    bundle.oci(&["state", "one"]).exits(1);
    bundle.oci(&["list", "-q"]).ok().stdout_is("");
    let path = bundle.config["linux"]["cgroupsPath"]
        .as_str()
        .expect("a path")
        .to_owned();
    let left = || -> Vec<String> {
        let hierarchies = entries(Path::new("/sys/fs/cgroup"));
        let of = |name: &String| format!("/sys/fs/cgroup/{name}{path}");
        let all = hierarchies.iter().map(of);
        all.chain([format!("/sys/fs/cgroup{path}")])
            .filter(|place| Path::new(place).exists())
            .collect()
    };
    assert!(!left().is_empty(), "it had a cgroup");
    let hook = fs::read_to_string(&pid).expect("a pid");
    let hook = nix::unistd::Pid::from_raw(hook.trim().parse().expect("a number"));
    nix::sys::signal::kill(hook, Signal::SIGKILL).expect("the hook runs");
    bundle.oci(&["delete", "--force", "one"]).ok();
    assert_eq!(left(), Vec::<String>::new());
    create.finish();
    // And the name is free.
    bundle.config["hooks"] = Value::Null;
    bundle.config["process"]["args"] = json!(["true"]);
    bundle.oci(&["run", "one"]).ok();
}

#[test]
fn a_start_that_takes_long_or_cannot_be_keeps_nobody_from_deleting() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    quietly(bundle.command(&["create", "one"]));
    bundle.oci(&["pause", "one"]).ok();
    bundle
        .oci(&["start", "one"])
        .exits(1)
        .stderr_has("cannot start a container in the paused state");
    bundle.oci(&["delete", "--force", "one"]).ok();

    let (pid, script) = (
        bundle.path("hook"),
        "echo $$ > hook.new; mv hook.new hook; exec sleep 1000",
    );
    let hook =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    bundle.config["hooks"] = json!({"poststart": hook});
    quietly(bundle.command(&["create", "one"]));
    let start = Running::start(bundle.command(&["start", "one"]), Some(b""));
    wait_for("the hook to run", || pid.exists());
    bundle.oci(&["delete", "--force", "one"]).ok();
    bundle.oci(&["list", "-q"]).ok().stdout_is("");
    let hook = fs::read_to_string(&pid).expect("a pid");
    let hook = nix::unistd::Pid::from_raw(hook.trim().parse().expect("a number"));
    nix::sys::signal::kill(hook, Signal::SIGKILL).expect("the hook runs");
    start.finish();
}
