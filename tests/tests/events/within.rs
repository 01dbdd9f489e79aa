//! What happens while a container runs: signals, terminals, probes of its health, a lack of memory.

use std::time::Duration;

use nix::sys::signal::Signal;
use rctr_tests::{Env, Terminal, wait_for};
use serde_json::Value;

use crate::{attributes, told};

fn prepared() -> Env {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    env
}

/// Actions that containers have met, oldest first.
fn actions(env: &Env) -> Vec<String> {
    let events = told(env, &["--filter", "type=container"]);
    events.iter().map(action).collect()
}

fn action(event: &Value) -> String {
    event["Action"].as_str().unwrap_or_default().to_owned()
}

/// The attributes of the first event with this action.
fn first(env: &Env, of: &str) -> std::collections::BTreeMap<String, String> {
    let events = told(env, &["--filter", "type=container"]);
    let event = events.iter().find(|event| action(event) == of);
    attributes(event.expect("told"))
}

#[test]
fn signals_that_are_passed_on() {
    let env = prepared();
    let script =
        "trap 'echo caught' USR1; trap 'exit 7' TERM; echo set; while :; do sleep 0.05; done";
    let run = env.spawn(["run", "--name", "cc", "busybox", "sh", "-c", script]);
    env.wait_log("cc", "set");
    run.signal(Signal::SIGUSR1);
    env.wait_log("cc", "caught");
    let watching = env.spawn(["attach", "--no-stdin", "cc"]);
    let deaf = env.spawn(["attach", "--no-stdin", "--sig-proxy=false", "cc"]);
    wait_for("both to be attached", || {
        actions(&env).iter().filter(|a| *a == "attach").count() == 3
    });
    deaf.signal(Signal::SIGTERM);
    assert_eq!(deaf.finish().status(), 128 + 15);
    watching.signal(Signal::SIGTERM);
    watching.finish().exits(7);
    run.finish().exits(7);
    assert_eq!(
        actions(&env),
        [
            "create", "attach", "start", "kill", "attach", "attach", "kill", "die"
        ]
    );
    let events = told(&env, &["--filter", "event=kill"]);
    let signals: Vec<String> = events
        .iter()
        .map(|e| attributes(e)["signal"].clone())
        .collect();
    assert_eq!(signals, ["10", "15"]);
}

/// As after `docker kill`: whoever ends it from his terminal does not want it back.
#[test]
fn a_signal_that_is_passed_on_ends_a_restart_policy() {
    let env = prepared();
    let words = [
        "run",
        "--name",
        "cc",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
    ];
    let script = "trap 'exit 7' TERM; echo set; while :; do sleep 0.05; done";
    let run = env.spawn([&words[..], &[script]].concat());
    env.wait_log("cc", "set");
    run.signal(Signal::SIGTERM);
    run.finish().exits(7);
    env.wait_status("cc", "exited");
    // Longer than the first back-off.
    std::thread::sleep(Duration::from_millis(500));
    env.wait_status("cc", "exited");
    assert_eq!(env.inspect("cc")["RestartCount"], 0);
}

#[test]
fn terminals_get_another_size_and_are_left() {
    let env = prepared();
    let words = [
        "run", "--name", "cc", "-it", "-e", "PS1=> ", "busybox", "sh",
    ];
    let mut shell = Terminal::start(env.command(words), 24, 80);
    shell.wait_shown("> ");
    shell.resize(50, 132);
    wait_for("the new size", || {
        actions(&env).iter().filter(|a| *a == "resize").count() == 2
    });
    shell.type_in("\x10\x11");
    assert_eq!(shell.finish(), 0);
    let sizes = told(&env, &["--filter", "event=resize"]);
    let size = |event: &Value| {
        let all = attributes(event);
        (all["height"].clone(), all["width"].clone())
    };
    let text = |rows: u8, columns: u8| (rows.to_string(), columns.to_string());
    assert_eq!(size(&sizes[0]), text(24, 80));
    assert_eq!(size(&sizes[1]), text(50, 132));
    let all = actions(&env);
    assert_eq!(all[..3], ["create", "attach", "start"]);
    assert_eq!(all.last().map(String::as_str), Some("detach"));

    let words = ["exec", "-it", "-e", "PS1=# ", "cc", "sh"];
    let mut shell = Terminal::start(env.command(words), 24, 80);
    shell.wait_shown("# ");
    shell.type_in("\x10\x11");
    assert_eq!(shell.finish(), 1);
    let begun = first(&env, "exec_start: sh")["execID"].clone();
    assert_eq!(first(&env, "exec_detach")["execID"], begun);
}

#[test]
fn probes_and_what_they_find() {
    let env = prepared();
    let check = "test -e /ok";
    let flags = ["--health-cmd", check, "--health-interval", "100ms"];
    let words = [
        "--name",
        "web",
        "--network",
        "none",
        "--health-retries",
        "2",
    ];
    let last = ["busybox", "sleep", "1000"];
    env.run_detached([&words[..], &flags, &last].concat());
    let health = || -> Vec<String> {
        let mut all = actions(&env);
        all.retain(|action| action.starts_with("health_status"));
        all
    };
    wait_for("unhealthy", || health() == ["health_status: unhealthy"]);
    env.rctr(["exec", "web", "touch", "/ok"]).ok();
    wait_for("healthy", || health().len() == 2);
    assert_eq!(
        health(),
        ["health_status: unhealthy", "health_status: healthy"]
    );
    let shown = told(&env, &["--filter", "event=health_status"]);
    assert_eq!(shown.len(), 2);
    assert_eq!(attributes(&shown[0])["name"], "web");
    env.rctr(["stop", "-t", "0", "web"]).ok();

    // Two failures made it unhealthy, each in Docker's three words.
    let all = actions(&env);
    let create = format!("exec_create: /bin/sh -c {check}");
    let start = format!("exec_start: /bin/sh -c {check}");
    let probe = [create.as_str(), &start, "exec_die"];
    let unhealthy = [
        &["create", "start"],
        &probe[..],
        &probe[..],
        &["health_status: unhealthy"],
    ];
    assert_eq!(all[..9], unhealthy.concat());
    let events = told(
        &env,
        &["--filter", "container=web", "--filter", "type=container"],
    );
    let ids: Vec<_> = events[2..8]
        .iter()
        .map(|e| attributes(e)["execID"].clone())
        .collect();
    assert!(
        ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3],
        "{ids:?}"
    );
    assert_eq!(attributes(&events[4])["exitCode"], "1");
    let died = all.iter().position(|action| action == "die");
    let late = all.iter().skip(died.expect("it has ended"));
    assert!(
        late.clone().all(|action| !action.starts_with("exec")),
        "{late:?}"
    );
}

#[test]
fn a_lack_of_memory_is_told_when_it_comes() {
    let env = prepared();
    let script = "sh -c 'a=x; while :; do a=$a$a; done'; echo survived; sleep 1000";
    let words = [
        "--name",
        "cc",
        "-m",
        "32m",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
    ];
    env.run_detached([&words[..], &[script]].concat());
    env.wait_log("cc", "survived");
    wait_for("the event", || actions(&env).contains(&"oom".to_owned()));
    env.wait_status("cc", "running");
    env.rctr(["stop", "-t", "0", "cc"]).ok();
    let all = actions(&env);
    let count = |word: &str| all.iter().filter(|action| *action == word).count();
    assert_eq!((count("oom"), count("die")), (1, 1), "{all:?}");

    // One that it ends is told of once, before its end.
    env.rctr(["rm", "cc"]).ok();
    let script = "a=x; while :; do a=$a$a; done";
    env.run_detached([&words[..], &[script]].concat());
    env.wait_status("cc", "exited");
    assert_eq!(env.inspect("cc")["State"]["OOMKilled"], true);
    let all = actions(&env);
    assert_eq!(all[all.len() - 4..], ["create", "start", "oom", "die"]);
}
