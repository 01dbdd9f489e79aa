//! Who comes back, after which pause, and how often.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, wait_for};
use serde_json::json;

use super::{FAIL, restarts, state, timer, wait_long_pause, wait_restarts, with_policy};

#[test]
fn a_failing_container_comes_back_after_pauses_that_double() {
    let env = Env::new();
    let id = with_policy(&env, "loop", "always", &FAIL);
    wait_restarts(&env, "loop", 4);
    wait_for("the fifth run", || {
        env.rctr(["logs", "loop"]).lines().len() >= 5
    });
    let times: Vec<jiff::Timestamp> = env
        .rctr(["logs", "-t", "loop"])
        .lines()
        .iter()
        .map(|line| line.split(' ').next().unwrap().parse().expect("a time"))
        .collect();
    for (pair, pause) in times.windows(2).zip([100, 200, 400, 800]) {
        let gap = Duration::try_from(pair[0].until(pair[1]).unwrap()).unwrap_or_default();
        assert!(
            gap >= Duration::from_millis(pause),
            "{pause} ms are due, and only {gap:?} went by: {times:?}"
        );
    }
    wait_long_pause(&env, "loop");
    let seen = state(&env, "loop");
    for (field, value) in [
        ("Status", json!("restarting")),
        ("Running", json!(true)),
        ("Restarting", json!(true)),
        ("Pid", json!(0)),
        ("ExitCode", json!(3)),
    ] {
        assert_eq!(seen[field], value, "{seen}");
    }
    let listed = env.rctr(["ps", "--format", "{{.Names}}: {{.Status}}"]);
    listed
        .ok()
        .stdout_has("loop: Restarting (3) ")
        .stdout_has(" ago");
    let policy = env.inspect("loop")["HostConfig"]["RestartPolicy"].take();
    assert_eq!(policy, json!({"Name": "always", "MaximumRetryCount": 0}));
    assert!(timer(&env, &id).is_some());

    // What is between two runs is neither executed in nor removed without force, and starting it changes nothing.
    env.rctr(["exec", "loop", "true"])
        .refused(1, "is restarting, wait until the container is running");
    env.rctr(["attach", "loop"]).refused(
        1,
        "You cannot attach to a restarting container, wait until it is running",
    );
    env.rctr(["rm", "loop"])
        .refused(1, "container is restarting");
    env.rctr(["start", "loop"]).ok().stdout_is("loop");
}

/// Fails at once six times, lives for more than ten seconds, fails again: it would wait 6.4 s if nothing were forgotten.
#[test]
fn who_has_lived_for_ten_seconds_begins_with_the_shortest_pause() {
    let env = Env::new();
    let script = "echo x >> /runs; echo begins; if [ $(wc -l < /runs) = 7 ]; then sleep 10.5; echo ends; fi; exit 3";
    with_policy(&env, "loop", "always", &["busybox", "sh", "-c", script]);
    env.wait_log("loop", "ends");
    let line_after_the_end = || {
        let lines = env.rctr(["logs", "-t", "loop"]).ok().lines();
        let at = lines.iter().position(|line| line.ends_with(" ends"))?;
        let time = |line: &String| -> jiff::Timestamp {
            line.split(' ').next().unwrap().parse().expect("a time")
        };
        Some((time(&lines[at]), time(lines.get(at + 1)?)))
    };
    let (ended, began) =
        rctr_tests::wait_for_some("the run after the long one", line_after_the_end);
    let pause = Duration::try_from(ended.until(began).unwrap()).unwrap_or_default();
    assert!(
        pause >= Duration::from_millis(100) && pause < Duration::from_secs(4),
        "it waited {pause:?}"
    );
}

#[test]
fn failures_are_tried_again_as_often_as_was_said() {
    let env = Env::new();
    with_policy(&env, "twice", "on-failure:2", &FAIL);
    with_policy(&env, "well", "on-failure", &["busybox", "true"]);
    with_policy(&env, "never", "no", &FAIL);
    let policy = env.inspect("twice")["HostConfig"]["RestartPolicy"].take();
    assert_eq!(
        policy,
        json!({"Name": "on-failure", "MaximumRetryCount": 2})
    );
    env.wait_status("twice", "exited");
    env.wait_status("well", "exited");
    assert_eq!(restarts(&env, "twice"), 2);
    env.rctr(["logs", "twice"]).ok().stdout_is("run\nrun\nrun");
    assert_eq!(state(&env, "twice")["ExitCode"], 3);
    assert_eq!(restarts(&env, "well"), 0);
    assert_eq!(restarts(&env, "never"), 0);

    // By hand it is a new beginning.
    env.rctr(["start", "twice"]).ok();
    env.wait_status("twice", "exited");
    assert_eq!(restarts(&env, "twice"), 2);
    assert_eq!(env.rctr(["logs", "twice"]).lines().len(), 6);
}

#[test]
fn a_killed_timer_is_replaced_by_whoever_looks() {
    let env = Env::new();
    let id = with_policy(&env, "loop", "always", &FAIL);
    wait_long_pause(&env, "loop");
    let before = restarts(&env, "loop");
    let killed = timer(&env, &id).expect("somebody waits");
    kill(Pid::from_raw(killed), Signal::SIGKILL).expect("it lives");
    wait_for("it to be gone", || {
        !std::path::Path::new(&format!("/proc/{killed}/stat")).exists()
    });
    // Whoever settled the end may still be at it when the first one looks.
    wait_for("another timer", || {
        let listed = env.rctr(["ps", "--format", "{{.Status}}"]);
        listed.ok().stdout_has("Restarting (3)");
        timer(&env, &id).is_some_and(|pid| pid != killed)
    });
    wait_restarts(&env, "loop", before + 1);
}

#[test]
fn many_that_come_back_cost_next_to_nothing() {
    let env = Env::new();
    let ids: Vec<String> = (0..10)
        .map(|n| with_policy(&env, &format!("c{n}"), "always", &FAIL))
        .collect();
    for n in 0..10 {
        wait_long_pause(&env, &format!("c{n}"));
    }
    let kilobytes = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find(|line| line.starts_with("Pss_Anon:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let used: Vec<u64> = ids
        .iter()
        .filter_map(|id| timer(&env, id).and_then(kilobytes))
        .collect();
    assert!(used.len() >= 5, "some wait: {used:?}");
    assert!(used.iter().all(|kilobytes| *kilobytes < 300), "{used:?}");
}
