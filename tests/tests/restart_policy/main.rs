//! `--restart`: who comes back, when, how often, and what keeps them from it.

mod boot;
mod commands;
mod pauses;
mod stops;

use std::fs;

use rctr_tests::{Env, wait_for};
use serde_json::Value;

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
