//! Who follows misses nothing, whoever is killed meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, Running, wait_for};
use serde_json::Value;

use super::told;

/// `rctr events` into a file; killed when it is dropped.
struct Follower {
    child: Child,
    path: PathBuf,
}

impl Follower {
    fn start(env: &Env, name: &str) -> Follower {
        let path = env.path(name);
        let file = std::fs::File::create(&path).expect("a file");
        let mut command = env.command(["events", "--since", "0", "--format", "json"]);
        let child = command.stdin(Stdio::null()).stdout(file).spawn();
        Follower {
            child: child.expect("rctr starts"),
            path,
        }
    }

    /// What it has told, once that is as much as there is to tell.
    fn told(&self, events: usize) -> Vec<Value> {
        wait_for("the last event", || read(&self.path).len() >= events);
        read(&self.path)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a file");
    let whole = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    whole.collect()
}

#[test]
fn a_hundred_at_once_are_told_to_two_followers_once_each() {
    let env = Env::new();
    env.rctr(["pull", "busybox"]).ok();
    let followers = ["one.json", "two.json"].map(|name| Follower::start(&env, name));
    let runs: Vec<Running> = (0..100)
        .map(|_| env.spawn(["run", "--rm", "--network", "none", "busybox", "true"]))
        .collect();
    for run in runs {
        run.finish().ok();
    }
    let expected = told(&env, &[]);
    let destroyed = expected.iter().filter(|e| e["Action"] == "destroy");
    assert_eq!(destroyed.count(), 100);
    for follower in &followers {
        let seen = follower.told(expected.len());
        assert!(seen == expected, "each has seen what there was");
    }
    let mut lives: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in expected.iter().filter(|e| e["Type"] == "container") {
        let id = event["Actor"]["ID"].as_str().unwrap_or_default();
        let action = event["Action"].as_str().unwrap_or_default();
        lives.entry(id).or_default().push(action);
    }
    for life in lives.values() {
        assert_eq!(life[..], ["create", "attach", "start", "die", "destroy"]);
    }
}

#[test]
fn whoever_is_killed_leaves_nothing_untold() {
    let env = Env::new();
    env.rctr(["pull", "busybox"]).ok();
    let follower = Follower::start(&env, "killed.json");
    // Killed at ever later moments: before, while and after the container starts.
    for delay in 0..40 {
        let words = ["run", "--network", "none", "busybox", "sleep", "0.05"];
        let run = env.spawn(words);
        std::thread::sleep(Duration::from_millis(delay * 2));
        run.signal(Signal::SIGKILL);
        run.finish();
    }
    // A monitor that is killed takes its container with it.
    let id = env.run_detached(["--network", "none", "busybox", "sleep", "600"]);
    let monitor = env
        .rctr(["inspect", "-f", "{{.State.Pid}}", &id])
        .ok()
        .stdout();
    let monitor = parent_of(monitor.parse().expect("a pid"));
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("it lives");
    wait_for("all of them to end", || {
        let live = ["ps", "-q", "--no-trunc", "-f", "status=running"];
        env.rctr(live).ok().stdout().is_empty()
    });
    let ids = env.rctr(["ps", "-aq", "--no-trunc"]).ok().lines();
    env.rctr(
        [
            &["rm", "-f"],
            &ids.iter().map(String::as_str).collect::<Vec<_>>()[..],
        ]
        .concat(),
    )
    .ok();
    let expected = told(&env, &[]);
    assert!(follower.told(expected.len()) == expected);
    let mut lives: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in expected.iter().filter(|e| e["Type"] == "container") {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        lives
            .entry(text(&event["Actor"]["ID"]))
            .or_default()
            .push(text(&event["Action"]));
    }
    let mut started = 0;
    for (id, life) in &lives {
        let life: Vec<&str> = life
            .iter()
            .map(String::as_str)
            .filter(|w| *w != "attach")
            .collect();
        let good: [&[&str]; 3] = [
            &["create", "destroy"],
            &["create", "start", "die", "destroy"],
            &["create", "start", "kill", "die", "destroy"],
        ];
        assert!(good.contains(&&life[..]), "{id}: {life:?}");
        started += usize::from(life.contains(&"start"));
    }
    assert!(started >= 2, "{started} of {} were started", lives.len());
}

fn parent_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|pid| pid.trim().parse().ok())
        .expect("a parent")
}
