//! Monitors are killed, or stopped: that is noticed and told.

use std::fs;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rctr_tests::{Env, Running, wait_for};

use crate::{Dice, assert_clean};

fn signal(pid: i32, signal: Signal) {
    // It may have ended a moment ago.
    let _ = kill(Pid::from_raw(pid), signal);
}

/// The first child of a process, as soon as it has one; None if it ends first.
fn child_of(command: &mut Running) -> Option<i32> {
    let path = format!("/proc/{0}/task/{0}/children", command.pid());
    let deadline = Instant::now() + Duration::from_secs(10);
    while command.alive() && Instant::now() < deadline {
        let children = fs::read_to_string(&path).unwrap_or_default();
        if let Some(pid) = children.split(' ').next().and_then(|pid| pid.parse().ok()) {
            return Some(pid);
        }
    }
    None
}

fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// Kills monitors 30 times while they start their container, 15 times while it runs, 15 times while it ends.
#[test]
fn alone_killed_monitors() {
    let env = Env::new();
    let mut dice = Dice::seeded();
    env.rctr(["run", "--rm", "busybox", "true"]).ok();
    let whole = env
        .rctr(["run", "--rm", "-p", "80", "busybox", "true"])
        .took();
    let (mut failed, mut told) = (0, 0);
    for round in 0..60 {
        env.rctr([
            "create", "--name", "cc", "-p", "80", "busybox", "sleep", "1000",
        ])
        .ok();
        let id = env.containers()[0].0.clone();
        let mut start = env.spawn(["start", "cc"]);
        let killed;
        if round % 2 == 0 {
            // Under load the start may be over before we have looked.
            let monitor = child_of(&mut start).or_else(|| env.monitor_of(&id));
            let monitor = monitor.expect("start makes a monitor");
            killed = monitor;
            std::thread::sleep(dice.moment(whole / 2));
            signal(monitor, Signal::SIGKILL);
            let out = start.finish();
            if out.status() != 0 {
                failed += 1;
                out.exits(1).one_error("killed");
            }
        } else {
            start.finish().ok();
            let monitor = env.monitor_of(&id).expect("it runs");
            if round % 4 == 1 {
                signal(env.processes_of(&id)[0], Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_micros(dice.below(4000)));
            signal(monitor, Signal::SIGKILL);
            killed = monitor;
        }
        wait_for("the monitor to end", || !lives(killed));
        wait_for("the container's processes to end", || {
            env.rctr(["ps", "-a"]).ok();
            env.processes_of(&id).is_empty()
        });
        let state = env.inspect("cc")["State"].take();
        let code = state["ExitCode"].as_i64();
        match state["Status"].as_str() {
            Some("exited") if code == Some(255) => {
                told += 1;
                let why = state["Error"].as_str().unwrap_or_default();
                assert!(why.contains("monitor was killed"), "round {round}: {state}");
            }
            Some("exited") => assert!(
                round % 4 == 1 && code == Some(137),
                "round {round}: {state}"
            ),
            Some("created") => assert_ne!(state["Error"], "", "round {round}: {state}"),
            _ => panic!("round {round}: {state}"),
        }
        assert_eq!(env.published(), [""; 0], "round {round}");
        env.rctr(["start", "cc"]).ok();
        env.assert_truth();
        env.rctr(["rm", "-f", "cc"]).ok();
    }
    println!("of 60: {failed} starts failed, {told} ends were unknown");
    assert!(told > 10);
    assert_clean(&env);
}

#[test]
fn a_killed_monitor_ends_its_container_at_once() {
    let env = Env::new();
    let id = env.run_detached(["--name", "cc", "busybox", "sleep", "1000"]);
    let waiting = env.spawn(["wait", "cc"]);
    let attached = env.spawn(["run", "--rm", "--name", "dd", "busybox", "sleep", "1000"]);
    env.wait_status("dd", "running");
    let other = env.inspect("dd")["Id"].as_str().expect("an id").to_owned();
    for id in [&id, &other] {
        signal(env.monitor_of(id).expect("a monitor"), Signal::SIGKILL);
    }
    // Without any command of ours.
    wait_for("the processes to end", || {
        env.processes_of(&id).is_empty() && env.processes_of(&other).is_empty()
    });
    waiting.finish().ok().stdout_is("255");
    assert_ne!(attached.finish().status(), 0);
    env.rctr(["inspect", "dd"]).exits(1);
    let listed = env.rctr(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
    listed.ok().stdout_has("cc Exited (255)");
    env.rctr(["logs", "cc"]).ok();
    env.rctr(["rm", "cc"]).ok();
    assert_clean(&env);
}

#[test]
fn a_stopped_monitor_keeps_nobody_else_waiting() {
    let env = Env::new();
    let id = env.run_detached(["--name", "cc", "busybox", "sleep", "1000"]);
    let monitor = env.monitor_of(&id).expect("a monitor");
    signal(monitor, Signal::SIGSTOP);
    let quick = |args: &[&str]| {
        let out = env.rctr(args);
        out.ok();
        assert!(out.took() < Duration::from_secs(5), "{out:?}");
        out
    };
    quick(&["ps"]).stdout_has("cc");
    quick(&["inspect", "cc"]);
    quick(&["logs", "cc"]);
    quick(&["images"]);
    quick(&["run", "--rm", "busybox", "true"]);
    signal(monitor, Signal::SIGCONT);
    quick(&["rm", "-f", "cc"]);
    assert_clean(&env);
}

#[test]
fn a_stopped_monitor_does_not_keep_its_container() {
    let env = Env::new();
    let run = |name: &str| {
        let id = env.run_detached(["--name", name, "busybox", "sleep", "1000"]);
        signal(env.monitor_of(&id).expect("a monitor"), Signal::SIGSTOP);
    };
    let quick = |args: &[&str]| {
        let out = env.rctr(args);
        out.ok();
        assert!(out.took() < Duration::from_secs(10), "{out:?}");
    };
    run("one");
    quick(&["stop", "-t", "1", "one"]);
    env.wait_status("one", "exited");
    run("two");
    quick(&["kill", "two"]);
    env.wait_status("two", "exited");
    run("three");
    quick(&["rm", "-f", "three"]);
    quick(&["rm", "one", "two"]);
    assert_clean(&env);
}

#[test]
fn who_needs_a_stopped_monitor_is_told_so() {
    let env = Env::new();
    let id = env.run_detached(["--name", "cc", "busybox", "sleep", "1000"]);
    let monitor = env.monitor_of(&id).expect("a monitor");
    signal(monitor, Signal::SIGSTOP);
    let words =
        format!("monitor of this container (process {monitor}) does not answer: it is stopped");
    for args in [
        &["exec", "cc", "touch", "/late"][..],
        &["exec", "-d", "cc", "touch", "/late"],
        &["exec", "-t", "cc", "touch", "/late"],
        &["attach", "cc"],
        &["start", "-a", "cc"],
    ] {
        let out = env.rctr(args);
        out.refused(1, &words)
            .stderr_has(&format!("hint: `kill -CONT {monitor}` lets it go on"));
        assert!(out.took() < Duration::from_secs(20), "{out:?}");
    }
    signal(monitor, Signal::SIGCONT);
    // What was said not to be executed is not executed later.
    env.rctr(["exec", "cc", "ls", "/late"]).exits(1);
    let words = [
        "events",
        "--since",
        "0",
        "--until",
        "0s",
        "-f",
        "event=exec_die",
    ];
    let told = [&words[..], &["--format", "{{.Actor.Attributes.exitCode}}"]].concat();
    env.rctr(told).ok().stdout_is("1");
    assert_clean(&env);
}

#[test]
fn a_monitor_that_hangs_for_good_is_done_without() {
    let env = Env::new();
    for last in [&["rm", "-f", "cc"][..], &["stop", "-t", "0", "cc"]] {
        let id = env.run_detached(["--name", "cc", "busybox", "sleep", "1000"]);
        let monitor = env.monitor_of(&id).expect("a monitor");
        // Stopped by a debugger: no signal but SIGKILL moves it.
        let pid = Pid::from_raw(monitor);
        for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
            // SAFETY: these take no data.
            assert_eq!(unsafe { libc::ptrace(request, monitor, 0, 0) }, 0);
        }
        let stopped = waitpid(pid, None).expect("it stops");
        assert!(
            matches!(stopped, WaitStatus::PtraceEvent(..)),
            "{stopped:?}"
        );
        let out = env.rctr(last);
        out.ok();
        assert!(out.took() < Duration::from_secs(30), "{out:?}");
        assert!(env.processes_of(&id).is_empty());
        let end = waitpid(pid, None).expect("it ends");
        assert_eq!(end, WaitStatus::Signaled(pid, Signal::SIGKILL, false));
    }
    env.wait_status("cc", "exited");
    env.rctr(["rm", "cc"]).ok();
    assert_clean(&env);
}

#[test]
fn an_idle_monitor_is_small() {
    let env = Env::new();
    let id = env.run_detached(["busybox", "sleep", "1000"]);
    let monitor = env.monitor_of(&id).expect("a monitor");
    let pss = || {
        let rollup = fs::read_to_string(format!("/proc/{monitor}/smaps_rollup"));
        let rollup = rollup.expect("smaps_rollup");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("a size")
    };
    // A build without optimisation is three times as large, and has 6 MB before it gives memory back; the figure
    // that counts is a benchmark's.
    wait_for("the monitor to give memory back", || pss() < 3072);
    println!("PSS of an idle monitor: {} KiB", pss());
    assert_clean(&env);
}
