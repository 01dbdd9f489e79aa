//! Exec and attach.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::spdy::Frame;
use super::*;

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn spdy_moves_all_three_streams_and_tells_success() {
    let bench = Bench::new().await;
    let url = bench.exec(&["echo"], ALL);
    client(move || {
        let mut client = spdy::Client::dial(&url, V4).unwrap();
        assert_eq!(client.protocol, "v4.channel.k8s.io");
        let streams = open(&mut client, ALL);
        client.send(streams.stdin, b"hello ");
        client.send(streams.stdin, b"world");
        client.end(streams.stdin);
        let got = client.rest();
        assert_eq!(got[&streams.stdout], b"hello world");
        assert_eq!(got[&streams.stderr], b"done");
        assert_eq!(json(&got[&streams.error])["status"], "Success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_told_in_every_versions_way() {
    let bench = Bench::new().await;
    let cases = [
        ("v4.channel.k8s.io", "exit", "3"),
        ("v3.channel.k8s.io", "exit", "3"),
        ("channel.k8s.io", "exit", "0"),
        ("v4.channel.k8s.io", "fail", ""),
        ("v2.channel.k8s.io", "fail", ""),
    ];
    let mut ends = Vec::new();
    for (version, command, argument) in cases {
        let url = bench.exec(&[command, argument], OUT);
        let end = client(move || {
            let mut client = spdy::Client::dial(&url, &[version]).unwrap();
            let streams = open(&mut client, OUT);
            client.rest().remove(&streams.error).unwrap_or_default()
        })
        .await;
        ends.push(end);
    }
    assert_eq!(json(&ends[0])["details"]["causes"][0]["message"], "3");
    assert!(ends[1].ends_with(b"exit code 3"));
    assert!(ends[2].is_empty());
    assert_eq!(json(&ends[3])["reason"], "InternalError");
    assert_eq!(ends[4], b"pod p is not running");
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_is_served_like_exec() {
    let bench = Bench::new().await;
    let request = AttachRequest {
        container: "c".into(),
        streams: ALL,
    };
    let url = bench.server.attach_url(request).unwrap();
    client(move || {
        assert!(url.contains("/attach/"));
        let mut client = spdy::Client::dial(&url, V4).unwrap();
        let streams = open(&mut client, ALL);
        client.send(streams.stdin, b"typed");
        client.end(streams.stdin);
        assert_eq!(client.rest()[&streams.stdout], b"typed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminals_sizes_arrive() {
    let bench = Bench::new().await;
    let url = bench.exec(&["sizes", "2"], TTY);
    let over_websocket = bench.exec(&["sizes", "2"], TTY);
    client(move || {
        let mut client = spdy::Client::dial(&url, V4).unwrap();
        let streams = open(&mut client, TTY);
        client.send(
            streams.resize,
            b"{\"Width\":80,\"Height\":24}\n{\"Width\":1",
        );
        client.send(streams.resize, b"00,\"Height\":50}\n");
        assert_eq!(client.rest()[&streams.stdout], b"80x24 100x50 ");

        let mut client = websocket::Client::dial(&over_websocket, "v5.channel.k8s.io").unwrap();
        client.send(4, b"{\"Width\":80,\"Height\":24}");
        client.send(4, b"{\"Width\":81,\"Height\":25}");
        assert_eq!(client.rest()[&1], b"80x24 81x25 ");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_closes_stdin_by_channel_255() {
    let bench = Bench::new().await;
    let url = bench.exec(&["echo"], ALL);
    client(move || {
        let offered = "v5.channel.k8s.io, v4.channel.k8s.io";
        let mut client = websocket::Client::dial(&url, offered).unwrap();
        assert_eq!(client.protocol.as_deref(), Some("v5.channel.k8s.io"));
        // The connection is known to work by an empty first message.
        assert_eq!(client.message(), Some((websocket::BINARY, vec![1])));
        client.send(0, b"hello");
        client.send(255, &[0]);
        let got = client.rest();
        assert_eq!(got[&1], b"hello");
        assert_eq!(got[&2], b"done");
        assert_eq!(json(&got[&3])["status"], "Success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_in_base64_and_without_a_protocol() {
    let mut bench = Bench::new().await;
    let base64 = bench.exec(&["exit", "7"], OUT);
    let echo = bench.exec(&["wait"], ALL);
    let plain = bench.exec(&["exit", "7"], OUT);
    client(move || {
        let mut client = websocket::Client::dial(&base64, "v4.base64.channel.k8s.io").unwrap();
        assert_eq!(client.message(), Some((websocket::TEXT, b"1".to_vec())));
        let got = client.rest();
        // The message of an exit code, in Base64 on channel "3".
        assert!(got[&b'3'].starts_with(b"eyJ"));

        let mut client = websocket::Client::dial(&echo, "base64.channel.k8s.io").unwrap();
        client.frame(websocket::TEXT, b"0aGVsbG8=").unwrap();
        client.frame(websocket::CLOSE, &[]).unwrap();

        let mut client = websocket::Client::dial(&plain, "").unwrap();
        assert_eq!(client.protocol, None);
        assert!(client.rest()[&3].ends_with(b"exit code 7"));
    })
    .await;
    loop {
        match bench.said.recv().await.unwrap() {
            Said::Started => {}
            Said::Left(bytes) => {
                assert_eq!(bytes, b"hello");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_session_and_what_it_sent_arrives() {
    let mut bench = Bench::new().await;
    let url = bench.exec(&["wait"], ALL);
    client(move || {
        let mut client = spdy::Client::dial(&url, V4).unwrap();
        let streams = open(&mut client, ALL);
        client.send(streams.stdin, b"last words");
    })
    .await;
    assert_eq!(bench.said.recv().await, Some(Said::Started));
    assert_eq!(
        bench.said.recv().await,
        Some(Said::Left(b"last words".to_vec()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_up_the_process_and_loses_nothing() {
    const MUCH: usize = 64 << 20;
    let bench = Bench::new().await;
    for over_spdy in [true, false] {
        bench.sent.store(0, Ordering::SeqCst);
        let url = bench.exec(&["flood", &MUCH.to_string()], OUT);
        let sent = bench.sent.clone();
        client(move || {
            let settled = || {
                let begin = Instant::now();
                loop {
                    let before = sent.load(Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(100));
                    if before > 0 && before == sent.load(Ordering::SeqCst) {
                        return before;
                    }
                    assert!(begin.elapsed() < Duration::from_secs(30), "never held up");
                }
            };
            let (held_at, got) = if over_spdy {
                let mut client = spdy::Client::dial(&url, V4).unwrap();
                let streams = open(&mut client, OUT);
                (settled(), client.rest()[&streams.stdout].len())
            } else {
                let mut client = websocket::Client::dial(&url, "v4.channel.k8s.io").unwrap();
                (settled(), client.rest()[&1].len())
            };
            // What the kernel's socket buffers take, and next to nothing besides.
            assert!(held_at < MUCH / 4, "{held_at} bytes were taken");
            assert_eq!(got, MUCH);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_reads_nothing_holds_up_its_client_and_can_still_end() {
    let bench = Bench::new().await;
    for over_spdy in [true, false] {
        let url = bench.exec(&["deaf"], ALL);
        client(move || {
            let chunk = vec![0; 32_768];
            // The session ends while this is held up; what comes after that is read and dropped.
            if over_spdy {
                let mut client = spdy::Client::dial(&url, V4).unwrap();
                let streams = open(&mut client, ALL);
                for _ in 0..300 {
                    client.send(streams.stdin, &chunk);
                }
                assert_eq!(json(&client.rest()[&streams.error])["status"], "Success");
            } else {
                let mut client = websocket::Client::dial(&url, "v5.channel.k8s.io").unwrap();
                for _ in 0..300 {
                    client.send(0, &chunk);
                }
                assert_eq!(json(&client.rest()[&3])["status"], "Success");
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_windows_are_kept_once_it_shows_them() {
    let bench = Bench::new().await;
    let url = bench.exec(&["echo"], ALL);
    client(move || {
        let mut client = spdy::Client::dial(&url, V4).unwrap();
        // SETTINGS: the initial window of streams is 4 bytes.
        client.numbers(4, &[1, 7, 4]);
        let streams = open(&mut client, ALL);
        client.send(streams.stdin, b"abcdefghij");
        assert_eq!(
            client.frame(),
            Some(Frame::Data(streams.stdout, b"abcd".to_vec()))
        );
        client.numbers(9, &[streams.stdout, 3]);
        assert_eq!(
            client.frame(),
            Some(Frame::Data(streams.stdout, b"efg".to_vec()))
        );
        client.numbers(9, &[streams.stdout, 100]);
        client.numbers(9, &[streams.error, 1_000]);
        client.end(streams.stdin);
        assert_eq!(client.until_end(streams.stdout), b"hij");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_cuts_its_clients_off() {
    let mut bench = Bench::new().await;
    let url = bench.exec(&["wait"], ALL);
    let server = bench.server.clone();
    let (opened, ready) = tokio::sync::oneshot::channel();
    let blocked = tokio::task::spawn_blocking(move || {
        let mut client = spdy::Client::dial(&url, V4).unwrap();
        open(&mut client, ALL);
        opened.send(()).unwrap();
        client.rest()
    });
    ready.await.unwrap();
    assert_eq!(bench.said.recv().await, Some(Said::Started));
    server.shut_down();
    assert!(blocked.await.unwrap().is_empty());
    while tokio::net::TcpStream::connect(server.address())
        .await
        .is_ok()
    {
        tokio::task::yield_now().await;
    }
}
