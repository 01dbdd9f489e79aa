//! Beside other firewalls, and after ours was lost.

use std::io::Read;
use std::net::TcpListener;

use rctr_tests::{Env, Machine, healthz, wait_for};

fn answers(machine: &Machine<'_>, port: u16) -> bool {
    let address = format!("{}:{port}", Machine::ADDRESS);
    machine.outside(|| healthz(&address).as_deref() == Some("ok\n"))
}

fn start(machine: &Machine<'_>, env: &Env, port: u16) {
    let publish = format!("{port}:80");
    machine.inside(|| env.run_detached(["-p", &publish, "healthz"]));
}

/// A container's request to the outside arrives, with the machine's address.
fn reaches_outside(machine: &Machine<'_>, env: &Env) {
    let listener = machine.outside(|| TcpListener::bind((Machine::OUTSIDE, 7777)));
    let listener = listener.expect("a free port");
    let server = std::thread::spawn(move || {
        let (mut stream, from) = listener.accept().expect("a connection");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text");
        (text, from.ip().to_string())
    });
    let target = format!("echo hello | nc -w 3 {} 7777", Machine::OUTSIDE);
    let run = machine.inside(|| env.rctr(["run", "--rm", "healthz", "sh", "-c", &target]));
    run.ok();
    let (text, from) = server.join().expect("the server ends");
    assert_eq!(
        (text.as_str(), from.as_str()),
        ("hello\n", Machine::ADDRESS)
    );
}

#[test]
fn requests_go_out_with_the_hosts_address() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "healthz"]).ok();
    let machine = Machine::new(&env);
    reaches_outside(&machine, &env);
}

#[test]
fn a_forward_policy_of_drop_stops_nothing() {
    for firewall in [
        "iptables-nft -P FORWARD DROP",
        "nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'",
    ] {
        let env = Env::new();
        env.rctr(["pull", "--quiet", "healthz"]).ok();
        let machine = Machine::new(&env);
        machine.sh(firewall);
        start(&machine, &env, 8080);
        wait_for(&format!("an answer in spite of {firewall}"), || {
            answers(&machine, 8080)
        });
        reaches_outside(&machine, &env);
    }
}

#[test]
fn a_firewall_that_was_flushed_is_made_again_by_the_next_start() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "healthz"]).ok();
    let machine = Machine::new(&env);
    start(&machine, &env, 8080);
    start(&machine, &env, 8081);
    for port in [8080, 8081] {
        wait_for("an answer", || answers(&machine, port));
    }
    machine.sh("nft delete table inet rctr");
    assert!(!answers(&machine, 8080));
    start(&machine, &env, 8082);
    for port in [8080, 8081, 8082] {
        wait_for(&format!("port {port} to answer again"), || {
            answers(&machine, port)
        });
    }
    reaches_outside(&machine, &env);
}

#[test]
fn a_firewall_that_was_flushed_is_made_again_by_any_command_that_sees_a_running_container() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "healthz"]).ok();
    let machine = Machine::new(&env);
    for port in [8080, 8081] {
        start(&machine, &env, port);
        wait_for("an answer", || answers(&machine, port));
    }
    let id = machine
        .inside(|| env.rctr(["ps", "--quiet", "--latest"]))
        .stdout();
    let reload = "nft add table ip filter; \
        nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'";
    for (command, firewall) in [
        (&["ps"][..], "true"),
        (&["exec", &id, "true"], "true"),
        (&["inspect", &id], "true"),
        // A reload that brings rules of its own.
        (&["ps", "--quiet"], reload),
    ] {
        machine.sh("nft flush ruleset");
        machine.sh(firewall);
        assert!(!answers(&machine, 8080));
        machine.inside(|| env.rctr(command)).ok().quiet();
        for port in [8080, 8081] {
            assert!(answers(&machine, port), "port {port} after {command:?}");
        }
    }
    reaches_outside(&machine, &env);
}

#[test]
fn two_rctrs_side_by_side_do_not_disturb_each_other() {
    let (one, two) = (Env::new(), Env::new());
    for env in [&one, &two] {
        env.rctr(["pull", "--quiet", "healthz"]).ok();
    }
    let machine = Machine::new(&one);
    start(&machine, &one, 8080);
    let id = machine.inside(|| two.run_detached(["-p", "8081:80", "healthz"]));
    for port in [8080, 8081] {
        wait_for("an answer", || answers(&machine, port));
    }
    machine
        .inside(|| two.rctr(["run", "--rm", "-p", "8080:80", "healthz", "true"]))
        .refused(125, "8080");
    let names = machine.inside(|| one.rctr(["ps", "--quiet", "--no-trunc"]));
    assert!(!names.ok().stdout().contains(&id));
    machine.inside(|| two.rctr(["rm", "--force", &id])).ok();
    wait_for("8081 to be gone", || !answers(&machine, 8081));
    assert!(answers(&machine, 8080));
}
