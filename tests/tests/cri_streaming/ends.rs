//! Sessions end with what they belong to, and leave nothing.

use rctr_cri::api;
use rctr_tests::{wait_for, wait_still};

use super::forward::{PAGES, fetch, wait_for_pages};
use super::spdy::Client;
use super::{ALL, OUT, Pod, Session, TTY, V4, exit_code, status};

#[test]
fn a_session_ends_with_its_container_and_with_the_service() {
    let pod = Pod::new("ends", "sleep 1000");
    let mut session = Session::open(&pod.exec(&["sleep", "999"], false, false), OUT);
    let mut attached = Session::open(&pod.attach(false, false), OUT);
    wait_for("the command to run", || {
        pod.cri
            .sh(&pod.container, "ps -o args")
            .contains("sleep 999")
    });
    pod.cri.stop(&pod.container, 0);
    assert_eq!(exit_code(&session.rest()["error"]), "137");
    assert_eq!(status(&attached.rest()["error"])["status"], "Success");
    // A container that has ended in the meantime.
    let gone = pod.cri.runtime(async |c| {
        let container_id = pod.container.clone();
        let stdout = true;
        c.attach(api::AttachRequest {
            container_id,
            stdout,
            ..Default::default()
        })
        .await
    });
    assert!(gone.is_err());

    let pod = Pod::new("service", "sleep 1000");
    let url = pod.exec(&["true"], false, false);
    let mut session = Session::open(&pod.exec(&["sleep", "999"], false, false), OUT);
    pod.cri.restart();
    assert!(session.rest().values().all(Vec::is_empty));
    // The container does not notice; the URL is forgotten with the server that gave it out.
    assert_eq!(pod.cri.sh(&pod.container, "echo here"), "here");
    let fresh = pod.exec(&["true"], false, false);
    let (address, _) = fresh.rsplit_once("/exec/").expect("a URL");
    let (_, token) = url.rsplit_once('/').expect("a URL");
    let stale = Client::dial(&format!("{address}/exec/{token}"), V4);
    assert_eq!(stale.map(drop).expect_err("a stale URL").status, 404);
    assert!(Client::dial(&fresh, V4).is_ok());
}

#[test]
fn sessions_leave_no_descriptor_and_no_thread() {
    let pod = Pod::new("leaves", PAGES);
    wait_for_pages(&pod);
    let count = |what| {
        let entries = std::fs::read_dir(format!("/proc/{}/{what}", pod.cri.pid()));
        entries.expect("a process").count()
    };
    let round = || {
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(Session::open(&pod.exec(&["cat"], true, false), ALL));
            let mut left = Session::open(&pod.exec(&["sh"], true, true), TTY);
            left.say(b"echo hello\n");
            Session::open(&pod.attach(false, false), OUT);
        }
        for mut session in all {
            session.hang_up();
            assert_eq!(status(&session.rest()["error"])["status"], "Success");
        }
        let mut client =
            Client::dial(&pod.forward(&[]), &["portforward.k8s.io"]).expect("an upgrade");
        for id in ["0", "1", "2", "3"] {
            assert!(fetch(&mut client, "8080", id).0.ends_with("\nleaves\n"));
        }
    };
    // The first round makes what stays: threads for what blocks, the database's files.
    round();
    let descriptors = wait_still("the first round to settle", || Some(count("fd")));
    for _ in 0..3 {
        round();
    }
    wait_for("the descriptors to be closed", || {
        count("fd") <= descriptors
    });
    // Threads for what blocks come and go; none is there for each session.
    assert!(count("task") < 25, "{} threads", count("task"));
}
