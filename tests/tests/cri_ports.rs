//! Ports of the host that lead into pods, on the built-in bridge.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use rctr_cri::api;
use rctr_tests::cri::{Cri, container, refused, shell};
use rctr_tests::{http_get, wait_for};
use tonic::Code;

/// Sends back what it is sent.
const ECHO: &str = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                    s.bind(('', 7000))\nwhile True: s.sendto(*s.recvfrom(99))";

/// A port of the host that only this test uses.
fn port(cri: &Cri) -> u16 {
    20_000 + u16::from(cri.env().slot().subnet().network().octets()[2])
}

fn mapping(protocol: api::Protocol, inside: i32, host: u16, ip: &str) -> api::PortMapping {
    api::PortMapping {
        protocol: protocol.into(),
        container_port: inside,
        host_port: host.into(),
        host_ip: ip.into(),
    }
}

#[test]
fn ports_of_the_host_lead_into_the_pod() {
    let cri = Cri::new();
    cri.pull("busybox");
    let port = port(&cri);
    let mut config = cri.pod_config("ports");
    config.port_mappings = vec![
        mapping(api::Protocol::Tcp, 8080, port, ""),
        // Named, but not published.
        api::PortMapping {
            container_port: 9090,
            ..Default::default()
        },
    ];
    let pod = cri.run_pod(&config);
    let web = "echo published > /tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    cri.run(&pod, &config, shell("web", web));
    wait_for("the published server", || {
        http_get(("127.0.0.1", port), "/").is_ok_and(|page| page.body.trim() == "published")
    });
    cri.stop_pod(&pod);
    assert!(http_get(("127.0.0.1", port), "/").is_err());
}

#[test]
fn datagrams_too() {
    let cri = Cri::new();
    cri.pull("python");
    let port = port(&cri);
    let mut config = cri.pod_config("datagrams");
    config.port_mappings = vec![mapping(api::Protocol::Udp, 7000, port, "")];
    let pod = cri.run_pod(&config);
    cri.run(
        &pod,
        &config,
        container("echo", "python", &["python3", "-c", ECHO]),
    );
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let patience = Duration::from_millis(200);
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    let answers = || {
        let sent = socket.send_to(b"ping", (Ipv4Addr::LOCALHOST, port));
        let mut answer = [0; 16];
        sent.is_ok() && socket.recv_from(&mut answer).is_ok_and(|(n, _)| n == 4)
    };
    wait_for("an echo", answers);
    cri.stop_pod(&pod);
    assert!(!answers());
}

#[test]
fn a_port_that_nothing_can_listen_on_is_refused_and_leaves_nothing() {
    let cri = Cri::new();
    let mut config = cri.pod_config("zero");
    config.port_mappings = vec![mapping(api::Protocol::Tcp, 0, port(&cri), "")];
    let said = refused(cri.try_run_pod(&config, ""), Code::InvalidArgument);
    assert!(said.contains("container port 0"), "{said}");
    assert!(cri.pods(None).is_empty());
}

#[test]
fn a_port_is_one_address_s_where_it_says_so() {
    let cri = Cri::new();
    cri.pull("busybox");
    let port = port(&cri);
    let served = |name: &str, ip: &str| {
        let mut config = cri.pod_config(name);
        config.port_mappings = vec![mapping(api::Protocol::Tcp, 8080, port, ip)];
        let pod = cri.run_pod(&config);
        let script = format!("echo {name} > /tmp/index.html; exec httpd -f -p 8080 -h /tmp");
        cri.run(&pod, &config, shell("web", &script));
        pod
    };
    let page = |ip: &str| {
        let page = http_get((ip, port), "/").ok()?;
        Some(page.body.trim().to_owned())
    };
    served("two", "127.0.0.2");
    let three = served("three", "127.0.0.3");
    wait_for("both servers", || {
        page("127.0.0.2").as_deref() == Some("two") && page("127.0.0.3").as_deref() == Some("three")
    });
    assert_eq!(page("127.0.0.1"), None);
    // What is taken is refused, and free again afterwards.
    for (name, ip) in [("same", "127.0.0.3"), ("all", "")] {
        let mut config = cri.pod_config(name);
        config.port_mappings = vec![mapping(api::Protocol::Tcp, 8080, port, ip)];
        let said = refused(cri.try_run_pod(&config, ""), Code::Unknown);
        assert!(said.contains(&port.to_string()), "{said}");
    }
    cri.stop_pod(&three);
    served("next", "127.0.0.3");
    wait_for("the next server", || {
        page("127.0.0.3").as_deref() == Some("next")
    });
}
