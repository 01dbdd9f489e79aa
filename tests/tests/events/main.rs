//! `events`: what happens is told once, in order, in Docker's words, to everybody who asks.

mod execs;
mod followers;
mod images;
mod life;
mod shown;
mod within;

use std::collections::BTreeMap;

use rctr_tests::Env;
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
