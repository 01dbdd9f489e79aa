//! The service itself: what it says of itself, how it starts and ends, and what outlives it.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_cri::api;
use rctr_tests::cri::{Cri, refused, shell};
use rctr_tests::{Env, http_get};
use tonic::Code;

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
    // What is claimed is tried: cri_security::groups_of_the_image_count_unless_they_shall_not.
    let features = plain.features.expect("features");
    assert!(features.supplemental_groups_policy && !features.user_namespaces_host_network);
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
fn each_request_is_a_span_and_what_it_logs_is_part_of_it() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("spans");
    let pod = cri.run_pod(&config);
    let mut labelled = shell("c", "sleep 1000");
    labelled.linux.as_mut().expect("linux").security_context =
        Some(api::LinuxContainerSecurityContext {
            selinux_options: Some(api::SeLinuxOption {
                level: "s0:c1,c2".into(),
                ..Default::default()
            }),
            ..Default::default()
        });
    let id = cri.run(&pod, &config, labelled);
    let log = cri.log();
    let line = |method: &str, text: &str| {
        let span = format!("rpc{{method=\"{method}\"}}");
        log.lines()
            .any(|line| line.contains(&span) && line.contains(text))
    };
    for method in [
        "Version",
        "PullImage",
        "RunPodSandbox",
        "CreateContainer",
        "StartContainer",
    ] {
        assert!(line(method, "answered code=0"), "{method} in\n{log}");
    }
    // From another thread, and from a task of its own.
    assert!(line("StartContainer", "SELinux is not enabled"), "{log}");
    assert!(line("StartContainer", &id), "{log}");
}

#[test]
fn its_configuration_may_be_another_file() {
    let env = Env::new();
    let socket = env.path("other.sock");
    let file = env.path("other.toml");
    let own = std::fs::read_to_string(env.config_file()).expect("a configuration");
    let cri = format!(
        "{own}\n[cri]\nsocket = \"unix://{}\"\ncni_conf_dir = \"/other/net.d\"\n",
        socket.display()
    );
    std::fs::write(&file, cri).expect("written");
    let mut command = env.command(["cri", "--config"]);
    let mut server = command
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    rctr_tests::wait_for("its socket", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    let io = tokio::runtime::Runtime::new().expect("a runtime");
    let told = io.block_on(async {
        let channel =
            tonic::transport::Endpoint::from_shared(format!("unix://{}", socket.display()))
                .expect("an address")
                .connect()
                .await
                .expect("a connection");
        rctr_cri::api::runtime_service_client::RuntimeServiceClient::new(channel)
            .status(api::StatusRequest { verbose: true })
            .await
    });
    let info = told.expect("Status").into_inner().info;
    assert!(
        info["config"].contains("\"/other/net.d\""),
        "{}",
        info["config"]
    );
    kill(
        Pid::from_raw(i32::try_from(server.id()).expect("a pid")),
        Signal::SIGTERM,
    )
    .expect("it lives");
    assert!(server.wait().expect("a child").success());
    assert!(!socket.exists());
}
