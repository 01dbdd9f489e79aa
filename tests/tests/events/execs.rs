//! Processes beside the first.

use rctr_tests::{Env, wait_for};

use super::{attributes, told, words};

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
