//! Many commands at once.

use std::time::{Duration, Instant};

use rctr_tests::{Env, Running};

use crate::{Dice, assert_clean};

/// As many commands as `count` says, all at once.
fn at_once(count: usize, start: impl Fn(usize) -> Running) -> Vec<rctr_tests::Output> {
    let running: Vec<_> = (0..count).map(start).collect();
    running.into_iter().map(Running::finish).collect()
}

#[test]
fn alone_a_hundred_runs_at_once() {
    let env = Env::new();
    env.rctr(["run", "--rm", "busybox", "true"]).ok();
    let begin = Instant::now();
    let done = at_once(100, |n| {
        let number = n.to_string();
        env.spawn(["run", "--rm", "busybox", "echo", &number])
    });
    println!("100 concurrent run --rm: {:?}", begin.elapsed());
    for (n, out) in done.iter().enumerate() {
        out.ok().stdout_is(&n.to_string()).quiet();
    }
    assert_eq!(env.containers(), []);
    assert_clean(&env);
}

#[test]
fn commands_that_fight_over_one_container_leave_it_whole() {
    let env = Env::new();
    let mut dice = Dice::seeded();
    let create = [
        "create",
        "--name",
        "cc",
        "-p",
        "127.0.0.1::80",
        "busybox",
        "sleep",
        "1000",
    ];
    for round in 0..12 {
        env.rctr(create).ok();
        let words: Vec<u64> = (0..8).map(|_| dice.below(5)).collect();
        let done = at_once(words.len(), |n| match words[n] {
            0 | 1 => env.spawn(["start", "cc"]),
            2 => env.spawn(["stop", "-t", "0", "cc"]),
            3 => env.spawn(["kill", "cc"]),
            _ if round % 2 == 0 => env.spawn(["rm", "-f", "cc"]),
            _ => env.spawn(["rm", "cc"]),
        });
        for out in &done {
            // Somebody else was quicker, or it is in the wrong state; anything else is a fault.
            if out.status() != 0 {
                let text = out.stderr().to_lowercase();
                let known = ["no such container", "is not running", "cannot remove"];
                assert!(
                    known.iter().any(|word| text.contains(word)),
                    "round {round}: {out:?}"
                );
            }
        }
        env.assert_truth();
        if !env.containers().is_empty() {
            env.rctr(["start", "cc"]).ok();
            env.assert_truth();
            env.rctr(["rm", "-f", "cc"]).ok();
        }
    }
    assert_clean(&env);
}

/// A fixed port, so that a start finds out whether the last run has let go of it.
#[test]
fn a_container_restarts_at_once() {
    let env = Env::new();
    let port = rctr_tests::Proxy::start(|_| rctr_tests::Verdict::Close).host();
    let create = [
        "create",
        "--name",
        "cc",
        "-p",
        &format!("{port}:80"),
        "busybox",
        "sleep",
        "1000",
    ];
    env.rctr(create).ok();
    for _ in 0..15 {
        env.rctr(["start", "cc"]).ok();
        env.rctr(["kill", "cc"]).ok();
        env.rctr(["wait", "cc"]).ok().stdout_is("137");
    }
    let slowest = (0..5).map(|_| {
        env.rctr(["start", "cc"]).ok();
        env.rctr(["stop", "-t", "0", "cc"]).ok().took()
    });
    assert!(slowest.max() < Some(Duration::from_secs(5)));
    env.assert_truth();
    assert_clean(&env);
}
