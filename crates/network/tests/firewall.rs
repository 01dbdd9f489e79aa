//! Beside a firewall that drops what it does not know, as Docker's.

mod lab;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use lab::*;
use rctr_network::{Warning, ensure_bridge, publish, remove_bridge};

#[test]
fn a_dropping_forward_policy_gets_one_exception() {
    if !have("iptables") {
        eprintln!("skipped: iptables is not installed");
        return;
    }
    on_private_host(|| {
        let outside = Outside::connect();
        serve(&outside.netns);
        run("iptables -P FORWARD DROP");
        run("ip6tables -P FORWARD DROP");
        let bridge = bridge_v6();
        ensure_bridge(&bridge).unwrap();
        let one = Container::start(&bridge, 1);
        one.serve();
        let ports = [one.published(ANY, 8080), one.published(ANY_V6, 8080)];
        let _ = publish(&bridge, &ports).unwrap();
        let all_works = || {
            assert_eq!(one.fetch(Outside::IP, 80), Some(Outside::HOST));
            assert_eq!(one.fetch(Outside::IP_V6, 80), Some(Outside::HOST_V6));
            assert!(outside.fetch(Outside::HOST, 8080).is_some());
            assert!(outside.fetch(Outside::HOST_V6, 8080).is_some());
            assert_eq!(outside.fetch(one.ip(), 80), None);
            assert_eq!(outside.fetch(one.ip_v6(), 80), None);
        };
        all_works();
        let rules = run("iptables -S");
        ensure_bridge(&bridge).unwrap();
        assert_eq!(run("iptables -S"), rules, "a second call added rules");
        println!("{rules}");
        // The tool can still read what we wrote.
        assert!(rules.contains("-A FORWARD -i rctr0"), "{rules}");

        // dockerd starts: its chain for others comes first from now on.
        run("iptables -F FORWARD");
        run("iptables -N DOCKER-USER");
        run("iptables -A DOCKER-USER -j RETURN");
        run("iptables -I FORWARD -j DOCKER-USER");
        ensure_bridge(&bridge).unwrap();
        all_works();
        let rules = run("iptables -S");
        assert!(rules.contains("-A DOCKER-USER -i rctr0"), "{rules}");
        assert!(!rules.contains("-A FORWARD -i rctr0"), "{rules}");

        remove_bridge(&bridge).unwrap();
        assert!(!run("iptables -S").contains("rctr0"));
        assert!(!run("ip6tables -S").contains("rctr0"));
    });
}

#[test]
fn an_open_firewall_is_left_alone() {
    if !have("iptables") {
        eprintln!("skipped: iptables is not installed");
        return;
    }
    on_private_host(|| {
        run("iptables -A FORWARD -s 198.51.100.0/24 -j DROP");
        let before = run("iptables -S");
        ensure_bridge(&bridge()).unwrap();
        assert_eq!(run("iptables -S"), before);
        remove_bridge(&bridge()).unwrap();
        assert_eq!(run("iptables -S"), before);
    });
}

#[test]
fn a_legacy_firewall_is_told_of() {
    if !have("iptables-legacy") {
        eprintln!("skipped: iptables-legacy is not installed");
        return;
    }
    on_private_host(|| {
        run("iptables-legacy -S");
        run("ip6tables-legacy -S");
        let bridge = bridge_v6();
        assert_eq!(ensure_bridge(&bridge).unwrap().warnings, []);
        let warnings = [Warning::LegacyFirewall {
            bridge: "rctr0".to_owned(),
        }];
        for tool in ["iptables-legacy", "ip6tables-legacy"] {
            run(&format!("{tool} -P FORWARD DROP"));
            let outcome = ensure_bridge(&bridge).unwrap();
            assert_eq!(outcome.warnings, warnings, "{tool}");
            run(&format!("{tool} -A FORWARD -i rctr0 -j ACCEPT"));
            run(&format!("{tool} -A FORWARD -o rctr0 -j ACCEPT"));
            assert_eq!(ensure_bridge(&bridge).unwrap().warnings, [], "{tool}");
        }
    });
}

#[test]
fn docker_and_rctr_share_a_host() {
    if !have("dockerd") || !have("docker") {
        eprintln!("skipped: docker is not installed");
        return;
    }
    on_private_host(|| {
        let outside = Outside::connect();
        serve(&outside.netns);
        // Docker closes the FORWARD chain only if it is the one who turns forwarding on.
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let bridge = bridge();
        let docker = Docker::start();
        assert!(run("iptables -S FORWARD").contains("-P FORWARD DROP"));
        let before = run("iptables-save");
        ensure_bridge(&bridge).unwrap();
        let one = Container::start(&bridge, 1);
        one.serve();
        let _ = publish(&bridge, &[one.published(ANY, 8080)]).unwrap();
        let all_works = || {
            assert_eq!(one.fetch(Outside::IP, 80), Some(Outside::HOST));
            assert!(outside.fetch(Outside::HOST, 8080).is_some());
            assert!(fetch(LOCALHOST, 8080).is_some());
            assert_eq!(outside.fetch(one.ip(), 80), None);
        };
        all_works();
        // A restarted daemon writes its rules again and spares ours.
        drop(docker);
        let _docker = Docker::start();
        all_works();
        remove_bridge(&bridge).unwrap();
        let rules = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("-A"));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(rules(&run("iptables-save")), rules(&before));
    });
}

/// A docker daemon in the current network namespace.
struct Docker {
    daemon: Child,
    directory: PathBuf,
}

impl Docker {
    fn start() -> Self {
        let name = format!("rctr-network-docker-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let path = |name: &str| directory.join(name).display().to_string();
        let socket = format!("unix://{}", path("socket"));
        let daemon = Command::new("dockerd")
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid"), "--host", &socket])
            .args(["--storage-driver", "vfs"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let docker = Self { daemon, directory };
        // Every round waits for a client that has tried to connect.
        let answers = |_| {
            let client = Command::new("docker")
                .args(["-H", &socket, "info"])
                .output();
            client.is_ok_and(|output| output.status.success())
        };
        assert!((0..500).any(answers), "dockerd does not answer");
        docker
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.daemon.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
