//! The streams of the main process.

use rctr_cri::api;

use super::{ALL, Pod, Session, TTY, spdy, status};

#[test]
fn attach_joins_the_main_process() {
    let pod = Pod::with("attach", "cat; echo over >&2", |container| {
        container.stdin = true;
        container.stdin_once = true;
    });
    let mut session = Session::open(&pod.attach(true, false), ALL);
    session.say(b"typed\n");
    session.hang_up();
    let got = session.rest();
    assert_eq!(got["stdout"], b"typed\n");
    assert_eq!(got["stderr"], b"over\n");
    assert_eq!(status(&got["error"])["status"], "Success");
    let ended = pod.cri.wait_exit(&pod.container);
    assert_eq!(ended.exit_code, 0);
    let log = std::fs::read_to_string(&ended.log_path).expect("a log");
    assert!(log.contains("stdout F typed"), "{log}");
}

#[test]
fn an_attached_terminal_survives_its_clients() {
    let script = "while read line; do echo \"<$line> $(stty size)\"; done";
    let pod = Pod::with("terminals", script, |container| {
        container.stdin = true;
        container.tty = true;
    });
    for round in ["one", "two"] {
        let mut session = Session::open(&pod.attach(true, true), TTY);
        let resize = session.streams["resize"];
        session
            .client
            .send(resize, b"{\"Width\":91,\"Height\":31}\n");
        let wanted = format!("<{round}> 31 91");
        let mut screen = String::new();
        // Until the size has arrived too.
        while !screen.contains(&wanted) {
            session.say(format!("{round}\n").as_bytes());
            while !screen.ends_with("\r\n") || !screen.contains('<') {
                if let Some(spdy::Frame::Data(_, bytes)) = session.client.next_but_windows() {
                    screen += &String::from_utf8_lossy(&bytes);
                }
            }
            if !screen.contains(&wanted) {
                screen.clear();
            }
        }
        drop(session);
        assert_eq!(
            pod.cri.status(&pod.container).state(),
            api::ContainerState::ContainerRunning
        );
    }
}

#[test]
fn a_container_s_own_streams_outlive_the_service() {
    let script = "n=0; while read line; do n=$((n+1)); echo \"$n <$line>\"; done; echo closed";
    let pod = Pod::with("outlives", script, |container| container.stdin = true);
    let mut session = Session::open(&pod.attach(true, false), ALL);
    session.say(b"before\n");
    let wait_log = |text: &str| {
        let log = pod.cri.status(&pod.container).log_path;
        pod.cri.wait_log(log.as_ref(), text)
    };
    wait_log("F 1 <before>");
    pod.cri.restart();
    // The session ends with the service; what the container reads from and writes to does not.
    assert!(session.rest()["error"].is_empty());
    let mut session = Session::open(&pod.attach(true, false), ALL);
    session.say(b"after\n");
    wait_log("F 2 <after>");
    session.hang_up();
    drop(session);
    assert_eq!(
        pod.cri.status(&pod.container).state(),
        api::ContainerState::ContainerRunning,
        "its input is kept open for the next"
    );
}
