//! `pause` and `unpause`, and what the other commands say to a container that is frozen.

use rctr_tests::{Env, wait_for};

const COUNT: [&str; 4] = [
    "busybox",
    "sh",
    "-c",
    "while :; do echo x >> /n; sleep 0.02; done",
];

fn up(env: &Env, name: &str) -> String {
    env.run_detached([&["--name", name, "--network", "none"], &COUNT[..]].concat())
}

/// Letters of the states of a container's processes, as /proc has them, and whether they are counted on.
fn count(env: &Env, pid: i64) -> usize {
    let file = format!("/proc/{pid}/root/n");
    let _ = env;
    std::fs::read(file).map_or(0, |text| text.len())
}

#[test]
fn a_paused_container_does_nothing_until_it_goes_on() {
    let env = Env::new();
    up(&env, "web");
    let pid = env.inspect("web")["State"]["Pid"].as_i64().expect("a pid");
    wait_for("it to count", || count(&env, pid) > 2);
    env.rctr(["pause", "web"]).ok().stdout_is("web");
    let state = env.inspect("web")["State"].take();
    assert_eq!(
        (&state["Status"], &state["Paused"], &state["Running"]),
        (&"paused".into(), &true.into(), &true.into())
    );
    env.rctr(["ps", "--format", "{{.Status}}"])
        .ok()
        .stdout_has("(Paused)");
    env.rctr(["ps", "-q", "-f", "status=paused"]).ok();
    let before = count(&env, pid);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(count(&env, pid), before);
    env.rctr(["container", "unpause", "web"])
        .ok()
        .stdout_is("web");
    assert_eq!(env.inspect("web")["State"]["Status"], "running");
    wait_for("it to count on", || count(&env, pid) > before);
}

#[test]
fn what_makes_no_sense_is_refused_in_docker_s_words() {
    let env = Env::new();
    let id = up(&env, "web");
    env.rctr(["unpause", "web"])
        .refused(1, &format!("Container {id} is not paused"));
    env.rctr(["pause", "web"]).ok();
    env.rctr(["pause", "web"])
        .refused(1, &format!("Container {id} is already paused"));
    env.rctr(["start", "web"])
        .refused(1, "cannot start a paused container, try unpause instead");
    env.rctr(["exec", "web", "true"]).refused(
        1,
        &format!("Container {id} is paused, unpause the container before exec"),
    );
    env.rctr(["attach", "web"]).refused(
        1,
        "You cannot attach to a paused container, unpause it first",
    );
    env.rctr(["rm", "web"])
        .refused(1, "container is paused and must be unpaused first");
    env.rctr(["rm", "-f", "web"]).ok();
    let made = env
        .rctr(["create", "--name", "made", "busybox"])
        .ok()
        .stdout();
    env.rctr(["pause", "made"])
        .refused(1, &format!("container {made} is not running"));
    env.rctr(["unpause", "made"])
        .refused(1, &format!("Container {made} is not paused"));
    env.rctr(["pause", "nosuch"])
        .refused(1, "No such container: nosuch");
    env.rctr(["pause"])
        .refused(1, "requires at least 1 argument");
    env.rctr(["unpause", "nosuch", "made"]).exits(1);
}

#[test]
fn a_paused_container_can_be_ended() {
    let env = Env::new();
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    for (name, verb, code) in [
        ("one", &["stop", "-t", "20"][..], 9),
        ("two", &["kill"], 137),
        ("three", &["kill", "-s", "TERM"], 9),
    ] {
        env.run_detached([
            "--name",
            name,
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            script,
        ]);
        env.wait_log(name, "ready");
        env.rctr(["pause", name]).ok();
        let ended = env.rctr([verb, &[name]].concat());
        ended.ok();
        assert!(
            ended.took().as_secs() < 15,
            "it did not wait for its signal"
        );
        env.rctr(["wait", name]).ok().stdout_is(&code.to_string());
    }
}

#[test]
fn one_whose_signal_stops_nothing_stays_paused() {
    let env = Env::new();
    let words = ["--stop-signal", "TERM", "busybox", "sleep", "1000"];
    env.run_detached([&["--name", "web", "--network", "none"], &words[..]].concat());
    env.rctr(["pause", "web"]).ok();
    env.rctr(["kill", "-s", "USR1", "web"]).ok();
    assert_eq!(env.inspect("web")["State"]["Status"], "paused");
}

#[test]
fn one_whose_pause_was_not_written_down_can_be_killed() {
    let env = Env::new();
    let freeze = |id: &str| {
        let files = [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")];
        let cgroups = env.cgroups_of(id);
        let mut frozen = cgroups
            .iter()
            .flat_map(|dir| files.map(|(file, word)| (dir.join(file), word)))
            .filter(|(file, _)| file.exists());
        let (file, word) = frozen.next().expect("a file to freeze it by");
        std::fs::write(file, word).unwrap();
    };
    for verb in [&["kill"][..], &["stop", "-t", "1"], &["rm", "-f"]] {
        let id = env.run_detached(["--network", "none", "busybox", "sleep", "1000"]);
        // As a `pause` leaves it that is killed on its way.
        freeze(&id);
        let ended = env.rctr([verb, &[&id]].concat());
        ended.ok();
        assert!(ended.took().as_secs() < 5, "{verb:?} {:?}", ended.took());
    }
}
