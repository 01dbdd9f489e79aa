//! `rctr cri` killed at any moment, and a machine that was started anew: the kubelet's retry finds its way.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use rctr_cri::api;
use rctr_tests::cri::{Cri, run_in, sharing, shell};
use rctr_tests::entries;
use tonic::Code;

/// How long after the request the service is killed, in microseconds.
const MOMENTS: [u64; 10] = [
    0, 500, 1_000, 2_000, 3_500, 5_000, 8_000, 12_000, 18_000, 26_000,
];

/// Sends a request, kills the service meanwhile, and starts it again. The request fails, or was quick enough.
fn interrupted<T: Send + 'static>(
    cri: &Cri,
    after: u64,
    request: impl Future<Output = T> + Send + 'static,
) -> T {
    let answer = cri.wait(async {
        let asked = tokio::spawn(request);
        tokio::time::sleep(Duration::from_micros(after)).await;
        cri.end(Signal::SIGKILL);
        asked.await.expect("no panic")
    });
    cri.start();
    answer
}

#[test]
fn a_pod_whose_making_was_interrupted_is_made_again() {
    let cri = Cri::new();
    cri.pull("busybox");
    for (n, after) in MOMENTS.into_iter().enumerate() {
        let mut config = cri.pod_config(&format!("cut{n}"));
        config.linux = Some(sharing(api::NamespaceOption {
            pid: api::NamespaceMode::Pod.into(),
            ..Default::default()
        }));
        let mut client = cri.runtime_client();
        let request = api::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let answer = interrupted(
            &cri,
            after,
            async move { client.run_pod_sandbox(request).await },
        );
        let pod = cri.run_pod(&config);
        if let Ok(answer) = answer {
            let told = answer.into_inner().pod_sandbox_id;
            assert_eq!(told, pod, "the one it told of");
        }
        let listed = cri.pods(None);
        assert_eq!(listed.len(), 1, "after {after} µs");
        assert_eq!(
            entries(&cri.env().state().join(".pods")),
            std::slice::from_ref(&pod),
            "after {after} µs"
        );
        let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
        assert_eq!(
            cri.status(&id).state(),
            api::ContainerState::ContainerRunning
        );
        cri.remove_pod(&pod);
    }
    cri.assert_no_leftovers();
}

#[test]
fn a_pod_whose_end_was_interrupted_is_removed_by_the_retry() {
    let cri = Cri::new();
    cri.pull("busybox");
    for (n, after) in MOMENTS.into_iter().enumerate() {
        let config = cri.pod_config(&format!("end{n}"));
        let pod = cri.run_pod(&config);
        cri.run(&pod, &config, shell("c", "sleep 1000"));
        let mut client = cri.runtime_client();
        let pod_sandbox_id = pod.clone();
        let _ = interrupted(&cri, after, async move {
            let stop = api::StopPodSandboxRequest {
                pod_sandbox_id: pod_sandbox_id.clone(),
            };
            client.stop_pod_sandbox(stop).await?;
            client
                .remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id })
                .await
        });
        cri.remove_pod(&pod);
        assert!(
            cri.pods(None).is_empty() && cri.containers(None).is_empty(),
            "after {after} µs"
        );
        assert!(
            entries(&cri.env().state().join(".pods")).is_empty(),
            "after {after} µs"
        );
    }
    cri.assert_no_leftovers();
}

#[test]
fn a_container_whose_making_was_interrupted_is_made_by_the_retry() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("containers");
    let pod = cri.run_pod(&config);
    for (n, after) in MOMENTS.into_iter().enumerate() {
        let container = shell(&format!("c{n}"), "sleep 1000");
        let client = cri.runtime_client();
        let run = run_in(client, pod.clone(), config.clone(), container.clone());
        let _ = interrupted(&cri, after, run);
        let id = match cri.try_create(&pod, &config, container.clone()) {
            Ok(id) => {
                cri.start_container(&id);
                id
            }
            // It has been started, too.
            Err(e) => {
                assert_eq!(e.code(), Code::AlreadyExists, "{e}");
                let mut all = cri.containers(None).into_iter();
                let there = all.find(|c| c.metadata == container.metadata);
                let there = there.expect("it is listed");
                match there.state() {
                    // Its start was interrupted: a kubelet makes the next attempt.
                    api::ContainerState::ContainerExited => {
                        cri.remove(&there.id);
                        let mut next = container;
                        next.metadata.as_mut().expect("metadata").attempt += 1;
                        cri.run(&pod, &config, next)
                    }
                    _ => there.id,
                }
            }
        };
        let status = cri.status(&id);
        let running = status.state() == api::ContainerState::ContainerRunning;
        assert!(running, "after {after} µs: {status:?}");
        cri.remove(&id);
    }
    assert!(cri.containers(None).is_empty());
    cri.remove_pod(&pod);
    cri.assert_no_leftovers();
}

/// All that a restart of the machine takes away: processes, mounts, and files of the state directory.
fn reboot(cri: &Cri, containers: &[&str]) {
    for id in containers {
        cri.env().rctr(["kill", id]).ok();
        cri.wait_exit(id);
    }
    cri.end(Signal::SIGKILL);
    let state = cri.env().state();
    let pods = state.join(".pods");
    for pod in entries(&pods) {
        for pinned in entries(&pods.join(&pod)) {
            detach(&pods.join(&pod).join(pinned));
        }
    }
    detach(&pods);
    let emptied = Command::new("find")
        .arg(&state)
        .args(["-mindepth", "1", "-delete"])
        .status();
    assert!(emptied.expect("find runs").success());
    cri.start();
}

fn detach(path: &Path) {
    umount2(path, MntFlags::MNT_DETACH).expect("it is mounted");
}

#[test]
fn pods_are_not_ready_after_the_machine_was_started_anew() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("lost");
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
    reboot(&cri, &[&id]);
    let not_ready = api::PodSandboxState::SandboxNotready;
    assert_eq!(cri.pod_status(&pod).state(), not_ready);
    assert_eq!(
        cri.status(&id).state(),
        api::ContainerState::ContainerExited
    );
    let mut again = config.clone();
    again.metadata.as_mut().expect("metadata").attempt = 1;
    let next = cri.run_pod(&again);
    assert_eq!(
        cri.pod_status(&next).state(),
        api::PodSandboxState::SandboxReady
    );
    cri.stop_pod(&pod);
    assert_eq!(cri.pod_status(&pod).state(), not_ready);
    cri.remove_pod(&pod);
    cri.remove_pod(&next);
    cri.assert_no_leftovers();
}
