//! The life of a container, and its networks.

use std::collections::BTreeMap;

use rctr_tests::Env;
use serde_json::Value;

use super::{attributes, told, words};

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
