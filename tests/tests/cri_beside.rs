//! rctr's own commands beside `rctr cri`: one store, and the kubelet's containers are told apart.

use rctr_cri::api;
use rctr_tests::cri::{Cri, refused, shell};
use tonic::Code;

#[test]
fn containers_of_pods_are_listed_when_they_are_asked_for() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("listed");
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("web", "sleep 1000"));
    let ended = cri.run(&pod, &config, shell("job", "true"));
    cri.wait_exit(&ended);
    let env = cri.env();
    let own = env.run_detached(["busybox", "sleep", "1000"]);

    let plain = env.rctr(["ps", "-a", "-q", "--no-trunc"]);
    plain.ok().stdout_is(&own);
    let pods = env.rctr(["ps", "--pods", "-a", "-q", "--no-trunc"]);
    pods.ok().stdout_is(&format!("{ended}\n{id}"));
    let format = "{{.Names}} {{.Pod}} {{.State}}";
    let told = env.rctr(["ps", "--pods", "--format", format]);
    told.ok().stdout_is("web default/listed running");
    let table = env.rctr(["ps", "--pods"]);
    table.ok().stdout_has("POD").stdout_has("default/listed");
    let json = env.rctr(["ps", "--format", "json"]);
    json.ok().stdout_lacks("\"Pod\"");
    env.rctr(["rm", "-f", &own]).ok();
}

#[test]
fn what_is_in_a_pod_is_not_pruned_and_can_be_removed_by_hand() {
    let cri = Cri::new();
    let busybox = cri.pull("busybox");
    let config = cri.pod_config("kept");
    let pod = cri.run_pod(&config);
    let ended = cri.run(&pod, &config, shell("job", "echo done"));
    cri.wait_exit(&ended);
    let running = cri.run(&pod, &config, shell("web", "echo up; sleep 1000"));
    let env = cri.env();
    env.rctr(["system", "prune", "-a", "-f"]).ok();
    env.rctr(["system", "df"]).ok();
    assert_eq!(cri.status(&ended).image_ref, busybox);
    env.rctr(["logs", &ended]).ok().stdout_is("done");
    env.rctr(["inspect", &running]).ok();
    env.rctr(["exec", &running, "true"]).ok();

    env.rctr(["stop", "-t", "0", &running]).ok();
    let status = cri.status(&running);
    assert_eq!(status.state(), api::ContainerState::ContainerExited);
    assert_eq!(status.exit_code, 137);
    env.rctr(["rm", &running]).ok();
    refused(cri.try_status(&running), Code::NotFound);
    // Gone already is as good.
    cri.remove(&running);
    cri.remove_pod(&pod);
    cri.assert_no_leftovers();
}

#[test]
fn the_bridge_is_not_taken_from_a_pod() {
    let cri = Cri::new();
    let config = cri.pod_config("connected");
    let pod = cri.run_pod(&config);
    let address = cri.pod_status(&pod).network.expect("a network").ip;
    let refusal = cri.env().rctr(["internal", "network-remove"]);
    refusal.exits(1).stderr_has("connected");
    assert_eq!(cri.pod_status(&pod).network.expect("a network").ip, address);
}

#[test]
fn what_is_started_by_hand_is_told_at_once() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("by-hand");
    let pod = cri.run_pod(&config);
    let id = cri.create(&pod, &config, shell("web", "sleep 1000"));
    assert_eq!(cri.containers(None).len(), 1);
    let start = cri.env().spawn(["start", &id]);
    // Asked for all the while, as a kubelet does.
    let running = || {
        let listed = cri.containers(None);
        listed[0].state() == api::ContainerState::ContainerRunning
    };
    rctr_tests::wait_for("it to be told", running);
    start.finish().ok();
    assert!(running());
}

#[test]
fn a_port_of_a_pod_is_taken_for_run() {
    let cri = Cri::new();
    cri.pull("busybox");
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = free.local_addr().expect("its number").port();
    drop(free);
    let mut config = cri.pod_config("open");
    config.port_mappings = vec![api::PortMapping {
        protocol: api::Protocol::Tcp.into(),
        container_port: 80,
        host_port: port.into(),
        host_ip: String::new(),
    }];
    let pod = cri.run_pod(&config);
    let env = cri.env();
    for (publish, free) in [
        (format!("{port}:80"), false),
        (format!("127.0.0.1:{port}:80"), false),
        (format!("{port}:80/udp"), true),
    ] {
        let run = env.rctr(["run", "--rm", "-p", &publish, "busybox", "true"]);
        match free {
            true => drop(run.ok()),
            false => drop(run.exits(125).stderr_has(&port.to_string())),
        }
    }
    // Another one of a range is found by itself; any of them may be somebody else's now.
    let range = format!("{port}-{}:80", port + 20);
    let id = env.run_detached(["-p", &range, "busybox", "sleep", "99"]);
    let told = env.rctr(["port", &id]);
    let of_pod = format!(":{port}");
    assert!(!told.ok().stdout().lines().any(|l| l.ends_with(&of_pod)));
    env.rctr(["rm", "-f", &id]).ok();
    cri.stop_pod(&pod);
    env.rctr([
        "run",
        "--rm",
        "-p",
        &format!("{port}:80"),
        "busybox",
        "true",
    ])
    .ok();
}

#[test]
fn starts_and_ends_by_hand_are_told_once() {
    use api::ContainerEventType::{ContainerStartedEvent, ContainerStoppedEvent};
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("by-hand");
    let pod = cri.run_pod(&config);
    let id = cri.create(&pod, &config, shell("once", "exit 3"));
    let long = cri.create(&pod, &config, shell("long", "sleep 1000"));
    let mut client = cri.runtime_client();
    let events = client.get_container_events(api::GetEventsRequest {});
    let mut events = cri.wait(events).expect("GetContainerEvents").into_inner();
    let env = cri.env();
    let mut next = || {
        let event = cri.wait(events.message()).expect("a stream");
        let event = event.expect("an event");
        (event.container_event_type(), event.container_id)
    };
    for _ in 0..2 {
        env.rctr(["start", &id]).ok();
        assert_eq!(next(), (ContainerStartedEvent, id.clone()));
        assert_eq!(next(), (ContainerStoppedEvent, id.clone()));
    }
    env.rctr(["start", &long]).ok();
    assert_eq!(next(), (ContainerStartedEvent, long.clone()));
    // What is in no pod is none of a kubelet's business.
    env.run_alone(&["busybox", "true"]).ok();
    env.rctr(["kill", &long]).ok();
    assert_eq!(next(), (ContainerStoppedEvent, long.clone()));
    assert_eq!(cri.wait_exit(&long).exit_code, 137);
    // A request's are told once, too.
    let asked = cri.run(&pod, &config, shell("asked", "true"));
    cri.wait_exit(&asked);
    let of_asked = [next(), next(), next()].map(|(kind, id)| {
        assert_eq!(id, asked);
        kind
    });
    assert_eq!(
        of_asked[1..],
        [ContainerStartedEvent, ContainerStoppedEvent]
    );
    cri.remove_pod(&pod);
    assert_eq!(next(), (ContainerStoppedEvent, pod.clone()));
}
