//! `--network` and what a container sees of it.

use rctr_tests::Env;

#[test]
fn none_has_loopback_only() {
    let env = Env::new();
    let run = env.run_alone(&["busybox", "ls", "/sys/class/net"]);
    run.ok().stdout_is("lo");
    let run = env.run_alone(&["busybox", "ip", "route"]);
    run.ok().stdout_is("");
}

#[test]
fn host_sees_the_hosts_links_and_warns_of_ports() {
    let env = Env::new();
    let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    let run = env.rctr([
        "run",
        "--rm",
        "--network",
        "host",
        "busybox",
        "readlink",
        "/proc/self/ns/net",
    ]);
    run.ok().stdout_is(&own.to_string_lossy());
    let run = env.rctr([
        "run",
        "--rm",
        "--network",
        "host",
        "-p",
        "80:80",
        "busybox",
        "true",
    ]);
    run.ok()
        .stderr_has("WARNING: Published ports are discarded when using host network mode");
}

#[test]
fn a_container_can_join_anothers_network() {
    let env = Env::new();
    let id = env.run_detached(["--name", "first", "--hostname", "myname", "healthz"]);
    let inside = |network: &str| {
        let flag = format!("container:{network}");
        env.rctr(["run", "--rm", "--network", &flag, "busybox", "sh", "-c",
            "until wget -qO- http://127.0.0.1/healthz; do usleep 10000; done; hostname; grep -q myname /etc/hosts && echo known"])
    };
    inside("first").ok().stdout_is("ok\nmyname\nknown");
    inside(&id).ok();
    // By id from the first moment: names move.
    let joined = ["--name", "joined", "--network", "container:first"];
    env.rctr([&["create"], &joined[..], &["busybox"]].concat())
        .ok();
    let mode = env.inspect("joined")["HostConfig"]["NetworkMode"].take();
    assert_eq!(mode, format!("container:{id}"));
    env.rctr(["create", "--network", "container:nosuch", "busybox"])
        .refused(1, "nosuch");
    env.rctr(["stop", "-t", "1", "first"]).ok();
    env.rctr([
        "run",
        "--rm",
        "--network",
        "container:first",
        "busybox",
        "true",
    ])
    .refused(125, &id);
    env.rctr([
        "run",
        "--rm",
        "--network",
        "container:nosuch",
        "busybox",
        "true",
    ])
    .refused(125, "nosuch");
}

#[test]
fn bridge_gives_an_address_a_gateway_and_the_hosts_resolvers() {
    let env = Env::new();
    let subnet = env.slot().subnet();
    let gateway = subnet.hosts().next().expect("a host");
    let run = env.rctr(["run", "--rm", "--hostname", "web", "--add-host", "db:10.1.2.3", "busybox", "sh", "-c",
        "ip -4 -o addr show eth0 | awk '{print $4}'; ip route | awk '/default/ {print $3}'; hostname -i; hostname; awk '$2 == \"db\"' /etc/hosts"]);
    let lines = run.ok().lines();
    let address = lines[0].strip_suffix("/24").expect("the subnet's prefix");
    assert!(subnet.contains(&address.parse::<std::net::Ipv4Addr>().expect("an address")));
    assert_eq!(
        lines[1..],
        [
            gateway.to_string(),
            address.to_owned(),
            "web".into(),
            "10.1.2.3\tdb".into()
        ]
    );
    let run = env.rctr([
        "run",
        "--rm",
        "--dns",
        "9.9.9.9",
        "busybox",
        "cat",
        "/etc/resolv.conf",
    ]);
    run.ok().stdout_has("nameserver 9.9.9.9");
}

#[test]
fn a_hardware_address_is_the_one_asked_for() {
    let env = Env::new();
    let mac = "92:d0:c6:0a:29:33";
    let flags = ["run", "--rm", "--mac-address", mac, "busybox"];
    env.rctr([&flags[..], &["cat", "/sys/class/net/eth0/address"]].concat())
        .ok()
        .stdout_is(mac);
    let flags = ["create", "--name", "cc", "--mac-address", mac, "busybox"];
    env.rctr([&flags[..], &["sleep", "600"]].concat()).ok();
    env.rctr(["start", "cc"]).ok();
    let networks = env.inspect("cc")["NetworkSettings"]["Networks"].take();
    assert_eq!(networks["bridge"]["MacAddress"], mac);
    env.rctr(["run", "--rm", "--mac-address", "92:d0", "busybox", "true"])
        .exits(125)
        .stderr_has("92:d0");
}

#[test]
fn containers_reach_each_other_on_the_bridge() {
    let env = Env::new();
    env.run_detached(["--name", "web", "healthz"]);
    let settings = env.inspect("web")["NetworkSettings"].take();
    let address = settings["Networks"]["bridge"]["IPAddress"]
        .as_str()
        .expect("an address");
    let script = format!("until wget -qO- http://{address}/healthz; do usleep 10000; done");
    env.rctr(["run", "--rm", "busybox", "sh", "-c", &script])
        .ok()
        .stdout_is("ok");
}

#[test]
fn apt_get_update_works_inside() {
    let env = Env::new();
    let update = "apt-get -o Acquire::Retries=3 update && apt-cache show hello | grep -m 1 Package";
    env.rctr(["run", "--rm", "debian", "sh", "-c", update])
        .ok()
        .stdout_has("Package: hello");
}

#[test]
fn ping_reaches_the_gateway() {
    let env = Env::new();
    let gateway = env.slot().subnet().hosts().next().expect("a host");
    env.rctr([
        "run",
        "--rm",
        "busybox",
        "ping",
        "-c",
        "1",
        "-W",
        "5",
        &gateway.to_string(),
    ])
    .ok()
    .stdout_has("1 packets received");
}

/// It is connected while it is made: what comes before its program and depends on its interface waits for that.
#[test]
fn a_kernel_parameter_of_its_own_interface_is_set() {
    let env = Env::new();
    for _ in 0..5 {
        let place = "/proc/sys/net/ipv4/conf/eth0/log_martians";
        let words = [
            "run",
            "--rm",
            "--sysctl",
            "net.ipv4.conf.eth0.log_martians=1",
        ];
        let run = env.rctr([&words[..], &["busybox", "cat", place]].concat());
        run.ok().stdout_is("1");
    }
}
