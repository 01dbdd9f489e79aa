//! Containers of pods: their states, what they are given, and how they end.

use std::path::Path;
use std::time::{Duration, Instant};

use rctr_cri::api;
use rctr_tests::cri::{Pod, container, limits, map, mount, refused, shell};
use tonic::Code;

#[test]
fn a_container_is_told_as_it_was_asked_for() {
    let pod = Pod::new("told");
    let mut config = shell("main", "sleep 1000");
    config.annotations = map(&[("a/b", "c")]);
    let data = pod.cri.env().path("data");
    std::fs::create_dir(&data).expect("a directory");
    config.mounts.push(api::Mount {
        readonly: true,
        ..mount("/data", &data)
    });
    let id = pod.run(config.clone());
    let status = pod.cri.status(&id);
    assert_eq!(status.id, id);
    assert_eq!(status.metadata, config.metadata);
    assert_eq!(status.labels, config.labels);
    assert_eq!(status.annotations, config.annotations);
    assert_eq!(status.mounts, config.mounts);
    assert_eq!(status.stop_signal(), api::Signal::Sigterm);
    let listed = pod.cri.containers(None);
    assert_eq!(listed.len(), 1);
    let listed = &listed[0];
    assert_eq!((&listed.id, &listed.pod_sandbox_id), (&id, &pod.id));
    assert_eq!(listed.state(), api::ContainerState::ContainerRunning);
    assert_eq!(listed.image_ref, status.image_ref);
    assert_eq!(listed.created_at, status.created_at);
    assert_eq!(pod.cri.status(&id[..13]).id, id, "a prefix does");
}

#[test]
fn lists_are_filtered() {
    let pod = Pod::new("filters");
    let created = pod.create(shell("one", "true"));
    let running = pod.run(shell("two", "sleep 1000"));
    let ended = pod.run(shell("three", "true"));
    pod.cri.wait_exit(&ended);
    let found = |filter: api::ContainerFilter| -> Vec<String> {
        let found = pod.cri.containers(Some(filter)).into_iter();
        found.map(|container| container.id).collect()
    };
    let none = api::ContainerFilter::default;
    assert_eq!(found(none()).len(), 3);
    for (state, id) in [
        (api::ContainerState::ContainerCreated, &created),
        (api::ContainerState::ContainerRunning, &running),
        (api::ContainerState::ContainerExited, &ended),
    ] {
        let state = Some(api::ContainerStateValue {
            state: state.into(),
        });
        assert_eq!(
            found(api::ContainerFilter { state, ..none() }),
            std::slice::from_ref(id)
        );
    }
    let by_pod = |id: &str| api::ContainerFilter {
        pod_sandbox_id: id.into(),
        ..none()
    };
    assert_eq!(found(by_pod(&pod.id)).len(), 3);
    assert!(found(by_pod("nosuch")).is_empty());
    let by_label = api::ContainerFilter {
        label_selector: map(&[("container", "two")]),
        ..none()
    };
    assert_eq!(found(by_label), std::slice::from_ref(&running));
    let by_id = api::ContainerFilter {
        id: running[..12].into(),
        ..none()
    };
    assert_eq!(found(by_id), [running]);
}

#[test]
fn ends_have_their_code_and_reason() {
    let pod = Pod::new("ends");
    let end = |name: &str, script: &str| {
        let id = pod.run(shell(name, script));
        let ended = pod.cri.wait_exit(&id);
        (ended.exit_code, ended.reason)
    };
    assert_eq!(end("good", "exit 0"), (0, "Completed".into()));
    assert_eq!(end("bad", "exit 42"), (42, "Error".into()));
    let id = pod.run(shell("killed", "sleep 1000"));
    pod.cri.stop(&id, 0);
    let ended = pod.cri.status(&id);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "Error"));
}

#[test]
fn want_of_memory_is_told() {
    let pod = Pod::new("oom");
    let mut config = shell("greedy", "exec tail /dev/zero");
    config.linux = Some(limits(|l| {
        l.memory_limit_in_bytes = 20 << 20;
        l.memory_swap_limit_in_bytes = 20 << 20;
    }));
    let id = pod.run(config);
    let ended = pod.cri.wait_exit(&id);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "OOMKilled"));
}

#[test]
fn a_start_that_fails_says_why() {
    let pod = Pod::new("nostart");
    let id = pod.create(container("c", "busybox", &["/nosuch-command"]));
    let said = pod.cri.try_start(&id).expect_err("no such command");
    assert!(said.message().contains("/nosuch-command"), "{said:?}");
    let status = pod.cri.status(&id);
    assert_eq!(status.state(), api::ContainerState::ContainerExited);
    assert_eq!(status.reason, "StartError");
    assert!(status.exit_code != 0 && status.message.contains("/nosuch-command"));
    pod.cri.remove(&id);
}

#[test]
fn a_container_is_started_once() {
    let pod = Pod::new("once");
    let id = pod.run(shell("c", "sleep 0.2"));
    pod.cri.start_container(&id);
    pod.cri.wait_exit(&id);
    refused(pod.cri.try_start(&id), Code::FailedPrecondition);
}

#[test]
fn a_container_asked_for_again_is_the_one_there_is() {
    let pod = Pod::new("again");
    let id = pod.create(shell("c", "sleep 1000"));
    assert_eq!(pod.create(shell("c", "sleep 1000")), id);
    let other = pod
        .cri
        .try_create(&pod.id, &pod.config, shell("c", "sleep 2000"));
    refused(other, Code::AlreadyExists);
    pod.cri.remove(&id);
    assert_ne!(pod.create(shell("c", "sleep 1000")), id);
}

#[test]
fn command_and_arguments_as_kubernetes_has_them() {
    let pod = Pod::new("words");
    pod.cri.pull("entrypoint");
    let told = |name: &str, command: &[&str], args: &[&str]| {
        let mut config = container(name, "entrypoint", command);
        config.args = args.iter().map(|a| (*a).to_owned()).collect();
        let id = pod.create(config);
        let request = api::ContainerStatusRequest {
            container_id: id,
            verbose: true,
        };
        let answer = pod
            .cri
            .runtime(async |c| c.container_status(request).await)
            .expect("ContainerStatus");
        let info: serde_json::Value = serde_json::from_str(&answer.info["info"]).expect("JSON");
        let process = &info["process"];
        let mut words = vec![process["path"].as_str().expect("a path").to_owned()];
        let args = process["args"].as_array().expect("words").iter();
        words.extend(args.map(|word| word.as_str().expect("a word").to_owned()));
        words
    };
    let whole = told("image", &[], &[]);
    assert!(whole.len() >= 2, "{whole:?}");
    let args = told("args", &[], &["x"]);
    assert_eq!(args.last().map(String::as_str), Some("x"));
    assert_eq!(args[0], whole[0], "the entry point stays");
    assert_eq!(
        told("command", &["y"], &[]),
        ["y"],
        "and the image's words go"
    );
    assert_eq!(told("both", &["y"], &["z"]), ["y", "z"]);
}

#[test]
fn environment_and_directory() {
    let pod = Pod::new("env");
    let mut config = shell(
        "c",
        "echo \"$SECRET\"; pwd; printf %s \"$BYTES\" | od -An -tx1",
    );
    config.envs = vec![
        api::KeyValue {
            key: "SECRET".into(),
            value: "s3cret $NOT expanded".into(),
        },
        api::KeyValue {
            key: "BYTES".into(),
            value: "ä\n".into(),
        },
    ];
    config.working_dir = "/var/spool".into();
    let output = pod.output(config);
    assert_eq!(output, "s3cret $NOT expanded\n/var/spool\n c3 a4 0a");
}

#[test]
fn a_deaf_process_is_killed_when_its_time_is_up() {
    let pod = Pod::new("deaf");
    let id = pod.run(shell(
        "c",
        "trap '' TERM; echo ready; while :; do sleep 0.1; done",
    ));
    pod.cri
        .wait_log(Path::new(&pod.cri.status(&id).log_path), "ready");
    let began = Instant::now();
    pod.cri.stop(&id, 1);
    assert!(began.elapsed() >= Duration::from_secs(1));
    let ended = pod.cri.status(&id);
    assert_eq!(ended.exit_code, 137);
    pod.cri.stop(&id, 1);
}

#[test]
fn a_stop_that_comes_before_the_program_is_ready_is_not_lost() {
    let pod = Pod::new("early");
    // The kernel drops the signal: nobody handles it for the first half second.
    let script = "sleep 0.5; trap 'exit 9' TERM; while :; do sleep 0.05; done";
    let id = pod.run(shell("c", script));
    let began = Instant::now();
    pod.cri.stop(&id, 60);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(pod.cri.status(&id).exit_code, 9);
    // One that never handles it has its time.
    let deaf = pod.run(shell("deaf", "exec sleep 1000"));
    let began = Instant::now();
    pod.cri.stop(&deaf, 1);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(pod.cri.status(&deaf).exit_code, 137);
}

#[test]
fn the_stop_signal_is_the_containers() {
    let pod = Pod::new("signal");
    let script = "trap 'exit 5' USR1; echo ready; while :; do sleep 0.1; done";
    let mut config = shell("c", script);
    config.stop_signal = api::Signal::Sigusr1.into();
    let id = pod.run(config);
    let status = pod.cri.status(&id);
    assert_eq!(status.stop_signal(), api::Signal::Sigusr1);
    pod.cri.wait_log(Path::new(&status.log_path), "ready");
    pod.cri.stop(&id, 20);
    assert_eq!(pod.cri.status(&id).exit_code, 5);
}

#[test]
fn limits_are_set_told_and_changed() {
    let pod = Pod::new("limits");
    let mut config = shell("c", "sleep 1000");
    config.linux = Some(limits(|l| {
        l.cpu_period = 100_000;
        l.cpu_quota = 80_000;
        l.cpu_shares = 102;
        l.memory_limit_in_bytes = 20 << 20;
        l.memory_swap_limit_in_bytes = 20 << 20;
        l.oom_score_adj = 900;
        l.hugepage_limits = vec![api::HugepageLimit {
            page_size: "2MB".into(),
            limit: 0,
        }];
    }));
    let id = pod.run(config.clone());
    let told = || {
        let resources = pod.cri.status(&id).resources.expect("resources");
        resources.linux.expect("linux")
    };
    assert_eq!(Some(told()), config.linux.and_then(|l| l.resources));
    assert_eq!(pod.cri.sh(&id, "cat /proc/1/oom_score_adj"), "900");
    let to = api::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        memory_limit_in_bytes: 40 << 20,
        memory_swap_limit_in_bytes: 40 << 20,
        ..Default::default()
    };
    pod.cri.resize(&id, to);
    let now = told();
    assert_eq!(
        (now.cpu_quota, now.memory_limit_in_bytes),
        (50_000, 40 << 20)
    );
    assert_eq!(now.cpu_shares, 102, "what nobody names stays");
    assert_eq!(
        now.oom_score_adj, 900,
        "a kubelet that moves it to other processors names no score"
    );
    assert_eq!(pod.cri.sh(&id, "cat /proc/1/oom_score_adj"), "900");
}

#[test]
fn containers_asked_for_at_once_are_one() {
    let pod = Pod::new("once");
    let asked = (0..8).map(|_| {
        let mut client = pod.cri.runtime_client();
        let request = api::CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(shell("c", "sleep 1000")),
            sandbox_config: Some(pod.config.clone()),
        };
        async move { client.create_container(request).await }
    });
    let answers = pod.cri.wait(futures_util::future::join_all(asked));
    let ids = answers
        .into_iter()
        .map(|a| a.expect("a container").into_inner().container_id);
    let mut ids: Vec<_> = ids.collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    // Starts at once are one, too.
    let started = (0..4).map(|_| {
        let mut client = pod.cri.runtime_client();
        let container_id = ids[0].clone();
        async move {
            client
                .start_container(api::StartContainerRequest { container_id })
                .await
        }
    });
    for answer in pod.cri.wait(futures_util::future::join_all(started)) {
        answer.expect("a start");
    }
    assert_eq!(pod.cri.containers(None).len(), 1);
}

#[test]
fn each_container_of_a_pod_has_a_log_of_its_own() {
    let pod = Pod::new("logs");
    let output = |name: &str| {
        pod.output(shell(
            name,
            &format!("echo says {name}; echo {name} complains >&2"),
        ))
    };
    assert_eq!(output("first"), "says first\nfirst complains");
    assert_eq!(output("second"), "says second\nsecond complains");
}
