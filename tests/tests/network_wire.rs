//! macvlan and ipvlan: containers on the wire of an interface of the host.

use std::process::Command;

use rctr_tests::{Env, Machine};

fn env_with_busybox() -> Env {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    env
}

/// Whether the kernel can make such an interface.
fn kernel_has(machine: &Machine<'_>, line: &str) -> bool {
    let words = ["link", "add"].into_iter().chain(line.split(' '));
    let made = machine.inside(|| Command::new("ip").args(words).output());
    let made = made.is_ok_and(|out| out.status.success());
    match made {
        true => drop(machine.sh("ip link del try0")),
        false => println!("this kernel has no {line}: not tried"),
    }
    made
}

#[test]
fn macvlan_and_ipvlan_are_on_the_wire_of_their_parent() {
    let env = env_with_busybox();
    let machine = Machine::new(&env);
    machine.sh("ip link add wire7 type veth peer name wire8 && ip link set wire7 up && ip link set wire8 up && ip addr add 10.66.0.1/24 dev wire8");
    for driver in ["macvlan", "ipvlan"] {
        if !kernel_has(&machine, &format!("link wire7 name try0 type {driver}")) {
            continue;
        }
        let pool = "--subnet 10.66.0.0/24 --gateway 10.66.0.1 --ip-range 10.66.0.64/27";
        let create = format!("network create -d {driver} {pool} -o parent=wire7 wire");
        machine.rctr(&create).ok();
        let script = "ping -c 1 -W 5 10.66.0.1 >/dev/null && ip route | awk '/default/ {print $3}' && cat /sys/class/net/eth0/address";
        let out = machine.rctr_sh("run --rm --network wire busybox", script);
        let lines = out.ok().lines();
        assert_eq!(lines[0], "10.66.0.1", "{driver}");
        let own = lines[1].starts_with("02:42:0a:42:00");
        assert_eq!(own, driver == "macvlan", "{driver}: {}", lines[1]);
        machine
            .rctr("run -d --name first --network wire busybox sleep 99")
            .ok();
        machine
            .rctr("run --rm --network wire busybox ping -c 1 -W 5 first")
            .ok();
        machine.rctr("rm -f first").ok();
        machine.rctr("network rm wire").ok();
        machine.sh("ip link show wire7");
    }
}

#[test]
fn a_macvlan_has_the_mode_that_was_asked_for() {
    let env = env_with_busybox();
    let machine = Machine::new(&env);
    machine.sh("ip link add wire7 type veth peer name wire8 && ip link set wire7 up");
    for (driver, mode) in [
        ("macvlan", "bridge"),
        ("macvlan", "private"),
        ("macvlan", "vepa"),
        ("macvlan", "passthru"),
        ("ipvlan", "l2"),
        ("ipvlan", "l3"),
        ("ipvlan", "l3s"),
    ] {
        if !kernel_has(&machine, &format!("link wire7 name try0 type {driver}")) {
            continue;
        }
        let option = format!("-o {driver}_mode={mode} -o parent=wire7");
        let create = format!("network create -d {driver} {option} --subnet 10.69.0.0/24 moded");
        machine.rctr(&create).ok();
        machine
            .rctr("run -d --name one --network moded busybox sleep 99")
            .ok();
        let pid = env.inspect("one")["State"]["Pid"].to_string();
        let link = machine.sh(&format!("nsenter -t {pid} -n ip -d link show eth0"));
        let words = match mode {
            "l2" | "l3" | "l3s" => format!("ipvlan  mode {mode}"),
            mode => format!("macvlan mode {mode}"),
        };
        assert!(link.contains(&words), "{words}: {link}");
        machine.rctr("rm -f one").ok();
        machine.rctr("network rm moded").ok();
    }
    machine
        .rctr("network create -d macvlan -o macvlan_mode=l2 -o parent=wire7 moded")
        .refused(1, "macvlan_mode");
}

#[test]
fn a_vlan_is_made_for_its_networks_and_goes_with_the_last() {
    let env = env_with_busybox();
    let machine = Machine::new(&env);
    machine.sh("ip link add wire7 type veth peer name wire8 && ip link set wire7 up && ip link set wire8 up");
    if !kernel_has(&machine, "link wire7 name try0 type vlan id 9") {
        return;
    }
    machine
        .rctr("network create -d macvlan --subnet 10.67.0.0/24 -o parent=wire7.10 tagged")
        .ok();
    machine
        .rctr("network create -d macvlan --subnet 10.68.0.0/24 -o parent=wire7.10 other")
        .ok();
    let tagged = machine.sh("ip -d link show wire7.10");
    assert!(tagged.contains("vlan protocol 802.1Q id 10"), "{tagged}");
    machine.sh("ip link add link wire8 name wire8.10 type vlan id 10 && ip link set wire8.10 up && ip addr add 10.67.0.99/24 dev wire8.10");
    machine
        .rctr("run --rm --network tagged busybox ping -c 1 -W 5 10.67.0.99")
        .ok();
    machine.rctr("network rm tagged").ok();
    machine.sh("ip link show wire7.10");
    machine.rctr("network rm other").ok();
    machine.sh("! ip link show wire7.10");
}

#[test]
fn a_macvlan_without_a_parent_leads_nowhere() {
    let env = env_with_busybox();
    let machine = Machine::new(&env);
    if !kernel_has(&machine, "try0 type dummy") {
        return;
    }
    machine.rctr("network create -d macvlan alone").ok();
    machine
        .rctr("run -d --name first --network alone busybox sleep 99")
        .ok();
    machine
        .rctr("run --rm --network alone busybox ping -c 1 -W 5 first")
        .ok();
    machine.rctr("rm -f first").ok();
    machine.rctr("network rm alone").ok();
    machine.sh("! ip -o link | grep -q dm-");
}
