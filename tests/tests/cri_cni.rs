//! Pods on networks of CNI plugins: Debian's, in the order that a configuration chains them.

use std::path::Path;

use rctr_cri::api;
use rctr_tests::cri::{Cri, container, host, sharing, shell};
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

/// A plugin that writes down what it is asked, and does as the script says: `$CNI_COMMAND` tells what.
fn plugin(dir: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let calls = dir.join("calls");
    let text = format!(
        "#!/bin/sh\nread -r config\necho \"$CNI_COMMAND $CNI_CONTAINERID $config\" >> {}\n{script}\n",
        calls.display()
    );
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a plugin");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

/// What the plugins were asked so far.
fn calls(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A service with plugins of the test's, which say that a pod has an address.
fn with_plugins(conf: &TempDir, dir: &Path, version: &str) -> Cri {
    let list =
        serde_json::json!({"cniVersion": version, "name": "made-up", "plugins": [{"type": "one"}]});
    std::fs::write(conf.path().join("10-test.conflist"), list.to_string()).expect("a file");
    Cri::with_config(&format!(
        "cni_conf_dir = \"{}\"\ncni_bin_dirs = [\"{}\"]\n",
        conf.path().display(),
        dir.display()
    ))
}

const ANSWER: &str = r#"[ $CNI_COMMAND != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.5/24"}]}'"#;

#[test]
fn plugins_are_told_which_pods_there_are_when_the_service_starts() {
    let (conf, bin) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    plugin(bin.path(), "one", ANSWER);
    let cri = with_plugins(&conf, bin.path(), "1.1.0");
    let collections = || {
        let all = calls(bin.path()).into_iter();
        all.filter(|call| call.starts_with("GC "))
            .collect::<Vec<_>>()
    };
    wait_for("a collection", || collections().len() == 1);
    assert!(
        collections()[0].contains(r#""cni.dev/valid-attachments":[]"#),
        "{:?}",
        collections()
    );
    let stays = cri.run_pod(&cri.pod_config("stays"));
    let stopped = cri.run_pod(&cri.pod_config("stopped"));
    cri.stop_pod(&stopped);
    cri.restart();
    wait_for("the next collection", || collections().len() == 2);
    let last = &collections()[1];
    assert!(
        last.contains(&format!(r#""containerID":"{stays}""#)),
        "{last}"
    );
    assert!(!last.contains(&stopped), "{last}");
}

#[test]
fn a_half_made_pod_that_cannot_be_cleared_keeps_nobody_from_being_served() {
    let (conf, bin) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    // Its agent is down, as after a boot: it connects nobody and takes nothing back.
    let broken = r#"[ $CNI_COMMAND != ADD ] || { echo $$ > $(dirname $0)/pid; exec sleep 1000; }
        echo '{"code": 11, "msg": "the agent is not ready"}'; exit 1"#;
    plugin(bin.path(), "one", broken);
    let cri = with_plugins(&conf, bin.path(), "1.0.0");
    let config = cri.pod_config("half");
    let request = api::RunPodSandboxRequest {
        config: Some(config.clone()),
        runtime_handler: String::new(),
    };
    let mut client = cri.runtime_client();
    cri.wait(async {
        tokio::spawn(async move { client.run_pod_sandbox(request).await });
        while !std::fs::read_to_string(bin.path().join("pid")).is_ok_and(|pid| pid.ends_with('\n'))
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    // Killed in the middle; the plugin that it waits for goes on, until the next service clears up after it.
    cri.end(nix::sys::signal::Signal::SIGKILL);
    let pid = std::fs::read_to_string(bin.path().join("pid")).expect("a pid");
    let plugin_lives = || Path::new("/proc").join(pid.trim()).exists();
    assert!(plugin_lives());
    cri.start();
    wait_for("the orphan to be gone", || !plugin_lives());
    let there = cri.pods(None);
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].state(), api::PodSandboxState::SandboxNotready);
    cri.runtime(async |c| {
        c.stop_pod_sandbox(api::StopPodSandboxRequest {
            pod_sandbox_id: there[0].id.clone(),
        })
        .await
    })
    .expect_err("it is still connected");
    // Other pods can be made, the agent's own on the host's network first of all.
    let mut agent = cri.pod_config("agent");
    agent.linux = Some(sharing(api::NamespaceOption {
        network: api::NamespaceMode::Node.into(),
        ..Default::default()
    }));
    cri.run_pod(&agent);
    plugin(bin.path(), "one", ANSWER);
    let pod = cri.run_pod(&config);
    assert_eq!(
        cri.pod_status(&pod).network.expect("network").ip,
        "10.9.0.5"
    );
    let mine = |pod: &api::PodSandbox| pod.metadata == config.metadata;
    assert_eq!(cri.pods(None).iter().filter(|pod| mine(pod)).count(), 1);
    cri.remove_pod(&pod);
}

#[test]
fn a_pod_on_a_network_of_plugins_whose_making_was_cut_off_leaves_no_lease() {
    let conf = tempfile::tempdir().expect("a directory");
    let cri = cri(&conf);
    let leases = cri.env().path("leases");
    std::fs::write(conf.path().join("10-test.conflist"), list(&cri, &leases)).expect("a file");
    let held = || {
        let names = rctr_tests::entries(&leases.join("rctr-test"));
        let address = |name: &String| name.parse::<std::net::IpAddr>().is_ok();
        names.into_iter().filter(address).collect::<Vec<_>>()
    };
    for (n, moment) in [3, 10, 25, 45, 70, 100].into_iter().enumerate() {
        let config = cri.pod_config(&format!("cut{n}"));
        let request = api::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let mut client = cri.runtime_client();
        cri.wait(async {
            let asked = tokio::spawn(async move { client.run_pod_sandbox(request).await });
            tokio::time::sleep(std::time::Duration::from_millis(moment)).await;
            cri.end(nix::sys::signal::Signal::SIGKILL);
            let _ = asked.await.expect("no panic");
        });
        cri.start();
        let pod = cri.run_pod(&config);
        assert_eq!(held().len(), 2, "after {moment} ms: {:?}", held());
        cri.remove_pod(&pod);
        assert!(held().is_empty(), "after {moment} ms: {:?}", held());
    }
    cri.assert_no_leftovers();
}

#[test]
fn names_are_resolved_as_the_plugins_say_where_nobody_else_does() {
    let (conf, bin) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let answer = r#"[ $CNI_COMMAND != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "fd00:9::5/64"}],
        "routes": [{"dst": "::/0"}], "dns": {"nameservers": ["10.9.8.7"], "search": ["made.up"]}}'"#;
    plugin(bin.path(), "one", answer);
    let cri = with_plugins(&conf, bin.path(), "1.0.0");
    cri.pull("busybox");
    let resolv = |name: &str, dns: Option<api::DnsConfig>| {
        let mut config = cri.pod_config(name);
        config.dns_config = dns;
        let pod = cri.run_pod(&config);
        // Of one family alone, and that the newer one.
        let network = cri.pod_status(&pod).network.expect("network");
        assert_eq!(
            (network.ip.as_str(), network.additional_ips.len()),
            ("fd00:9::5", 0)
        );
        let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
        cri.sh(&id, "cat /etc/resolv.conf")
    };
    let plugins = "nameserver 10.9.8.7\nsearch made.up";
    assert_eq!(resolv("unsaid", None), plugins);
    assert_eq!(resolv("empty", Some(api::DnsConfig::default())), plugins);
    let own = api::DnsConfig {
        servers: vec!["10.96.0.10".into()],
        ..Default::default()
    };
    assert_eq!(resolv("own", Some(own)), "nameserver 10.96.0.10");
}

#[test]
fn a_pod_is_listed_once_it_is_there() {
    let (conf, bin) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let slow = format!(
        "[ $CNI_COMMAND != ADD ] || while [ ! -e {}/go ]; do sleep 0.05; done\n{ANSWER}",
        bin.path().display()
    );
    plugin(bin.path(), "one", &slow);
    let cri = with_plugins(&conf, bin.path(), "1.0.0");
    let config = cri.pod_config("slow");
    let request = api::RunPodSandboxRequest {
        config: Some(config.clone()),
        runtime_handler: String::new(),
    };
    let mut client = cri.runtime_client();
    let asked = cri.wait(async {
        Some(tokio::spawn(async move {
            client.run_pod_sandbox(request).await
        }))
    });
    wait_for("the plugin to be asked", || {
        calls(bin.path())
            .iter()
            .any(|call| call.starts_with("ADD "))
    });
    assert!(cri.pods(None).is_empty());
    std::fs::write(bin.path().join("go"), "").expect("written");
    let made = cri
        .wait(asked.expect("a task"))
        .expect("no panic")
        .expect("a pod")
        .into_inner();
    let listed = cri.pods(None);
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].id, listed[0].state()),
        (&made.pod_sandbox_id, api::PodSandboxState::SandboxReady)
    );
}
