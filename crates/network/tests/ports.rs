//! Published ports, seen from everywhere.

mod lab;

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Instant;

use lab::*;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
    sockopt,
};
use rctr_network::{
    Error, Protocol, PublishedPort, ensure_bridge, free_port, publish, reserve, unpublish,
};

#[test]
fn any_address_is_reachable_from_everywhere() {
    for br_netfilter in ["0", "1"] {
        on_private_host(move || {
            set_br_netfilter(br_netfilter);
            let outside = Outside::connect();
            serve(&outside.netns);
            let bridge = bridge();
            let (one, two) = pair(&bridge);
            let port = one.published(ANY, 8080);
            let _held = reserve(ANY, 8080, Protocol::Tcp).unwrap();
            let _ = publish(&bridge, &[port]).unwrap();
            let gateway = bridge.gateway().into();

            assert_eq!(fetch(LOCALHOST, 8080), Some(gateway), "from 127.0.0.1");
            assert_eq!(
                fetch(IpAddr::V4(Ipv4Addr::new(127, 3, 2, 1)), 8080),
                Some(gateway)
            );
            assert!(
                fetch(Outside::HOST, 8080).is_some(),
                "from the host's own address"
            );
            assert!(fetch(gateway, 8080).is_some(), "from the bridge's address");
            assert_eq!(
                outside.fetch(Outside::HOST, 8080),
                Some(Outside::IP),
                "from outside, with the caller's address kept"
            );
            for address in [gateway, Outside::HOST] {
                assert_inside(&one, &two, address);
            }
            // Only what is addressed to this host: a container's own business with others is not touched.
            assert_eq!(two.fetch(Outside::IP, 8080), None);
            assert_eq!(outside.fetch(one.ip(), 80), None, "past the published port");
            assert_eq!(outside.fetch(one.ip(), 8080), None);

            drop(unpublish(&bridge, &[port]).unwrap());
            assert_eq!(fetch(LOCALHOST, 8080), None);
            assert_eq!(outside.fetch(Outside::HOST, 8080), None);
            drop(unpublish(&bridge, &[port]).unwrap());
        });
    }
}

#[test]
fn one_address_is_only_that_address() {
    on_private_host(|| {
        let outside = Outside::connect();
        let bridge = bridge();
        let (one, two) = pair(&bridge);
        let _ = publish(&bridge, &[one.published(Outside::HOST, 8080)]).unwrap();
        assert!(outside.fetch(Outside::HOST, 8080).is_some());
        assert!(fetch(Outside::HOST, 8080).is_some());
        assert!(two.fetch(Outside::HOST, 8080).is_some());
        assert!(one.fetch(Outside::HOST, 8080).is_some());
        assert_eq!(fetch(LOCALHOST, 8080), None);
        assert_eq!(two.fetch(bridge.gateway().into(), 8080), None);
    });
}

#[test]
fn loopback_stays_on_the_host() {
    on_private_host(|| {
        let outside = Outside::connect();
        let bridge = bridge();
        let one = serving(&bridge);
        let _ = publish(&bridge, &[one.published(LOCALHOST, 8080)]).unwrap();
        // A service of the host that trusts whoever can reach 127.0.0.1.
        let private = TcpListener::bind((LOCALHOST, 9090)).unwrap();
        private.set_nonblocking(true).unwrap();
        assert!(fetch(LOCALHOST, 8080).is_some());
        assert_eq!(fetch(Outside::HOST, 8080), None);
        assert_eq!(outside.fetch(Outside::HOST, 8080), None);
        // A neighbour that sends packets for 127.0.0.1 to the host, and a container with full rights that does so.
        let reach_loopback_by = |device: &str, gateway: IpAddr| {
            run("ip address flush dev lo");
            run("ip route flush table local");
            run(&format!(
                "ip route add 127.0.0.1/32 via {gateway} dev {device}"
            ));
            let all = format!("/proc/sys/net/ipv4/conf/{device}/route_localnet");
            std::fs::write(all, "1").unwrap();
            [fetch(LOCALHOST, 8080), fetch(LOCALHOST, 9090)]
        };
        let gateway = bridge.gateway().into();
        let from_outside = run_in(&outside.netns, || reach_loopback_by("wire1", Outside::HOST));
        assert_eq!(from_outside, [None, None]);
        // Even if another program made the host route such packets.
        std::fs::write("/proc/sys/net/ipv4/conf/wire0/route_localnet", "1").unwrap();
        let from_outside = run_in(&outside.netns, || fetch(LOCALHOST, 8080));
        assert_eq!(from_outside, None);
        let two = Container::start(&bridge, 2);
        let from_container = run_in(&two.netns, || reach_loopback_by("eth0", gateway));
        assert_eq!(from_container, [None, None]);
        assert!(private.accept().is_err(), "a packet got through");
    });
}

#[test]
fn udp_ports_work_as_well() {
    on_private_host(|| {
        let outside = Outside::connect();
        let bridge = bridge();
        ensure_bridge(&bridge).unwrap();
        let one = Container::start(&bridge, 1);
        serve_udp(&one.netns);
        let port = PublishedPort {
            protocol: Protocol::Udp,
            ..one.published(ANY, 5353)
        };
        let _held = reserve(ANY, 5353, Protocol::Udp).unwrap();
        let _ = publish(&bridge, &[port]).unwrap();
        assert_eq!(fetch_udp(LOCALHOST, 5353), Some(bridge.gateway().into()));
        let seen = run_in(&outside.netns, || fetch_udp(Outside::HOST, 5353));
        assert_eq!(seen, Some(Outside::IP));
        assert!(run_in(&one.netns, || fetch_udp(bridge.gateway().into(), 5353)).is_some());
    });
}

#[test]
fn a_udp_client_that_never_pauses_finds_each_new_container() {
    on_private_host(|| {
        let outside = Outside::connect();
        let bridge = bridge();
        ensure_bridge(&bridge).unwrap();
        let containers = [1, 2].map(|n| Container::start(&bridge, n));
        containers.iter().for_each(|c| serve_udp(&c.netns));
        let [one, two] = containers.each_ref().map(|container| PublishedPort {
            protocol: Protocol::Udp,
            ..container.published(ANY, 5353)
        });
        let client = run_in(&outside.netns, || {
            let client = UdpSocket::bind((ANY, 0)).unwrap();
            client.connect((Outside::HOST, 5353)).unwrap();
            client
        });
        let _held = reserve(ANY, 5353, Protocol::Udp).unwrap();
        assert_eq!(ask_udp(&client), None);
        let _ = publish(&bridge, &[one]).unwrap();
        assert_eq!(ask_udp(&client), Some(Outside::IP));
        drop(unpublish(&bridge, &[one]).unwrap());
        assert_eq!(ask_udp(&client), None);
        let _ = publish(&bridge, &[two]).unwrap();
        drop(containers.into_iter().next());
        assert_eq!(ask_udp(&client), Some(Outside::IP));
    });
}

#[test]
fn ipv6_ports_work_as_well() {
    for br_netfilter in ["0", "1"] {
        on_private_host(move || {
            set_br_netfilter(br_netfilter);
            let outside = Outside::connect();
            let bridge = bridge_v6();
            let (one, two) = pair(&bridge);
            let _held = reserve(ANY_V6, 8080, Protocol::Tcp).unwrap();
            let gateway = bridge.gateway_v6().unwrap().into();
            let _ = publish(
                &bridge,
                &[
                    one.published(ANY_V6, 8080),
                    one.published(Outside::HOST_V6, 8081),
                ],
            )
            .unwrap();
            assert_eq!(outside.fetch(Outside::HOST_V6, 8080), Some(Outside::IP_V6));
            assert_eq!(outside.fetch(Outside::HOST_V6, 8081), Some(Outside::IP_V6));
            assert!(fetch(Outside::HOST_V6, 8080).is_some());
            for address in [gateway, Outside::HOST_V6] {
                assert_inside(&one, &two, address);
            }
            assert_eq!(two.fetch(gateway, 8081), None);
            assert_eq!(outside.fetch(one.ip_v6(), 80), None);
            // No route leads from ::1 to a container: callers are told at once and try 127.0.0.1 next.
            let refused = TcpStream::connect((Ipv6Addr::LOCALHOST, 8080)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            let loopback = one.published(Ipv6Addr::LOCALHOST.into(), 8082);
            let refused = publish(&bridge, &[loopback]);
            assert!(
                matches!(refused, Err(Error::Ipv6Loopback { port: 8082 })),
                "{refused:?}"
            );
        });
    }
}

#[test]
fn a_stale_port_leads_to_the_new_container() {
    on_private_host(|| {
        let bridge = bridge();
        ensure_bridge(&bridge).unwrap();
        let one = Container::start(&bridge, 1);
        let two = Container::start(&bridge, 2);
        two.serve();
        let _ = publish(
            &bridge,
            &[one.published(ANY, 8080), one.published(ANY, 8081)],
        )
        .unwrap();
        // The same again is fine.
        let _ = publish(&bridge, &[one.published(ANY, 8080)]).unwrap();
        let _ = publish(
            &bridge,
            &[two.published(ANY, 8080), two.published(ANY, 8082)],
        )
        .unwrap();
        assert!(fetch(LOCALHOST, 8080).is_some());
        assert!(fetch(LOCALHOST, 8082).is_some());
        // What the first one left behind does not take the port away from the second.
        drop(
            unpublish(
                &bridge,
                &[one.published(ANY, 8080), one.published(ANY, 8081)],
            )
            .unwrap(),
        );
        assert!(fetch(LOCALHOST, 8080).is_some());
        assert!(!run("nft list table inet rctr").contains("8081"));
    });
}

#[test]
fn ports_without_a_bridge_are_refused() {
    on_private_host(|| {
        let port = PublishedPort {
            host_ip: ANY,
            host_port: 1,
            container_ip: "10.88.0.2".parse().unwrap(),
            container_port: 1,
            protocol: Protocol::Tcp,
        };
        let refused = publish(&bridge(), &[port]);
        assert!(
            matches!(refused, Err(Error::NoSuchBridge { .. })),
            "{refused:?}"
        );
        drop(unpublish(&bridge(), &[port]).unwrap());
    });
}

#[test]
fn a_thousand_ports_are_quick() {
    on_private_host(|| {
        let bridge = bridge();
        let one = serving(&bridge);
        let started = Instant::now();
        let _ = publish(&bridge, &[one.published(ANY, 7000)]).unwrap();
        println!("publish one port: {:?}", started.elapsed());
        let ports = (0..1000).map(|n| one.published(ANY, 8000 + n));
        let ports = ports.collect::<Vec<_>>();
        let started = Instant::now();
        let _ = publish(&bridge, &ports).unwrap();
        println!("publish 1000 ports: {:?}", started.elapsed());
        assert!(fetch(LOCALHOST, 8999).is_some());
        let started = Instant::now();
        let _first = unpublish(&bridge, &ports).unwrap();
        println!("unpublish 1000 ports: {:?}", started.elapsed());
        let started = Instant::now();
        let _second = unpublish(&bridge, &[one.published(ANY, 7000)]).unwrap();
        println!("unpublish one port: {:?}", started.elapsed());
        assert!(!run("nft list table inet rctr").contains("elements = { tcp"));
        // More than a socket's send buffer takes.
        let all = (1..=u16::MAX)
            .map(|n| one.published(ANY, n))
            .collect::<Vec<_>>();
        let _ = publish(&bridge, &all).unwrap();
        assert!(fetch(LOCALHOST, 65535).is_some());
        drop(unpublish(&bridge, &all).unwrap());
    });
}

#[test]
fn a_reserved_port_is_taken() {
    on_private_host(|| {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for ip in [ANY, ANY_V6, LOCALHOST] {
                let held = reserve(ip, 8080, protocol).unwrap();
                let again = reserve(ip, 8080, protocol);
                assert!(
                    matches!(again, Err(Error::PortInUse { port: 8080, .. })),
                    "{again:?}"
                );
                drop(held);
                // A program that another test is just starting may share the socket for a moment.
                let released = (0..10_000).any(|_| reserve(ip, 8080, protocol).is_ok());
                assert!(released, "{ip} {protocol} is still taken");
            }
        }
        let _v4 = reserve(ANY, 8081, Protocol::Tcp).unwrap();
        let _v6 = reserve(ANY_V6, 8081, Protocol::Tcp).unwrap();
        // std sets SO_REUSEADDR, as most servers do.
        assert!(TcpListener::bind((ANY, 8081)).is_err());
        let absent = reserve("192.0.2.77".parse().unwrap(), 80, Protocol::Tcp);
        assert!(
            matches!(absent, Err(Error::AddressNotAvailable { .. })),
            "{absent:?}"
        );
        let server = TcpListener::bind((ANY, 8082)).unwrap();
        assert!(matches!(
            reserve(LOCALHOST, 8082, Protocol::Tcp),
            Err(Error::PortInUse { .. })
        ));
        drop(server);
    });
}

#[test]
fn a_port_in_time_wait_can_be_taken() {
    on_private_host(|| {
        let server = TcpListener::bind((LOCALHOST, 8080)).unwrap();
        let mut client = TcpStream::connect((LOCALHOST, 8080)).unwrap();
        let (connection, _) = server.accept().unwrap();
        // The side that closes first keeps the port in TIME_WAIT.
        drop((connection, server));
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        drop(client);
        let sockets = run("ss -tan state time-wait");
        assert!(sockets.contains("127.0.0.1:8080"), "{sockets}");
        let _held = reserve(ANY, 8080, Protocol::Tcp).unwrap();
        let again = reserve(ANY, 8080, Protocol::Tcp);
        assert!(matches!(again, Err(Error::PortInUse { .. })), "{again:?}");
        assert!(TcpListener::bind((ANY, 8080)).is_err());
        // Nobody listens: callers are turned away, not left hanging.
        let refused = TcpStream::connect((LOCALHOST, 8080)).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_server_that_was_about_to_listen_is_told() {
    on_private_host(|| {
        let flags = SockFlag::SOCK_CLOEXEC;
        let server = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        setsockopt(&server, sockopt::ReuseAddr, &true).unwrap();
        bind(server.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 8080)).unwrap();
        let _held = reserve(ANY, 8080, Protocol::Tcp).unwrap();
        assert!(listen(&server, Backlog::new(1).unwrap()).is_err());
    });
}

#[test]
fn free_ports_are_free_on_all_addresses() {
    on_private_host(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40002").unwrap();
        let _taken = reserve(ANY_V6, 40001, Protocol::Tcp).unwrap();
        let addresses = [ANY, ANY_V6];
        let (first, _one) = free_port(&addresses, Protocol::Tcp, None).unwrap();
        let (second, _two) = free_port(&addresses, Protocol::Tcp, None).unwrap();
        let mut found = [first, second];
        found.sort_unstable();
        assert_eq!(found, [40000, 40002]);
        let none = free_port(&addresses, Protocol::Tcp, None);
        assert!(matches!(none, Err(Error::NoFreePort { .. })), "{none:?}");
        let (chosen, _three) = free_port(&[ANY], Protocol::Tcp, Some(9000..=9000)).unwrap();
        assert_eq!(chosen, 9000);
    });
}
