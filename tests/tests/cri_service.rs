//! The service itself: what it says of itself, how it starts and ends, and what outlives it.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_cri::api;
use rctr_tests::cri::{Cri, map, refused, shell, within};
use rctr_tests::{Env, http_get, wait_for, wait_for_some};
use tonic::{Code, Status};

#[test]
fn it_says_what_it_is() {
    let cri = Cri::new();
    let version = cri
        .runtime(async |c| c.version(api::VersionRequest::default()).await)
        .expect("Version");
    assert_eq!(version.version, "0.1.0");
    assert_eq!(version.runtime_name, "rctr");
    assert_eq!(version.runtime_api_version, "v1");
    assert!(!version.runtime_version.is_empty());

    let status = |verbose| {
        cri.runtime(async |c| c.status(api::StatusRequest { verbose }).await)
            .expect("Status")
    };
    let plain = status(false);
    let conditions = plain.status.expect("conditions").conditions;
    let ready: Vec<_> = conditions
        .iter()
        .map(|c| (c.r#type.as_str(), c.status))
        .collect();
    assert_eq!(ready, [("RuntimeReady", true), ("NetworkReady", true)]);
    assert!(plain.info.is_empty());
    assert_eq!(plain.runtime_handlers[0].name, "");
    assert!(status(true).info.contains_key("config"));

    let config = cri
        .runtime(async |c| c.runtime_config(api::RuntimeConfigRequest {}).await)
        .expect("RuntimeConfig");
    assert_eq!(
        config.linux.expect("linux").cgroup_driver(),
        api::CgroupDriver::Cgroupfs
    );
    let range = api::UpdateRuntimeConfigRequest {
        runtime_config: Some(api::RuntimeConfig {
            network_config: Some(api::NetworkConfig {
                pod_cidr: "10.0.0.0/24".into(),
            }),
        }),
    };
    cri.runtime(async |c| c.update_runtime_config(range).await)
        .expect("UpdateRuntimeConfig");
}

#[test]
fn checkpoints_are_refused_with_a_reason() {
    let cri = Cri::new();
    let request = api::CheckpointContainerRequest::default();
    let said = refused(
        cri.runtime(async |c| c.checkpoint_container(request).await),
        Code::Unimplemented,
    );
    assert!(said.contains("checkpoint"), "{said}");
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
fn a_service_killed_in_the_middle_leaves_nothing_that_a_retry_trips_over() {
    let cri = Cri::new();
    cri.pull("busybox");
    for pause in [0, 3, 6, 10, 15, 25] {
        let config = cri.pod_config(&format!("killed{pause}"));
        let mut client = cri.runtime_client();
        let request = api::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let pid = Pid::from_raw(cri.pid());
        let outcome = cri.wait(async {
            let asked = client.run_pod_sandbox(request);
            let killed = async {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                kill(pid, Signal::SIGKILL).expect("it lives");
            };
            tokio::join!(asked, killed).0
        });
        cri.restart();
        let pod = cri.run_pod(&config);
        if let Ok(answer) = outcome {
            assert_eq!(
                answer.into_inner().pod_sandbox_id,
                pod,
                "the one it told of"
            );
        }
        assert_eq!(
            cri.pod_status(&pod).state(),
            api::PodSandboxState::SandboxReady
        );
        let pods = cri.pods(None);
        let ready = pods.iter().filter(|p| p.metadata == config.metadata);
        assert_eq!(ready.count(), 1, "after {pause} ms");
        cri.remove_pod(&pod);
    }
    assert!(cri.pods(None).is_empty());
    cri.assert_no_leftovers();
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
    let children = format!("/proc/{0}/task/{0}/children", cri.pid());
    wait_for("the monitors to be reaped", || {
        std::fs::read_to_string(&children).is_ok_and(|list| list.trim().is_empty())
    });
}

#[test]
fn events_tell_what_happens() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("events");
    let pod = cri.run_pod(&config);
    let mut client = cri.runtime_client();
    let mut stream = cri
        .wait(client.get_container_events(api::GetEventsRequest {}))
        .expect("GetContainerEvents")
        .into_inner();
    let id = cri.run(&pod, &config, shell("c", "exit 4"));
    cri.wait_exit(&id);
    let mut next = |kind: api::ContainerEventType| {
        let event = cri
            .wait(stream.message())
            .expect("a stream")
            .expect("an event");
        assert_eq!(
            (event.container_event_type(), &event.container_id),
            (kind, &id)
        );
        assert!(event.created_at > 0);
        event
    };
    let created = next(api::ContainerEventType::ContainerCreatedEvent);
    assert_eq!(created.pod_sandbox_status.expect("the pod").id, pod);
    next(api::ContainerEventType::ContainerStartedEvent);
    let stopped = next(api::ContainerEventType::ContainerStoppedEvent);
    assert_eq!(stopped.containers_statuses.len(), 1);
    assert_eq!(stopped.containers_statuses[0].exit_code, 4);
    cri.remove(&id);
    next(api::ContainerEventType::ContainerDeletedEvent);
    // The pod is told of under its own id.
    cri.remove_pod(&pod);
    let mut of_pod = || {
        let event = cri.wait(stream.message()).expect("a stream");
        let event = event.expect("an event");
        assert_eq!(event.container_id, pod);
        (
            event.container_event_type(),
            event.pod_sandbox_status.expect("the pod").state(),
        )
    };
    let gone = api::PodSandboxState::SandboxNotready;
    assert_eq!(
        of_pod(),
        (api::ContainerEventType::ContainerStoppedEvent, gone)
    );
    assert_eq!(
        of_pod(),
        (api::ContainerEventType::ContainerDeletedEvent, gone)
    );
}

#[test]
fn use_is_told_of_containers_and_pods() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("stats");
    let pod = cri.run_pod(&config);
    let script = "dd if=/dev/zero of=/file bs=1k count=200; while :; do :; done";
    let mut busy = shell("busy", script);
    busy.linux.as_mut().expect("linux").resources = Some(api::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_period: 100_000,
        cpu_quota: 20_000,
        ..Default::default()
    });
    let id = cri.run(&pod, &config, busy);
    let stats = || {
        let request = api::ContainerStatsRequest {
            container_id: id.clone(),
        };
        cri.runtime(async |c| c.container_stats(request).await)
            .expect("ContainerStats")
            .stats
            .expect("stats")
    };
    let value = |boxed: Option<api::UInt64Value>| boxed.expect("a value").value;
    let stats = wait_for_some("a rate of processor use", || {
        let stats = stats();
        stats.cpu?.usage_nano_cores.is_some().then_some(stats)
    });
    let attributes = stats.attributes.expect("attributes");
    assert_eq!(
        (&attributes.id, &attributes.labels),
        (&id, &map(&[("container", "busy")]))
    );
    let cpu = stats.cpu.expect("cpu");
    assert!(cpu.timestamp > 0 && value(cpu.usage_core_nano_seconds) > 0);
    let rate = value(cpu.usage_nano_cores);
    assert!((10_000_000..400_000_000).contains(&rate), "{rate}");
    let memory = stats.memory.expect("memory");
    let working_set = value(memory.working_set_bytes);
    assert!(working_set > 0 && working_set <= value(memory.usage_bytes));
    assert_eq!(value(memory.available_bytes), (64 << 20) - working_set);
    let layer = stats.writable_layer.expect("a layer");
    assert!(value(layer.used_bytes) >= 200 << 10);
    assert!(value(layer.inodes_used) >= 1);

    let list = |filter| {
        cri.runtime(async |c| {
            c.list_container_stats(api::ListContainerStatsRequest { filter })
                .await
        })
        .expect("ListContainerStats")
        .stats
    };
    assert_eq!(list(None).len(), 1);
    let of_pod = api::ContainerStatsFilter {
        pod_sandbox_id: pod.clone(),
        ..Default::default()
    };
    assert_eq!(list(Some(of_pod)).len(), 1);
    let others = api::ContainerStatsFilter {
        label_selector: map(&[("container", "other")]),
        ..Default::default()
    };
    assert!(list(Some(others)).is_empty());

    cri.sh(
        &id,
        "ping -c 1 -w 2 127.0.0.1; wget -T 1 -qO- http://10.255.255.1 || true",
    );
    let request = api::PodSandboxStatsRequest {
        pod_sandbox_id: pod.clone(),
    };
    let of_pod = cri
        .runtime(async |c| c.pod_sandbox_stats(request).await)
        .expect("PodSandboxStats")
        .stats
        .expect("stats");
    assert_eq!(
        of_pod.attributes.expect("attributes").metadata,
        config.metadata
    );
    let linux = of_pod.linux.expect("linux");
    let network = linux.network.expect("network");
    let eth0 = network.default_interface.expect("eth0");
    assert_eq!(eth0.name, "eth0");
    assert!(eth0.tx_bytes.is_some() && eth0.rx_bytes.is_some());
    assert!(value(linux.process.expect("processes").process_count) >= 1);
    assert_eq!(linux.containers.len(), 1);
    let all = cri
        .runtime(async |c| {
            c.list_pod_sandbox_stats(api::ListPodSandboxStatsRequest::default())
                .await
        })
        .expect("ListPodSandboxStats");
    assert_eq!(all.stats.len(), 1);
}

#[test]
fn metrics_have_cadvisors_names() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("metrics");
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
    let descriptors = cri
        .runtime(async |c| {
            c.list_metric_descriptors(api::ListMetricDescriptorsRequest {})
                .await
        })
        .expect("ListMetricDescriptors")
        .descriptors;
    let metrics = cri
        .runtime(async |c| {
            c.list_pod_sandbox_metrics(api::ListPodSandboxMetricsRequest {})
                .await
        })
        .expect("ListPodSandboxMetrics")
        .pod_metrics;
    assert_eq!(metrics.len(), 1);
    assert_eq!(metrics[0].pod_sandbox_id, pod);
    let of_container = &metrics[0].container_metrics[0];
    assert_eq!(of_container.container_id, id);
    let keys = |name: &str| {
        let found = descriptors.iter().find(|d| d.name == name);
        &found
            .unwrap_or_else(|| panic!("{name} is described"))
            .label_keys
    };
    for metric in metrics[0].metrics.iter().chain(&of_container.metrics) {
        assert_eq!(
            keys(&metric.name).len(),
            metric.label_values.len(),
            "{}",
            metric.name
        );
    }
    let sample = |name: &str| {
        let found = of_container.metrics.iter().find(|m| m.name == name);
        found.unwrap_or_else(|| panic!("a sample of {name}"))
    };
    let names: BTreeSet<_> = of_container
        .metrics
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    for name in [
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_memory_rss",
        "container_fs_usage_bytes",
        "container_oom_events_total",
        "container_last_seen",
        "container_start_time_seconds",
        "container_spec_memory_limit_bytes",
        "container_ulimits_soft",
    ] {
        assert!(names.contains(name), "{name}");
    }
    let labels = |metric: &api::Metric| -> Vec<(String, String)> {
        let keys = keys(&metric.name).iter().cloned();
        keys.zip(metric.label_values.iter().cloned()).collect()
    };
    let of = labels(sample("container_processes"));
    for (key, wanted) in [
        ("container", "c"),
        ("pod", "metrics"),
        ("namespace", "default"),
    ] {
        assert!(of.contains(&(key.into(), wanted.into())), "{of:?}");
    }
    assert!(sample("container_processes").value.expect("a value").value >= 1);
    assert!(
        sample("container_file_descriptors")
            .value
            .expect("a value")
            .value
            >= 3
    );
    let traffic = metrics[0]
        .metrics
        .iter()
        .find(|m| m.name == "container_network_receive_bytes_total")
        .expect("traffic of the pod");
    assert!(labels(traffic).contains(&("interface".into(), "eth0".into())));
}

#[test]
fn lists_come_in_streams_too() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("streams");
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
    let mut c = cri.runtime_client();
    let told = cri.wait(async {
        let mut stream = c
            .stream_containers(api::StreamContainersRequest::default())
            .await?
            .into_inner();
        let containers = stream.message().await?.expect("a part").containers;
        let mut stream = c
            .stream_container_stats(api::StreamContainerStatsRequest::default())
            .await?
            .into_inner();
        let stats = stream.message().await?.expect("a part").container_stats;
        let mut stream = c
            .stream_pod_sandbox_stats(api::StreamPodSandboxStatsRequest::default())
            .await?
            .into_inner();
        let pods = stream.message().await?.expect("a part").pod_sandbox_stats;
        let mut stream = c
            .stream_pod_sandbox_metrics(api::StreamPodSandboxMetricsRequest {})
            .await?
            .into_inner();
        let metrics = stream.message().await?.expect("a part").pod_sandbox_metrics;
        assert!(stream.message().await?.is_none(), "and no more");
        Ok::<_, Status>((containers, stats, pods, metrics))
    });
    let (containers, stats, pods, metrics) = told.expect("streams");
    assert_eq!(containers[0].id, id);
    assert_eq!(stats[0].attributes.as_ref().expect("attributes").id, id);
    assert_eq!(pods[0].attributes.as_ref().expect("attributes").id, pod);
    assert_eq!(metrics[0].pod_sandbox_id, pod);
}

#[test]
fn requests_are_counted_where_it_is_asked_for() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let cri = Cri::with_config(&format!("metrics_address = \"{address}\"\n"));
    let health = http_get(address, "/healthz").expect("an answer");
    assert_eq!((health.status, health.body.trim()), (200, "ok"));
    let _ = cri.try_status("nosuch");
    let page = http_get(address, "/metrics").expect("an answer").body;
    assert!(
        page.contains("rctr_cri_requests_total{method=\"Version\",code=\"0\"}"),
        "{page}"
    );
    assert!(
        page.contains("rctr_cri_requests_total{method=\"ContainerStatus\",code=\"5\"} 1"),
        "{page}"
    );
    assert!(
        page.contains("rctr_cri_request_seconds_count{method=\"Version\"}"),
        "{page}"
    );
    assert_eq!(http_get(address, "/other").expect("an answer").status, 404);
}

#[test]
fn two_services_do_not_share_a_socket() {
    let cri = Cri::new();
    let second = cri.env().rctr([
        "cri".to_owned(),
        format!("--listen=unix://{}", cri.socket().display()),
    ]);
    assert_ne!(second.status(), 0);
    assert!(
        second.stderr().contains("is served already"),
        "{}",
        second.stderr()
    );
    cri.end(Signal::SIGTERM);
    assert!(
        !cri.socket().exists(),
        "a service that ends takes its socket along"
    );
    cri.start();
}

#[test]
fn a_handler_that_is_not_configured_is_refused_and_one_that_is_the_built_in_runs() {
    let cri = Cri::with_config("[cri.handlers.plain]\n");
    let config = cri.pod_config("handler");
    let pod = cri.try_run_pod(&config, "plain").expect("the built-in one");
    assert_eq!(cri.pod_status(&pod).runtime_handler, "plain");
    assert_eq!(cri.pods(None)[0].runtime_handler, "plain");
    let status = cri
        .runtime(async |c| c.status(api::StatusRequest::default()).await)
        .expect("Status");
    let names: Vec<_> = status
        .runtime_handlers
        .iter()
        .map(|h| h.name.as_str())
        .collect();
    assert_eq!(names, ["", "plain"]);
    refused(
        cri.try_run_pod(&cri.pod_config("other"), "other"),
        Code::InvalidArgument,
    );
}

#[test]
fn systemd_may_hand_over_the_socket_and_is_told_of_readiness() {
    let env = Env::new();
    let notify = UnixDatagram::bind(env.path("notify")).expect("a socket");
    notify
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let listener = UnixListener::bind(env.path("handed.sock")).expect("a socket");
    let fd = listener.as_raw_fd();
    // LISTEN_PID is the process that runs rctr in the end: a shell that knows its own becomes it.
    let rctr = env.command(["cri"]);
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "export LISTEN_PID=$$; exec \"$0\" cri"])
        .arg(rctr.get_program())
        .env_clear()
        .envs(rctr.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("LISTEN_FDS", "1")
        .env("NOTIFY_SOCKET", env.path("notify"))
        .stderr(Stdio::piped());
    // SAFETY: dup2 is all that happens between fork and exec.
    unsafe {
        command.pre_exec(move || match libc_dup2(fd, 3) {
            3 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut server = command.spawn().expect("it starts");
    let mut message = [0; 64];
    let length = notify.recv(&mut message).expect("readiness");
    assert_eq!(&message[..length], b"READY=1");
    let io = tokio::runtime::Runtime::new().expect("a runtime");
    let version = io.block_on(async {
        let address = format!("unix://{}", env.path("handed.sock").display());
        let channel = tonic::transport::Endpoint::from_shared(address)
            .expect("an address")
            .connect()
            .await
            .expect("a connection");
        rctr_cri::api::runtime_service_client::RuntimeServiceClient::new(channel)
            .version(api::VersionRequest::default())
            .await
    });
    assert_eq!(version.expect("Version").into_inner().runtime_name, "rctr");
    let pid = Pid::from_raw(i32::try_from(server.id()).expect("a pid"));
    kill(pid, Signal::SIGTERM).expect("it lives");
    let ended = server.wait().expect("a child");
    let mut said = String::new();
    let stderr = server.stderr.as_mut().expect("piped");
    stderr.read_to_string(&mut said).expect("text");
    assert!(ended.success(), "{ended}: {said}");
    assert!(env.path("handed.sock").exists(), "the socket is systemd's");
}

fn libc_dup2(from: i32, to: i32) -> i32 {
    // SAFETY: `from` is open; whatever was at `to` in the child is nobody's.
    unsafe { nix::libc::dup2(from, to) }
}

#[test]
fn a_busy_service_answers_lists_quickly() {
    let cri = Cri::new();
    cri.pull("busybox");
    let configs: Vec<_> = (0..10)
        .map(|n| cri.pod_config(&format!("many{n}")))
        .collect();
    for config in &configs {
        let pod = cri.run_pod(config);
        cri.run(&pod, config, shell("c", "sleep 1000"));
    }
    let children = format!("/proc/{0}/task/{0}/children", cri.pid());
    let before = std::fs::read_to_string(&children).expect("children");
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(cri.pods(None).len(), 10);
        assert_eq!(cri.containers(None).len(), 10);
    }
    let each = began.elapsed() / 40;
    assert!(each < Duration::from_millis(50), "{each:?}");
    assert_eq!(
        std::fs::read_to_string(&children).expect("children"),
        before
    );
}
