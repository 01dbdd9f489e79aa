//! `network connect` and `network disconnect`, and containers on several networks.

use rctr_tests::{Env, Machine, wait_for};

struct Lab<'a> {
    machine: Machine<'a>,
}

impl<'a> Lab<'a> {
    fn new(env: &'a Env) -> Lab<'a> {
        env.rctr(["pull", "--quiet", "healthz"]).ok();
        let machine = Machine::new(env);
        let lab = Lab { machine };
        for (name, subnet) in [("one", "10.71.0.0/24"), ("two", "10.72.0.0/24")] {
            lab.rctr(&format!("network create --subnet {subnet} {name}"))
                .ok();
        }
        lab
    }

    fn rctr(&self, line: &str) -> rctr_tests::Output {
        self.machine.rctr(line)
    }

    fn exec(&self, container: &str, script: &str) -> String {
        let out = self.machine.rctr_sh(&format!("exec {container}"), script);
        out.ok().stdout()
    }

    fn default_route(&self, container: &str) -> String {
        self.exec(container, "ip route | awk '/default/ {print $3, $5}'")
    }

    fn links(&self, container: &str) -> Vec<String> {
        let list = self.exec(container, "ls /sys/class/net");
        list.split_whitespace().map(str::to_owned).collect()
    }
}

#[test]
fn a_running_container_comes_and_goes() {
    let env = Env::new();
    let lab = Lab::new(&env);
    lab.rctr("run -d --name me healthz").ok();
    lab.rctr("run -d --name peer --network one healthz").ok();
    let before = lab.default_route("me");
    lab.rctr("network connect --alias see --ip 10.71.0.50 one me")
        .ok();
    assert_eq!(lab.links("me"), ["eth0", "eth1", "lo"]);
    // The default bridge comes first by its name.
    assert_eq!(lab.default_route("me"), before);
    lab.exec("me", "ping -c 1 -W 5 peer");
    lab.exec("peer", "ping -c 1 -W 5 see");
    let pinged = lab.exec("peer", "ping -c 1 -W 5 me");
    assert!(pinged.starts_with("PING me (10.71.0.50)"), "{pinged}");
    assert!(lab.exec("me", "cat /etc/hosts").contains("10.71.0.50\t"));
    let json = lab.rctr("inspect me").ok().json()[0].take();
    let one = &json["NetworkSettings"]["Networks"]["one"];
    assert_eq!(one["IPAddress"], "10.71.0.50");
    assert_eq!(one["IPAMConfig"]["IPv4Address"], "10.71.0.50");
    assert_eq!(one["Aliases"], serde_json::json!(["see"]));
    let members = lab.rctr("network inspect one").ok().json()[0]["Containers"].take();
    let id = json["Id"].as_str().expect("an id");
    assert_eq!(members[id]["IPv4Address"], "10.71.0.50/24");
    lab.rctr("network connect one me")
        .refused(1, "endpoint with name me already exists in network one");
    lab.rctr("network disconnect one me").ok();
    assert_eq!(lab.links("me"), ["eth0", "lo"]);
    assert!(!lab.exec("me", "cat /etc/hosts").contains("10.71.0.50"));
    lab.rctr("exec peer nslookup me").exits(1);
    lab.rctr("network disconnect one me")
        .refused(1, "is not connected to network one");
    // The name server stays with it until it ends; the way out is what it was.
    assert_eq!(lab.default_route("me"), before);
}

#[test]
fn a_connection_has_the_addresses_that_were_asked_for() {
    let env = Env::new();
    let lab = Lab::new(&env);
    lab.rctr("network create --subnet 10.73.0.0/24 --subnet fd00:73::/64 --ipv6 six")
        .ok();
    lab.rctr("run -d --name me healthz").ok();
    let flags = "--ip 10.73.0.9 --ip6 fd00:73::9 --link-local-ip 169.254.7.7";
    lab.rctr(&format!("network connect {flags} six me")).ok();
    let shown = lab.exec("me", "ip addr show eth1");
    for part in ["10.73.0.9/24", "fd00:73::9/64", "169.254.7.7/16"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    for (flags, words) in [
        (
            "--ip 10.74.0.9 one",
            "no configured subnet contains IP address 10.74.0.9",
        ),
        (
            "--ip6 fd00:71::9 one",
            "no configured subnet contains IP address fd00:71::9",
        ),
        ("--driver-opt com.example=1 one", "com.example"),
    ] {
        lab.rctr(&format!("network connect {flags} me"))
            .refused(1, words);
    }
    assert_eq!(lab.links("me"), ["eth0", "eth1", "lo"]);
}

/// The values of kernel parameters of an interface, `ipv4/conf` and the like with a name.
fn parameters(lab: &Lab<'_>, container: &str, interface: &str, names: &[&str]) -> String {
    let files = names.iter().map(|name| {
        let (kind, name) = name.rsplit_once('/').expect("a kind and a name");
        format!("/proc/sys/net/{kind}/{interface}/{name}")
    });
    let files: Vec<String> = files.collect();
    let values = lab.exec(container, &format!("cat {}", files.join(" ")));
    values.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn kernel_parameters_of_an_interface() {
    const OPTION: &str = "com.docker.network.endpoint.sysctls";
    const NAMES: [&str; 2] = ["ipv4/conf/log_martians", "ipv4/conf/forwarding"];
    let env = Env::new();
    let lab = Lab::new(&env);
    let both = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0";
    // As one field the option holds commas.
    lab.rctr(&format!(
        "run -d --name me --network name=two,\"driver-opt={OPTION}={both}\",alias=deux healthz"
    ))
    .ok();
    assert_eq!(parameters(&lab, "me", "eth0", &NAMES), "1 0");
    let of_default = parameters(&lab, "me", "default", &NAMES);
    assert_ne!(of_default, "1 0", "only the interface is meant");
    let neighbours = "net.ipv4.neigh.ifname.gc_stale_time=77";
    lab.rctr(&format!(
        "network connect --driver-opt {OPTION}={neighbours} one me"
    ))
    .ok();
    let stale = ["ipv4/neigh/gc_stale_time"];
    assert_eq!(parameters(&lab, "me", "eth1", &stale), "77");
    assert_ne!(parameters(&lab, "me", "eth0", &stale), "77");
    let options = |network: &str| {
        let json = lab.rctr("inspect me").ok().json()[0].take();
        json["NetworkSettings"]["Networks"][network]["DriverOpts"].clone()
    };
    assert_eq!(options("two"), serde_json::json!({ OPTION: both }));
    assert_eq!(options("one"), serde_json::json!({ OPTION: neighbours }));
    // In each run, whichever name the interface has.
    lab.rctr("restart -t 0 me").ok();
    let interface = |network: &str| {
        let subnet = if network == "one" { "10.71." } else { "10.72." };
        let script = format!("ip -o addr | awk '/{subnet}/ {{print $2}}'");
        lab.exec("me", &script)
    };
    assert_eq!(parameters(&lab, "me", &interface("two"), &NAMES), "1 0");
    assert_eq!(parameters(&lab, "me", &interface("one"), &stale), "77");

    let represent = "represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V'";
    for (option, words) in [
        (
            format!("{OPTION}=net.ipv4.conf.eth0.forwarding=1"),
            represent,
        ),
        (
            format!("{OPTION}=net.ipv4.conf.IFNAME.forwarding"),
            represent,
        ),
        (format!("{OPTION}=net.ipv4.ip_forward=1"), represent),
        (format!("{OPTION}=kernel.ipv4.conf.IFNAME.x=1"), represent),
        (
            format!("{OPTION}=net.ipv4.../../../kernel.IFNAME.panic=1"),
            represent,
        ),
        (
            format!("{OPTION}=net.ipv4.conf.IFNAME./../../ip_forward=1"),
            represent,
        ),
        ("com.example=1".to_owned(), "com.example"),
    ] {
        let out = lab.rctr(&format!(
            "create --name no --network name=one,driver-opt={option} healthz"
        ));
        out.refused(1, words);
        lab.rctr("network disconnect one me").ok();
        lab.rctr(&format!("network connect --driver-opt {option} one me"))
            .refused(1, words);
        lab.rctr("network connect one me").ok();
    }
    // What the kernel does not have or take is found out when it is to be set.
    lab.rctr("network disconnect one me").ok();
    for (sysctl, words) in [
        (
            "net.ipv4.conf.IFNAME.nonsense=1",
            "nonsense is not a sysctl file",
        ),
        (
            "net.ipv4.conf.IFNAME.forwarding=maybe",
            "forwarding to maybe",
        ),
    ] {
        let option = format!("{OPTION}={sysctl}");
        lab.rctr(&format!("network connect --driver-opt {option} one me"))
            .refused(1, words);
        assert_eq!(lab.links("me").len(), 2, "taken back");
        lab.rctr(&format!(
            "run --rm --network name=one,driver-opt={option} healthz true"
        ))
        .refused(125, words);
    }
}

#[test]
fn an_interface_without_ipv6() {
    let env = Env::new();
    let lab = Lab::new(&env);
    lab.rctr("network create --subnet 10.73.0.0/24 --subnet fd00:73::/64 --ipv6 six")
        .ok();
    let off = "com.docker.network.endpoint.sysctls=net.ipv6.conf.IFNAME.disable_ipv6=1";
    lab.rctr(&format!(
        "run -d --name me --network name=six,driver-opt={off} healthz"
    ))
    .ok();
    let shown = lab.exec("me", "ip addr show eth0");
    assert!(
        shown.contains("10.73.0.") && !shown.contains("inet6"),
        "{shown}"
    );
    lab.rctr("inspect -f {{.NetworkSettings.Networks.six.GlobalIPv6Address}} me")
        .ok()
        .stdout_is("");
}

#[test]
fn the_way_out_and_its_ports_move() {
    let env = Env::new();
    let lab = Lab::new(&env);
    lab.rctr("run -d --name me --network two -p 8080:80 healthz")
        .ok();
    wait_for("the port", || lab.machine.open(8080));
    assert_eq!(lab.default_route("me"), "10.72.0.1 eth0");
    // `one` comes before `two`.
    lab.rctr("network connect one me").ok();
    assert_eq!(lab.default_route("me"), "10.71.0.1 eth1");
    assert!(lab.machine.open(8080), "the port has not moved along");
    lab.rctr("network disconnect two me").ok();
    assert_eq!(lab.links("me"), ["eth1", "lo"]);
    assert!(lab.machine.open(8080));
    lab.rctr("network connect --gw-priority 5 two me").ok();
    assert_eq!(lab.default_route("me"), "10.72.0.1 eth0");
    assert!(lab.machine.open(8080));
    lab.rctr("network disconnect -f two me").ok();
    assert_eq!(lab.default_route("me"), "10.71.0.1 eth1");
    assert!(lab.machine.open(8080));
    lab.rctr("network disconnect one me").ok();
    assert_eq!(lab.links("me"), ["lo"]);
    assert!(!lab.machine.open(8080));
    lab.rctr("restart -t 0 me").ok();
    assert_eq!(lab.links("me"), ["lo"]);
    lab.rctr("network connect two me").ok();
    lab.rctr("restart -t 0 me").ok();
    wait_for("the port again", || lab.machine.open(8080));
}

#[test]
fn one_that_does_not_run_is_connected_from_its_next_start_on() {
    let env = Env::new();
    let lab = Lab::new(&env);
    lab.rctr("create --name me healthz").ok();
    lab.rctr("network connect --ip 10.71.0.9 one me").ok();
    lab.rctr("network disconnect bridge me").ok();
    lab.rctr("ps -a --format {{.Networks}}")
        .ok()
        .stdout_is("one");
    // Reserved, though it does not run.
    lab.rctr("run --rm --network one --ip 10.71.0.9 healthz true")
        .exits(125);
    lab.rctr("start me").ok();
    assert_eq!(lab.links("me"), ["eth0", "lo"]);
    assert!(lab.exec("me", "ip addr show eth0").contains("10.71.0.9/24"));
    lab.rctr("restart -t 0 me").ok();
    assert!(lab.exec("me", "ip addr show eth0").contains("10.71.0.9/24"));
    lab.rctr("stop -t 0 me").ok();
    lab.rctr("network disconnect one me").ok();
    lab.rctr("run --rm --network one --ip 10.71.0.9 healthz true")
        .ok();
}

#[test]
fn several_networks_from_the_start() {
    let env = Env::new();
    let lab = Lab::new(&env);
    let one = "name=one,ip=10.71.0.77,mac-address=92:d0:c6:0a:29:33,gw-priority=-1";
    lab.rctr(&format!(
        "run -d --name me --network name=two,alias=deux --network {one} healthz"
    ))
    .ok();
    assert_eq!(lab.links("me"), ["eth0", "eth1", "lo"]);
    assert_eq!(lab.default_route("me"), "10.72.0.1 eth0");
    assert!(
        lab.exec("me", "ip addr show eth1")
            .contains("10.71.0.77/24")
    );
    assert_eq!(
        lab.exec("me", "cat /sys/class/net/eth1/address"),
        "92:d0:c6:0a:29:33"
    );
    let hosts = lab.exec("me", "cat /etc/hosts");
    assert!(
        hosts.contains("10.71.0.77\t") && hosts.contains("10.72.0."),
        "{hosts}"
    );
    lab.rctr("ps --format {{.Networks}}")
        .ok()
        .stdout_is("one,two");
    lab.rctr("inspect -f {{.HostConfig.NetworkMode}} me")
        .ok()
        .stdout_is("two");
    for flags in [
        "--network one --network one",
        "--network one --network host",
        "--network name=one,ip=10.71.0.8 --ip 10.71.0.9",
        "--network alias=x",
    ] {
        lab.rctr(&format!("run --rm {flags} healthz true"))
            .exits(125);
    }
}

#[test]
fn who_has_no_network_of_his_own_cannot_be_connected() {
    let env = Env::new();
    let lab = Lab::new(&env);
    lab.rctr("run -d --name first healthz").ok();
    for (network, words) in [
        (
            "host",
            "container cannot be disconnected from host network or connected to host network",
        ),
        (
            "none",
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
        (
            "container:first",
            "container sharing network namespace with another container or host cannot be connected to any other network",
        ),
    ] {
        let name = network.replace(':', "-");
        lab.rctr(&format!("create --name {name} --network {network} healthz"))
            .ok();
        lab.rctr(&format!("network connect one {name}"))
            .refused(1, words);
    }
    lab.rctr("network connect host first").refused(
        1,
        "container cannot be disconnected from host network or connected to host network",
    );
    lab.rctr("network connect nosuch first")
        .refused(1, "network nosuch not found");
    lab.rctr("network connect one nosuch")
        .refused(1, "No such container: nosuch");
    lab.rctr("network connect one").exits(1);
}

#[test]
fn a_failed_connection_leaves_nothing() {
    let env = Env::new();
    let lab = Lab::new(&env);
    lab.rctr("run -d --name me --network two healthz").ok();
    // Something else is called as the bridge is to be.
    lab.rctr("network create -o com.docker.network.bridge.name=blocked0 bad")
        .ok();
    lab.machine
        .sh("ip link add blocked0 type veth peer name blocked1");
    lab.rctr("network connect bad me").refused(1, "blocked0");
    assert_eq!(lab.links("me"), ["eth0", "lo"]);
    assert_eq!(lab.default_route("me"), "10.72.0.1 eth0");
    lab.rctr("ps --format {{.Networks}}").ok().stdout_is("two");
    lab.machine.sh("ip link del blocked0");
    lab.rctr("network connect bad me").ok();
    assert_eq!(lab.links("me"), ["eth0", "eth1", "lo"]);
}
