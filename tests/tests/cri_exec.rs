//! Commands in containers of pods, and what containers write.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_cri::api;
use rctr_tests::cri::{Pod, refused, shell, within};
use rctr_tests::wait_for;
use tonic::Code;

#[test]
fn commands_run_to_their_end() {
    let pod = Pod::new("exec");
    let id = pod.run(shell("c", "sleep 1000"));
    let run = |words: &[&str]| pod.cri.try_exec(&id, words, 10).expect("ExecSync");
    assert_eq!(run(&["true"]).exit_code, 0);
    assert_eq!(run(&["sh", "-c", "exit 9"]).exit_code, 9);
    let missing = run(&["/nosuch"]);
    assert_eq!(missing.exit_code, 127);
    assert!(!missing.stderr.is_empty());
    // Nothing to read, and no terminal.
    assert_eq!(run(&["cat"]).stdout, b"");
    // What stays in the background holds nobody up.
    let began = Instant::now();
    assert_eq!(run(&["sh", "-c", "sleep 5 & echo done"]).stdout, b"done\n");
    assert!(began.elapsed() < Duration::from_secs(4));
    let flood = run(&["sh", "-c", "head -c 20000000 /dev/zero"]);
    assert_eq!(flood.exit_code, 0);
    assert!(
        (1 << 20..=16 << 20).contains(&flood.stdout.len()),
        "{}",
        flood.stdout.len()
    );
    refused(pod.cri.try_exec(&id, &[], 1), Code::InvalidArgument);
    pod.cri.stop(&id, 0);
    refused(
        pod.cri.try_exec(&id, &["true"], 1),
        Code::FailedPrecondition,
    );
}

#[test]
fn a_command_whose_time_is_up_is_killed_whole() {
    let pod = Pod::new("timeout");
    let id = pod.run(shell("c", "sleep 1000"));
    let began = Instant::now();
    let outcome = pod
        .cri
        .try_exec(&id, &["sh", "-c", "sleep 4321 & sleep 4322"], 1);
    refused(outcome, Code::DeadlineExceeded);
    assert!(began.elapsed() < Duration::from_secs(10));
    wait_for("all of the command to be gone", || {
        let processes = pod.cri.sh(&id, "ps -o args");
        !processes.contains("sleep 432")
    });
    assert_eq!(
        pod.cri.status(&id).state(),
        api::ContainerState::ContainerRunning
    );
}

#[test]
fn logs_are_reopened_when_they_are_rotated() {
    let pod = Pod::new("rotate");
    let id = pod.run(shell(
        "c",
        "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done",
    ));
    let log = pod.cri.status(&id).log_path;
    pod.cri.wait_log(Path::new(&log), "line 2\n");
    let rotated = format!("{log}.1");
    std::fs::rename(&log, &rotated).expect("renamed");
    let container_id = id.clone();
    pod.cri
        .runtime(async |c| {
            c.reopen_container_log(api::ReopenContainerLogRequest { container_id })
                .await
        })
        .expect("ReopenContainerLog");
    let fresh = pod.cri.wait_log(Path::new(&log), "line");
    let first: u32 = fresh
        .lines()
        .next()
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .expect("a number");
    let old = std::fs::read_to_string(&rotated).expect("the old log");
    assert!(
        old.contains(&format!("line {}\n", first - 1)),
        "nothing is lost"
    );
    pod.cri.stop(&id, 0);
    let container_id = id.clone();
    let outcome = pod.cri.runtime(async |c| {
        c.reopen_container_log(api::ReopenContainerLogRequest { container_id })
            .await
    });
    refused(outcome, Code::FailedPrecondition);
}

#[test]
fn long_lines_are_logged_in_parts() {
    let pod = Pod::new("long");
    let id = pod.run(shell(
        "c",
        "head -c 40000 /dev/zero | tr '\\0' x; echo; echo end",
    ));
    let ended = pod.cri.wait_exit(&id);
    let log = std::fs::read_to_string(&ended.log_path).expect("a log");
    let tags: Vec<_> = log.lines().filter_map(|l| l.split(' ').nth(2)).collect();
    assert_eq!(tags, ["P", "P", "F", "F"]);
    let parts = log.lines().filter_map(|l| l.split(' ').nth(3));
    let length: usize = parts.filter(|p| p.starts_with('x')).map(str::len).sum();
    assert_eq!(length, 40_000);
}

#[test]
fn a_command_that_nobody_waits_for_is_killed_whole() {
    let pod = Pod::new("unwanted");
    let id = pod.run(shell("c", "sleep 1000"));
    let request = |word: &str| api::ExecSyncRequest {
        container_id: id.clone(),
        cmd: ["sh", "-c", &format!("sleep {word} & sleep {word}")]
            .map(str::to_owned)
            .to_vec(),
        // As long as it takes, as for a hook of a kubelet's.
        timeout: 0,
    };
    let running = |word: &str| {
        pod.cri
            .sh(&id, "ps -o args")
            .contains(&format!("sleep {word}"))
    };
    // The request has a deadline of its own.
    let hasty = within(Duration::from_millis(800), request("4321"));
    let outcome = pod.cri.runtime(async |c| c.exec_sync(hasty).await);
    let code = outcome.expect_err("too hasty").code();
    assert!(
        matches!(code, Code::DeadlineExceeded | Code::Cancelled),
        "{code:?}"
    );
    wait_for("the late command to be gone", || !running("4321"));
    // And a client may go away.
    let (mut client, abandoned) = (pod.cri.runtime_client(), request("1234"));
    pod.cri.wait(async {
        let asked = tokio::spawn(async move { client.exec_sync(abandoned).await });
        while !pod.cri.env().processes_of(&id).iter().any(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line == b"sleep\x001234\0")
        }) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        asked.abort();
    });
    wait_for("the abandoned command to be gone", || !running("1234"));
    assert_eq!(
        pod.cri.status(&id).state(),
        api::ContainerState::ContainerRunning
    );
}

/// As many as a node's probes, and more than there are threads for requests.
const PROBES: usize = 600;

#[test]
fn probes_of_a_stopped_monitor_keep_nobody_else_waiting() {
    let pod = Pod::new("silent");
    let cri = &pod.cri;
    let silent = pod.run(shell("silent", "sleep 1000"));
    let other = pod.run(shell("other", "sleep 1000"));
    let monitor = Pid::from_raw(cri.env().monitor_of(&silent).expect("a monitor"));
    let probe = |timeout| api::ExecSyncRequest {
        container_id: silent.clone(),
        cmd: ["sleep", "4321"].map(str::to_owned).to_vec(),
        timeout,
    };
    kill(monitor, Signal::SIGSTOP).expect("it stops");
    // Half of them have no time of their own: their clients go.
    let (mut client, began) = (cri.runtime_client(), Instant::now());
    let (patient, hasty) = cri.wait(async {
        let ask = |timeout| {
            let (mut client, request) = (client.clone(), probe(timeout));
            tokio::spawn(async move { client.exec_sync(request).await })
        };
        let probes: (Vec<_>, Vec<_>) = (0..PROBES / 2).map(|_| (ask(0), ask(3))).unzip();
        // Until all have been taken in: requests of one connection are, one after the other.
        client
            .version(api::VersionRequest::default())
            .await
            .expect("Version");
        probes
    });
    let quick = |what: &str, began: Instant| {
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "{what} took {took:?}");
    };
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(cri.containers(None).len(), 2);
        quick("ListContainers", began);
        let began = Instant::now();
        assert_eq!(cri.status(&silent).id, silent);
        quick("ContainerStatus", began);
        let began = Instant::now();
        let ran = cri.try_exec(&other, &["true"], 10).expect("ExecSync");
        assert_eq!(ran.exit_code, 0);
        quick("ExecSync of another container", began);
    }
    let threads = std::fs::read_dir(format!("/proc/{}/task", cri.pid())).expect("threads");
    assert!(threads.count() < 50);
    cri.wait(async {
        for probe in hasty {
            let refused = probe.await.expect("it ends").expect_err("nobody answers");
            assert_eq!(refused.code(), Code::DeadlineExceeded);
        }
        for probe in &patient {
            probe.abort();
        }
        client
            .version(api::VersionRequest::default())
            .await
            .expect("Version");
    });
    assert!(began.elapsed() < Duration::from_secs(15));
    kill(monitor, Signal::SIGCONT).expect("it goes on");
    let ran = cri.try_exec(&silent, &["true"], 20).expect("ExecSync");
    assert_eq!(ran.exit_code, 0);
    // What was begun when nobody waited for it any more is killed.
    wait_for("the probes to be gone", || {
        !cri.sh(&silent, "ps -o args").contains("sleep 4321")
    });
}

#[test]
fn commands_that_last_take_no_threads() {
    let pod = Pod::new("lasting");
    let id = pod.run(shell("c", "sleep 1000"));
    let lasting = api::ExecSyncRequest {
        container_id: id.clone(),
        cmd: ["sleep", "900"].map(str::to_owned).to_vec(),
        timeout: 0,
    };
    let client = pod.cri.runtime_client();
    let running = || {
        let processes = pod.cri.env().processes_of(&id).into_iter();
        let command = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        processes
            .filter(|pid| command(*pid) == b"sleep\x00900\0")
            .count()
    };
    let commands: Vec<_> = pod.cri.wait(async {
        let ask = |_| {
            let (mut client, request) = (client.clone(), lasting.clone());
            tokio::spawn(async move { client.exec_sync(request).await })
        };
        (0..40).map(ask).collect()
    });
    wait_for("all to run", || running() == 40);
    wait_for("the threads that started them to be gone", || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", pod.cri.pid()));
        threads.expect("threads").count() < 20
    });
    for command in commands {
        command.abort();
    }
    wait_for("all to be gone", || running() == 0);
}
