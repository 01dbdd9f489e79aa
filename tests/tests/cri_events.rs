//! GetContainerEvents over ends of listeners and of the service: what happens meanwhile is told all the same.

use nix::sys::signal::Signal;
use rctr_cri::api;
use rctr_cri::api::ContainerEventType::{
    self as Kind, ContainerCreatedEvent, ContainerDeletedEvent, ContainerStartedEvent,
    ContainerStoppedEvent,
};
use rctr_tests::cri::{Cri, Pod, shell};
use rctr_tests::wait_for;
use tonic::Streaming;

/// A listener. Dropped, it is gone.
struct Listener<'a> {
    cri: &'a Cri,
    events: Streaming<api::ContainerEventResponse>,
}

impl<'a> Listener<'a> {
    fn new(cri: &'a Cri) -> Self {
        let mut client = cri.runtime_client();
        let events = cri.wait(client.get_container_events(api::GetEventsRequest {}));
        let events = events.expect("GetContainerEvents").into_inner();
        Self { cri, events }
    }

    fn event(&mut self) -> api::ContainerEventResponse {
        let event = self.cri.wait(self.events.message()).expect("a stream");
        event.expect("an event")
    }

    fn next(&mut self) -> (Kind, String) {
        let event = self.event();
        assert!(event.created_at > 1_700_000_000_000_000_000);
        let pod = event.pod_sandbox_status.as_ref().expect("the pod");
        assert!(pod.metadata.is_some());
        (event.container_event_type(), event.container_id)
    }
}

#[test]
fn what_happens_while_no_service_is_there_is_told_by_the_next() {
    let pod = Pod::new("away");
    let cri = &pod.cri;
    let before = cri.run(&pod.id, &pod.config, shell("before", "true"));
    cri.wait_exit(&before);
    let ending = pod.run(shell("ending", "sleep 1000"));
    let removed = pod.run(shell("removed", "sleep 1000"));
    let mut listener = Listener::new(cri);
    let seen = pod.run(shell("seen", "sleep 1000"));
    assert_eq!(listener.next(), (ContainerCreatedEvent, seen.clone()));
    assert_eq!(listener.next(), (ContainerStartedEvent, seen.clone()));
    cri.end(Signal::SIGKILL);
    drop(listener);
    let env = cri.env();
    env.rctr(["kill", &ending]).ok();
    wait_for("it to end", || env.processes_of(&ending).is_empty());
    env.rctr(["rm", "-f", &removed]).ok();
    cri.start();
    let mut listener = Listener::new(cri);
    // Nothing twice, nothing of what came before anybody listened, and all that came meanwhile.
    let mut missed = [listener.next(), listener.next(), listener.next()];
    missed.sort_by_key(|(kind, id)| (id != &ending, *kind as i32));
    assert_eq!(
        missed,
        [
            (ContainerStoppedEvent, ending.clone()),
            (ContainerStoppedEvent, removed.clone()),
            (ContainerDeletedEvent, removed),
        ]
    );
    assert_eq!(cri.status(&ending).exit_code, 137);
    cri.stop(&seen, 0);
    let event = listener.event();
    assert_eq!(
        (event.container_event_type(), &event.container_id),
        (ContainerStoppedEvent, &seen)
    );
    let told = event.containers_statuses.into_iter();
    let codes: Vec<_> = told.filter(|s| s.id == seen).map(|s| s.exit_code).collect();
    assert_eq!(codes, [137]);
}

#[test]
fn what_nobody_has_heard_is_told_to_who_listens_next() {
    let pod = Pod::new("unheard");
    drop(Listener::new(&pod.cri));
    let id = pod.run(shell("c", "exit 3"));
    pod.cri.wait_exit(&id);
    let mut listener = Listener::new(&pod.cri);
    // Another one hears from now on only.
    let mut second = Listener::new(&pod.cri);
    for kind in [
        ContainerCreatedEvent,
        ContainerStartedEvent,
        ContainerStoppedEvent,
    ] {
        assert_eq!(listener.next(), (kind, id.clone()));
    }
    pod.cri.remove(&id);
    assert_eq!(listener.next(), (ContainerDeletedEvent, id.clone()));
    while second.next() != (ContainerDeletedEvent, id.clone()) {}
}

#[test]
fn removals_by_hand_are_told_and_users_events_are_their_own() {
    let pod = Pod::new("by-hand");
    let id = pod.run(shell("c", "true"));
    pod.cri.wait_exit(&id);
    let mut listener = Listener::new(&pod.cri);
    let env = pod.cri.env();
    // A label is no pod.
    let label = format!("--label=pod={}", pod.id);
    env.run_alone(&[&label, "busybox", "true"]).ok();
    env.rctr(["rm", &id]).ok();
    assert_eq!(listener.next(), (ContainerDeletedEvent, id.clone()));
    // Asked for again it is gone, and nothing is told twice.
    pod.cri.remove(&id);
    pod.cri.remove_pod(&pod.id);
    assert_eq!(listener.next(), (ContainerStoppedEvent, pod.id.clone()));
    assert_eq!(listener.next(), (ContainerDeletedEvent, pod.id.clone()));
    let told = env.rctr([
        "events",
        "--since",
        "5m",
        "--until",
        "0s",
        "--format",
        "{{.Type}} {{.Action}}",
    ]);
    let told = told.ok().stdout();
    assert!(
        told.lines().any(|line| line == "container destroy"),
        "{told}"
    );
    assert!(!told.lines().any(|line| line.starts_with("pod ")), "{told}");
}

#[test]
fn a_pod_is_told_of_when_it_is_there_and_not_before() {
    let cri = Cri::new();
    let mut listener = Listener::new(&cri);
    let mut bad = cri.pod_config("bad");
    bad.linux.as_mut().expect("linux").sysctls = rctr_tests::cri::map(&[("kernel.nosuch", "1")]);
    cri.try_run_pod(&bad, "").expect_err("no such parameter");
    let pod = cri.run_pod(&cri.pod_config("good"));
    let event = listener.event();
    assert_eq!(
        (event.container_event_type(), &event.container_id),
        (ContainerCreatedEvent, &pod)
    );
    let status = event.pod_sandbox_status.expect("the pod");
    assert_eq!(status.state(), api::PodSandboxState::SandboxReady);
    assert!(!status.network.expect("a network").ip.is_empty());
    assert_eq!(listener.next(), (ContainerStartedEvent, pod.clone()));
    // Removed without having been stopped it has stopped, too.
    let pod_sandbox_id = pod.clone();
    cri.runtime(async |c| {
        c.remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id })
            .await
    })
    .expect("RemovePodSandbox");
    assert_eq!(listener.next(), (ContainerStoppedEvent, pod.clone()));
    assert_eq!(listener.next(), (ContainerDeletedEvent, pod));
}
