//! The machine goes down: processes and what is on tmpfs are gone, the store is there.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, wait_for};

use crate::assert_clean;

#[test]
fn containers_are_found_again_after_a_reboot() {
    let env = Env::new();
    env.run_detached([
        "--name",
        "up",
        "-p",
        "80",
        "busybox",
        "sh",
        "-c",
        "echo > /kept; sleep 1000",
    ]);
    let started = env.inspect("up")["State"]["StartedAt"].take();
    env.run_detached(["--rm", "--name", "brief", "busybox", "sleep", "1000"]);
    env.rctr(["create", "--name", "made", "busybox", "true"])
        .ok();
    env.rctr(["run", "--name", "done", "busybox", "sh", "-c", "exit 3"])
        .exits(3);
    for (id, _) in env.containers() {
        for pid in env.monitor_of(&id).into_iter().chain(env.processes_of(&id)) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it lives");
        }
        wait_for("its processes to end", || env.processes_of(&id).is_empty());
    }
    fs::remove_dir_all(env.state()).expect("the state directory is removed");

    let told = env.rctr(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
    told.ok()
        .stdout_has("up Exited (255)")
        .stdout_has("made Created")
        .stdout_has("done Exited (3)");
    told.stdout_lacks("brief");
    let state = env.inspect("up")["State"].take();
    assert!(
        state["Error"]
            .as_str()
            .is_some_and(|why| why.contains("restarted")),
        "{state}"
    );
    let second = |time: &serde_json::Value| time.as_str().map(|time| time[..19].to_owned());
    let times = [&started, &state["StartedAt"], &state["FinishedAt"]].map(second);
    assert!(times.is_sorted() && times[0].is_some(), "{times:?}");
    assert_eq!(env.published(), [""; 0]);
    let store = rctr_store::Store::open(&env.root()).expect("the store opens");
    assert_eq!(store.addresses("bridge").expect("addresses"), []);

    env.rctr(["start", "up"]).ok();
    env.rctr(["exec", "up", "ls", "/kept"]).ok();
    env.assert_truth();
    assert_clean(&env);
}
