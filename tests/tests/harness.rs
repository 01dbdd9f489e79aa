//! The harness itself: that it finds what is left behind, and that its registry has the faults it is told to have.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rctr_tests::{Env, Mounted, Proxy, Verdict, http_get, processes_naming, wait_for};

const TAGS: &str = "/v2/library/busybox/tags/list";

#[test]
fn the_proxy_forwards_answers_cuts_and_counts() {
    let proxy = Proxy::start(|request| match request.seen {
        0 => Verdict::Forward,
        1 => Verdict::status(503),
        2 => Verdict::Cut(5),
        _ => Verdict::Close,
    });
    let host = proxy.host();
    let whole = http_get(&host, TAGS).expect("an answer");
    assert!(
        whole.status == 200 && whole.body.contains("latest"),
        "{whole:?}"
    );
    assert_eq!(http_get(&host, TAGS).expect("an answer").status, 503);
    assert_eq!(http_get(&host, TAGS).expect("an answer").body.len(), 5);
    assert!(http_get(&host, TAGS).is_err());
    assert_eq!(proxy.requests().len(), 4);
    assert_eq!(proxy.blob_downloads(), 0);
}

#[test]
fn a_process_left_behind_is_found_and_ended() {
    let env = Env::new();
    let mark = env.root().to_string_lossy().into_owned();
    let mut child = Command::new("sleep")
        .arg0(&mark)
        .arg("1000")
        .spawn()
        .expect("sleep runs");
    // The kernel lets the parent go on a moment before the child's command line can be read.
    wait_for("the command line", || {
        env.leftovers().iter().any(|leak| leak.contains(&mark))
    });
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(env)));
    let message = dropped.expect_err("a leak fails the test");
    let message = message.downcast_ref::<String>().expect("a message");
    assert!(message.contains("left behind: process"), "{message}");
    child.wait().expect("it was killed");
    assert!(processes_naming(&mark).is_empty());
}

/// A monitor has a copy of each of the host's mounts.
#[test]
fn a_monitor_is_of_its_own_environment_only() {
    let (one, two) = (Env::new(), Env::new());
    one.rctr(["pull", "--quiet", "busybox"]).ok();
    let place = two.root().join("mounted");
    std::fs::create_dir(&place).expect("a directory");
    let mounted = Mounted::tmpfs(&place, "1m");
    one.rctr(["run", "-d", "busybox", "sleep", "1000"]).ok();
    let of = |env: &Env| processes_naming(&env.root().to_string_lossy());
    assert_eq!(of(&two), []);
    assert!(!of(&one).is_empty());
    drop(mounted);
}

#[test]
fn two_environments_share_nothing() {
    let (one, two) = (Env::new(), Env::new());
    assert_ne!(one.slot().bridge(), two.slot().bridge());
    assert_ne!(one.slot().subnet(), two.slot().subnet());
    assert_ne!(one.root(), two.root());
}
