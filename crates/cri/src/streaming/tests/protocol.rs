//! What a client may not do, and what it may expect whatever it does.

use super::spdy::Frame;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_url_works_once_and_only_for_an_upgrade() {
    let bench = Bench::new().await;
    let url = bench.exec(&["exit", "0"], OUT);
    client(move || {
        let spdy = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
        let status = |url: &str, method, headers: &[_]| {
            http::upgrade(url, method, headers).map(drop).unwrap_err()
        };
        assert_eq!(status(&url, "GET", &[]).status, 400);
        assert_eq!(status(&url, "PUT", &spdy).status, 405);
        assert_eq!(status(&url, "POST", &spdy).status, 400);
        let elsewhere = url.replace("/exec/", "/attach/");
        assert_eq!(
            spdy::Client::dial(&elsewhere, V4)
                .map(drop)
                .unwrap_err()
                .status,
            404
        );
        let refused = spdy::Client::dial(&url, &["v9.channel.k8s.io"])
            .map(drop)
            .unwrap_err();
        assert_eq!(refused.status, 403);
        assert!(refused.body.contains("v4.channel.k8s.io"));
        assert_eq!(
            http::header(&refused.head, "x-accepted-stream-protocol-versions"),
            Some("v4.channel.k8s.io")
        );
        // None of that has used the token up.
        assert!(spdy::Client::dial(&url, V4).is_ok());
        assert_eq!(
            spdy::Client::dial(&url, V4).map(drop).unwrap_err().status,
            404
        );
    })
    .await;
}

#[tokio::test]
async fn impossible_streams_are_refused_before_a_url_is_given() {
    let bench = Bench::new().await;
    let url = |streams| {
        bench.server.attach_url(AttachRequest {
            container: "c".into(),
            streams,
        })
    };
    for bad in [
        Wanted::default(),
        Wanted {
            stderr: true,
            ..TTY
        },
    ] {
        assert!(matches!(url(bad), Err(Error::BadStreams { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_and_nonsense_ends_the_connection() {
    let bench = Bench::new().await;
    let urls = [(); 4].map(|()| bench.exec(&["wait"], ALL));
    client(move || {
        let mut client = spdy::Client::dial(&urls[0], V4).unwrap();
        client.numbers(6, &[7]);
        assert_eq!(client.frame(), Some(Frame::Ping(7)));
        // An answer to a ping that was never sent, and a frame of a type from the future.
        client.numbers(6, &[8]);
        client.control(99, b"?");
        open(&mut client, ALL);
        // Another version of the protocol.
        std::io::Write::write_all(&mut client.wire, &[0x80, 2, 0, 6, 0, 0, 0, 4]).unwrap();
        assert_eq!(client.frame(), Some(Frame::GoAway(1)));

        let mut client = spdy::Client::dial(&urls[1], V4).unwrap();
        client.control(1, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(client.frame(), Some(Frame::GoAway(1)));
        assert!(client.frame().is_none());

        // Numbers of streams must grow and be odd.
        let mut client = spdy::Client::dial(&urls[2], V4).unwrap();
        client.open(&[("streamtype", "error")]);
        let mut again = spdy::Client::over(client.wire.try_clone().unwrap(), "");
        again.control(1, &[0; 10]);
        assert_eq!(client.frame(), Some(Frame::GoAway(1)));

        let mut client = spdy::Client::dial(&urls[3], V4).unwrap();
        let unknown = client.open(&[("streamtype", "colour")]);
        assert_eq!(client.frame(), Some(Frame::Reset(unknown, 5)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_comes_after_all_output_and_with_a_farewell() {
    let bench = Bench::new().await;
    let url = bench.exec(&["exit", "0"], OUT);
    client(move || {
        let mut client = spdy::Client::dial(&url, V4).unwrap();
        let streams = open(&mut client, OUT);
        assert_eq!(client.frame(), Some(Frame::End(streams.stdout)));
        assert!(matches!(client.frame(), Some(Frame::Data(stream, _)) if stream == streams.error));
        assert_eq!(client.frame(), Some(Frame::End(streams.error)));
        assert_eq!(client.frame(), Some(Frame::GoAway(0)));
        assert!(client.frame().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_after_its_head_in_the_same_packet_is_heard() {
    let bench = Bench::new().await;
    let url = bench.exec(&["wait"], ALL);
    client(move || {
        let rest = url.strip_prefix("http://").unwrap();
        let (address, path) = rest.split_once('/').unwrap();
        let mut wire = std::net::TcpStream::connect(address).unwrap();
        let mut packet = format!(
            "POST /{path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
             X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
        )
        .into_bytes();
        packet.extend([0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 5]);
        std::io::Write::write_all(&mut wire, &packet).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 5]) {
            let mut byte = [0];
            std::io::Read::read_exact(&mut wire, &mut byte).unwrap();
            answer.push(byte[0]);
        }
    })
    .await;
}
