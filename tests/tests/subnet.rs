//! The default bridge's subnet: chosen beside what is there already, and the same from then on.

use std::fs;
use std::net::Ipv4Addr;

use rctr_tests::{Env, Machine};

/// An rctr whose configuration says `subnet`, or nothing of it.
fn env_with(subnet: Option<&str>) -> Env {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let text = fs::read_to_string(env.config_file()).expect("the configuration");
    let others = text.lines().filter(|line| !line.starts_with("subnet = "));
    let mut text: String = others.map(|line| format!("{line}\n")).collect();
    if let Some(subnet) = subnet {
        text = text.replace(
            "[network]\n",
            &format!("[network]\nsubnet = \"{subnet}\"\n"),
        );
    }
    fs::write(env.config_file(), text).expect("the configuration");
    env
}

/// Gives the machine an interface with an address, as podman's bridge or a VPN's tunnel would.
fn take(machine: &Machine<'_>, name: &str, address: &str) {
    machine.sh(&format!(
        "ip link add {name} type bridge && ip addr add {address} dev {name} && ip link set {name} up"
    ));
}

/// The first two numbers of a new container's address, which its gateway shares.
fn network_of_new_container(machine: &Machine<'_>, env: &Env) -> [u8; 2] {
    let script =
        "ip -4 -o addr show eth0 | awk '{print $4}'; ip route | awk '/default/ {print $3}'";
    let out = machine.inside(|| env.sh(&[], script));
    let lines = out.ok().lines();
    let parse = |text: &str| text.parse::<Ipv4Addr>().expect("an address").octets();
    let (address, prefix) = lines[0].split_once('/').expect("address/prefix");
    assert_eq!(prefix, "16");
    let (own, gateway) = (parse(address), parse(&lines[1]));
    assert_eq!(own[..2], gateway[..2]);
    machine
        .inside(|| env.sh(&[], &format!("ping -c 1 -W 3 {}", lines[1])))
        .ok();
    [own[0], own[1]]
}

#[test]
fn what_is_taken_is_passed_over_and_the_choice_stays() {
    let env = env_with(None);
    let machine = Machine::new(&env);
    take(&machine, "podman0", "10.88.0.1/16");
    take(&machine, "vpn0", "10.89.7.1/24");
    assert_eq!(network_of_new_container(&machine, &env), [10, 90]);
    // Even when what was in the way is gone, and the bridge has been made anew.
    machine.sh("ip link del podman0");
    assert_eq!(network_of_new_container(&machine, &env), [10, 90]);
    machine
        .inside(|| env.rctr(["internal", "network-remove"]))
        .ok();
    assert_eq!(network_of_new_container(&machine, &env), [10, 90]);
    // Somebody else takes it while the bridge is away: after a reboot, say.
    machine
        .inside(|| env.rctr(["internal", "network-remove"]))
        .ok();
    take(&machine, "other0", "10.90.0.1/16");
    assert_eq!(network_of_new_container(&machine, &env), [10, 88]);
    machine.sh("ip link del other0");
    assert_eq!(network_of_new_container(&machine, &env), [10, 88]);
    machine
        .inside(|| env.rctr(["internal", "network-remove"]))
        .ok();
}

#[test]
fn the_usual_one_where_nothing_is_in_the_way_and_another_range_behind_a_vpn() {
    let env = env_with(None);
    let machine = Machine::new(&env);
    assert_eq!(network_of_new_container(&machine, &env), [10, 88]);
    machine
        .inside(|| env.rctr(["internal", "network-remove"]))
        .ok();
    let env = env_with(None);
    let machine = Machine::new(&env);
    machine.sh("ip route add 10.0.0.0/8 via 198.18.0.2");
    assert_eq!(network_of_new_container(&machine, &env), [172, 16]);
}

#[test]
fn a_configured_one_that_is_taken_is_an_error_that_names_who_has_it() {
    let env = env_with(Some("10.88.0.0/16"));
    let machine = Machine::new(&env);
    take(&machine, "podman0", "10.88.0.1/16");
    let run = machine.inside(|| env.rctr(["run", "--rm", "busybox", "true"]));
    run.refused(125, "10.88.0.0/16")
        .one_error("podman0")
        .one_error("[network]");
    // Its program was not run before that came out, and nothing of it is in the way of another.
    let seen = env.config_file().with_file_name("seen");
    let mount = format!("{}:/seen", seen.display());
    let words = [
        "run", "--name", "late", "-v", &mount, "busybox", "touch", "/seen/it",
    ];
    machine
        .inside(|| env.rctr(words))
        .refused(125, "10.88.0.0/16");
    assert!(!seen.join("it").exists());
    assert_eq!(env.inspect("late")["State"]["Status"], "created");
    machine.sh("ip link del podman0");
    machine.inside(|| env.rctr(["start", "-a", "late"])).ok();
    assert!(seen.join("it").exists());
    env.rctr(["rm", "late"]).ok();
    machine
        .inside(|| env.rctr(["internal", "network-remove"]))
        .ok();
}
