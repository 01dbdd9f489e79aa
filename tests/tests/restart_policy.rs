//! `--restart`: who comes back, when, how often, and what keeps them from it.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, wait_for};
use serde_json::{Value, json};

const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];
const FAIL: [&str; 4] = ["busybox", "sh", "-c", "echo run; exit 3"];

fn with_policy(env: &Env, name: &str, policy: &str, words: &[&str]) -> String {
    let flags = ["--network", "none", "--name", name, "--restart", policy];
    env.run_detached([&flags, words].concat())
}

fn restarts(env: &Env, name: &str) -> u64 {
    let count = env.inspect(name)["RestartCount"].as_u64();
    count.expect("a number of restarts")
}

fn wait_restarts(env: &Env, name: &str, at_least: u64) {
    wait_for(&format!("{at_least} restarts of {name}"), || {
        restarts(env, name) >= at_least
    });
}

fn state(env: &Env, name: &str) -> Value {
    env.inspect(name)["State"].take()
}

/// The process that waits until a container is to be started again.
fn timer(env: &Env, id: &str) -> Option<i32> {
    let file = fs::read(env.state().join(id).join("restart.json")).ok()?;
    let timer: Value = serde_json::from_slice(&file).ok()?;
    timer["pid"].as_i64()?.try_into().ok()
}

/// Waits until it is between two runs with some seconds to go.
fn wait_long_pause(env: &Env, name: &str) {
    wait_restarts(env, name, 5);
    env.wait_status(name, "restarting");
}

/// Kills a container's first process from outside, as if it had crashed.
fn crash(env: &Env, name: &str) {
    let pid = state(env, name)["Pid"].as_i64().expect("a pid");
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("it runs");
}

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
