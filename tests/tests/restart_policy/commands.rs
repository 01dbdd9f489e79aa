//! `run`, `restart` and `wait` beside a policy, and what makes no sense.

use std::fs;

use rctr_tests::{Env, wait_for};

use super::{FAIL, restarts, state, wait_long_pause, wait_restarts, with_policy};

#[test]
fn an_attached_run_ends_with_the_first_run() {
    let env = Env::new();
    let flags = [
        "run",
        "--name",
        "loop",
        "--network",
        "none",
        "--restart",
        "always",
    ];
    env.rctr([&flags[..], &FAIL[..]].concat())
        .exits(3)
        .stdout_is("run");
    wait_restarts(&env, "loop", 2);
}

#[test]
fn what_cannot_be_is_refused_in_docker_s_words() {
    let env = Env::new();
    let refused = |flags: &[&str], why: &str| {
        env.rctr([&["run"], flags, &["busybox"]].concat())
            .refused(125, why);
    };
    refused(
        &["--rm", "--restart", "always"],
        "conflicting options: cannot specify both --restart and --rm",
    );
    refused(
        &["--restart", "on-failure:x"],
        "invalid restart policy format: maximum retry count must be an integer",
    );
    refused(
        &["--restart", "often"],
        "invalid restart policy: unknown policy 'often'",
    );
    env.rctr(["create", "--restart", "always:2", "busybox"])
        .refused(1, "maximum retry count can only be used with 'on-failure'");
    env.rctr([
        "run",
        "--rm",
        "--restart",
        "no",
        "--network",
        "none",
        "busybox",
        "true",
    ])
    .ok();
}

#[test]
fn restart_is_stop_and_start() {
    let env = Env::new();
    let script = "trap 'exit 6' TERM; trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done";
    let words = ["busybox", "sh", "-c", script];
    let runs = |name: &str, runs: usize| {
        wait_for(&format!("{runs} runs of {name}"), || {
            env.rctr(["logs", name]).lines().len() == runs
        });
    };
    with_policy(&env, "web", "always", &words);
    env.run_detached(
        [
            &["--rm", "--name", "brief", "--network", "none"],
            &words[..],
        ]
        .concat(),
    );
    runs("web", 1);
    runs("brief", 1);
    let pid = state(&env, "web")["Pid"].clone();
    env.rctr(["restart", "web", "brief"])
        .ok()
        .stdout_is("web\nbrief");
    runs("web", 2);
    runs("brief", 2);
    let again = state(&env, "web");
    assert_eq!(again["Status"], "running");
    assert_ne!(again["Pid"], pid);
    assert_eq!(restarts(&env, "web"), 0);
    env.rctr(["restart", "-s", "USR1", "-t", "20", "web"]).ok();
    runs("web", 3);

    env.rctr(["stop", "web"]).ok();
    env.rctr(["restart", "web"]).ok();
    runs("web", 4);
    env.rctr(["pause", "web"]).ok();
    env.rctr(["container", "restart", "web"]).ok();
    runs("web", 5);
    assert_eq!(state(&env, "web")["Status"], "running");
    env.rctr(["restart", "nosuch", "web"])
        .exits(1)
        .stdout_is("web")
        .stderr_has("No such container: nosuch");
    env.rctr(["restart"])
        .refused(1, "requires at least 1 argument");
    // It is still one that goes at its end.
    env.rctr(["stop", "brief"]).ok();
    env.rctr(["inspect", "brief"]).exits(1);

    with_policy(&env, "loop", "always", &FAIL);
    wait_long_pause(&env, "loop");
    env.rctr(["restart", "loop"]).ok();
    wait_for("a new beginning", || restarts(&env, "loop") < 5);
}

#[test]
fn wait_knows_docker_s_conditions() {
    let env = Env::new();
    env.rctr([
        "run",
        "--name",
        "done",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "exit 4",
    ])
    .exits(4);
    env.rctr(["wait", "done"]).ok().stdout_is("4");
    env.rctr(["wait", "--condition", "not-running", "done"])
        .ok()
        .stdout_is("4");
    let next = env.spawn(["wait", "--condition", "next-exit", "done"]);
    let gone = env.spawn(["wait", "--condition", "removed", "done"]);
    let watches = |pid: i32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
        fds.flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| target.to_string_lossy().contains("inotify"))
    };
    wait_for("both to watch", || {
        watches(next.pid()) && watches(gone.pid())
    });
    env.rctr(["start", "done"]).ok();
    next.finish().ok().stdout_is("4");
    env.rctr(["rm", "-f", "done"]).ok();
    gone.finish().ok().stdout_is("4");

    // One that comes back is waited for until it has ended once more.
    with_policy(&env, "loop", "always", &FAIL);
    wait_long_pause(&env, "loop");
    let before = restarts(&env, "loop");
    env.rctr(["wait", "loop"]).ok().stdout_is("3");
    assert!(restarts(&env, "loop") > before);
    env.rctr(["wait", "--condition", "gone", "loop"])
        .refused(125, "gone");
    let waits = env.spawn(["wait", "loop"]);
    env.rctr(["stop", "loop"]).ok();
    waits.finish().ok().stdout_is("3");
}
