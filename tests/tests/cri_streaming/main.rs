//! Exec, attach and port-forward of pods' containers, as a kubelet's clients use them.

mod attach;
mod ends;
mod exec;
mod forward;

use std::collections::BTreeMap;

use rctr_cri::api;
use rctr_tests::cri::{Cri, shell};
use serde_json::Value;

use spdy::Client;

// The server's own tests use all of them.
#[allow(dead_code)]
#[path = "../../../crates/cri/src/streaming/tests/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../../../crates/cri/src/streaming/tests/spdy.rs"]
mod spdy;
#[allow(dead_code)]
#[path = "../../../crates/cri/src/streaming/tests/websocket.rs"]
mod websocket;

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

    /// Resident memory of the service now, in KiB.
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
