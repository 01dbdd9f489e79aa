//! `rctr network`: made, listed, looked at, removed; who reaches whom.

use rctr_tests::{Env, Machine, healthz, wait_for};

mod reach;

fn env_with(image: &str) -> Env {
    let env = Env::new();
    env.rctr(["pull", "--quiet", image]).ok();
    env
}

/// An address of a container on a network.
fn address(machine: &Machine<'_>, container: &str, network: &str) -> String {
    let json = machine.rctr(&format!("inspect {container}")).ok().json()[0].take();
    let address = &json["NetworkSettings"]["Networks"][network]["IPAddress"];
    address.as_str().expect("an address").to_owned()
}

fn fetch(machine: &Machine<'_>, from: &str, url: &str) -> bool {
    let out = machine.rctr(&format!("exec {from} timeout 2 wget -qO- {url}"));
    out.status() == 0 && out.stdout() == "ok"
}

fn serving(machine: &Machine<'_>, container: &str) {
    wait_for(&format!("{container} to serve"), || {
        fetch(machine, container, "http://127.0.0.1/healthz")
    });
}

#[test]
fn a_network_is_made_listed_looked_at_and_removed() {
    let env = Env::new();
    let create = "network create --label tier=front --label x front";
    let made = env.rctr(create.split(' '));
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
fn prune_takes_what_its_filters_choose() {
    let env = env_with("busybox");
    for flags in [
        "one",
        "--label keep=1 two",
        "--label keep=2 --label x three",
        "used",
    ] {
        let create = format!("network create {flags}");
        env.rctr(create.split(' ')).ok();
    }
    env.rctr(["create", "--name", "cc", "--network", "used", "busybox"])
        .ok();
    let left = || {
        let list = [
            "network",
            "ls",
            "-f",
            "type=custom",
            "--format",
            "{{.Name}}",
        ];
        env.rctr(list).ok().lines()
    };
    let prune = |flags: &[&str]| env.rctr([&["network", "prune", "-f"], flags].concat());
    env.rctr_with_input(["network", "prune"], b"n\n")
        .ok()
        .stdout_has(
            "WARNING! This will remove all custom networks not used by at least one container.",
        );
    prune(&["--filter", "until=1h"]).ok().stdout_is("");
    prune(&["--filter", "label=other"]).ok().stdout_is("");
    assert_eq!(left(), ["one", "three", "two", "used"]);
    prune(&["--filter", "label=keep=1"])
        .ok()
        .stdout_is("Deleted Networks:\ntwo\n");
    prune(&["--filter", "label!=x"])
        .ok()
        .stdout_is("Deleted Networks:\none\n");
    assert_eq!(left(), ["three", "used"]);
    prune(&["--filter", "colour=red"]).refused(1, "invalid filter 'colour'");
    prune(&["--filter", "until=soon"]).refused(1, "until=soon");
    // All there is was made before a time to come.
    prune(&["--filter", "until=-1h"])
        .ok()
        .stdout_is("Deleted Networks:\nthree\n");
    assert_eq!(left(), ["used"]);
}

#[test]
fn what_is_said_of_a_network_is_kept() {
    let env = Env::new();
    let create = "network create -d bridge --attachable --scope local --ipam-driver default --ipv4=true kept";
    env.rctr(create.split(' ')).ok();
    let json = env.rctr(["network", "inspect", "-v", "kept"]).ok().json()[0].take();
    assert_eq!(
        (&json["Driver"], &json["Attachable"], &json["Scope"]),
        (&"bridge".into(), &true.into(), &"local".into())
    );
    assert_eq!(json["IPAM"]["Driver"], "default");
    env.rctr(["network", "create", "--scope", "swarm", "x"])
        .exits(1)
        .stderr_has("swarm");
    let json = env.rctr(["network", "ls", "-f", "name=kept", "--format", "json"]);
    assert_eq!(json.ok().json()["Name"], "kept");
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
    let pools = "--subnet 10.77.0.0/24 --gateway 10.77.0.254 --ip-range 10.77.0.128/29 \
        --aux-address router=10.77.0.129 --subnet fd00:77::/64 --ipv6";
    let options =
        "-o com.docker.network.driver.mtu=1400 -o com.docker.network.bridge.name=testbr77";
    let create = format!("network create {pools} {options} lan");
    machine.rctr(&create).ok();
    let script = "ip -4 -o addr show eth0 | awk '{print $4}'; ip route | awk '/default/ {print $3}'; \
        cat /sys/class/net/eth0/mtu; cat /sys/class/net/eth0/address; ip -6 addr show eth0 | grep -c fd00:77:";
    let out = machine.rctr_sh("run --rm --network lan busybox", script);
    let lines = out.ok().lines();
    assert_eq!(lines[0], "10.77.0.128/24");
    assert_eq!(lines[1..3], ["10.77.0.254", "1400"]);
    assert_eq!(lines[3], "02:42:0a:4d:00:80");
    assert_eq!(lines[4], "1");
    machine.sh("ip link show testbr77");
    let fixed = "--ip 10.77.0.9 --ip6 fd00:77::9 --mac-address 92:d0:c6:0a:29:33 --link-local-ip 169.254.7.7";
    let run = format!("run --rm --network lan {fixed} busybox ip addr show eth0");
    let out = machine.rctr(&run);
    for part in [
        "10.77.0.9/24",
        "fd00:77::9/64",
        "92:d0:c6:0a:29:33",
        "169.254.7.7/16",
    ] {
        out.ok().stdout_has(part);
    }
    // A container that does not run keeps the address it asked for.
    machine
        .rctr("create --name fixed --network name=lan,ip=10.77.0.10 busybox")
        .ok();
    let another = || machine.rctr("run --rm --network lan --ip 10.77.0.10 busybox true");
    another().exits(125);
    machine.rctr("start -a fixed").ok();
    another().exits(125);
    machine.rctr("rm fixed").ok();
    another().ok();
    for (flags, words) in [
        (
            "--network lan --ip 10.78.0.1",
            "no configured subnet contains IP address 10.78.0.1",
        ),
        (
            "--ip 10.78.0.1",
            "user specified IP address is supported on user defined networks only",
        ),
        (
            "--network-alias x",
            "network-scoped aliases are only supported for user-defined networks",
        ),
    ] {
        let out = machine.rctr(&format!("run --rm {flags} busybox true"));
        out.refused(125, words);
    }
    machine
        .rctr("create --network-alias x busybox")
        .refused(125, "network-scoped aliases");
    machine.rctr("network rm lan").ok();
    machine.sh("! ip link show testbr77");
}

#[test]
fn options_of_a_bridge() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let options = "-o com.docker.network.bridge.host_binding_ipv4=127.0.0.1 \
        -o com.docker.network.bridge.enable_ip_masquerade=false \
        -o com.docker.network.container_iface_prefix=lan";
    let create = format!("network create {options} local");
    machine.rctr(&create).ok();
    machine
        .rctr("run -d --name web --network local -p 8080:80 healthz")
        .ok();
    serving(&machine, "web");
    machine
        .rctr("port web")
        .ok()
        .stdout_is("80/tcp -> 127.0.0.1:8080");
    assert!(machine.inside(|| healthz("127.0.0.1:8080")).is_some());
    machine
        .rctr("exec web ls /sys/class/net")
        .ok()
        .stdout_has("lan0");
    // Packets that IPv6 has no room in.
    machine
        .rctr("network create -o com.docker.network.driver.mtu=1200 small")
        .ok();
    machine
        .rctr("run --rm --network small healthz cat /sys/class/net/eth0/mtu")
        .ok()
        .stdout_is("1200");
    // Nobody out there knows the way back.
    let rules = machine.sh("nft list ruleset");
    let address = address(&machine, "web", "local");
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
fn a_network_in_use_cannot_be_removed() {
    let env = env_with("busybox");
    let machine = Machine::new(&env);
    machine.rctr("network create used").ok();
    let id = machine
        .rctr("run -d --name user --network used busybox sleep 99")
        .ok()
        .stdout();
    let words = format!(
        "network used has active endpoints (name:\"user\" id:\"{}\")",
        &id[..12]
    );
    machine.rctr("network rm used").refused(1, &words);
    machine
        .rctr("ps --format {{.Networks}}")
        .ok()
        .stdout_is("used");
    machine
        .rctr("ps -q -f network=used")
        .ok()
        .stdout_is(&id[..12]);
    machine.rctr("ps -q -f network=bridge").ok().stdout_is("");
    machine.rctr("stop -t 0 user").ok();
    // As with Docker: who does not run holds nothing, and cannot be started any more.
    machine.rctr("network rm used").ok();
    machine
        .rctr("start user")
        .refused(1, "network used not found");
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
