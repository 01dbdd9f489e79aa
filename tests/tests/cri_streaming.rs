//! Exec, attach and port-forward of pods' containers, as a kubelet's clients use them.

use std::collections::BTreeMap;
use std::io::Write;

use rctr_cri::api;
use rctr_tests::cri::{Cri, sharing, shell};
use rctr_tests::{wait_for, wait_for_some, wait_still};
use serde_json::Value;

// The server's own tests use all of them.
#[allow(dead_code)]
#[path = "../../crates/cri/src/streaming/tests/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../../crates/cri/src/streaming/tests/spdy.rs"]
mod spdy;
#[allow(dead_code)]
#[path = "../../crates/cri/src/streaming/tests/websocket.rs"]
mod websocket;

use spdy::Client;

const V4: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// A pod with one container.
struct Pod {
    cri: Cri,
    id: String,
    container: String,
}

impl Pod {
    fn new(name: &str, script: &str) -> Self {
        Self::with(name, script, |_| ())
    }

    fn with(name: &str, script: &str, change: impl FnOnce(&mut api::ContainerConfig)) -> Self {
        let cri = Cri::new();
        cri.pull("busybox");
        let config = cri.pod_config(name);
        let id = cri.run_pod(&config);
        let mut container = shell("main", script);
        change(&mut container);
        let container = cri.run(&id, &config, container);
        Self { cri, id, container }
    }

    fn exec(&self, command: &[&str], stdin: bool, tty: bool) -> String {
        let request = api::ExecRequest {
            container_id: self.container.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            tty,
            stdin,
            stdout: true,
            stderr: !tty,
        };
        let answer = self.cri.runtime(async |c| c.exec(request).await);
        answer.expect("a URL").url
    }

    fn attach(&self, stdin: bool, tty: bool) -> String {
        let request = api::AttachRequest {
            container_id: self.container.clone(),
            stdin,
            tty,
            stdout: true,
            stderr: !tty,
        };
        let answer = self.cri.runtime(async |c| c.attach(request).await);
        answer.expect("a URL").url
    }

    fn forward(&self, ports: &[i32]) -> String {
        let request = api::PortForwardRequest {
            pod_sandbox_id: self.id.clone(),
            port: ports.to_vec(),
        };
        let answer = self.cri.runtime(async |c| c.port_forward(request).await);
        answer.expect("a URL").url
    }

    /// Resident memory of the service now, in KiB.
    /// The bytes that the process of the container with this argument has written.
    fn written_by(&self, argument: &str) -> Option<u64> {
        let pids = self.cri.env().processes_of(&self.container).into_iter();
        let mut named = pids.filter(|pid| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            line.is_ok_and(|line| line.split('\0').any(|word| word == argument))
        });
        let counts = std::fs::read_to_string(format!("/proc/{}/io", named.next()?)).ok()?;
        let written = counts
            .lines()
            .find_map(|line| line.strip_prefix("wchar: "))?;
        written.parse().ok().filter(|bytes| *bytes > 0)
    }

    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.cri.pid()));
        let status = status.expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let words = line.expect("a size").trim();
        words.trim_end_matches(" kB").parse().expect("a number")
    }
}

/// The streams of a command over SPDY.
struct Session {
    client: Client,
    streams: BTreeMap<&'static str, u32>,
}

impl Session {
    fn open(url: &str, kinds: &[&'static str]) -> Self {
        let mut client = Client::dial(url, V4).expect("an upgrade");
        let streams = kinds
            .iter()
            .map(|kind| (*kind, client.open(&[("streamtype", kind)])))
            .collect();
        Self { client, streams }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.client.send(self.streams["stdin"], bytes);
    }

    fn hang_up(&mut self) {
        self.client.end(self.streams["stdin"]);
    }

    /// Everything until the end, by kind.
    fn rest(&mut self) -> BTreeMap<&'static str, Vec<u8>> {
        let mut rest = self.client.rest();
        self.streams
            .iter()
            .map(|(kind, id)| (*kind, rest.remove(id).unwrap_or_default()))
            .collect()
    }
}

fn status(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("a status")
}

fn exit_code(bytes: &[u8]) -> String {
    let status = status(bytes);
    let cause = &status["details"]["causes"][0];
    assert_eq!(cause["reason"], "ExitCode", "{status}");
    cause["message"].as_str().expect("a number").to_owned()
}

const ALL: &[&str] = &["error", "stdin", "stdout", "stderr"];
const TTY: &[&str] = &["error", "stdin", "stdout", "resize"];
const OUT: &[&str] = &["error", "stdout", "stderr"];

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
fn a_session_ends_with_its_container_and_with_the_service() {
    let pod = Pod::new("ends", "sleep 1000");
    let mut session = Session::open(&pod.exec(&["sleep", "999"], false, false), OUT);
    let mut attached = Session::open(&pod.attach(false, false), OUT);
    wait_for("the command to run", || {
        pod.cri
            .sh(&pod.container, "ps -o args")
            .contains("sleep 999")
    });
    pod.cri.stop(&pod.container, 0);
    assert_eq!(exit_code(&session.rest()["error"]), "137");
    assert_eq!(status(&attached.rest()["error"])["status"], "Success");
    // A container that has ended in the meantime.
    let gone = pod.cri.runtime(async |c| {
        let container_id = pod.container.clone();
        let stdout = true;
        c.attach(api::AttachRequest {
            container_id,
            stdout,
            ..Default::default()
        })
        .await
    });
    assert!(gone.is_err());

    let pod = Pod::new("service", "sleep 1000");
    let url = pod.exec(&["true"], false, false);
    let mut session = Session::open(&pod.exec(&["sleep", "999"], false, false), OUT);
    pod.cri.restart();
    assert!(session.rest().values().all(Vec::is_empty));
    // The container does not notice; the URL is forgotten with the server that gave it out.
    assert_eq!(pod.cri.sh(&pod.container, "echo here"), "here");
    let fresh = pod.exec(&["true"], false, false);
    let (address, _) = fresh.rsplit_once("/exec/").expect("a URL");
    let (_, token) = url.rsplit_once('/').expect("a URL");
    let stale = Client::dial(&format!("{address}/exec/{token}"), V4);
    assert_eq!(stale.map(drop).expect_err("a stale URL").status, 404);
    assert!(Client::dial(&fresh, V4).is_ok());
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

/// Opens a pair of streams, sends a request, and reads what comes back until its end.
fn fetch<W: spdy::Wire>(client: &mut Client<W>, port: &str, id: &str) -> (String, String) {
    let headers = |kind| [("streamtype", kind), ("port", port), ("requestid", id)];
    let error = client.open(&headers("error"));
    client.end(error);
    let data = client.open(&headers("data"));
    client.send(data, b"GET /name HTTP/1.0\r\n\r\n");
    let mut all = BTreeMap::<u32, Vec<u8>>::new();
    let mut open = 2;
    while open > 0 {
        match client.next_but_windows().expect("an open connection") {
            spdy::Frame::Data(stream, bytes) => all.entry(stream).or_default().extend(bytes),
            spdy::Frame::End(stream) => {
                open -= 1;
                // As kubectl does when the pod has said all.
                if stream == data {
                    client.reset(data);
                }
            }
            spdy::Frame::Reset(..) => open -= 1,
            other => panic!("{other:?}"),
        }
    }
    let mut text = |stream| {
        let bytes = all.remove(&stream).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    (text(data), text(error))
}

#[test]
fn sessions_leave_no_descriptor_and_no_thread() {
    let pod = Pod::new("leaves", PAGES);
    wait_for_pages(&pod);
    let count = |what| {
        let entries = std::fs::read_dir(format!("/proc/{}/{what}", pod.cri.pid()));
        entries.expect("a process").count()
    };
    let round = || {
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(Session::open(&pod.exec(&["cat"], true, false), ALL));
            let mut left = Session::open(&pod.exec(&["sh"], true, true), TTY);
            left.say(b"echo hello\n");
            Session::open(&pod.attach(false, false), OUT);
        }
        for mut session in all {
            session.hang_up();
            assert_eq!(status(&session.rest()["error"])["status"], "Success");
        }
        let mut client =
            Client::dial(&pod.forward(&[]), &["portforward.k8s.io"]).expect("an upgrade");
        for id in ["0", "1", "2", "3"] {
            assert!(fetch(&mut client, "8080", id).0.ends_with("\nleaves\n"));
        }
    };
    // The first round makes what stays: threads for what blocks, the database's files.
    round();
    let descriptors = wait_still("the first round to settle", || Some(count("fd")));
    for _ in 0..3 {
        round();
    }
    wait_for("the descriptors to be closed", || {
        count("fd") <= descriptors
    });
    // Threads for what blocks come and go; none is there for each session.
    assert!(count("task") < 25, "{} threads", count("task"));
}

const PAGES: &str = "mkdir /www; hostname > /www/name; httpd -f -p 127.0.0.1:8080 -h /www";

fn wait_for_pages(pod: &Pod) {
    wait_for_some("the server to listen", || {
        let script = "wget -q -O - http://127.0.0.1:8080/name || true";
        (!pod.cri.sh(&pod.container, script).is_empty()).then_some(())
    });
}

#[test]
fn ports_are_forwarded_to_the_pods_loopback() {
    let pod = Pod::new("forward", PAGES);
    wait_for_pages(&pod);
    let mut client = Client::dial(&pod.forward(&[]), &["portforward.k8s.io"]).expect("an upgrade");
    for id in ["0", "1", "2"] {
        let (page, error) = fetch(&mut client, "8080", id);
        assert!(page.ends_with("\nforward\n"), "{page}");
        assert_eq!(error, "");
    }
    let (page, error) = fetch(&mut client, "8081", "3");
    assert_eq!(page, "");
    assert!(error.contains("refused"), "{error}");

    let tunnel = websocket::Client::dial(&pod.forward(&[]), "SPDY/3.1+portforward.k8s.io");
    let mut client = Client::over(tunnel.expect("an upgrade"), "portforward.k8s.io");
    assert!(fetch(&mut client, "8080", "0").0.ends_with("\nforward\n"));

    // Without a tunnel: the port's channels, which begin with its number.
    let mut client =
        websocket::Client::dial(&pod.forward(&[8080]), "v4.channel.k8s.io").expect("an upgrade");
    client.send(0, b"GET /name HTTP/1.0\r\n\r\n");
    let mut page = Vec::new();
    while !page.ends_with(b"\nforward\n") {
        let (_, message) = client.message().expect("an open connection");
        if message[0] == 0 {
            page.extend(&message[1..]);
        }
    }
    assert_eq!(page[..2], 8080u16.to_le_bytes());

    // From outside the pod the server is not to be had.
    assert!(std::net::TcpStream::connect("127.0.0.1:8080").is_err());
    pod.cri.stop_pod(&pod.id);
    let request = api::PortForwardRequest {
        pod_sandbox_id: pod.id.clone(),
        port: vec![],
    };
    assert!(
        pod.cri
            .runtime(async |c| c.port_forward(request).await)
            .is_err()
    );
}

#[test]
fn ports_of_a_pod_on_the_hosts_network_are_the_hosts() {
    let cri = Cri::new();
    cri.pull("busybox");
    let mut config = cri.pod_config("hostly");
    config.linux = Some(sharing(api::NamespaceOption {
        network: api::NamespaceMode::Node.into(),
        ..Default::default()
    }));
    let id = cri.run_pod(&config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        client
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nof the host\n")
            .expect("sent");
    });
    let request = api::PortForwardRequest {
        pod_sandbox_id: id,
        port: vec![],
    };
    let url = cri.runtime(async |c| c.port_forward(request).await);
    let url = url.expect("a URL").url;
    let mut client = Client::dial(&url, &["portforward.k8s.io"]).expect("an upgrade");
    let (page, error) = fetch(&mut client, &port.to_string(), "0");
    assert!(page.ends_with("\nof the host\n"), "{page} {error}");
    server.join().expect("it was asked");
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
