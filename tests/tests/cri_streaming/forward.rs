//! Forwarded ports.

use std::collections::BTreeMap;
use std::io::Write;

use rctr_cri::api;
use rctr_tests::cri::{Cri, sharing};
use rctr_tests::wait_for_some;

use super::spdy::{self, Client};
use super::{Pod, websocket};

/// Opens a pair of streams, sends a request, and reads what comes back until its end.
pub fn fetch<W: spdy::Wire>(client: &mut Client<W>, port: &str, id: &str) -> (String, String) {
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

pub const PAGES: &str = "mkdir /www; hostname > /www/name; httpd -f -p 127.0.0.1:8080 -h /www";

pub fn wait_for_pages(pod: &Pod) {
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
