//! Killed before each call.

use std::collections::BTreeSet;
use std::fs;

use rctr_tests::{Env, wait_for};

use crate::{DURABLE, Traced, can_trace, check, give};

const KILL: &str = "signal=SIGKILL";

/// Kills `args` before each of its calls. Before each time `prepare` makes what it needs; afterwards the same command
/// is given again and must work, or say with one of `done` that the killed one had finished; then `undo` takes
/// everything away.
fn sweep(prepare: &[&[&str]], args: &[&str], done: &[&str], undo: &[&[&str]]) {
    if !can_trace() {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let make = || prepare.iter().for_each(|words| give(&env, words));
    make();
    let calls = Traced::new(&env, args).at_every_call(&DURABLE, KILL, |call, killed| {
        let when = format!("{} killed before its {call}", args.join(" "));
        if killed.status() != 0 {
            let again = env.rctr(args);
            let said = again.stderr();
            assert!(
                again.status() == 0 || done.iter().any(|text| said.contains(text)),
                "{when}, then: {said}"
            );
        }
        check(&env, &when);
        undo.iter().for_each(|words| give(&env, words));
        env.assert_no_leftovers();
        make();
    });
    undo.iter().for_each(|words| give(&env, words));
    println!("{}: {calls} calls", args.join(" "));
    assert!(calls > 0, "{} changes nothing", args.join(" "));
}

const SLEEPER: [&str; 6] = ["--name", "cc", "-p", "80", "busybox", "sleep"];

fn words<'a>(first: &'a [&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [first, rest].concat()
}

#[test]
fn create() {
    let args = words(
        &["create", "-v", "vv:/data", "-v", "/anon"],
        &words(&SLEEPER, &["1000"]),
    );
    let undo: &[&[&str]] = &[&["rm", "-f", "-v", "cc"], &["volume", "rm", "-f", "vv"]];
    sweep(&[], &args, &["already in use"], undo);
}

/// What no record leads to is not there for long: whoever ends, removes or prunes something takes it away.
#[test]
fn what_is_left_half_made_goes_with_an_ordinary_command() {
    if !can_trace() {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let is_well = || env.rctr(["system", "check"]).status() == 0;
    let job = ["--network", "none", "busybox", "true"];
    let foreground = words(&["run", "--rm"], &job);
    let background = words(&["run", "-d", "--name", "later"], &job);
    let made = words(&["create", "--name", "other"], &job);
    let ordinary: [&dyn Fn(); 5] = [
        &|| give(&env, &foreground),
        &|| {
            give(&env, &background);
            // Its end is written down behind it.
            wait_for("what was left to go", is_well);
        },
        &|| give(&env, &["rm", "other"]),
        &|| give(&env, &["container", "prune", "-f", "--filter", "label=no"]),
        &|| give(&env, &["volume", "prune", "-f"]),
    ];
    let create = words(
        &["create", "-v", "vv:/data", "-v", "/anon"],
        &words(&SLEEPER, &["1000"]),
    );
    let none: &[&[&str]] = &[];
    let cases: [(&[&[&str]], &[&str]); 4] = [
        (none, &create),
        (&[&create], &["rm", "-v", "cc"]),
        (&[&create], &["commit", "cc", "kept"]),
        (none, &["volume", "create"]),
    ];
    let mut kinds = BTreeSet::new();
    let mut round = 0;
    for (prepare, args) in cases {
        let make = || {
            prepare.iter().for_each(|words| give(&env, words));
            give(&env, &made);
        };
        make();
        Traced::new(&env, args).at_every_call(&DURABLE, KILL, |call, _| {
            let when = format!("{} killed before its {call}", args.join(" "));
            let found = env.rctr(["system", "check"]).lines();
            for line in found {
                let left = line.strip_suffix(": no record leads to it");
                let path = left.unwrap_or_else(|| panic!("{when}: {line}"));
                kinds.insert(path.split('/').next().unwrap_or_default().to_owned());
                round += 1;
            }
            if !is_well() {
                ordinary[round % ordinary.len()]();
                env.rctr(["system", "check"]).ok().stdout_is("");
            }
            give(&env, &["rm", "-f", "-v", "cc", "other", "later"]);
            give(&env, &["volume", "prune", "-a", "-f"]);
            env.rctr(["rmi", "-f", "kept"]);
            make();
        });
        give(&env, &["rm", "-f", "-v", "cc", "other"]);
    }
    assert_eq!(
        Vec::from_iter(kinds),
        ["containers", "layers", "tmp", "volumes"]
    );
    assert!(round > 10, "{round} findings");
}

#[test]
fn run() {
    let args = words(
        &["run", "-d", "-v", "vv:/data"],
        &words(&SLEEPER, &["1000"]),
    );
    let undo: &[&[&str]] = &[&["rm", "-f", "-v", "cc"], &["volume", "rm", "-f", "vv"]];
    sweep(&[], &args, &["already in use"], undo);
}

#[test]
fn start() {
    let create = words(&["create"], &words(&SLEEPER, &["1000"]));
    sweep(
        &[&create],
        &["start", "cc"],
        &[],
        &[&["rm", "-f", "-v", "cc"]],
    );
}

#[test]
fn stop() {
    let run = words(&["run", "-d"], &words(&SLEEPER, &["1000"]));
    sweep(
        &[&run],
        &["stop", "-t", "0", "cc"],
        &[],
        &[&["rm", "-f", "-v", "cc"]],
    );
}

#[test]
fn restart() {
    let run = words(&["run", "-d"], &words(&SLEEPER, &["1000"]));
    sweep(
        &[&run],
        &["restart", "-t", "0", "cc"],
        &[],
        &[&["rm", "-f", "-v", "cc"]],
    );
}

/// Whoever is killed before the signal is sent has asked for nothing: the container's next end is its own, and its policy
/// starts it again.
#[test]
fn what_did_not_reach_the_container_was_not_asked_for() {
    if !can_trace() {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let script =
        "trap 'exit 7' TERM; trap 'echo heard' URG; echo ready; while :; do sleep 0.02; done";
    let run: &[&str] = &[
        "run",
        "-d",
        "--name",
        "cc",
        "--network",
        "none",
        "--restart",
        "always",
        "--stop-signal",
        "TERM",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let state = || env.inspect("cc")["State"].take();
    for args in [&["kill", "-s", "TERM", "cc"][..], &["stop", "cc"]] {
        let (mut unheard, mut ended) = (0, 0);
        give(&env, run);
        env.wait_log("cc", "ready");
        Traced::new(&env, args).at_every_call(&DURABLE, KILL, |call, _| {
            let when = format!("{} killed before its {call}", args.join(" "));
            // It comes after the one that may have been sent, and of two that wait the shell handles the lower one first.
            env.rctr(["kill", "-s", "URG", "cc"]);
            let is_over = || state()["Status"] == "exited";
            wait_for("a signal to arrive", || {
                is_over() || env.rctr(["logs", "cc"]).stdout().contains("heard")
            });
            if is_over() {
                assert_eq!(state()["ExitCode"], 7, "{when}");
                ended += 1;
            } else {
                let pid = state()["Pid"].as_i64().expect("a pid");
                let pid = nix::unistd::Pid::from_raw(pid as i32);
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
                wait_for(&format!("another run after {when}"), || {
                    env.inspect("cc")["RestartCount"] == 1 && state()["Status"] == "running"
                });
                unheard += 1;
            }
            give(&env, &["rm", "-f", "cc"]);
            give(&env, run);
            env.wait_log("cc", "ready");
        });
        give(&env, &["rm", "-f", "cc"]);
        assert!(unheard > 0 && ended > 0, "{unheard} unheard, {ended} ended");
    }
}

#[test]
fn remove() {
    let create = words(&["create", "-v", "/anon"], &words(&SLEEPER, &["1000"]));
    sweep(&[&create], &["rm", "-v", "cc"], &["No such container"], &[]);
}

#[test]
fn remove_by_force() {
    let run = words(&["run", "-d", "-v", "/anon"], &words(&SLEEPER, &["1000"]));
    sweep(&[&run], &["rm", "-f", "-v", "cc"], &[], &[]);
}

#[test]
fn rename() {
    let create = words(&["create"], &words(&SLEEPER, &["1000"]));
    let undo: &[&[&str]] = &[&["rm", "-f", "cc"], &["rm", "-f", "dd"]];
    sweep(
        &[&create],
        &["rename", "cc", "dd"],
        &["No such container"],
        undo,
    );
}

#[test]
fn commit() {
    let create = words(&["run", "-d"], &words(&SLEEPER, &["1000"]));
    let undo: &[&[&str]] = &[&["rm", "-f", "cc"], &["rmi", "-f", "kept"]];
    sweep(&[&create], &["commit", "cc", "kept"], &[], undo);
}

#[test]
fn volumes() {
    let undo: &[&[&str]] = &[&["volume", "rm", "-f", "vv"]];
    sweep(&[], &["volume", "create", "vv"], &[], undo);
    sweep(
        &[&["volume", "create", "vv"]],
        &["volume", "rm", "vv"],
        &["no such volume"],
        &[],
    );
}

#[test]
fn networks() {
    let undo: &[&[&str]] = &[&["network", "rm", "-f", "nn"]];
    sweep(&[], &["network", "create", "nn"], &["already exists"], undo);
    sweep(
        &[&["network", "create", "nn"]],
        &["network", "rm", "nn"],
        &["not found"],
        &[],
    );
}

/// What a network has on the host is never there without the network.
#[test]
fn links_of_networks() {
    if !can_trace() {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    // A bridge there is once a container has needed it; a macvlan without a parent gets one at once.
    let bridge = env.slot().bridge().replace("rctrt", "rctrn");
    let named = format!("com.docker.network.bridge.name={bridge}");
    let subnet = env
        .slot()
        .subnet()
        .to_string()
        .replace("10.213.", "10.219.");
    let on_bridge = ["network", "create", "-o", &named, "--subnet", &subnet, "nn"];
    let run = ["run", "--rm", "--network", "nn", "busybox", "true"];
    let links = || -> Vec<String> {
        let all = fs::read_dir("/sys/class/net").expect("links").flatten();
        let names = all.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|name| *name == bridge || name.starts_with("dm-"))
            .collect()
    };
    let macvlan = ["network", "create", "-d", "macvlan", "nn"];
    let remove = ["network", "rm", "nn"];
    let has_dummies = env.rctr(macvlan).status() == 0;
    env.rctr(["network", "rm", "-f", "nn"]).ok();
    let mut cases: Vec<(&[&[&str]], &[&str])> = vec![(&[], &on_bridge)];
    let used: [&[&str]; 2] = [&on_bridge, &run];
    let made: [&[&str]; 1] = [&macvlan];
    cases.push((&used, &remove));
    if has_dummies {
        cases.extend([(&[][..], &macvlan[..]), (&made, &remove)]);
    }
    for (prepare, args) in cases {
        let make = || prepare.iter().for_each(|words| give(&env, words));
        make();
        let calls = Traced::new(&env, args).at_every_call(&DURABLE, KILL, |call, _| {
            let when = format!("{} killed before its {call}", args.join(" "));
            check(&env, &when);
            give(&env, &["network", "rm", "-f", "nn"]);
            assert_eq!(links(), [""; 0], "{when}");
            make();
        });
        give(&env, &["network", "rm", "-f", "nn"]);
        println!("{}: {calls} calls", args.join(" "));
    }
}

#[test]
fn network_connections() {
    let run = words(&["run", "-d"], &words(&SLEEPER, &["1000"]));
    let prepare: &[&[&str]] = &[&["network", "create", "nn"], &run];
    let undo: &[&[&str]] = &[&["rm", "-f", "cc"], &["network", "rm", "nn"]];
    sweep(
        prepare,
        &["network", "connect", "nn", "cc"],
        &["already exists"],
        undo,
    );
    let prepare: &[&[&str]] = &[prepare[0], prepare[1], &["network", "connect", "nn", "cc"]];
    sweep(
        prepare,
        &["network", "disconnect", "nn", "cc"],
        &["is not connected"],
        undo,
    );
}

#[test]
fn garbage_collection() {
    // An image of one file: each one more is one more call.
    let prepare: &[&[&str]] = &[
        &["pull", "-q", "scratch-hello"],
        &["create", "--name", "cc", "-v", "/anon", "scratch-hello"],
        &["rm", "cc"],
    ];
    sweep(
        prepare,
        &["system", "prune", "-a", "-f", "--volumes"],
        &[],
        &[],
    );
}
