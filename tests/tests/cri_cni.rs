//! Pods on networks of CNI plugins: Debian's, in the order that a configuration chains them.

use std::path::Path;

use rctr_cri::api;
use rctr_tests::cri::{Cri, container, host, shell};
use rctr_tests::{http_get, wait_for};
use tempfile::TempDir;

const PLUGINS: &str = "/usr/lib/cni";

/// A service that looks for configurations in a directory of the test.
fn cri(conf: &TempDir) -> Cri {
    Cri::with_config(&format!(
        "cni_conf_dir = \"{}\"\ncni_bin_dirs = [\"{PLUGINS}\"]\n",
        conf.path().display()
    ))
}

/// A point-to-point link for each pod, with addresses of both families: nothing of it stays on the host.
fn list(cri: &Cri, leases: &Path) -> String {
    let subnet = cri.env().slot().subnet();
    let v6 = cri.env().slot().subnet_v6().expect("a kernel with IPv6");
    serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "rctr-test",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "dataDir": leases,
                    "ranges": [[{"subnet": subnet}], [{"subnet": v6}]],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                },
                "dns": {"nameservers": ["10.9.8.7"]},
            },
            {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"}},
        ],
    })
    .to_string()
}

fn network(cri: &Cri) -> api::RuntimeCondition {
    let status = cri
        .runtime(async |c| c.status(api::StatusRequest::default()).await)
        .expect("Status")
        .status
        .expect("a status");
    let found = status
        .conditions
        .into_iter()
        .find(|c| c.r#type == "NetworkReady");
    found.expect("the condition")
}

#[test]
fn plugins_connect_a_pod_and_take_everything_back() {
    let conf = tempfile::tempdir().expect("a directory");
    let cri = cri(&conf);
    let leases = cri.env().path("leases");
    std::fs::write(conf.path().join("10-test.conflist"), list(&cri, &leases)).expect("a file");
    assert!(network(&cri).status);
    cri.pull("busybox");
    let config = cri.pod_config("cni");
    let pod = cri.run_pod(&config);
    let told = cri.pod_status(&pod).network.expect("network");
    let subnet = cri.env().slot().subnet();
    assert!(subnet.contains(&told.ip.parse::<std::net::Ipv4Addr>().expect("an address")));
    assert_eq!(told.additional_ips.len(), 1);
    let web = "echo plugged > /tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    let id = cri.run(&pod, &config, shell("web", web));
    wait_for("the pod's server", || {
        http_get((told.ip.as_str(), 8080), "/").is_ok_and(|page| page.body.trim() == "plugged")
    });
    let inside = cri.sh(&id, "ip addr show eth0; ip route");
    for word in [&told.ip, &told.additional_ips[0].ip, "default via"] {
        assert!(inside.contains(word), "{word} in {inside}");
    }
    assert_eq!(
        cri.sh(&id, "cat /proc/sys/net/ipv4/conf/eth0/log_martians"),
        "1"
    );
    // A second pod has other addresses, and a restarted service knows how to let both go.
    let second = cri.run_pod(&cri.pod_config("second"));
    assert_ne!(
        cri.pod_status(&second).network.expect("network").ip,
        told.ip
    );
    cri.restart();
    assert_eq!(cri.pod_status(&pod).network.expect("network"), told);
    cri.remove_pod(&pod);
    cri.remove_pod(&second);
    let held = std::fs::read_dir(leases.join("rctr-test")).expect("leases");
    let held: Vec<_> = held
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
        .collect();
    assert!(held.is_empty(), "{held:?}");
    let prefix = subnet.to_string();
    let prefix = prefix.trim_end_matches("0/24");
    wait_for("the routes to be gone", || {
        !host("ip route").contains(prefix)
    });
}

#[test]
fn a_configuration_that_cannot_work_is_told_and_one_that_does_is_taken_without_a_restart() {
    let conf = tempfile::tempdir().expect("a directory");
    let cri = cri(&conf);
    assert!(network(&cri).status, "without any the bridge serves");
    let file = conf.path().join("10-test.conflist");
    std::fs::write(&file, "{").expect("a file");
    let trouble = network(&cri);
    assert!(!trouble.status);
    assert!(trouble.message.contains("10-test.conflist"), "{trouble:?}");
    let outcome = cri.try_run_pod(&cri.pod_config("early"), "");
    let said = outcome.expect_err("no network");
    assert!(said.message().contains("10-test.conflist"), "{said:?}");

    let missing = list(&cri, &cri.env().path("leases")).replace("\"ptp\"", "\"no-such-plugin\"");
    std::fs::write(&file, missing).expect("a file");
    let said = cri
        .try_run_pod(&cri.pod_config("early"), "")
        .expect_err("no plugin");
    assert!(said.message().contains("no-such-plugin"), "{said:?}");

    std::fs::write(&file, list(&cri, &cri.env().path("leases"))).expect("a file");
    let pod = cri.run_pod(&cri.pod_config("early"));
    assert!(!cri.pod_status(&pod).network.expect("network").ip.is_empty());
    assert!(network(&cri).status);
    let ready = cri.pods(Some(api::PodSandboxFilter {
        state: Some(api::PodSandboxStateValue {
            state: api::PodSandboxState::SandboxReady.into(),
        }),
        ..Default::default()
    }));
    assert_eq!(ready.len(), 1);
}

#[test]
fn ports_of_the_host_are_mapped_by_the_plugin_for_that() {
    let conf = tempfile::tempdir().expect("a directory");
    let cri = cri(&conf);
    let leases = cri.env().path("leases");
    let mut list: serde_json::Value =
        serde_json::from_str(&list(&cri, &leases)).expect("a configuration");
    list["plugins"][1] =
        serde_json::json!({"type": "portmap", "capabilities": {"portMappings": true}});
    std::fs::write(conf.path().join("10-test.conflist"), list.to_string()).expect("a file");
    cri.pull("busybox");
    cri.pull("python");
    let port = 20_000 + u16::from(cri.env().slot().subnet().network().octets()[2]);
    let mapping = |protocol: api::Protocol, inside: i32, ip: &str| api::PortMapping {
        protocol: protocol.into(),
        container_port: inside,
        host_port: port.into(),
        host_ip: ip.into(),
    };
    let mut config = cri.pod_config("mapped");
    config.port_mappings = vec![
        mapping(api::Protocol::Tcp, 8080, "127.0.0.1"),
        mapping(api::Protocol::Udp, 7000, ""),
    ];
    let pod = cri.run_pod(&config);
    let web = "echo mapped > /tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    cri.run(&pod, &config, shell("web", web));
    let echo = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                s.bind(('', 7000))\nwhile True: s.sendto(*s.recvfrom(99))";
    cri.run(
        &pod,
        &config,
        container("echo", "python", &["python3", "-c", echo]),
    );
    let page = |ip: &str| http_get((ip, port), "/").is_ok_and(|page| page.body.trim() == "mapped");
    wait_for("the mapped server", || page("127.0.0.1"));
    assert!(!page("127.0.0.2"), "it is one address's");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let patience = std::time::Duration::from_millis(200);
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    let answers = || {
        let sent = socket.send_to(b"ping", ("127.0.0.1", port));
        let mut answer = [0; 16];
        sent.is_ok() && socket.recv_from(&mut answer).is_ok_and(|(n, _)| n == 4)
    };
    wait_for("an echo", answers);
    cri.stop_pod(&pod);
    assert!(!page("127.0.0.1") && !answers());
}
