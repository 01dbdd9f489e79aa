//! Pods as a kubelet makes, asks for and removes them.

use std::time::Duration;

use rctr_cri::api;
use rctr_tests::cri::{Cri, map, refused, secured, sharing, shell, within};
use tonic::{Code, Status};

fn namespaces(pod: &api::PodSandboxStatus) -> api::NamespaceOption {
    let linux = pod.linux.clone().expect("linux");
    linux
        .namespaces
        .expect("namespaces")
        .options
        .expect("options")
}

#[test]
fn from_pull_to_removal() {
    let cri = Cri::new();
    let image = cri.pull("busybox");
    let config = cri.pod_config("road");
    let pod = cri.run_pod(&config);
    let mut wanted = shell(
        "main",
        "echo hello; echo problem >&2; trap 'exit 3' TERM; while :; do sleep 0.1; done",
    );
    wanted.image = Some(api::ImageSpec {
        image: image.clone(),
        user_specified_image: "busybox".into(),
        ..Default::default()
    });
    let id = cri.create(&pod, &config, wanted);
    assert_eq!(
        cri.status(&id).state(),
        api::ContainerState::ContainerCreated
    );
    cri.start_container(&id);
    let status = cri.status(&id);
    assert_eq!(status.state(), api::ContainerState::ContainerRunning);
    assert_eq!((&status.image_ref, &status.image_id), (&image, &image));
    let listed = &cri.containers(None)[0];
    assert_eq!((&listed.image_ref, &listed.image_id), (&image, &image));
    assert_eq!(status.image.expect("an image").image, "busybox");
    assert!(status.started_at >= status.created_at && status.created_at > 0);

    let done = cri
        .try_exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 7"], 10)
        .expect("ExecSync");
    assert_eq!(
        (
            done.stdout.as_slice(),
            done.stderr.as_slice(),
            done.exit_code
        ),
        (&b"out\n"[..], &b"err\n"[..], 7)
    );

    let log = std::path::PathBuf::from(&status.log_path);
    assert!(log.starts_with(&config.log_directory), "{}", log.display());
    let lines = cri.wait_log(&log, "problem");
    assert!(
        lines.contains(" stdout F hello\n") && lines.contains(" stderr F problem\n"),
        "{lines}"
    );

    cri.stop(&id, 10);
    let ended = cri.status(&id);
    assert_eq!(ended.state(), api::ContainerState::ContainerExited);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (3, "Error"));
    assert!(ended.finished_at >= ended.started_at);
    cri.remove(&id);
    refused(cri.try_status(&id), Code::NotFound);
    cri.remove_pod(&pod);
    assert!(cri.pods(None).is_empty());
    cri.assert_no_leftovers();
}

#[test]
fn a_pod_is_told_as_it_was_asked_for() {
    let cri = Cri::new();
    let config = cri.pod_config("told");
    let pod = cri.run_pod(&config);
    let status = cri.pod_status(&pod);
    assert_eq!(status.id, pod);
    assert_eq!(status.metadata, config.metadata);
    assert_eq!(status.labels, config.labels);
    assert_eq!(status.annotations, config.annotations);
    assert_eq!(status.state(), api::PodSandboxState::SandboxReady);
    assert!(status.created_at > 0);
    let network = status.network.clone().expect("network");
    let subnet = cri.env().slot().subnet();
    let ip: std::net::Ipv4Addr = network.ip.parse().expect("an address");
    assert!(subnet.contains(&ip), "{ip} in {subnet}");

    let listed = cri.pods(None);
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].id, &listed[0].metadata, listed[0].created_at),
        (&pod, &config.metadata, status.created_at)
    );
    cri.stop_pod(&pod);
    let stopped = cri.pod_status(&pod);
    assert_eq!(stopped.state(), api::PodSandboxState::SandboxNotready);
    assert_eq!(stopped.metadata, config.metadata);
    cri.stop_pod(&pod);
}

#[test]
fn namespaces_are_echoed() {
    use api::NamespaceMode as Mode;
    let cri = Cri::new();
    for (n, (network, pid, ipc)) in [
        (Mode::Pod, Mode::Container, Mode::Pod),
        (Mode::Node, Mode::Node, Mode::Node),
        (Mode::Pod, Mode::Pod, Mode::Pod),
    ]
    .into_iter()
    .enumerate()
    {
        let asked = api::NamespaceOption {
            network: network.into(),
            pid: pid.into(),
            ipc: ipc.into(),
            ..Default::default()
        };
        let mut config = cri.pod_config(&format!("ns{n}"));
        config.linux = Some(sharing(asked.clone()));
        let pod = cri.run_pod(&config);
        let status = cri.pod_status(&pod);
        assert_eq!(namespaces(&status), asked);
        let network_of_host = network == Mode::Node;
        assert_eq!(
            status.network.expect("network").ip.is_empty(),
            network_of_host
        );
    }
}

#[test]
fn lists_are_filtered() {
    let cri = Cri::new();
    let first = cri.run_pod(&cri.pod_config("first"));
    let second = cri.run_pod(&cri.pod_config("second"));
    cri.stop_pod(&second);
    let found = |filter: api::PodSandboxFilter| -> Vec<String> {
        let mut ids: Vec<_> = cri.pods(Some(filter)).into_iter().map(|p| p.id).collect();
        ids.sort();
        ids
    };
    let mut both = vec![first.clone(), second.clone()];
    both.sort();
    let none = api::PodSandboxFilter::default;
    assert_eq!(found(none()), both);
    let by_id = |id: &str| api::PodSandboxFilter {
        id: id.into(),
        ..none()
    };
    assert_eq!(found(by_id(&first)), std::slice::from_ref(&first));
    assert_eq!(found(by_id(&first[..10])), std::slice::from_ref(&first));
    assert!(found(by_id("nosuch")).is_empty());
    let by_state = |state: api::PodSandboxState| api::PodSandboxFilter {
        state: Some(api::PodSandboxStateValue {
            state: state.into(),
        }),
        ..none()
    };
    assert_eq!(
        found(by_state(api::PodSandboxState::SandboxReady)),
        std::slice::from_ref(&first)
    );
    assert_eq!(
        found(by_state(api::PodSandboxState::SandboxNotready)),
        std::slice::from_ref(&second)
    );
    let by_label = |value: &str| api::PodSandboxFilter {
        label_selector: map(&[("app", value)]),
        ..none()
    };
    assert_eq!(found(by_label("second")), [second]);
    assert!(found(by_label("third")).is_empty());
    let told = cri.wait(async {
        let mut client = cri.runtime_client();
        let request = api::StreamPodSandboxesRequest { filter: None };
        let mut stream = client.stream_pod_sandboxes(request).await?.into_inner();
        let mut ids = Vec::new();
        while let Some(part) = stream.message().await? {
            ids.extend(part.pod_sandboxes.into_iter().map(|pod| pod.id));
        }
        ids.sort();
        Ok::<_, Status>(ids)
    });
    assert_eq!(told.expect("a stream"), both);
}

#[test]
fn what_is_not_there() {
    let cri = Cri::new();
    let unknown = "0".repeat(64);
    cri.remove_pod(&unknown);
    cri.stop(&unknown, 1);
    cri.remove(&unknown);
    let request = api::PodSandboxStatusRequest {
        pod_sandbox_id: unknown.clone(),
        verbose: false,
    };
    refused(
        cri.runtime(async |c| c.pod_sandbox_status(request).await),
        Code::NotFound,
    );
    refused(cri.try_status(&unknown), Code::NotFound);
    refused(cri.try_start(&unknown), Code::NotFound);
    refused(cri.try_exec(&unknown, &["true"], 1), Code::NotFound);
    let config = cri.pod_config("none");
    refused(
        cri.try_create(&unknown, &config, shell("c", "true")),
        Code::NotFound,
    );
}

#[test]
fn a_pod_asked_for_again_is_the_one_there_is() {
    let cri = Cri::new();
    let config = cri.pod_config("again");
    let pod = cri.run_pod(&config);
    assert_eq!(cri.run_pod(&config), pod);
    let mut other = config.clone();
    other.hostname = "other".into();
    refused(cri.try_run_pod(&other, ""), Code::AlreadyExists);
    let mut next = config.clone();
    next.metadata.as_mut().expect("metadata").attempt = 1;
    assert_ne!(cri.run_pod(&next), pod);
    assert_eq!(cri.pods(None).len(), 2);
}

#[test]
fn pods_asked_for_at_once_are_one() {
    let cri = Cri::new();
    let config = cri.pod_config("once");
    let asked = (0..8).map(|_| {
        let mut client = cri.runtime_client();
        let request = api::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        async move { client.run_pod_sandbox(request).await }
    });
    let answers = cri.wait(futures_util::future::join_all(asked));
    let mut ids: Vec<_> = answers
        .into_iter()
        .map(|a| a.expect("a pod").into_inner().pod_sandbox_id)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(cri.pods(None).len(), 1);
}

#[test]
fn a_deadline_is_kept_and_the_retry_joins() {
    let cri = Cri::new();
    let config = cri.pod_config("hasty");
    let request = api::RunPodSandboxRequest {
        config: Some(config.clone()),
        runtime_handler: String::new(),
    };
    let hasty = within(Duration::from_millis(1), request);
    let outcome = cri.runtime(async |c| c.run_pod_sandbox(hasty).await);
    let code = outcome.expect_err("too hasty").code();
    assert!(
        matches!(code, Code::DeadlineExceeded | Code::Cancelled),
        "{code:?}"
    );
    let pod = cri.run_pod(&config);
    let listed = cri.pods(None);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, pod);
}

#[test]
fn bad_requests_are_refused() {
    let cri = Cri::new();
    let run = |change: &dyn Fn(&mut api::PodSandboxConfig)| {
        let mut config = cri.pod_config("bad");
        change(&mut config);
        refused(cri.try_run_pod(&config, ""), Code::InvalidArgument)
    };
    run(&|c| c.metadata = None);
    run(&|c| c.metadata.as_mut().expect("metadata").name.clear());
    run(&|c| {
        c.port_mappings.push(api::PortMapping {
            host_port: 70_000,
            container_port: 1,
            ..Default::default()
        });
    });
    let said = refused(
        cri.try_run_pod(&cri.pod_config("handler"), "nosuch"),
        Code::InvalidArgument,
    );
    assert!(said.contains("nosuch"), "{said}");
    let empty = api::RunPodSandboxRequest::default();
    refused(
        cri.runtime(async |c| c.run_pod_sandbox(empty).await),
        Code::InvalidArgument,
    );
    assert!(cri.pods(None).is_empty());
}

#[test]
fn shared_memory_is_the_pods() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("ipc");
    let pod = cri.run_pod(&config);
    let first = cri.run(&pod, &config, shell("a", "sleep 1000"));
    let second = cri.run(&pod, &config, shell("b", "sleep 1000"));
    cri.sh(&first, "echo note > /dev/shm/note");
    assert_eq!(cri.sh(&second, "cat /dev/shm/note"), "note");
    assert_eq!(
        cri.sh(&first, "readlink /proc/self/ns/ipc"),
        cri.sh(&second, "readlink /proc/self/ns/ipc")
    );
    assert_ne!(
        cri.sh(&first, "readlink /proc/1/ns/pid"),
        cri.sh(&second, "readlink /proc/1/ns/pid")
    );
}

#[test]
fn processes_may_be_shared() {
    let cri = Cri::new();
    cri.pull("busybox");
    let mut config = cri.pod_config("pids");
    config.linux = Some(sharing(api::NamespaceOption {
        pid: api::NamespaceMode::Pod.into(),
        ..Default::default()
    }));
    let pod = cri.run_pod(&config);
    let context = api::LinuxContainerSecurityContext {
        namespace_options: Some(api::NamespaceOption {
            pid: api::NamespaceMode::Pod.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let member = |name: &str, script: &str| {
        let mut config = shell(name, script);
        config.linux.as_mut().expect("linux").security_context = Some(context.clone());
        config
    };
    let first = cri.run(&pod, &config, member("a", "sleep 1234"));
    let second = cri.run(&pod, &config, member("b", "sleep 1000"));
    let processes = cri.sh(&second, "ps -o pid,args");
    assert!(processes.contains("sleep 1234"), "{processes}");
    // A container that ends takes no other with it.
    cri.stop(&first, 0);
    assert_eq!(
        cri.status(&second).state(),
        api::ContainerState::ContainerRunning
    );
}

#[test]
fn names_are_resolved_as_the_pod_says() {
    let cri = Cri::new();
    cri.pull("busybox");
    let mut config = cri.pod_config("dns");
    config.dns_config = Some(api::DnsConfig {
        servers: vec!["10.96.0.10".into()],
        searches: vec!["default.svc.cluster.local".into(), "cluster.local".into()],
        options: vec!["ndots:5".into()],
    });
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
    let resolv = cri.sh(&id, "cat /etc/resolv.conf");
    let lines: Vec<_> = resolv.lines().collect();
    assert!(lines.contains(&"nameserver 10.96.0.10"), "{resolv}");
    assert!(
        lines.contains(&"search default.svc.cluster.local cluster.local"),
        "{resolv}"
    );
    assert!(lines.contains(&"options ndots:5"), "{resolv}");
}

#[test]
fn kernel_parameters_are_the_pods() {
    let cri = Cri::new();
    cri.pull("busybox");
    let mut config = cri.pod_config("sysctl");
    config.linux.as_mut().expect("linux").sysctls = map(&[
        ("net.ipv4.ip_unprivileged_port_start", "80"),
        ("kernel.shm_rmid_forced", "1"),
    ]);
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
    assert_eq!(
        cri.sh(&id, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"),
        "80"
    );
    assert_eq!(cri.sh(&id, "cat /proc/sys/kernel/shm_rmid_forced"), "1");
}

#[test]
fn stopping_a_pod_ends_its_containers_and_removing_it_removes_them() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("ends");
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
    cri.stop_pod(&pod);
    let ended = cri.status(&id);
    assert_eq!(ended.state(), api::ContainerState::ContainerExited);
    assert_eq!(ended.exit_code, 137);
    refused(
        cri.try_create(&pod, &config, shell("late", "true")),
        Code::FailedPrecondition,
    );
    cri.remove_pod(&pod);
    refused(cri.try_status(&id), Code::NotFound);
    assert!(cri.containers(None).is_empty());
    cri.assert_no_leftovers();
}

#[test]
fn what_is_the_hosts_is_the_hosts_own() {
    use api::NamespaceMode::{Node, Pod as Own};
    let cri = Cri::new();
    cri.pull("busybox");
    let here = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
        link.to_string_lossy().into_owned()
    };
    for (name, mode) in [("hosts", Node), ("own", Own)] {
        let namespaces = api::NamespaceOption {
            network: mode.into(),
            ipc: mode.into(),
            pid: api::NamespaceMode::Container.into(),
            ..Default::default()
        };
        let mut config = cri.pod_config(name);
        if mode == Node {
            // As a kubelet has it.
            config.hostname.clear();
        }
        config.linux = Some(sharing(namespaces.clone()));
        let pod = cri.run_pod(&config);
        let mut container = shell("c", "sleep 1000");
        container.linux = Some(secured(|c| c.namespace_options = Some(namespaces)));
        let id = cri.run(&pod, &config, container);
        for kind in ["net", "ipc", "uts"] {
            let inside = cri.sh(&id, &format!("readlink /proc/self/ns/{kind}"));
            assert_eq!(inside == here(kind), mode == Node, "{name} {kind}");
        }
        let host = nix::unistd::gethostname().expect("a name");
        let host = host.to_string_lossy().into_owned();
        let expected = if mode == Node { host.as_str() } else { name };
        assert_eq!(
            cri.sh(&id, "hostname; cat /etc/hostname"),
            format!("{expected}\n{expected}")
        );
    }
}

#[test]
fn a_pod_has_a_process_only_if_its_containers_share_theirs() {
    let cri = Cri::new();
    let count = || cri.children().len();
    cri.run_pod(&cri.pod_config("plain"));
    assert_eq!(count(), 0);
    let mut config = cri.pod_config("shared");
    config.linux = Some(sharing(api::NamespaceOption {
        pid: api::NamespaceMode::Pod.into(),
        ..Default::default()
    }));
    let pod = cri.run_pod(&config);
    assert_eq!(count(), 1, "its monitor");
    cri.stop_pod(&pod);
    rctr_tests::wait_for("it to go", || count() == 0);
}

#[test]
fn ids_of_pods_may_be_shortened() {
    let cri = Cri::new();
    let pod = cri.run_pod(&cri.pod_config("short"));
    assert_eq!(cri.pod_status(&pod[..13]).id, pod);
    cri.remove_pod(&pod[..13]);
    assert!(cri.pods(None).is_empty());
}
