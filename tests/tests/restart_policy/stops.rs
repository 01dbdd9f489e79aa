//! What keeps a container from coming back, and what does not.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, wait_for};
use serde_json::json;

use super::{FAIL, SLEEP, restarts, state, timer, wait_long_pause, wait_restarts, with_policy};

/// Kills a container's first process from outside, as if it had crashed.
fn crash(env: &Env, name: &str) {
    let pid = state(env, name)["Pid"].as_i64().expect("a pid");
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("it runs");
}

#[test]
fn a_crash_is_no_stop_and_a_stop_is_no_crash() {
    let env = Env::new();
    for policy in ["always", "unless-stopped", "on-failure"] {
        let id = with_policy(&env, policy, policy, &SLEEP);
        crash(&env, policy);
        wait_restarts(&env, policy, 1);
        env.wait_status(policy, "running");

        env.rctr(["stop", "-t", "0", policy]).ok().stdout_is(policy);
        assert_eq!(state(&env, policy)["Status"], "exited");
        assert_eq!(timer(&env, &id), None);
        assert!(env.processes_of(&id).is_empty());
        env.rctr(["start", policy]).ok();
        assert_eq!(restarts(&env, policy), 0);
        env.rctr(["kill", policy]).ok();
        env.wait_status(policy, "exited");
        assert_eq!(restarts(&env, policy), 0);
    }
}

#[test]
fn a_signal_that_is_not_the_one_to_stop_with_stops_nobody() {
    let env = Env::new();
    let trap = "trap 'exit 4' USR1; trap 'exit 5' QUIT; echo ready; while :; do sleep 0.05; done";
    let words = ["--stop-signal", "QUIT", "busybox", "sh", "-c", trap];
    with_policy(&env, "trap", "always", &words);
    env.wait_log("trap", "ready");
    env.rctr(["kill", "-s", "USR1", "trap"]).ok();
    wait_restarts(&env, "trap", 1);
    env.wait_status("trap", "running");
    wait_for("the second run", || {
        env.rctr(["logs", "trap"]).lines().len() == 2
    });
    env.rctr(["kill", "-s", "QUIT", "trap"]).ok();
    env.wait_status("trap", "exited");
    assert_eq!(state(&env, "trap")["ExitCode"], 5);
}

#[test]
fn waiting_to_come_back_is_ended_by_stop_and_kill_and_rm() {
    let env = Env::new();
    let verbs: [&[&str]; 4] = [&["stop"], &["kill"], &["kill", "-s", "HUP"], &["rm", "-f"]];
    let names: Vec<String> = (0..verbs.len()).map(|n| format!("c{n}")).collect();
    let ids: Vec<String> = names
        .iter()
        .map(|name| with_policy(&env, name, "unless-stopped", &FAIL))
        .collect();
    for ((verb, name), id) in verbs.iter().zip(&names).zip(&ids) {
        wait_long_pause(&env, name);
        let pid = timer(&env, id).expect("somebody waits");
        env.rctr([*verb, &[&name[..]]].concat())
            .ok()
            .stdout_is(name);
        wait_for("the one that waited to be gone", || {
            !std::path::Path::new(&format!("/proc/{pid}/stat")).exists()
        });
        if verb[0] != "rm" {
            let seen = state(&env, name);
            assert_eq!(
                (&seen["Status"], &seen["ExitCode"]),
                (&json!("exited"), &json!(3))
            );
        }
    }
    env.rctr(["inspect", &names[3]]).exits(1);
    env.rctr(["start", "c0"]).ok();
    wait_restarts(&env, "c0", 1);
}

#[test]
fn a_container_whose_monitor_was_killed_comes_back_once_somebody_looks() {
    let env = Env::new();
    let id = with_policy(&env, "up", "unless-stopped", &SLEEP);
    let monitor = env.monitor_of(&id).expect("a monitor");
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("it lives");
    wait_restarts(&env, "up", 1);
    env.wait_status("up", "running");
    assert_eq!(env.processes_of(&id).len(), 1);
}

#[test]
fn a_start_that_fails_is_not_tried_again() {
    let env = Env::new();
    env.rctr([
        "run",
        "-d",
        "--name",
        "bad",
        "--restart",
        "always",
        "busybox",
        "nosuch",
    ])
    .exits(127);
    assert_eq!(state(&env, "bad")["Status"], "created");
    assert_eq!(restarts(&env, "bad"), 0);
}
