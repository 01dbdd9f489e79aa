//! Published ports.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use rctr_tests::{healthz, http_get, wait_for, wait_for_some};

use crate::user::User;

#[test]
fn published_ports_are_reached_from_the_host() {
    let user = User::new();
    let (tcp, udp) = (user.port(0), user.port(1));
    let publish = [format!("{tcp}:80"), format!("127.0.0.1:{udp}:7/udp")];
    let echo = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7))\n\
                while True: s.sendto(*s.recvfrom(99))";
    let words = [
        "--name",
        "echo",
        "-p",
        &publish[1],
        "python",
        "python3",
        "-c",
        echo,
    ];
    user.start(&words);
    let words = [
        "--name",
        "web",
        "-p",
        &publish[0],
        "busybox",
        "httpd",
        "-f",
        "-h",
        "/etc",
    ];
    user.start(&words);
    let page = wait_for_some("an answer", || {
        http_get(format!("127.0.0.1:{tcp}"), "/passwd").ok()
    });
    assert!(page.body.contains("root:"), "{}", page.body);
    // Again, and from another address of the host's.
    let mut stream = TcpStream::connect(("127.0.0.2", tcp)).unwrap();
    stream.write_all(b"GET /passwd HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("root:"), "{text}");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    socket.connect(("127.0.0.1", udp)).unwrap();
    wait_for("an echo", || {
        let mut buffer = [0; 16];
        socket.send(b"hello").is_ok()
            && socket
                .recv(&mut buffer)
                .is_ok_and(|n| &buffer[..n] == b"hello")
    });

    user.rctr(["restart", "-t", "0", "web"]).ok();
    wait_for("an answer after a restart", || {
        http_get(format!("127.0.0.1:{tcp}"), "/passwd").is_ok()
    });
    let again = user.rctr(["run", "--rm", "-p", &publish[0], "busybox", "true"]);
    again.exits(125).stderr_has("already");
    let low = user.rctr(["run", "--rm", "-p", "7:7", "busybox", "true"]);
    low.exits(125)
        .stderr_has("net.ipv4.ip_unprivileged_port_start");
    user.rctr(["rm", "-f", "web", "echo"]).ok();
    wait_for("the port to close", || {
        TcpStream::connect(("127.0.0.1", tcp)).is_err()
    });
}

#[test]
fn ports_are_published_on_single_addresses_of_ipv6() {
    if !rctr_network::kernel_has_ipv6() {
        return;
    }
    let user = User::new();
    let ports = [0, 1].map(|n| user.port(n));
    // The kernel routes nothing from this address, but a user's connections are not routed.
    let publish = ports.map(|port| format!("[::1]:{port}:80"));
    user.start(&["--name", "six", "-p", &publish[0], "healthz"]);
    // On the same port elsewhere there may be another one.
    let other = format!("127.0.0.1:{}:80", ports[0]);
    user.start(&[
        "--name", "four", "-p", &other, "busybox", "httpd", "-f", "-h", "/etc",
    ]);
    let at = |address: &str| format!("{address}:{}", ports[0]);
    let is_ok = |address: &str| healthz(address).as_deref() == Some("ok\n");
    wait_for("an answer", || is_ok(&at("[::1]")));
    let page = wait_for_some("an answer", || http_get(at("127.0.0.1"), "/passwd").ok());
    assert!(page.body.contains("root:"), "{}", page.body);
    let listed = user.rctr(["ps", "--filter", "name=six", "--format", "{{.Ports}}"]);
    listed
        .ok()
        .stdout_is(&format!("[::1]:{}->80/tcp", ports[0]));
    let taken = user.rctr(["run", "--rm", "-p", &publish[0], "busybox", "true"]);
    taken.exits(125).stderr_has("already");
    user.rctr(["rm", "-f", "six"]).ok();
    wait_for("the port to close", || {
        TcpStream::connect(at("[::1]")).is_err()
    });
    // On a network without IPv6.
    user.rctr(["network", "create", "--ipv6=false", "flat"])
        .ok();
    user.start(&[
        "--name",
        "six",
        "--network",
        "flat",
        "-p",
        &publish[1],
        "healthz",
    ]);
    let address = format!("[::1]:{}", ports[1]);
    wait_for("an answer", || is_ok(&address));
    user.rctr(["rm", "-f", "six", "four"]).ok();
    user.rctr(["network", "rm", "flat"]).ok();
}

#[test]
fn ports_of_both_families_lead_to_a_container() {
    let user = User::new();
    let port = user.port(0);
    let publish = format!("{port}:80");
    let words = [
        "--name", "web", "-p", &publish, "busybox", "httpd", "-f", "-h", "/etc",
    ];
    user.start(&words);
    let mut addresses = vec![format!("127.0.0.1:{port}")];
    // Only a machine that has IPv6 publishes on it.
    if fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| !text.is_empty()) {
        addresses.push(format!("[::1]:{port}"));
    }
    for address in addresses {
        let page = wait_for_some(&format!("an answer of {address}"), || {
            http_get(&*address, "/passwd").ok()
        });
        assert!(page.body.contains("root:"), "{}", page.body);
    }
}
