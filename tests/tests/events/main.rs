//! `events`: what happens is told once, in order, in Docker's words, to everybody who asks.

mod within;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, Running, wait_for};
use serde_json::Value;

/// Events until now, oldest first.
fn told(env: &Env, flags: &[&str]) -> Vec<Value> {
    let words = [
        "events", "--since", "0", "--until", "0s", "--format", "json",
    ];
    let output = env.rctr([&words[..], flags].concat());
    let lines = output.ok().lines();
    let events = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    events.collect()
}

/// `container create`, `network connect`, …
fn words(events: &[Value]) -> Vec<String> {
    let word = |event: &Value| {
        let text = |key: &str| event[key].as_str().expect("a word").to_owned();
        format!("{} {}", text("Type"), text("Action"))
    };
    events.iter().map(word).collect()
}

fn attributes(event: &Value) -> BTreeMap<String, String> {
    let object = event["Actor"]["Attributes"].as_object().expect("a map");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    object.iter().map(|(k, v)| (k.clone(), text(v))).collect()
}

#[test]
fn the_life_of_a_container() {
    let env = Env::new();
    let flags = [
        "--name",
        "web",
        "-l",
        "tier=front",
        "-v",
        "data:/data",
        "-v",
        "/own",
    ];
    let id = env.run_detached([&flags[..], &["busybox", "sleep", "600"]].concat());
    env.rctr(["kill", "-s", "CONT", "web"]).ok();
    env.rctr(["pause", "web"]).ok();
    env.rctr(["unpause", "web"]).ok();
    env.rctr(["stop", "-t", "0", "web"]).ok();
    env.rctr(["rename", "web", "site"]).ok();
    env.rctr(["rm", "-v", "site"]).ok();

    let events = told(&env, &[]);
    assert_eq!(
        words(&events),
        [
            "image pull",
            "volume create",
            "volume create",
            "container create",
            "network connect",
            "volume mount",
            "volume mount",
            "container start",
            "container kill",
            "container pause",
            "container unpause",
            "container kill",
            "container kill",
            "container die",
            "network disconnect",
            "volume unmount",
            "volume unmount",
            "container stop",
            "container rename",
            "volume destroy",
            "container destroy",
        ]
    );
    let of = |word: &str| {
        let all = words(&events);
        let at = all.iter().position(|w| w == word).expect("told");
        attributes(&events[at])
    };
    let pairs = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        list.iter().map(pair).collect()
    };
    let common = [("image", "busybox"), ("name", "web"), ("tier", "front")];
    assert_eq!(of("container create"), pairs(&common));
    let killed = [&common[..], &[("signal", "18")]].concat();
    assert_eq!(of("container kill"), pairs(&killed));
    let died = of("container die");
    assert_eq!(died["exitCode"], "137");
    assert!(died["execDuration"].parse::<u64>().is_ok());
    let renamed = of("container rename");
    assert_eq!(
        (renamed["oldName"].as_str(), renamed["name"].as_str()),
        ("/web", "site")
    );
    assert_eq!(
        of("network connect"),
        pairs(&[("container", &id), ("name", "bridge"), ("type", "bridge")])
    );
    let mounted = of("volume mount");
    assert_eq!(mounted["read/write"], "true");
    assert_eq!(mounted["driver"], "local");
    assert_eq!(
        of("volume unmount"),
        pairs(&[("container", &id), ("driver", "local")])
    );
    assert_eq!(of("image pull"), pairs(&[("name", "busybox")]));

    let start = events
        .iter()
        .find(|e| e["Action"] == "start")
        .expect("told");
    assert_eq!(start["Actor"]["ID"], id.as_str());
    assert_eq!(start["id"], id.as_str());
    assert_eq!(start["status"], "start");
    assert_eq!(start["from"], "busybox");
    assert_eq!(start["scope"], "local");
    let (seconds, nanos) = (start["time"].as_i64(), start["timeNano"].as_i64());
    assert_eq!(seconds, nanos.map(|n| n / 1_000_000_000));
    let times: Vec<_> = events.iter().map(|e| e["timeNano"].as_i64()).collect();
    assert!(times.is_sorted());
}

#[test]
fn one_that_removes_itself_is_told_of_to_its_end() {
    let env = Env::new();
    env.rctr(["run", "--rm", "--network", "none", "busybox", "false"])
        .exits(1);
    let events = told(&env, &["--filter", "type=container"]);
    assert_eq!(
        words(&events),
        ["create", "attach", "start", "die", "destroy"].map(|w| format!("container {w}"))
    );
    assert_eq!(attributes(&events[3])["exitCode"], "1");
    env.rctr(["run", "--rm", "busybox", "no-such-command"])
        .exits(127);
    let events = told(&env, &["--filter", "type=container"]);
    assert_eq!(
        words(&events[5..]),
        ["create", "attach", "destroy"].map(|w| format!("container {w}")),
        "what never ran did not start and did not die"
    );
}

#[test]
fn one_that_is_stopped_and_removes_itself_is_stopped_before_it_is_gone() {
    let env = Env::new();
    let words = ["--rm", "--name", "cc", "--network", "none"];
    env.run_detached([&words[..], &["busybox", "sleep", "600"]].concat());
    env.rctr(["restart", "-t", "0", "cc"]).ok();
    env.rctr(["stop", "-t", "0", "cc"]).ok();
    let told = words_of_containers(&env);
    let run = ["start", "kill", "kill", "die", "stop"];
    let expected = [
        &["create"],
        &run[..],
        &run[..1],
        &["restart"],
        &run[1..],
        &["destroy"],
    ];
    assert_eq!(told, expected.concat());
}

/// What happened to containers.
fn words_of_containers(env: &Env) -> Vec<String> {
    let events = told(env, &["--filter", "type=container"]);
    let action = |event: &Value| event["Action"].as_str().expect("a word").to_owned();
    events.iter().map(action).collect()
}

/// A connection is told of while there is one.
#[test]
fn networks_of_one_that_does_not_run() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let subnet = env
        .slot()
        .subnet()
        .to_string()
        .replace("10.213.", "10.217.");
    env.rctr(["network", "create", "--subnet", &subnet, "other"])
        .ok();
    env.rctr(["create", "--name", "cc", "busybox", "sleep", "600"])
        .ok();
    let connections = || -> Vec<String> {
        let events = told(&env, &["-f", "type=network"]);
        let connections = events.iter().filter(|e| e["Action"] != "create");
        let line = |event: &Value| {
            let name = attributes(event)["name"].clone();
            format!("{} {name}", event["Action"].as_str().expect("a word"))
        };
        connections.map(line).collect()
    };
    env.rctr(["network", "connect", "other", "cc"]).ok();
    assert_eq!(connections(), [""; 0]);
    env.rctr(["start", "cc"]).ok();
    assert_eq!(connections(), ["connect bridge", "connect other"]);
    env.rctr(["stop", "-t", "0", "cc"]).ok();
    let both = ["disconnect bridge", "disconnect other"];
    assert_eq!(connections()[2..], both);
    env.rctr(["network", "disconnect", "other", "cc"]).ok();
    assert_eq!(connections().len(), 4);
    env.rctr(["start", "cc"]).ok();
    env.rctr(["network", "connect", "other", "cc"]).ok();
    env.rctr(["network", "disconnect", "other", "cc"]).ok();
    assert_eq!(
        connections()[4..],
        ["connect bridge", "connect other", "disconnect other"]
    );
    env.rctr(["rm", "-f", "cc"]).ok();
    env.rctr(["network", "rm", "other"]).ok();
    assert_eq!(connections()[7..], ["disconnect bridge", "destroy other"]);
}

#[test]
fn processes_beside_the_first() {
    let env = Env::new();
    env.run_detached(["--name", "web", "busybox", "sleep", "600"]);
    env.rctr(["exec", "web", "sh", "-c", "exit 3"]).exits(3);
    env.rctr(["exec", "-d", "web", "true"]).ok();
    let of_execs = || {
        let all = told(&env, &["--filter", "container=web"]);
        let execs = all.into_iter().filter(|event| {
            let action = event["Action"].as_str().unwrap_or_default();
            action.starts_with("exec_")
        });
        execs.collect::<Vec<_>>()
    };
    wait_for("the end of both", || of_execs().len() == 6);
    let events = of_execs();
    assert_eq!(
        words(&events),
        [
            "exec_create: sh -c exit 3",
            "exec_start: sh -c exit 3",
            "exec_die",
            "exec_create: true",
            "exec_start: true",
            "exec_die"
        ]
        .map(|word| format!("container {word}"))
    );
    let ids: Vec<String> = events
        .iter()
        .map(|e| attributes(e)["execID"].clone())
        .collect();
    assert!(ids[0].len() == 64 && ids[..3].iter().all(|id| *id == ids[0]));
    assert!(ids[3] != ids[0] && ids[3..].iter().all(|id| *id == ids[3]));
    assert_eq!(attributes(&events[2])["exitCode"], "3");
    assert_eq!(attributes(&events[5])["exitCode"], "0");
    let loose = told(&env, &["--filter", "event=exec_start"]);
    assert_eq!(loose.len(), 2);
}

#[test]
fn every_end_of_many_that_nobody_waits_for() {
    let env = Env::new();
    env.run_detached(["--name", "web", "busybox", "sleep", "600"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    env.rctr(["exec", "-d", "web", "true"]).ok();
                }
            });
        }
    });
    let ended = || told(&env, &["--filter", "event=exec_die"]).len();
    wait_for("all ends", || ended() == 40);
}

#[test]
fn images() {
    let env = Env::new();
    env.rctr(["pull", "busybox"]).ok();
    env.rctr(["tag", "busybox", "mine:1"]).ok();
    env.rctr(["save", "-o", &env.path("tar").to_string_lossy(), "mine:1"])
        .ok();
    env.rctr(["rmi", "mine:1"]).ok();
    env.rctr(["rmi", "busybox"]).ok();
    env.rctr(["load", "-i", &env.path("tar").to_string_lossy()])
        .ok();
    env.rctr(["image", "prune", "-af"]).ok();
    let events = told(&env, &["--filter", "type=image"]);
    let expected = [
        "pull", "tag", "save", "untag", "untag", "untag", "delete", "load", "tag", "untag",
        "delete", "prune",
    ];
    assert_eq!(words(&events), expected.map(|word| format!("image {word}")));
    let id = events[1]["Actor"]["ID"].as_str().expect("an id");
    assert!(id.starts_with("sha256:"));
    assert_eq!(events[0]["Actor"]["ID"], "busybox:latest");
    assert_eq!(attributes(&events[1])["name"], "mine:1");
    assert_eq!(attributes(&events[3])["name"], id);
    let reclaimed = attributes(&events[11])["reclaimed"].parse::<u64>();
    assert!(reclaimed.is_ok_and(|bytes| bytes > 0));
}

#[test]
fn images_that_are_made_here() {
    let env = Env::new();
    env.rctr(["pull", "busybox"]).ok();
    env.rctr(["create", "--name", "cc", "busybox"]).ok();
    env.rctr(["commit", "cc", "kept:1"]).ok();
    let tar = env.path("fs.tar").to_string_lossy().into_owned();
    env.rctr(["export", "-o", &tar, "cc"]).ok();
    env.rctr(["import", &tar, "brought"]).ok();
    env.rctr(["import", &tar]).ok();
    env.build_image("built", "FROM busybox\nLABEL a=b\n");
    let mut events = told(&env, &[]);
    events.retain(|event| event["Action"] != "pull");
    assert_eq!(
        words(&events),
        [
            "container create",
            "image tag",
            "container commit",
            "container export",
            "image tag",
            "image import",
            "image import",
            "image tag",
        ]
    );
    let names: Vec<_> = [1, 4, 7]
        .map(|at| attributes(&events[at])["name"].clone())
        .into();
    assert_eq!(names, ["kept:1", "brought:latest", "built:latest"]);
    assert_eq!(events[1]["Actor"]["ID"], attributes(&events[2])["imageID"]);
    assert_eq!(events[4]["Actor"]["ID"], events[5]["Actor"]["ID"]);
}

#[test]
fn lines_and_filters_are_docker_s() {
    let env = Env::new();
    let id = env.run_detached(["--name", "one", "-l", "a=b", "busybox", "true"]);
    env.rctr(["wait", "one"]).ok();
    env.run_detached(["--name", "two", "busybox:latest", "true"]);
    env.rctr(["wait", "two"]).ok();
    let line = |flags: &[&str]| {
        let words = ["events", "--since", "0", "--until", "0s"];
        env.rctr([&words[..], flags].concat()).ok().lines()
    };
    let created = line(&["--filter", "container=one", "--filter", "event=create"]);
    let [created] = &created[..] else {
        panic!("{created:?}")
    };
    let (time, rest) = created.split_once(' ').expect("a time");
    assert_eq!(
        rest,
        format!("container create {id} (a=b, image=busybox, name=one)")
    );
    let date = time.split('T').next().unwrap_or_default();
    assert_eq!(
        (date.len(), &time[19..20], time.len() >= 30),
        (10, ".", true),
        "{time}"
    );

    let count = |flags: &[&str]| line(flags).len();
    assert_eq!(
        count(&["--filter", "type=container", "-f", "event=start"]),
        2
    );
    assert_eq!(count(&["-f", "label=a", "-f", "event=start"]), 1);
    assert_eq!(count(&["-f", "label=a=c"]), 0);
    assert_eq!(count(&["-f", "image=busybox", "-f", "event=start"]), 2);
    assert_eq!(
        count(&[
            "-f",
            "container=one",
            "-f",
            "container=two",
            "-f",
            "event=die"
        ]),
        2
    );
    assert_eq!(count(&["-f", "network=bridge", "-f", "type=network"]), 4);
    assert_eq!(count(&["-f", "network=host", "-f", "type=network"]), 0);
    env.rctr(["volume", "create", "one-volume"]).ok();
    env.rctr(["volume", "create", "other"]).ok();
    assert_eq!(count(&["-f", "volume=one", "-f", "type=volume"]), 1);
    assert_eq!(count(&["-f", "scope=local", "-f", "event=start"]), 2);
    assert_eq!(count(&["-f", "scope=swarm"]), 0);
    assert_eq!(count(&["--format", "{{.Action}}", "-f", "event=oom"]), 0);
    assert_eq!(
        line(&[
            "--format",
            "{{.Type}}:{{.Actor.Attributes.name}}",
            "-f",
            "event=die"
        ]),
        ["container:one", "container:two"]
    );
    env.rctr(["system", "events", "--until", "0s", "-f", "event=destroy"])
        .ok()
        .stdout_is("");
    env.rctr(["events", "-f", "daemon=x"]).refused(1, "daemon");
    env.rctr(["events", "-f", "colour=red"])
        .refused(1, "colour");
    env.rctr(["events", "--since", "1h", "--until", "2h"])
        .refused(1, "cannot be after `until`");
    env.rctr(["events", "--since", "yesterday"])
        .refused(1, "yesterday");
    // A time to come is waited for.
    let late = env.rctr(["events", "--until", "-1s", "-f", "event=pause"]);
    late.ok().stdout_is("");
    assert!(late.took() >= Duration::from_millis(900), "{late:?}");
    env.rctr(["events", "too", "many"]).exits(1);
}

#[test]
fn since_is_exact() {
    let env = Env::new();
    env.rctr(["create", "--name", "one", "busybox"]).ok();
    env.rctr(["create", "--name", "two", "busybox"]).ok();
    let events = told(&env, &["-f", "event=create"]);
    let time = events[1]["timeNano"].as_i64().expect("a time");
    let point = |time: i64| format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000);
    let from = |time: i64| {
        let since = point(time);
        let words = [
            "events",
            "--since",
            &since,
            "--until",
            "0s",
            "-f",
            "event=create",
        ];
        env.rctr(words).ok().lines().len()
    };
    assert_eq!((from(time - 1), from(time), from(time + 1)), (1, 1, 0));
}

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
