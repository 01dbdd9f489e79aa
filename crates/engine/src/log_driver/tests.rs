//! What receivers are sent.

use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::SystemTime;

use rctr_runtime::logs::Stream;

use super::record::Piece;
use super::*;
use crate::options::{ParseError, parse_log_options};

fn about() -> About {
    About {
        id: "0123456789abcdef".repeat(4),
        name: "web".into(),
        image: "nginx".into(),
        tag: "0123456789ab".into(),
        attributes: [("com.example/x".to_owned(), "1".to_owned())].into(),
        hostname: "node".into(),
    }
}

fn plan(driver: &str, options: &[&str]) -> LogPlan {
    let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
    LogPlan::new(driver, &parse_log_options(&options), (0, 1)).unwrap()
}

fn record(stream: Stream, text: &str) -> Record {
    Record {
        time: SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5_000),
        stream,
        text: text.into(),
        piece: None,
    }
}

fn ok(sent: io::Result<()>) {
    sent.expect("it is taken");
}

#[test]
fn the_journal_gets_docker_s_fields() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let server = UnixDatagram::bind(&path).unwrap();
    let mut journal = journald::Journald::at(&about(), path);
    let mut piece = record(Stream::Stderr, "two\nlines");
    piece.piece = Some(Piece {
        id: "p".into(),
        number: 2,
        last: false,
    });
    ok(journal.send(&[record(Stream::Stdout, "hello"), piece]));

    let mut buffer = [0; 4096];
    let count = server.recv(&mut buffer).unwrap();
    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
    let id = "0123456789abcdef".repeat(4);
    for field in [
        "CONTAINER_ID=0123456789ab",
        &format!("CONTAINER_ID_FULL={id}"),
        "CONTAINER_NAME=web",
        "CONTAINER_TAG=0123456789ab",
        "IMAGE_NAME=nginx",
        "SYSLOG_IDENTIFIER=0123456789ab",
        "SYSLOG_TIMESTAMP=2001-09-09T01:46:40.000005000Z",
        "PRIORITY=6",
        "COM_EXAMPLE_X=1",
        "MESSAGE=hello",
    ] {
        assert!(text.lines().any(|line| line == field), "{field} in {text}");
    }
    let count = server.recv(&mut buffer).unwrap();
    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
    assert!(
        text.ends_with("MESSAGE\n\u{9}\0\0\0\0\0\0\0two\nlines\n"),
        "{text:?}"
    );
    for field in [
        "PRIORITY=3",
        "CONTAINER_PARTIAL_MESSAGE=true",
        "CONTAINER_PARTIAL_ID=p",
        "CONTAINER_PARTIAL_ORDINAL=2",
        "CONTAINER_PARTIAL_LAST=false",
    ] {
        assert!(text.lines().any(|line| line == field), "{field} in {text}");
    }
}

#[test]
fn syslog_in_all_its_formats() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("syslog-address=udp://{}", server.local_addr().unwrap());
    let line = |options: &[&str], stream| {
        let options = [&[address.as_str()], options].concat();
        let mut syslog = syslog::Syslog::new(&plan("syslog", &options), &about()).unwrap();
        ok(syslog.send(&[record(stream, "hello")]));
        let mut buffer = [0; 1024];
        let count = server.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let pid = std::process::id();
    let tag = "0123456789ab";
    let local = line(&[], Stream::Stdout);
    assert!(local.starts_with("<30>Sep  "), "{local}");
    assert!(local.ends_with(&format!(" {tag}[{pid}]: hello")), "{local}");
    let error = line(
        &["syslog-facility=local7", "syslog-format=rfc3164"],
        Stream::Stderr,
    );
    assert!(error.starts_with("<187>Sep  "), "{error}");
    assert!(
        error.ends_with(&format!(" node {tag}[{pid}]: hello")),
        "{error}"
    );
    assert_eq!(
        line(&["syslog-format=rfc5424"], Stream::Stdout),
        format!("<30>1 2001-09-09T01:46:40Z node {tag} {pid} {tag} - hello")
    );
    assert_eq!(
        line(
            &["syslog-format=rfc5424micro", "syslog-facility=1"],
            Stream::Stdout
        ),
        format!("<14>1 2001-09-09T01:46:40.000005Z node {tag} {pid} {tag} - hello")
    );
}

#[test]
fn syslog_on_a_stream_ends_lines_and_connects_again() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("syslog-address=tcp://{}", server.local_addr().unwrap());
    let mut syslog = syslog::Syslog::new(&plan("syslog", &[&address]), &about()).unwrap();
    ok(syslog.send(&[record(Stream::Stdout, "a"), record(Stream::Stdout, "b")]));
    let (mut connection, _) = server.accept().unwrap();
    let mut text = vec![0; 1024];
    let count = connection.read(&mut text).unwrap();
    text.truncate(count);
    while text.iter().filter(|byte| **byte == b'\n').count() < 2 {
        let mut more = [0; 1024];
        let count = connection.read(&mut more).unwrap();
        text.extend(&more[..count]);
    }
    drop(connection);
    ok(syslog.send(&[record(Stream::Stdout, "c")]));
    let (mut connection, _) = server.accept().unwrap();
    drop(syslog);
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    assert!(text.ends_with(": c\n"), "{text:?}");
}

#[test]
fn values_that_cannot_be_are_refused() {
    let refused = |driver: &str, option: &str| {
        let plan = plan(driver, &[option]);
        match sink(&plan, &about()) {
            Err(Error::Invalid(error @ ParseError::LogValue { .. })) => error.to_string(),
            _ => panic!("{driver} {option} was accepted"),
        }
    };
    for (driver, option, named) in [
        ("syslog", "syslog-facility=x", "no such facility"),
        ("syslog", "syslog-format=json", "rfc5424"),
        ("syslog", "syslog-address=h:514", "schemes are"),
        ("syslog", "syslog-tls-key=x", "without its certificate"),
        ("syslog", "syslog-tls-cert=x", "without its key"),
        ("syslog", "syslog-address=tls://h", "say tcp+tls"),
        ("fluentd", "fluentd-address=udp://h", "tcp, tls and unix"),
        (
            "fluentd",
            "fluentd-address=tcp+tls://h",
            "tcp, tls and unix",
        ),
        ("fluentd", "fluentd-retry-wait=soon", "not a duration"),
        ("fluentd", "fluentd-async=perhaps", "neither true nor false"),
        (
            "fluentd",
            "fluentd-async-reconnect-interval=1m",
            "must be between 100ms and 10s",
        ),
    ] {
        let message = refused(driver, option);
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn fluentd_gets_events_and_acknowledges() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("forward");
    let server = UnixListener::bind(&path).unwrap();
    let address = format!("fluentd-address=unix://{}", path.display());
    let options = [&address, "fluentd-request-ack=true"];
    let mut fluentd = fluentd::Fluentd::new(&plan("fluentd", &options), &about()).unwrap();
    let received = std::thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        let mut message = Vec::new();
        let mut buffer = [0; 4096];
        // The name of the chunk is the last of the message.
        while !message.ends_with(b"-1") {
            let count = connection.read(&mut buffer).unwrap();
            message.extend_from_slice(&buffer[..count]);
        }
        let mut answer = msgpack::Writer::default();
        answer.map(1);
        answer.string("ack");
        answer.string(format!("{}-1", about().id));
        connection.write_all(&answer.0).unwrap();
        message
    });
    ok(fluentd.send(&[record(Stream::Stdout, "hello")]));
    let message = received.join().unwrap();
    let mut expected = msgpack::Writer::default();
    expected.array(3);
    expected.string("0123456789ab");
    expected.array(1);
    expected.array(2);
    expected.number(1_000_000_000);
    expected.map(5);
    for (name, value) in [
        ("container_id", about().id.as_str()),
        ("container_name", "/web"),
        ("source", "stdout"),
        ("log", "hello"),
        ("com.example/x", "1"),
    ] {
        expected.string(name);
        expected.string(value);
    }
    assert!(
        message.starts_with(&expected.0),
        "{}",
        String::from_utf8_lossy(&message)
    );
}

#[test]
fn fluentd_is_connected_to_anew_from_time_to_time() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("fluentd-address={}", server.local_addr().unwrap());
    let options = [&address, "fluentd-async-reconnect-interval=100ms"];
    let mut fluentd = fluentd::Fluentd::new(&plan("fluentd", &options), &about()).unwrap();
    ok(fluentd.send(&[record(Stream::Stdout, "one")]));
    let (mut first, _) = server.accept().unwrap();
    std::thread::sleep(Duration::from_millis(120));
    ok(fluentd.send(&[record(Stream::Stdout, "two")]));
    let (_second, _) = server.accept().unwrap();
    let mut sent = Vec::new();
    first.read_to_end(&mut sent).unwrap();
    assert!(sent.windows(3).any(|word| word == b"one"), "{sent:?}");
    assert!(!sent.windows(3).any(|word| word == b"two"), "{sent:?}");
}

#[test]
fn fluentd_is_tried_again_and_again() {
    let retry = ["fluentd-retry-wait=100ms", "fluentd-max-retries=3"];
    let fluentd = fluentd::Fluentd::new(&plan("fluentd", &retry), &about()).unwrap();
    assert_eq!(fluentd.wait(1), Some(Duration::from_millis(100)));
    assert_eq!(fluentd.wait(2), Some(Duration::from_millis(150)));
    assert_eq!(fluentd.wait(4), None);
    let patient = fluentd::Fluentd::new(&plan("fluentd", &[]), &about()).unwrap();
    assert_eq!(patient.wait(100), Some(Duration::from_secs(60)));
}
