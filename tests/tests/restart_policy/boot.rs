//! After a boot.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, wait_for};

use super::{FAIL, SLEEP, timer, wait_long_pause, with_policy};

#[test]
fn after_a_boot_those_come_back_that_were_not_stopped() {
    let env = Env::new();
    for (name, policy) in [
        ("always", "always"),
        ("stopped-always", "always"),
        ("unless", "unless-stopped"),
        ("stopped-unless", "unless-stopped"),
        ("job", "on-failure"),
        ("stopped-job", "on-failure"),
        ("plain", "no"),
    ] {
        with_policy(&env, name, policy, &SLEEP);
    }
    env.rctr(["create", "--name", "made", "--restart", "always", "busybox"])
        .ok();
    let loops = with_policy(&env, "loop", "always", &FAIL);
    env.rctr([
        "stop",
        "-t",
        "0",
        "stopped-always",
        "stopped-unless",
        "stopped-job",
    ])
    .ok();
    wait_long_pause(&env, "loop");
    let ids = env.rctr(["ps", "-aq", "--no-trunc"]).lines();
    for id in &ids {
        let monitor = env.monitor_of(id);
        for pid in monitor
            .into_iter()
            .chain(env.processes_of(id))
            .chain(timer(&env, id))
        {
            // The monitor's end may have been the container's.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        wait_for("its processes to end", || env.processes_of(id).is_empty());
    }
    fs::remove_dir_all(env.state()).expect("the state directory is removed");

    // Looking starts nobody.
    let listed = || {
        let all = env.rctr(["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
        all.ok();
        let mut lines = all.lines();
        lines.sort();
        lines
    };
    let before = listed();
    assert!(
        before
            .iter()
            .all(|line| line.ends_with("exited") || line == "made created"),
        "{before:?}"
    );
    env.rctr(["internal", "start-after-boot"]).ok();
    let after: Vec<String> = listed()
        .into_iter()
        .filter(|line| !line.starts_with("loop"))
        .collect();
    assert_eq!(
        after,
        [
            "always running",
            "job running",
            "made created",
            "plain exited",
            "stopped-always running",
            "stopped-job exited",
            "stopped-unless exited",
            "unless running",
        ]
    );
    wait_for("the one that fails to fail again", || {
        env.rctr(["logs", "loop"]).lines().len() > 6 && env.monitor_of(&loops).is_none()
    });

    // Before the machine goes down nobody stops them by hand.
    env.rctr(["internal", "stop-for-shutdown"]).ok();
    let down = listed();
    assert!(
        down.iter().all(|line| !line.ends_with("running")),
        "{down:?}"
    );
    env.rctr(["internal", "start-after-boot"]).ok();
    let up = listed();
    for name in ["always", "unless", "job", "stopped-always"] {
        assert!(up.contains(&format!("{name} running")), "{up:?}");
    }
}
