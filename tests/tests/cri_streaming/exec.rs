//! Commands in a container, with and without a terminal.

use std::io::Write;

use rctr_tests::{wait_for, wait_still};

use super::spdy;
use super::{ALL, OUT, Pod, Session, TTY, exit_code, status, websocket};

#[test]
fn exec_joins_all_streams_and_tells_the_exit_code() {
    let pod = Pod::new("streams", "sleep 1000");
    let script = "tr a-z A-Z; echo told >&2; exit 3";
    let mut session = Session::open(&pod.exec(&["sh", "-c", script], true, false), ALL);
    session.say(b"hello ");
    session.say(b"world\n");
    session.hang_up();
    let got = session.rest();
    assert_eq!(got["stdout"], b"HELLO WORLD\n");
    assert_eq!(got["stderr"], b"told\n");
    assert_eq!(exit_code(&got["error"]), "3");

    // The same over WebSocket.
    let url = pod.exec(&["sh", "-c", script], true, false);
    let mut client = websocket::Client::dial(&url, "v5.channel.k8s.io").expect("an upgrade");
    client.send(0, b"hello\n");
    client.send(255, &[0]);
    let got = client.rest();
    assert_eq!(got[&1], b"HELLO\n");
    assert_eq!(got[&2], b"told\n");
    assert_eq!(exit_code(&got[&3]), "3");

    let got = Session::open(&pod.exec(&["true"], false, false), OUT).rest();
    assert_eq!(status(&got["error"])["status"], "Success");
    let got = Session::open(&pod.exec(&["no-such-command"], false, false), OUT).rest();
    let failed = status(&got["error"]);
    assert_eq!(failed["reason"], "InternalError");
    let words = failed["message"].as_str().expect("words");
    assert!(words.contains("no-such-command"), "{words}");
}

#[test]
fn what_a_process_leaves_behind_does_not_hold_its_client() {
    let pod = Pod::new("behind", "sleep 1000");
    let script = "sleep 600 & echo gone";
    let got = Session::open(&pod.exec(&["sh", "-c", script], false, false), OUT).rest();
    assert_eq!(got["stdout"], b"gone\n");
    assert_eq!(status(&got["error"])["status"], "Success");
}

#[test]
fn a_terminal_has_the_clients_size_and_hangs_up_with_it() {
    let pod = Pod::new("terminal", "sleep 1000");
    let mut session = Session::open(&pod.exec(&["sh"], true, true), TTY);
    let resize = session.streams["resize"];
    session
        .client
        .send(resize, b"{\"Width\":97,\"Height\":41}\n");
    // The size comes on a stream of its own, so that what is typed may overtake it.
    session.say(b"until stty size | grep -q '41 97'; do :; done; echo seen $((6 * 7)); exit 4\n");
    let got = session.rest();
    let screen = String::from_utf8_lossy(&got["stdout"]).into_owned();
    assert!(screen.contains("seen 42"), "{screen}");
    assert_eq!(exit_code(&got["error"]), "4");

    let mut session = Session::open(&pod.exec(&["sh"], true, true), TTY);
    session.say(b"sleep 4321\n");
    let running = || {
        pod.cri
            .sh(&pod.container, "ps | grep -c '[s]leep 4321' || true")
            != "0"
    };
    wait_for("the process to run", running);
    drop(session);
    wait_for("the process to hang up", || !running());
}

#[test]
fn what_a_client_sent_before_it_left_arrives() {
    let pod = Pod::new("left", "sleep 1000");
    let mut session = Session::open(
        &pod.exec(&["sh", "-c", "cat > /got; echo > /done"], true, false),
        ALL,
    );
    session.say(&vec![b'x'; 300_000]);
    // It closes its end, without a word.
    let wire = &session.client.wire;
    wire.shutdown(std::net::Shutdown::Write).expect("shut down");
    let done = || {
        pod.cri
            .sh(&pod.container, "test -e /done && wc -c < /got || true")
    };
    wait_for("all of it", || done() == "300000");
}

#[test]
fn much_data_passes_whole_and_takes_no_memory() {
    const MUCH: usize = 256 << 20;
    let pod = Pod::new("much", "sleep 1000");
    // Warm: whatever the first session makes the service load or allocate.
    Session::open(
        &pod.exec(&["head", "-c", "10000000", "/dev/zero"], false, false),
        OUT,
    )
    .rest();
    let before = pod.memory();

    let size = MUCH.to_string();
    let out = pod.exec(&["head", "-c", &size, "/dev/zero"], false, false);
    let mut session = Session::open(&out, OUT);
    // A client that is slow at first, until every buffer on the way is full.
    wait_still("the command to be held up", || pod.written_by(&size));
    let held = pod.memory();
    let mut got = 0;
    while let Some(frame) = session.client.frame() {
        if let spdy::Frame::Data(stream, bytes) = frame
            && stream == session.streams["stdout"]
        {
            got += bytes.len();
        }
    }
    assert_eq!(got, MUCH);

    let mut session = Session::open(&pod.exec(&["wc", "-c"], true, false), ALL);
    let chunk = vec![7; 1 << 20];
    let mut most = held;
    for round in 0..MUCH / chunk.len() {
        session.say(&chunk);
        if round % 64 == 0 {
            most = most.max(pod.memory());
        }
    }
    session.hang_up();
    assert_eq!(session.rest()["stdout"], format!("{size}\n").as_bytes());
    let grown = most.max(pod.memory()).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more than before");
}

#[test]
fn a_directory_is_copied_both_ways_as_kubectl_cp_does() {
    let pod = Pod::new("cp", "sleep 1000");
    let scratch = pod.cri.env().path("scratch");
    std::fs::create_dir(&scratch).expect("a directory");
    let file = scratch.join("data");
    let content: Vec<u8> = (0..3_000_000u32)
        .map(|i| (i.wrapping_mul(i) % 253) as u8)
        .collect();
    std::fs::write(&file, &content).expect("a file");
    let tar = |args: &[&str], input: &[u8]| {
        let mut child = std::process::Command::new("tar")
            .args(["-C", scratch.to_str().expect("a name")])
            .args(args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("tar runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input).expect("tar reads");
        drop(stdin);
        child.wait_with_output().expect("tar ends").stdout
    };

    let mut session = Session::open(
        &pod.exec(&["tar", "xf", "-", "-C", "/tmp"], true, false),
        ALL,
    );
    session.say(&tar(&["-cf", "-", "data"], &[]));
    session.hang_up();
    assert_eq!(status(&session.rest()["error"])["status"], "Success");

    let back = pod.exec(&["tar", "cf", "-", "-C", "/tmp", "data"], false, false);
    let got = Session::open(&back, OUT).rest();
    std::fs::remove_file(&file).expect("a file");
    tar(&["-xf", "-"], &got["stdout"]);
    assert!(std::fs::read(&file).expect("a file") == content);
}
