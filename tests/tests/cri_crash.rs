//! `rctr cri` killed at any moment, and a machine that was started anew: the kubelet's retry finds its way.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_cri::api;
use rctr_tests::cri::{Cri, run_in, sharing, shell};
use rctr_tests::{entries, wait_for};
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
fn what_a_killed_service_has_left_goes_with_the_next_one() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("there");
    let pod = cri.run_pod(&config);
    cri.end(Signal::SIGKILL);
    let id = "0".repeat(64);
    let (root, state) = (cri.env().root(), cri.env().state());
    let left = [
        state.join(".pod-files").join(&id),
        root.join("containers").join(&id),
        root.join("volumes").join(&id),
    ];
    for path in &left {
        std::fs::create_dir(path).expect("a new directory");
    }
    cri.start();
    wait_for("all of it to go", || left.iter().all(|path| !path.exists()));
    assert!(
        state.join(".pod-files").join(&pod).exists(),
        "it has a record"
    );
    cri.env().rctr(["system", "check"]).ok().stdout_is("");
    cri.remove_pod(&pod);
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
        let there = match cri.try_create(&pod, &config, container.clone()) {
            Ok(id) => cri.try_start(&id).map(|()| id),
            Err(e) => {
                assert_eq!(e.code(), Code::AlreadyExists, "{e}");
                Err(e)
            }
        };
        let id = there.unwrap_or_else(|_| {
            // It has been started, too.
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
        });
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
fn an_end_that_nobody_saw_is_told_with_the_start_before_it() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("unseen");
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
    let running = cri.status(&id);
    let monitor = cri.env().monitor_of(&id).expect("a monitor");
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("it lives");
    let ended = cri.wait_exit(&id);
    assert_eq!(
        (ended.reason.as_str(), ended.exit_code),
        ("Unknown", 255),
        "{ended:?}"
    );
    assert!(ended.message.contains("monitor"), "{ended:?}");
    assert!(
        (running.started_at..=ended.finished_at).contains(&ended.started_at),
        "{ended:?}"
    );
    cri.remove_pod(&pod);
    cri.assert_no_leftovers();
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

/// Requests that were cut off have done their work, or none of it; the retry does the rest.
#[test]
fn any_other_request_may_be_cut_off_too() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("requests");
    let pod = cri.run_pod(&config);
    for (n, after) in [0, 1_000, 4_000, 12_000].into_iter().enumerate() {
        let running = |name: &str| {
            cri.run(
                &pod,
                &config,
                shell(&format!("{name}{n}"), "exec sleep 1000"),
            )
        };
        let id = running("updated");
        let mut client = cri.runtime_client();
        let request = api::UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(api::LinuxContainerResources {
                cpu_period: 100_000,
                cpu_quota: 50_000,
                ..Default::default()
            }),
            ..Default::default()
        };
        let again = request.linux.clone().expect("limits");
        let _ = interrupted(&cri, after, async move {
            client.update_container_resources(request).await
        });
        cri.resize(&id, again);
        let told = cri.status(&id).resources.and_then(|r| r.linux);
        assert_eq!(told.expect("limits").cpu_quota, 50_000);

        let mut client = cri.runtime_client();
        let request = api::ExecSyncRequest {
            container_id: id.clone(),
            cmd: ["sleep", "0.2"].map(str::to_owned).to_vec(),
            timeout: 1,
        };
        let _ = interrupted(&cri, after, async move { client.exec_sync(request).await });
        assert_eq!(cri.sh(&id, "echo still"), "still", "after {after} µs");

        let mut client = cri.runtime_client();
        let request = api::StopContainerRequest {
            container_id: id.clone(),
            timeout: 0,
        };
        let _ = interrupted(
            &cri,
            after,
            async move { client.stop_container(request).await },
        );
        cri.stop(&id, 0);
        assert_eq!(cri.status(&id).exit_code, 137, "after {after} µs");

        let removed = running("removed");
        for container_id in [id, removed] {
            let mut client = cri.runtime_client();
            let request = api::RemoveContainerRequest {
                container_id: container_id.clone(),
            };
            let _ = interrupted(&cri, after, async move {
                client.remove_container(request).await
            });
            cri.remove(&container_id);
            rctr_tests::cri::refused(cri.try_status(&container_id), Code::NotFound);
        }
        assert!(cri.containers(None).is_empty());
    }
    cri.remove_pod(&pod);
    cri.assert_no_leftovers();
}

#[test]
fn a_pull_that_was_cut_off_is_ended_by_the_retry() {
    let cri = Cri::new();
    for after in [500, 3_000, 8_000, 15_000, 30_000] {
        let mut client = cri.image_client();
        let request = api::PullImageRequest {
            image: Some(rctr_tests::cri::image("busybox")),
            ..Default::default()
        };
        let _ = interrupted(&cri, after, async move { client.pull_image(request).await });
        let id = cri.pull("busybox");
        let config = cri.pod_config(&format!("pulled{after}"));
        let pod = cri.run_pod(&config);
        let container = cri.run(&pod, &config, shell("c", "echo whole"));
        assert_eq!(cri.wait_exit(&container).exit_code, 0, "after {after} µs");
        cri.remove_pod(&pod);
        let request = api::RemoveImageRequest {
            image: Some(rctr_tests::cri::image(&id)),
        };
        cri.images(async |c| c.remove_image(request).await)
            .expect("RemoveImage");
        cri.env().rctr(["system", "prune", "-a", "-f"]).ok();
        let mut layers = entries(&cri.env().root().join("layers"));
        layers.retain(|name| name != "link");
        assert!(layers.is_empty(), "after {after} µs: {layers:?}");
    }
}
