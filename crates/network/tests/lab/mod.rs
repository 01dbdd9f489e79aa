//! A host of its own for every test: a network namespace, entered by one thread, gone with the test.
#![allow(dead_code, reason = "every test binary uses another part")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use nix::sched::{CloneFlags, setns};
use rctr_network::{
    BridgeConfig, Endpoint, Protocol, PublishedPort, connect, ensure_bridge, mac_for, new_netns,
};

/// How long an answer may take: less than a second, after which lost packets are sent again.
const PATIENCE: Duration = Duration::from_millis(700);

pub const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
pub const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Runs a test on a host of its own.
pub fn on_private_host(test: impl FnOnce() + Send + 'static) {
    let netns = new_netns().expect("these tests need root");
    run_in(&netns, test);
}

/// Runs `work` in a thread inside `netns`.
pub fn run_in<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    let result = thread::scope(|scope| {
        scope
            .spawn(|| {
                setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).expect("enter the namespace");
                work()
            })
            .join()
    });
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs a program in the current namespace and returns its output.
pub fn run(line: &str) -> String {
    let words = line.split_whitespace().collect::<Vec<_>>();
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .unwrap_or_else(|e| panic!("{line}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}{errors}");
    text
}

pub fn have(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

pub fn bridge() -> BridgeConfig {
    BridgeConfig::default()
}

pub fn bridge_v6() -> BridgeConfig {
    BridgeConfig {
        subnet_v6: Some(BridgeConfig::generated_subnet_v6("rctr0")),
        ..bridge()
    }
}

/// With `1` bridged packets pass iptables and nftables as Docker and Kubernetes set it up.
pub fn set_br_netfilter(value: &str) -> bool {
    ["iptables", "ip6tables"]
        .iter()
        .all(|name| fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{name}"), value).is_ok())
}

/// A namespace on a bridge.
pub struct Container {
    pub netns: OwnedFd,
    pub endpoint: Endpoint,
}

impl Container {
    /// Connects container number `n` of the bridge.
    pub fn start(bridge: &BridgeConfig, n: u8) -> Self {
        let endpoint = endpoint(bridge, n);
        let netns = new_netns().unwrap();
        connect(netns.as_fd(), bridge, &endpoint).unwrap();
        // The kernel opens an IPv6 address for reception in its own time; every round waits for a program.
        let receives = |_| {
            let address = endpoint.address_v6.map(|net| net.addr().to_string());
            let routes = || run_in(&netns, || run("ip -6 route show table local"));
            address.is_none_or(|address| routes().contains(&address))
        };
        assert!((0..1000).any(receives), "the IPv6 address is not usable");
        Self { netns, endpoint }
    }

    pub fn ip(&self) -> IpAddr {
        self.endpoint.address.addr().into()
    }

    pub fn ip_v6(&self) -> IpAddr {
        self.endpoint.address_v6.unwrap().addr().into()
    }

    pub fn serve(&self) {
        serve(&self.netns);
    }

    /// See [`fetch`].
    pub fn fetch(&self, ip: IpAddr, port: u16) -> Option<IpAddr> {
        run_in(&self.netns, || fetch(ip, port))
    }

    pub fn published(&self, host_ip: IpAddr, host_port: u16) -> PublishedPort {
        PublishedPort {
            host_ip,
            host_port,
            container_ip: if host_ip.is_ipv4() {
                self.ip()
            } else {
                self.ip_v6()
            },
            container_port: 80,
            protocol: Protocol::Tcp,
        }
    }
}

/// A new bridge with one container, which serves.
pub fn serving(bridge: &BridgeConfig) -> Container {
    ensure_bridge(bridge).unwrap();
    let one = Container::start(bridge, 1);
    one.serve();
    one
}

/// The same, and a neighbour.
pub fn pair(bridge: &BridgeConfig) -> (Container, Container) {
    (serving(bridge), Container::start(bridge, 2))
}

/// Port 8080 of an address leads a neighbour, and the container itself, to the container.
pub fn assert_inside(one: &Container, two: &Container, address: IpAddr) {
    let from = |who: &Container, name: &str| {
        assert!(
            who.fetch(address, 8080).is_some(),
            "from {name} to {address}"
        );
    };
    from(two, "a neighbour");
    from(one, "itself");
}

pub fn endpoint(bridge: &BridgeConfig, n: u8) -> Endpoint {
    let address = Ipv4Addr::from_bits(bridge.subnet.network().to_bits() + 1 + u32::from(n));
    let address_v6 = bridge.subnet_v6.map(|net| {
        let bits = net.network().to_bits() + 1 + u128::from(n);
        Ipv6Net::new(Ipv6Addr::from_bits(bits), net.prefix_len()).unwrap()
    });
    Endpoint {
        host_ifname: format!("rv{}{n}", bridge.name),
        ifname: "eth0".to_owned(),
        mac: mac_for(address),
        address: Ipv4Net::new(address, bridge.subnet.prefix_len()).unwrap(),
        address_v6,
        link_local: Vec::new(),
        sysctls: Vec::new(),
        default_via: [
            Some(bridge.gateway().into()),
            bridge.gateway_v6().map(IpAddr::from),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

/// Answers every connection to TCP port 80 of the namespace with the caller's address.
pub fn serve(netns: &OwnedFd) {
    let listener = run_in(netns, || TcpListener::bind((ANY_V6, 80)).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().map(|a| a.ip().to_canonical());
            let _ = peer.map(|peer| stream.write_all(peer.to_string().as_bytes()));
        }
    });
}

/// Answers every datagram to UDP port 80 of the namespace with the caller's address.
pub fn serve_udp(netns: &OwnedFd) {
    let socket = run_in(netns, || UdpSocket::bind((ANY, 80)).unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(peer.ip().to_string().as_bytes(), peer);
        }
    });
}

/// Asks a server for the address it sees us with; none if it cannot be reached.
pub fn fetch(ip: IpAddr, port: u16) -> Option<IpAddr> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, port), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.parse().ok()
}

/// The same over UDP.
pub fn fetch_udp(ip: IpAddr, port: u16) -> Option<IpAddr> {
    let socket = UdpSocket::bind((ANY, 0)).unwrap();
    socket.connect((ip, port)).unwrap();
    ask_udp(&socket)
}

/// Asks again on a socket that may have asked before.
pub fn ask_udp(socket: &UdpSocket) -> Option<IpAddr> {
    socket.send(b"?").ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()?.parse().ok()
}

/// Another machine on a wire of the current host, which is its router: 192.0.2.2, the host has 192.0.2.1.
pub struct Outside {
    pub netns: OwnedFd,
}

impl Outside {
    pub const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    pub const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    pub const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    pub const IP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

    pub fn connect() -> Self {
        let netns = new_netns().unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
        run(&format!(
            "ip link add wire0 type veth peer name wire1 netns {path}"
        ));
        let no_dad = |name| fs::write(format!("/proc/sys/net/ipv6/conf/{name}/accept_dad"), "0");
        no_dad("wire0").unwrap();
        run("ip address add 192.0.2.1/24 dev wire0");
        run("ip address add 2001:db8::1/64 dev wire0 nodad");
        run("ip link set wire0 up");
        run_in(&netns, || {
            no_dad("wire1").unwrap();
            run("ip address add 192.0.2.2/24 dev wire1");
            run("ip address add 2001:db8::2/64 dev wire1 nodad");
            run("ip link set wire1 up");
            run("ip route add default via 192.0.2.1");
            run("ip -6 route add default via 2001:db8::1");
        });
        // The kernel brings a new wire to life in its own time; a refused connection shows that it has.
        let answers = |ip: IpAddr| {
            let attempt = TcpStream::connect_timeout(&SocketAddr::new(ip, 9), PATIENCE);
            attempt.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
        };
        let alive = |ip| (0..20).any(|_| answers(ip));
        assert!(alive(Self::IP) && alive(Self::IP_V6), "the wire is dead");
        Self { netns }
    }

    pub fn fetch(&self, ip: IpAddr, port: u16) -> Option<IpAddr> {
        run_in(&self.netns, || fetch(ip, port))
    }
}
