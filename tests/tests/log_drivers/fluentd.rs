//! What Fluentd gets.

use std::io::Read;
use std::net::TcpListener;

use rctr_tests::{Env, LIMIT, wait_for};

/// The lines of the events in what a receiver of Fluentd's protocol was sent; they are short.
fn lines_of(bytes: &[u8]) -> Vec<String> {
    let key = b"\xa3log";
    let starts = bytes.windows(key.len()).enumerate();
    let starts = starts.filter(|(_, window)| *window == key);
    let line = |(at, _): (usize, &[u8])| {
        let text = &bytes[at + key.len()..];
        let length = usize::from(*text.first()? ^ 0xa0);
        Some(String::from_utf8_lossy(text.get(1..=length)?).into_owned())
    };
    starts.filter_map(line).collect()
}

#[test]
fn fluentd_that_is_away_gets_all_that_waited_in_order() {
    let env = Env::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = [
        format!("fluentd-address={address}"),
        "fluentd-async=true".to_owned(),
        "fluentd-retry-wait=100ms".to_owned(),
    ];
    let options = options.iter().flat_map(|option| ["--log-opt", option]);
    let words = [
        "run",
        "-d",
        "--name",
        "cc",
        "--network",
        "none",
        "--log-driver",
        "fluentd",
    ];
    let script = "mkfifo /f; seq 1 1000; while cat /f; do :; done";
    let last = ["busybox", "sh", "-c", script];
    env.rctr(words.into_iter().chain(options).chain(last)).ok();
    env.wait_log("cc", "1000");

    // It comes, takes some, goes, and comes again.
    let mut seen = Vec::new();
    for last in [1000_u32, 1500, 2000] {
        let listener = TcpListener::bind(address).unwrap();
        let (mut connection, _) = listener.accept().unwrap();
        connection.set_read_timeout(Some(LIMIT)).unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 1 << 16];
        while lines_of(&bytes).last() != Some(&last.to_string()) {
            let count = connection.read(&mut buffer).unwrap();
            assert!(count > 0, "it was closed before {last}");
            bytes.extend_from_slice(&buffer[..count]);
        }
        seen.extend(lines_of(&bytes));
        drop((connection, listener));
        if last == 2000 {
            break;
        }
        let more = format!("seq {} {} > /f", last + 1, last + 500);
        env.rctr(["exec", "cc", "sh", "-c", &more]).ok();
        env.wait_log("cc", &(last + 500).to_string());
    }
    let all: Vec<String> = (1..=2000).map(|n: u32| n.to_string()).collect();
    assert!(seen == all, "{} of 2000: {seen:?}", seen.len());
}

#[test]
fn fluentd_gets_what_docker_sends_it() {
    let env = Env::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("fluentd-address={}", listener.local_addr().unwrap());
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--log-driver",
        "fluentd",
        "--log-opt",
        &address,
        "--log-opt",
        "tag=docker.{{.Name}}",
        "--log-opt",
        "labels=tier",
        "--label",
        "tier=front",
        "--name",
        "web",
        "busybox",
        "echo",
        "hello",
    ];
    env.rctr(words).ok();
    let mut bytes = Vec::new();
    wait_for("an event", || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.set_read_timeout(Some(LIMIT)).unwrap();
        bytes.clear();
        connection.read_to_end(&mut bytes).is_ok() && !bytes.is_empty()
    });
    let text = String::from_utf8_lossy(&bytes);
    assert!(bytes.starts_with(b"\x93\xaadocker.web\x91\x92"), "{text}");
    for word in [
        "container_id\u{fffd}@",
        "container_name\u{fffd}/web",
        "source\u{fffd}stdout",
        "log\u{fffd}hello",
        "tier\u{fffd}front",
    ] {
        assert!(text.contains(word), "{word} in {text:?}");
    }
}
