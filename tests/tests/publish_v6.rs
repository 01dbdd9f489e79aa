//! Published ports and IPv6: where the kernel has it, and on a machine without.

use std::net::TcpListener;

use rctr_tests::{Env, Machine, healthz, wait_for};

const OK: &str = "ok\n";

fn env() -> Env {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "healthz"]).ok();
    env
}

#[test]
fn ipv6_leads_from_everywhere_to_where_it_was_published() {
    if !rctr_network::kernel_has_ipv6() {
        return;
    }
    let env = env();
    let machine = Machine::new(&env);
    let bound = format!("[{}]:8081:80", Machine::ADDRESS_V6);
    let flags = ["-p", "8080:80", "-p", &bound];
    let id = machine.inside(|| env.run_detached(flags.iter().chain(&["healthz"])));
    machine.inside(|| wait_for("an answer", || healthz("127.0.0.1:8080").is_some()));
    let subnet = env.slot().subnet_v6().expect("an IPv6 subnet");
    let network = env.inspect(&id)["NetworkSettings"]["Networks"]["bridge"].take();
    let own = network["GlobalIPv6Address"].as_str().expect("an address");
    assert!(subnet.contains(&own.parse::<std::net::Ipv6Addr>().expect("an address")));
    let gateway = subnet.hosts().nth(1).expect("a host").to_string();
    // To the container itself from the machine, and to published ports from everywhere.
    assert_eq!(
        machine
            .inside(|| healthz(&format!("[{own}]:80")))
            .as_deref(),
        Some(OK)
    );
    for port in [8080, 8081] {
        let url = format!("[{}]:{port}", Machine::ADDRESS_V6);
        assert_eq!(
            machine.outside(|| healthz(&url)).as_deref(),
            Some(OK),
            "{url}"
        );
        assert_eq!(
            machine.inside(|| healthz(&url)).as_deref(),
            Some(OK),
            "{url}"
        );
        let url = format!("http://{url}/healthz");
        let other = machine.inside(|| env.rctr(["run", "--rm", "healthz", "wget", "-qO-", &url]));
        other.ok().stdout_is("ok");
    }
    let by_gateway = format!("[{gateway}]:8080");
    assert_eq!(machine.inside(|| healthz(&by_gateway)).as_deref(), Some(OK));
    // Bound to one address, and to IPv6 only.
    assert_eq!(
        machine.inside(|| healthz(&format!("[{gateway}]:8081"))),
        None
    );
    assert_eq!(machine.inside(|| healthz("127.0.0.1:8081")), None);
    let ports = env.rctr(["ps", "--format", "{{.Ports}}"]);
    ports
        .ok()
        .stdout_has("[::]:8080->80/tcp")
        .stdout_has(&format!("[{}]:8081->80/tcp", Machine::ADDRESS_V6));
    // Outwards, with the machine's address.
    let listener = machine
        .outside(|| TcpListener::bind("[::]:7777"))
        .expect("a free port");
    let peer = std::thread::spawn(move || listener.accept().map(|(_, from)| from.ip().to_string()));
    let outside = Machine::ADDRESS_V6.replace("::1", "::2");
    machine
        .inside(|| env.rctr(["exec", &id, "nc", "-w", "3", &outside, "7777"]))
        .ok();
    let from = peer.join().expect("the server ends").expect("a connection");
    assert_eq!(from, Machine::ADDRESS_V6);
}

#[test]
fn ipv6_addresses_that_lead_nowhere_are_refused() {
    let env = env();
    let machine = Machine::new(&env);
    let run = |publish: &str| {
        machine.inside(|| env.rctr(["run", "-d", "--rm", "-p", publish, "healthz"]))
    };
    run("[::1]:8080:80")
        .refused(125, "port 8080 on ::1")
        .one_error("127.0.0.1");
    // On a machine without IPv6 the containers have none either.
    if rctr_network::kernel_has_ipv6() {
        machine.sh(&format!(
            "ip -6 addr del {}/64 dev wan0",
            Machine::ADDRESS_V6
        ));
    }
    let text = std::fs::read_to_string(env.config_file()).expect("the configuration");
    let lines = text.lines().filter(|line| !line.starts_with("subnet_v6"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    std::fs::write(env.config_file(), text).expect("the configuration");
    for address in ["[::1]", "[::]", "[fd00:18::1]"] {
        let refused = run(&format!("{address}:8080:80"));
        refused
            .refused(125, "8080")
            .one_error(address.trim_matches(['[', ']']));
    }
    run("[fd00:18::1]:8080:80").one_error("subnet_v6");
    run("8080:80").ok();
    machine.inside(|| wait_for("an answer", || healthz("127.0.0.1:8080").is_some()));
    env.rctr(["ps", "--format", "{{.Ports}}"])
        .ok()
        .stdout_is("0.0.0.0:8080->80/tcp");
}

#[test]
fn without_ipv6_by_configuration_containers_have_ipv4_alone() {
    if !rctr_network::kernel_has_ipv6() {
        return;
    }
    let env = env();
    let machine = Machine::new(&env);
    let addresses = "ip -6 addr show dev eth0; ip -4 -o addr show dev eth0";
    let run = || machine.inside(|| env.rctr(["run", "--rm", "healthz", "sh", "-c", addresses]));
    run().ok().stdout_has("inet6 ");
    let text = std::fs::read_to_string(env.config_file()).expect("the configuration");
    let lines = text
        .lines()
        .map(|line| match line.starts_with("subnet_v6") {
            true => "subnet_v6 = \"none\"\n".to_owned(),
            false => format!("{line}\n"),
        });
    std::fs::write(env.config_file(), lines.collect::<String>()).expect("the configuration");
    run().ok().stdout_has("inet ").stdout_lacks("inet6");
    let refused =
        machine.inside(|| env.rctr(["run", "--rm", "-p", "[fd00:18::1]:8080:80", "healthz"]));
    refused.refused(125, "subnet_v6");
    machine
        .inside(|| env.rctr(["run", "-d", "-p", "8080:80", "healthz"]))
        .ok();
    machine.inside(|| wait_for("an answer", || healthz("127.0.0.1:8080").is_some()));
}

/// A bridge passes a report of a multicast group to all its ports: what every start said would be heard by every container.
#[test]
fn a_start_says_nothing_of_its_groups_to_the_neighbours() {
    if !rctr_network::kernel_has_ipv6() {
        return;
    }
    let env = env();
    let machine = Machine::new(&env);
    let neighbour = machine.inside(|| env.run_detached(["healthz"]));
    let inside = |id: &str, script: &str| {
        let argv = ["exec", id, "sh", "-c", script];
        machine.inside(|| env.rctr(argv)).ok().stdout()
    };
    // Its own come back to it.
    let heard = |first: &str| {
        let script = "grep -E '^Icmp6InType(131|143)' /proc/net/snmp6 || true";
        inside(&neighbour, &format!("{first} && {script}"))
    };
    let before = heard("true");
    let newcomer = machine.inside(|| env.run_detached(["healthz"]));
    let network = env.inspect(&newcomer)["NetworkSettings"]["Networks"]["bridge"].take();
    let own = network["GlobalIPv6Address"].as_str().expect("an address");
    // They find each other by such a group; reports that wait do so for some ticks of the kernel's clock.
    let after = heard(&format!("ping -6 -c 3 -i 0.2 -W 5 {own} >/dev/null"));
    assert_eq!(after, before);
    let version = inside(
        &newcomer,
        "cat /proc/sys/net/ipv6/conf/eth0/force_mld_version",
    );
    assert_eq!(version, "0");
}
