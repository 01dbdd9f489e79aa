//! `rctr cri` killed and started again while pods run.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rctr_cri::api;
use rctr_tests::cri::{Cri, run_alone, shell, within};
use rctr_tests::wait_for;
use tonic::Code;

#[test]
fn pods_outlive_the_service() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("outlives");
    let pod = cri.run_pod(&config);
    let script = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done";
    let running = cri.run(&pod, &config, shell("running", script));
    let ending = cri.run(
        &pod,
        &config,
        shell(
            "ending",
            "while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 33",
        ),
    );
    let before = cri.status(&running);
    let pod_before = cri.pod_status(&pod);
    cri.sh(&ending, "(sleep 0.5; touch /tmp/end) >/dev/null 2>&1 &");
    cri.end(Signal::SIGKILL);
    // One ends while nobody serves; its own exit command settles it.
    wait_for("the container to end", || {
        !cri.env().processes_of(&ending).iter().any(|_| true)
    });
    let began = Instant::now();
    cri.start();
    let ended = cri.wait_exit(&ending);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (33, "Error"));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(cri.status(&running), before);
    assert_eq!(cri.pod_status(&pod), pod_before);
    assert_eq!(cri.sh(&running, "echo still"), "still");
    let log = std::fs::read_to_string(&before.log_path).expect("a log");
    let numbers: Vec<u32> = log
        .lines()
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "the log is whole"
    );
    // And an end that comes now is seen as any other.
    cri.stop(&running, 0);
    assert_eq!(cri.status(&running).exit_code, 137);
}

#[test]
fn no_monitor_stays_a_zombie() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("zombies");
    let pod = cri.run_pod(&config);
    for n in 0..3 {
        let id = cri.run(&pod, &config, shell(&format!("c{n}"), "true"));
        cri.wait_exit(&id);
    }
    wait_for("the monitors to be reaped", || cri.children().is_empty());
}

#[test]
fn a_deadline_that_cannot_be_kept_is_exceeded() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("slow");
    let pod = cri.run_pod(&config);
    let id = cri.run(
        &pod,
        &config,
        shell("c", "trap '' TERM; while :; do sleep 0.1; done"),
    );
    let hasty = within(
        Duration::from_millis(50),
        api::StopContainerRequest {
            container_id: id.clone(),
            timeout: 1,
        },
    );
    let outcome = cri.runtime(async |c| c.stop_container(hasty).await);
    let code = outcome.expect_err("too hasty").code();
    assert!(
        matches!(code, Code::DeadlineExceeded | Code::Cancelled),
        "{code:?}"
    );
    // The stop goes on.
    assert_eq!(cri.wait_exit(&id).exit_code, 137);
}

/// How many pods, and at once, a node may have.
const CROWD: usize = 100;

/// How soon a new service must have found them all: a tenth of that in a debug build.
const FOUND: Duration = Duration::from_secs(1);

/// Makes pods, eight at a time, each with a container: the containers' ids.
fn crowd(cri: &Cri, script: &str) -> Vec<String> {
    use futures_util::StreamExt;
    let made = (0..CROWD).map(|n| {
        let config = cri.pod_config(&format!("pod{n}"));
        run_alone(cri.runtime_client(), config, shell("main", script))
    });
    let all = futures_util::stream::iter(made).buffered(8).collect();
    let all: Vec<_> = cri.wait(all);
    all.into_iter().map(|id| id.expect("a container")).collect()
}

#[test]
fn a_hundred_pods_are_found_again_with_what_happened_meanwhile() {
    let cri = Cri::new();
    cri.pull("busybox");
    let ids = crowd(
        &cri,
        "trap 'exit 33' USR1; echo ready; while :; do sleep 0.2; done",
    );
    for id in &ids {
        cri.wait_log(cri.status(id).log_path.as_ref(), "ready");
    }
    let mut before = cri.containers(None);
    cri.end(Signal::SIGKILL);
    let (ending, staying) = ids.split_at(5);
    for id in ending {
        cri.env().rctr(["kill", "-s", "USR1", id]).ok();
    }
    for id in ending {
        wait_for("it to end", || cri.env().processes_of(id).is_empty());
    }
    let began = Instant::now();
    cri.start();
    let mut after = cri.containers(None);
    let ready = cri.pods(Some(api::PodSandboxFilter {
        state: Some(api::PodSandboxStateValue {
            state: api::PodSandboxState::SandboxReady.into(),
        }),
        ..Default::default()
    }));
    let took = began.elapsed();
    assert_eq!(ready.len(), CROWD);
    assert!(took < FOUND, "{took:?}");
    for list in [&mut before, &mut after] {
        list.retain(|container| staying.contains(&container.id));
    }
    assert_eq!(before, after);
    for id in ending {
        let ended = cri.wait_exit(id);
        assert_eq!((ended.exit_code, ended.reason.as_str()), (33, "Error"));
    }
    assert_eq!(cri.sh(&staying[0], "echo still"), "still");
}
