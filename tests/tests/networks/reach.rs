//! Who reaches whom.

use rctr_tests::{Machine, healthz, wait_for};

use crate::{address, env_with, fetch, serving};

#[test]
fn networks_are_apart_but_for_published_ports() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    for name in ["one", "two"] {
        machine.rctr(&format!("network create {name}")).ok();
        machine
            .rctr(&format!(
                "run -d --name web-{name} --network {name} healthz"
            ))
            .ok();
    }
    machine
        .rctr("run -d --name near --network one healthz")
        .ok();
    machine
        .rctr("run -d --name default -p 8081:80 healthz")
        .ok();
    for name in ["web-one", "web-two", "near", "default"] {
        serving(&machine, name);
    }
    let one = format!("http://{}/healthz", address(&machine, "web-one", "one"));
    let two = format!("http://{}/healthz", address(&machine, "web-two", "two"));
    let third = format!("http://{}/healthz", address(&machine, "default", "bridge"));
    assert!(fetch(&machine, "near", &one), "a neighbour is out of reach");
    for (from, url) in [
        ("web-one", &two),
        ("web-two", &one),
        ("near", &third),
        ("default", &one),
    ] {
        assert!(!fetch(&machine, from, url), "{from} reaches {url}");
    }
    // What the world may reach, others may reach by the same way.
    let published = format!("http://{}:8081/healthz", Machine::ADDRESS);
    for from in ["web-one", "web-two", "default"] {
        assert!(
            fetch(&machine, from, &published),
            "{from} does not reach {published}"
        );
    }
    // From outside only what is published, also of a user's network.
    machine
        .rctr("run -d --name open --network two -p 8082:80 healthz")
        .ok();
    wait_for("a published port of a user's network", || {
        machine.open(8082)
    });
    machine
        .rctr("port open")
        .ok()
        .stdout_has("80/tcp -> 0.0.0.0:8082");
}

#[test]
fn an_internal_network_leads_nowhere() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    machine.rctr("network create --internal cellar").ok();
    machine
        .rctr("run -d --name ca --network cellar -p 8080:80 healthz")
        .ok();
    machine
        .rctr("run -d --name cb --network cellar healthz")
        .ok();
    serving(&machine, "ca");
    serving(&machine, "cb");
    let a = address(&machine, "ca", "cellar");
    assert!(fetch(&machine, "cb", &format!("http://{a}/healthz")));
    assert!(
        fetch(&machine, "cb", "http://ca/healthz"),
        "names are known"
    );
    machine
        .rctr("exec ca ip route")
        .ok()
        .stdout_lacks("default");
    let around = format!(
        "ip route add default via {} && timeout 2 wget -qO- http://{}:9/",
        a.rsplit_once('.')
            .map(|(n, _)| format!("{n}.1"))
            .expect("an address"),
        Machine::OUTSIDE
    );
    machine.rctr_sh("exec --privileged cb", &around);
    let url = format!("{}:8080", Machine::ADDRESS);
    assert_eq!(
        machine.outside(|| healthz(&url)),
        None,
        "an internal port is published"
    );
    machine.rctr("port ca").ok().stdout_is("");
    let json = machine.rctr("network inspect cellar").ok().json()[0].take();
    assert_eq!(json["Internal"], true);
    assert_eq!(json["Containers"].as_object().expect("containers").len(), 2);
}

#[test]
fn neighbours_can_be_kept_apart() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    machine
        .rctr("network create -o com.docker.network.bridge.enable_icc=false quiet")
        .ok();
    machine
        .rctr("run -d --name ca --network quiet -p 8080:80 healthz")
        .ok();
    machine
        .rctr("run -d --name cb --network quiet healthz")
        .ok();
    serving(&machine, "ca");
    serving(&machine, "cb");
    assert!(
        !fetch(&machine, "cb", "http://ca/healthz"),
        "neighbours reach each other"
    );
    // Where the bridge shows its frames to the firewall, they are turned round on the bridge, which keeps them apart.
    let shown =
        machine.sh("cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || echo 0");
    let published = format!("http://{}:8080/healthz", Machine::ADDRESS);
    assert!(
        shown.trim() != "0" || fetch(&machine, "cb", &published),
        "a published port is closed to a neighbour"
    );
}

#[test]
fn the_firewall_is_mended_for_all_networks() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    for (name, port) in [("one", "8081:80"), ("two", "8082:80")] {
        machine.rctr(&format!("network create {name}")).ok();
        machine
            .rctr(&format!(
                "run -d --name {name} --network {name} -p {port} healthz"
            ))
            .ok();
    }
    machine.rctr("run -d --name three -p 8083:80 healthz").ok();
    for port in [8081, 8082, 8083] {
        wait_for(&format!("port {port}"), || machine.open(port));
    }
    machine.sh("nft flush ruleset");
    for port in [8081, 8082, 8083] {
        assert!(!machine.open(port), "port {port} is open without rules");
    }
    machine.rctr("ps").ok();
    for port in [8081, 8082, 8083] {
        assert!(machine.open(port), "port {port} stays closed");
    }
    let two = format!("http://{}/healthz", address(&machine, "two", "two"));
    assert!(
        !fetch(&machine, "one", &two),
        "networks are not apart any more"
    );
    machine.rctr("stop -t 0 one two three").ok();
    machine.rctr("network prune --force").ok().stdout_is("");
    machine.rctr("rm one two three").ok();
    machine
        .rctr("network prune --force")
        .ok()
        .stdout_is("Deleted Networks:\none\ntwo\n");
    machine.rctr("internal network-remove").ok();
    machine.sh("! nft list table inet rctr && ! ip -o link | grep -q br-");
}
