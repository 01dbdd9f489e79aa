//! Published ports: from where they answer, and that they are gone when they should be.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use rctr_tests::{Env, Machine, healthz, wait_for};

const OK: &str = "ok\n";

fn env_with(image: &str) -> Env {
    let env = Env::new();
    env.rctr(["pull", "--quiet", image]).ok();
    env
}

/// Starts a web server on the machine and waits until it answers on the machine itself.
fn serve(machine: &Machine<'_>, env: &Env, flags: &[&str], address: &str) -> String {
    machine.inside(|| {
        let id = env.run_detached(flags.iter().chain(&["healthz"]));
        wait_for(&format!("{address} to answer"), || {
            healthz(address).is_some()
        });
        id
    })
}

/// Whether the firewall knows a published port.
fn published(machine: &Machine<'_>, port: u16) -> bool {
    machine
        .sh("nft list ruleset")
        .contains(&format!(" {port} :"))
}

#[test]
fn a_port_answers_on_every_address_and_from_everywhere() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let id = serve(&machine, &env, &["-p", "8080:80"], "127.0.0.1:8080");
    let gateway = env.slot().subnet().hosts().next().expect("a host");
    let own = [Machine::ADDRESS.to_owned(), gateway.to_string()];
    for address in &own {
        let url = format!("{address}:8080");
        assert_eq!(
            machine.inside(|| healthz(&url)).as_deref(),
            Some(OK),
            "{url} from the machine"
        );
        // From another container, and from the one that serves.
        let url = format!("http://{address}:8080/healthz");
        let other = machine.inside(|| env.rctr(["run", "--rm", "healthz", "wget", "-qO-", &url]));
        other.ok().stdout_is("ok");
        let same = machine.inside(|| env.rctr(["exec", &id, "wget", "-qO-", &url]));
        same.ok().stdout_is("ok");
    }
    let url = format!("{}:8080", Machine::ADDRESS);
    assert_eq!(
        machine.outside(|| healthz(&url)).as_deref(),
        Some(OK),
        "from outside"
    );
    if rctr_network::kernel_has_ipv6() {
        let url = format!("[{}]:8080", Machine::ADDRESS_V6);
        assert_eq!(
            machine.outside(|| healthz(&url)).as_deref(),
            Some(OK),
            "{url} from outside"
        );
        assert_eq!(
            machine.inside(|| healthz(&url)).as_deref(),
            Some(OK),
            "{url} from the machine"
        );
    }
}

#[test]
fn what_is_not_published_cannot_be_reached_from_outside() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let id = machine.inside(|| env.run_detached(["healthz"]));
    let address = env.inspect(&id)["NetworkSettings"]["IPAddress"].take();
    let url = format!("{}:80", address.as_str().expect("an address"));
    machine.inside(|| wait_for("the server to answer", || healthz(&url).is_some()));
    assert_eq!(machine.outside(|| healthz(&url)), None);
}

#[test]
fn a_port_bound_to_an_address_answers_there_only() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let wan = format!("{}:8081:80", Machine::ADDRESS);
    let flags = ["-p", "127.0.0.1:8080:80", "-p", &wan];
    let id = serve(&machine, &env, &flags, "127.0.0.1:8080");
    let [loopback, outer] = [8080, 8081].map(|port| format!("{}:{port}", Machine::ADDRESS));
    assert_eq!(machine.inside(|| healthz(&loopback)), None);
    assert_eq!(machine.outside(|| healthz(&loopback)), None);
    assert_eq!(machine.outside(|| healthz(&outer)).as_deref(), Some(OK));
    assert_eq!(machine.inside(|| healthz("127.0.0.1:8081")), None);
    let ports = env.rctr(["ps", "--format", "{{.Ports}}"]);
    ports
        .ok()
        .stdout_has("127.0.0.1:8080->80/tcp")
        .stdout_has(&format!("{}:8081->80/tcp", Machine::ADDRESS));
    machine.inside(|| env.rctr(["rm", "--force", &id])).ok();
}

#[test]
fn udp_and_ranges() {
    let env = env_with("python");
    let machine = Machine::new(&env);
    let flags = ["-p", "7000-7002:7000-7002/udp", "-p", "9000-9002:9000-9002"];
    let serve = "import os, socket, threading\n\
        servers = [socket.create_server(('', p)) for p in range(9000, 9003)]\n\
        def echo(p):\n\
        \x20   s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', p))\n\
        \x20   while True: s.sendto(*s.recvfrom(99))\n\
        for p in range(7000, 7003): threading.Thread(target=echo, args=(p,)).start()";
    machine.inside(|| env.run_detached(flags.iter().chain(&["python", "python3", "-c", serve])));
    machine.outside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a time-out");
        for port in 7000..7003 {
            wait_for(&format!("an answer from udp port {port}"), || {
                let sent = socket.send_to(b"ping", (Machine::ADDRESS, port));
                let mut answer = [0; 16];
                sent.is_ok()
                    && socket
                        .recv_from(&mut answer)
                        .is_ok_and(|(n, from)| n == 4 && from.port() == port)
            });
        }
        for port in 9000..9003 {
            wait_for(&format!("tcp port {port}"), || {
                std::net::TcpStream::connect((Machine::ADDRESS, port)).is_ok()
            });
        }
    });
    let ports = env.rctr(["ps", "--format", "{{.Ports}}"]);
    ports
        .ok()
        .stdout_has("0.0.0.0:9000-9002->9000-9002/tcp")
        .stdout_has("0.0.0.0:7000-7002->7000-7002/udp");
}

#[test]
fn ports_of_the_hosts_choice_differ() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let ports: Vec<u16> = [
        &["-p", "80"][..],
        &["-P"],
        &["-p", "127.0.0.1::80"],
        &["-p", "9100-9110:80"],
    ]
    .iter()
    .map(|flags| {
        let id = machine.inside(|| env.run_detached(flags.iter().chain(&["healthz"])));
        let ports = env.inspect(&id)["NetworkSettings"]["Ports"]["80/tcp"].take();
        ports[0]["HostPort"]
            .as_str()
            .and_then(|port| port.parse().ok())
            .expect("a port")
    })
    .collect();
    assert!((9100..=9110).contains(&ports[3]), "{ports:?}");
    for port in &ports {
        let address = format!("127.0.0.1:{port}");
        machine.inside(|| wait_for(&address, || healthz(&address).is_some()));
    }
    let mut different = ports.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), ports.len(), "{ports:?}");
}

#[test]
fn an_exposed_port_is_published_when_all_are() {
    let env = env_with("busybox");
    let machine = Machine::new(&env);
    let serve = "busybox sh -c";
    let expose = "run -d --expose 8000 --expose 9000-9001/udp";
    let script = "echo here > /index.html; httpd -f -p 8000 -h /";
    let words = |line: &str| -> Vec<String> {
        let all = line.split(' ').chain(serve.split(' ')).chain([script]);
        all.map(str::to_owned).collect()
    };
    for flags in ["-P --name all", "--name none"] {
        let run = words(&format!("{expose} {flags}"));
        machine.inside(|| env.rctr(run)).ok();
    }
    let ports = env.inspect("all")["NetworkSettings"]["Ports"].take();
    let names: Vec<&String> = ports.as_object().expect("ports").keys().collect();
    assert_eq!(names, ["8000/tcp", "9000/udp", "9001/udp"]);
    let port = ports["8000/tcp"][0]["HostPort"].as_str().expect("a port");
    let get = format!("curl -fsS http://127.0.0.1:{port}/");
    wait_for("the page", || {
        machine.sh(&format!("{get} 2>/dev/null || true")) == "here\n"
    });
    // Without that it is known, and closed.
    let ports = env.inspect("none")["NetworkSettings"]["Ports"].take();
    assert_eq!(ports["8000/tcp"], serde_json::Value::Null);
    assert_eq!(
        env.inspect("none")["Config"]["ExposedPorts"]["8000/tcp"],
        serde_json::json!({})
    );
    let listed = ["ps", "-f", "name=none", "--format", "{{.Ports}}"];
    env.rctr(listed).ok().stdout_is("8000/tcp, 9000-9001/udp");
    let names = |filter: &str| {
        let mut names = env
            .rctr(["ps", "-f", filter, "--format", "{{.Names}}"])
            .ok()
            .lines();
        names.sort();
        names
    };
    assert_eq!(names("expose=8000"), ["all", "none"]);
    assert_eq!(names("publish=8000/tcp"), [""; 0]);
    assert_eq!(names(&format!("publish={port}")), ["all"]);
    env.rctr(["run", "--rm", "--expose", "x", "busybox", "true"])
        .exits(125)
        .stderr_has("x");
}

#[test]
fn a_taken_port_is_named_and_leaves_a_created_container_only() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let holder = machine
        .inside(|| TcpListener::bind("0.0.0.0:8080"))
        .expect("a free port");
    let taken = |name: &str, publish: &str| {
        let run =
            machine.inside(|| env.rctr(["run", "-d", "--name", name, "-p", publish, "healthz"]));
        run.refused(125, "port 0.0.0.0:8080/tcp is already in use")
            .stderr_has("hint: ");
        let state = env.inspect(name)["State"].take();
        assert_eq!(state["Status"], "created", "{state}");
        assert!(
            state["Error"]
                .as_str()
                .is_some_and(|text| text.contains("8080")),
            "{state}"
        );
    };
    taken("byprocess", "8080:80");
    // Of several ports none is published when one is taken.
    let run =
        machine.inside(|| env.rctr(["run", "-d", "--rm", "-p", "8079-8081:79-81", "healthz"]));
    run.refused(125, "8080");
    assert!(!published(&machine, 8079) && !published(&machine, 8081));
    drop(holder);
    let id = serve(&machine, &env, &["-p", "8080:80"], "127.0.0.1:8080");
    taken("bycontainer", "8080:80");
    assert_eq!(
        machine.inside(|| healthz("127.0.0.1:8080")).as_deref(),
        Some(OK),
        "the first is not disturbed"
    );
    machine
        .inside(|| env.rctr(["rm", "--force", &id, "byprocess"]))
        .ok();
    // The one that was refused can be started now.
    machine.inside(|| env.rctr(["start", "bycontainer"])).ok();
    machine.inside(|| wait_for("the port", || healthz("127.0.0.1:8080").is_some()));
}

#[test]
fn ports_and_addresses_are_given_back_however_a_container_ends() {
    let env = env_with("healthz");
    let machine = Machine::new(&env);
    let gone = |how: &str| {
        wait_for(&format!("port 8080 to be gone after {how}"), || {
            !published(&machine, 8080)
        });
        assert_eq!(
            machine.inside(|| healthz("127.0.0.1:8080")),
            None,
            "after {how}"
        );
    };
    for how in ["stop", "kill", "rm --force", "kill -9"] {
        let id = serve(&machine, &env, &["-p", "8080:80"], "127.0.0.1:8080");
        assert!(published(&machine, 8080));
        match how {
            "kill -9" => {
                let pid = env.inspect(&id)["State"]["Pid"].as_i64().expect("a pid");
                machine.sh(&format!("kill -9 {pid}"));
            }
            _ => drop(
                machine
                    .inside(|| env.rctr(how.split(' ').chain([id.as_str()])))
                    .ok(),
            ),
        }
        gone(how);
        machine.inside(|| env.rctr(["rm", "--force", &id])).ok();
    }
}

#[test]
fn addresses_are_given_back_and_their_end_is_told() {
    let env = env_with("busybox");
    let machine = Machine::new(&env);
    let text = std::fs::read_to_string(env.config_file()).expect("the configuration");
    std::fs::write(env.config_file(), text.replace(".0/24\"", ".0/29\""))
        .expect("the configuration");
    let run = || machine.inside(|| env.rctr(["run", "-d", "busybox", "sleep", "1000"]));
    let ids: Vec<_> = (0..5).map(|_| run().ok().stdout()).collect();
    let refused = run();
    refused.exits(125).one_error("/29");
    machine.inside(|| env.rctr(["rm", "--force", &ids[2]])).ok();
    run().ok();
    for _ in 0..3 {
        machine.inside(|| env.rctr(["rm", "--force", "--", &ids[0]]));
        machine
            .inside(|| env.rctr(["run", "--rm", "busybox", "true"]))
            .ok();
    }
}
