//! Which events are shown, and how.

use std::time::Duration;

use rctr_tests::Env;

use super::told;

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
