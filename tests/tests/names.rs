//! Names of containers on users' networks, and whom they ask for others.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, Machine, processes_naming, unseen, wait_for};

fn env_with(image: &str) -> Env {
    let env = Env::new();
    env.rctr(["pull", "--quiet", image]).ok();
    env
}

/// A network with a subnet of this test's own.
fn network(env: &Env, second: u8, name: &str) {
    let [first, _, third, last] = env.slot().subnet().network().octets();
    let subnet = format!("{first}.{second}.{third}.{last}/24");
    env.rctr(["network", "create", "--subnet", &subnet, name])
        .ok();
}

/// The address that a container gets for a name, if there is one.
fn resolved(env: &Env, from: &str, name: &str) -> Option<String> {
    let out = env.rctr(["exec", from, "nslookup", "-type=a", name]);
    let text = out.stdout();
    let answer = text.rsplit_once("Name:")?.1;
    let address = answer
        .lines()
        .find_map(|line| line.trim().strip_prefix("Address: "));
    address.map(str::to_owned)
}

fn address(env: &Env, container: &str, network: &str) -> String {
    let networks = env.inspect(container)["NetworkSettings"]["Networks"].take();
    networks[network]["IPAddress"]
        .as_str()
        .expect("an address")
        .to_owned()
}

/// The processes that serve names for this rctr: the server, and its guard.
fn servers(env: &Env) -> Vec<(i32, String)> {
    let mut found = processes_naming(&env.root().to_string_lossy());
    found.retain(|(_, line)| line.contains("internal dns"));
    found
}

#[test]
fn names_aliases_and_ids_resolve_on_shared_networks_only() {
    let env = env_with("busybox");
    network(&env, 215, "front");
    network(&env, 216, "back");
    env.run_detached([
        "--name",
        "both",
        "--network",
        "front",
        "--network",
        "name=back,alias=middle",
        "busybox",
        "sleep",
        "99",
    ]);
    let db = env.run_detached([
        "--name",
        "db",
        "--hostname",
        "database",
        "--network",
        "back",
        "--network-alias",
        "sql",
        "busybox",
        "sleep",
        "99",
    ]);
    env.run_detached([
        "--name",
        "web",
        "--network",
        "front",
        "busybox",
        "sleep",
        "99",
    ]);
    env.run_detached(["--name", "plain", "busybox", "sleep", "99"]);
    let back = address(&env, "db", "back");
    for name in ["db", "DB", "sql", &db[..12], "database", "db.back"] {
        assert_eq!(
            resolved(&env, "both", name).as_deref(),
            Some(back.as_str()),
            "{name}"
        );
    }
    assert_eq!(
        resolved(&env, "db", "middle"),
        Some(address(&env, "both", "back"))
    );
    assert_eq!(
        resolved(&env, "web", "both"),
        Some(address(&env, "both", "front"))
    );
    for (from, name) in [
        ("web", "db"),
        ("web", "middle"),
        ("db", "web"),
        ("plain", "both"),
    ] {
        assert_eq!(resolved(&env, from, name), None, "{from} knows {name}");
    }
    // The C library, and back from address to name.
    env.rctr(["exec", "web", "ping", "-c", "1", "-W", "5", "both"])
        .ok();
    let reverse = env.rctr(["exec", "both", "nslookup", &back]);
    reverse.ok().stdout_has("db.back");
    let resolv = env.rctr(["exec", "web", "cat", "/etc/resolv.conf"]);
    resolv
        .ok()
        .stdout_has("nameserver 127.0.0.11")
        .stdout_has("ndots:0");
    let plain = env.rctr(["exec", "plain", "cat", "/etc/resolv.conf"]);
    plain.ok().stdout_lacks("127.0.0.11");
    // At once gone, at once back.
    env.rctr(["stop", "-t", "0", "db"]).ok();
    assert_eq!(resolved(&env, "both", "db"), None);
    env.rctr(["start", "db"]).ok();
    assert_eq!(
        resolved(&env, "both", "db"),
        Some(address(&env, "db", "back"))
    );
    let names = env.inspect("db")["NetworkSettings"]["Networks"]["back"]["DNSNames"].take();
    assert_eq!(
        names,
        serde_json::json!(["db", "sql", &db[..12], "database"])
    );
}

#[test]
fn a_container_that_is_renamed_answers_to_its_new_name_alone() {
    let env = env_with("busybox");
    network(&env, 215, "net");
    for name in ["old", "asks"] {
        let words = ["--name", name, "--network", "net", "busybox", "sleep", "99"];
        env.run_detached(words);
    }
    let address = address(&env, "old", "net");
    assert_eq!(resolved(&env, "asks", "old").as_deref(), Some(&*address));
    env.rctr(["rename", "old", "new"]).ok();
    assert_eq!(resolved(&env, "asks", "new").as_deref(), Some(&*address));
    assert_eq!(resolved(&env, "asks", "old"), None);
    let reverse = env.rctr(["exec", "asks", "nslookup", &address]);
    reverse.ok().stdout_has("new.net");
}

#[test]
fn the_c_library_takes_it() {
    let env = env_with("debian");
    network(&env, 215, "net");
    let sleep = [
        "--name",
        "target",
        "--network",
        "net",
        "debian",
        "sleep",
        "99",
    ];
    env.run_detached(sleep);
    let ask = [
        "run",
        "--rm",
        "--network",
        "net",
        "debian",
        "getent",
        "hosts",
        "target",
    ];
    env.rctr(ask)
        .ok()
        .stdout_has(&address(&env, "target", "net"));
}

#[test]
fn the_rest_is_asked_of_the_containers_own_servers() {
    let env = env_with("busybox");
    let machine = Machine::new(&env);
    let rctr = |words: &[&str]| machine.inside(|| env.rctr(words));
    rctr(&["network", "create", "n"]).ok();
    // Nobody answers there: a name of a container is found all the same, and others fail in time.
    rctr(&[
        "run",
        "-d",
        "--name",
        "ca",
        "--network",
        "n",
        "--dns",
        "127.0.0.1",
        "--dns-search",
        "example.com",
        "--dns-option",
        "attempts:1",
        "busybox",
        "sleep",
        "99",
    ])
    .ok();
    rctr(&[
        "run",
        "-d",
        "--name",
        "cb",
        "--network",
        "n",
        "busybox",
        "sleep",
        "99",
    ])
    .ok();
    rctr(&["exec", "ca", "ping", "-c", "1", "-W", "5", "cb"]).ok();
    let resolv = rctr(&["exec", "ca", "cat", "/etc/resolv.conf"]);
    resolv
        .ok()
        .stdout_is("nameserver 127.0.0.11\nsearch example.com\noptions attempts:1 ndots:0");
    rctr(&["exec", "ca", "nslookup", "example.com"]).exits(1);
}

#[test]
fn one_small_process_serves_all_and_ends_with_the_last() {
    let env = env_with("busybox");
    assert!(servers(&env).is_empty());
    network(&env, 215, "n");
    for name in ["ca", "cb", "cc"] {
        env.run_detached(["--name", name, "--network", "n", "busybox", "sleep", "99"]);
    }
    wait_for("a server and its guard", || servers(&env).len() == 2);
    let memory: u64 = servers(&env).iter().map(|(pid, _)| pss(*pid)).sum();
    println!("server and guard: {memory} KiB");
    env.rctr(["rm", "-f", "ca", "cb", "cc"]).ok();
    wait_for("the server to end", || servers(&env).is_empty());
    assert!(!env.state().join("dns.sock").exists());
}

#[test]
fn a_killed_server_or_guard_comes_back_and_without_both_the_next_command_mends_it() {
    let env = env_with("busybox");
    network(&env, 215, "n");
    env.run_detached(["--name", "ca", "--network", "n", "busybox", "sleep", "99"]);
    env.run_detached(["--name", "cb", "--network", "n", "busybox", "sleep", "99"]);
    let is_guard = |line: &str| line.contains("--guard");
    for guard in [false, true] {
        wait_for("both", || servers(&env).len() == 2);
        let (victim, _) = servers(&env)
            .into_iter()
            .find(|(_, line)| is_guard(line) == guard)
            .expect("one of both");
        // Each must have lived a moment: what ends at once is not started for ever.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        kill(Pid::from_raw(victim), Signal::SIGKILL).expect("it can be killed");
        wait_for("both again", || {
            let now = servers(&env);
            now.len() == 2 && now.iter().all(|(pid, _)| *pid != victim)
        });
        wait_for("names again", || resolved(&env, "ca", "cb").is_some());
    }
    let all = servers(&env);
    for (pid, _) in &all {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGSTOP);
    }
    for (pid, _) in &all {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    wait_for("nobody", || servers(&env).is_empty());
    env.rctr(["ps"]).ok();
    assert_eq!(resolved(&env, "ca", "cb"), Some(address(&env, "cb", "n")));
    assert_eq!(resolved(&env, "cb", "ca"), Some(address(&env, "ca", "n")));
}

/// Where nobody else sees it: an /etc that can be written to.
fn own_etc(env: &Env) {
    let [upper, work] = ["etc-upper", "etc-work"].map(|name| env.path(name));
    for dir in [&upper, &work] {
        fs::create_dir_all(dir).expect("a directory");
    }
    let options = format!(
        "lowerdir=/etc,upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    let overlay = Some("overlay");
    mount(overlay, "/etc", overlay, MsFlags::empty(), Some(&*options)).expect("an /etc of our own");
}

/// A name server that gives every name this address.
fn upstream(at: &str, address: Ipv4Addr) {
    let socket = UdpSocket::bind((at, 53)).expect("a port of our own machine");
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        // The socket, and this thread, go with the test's process.
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let mut answer = buffer[..length].to_vec();
            // An answer, with recursion; the question as it came, and nothing after it.
            let end = 12 + answer[12..].iter().position(|byte| *byte == 0).unwrap_or(0) + 5;
            answer.truncate(end);
            let is_a = answer[end - 4..end - 2] == [0, 1];
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            if is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend(address.octets());
            }
            let _ = socket.send_to(&answer, from);
        }
    });
}

#[test]
fn a_change_of_the_hosts_servers_is_followed() {
    let env = env_with("busybox");
    let machine = Machine::new(&env);
    let follow = || {
        own_etc(&env);
        let [two, three] = [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 3)];
        upstream("127.0.0.2", two);
        upstream("127.0.0.3", three);
        let resolv = Path::new("/etc/resolv.conf");
        // It may be a link.
        let _ = fs::remove_file(resolv);
        fs::write(resolv, "nameserver 127.0.0.2\n").expect("a file");
        env.rctr(["network", "create", "n"]).ok();
        env.run_detached(["--name", "ca", "--network", "n", "busybox", "sleep", "99"]);
        let shown = env.rctr(["exec", "ca", "cat", "/etc/resolv.conf"]);
        // What the container has does not name the host's servers, so it need not change with them.
        shown
            .ok()
            .stdout_has("nameserver 127.0.0.11")
            .stdout_lacks("127.0.0.2\n");
        let told = |name: &str| resolved(&env, "ca", name);
        assert_eq!(told("one.test"), Some(two.to_string()));

        fs::write(resolv, "nameserver 127.0.0.3\n").expect("written anew");
        assert_eq!(told("two.test"), Some(three.to_string()));
        fs::write("/etc/resolv.conf.new", "nameserver 127.0.0.2\n").expect("a file");
        fs::rename("/etc/resolv.conf.new", resolv).expect("another in its place");
        assert_eq!(told("three.test"), Some(two.to_string()));
        fs::remove_file(resolv).expect("it is gone");
        assert_eq!(told("four.test"), None);
        std::os::unix::fs::symlink("resolv.conf.linked", resolv).expect("a link");
        fs::write("/etc/resolv.conf.linked", "nameserver 127.0.0.3\n").expect("a file");
        assert_eq!(told("five.test"), Some(three.to_string()));
        env.rctr(["rm", "-f", "ca"]).ok();
    };
    machine.inside(|| unseen(follow));
}

fn pss(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(0)
}
