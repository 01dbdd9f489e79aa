//! `rctr network`: made, listed, looked at, removed; who reaches whom.

use std::process::Command;

use rctr_tests::{Env, Machine, healthz, wait_for};

fn env_with(image: &str) -> Env {
    let env = Env::new();
    env.rctr(["pull", "--quiet", image]).ok();
    env
}

/// An address of a container on a network.
fn address(machine: &Machine<'_>, env: &Env, container: &str, network: &str) -> String {
    let format = format!("{{{{(index .NetworkSettings.Networks {network:?}).IPAddress}}}}");
    let out = machine.inside(|| env.rctr(["inspect", "--format", &format, container]));
    out.ok().stdout()
}

fn fetch(machine: &Machine<'_>, env: &Env, from: &str, url: &str) -> bool {
    let out = machine.inside(|| env.rctr(["exec", from, "timeout", "2", "wget", "-qO-", url]));
    out.status() == 0 && out.stdout() == "ok"
}

fn serving(machine: &Machine<'_>, env: &Env, container: &str) {
    wait_for(&format!("{container} to serve"), || {
        fetch(machine, env, container, "http://127.0.0.1/healthz")
    });
}

#[test]
fn a_network_is_made_listed_looked_at_and_removed() {
    let env = Env::new();
    let made = env.rctr([
        "network",
        "create",
        "--label",
        "tier=front",
        "--label",
        "x",
        "front",
    ]);
    let id = made.ok().stdout();
    assert_eq!(id.len(), 64);
    let list = env.rctr(["network", "ls"]);
    let lines = list.ok().lines();
    assert_eq!(lines[0], "NETWORK ID     NAME      DRIVER    SCOPE");
    let names: Vec<&str> = lines[1..]
        .iter()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(names, ["bridge", "front", "host", "none"]);
    assert!(
        lines[2].starts_with(&id[..12]) && lines[2].ends_with("bridge    local"),
        "{}",
        lines[2]
    );
    for (filter, expected) in [
        ("type=custom", "front"),
        ("label=tier=front", "front"),
        ("driver=null", "none"),
        ("name=ron", "front"),
        ("dangling=true", "front"),
    ] {
        let out = env.rctr(["network", "ls", "--filter", filter, "--format", "{{.Name}}"]);
        out.ok().stdout_is(expected);
    }
    env.rctr(["network", "ls", "-q", "--no-trunc", "-f", "name=front"])
        .ok()
        .stdout_is(&id);
    let json = env.rctr(["network", "inspect", &id[..10]]).ok().json()[0].take();
    assert_eq!(json["Name"], "front");
    assert_eq!(json["Id"], id);
    assert_eq!(json["Scope"], "local");
    assert_eq!(json["EnableIPv4"], true);
    assert_eq!(json["EnableIPv6"], false);
    assert_eq!(json["Internal"], false);
    assert_eq!(json["IPAM"]["Driver"], "default");
    assert_eq!(json["Labels"]["tier"], "front");
    assert_eq!(json["Containers"], serde_json::json!({}));
    let subnet = json["IPAM"]["Config"][0]["Subnet"]
        .as_str()
        .expect("a subnet");
    assert!(subnet.ends_with("/16"), "{subnet}");
    env.rctr(["inspect", "--format", "{{.Driver}}", "front"])
        .ok()
        .stdout_is("bridge");
    env.rctr(["network", "create", "front"])
        .refused(1, "network with name front already exists");
    env.rctr(["network", "rm", "front"]).ok().stdout_is("front");
    env.rctr(["network", "rm", "front"])
        .refused(1, "network front not found");
    env.rctr(["network", "rm", "-f", "front"]).ok();
    let missing = env.rctr(["network", "inspect", "front"]);
    missing.exits(1).stdout_is("[]");
    missing.stderr_has("network front not found");
}

#[test]
fn what_is_always_there_stays() {
    let env = Env::new();
    for name in ["bridge", "host", "none"] {
        env.rctr(["network", "rm", name]).refused(
            1,
            &format!("{name} is a pre-defined network and cannot be removed"),
        );
        env.rctr(["network", "create", name]).refused(
            1,
            &format!("operation is not permitted on predefined {name} network"),
        );
    }
    let json = env.rctr(["network", "inspect", "bridge"]).ok().json()[0].take();
    let subnet = env.slot().subnet();
    assert_eq!(json["IPAM"]["Config"][0]["Subnet"], subnet.to_string());
    assert_eq!(
        json["Options"]["com.docker.network.bridge.name"],
        env.slot().bridge()
    );
    env.rctr(["network", "inspect", "-f", "{{.Driver}}", "none"])
        .ok()
        .stdout_is("null");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let env = Env::new();
    for (flags, words) in [
        (&["-d", "overlay"][..], "overlay"),
        (&["-d", "weave"], "weave"),
        (
            &["-d", "host"],
            "only one instance of \"host\" network is allowed",
        ),
        (&["-o", "com.example=1"], "com.example"),
        (&["--ipv4=false"], "--ipv4"),
        (&["--ipam-driver", "dhcp"], "dhcp"),
        (&["--subnet", "10.9.0.1/24"], "it should be 10.9.0.0/24"),
        (
            &["--subnet", "10.9.0.0/24", "--gateway", "10.8.0.1"],
            "no matching subnet for gateway 10.8.0.1",
        ),
        (
            &["--gateway", "10.8.0.1"],
            "must have a corresponding subnet",
        ),
        (&["-d", "macvlan", "-o", "parent=nosuch0"], "nosuch0"),
    ] {
        let out = env.rctr([&["network", "create"], flags, &["x"]].concat());
        out.refused(1, words);
    }
    env.rctr(["network", "create"]).exits(1);
    env.rctr(["network", "create", "--colour", "x"]).exits(125);
    // Neither of them is half there.
    env.rctr(["network", "ls", "-q", "-f", "type=custom"])
        .ok()
        .stdout_is("");
    let subnet = env.slot().subnet().to_string();
    env.rctr(["network", "create", "--subnet", &subnet, "x"])
        .refused(1, "Pool overlaps with other one on this address space");
    env.rctr(["run", "--rm", "--network", "nosuch", "busybox", "true"])
        .refused(125, "network nosuch not found");
}

#[test]
fn subnets_gateways_ranges_and_addresses_are_those_asked_for() {
    let env = env_with("busybox");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    rctr(&[
        "network",
        "create",
        "--subnet",
        "10.77.0.0/24",
        "--gateway",
        "10.77.0.254",
        "--ip-range",
        "10.77.0.128/29",
        "--aux-address",
        "router=10.77.0.129",
        "--subnet",
        "fd00:77::/64",
        "--ipv6",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "-o",
        "com.docker.network.bridge.name=testbr77",
        "lan",
    ])
    .ok();
    let script = "ip -4 -o addr show eth0 | awk '{print $4}'; ip route | awk '/default/ {print $3}'; \
        cat /sys/class/net/eth0/mtu; cat /sys/class/net/eth0/address; ip -6 addr show eth0 | grep -c fd00:77:";
    let out = rctr(&[
        "run",
        "--rm",
        "--network",
        "lan",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let lines = out.ok().lines();
    assert_eq!(lines[0], "10.77.0.128/24");
    assert_eq!(lines[1..3], ["10.77.0.254", "1400"]);
    assert_eq!(lines[3], "02:42:0a:4d:00:80");
    assert_eq!(lines[4], "1");
    machine.sh("ip link show testbr77");
    let fixed = [
        "run",
        "--rm",
        "--network",
        "lan",
        "--ip",
        "10.77.0.9",
        "--ip6",
        "fd00:77::9",
        "--mac-address",
        "92:d0:c6:0a:29:33",
        "--link-local-ip",
        "169.254.7.7",
        "busybox",
        "sh",
        "-c",
        "ip addr show eth0",
    ];
    let out = rctr(&fixed);
    for part in [
        "10.77.0.9/24",
        "fd00:77::9/64",
        "92:d0:c6:0a:29:33",
        "169.254.7.7/16",
    ] {
        out.ok().stdout_has(part);
    }
    // A container that does not run keeps the address it asked for.
    rctr(&[
        "create",
        "--name",
        "fixed",
        "--network",
        "name=lan,ip=10.77.0.10",
        "busybox",
    ])
    .ok();
    rctr(&[
        "run",
        "--rm",
        "--network",
        "lan",
        "--ip",
        "10.77.0.10",
        "busybox",
        "true",
    ])
    .exits(125);
    rctr(&["start", "-a", "fixed"]).ok();
    rctr(&[
        "run",
        "--rm",
        "--network",
        "lan",
        "--ip",
        "10.77.0.10",
        "busybox",
        "true",
    ])
    .exits(125);
    rctr(&["rm", "fixed"]).ok();
    rctr(&[
        "run",
        "--rm",
        "--network",
        "lan",
        "--ip",
        "10.77.0.10",
        "busybox",
        "true",
    ])
    .ok();
    for (flags, words) in [
        (
            &["--network", "lan", "--ip", "10.78.0.1"][..],
            "no configured subnet contains IP address 10.78.0.1",
        ),
        (
            &["--ip", "10.78.0.1"],
            "user specified IP address is supported on user defined networks only",
        ),
        (
            &["--network-alias", "x"],
            "network-scoped aliases are only supported for user-defined networks",
        ),
    ] {
        let out = rctr(&[&["run", "--rm"], flags, &["busybox", "true"]].concat());
        out.refused(125, words);
    }
    rctr(&["network", "rm", "lan"]).ok();
    machine.sh("! ip link show testbr77");
}

#[test]
fn networks_are_apart_but_for_published_ports() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    for name in ["one", "two"] {
        rctr(&["network", "create", name]).ok();
        rctr(&[
            "run",
            "-d",
            "--name",
            &format!("web-{name}"),
            "--network",
            name,
            "healthz",
        ])
        .ok();
    }
    rctr(&["run", "-d", "--name", "near", "--network", "one", "healthz"]).ok();
    rctr(&["run", "-d", "--name", "default", "-p", "8081:80", "healthz"]).ok();
    for name in ["web-one", "web-two", "near", "default"] {
        serving(&machine, &env, name);
    }
    let one = format!(
        "http://{}/healthz",
        address(&machine, &env, "web-one", "one")
    );
    let two = format!(
        "http://{}/healthz",
        address(&machine, &env, "web-two", "two")
    );
    let third = format!(
        "http://{}/healthz",
        address(&machine, &env, "default", "bridge")
    );
    assert!(
        fetch(&machine, &env, "near", &one),
        "a neighbour is out of reach"
    );
    for (from, url) in [
        ("web-one", &two),
        ("web-two", &one),
        ("near", &third),
        ("default", &one),
    ] {
        assert!(!fetch(&machine, &env, from, url), "{from} reaches {url}");
    }
    // What the world may reach, others may reach by the same way.
    let published = format!("http://{}:8081/healthz", Machine::ADDRESS);
    for from in ["web-one", "web-two", "default"] {
        assert!(
            fetch(&machine, &env, from, &published),
            "{from} does not reach {published}"
        );
    }
    // From outside only what is published, also of a user's network.
    rctr(&[
        "run",
        "-d",
        "--name",
        "open",
        "--network",
        "two",
        "-p",
        "8082:80",
        "healthz",
    ])
    .ok();
    wait_for("a published port of a user's network", || {
        machine
            .outside(|| healthz(&format!("{}:8082", Machine::ADDRESS)))
            .is_some()
    });
    rctr(&["port", "open"])
        .ok()
        .stdout_has("80/tcp -> 0.0.0.0:8082");
}

#[test]
fn an_internal_network_leads_nowhere() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    rctr(&["network", "create", "--internal", "cellar"]).ok();
    rctr(&[
        "run",
        "-d",
        "--name",
        "ca",
        "--network",
        "cellar",
        "-p",
        "8080:80",
        "healthz",
    ])
    .ok();
    rctr(&[
        "run",
        "-d",
        "--name",
        "cb",
        "--network",
        "cellar",
        "healthz",
    ])
    .ok();
    serving(&machine, &env, "ca");
    serving(&machine, &env, "cb");
    let a = address(&machine, &env, "ca", "cellar");
    assert!(fetch(&machine, &env, "cb", &format!("http://{a}/healthz")));
    assert!(
        fetch(&machine, &env, "cb", "http://ca/healthz"),
        "names are known"
    );
    rctr(&["exec", "ca", "ip", "route"])
        .ok()
        .stdout_lacks("default");
    let around = format!(
        "ip route add default via {} && timeout 2 wget -qO- http://{}:9/",
        a.rsplit_once('.')
            .map(|(n, _)| format!("{n}.1"))
            .expect("an address"),
        Machine::OUTSIDE
    );
    rctr(&["exec", "--privileged", "cb", "sh", "-c", &around]);
    let url = format!("{}:8080", Machine::ADDRESS);
    assert_eq!(
        machine.outside(|| healthz(&url)),
        None,
        "an internal port is published"
    );
    rctr(&["port", "ca"]).ok().stdout_is("");
    let json = rctr(&["network", "inspect", "cellar"]).ok().json()[0].take();
    assert_eq!(json["Internal"], true);
    assert_eq!(json["Containers"].as_object().expect("containers").len(), 2);
}

#[test]
fn neighbours_can_be_kept_apart() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    rctr(&[
        "network",
        "create",
        "-o",
        "com.docker.network.bridge.enable_icc=false",
        "quiet",
    ])
    .ok();
    rctr(&[
        "run",
        "-d",
        "--name",
        "ca",
        "--network",
        "quiet",
        "-p",
        "8080:80",
        "healthz",
    ])
    .ok();
    rctr(&["run", "-d", "--name", "cb", "--network", "quiet", "healthz"]).ok();
    serving(&machine, &env, "ca");
    serving(&machine, &env, "cb");
    assert!(
        !fetch(&machine, &env, "cb", "http://ca/healthz"),
        "neighbours reach each other"
    );
    // Where the bridge shows its frames to the firewall, they are turned round on the bridge, which keeps them apart.
    let shown =
        machine.sh("cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || echo 0");
    let published = format!("http://{}:8080/healthz", Machine::ADDRESS);
    assert!(
        shown.trim() != "0" || fetch(&machine, &env, "cb", &published),
        "a published port is closed to a neighbour"
    );
}

#[test]
fn options_of_a_bridge() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    rctr(&[
        "network",
        "create",
        "-o",
        "com.docker.network.bridge.host_binding_ipv4=127.0.0.1",
        "-o",
        "com.docker.network.bridge.enable_ip_masquerade=false",
        "-o",
        "com.docker.network.container_iface_prefix=lan",
        "local",
    ])
    .ok();
    rctr(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "local",
        "-p",
        "8080:80",
        "healthz",
    ])
    .ok();
    serving(&machine, &env, "web");
    rctr(&["port", "web"])
        .ok()
        .stdout_is("80/tcp -> 127.0.0.1:8080");
    assert!(machine.inside(|| healthz("127.0.0.1:8080")).is_some());
    rctr(&["exec", "web", "ls", "/sys/class/net"])
        .ok()
        .stdout_has("lan0");
    // Nobody out there knows the way back.
    let rules = machine.sh("nft list ruleset");
    let address = address(&machine, &env, "web", "local");
    let network = address
        .rsplit_once('.')
        .and_then(|(n, _)| n.rsplit_once('.'))
        .map(|(n, _)| n.to_owned())
        .expect("an address");
    let masked: String = rules
        .split("set masked4")
        .nth(1)
        .and_then(|t| t.split('}').next())
        .expect("the set")
        .to_owned();
    assert!(!masked.contains(&format!("{network}.0.0")), "{masked}");
}

#[test]
fn the_firewall_is_mended_for_all_networks() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    for (name, port) in [("one", "8081:80"), ("two", "8082:80")] {
        rctr(&["network", "create", name]).ok();
        rctr(&[
            "run",
            "-d",
            "--name",
            name,
            "--network",
            name,
            "-p",
            port,
            "healthz",
        ])
        .ok();
    }
    rctr(&["run", "-d", "--name", "three", "-p", "8083:80", "healthz"]).ok();
    let open = |port: &str| {
        machine
            .outside(|| healthz(&format!("{}:{port}", Machine::ADDRESS)))
            .is_some()
    };
    for port in ["8081", "8082", "8083"] {
        wait_for(&format!("port {port}"), || open(port));
    }
    machine.sh("nft flush ruleset");
    for port in ["8081", "8082", "8083"] {
        assert!(!open(port), "port {port} is open without rules");
    }
    rctr(&["ps"]).ok();
    for port in ["8081", "8082", "8083"] {
        assert!(open(port), "port {port} stays closed");
    }
    let two = format!("http://{}/healthz", address(&machine, &env, "two", "two"));
    assert!(
        !fetch(&machine, &env, "one", &two),
        "networks are not apart any more"
    );
    rctr(&["stop", "-t", "0", "one", "two", "three"]).ok();
    rctr(&["network", "prune", "--force"]).ok().stdout_is("");
    rctr(&["rm", "one", "two", "three"]).ok();
    rctr(&["network", "prune", "--force"])
        .ok()
        .stdout_is("Deleted Networks:\none\ntwo\n");
    rctr(&["internal", "network-remove"]).ok();
    machine.sh("! nft list table inet rctr && ! ip -o link | grep -q br-");
}

#[test]
fn a_network_in_use_cannot_be_removed() {
    let env = env_with("busybox");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    rctr(&["network", "create", "used"]).ok();
    let id = rctr(&[
        "run",
        "-d",
        "--name",
        "user",
        "--network",
        "used",
        "busybox",
        "sleep",
        "99",
    ])
    .ok()
    .stdout();
    let words = format!(
        "network used has active endpoints (name:\"user\" id:\"{}\")",
        &id[..12]
    );
    rctr(&["network", "rm", "used"]).refused(1, &words);
    rctr(&["ps", "--format", "{{.Networks}}"])
        .ok()
        .stdout_is("used");
    rctr(&["ps", "-q", "-f", "network=used"])
        .ok()
        .stdout_is(&id[..12]);
    rctr(&["ps", "-q", "-f", "network=bridge"])
        .ok()
        .stdout_is("");
    rctr(&["stop", "-t", "0", "user"]).ok();
    // As with Docker: who does not run holds nothing, and cannot be started any more.
    rctr(&["network", "rm", "used"]).ok();
    rctr(&["start", "user"]).refused(1, "network used not found");
}

/// Whether the kernel can make such an interface.
fn kernel_has(machine: &Machine<'_>, line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let made = machine.inside(|| {
        Command::new("ip")
            .args(["link", "add"])
            .args(&words)
            .output()
    });
    let made = made.is_ok_and(|out| out.status.success());
    match made {
        true => drop(machine.sh("ip link del try0")),
        false => println!("this kernel has no {line}: not tried"),
    }
    made
}

#[test]
fn macvlan_and_ipvlan_are_on_the_wire_of_their_parent() {
    let env = env_with("busybox");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    machine.sh("ip link add wire7 type veth peer name wire8 && ip link set wire7 up && ip link set wire8 up && ip addr add 10.66.0.1/24 dev wire8");
    for driver in ["macvlan", "ipvlan"] {
        if !kernel_has(&machine, &format!("link wire7 name try0 type {driver}")) {
            continue;
        }
        rctr(&[
            "network",
            "create",
            "-d",
            driver,
            "--subnet",
            "10.66.0.0/24",
            "--gateway",
            "10.66.0.1",
            "--ip-range",
            "10.66.0.64/27",
            "-o",
            "parent=wire7",
            "wire",
        ])
        .ok();
        let script = "ping -c 1 -W 5 10.66.0.1 >/dev/null && ip route | awk '/default/ {print $3}' && cat /sys/class/net/eth0/address";
        let out = rctr(&[
            "run",
            "--rm",
            "--network",
            "wire",
            "busybox",
            "sh",
            "-c",
            script,
        ]);
        let lines = out.ok().lines();
        assert_eq!(lines[0], "10.66.0.1", "{driver}");
        let own = lines[1].starts_with("02:42:0a:42:00");
        assert_eq!(own, driver == "macvlan", "{driver}: {}", lines[1]);
        rctr(&[
            "run",
            "-d",
            "--name",
            "first",
            "--network",
            "wire",
            "busybox",
            "sleep",
            "99",
        ])
        .ok();
        rctr(&[
            "run",
            "--rm",
            "--network",
            "wire",
            "busybox",
            "ping",
            "-c",
            "1",
            "-W",
            "5",
            "first",
        ])
        .ok();
        rctr(&["rm", "-f", "first"]).ok();
        rctr(&["network", "rm", "wire"]).ok();
        machine.sh("ip link show wire7");
    }
}

#[test]
fn a_vlan_is_made_for_its_networks_and_goes_with_the_last() {
    let env = env_with("busybox");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    machine.sh("ip link add wire7 type veth peer name wire8 && ip link set wire7 up && ip link set wire8 up");
    if !kernel_has(&machine, "link wire7 name try0 type vlan id 9") {
        return;
    }
    rctr(&[
        "network",
        "create",
        "-d",
        "macvlan",
        "--subnet",
        "10.67.0.0/24",
        "-o",
        "parent=wire7.10",
        "tagged",
    ])
    .ok();
    rctr(&[
        "network",
        "create",
        "-d",
        "macvlan",
        "--subnet",
        "10.68.0.0/24",
        "-o",
        "parent=wire7.10",
        "other",
    ])
    .ok();
    let tagged = machine.sh("ip -d link show wire7.10");
    assert!(tagged.contains("vlan protocol 802.1Q id 10"), "{tagged}");
    machine.sh("ip link add link wire8 name wire8.10 type vlan id 10 && ip link set wire8.10 up && ip addr add 10.67.0.99/24 dev wire8.10");
    rctr(&[
        "run",
        "--rm",
        "--network",
        "tagged",
        "busybox",
        "ping",
        "-c",
        "1",
        "-W",
        "5",
        "10.67.0.99",
    ])
    .ok();
    rctr(&["network", "rm", "tagged"]).ok();
    machine.sh("ip link show wire7.10");
    rctr(&["network", "rm", "other"]).ok();
    machine.sh("! ip link show wire7.10");
}

#[test]
fn a_macvlan_without_a_parent_leads_nowhere() {
    let env = env_with("busybox");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    if !kernel_has(&machine, "try0 type dummy") {
        return;
    }
    rctr(&["network", "create", "-d", "macvlan", "alone"]).ok();
    rctr(&[
        "run",
        "-d",
        "--name",
        "first",
        "--network",
        "alone",
        "busybox",
        "sleep",
        "99",
    ])
    .ok();
    rctr(&[
        "run",
        "--rm",
        "--network",
        "alone",
        "busybox",
        "ping",
        "-c",
        "1",
        "-W",
        "5",
        "first",
    ])
    .ok();
    rctr(&["rm", "-f", "first"]).ok();
    rctr(&["network", "rm", "alone"]).ok();
    machine.sh("! ip -o link | grep -q dm-");
}

#[test]
fn nothing_is_left_on_the_machine() {
    let env = env_with("busybox");
    let subnet = env
        .slot()
        .subnet()
        .to_string()
        .replace("10.213.", "10.215.");
    env.rctr(["network", "create", "--subnet", &subnet, "gone"])
        .ok();
    env.rctr(["run", "--rm", "--network", "gone", "busybox", "true"])
        .ok();
    let id = env
        .rctr(["network", "inspect", "-f", "{{.Id}}", "gone"])
        .ok()
        .stdout();
    env.rctr(["network", "rm", "gone"]).ok();
    assert!(!std::path::Path::new(&format!("/sys/class/net/br-{}", &id[..12])).exists());
    env.assert_no_leftovers();
}
