//! Port-forward.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::spdy::{Client, Frame, Wire};
use super::*;

const PROTOCOL: &[&str] = &["portforward.k8s.io"];

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Opens a pair as kubectl does: the error stream first, with its own end closed.
fn pair<W: Wire>(client: &mut Client<W>, port: u16, id: &str) -> (u32, u32) {
    let port = port.to_string();
    let headers = |kind| [("streamtype", kind), ("port", &*port), ("requestid", id)];
    let error = client.open(&headers("error"));
    client.end(error);
    (error, client.open(&headers("data")))
}

/// Reads on until the stream's data is whole.
fn expect<W: Wire>(client: &mut Client<W>, stream: u32, bytes: &[u8]) {
    let mut all = Vec::new();
    while all.len() < bytes.len() {
        match client.next_but_windows().unwrap() {
            Frame::Data(of, data) if of == stream => all.extend(data),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(all, bytes);
}

fn two_at_once<W: Wire>(mut client: Client<W>, listener: &TcpListener, port: u16) {
    let (error1, data1) = pair(&mut client, port, "0");
    let (mut pod1, _) = listener.accept().unwrap();
    let (error2, data2) = pair(&mut client, port, "1");
    let (mut pod2, _) = listener.accept().unwrap();

    client.send(data2, b"second");
    client.send(data1, b"first");
    let mut got = [0; 6];
    pod2.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"second");
    pod1.read_exact(&mut got[..5]).unwrap();
    assert_eq!(&got[..5], b"first");
    pod1.write_all(b"answer").unwrap();
    expect(&mut client, data1, b"answer");

    // Either direction ends by itself.
    client.end(data1);
    assert_eq!(pod1.read(&mut got).unwrap(), 0);
    pod1.write_all(b"bye").unwrap();
    expect(&mut client, data1, b"bye");
    drop(pod1);
    assert_eq!(client.next_but_windows(), Some(Frame::End(data1)));
    assert_eq!(client.next_but_windows(), Some(Frame::End(error1)));

    // A client that gives a connection up closes it in the pod.
    client.reset(data2);
    assert_eq!(client.next_but_windows(), Some(Frame::End(error2)));
    assert!(matches!(pod2.read(&mut got), Ok(0) | Err(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_connections_at_once_over_spdy() {
    let bench = Bench::new().await;
    let url = bench.forward(&[]);
    client(move || {
        let (listener, port) = listener();
        two_at_once(Client::dial(&url, PROTOCOL).unwrap(), &listener, port);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_connections_at_once_through_a_websocket_tunnel() {
    let bench = Bench::new().await;
    let url = bench.forward(&[]);
    client(move || {
        let (listener, port) = listener();
        let tunnel = websocket::Client::dial(&url, "SPDY/3.1+portforward.k8s.io").unwrap();
        assert_eq!(
            tunnel.protocol.as_deref(),
            Some("SPDY/3.1+portforward.k8s.io")
        );
        two_at_once(Client::over(tunnel, "portforward.k8s.io"), &listener, port);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_told_and_a_broken_connection_breaks_its_stream_only() {
    let bench = Bench::new().await;
    let url = bench.forward(&[]);
    client(move || {
        let (free, closed) = listener();
        drop(free);
        let (listener, port) = listener();
        let mut client = Client::dial(&url, PROTOCOL).unwrap();

        let (error, _) = pair(&mut client, closed, "0");
        let text = String::from_utf8(client.until_end(error)).unwrap();
        assert!(text.contains("refused"), "{text}");

        let (error, data) = pair(&mut client, port, "1");
        let (pod, _) = listener.accept().unwrap();
        client.send(data, b"unread");
        // Closing with bytes unread makes the kernel send a reset.
        let mut peeked = [0; 6];
        while pod.peek(&mut peeked).unwrap() < 6 {}
        drop(pod);
        assert_eq!(client.next_but_windows(), Some(Frame::Reset(data, 5)));
        assert_eq!(client.next_but_windows(), Some(Frame::End(error)));

        let (_, data) = pair(&mut client, port, "2");
        let (mut pod, _) = listener.accept().unwrap();
        pod.write_all(b"still here").unwrap();
        expect(&mut client, data, b"still here");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_closes_its_connections() {
    let bench = Bench::new().await;
    let url = bench.forward(&[]);
    client(move || {
        let (listener, port) = listener();
        let mut client = Client::dial(&url, PROTOCOL).unwrap();
        pair(&mut client, port, "0");
        let (mut pod, _) = listener.accept().unwrap();
        drop(client);
        assert!(matches!(pod.read(&mut [0]), Ok(0) | Err(_)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn much_data_both_ways_at_once_arrives_whole() {
    const MUCH: usize = 32 << 20;
    let bench = Bench::new().await;
    let url = bench.forward(&[]);
    client(move || {
        let (listener, port) = listener();
        let mut client = Client::dial(&url, PROTOCOL).unwrap();
        let (_, data) = pair(&mut client, port, "0");
        let (pod, _) = listener.accept().unwrap();
        let echo = std::thread::spawn(move || {
            let mut pod = pod;
            let mut writer = pod.try_clone().unwrap();
            std::io::copy(&mut pod, &mut writer).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut typist = Client::over(client.wire.try_clone().unwrap(), "");
        let send = std::thread::spawn(move || {
            let chunk: Vec<u8> = (0..65_536).map(|i| (i % 251) as u8).collect();
            for _ in 0..MUCH / chunk.len() {
                typist.send(data, &chunk);
            }
            typist.end(data);
        });
        let got = client.until_end(data);
        assert_eq!(got.len(), MUCH);
        assert!(
            got.iter()
                .enumerate()
                .all(|(i, b)| *b == (i % 65_536 % 251) as u8)
        );
        send.join().unwrap();
        echo.join().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_without_request_ids_follow_each_other() {
    let bench = Bench::new().await;
    let url = bench.forward(&[]);
    client(move || {
        let (listener, port) = listener();
        let port = port.to_string();
        let mut client = Client::dial(&url, PROTOCOL).unwrap();
        client.open(&[("streamtype", "error"), ("port", &port)]);
        let data = client.open(&[("streamtype", "data"), ("port", &port)]);
        let (mut pod, _) = listener.accept().unwrap();
        pod.write_all(b"x").unwrap();
        expect(&mut client, data, b"x");
        // What is neither is refused.
        let other = client.open(&[("streamtype", "stdin")]);
        assert_eq!(client.next_but_windows(), Some(Frame::Reset(other, 5)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_channels_carry_a_connection_for_each_port() {
    let bench = Bench::new().await;
    let (listener, port) = listener();
    let (free, closed) = self::listener();
    drop(free);
    let url = bench.forward(&[port, closed]);
    client(move || {
        let mut client = websocket::Client::dial(&url, "v4.channel.k8s.io").unwrap();
        let (mut pod, _): (TcpStream, _) = listener.accept().unwrap();
        client.send(0, b"ping");
        let mut got = [0; 4];
        pod.read_exact(&mut got).unwrap();
        pod.write_all(b"pong").unwrap();
        drop(pod);
        let mut channels = std::collections::BTreeMap::<u8, Vec<u8>>::new();
        let whole = |channels: &std::collections::BTreeMap<u8, Vec<u8>>| {
            let length = |channel| channels.get(&channel).map_or(0, Vec::len);
            length(0) == 6 && length(1) == 2 && length(2) == 2 && length(3) > 2
        };
        while !whole(&channels) {
            let Some((websocket::BINARY, payload)) = client.message() else {
                panic!("it ends after {channels:?}");
            };
            channels
                .entry(payload[0])
                .or_default()
                .extend(&payload[1..]);
        }
        client.frame(websocket::CLOSE, &[]).unwrap();
        assert_eq!(channels[&0], [&port.to_le_bytes()[..], b"pong"].concat());
        assert_eq!(channels[&1], port.to_le_bytes());
        assert_eq!(channels[&2], closed.to_le_bytes());
        assert!(String::from_utf8_lossy(&channels[&3][2..]).contains("refused"));
    })
    .await;
}
