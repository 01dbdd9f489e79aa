//! Commands are killed; the containers are not hurt.

use std::time::Duration;

use rctr_tests::Env;

use crate::{Dice, assert_clean, kill_after};

const LOOP: &str = "echo up; while :; do sleep 1; done";

/// Kills a foreground `run` 60 times: the container runs on, or can be started, or never was.
#[test]
fn alone_killed_runs() {
    let env = Env::new();
    let mut dice = Dice::seeded();
    env.rctr(["run", "--rm", "busybox", "true"]).ok();
    let whole = env
        .rctr(["run", "--rm", "-p", "80", "busybox", "true"])
        .took();
    let mut met = [0; 3];
    for round in 0..60 {
        let mut args = vec!["run", "--name", "cc", "-p", "80"];
        args.extend((round % 3 == 0).then_some("--rm"));
        args.extend(["busybox", "sh", "-c", LOOP]);
        kill_after(env.spawn(args), dice.moment(whole));

        // `ps` at once, while its monitor may still be at work; then what it says must last.
        let seen = env.containers();
        let state = seen.first().map_or("none", |(_, state)| state.as_str());
        let started = env.rctr(["start", "cc"]);
        if started.status() != 0 {
            assert_eq!(
                env.containers(),
                [],
                "round {round}: was {state}: {}",
                started.stderr()
            );
            met[0] += 1;
            continue;
        }
        met[if state == "running" { 2 } else { 1 }] += 1;
        env.wait_log("cc", "up");
        env.assert_truth();
        env.rctr(["exec", "cc", "true"]).ok();
        env.rctr(["rm", "-f", "cc"]).ok();
    }
    println!(
        "of 60: {} never were, {} were made, {} ran at once",
        met[0], met[1], met[2]
    );
    assert_clean(&env);
}

/// Kills `create`, `start`, `stop` and `rm` 80 times, whichever comes next in the container's life.
#[test]
fn alone_killed_create_start_stop_rm() {
    let env = Env::new();
    let mut dice = Dice::seeded();
    env.rctr(["run", "--rm", "busybox", "true"]).ok();
    let create = [
        "create", "--name", "cc", "-p", "80", "busybox", "sh", "-c", LOOP,
    ];
    let whole = env
        .rctr(["run", "--rm", "-p", "80", "busybox", "true"])
        .took();
    for round in 0..80 {
        let state = env.containers().first().map(|(_, state)| state.clone());
        let args: Vec<&str> = match (state.as_deref(), dice.below(4)) {
            (None, _) => create.to_vec(),
            (Some("running"), 0) => vec!["rm", "-f", "-v", "cc"],
            (Some("running"), _) => vec!["stop", "-t", "0", "cc"],
            (Some(_), 0) => vec!["rm", "-v", "cc"],
            (Some(_), _) => vec!["start", "cc"],
        };
        let whole = if args[0] == "start" { whole } else { whole / 2 };
        let out = kill_after(env.spawn(&args), dice.moment(whole));
        assert!(matches!(out.status(), 0 | 137), "round {round}: {out:?}");
        // Waits for whoever is still at work, as the next command of a user does.
        match env.rctr(["start", "cc"]).status() {
            0 => {}
            _ => assert_eq!(env.containers(), [], "round {round}"),
        }
        env.assert_truth();
        if dice.below(2) == 0 && !env.containers().is_empty() {
            env.rctr(["stop", "-t", "0", "cc"]).ok();
            env.assert_truth();
        }
    }
    assert_clean(&env);
}

/// `exec`, `logs` and `attach` are killed; the container does not notice.
#[test]
fn killed_onlookers_do_no_harm() {
    let env = Env::new();
    let id = env.run_detached(["busybox", "sh", "-c", LOOP]);
    env.wait_log(&id, "up");
    for args in [
        vec!["exec", &id, "sleep", "1000"],
        vec!["logs", "-f", &id],
        vec!["attach", &id],
        vec!["wait", &id],
    ] {
        kill_after(env.spawn(args), Duration::from_millis(60));
        env.assert_truth();
    }
    env.rctr(["exec", &id, "true"]).ok();
    assert_clean(&env);
}
