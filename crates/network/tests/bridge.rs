//! The bridge, its cables, and who reaches whom without published ports.

mod lab;

use std::os::fd::AsFd;
use std::thread;
use std::time::Instant;

use lab::*;
use rctr_network::{
    BridgeConfig, Error, Protocol, PublishedPort, connect, ensure_bridge, host_has_ipv6, new_netns,
    publish, remove_bridge,
};

#[test]
fn a_second_call_changes_nothing() {
    on_private_host(|| {
        let first = ensure_bridge(&bridge_v6()).unwrap();
        assert!(first.publish_again);
        let links = run("ip address show rctr0");
        let rules = run("nft list ruleset");
        let started = Instant::now();
        let second = ensure_bridge(&bridge_v6()).unwrap();
        println!("ensure_bridge with all in place: {:?}", started.elapsed());
        assert!(!second.publish_again);
        assert_eq!(run("ip address show rctr0"), links);
        assert_eq!(run("nft list ruleset"), rules);
        assert!(links.contains("inet 10.88.0.1/16 brd 10.88.255.255 scope global rctr0"));
    });
}

#[test]
fn nft_prints_names_and_addresses() {
    on_private_host(|| {
        ensure_bridge(&bridge_v6()).unwrap();
        let rules = run("nft list table inet rctr");
        for expected in [
            "elements = { \"rctr0\" }",
            "elements = { \"rctr0\" . \"rctr0\" }",
            "elements = { 10.88.0.0/16 }",
            "dnat ip to meta l4proto . ip daddr . th dport map @published4",
            "dnat ip6 to meta l4proto . ip6 daddr . th dport map @published6",
            "fib daddr type local dnat ip to meta l4proto . th dport map @published_any4",
        ] {
            assert!(rules.contains(expected), "{expected:?} is not in\n{rules}");
        }
    });
}

#[test]
fn a_subnet_of_another_length_takes_the_place_of_the_one_before() {
    on_private_host(|| {
        for subnet in [
            "10.88.0.0/24",
            "10.88.0.0/16",
            "10.88.0.0/24",
            "10.88.128.0/17",
            "10.88.0.0/16",
        ] {
            let bridge = BridgeConfig {
                subnet: subnet.parse().unwrap(),
                ..bridge_v6()
            };
            ensure_bridge(&bridge).unwrap();
            let rules = run("nft list table inet rctr");
            if subnet != "10.88.0.0/24" {
                let sets = rules.matches(&format!("elements = {{ {subnet} }}")).count();
                assert_eq!(sets, 2, "{subnet} in\n{rules}");
            }
        }
        remove_bridge(&BridgeConfig {
            subnet: "10.88.0.0/24".parse().unwrap(),
            ..bridge_v6()
        })
        .unwrap();
        assert!(!run("nft list ruleset").contains("table inet rctr"));
        assert!(!run("ip link").contains("rctr0"));
    });
}

#[test]
fn many_at_once_make_one_bridge() {
    let host = new_netns().unwrap();
    let fresh: Vec<bool> = thread::scope(|scope| {
        let workers = (0..8).map(|_| {
            scope.spawn(|| run_in(&host, || ensure_bridge(&bridge_v6()).unwrap().publish_again))
        });
        let workers = workers.collect::<Vec<_>>();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    assert_eq!(fresh.iter().filter(|&&fresh| fresh).count(), 1);
}

#[test]
fn one_that_was_never_made_takes_nothing_of_another_s_along() {
    on_private_host(|| {
        let port = PublishedPort {
            host_ip: "0.0.0.0".parse().unwrap(),
            host_port: 8080,
            container_ip: "10.88.5.2".parse().unwrap(),
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        ensure_bridge(&bridge()).unwrap();
        drop(publish(&bridge(), &[port]).unwrap());
        let rules = run("nft list table inet rctr");
        for subnet in ["10.88.5.0/24", "10.88.0.0/16"] {
            let never = BridgeConfig {
                name: "other0".into(),
                subnet: subnet.parse().unwrap(),
                ..bridge()
            };
            remove_bridge(&never).unwrap();
            assert_eq!(run("nft list table inet rctr"), rules, "{subnet}");
        }
    });
}

#[test]
fn what_is_missing_is_made_again() {
    on_private_host(|| {
        ensure_bridge(&bridge()).unwrap();
        run("ip address flush dev rctr0");
        run("ip link set rctr0 down");
        run("nft delete table inet rctr");
        assert!(ensure_bridge(&bridge()).unwrap().publish_again);
        assert!(run("ip address show rctr0").contains("10.88.0.1/16"));
        assert!(run("ip link show rctr0").contains(",UP"));
        run("ip link delete rctr0");
        // The table still knows the bridge: nothing to publish again.
        assert!(!ensure_bridge(&bridge()).unwrap().publish_again);
        // A table of another layout, as of an older release.
        run("nft delete table inet rctr");
        run("nft add table inet rctr");
        assert!(ensure_bridge(&bridge()).unwrap().publish_again);
        assert!(run("nft list table inet rctr").contains("chain forward"));
    });
}

#[test]
fn containers_reach_each_other_the_host_and_the_world() {
    for br_netfilter in ["0", "1"] {
        on_private_host(move || {
            set_br_netfilter(br_netfilter);
            let outside = Outside::connect();
            serve(&outside.netns);
            let bridge = bridge();
            ensure_bridge(&bridge).unwrap();
            let started = Instant::now();
            let one = Container::start(&bridge, 1);
            println!("namespace and cable: {:?}", started.elapsed());
            let two = Container::start(&bridge, 2);
            two.serve();
            assert_eq!(fetch(two.ip(), 80), Some(bridge.gateway().into()));
            assert_eq!(one.fetch(two.ip(), 80), Some(one.ip()));
            // The world sees the host's address.
            assert_eq!(one.fetch(Outside::IP, 80), Some(Outside::HOST));
            // A neighbour of the host reaches no port that is not published.
            assert_eq!(outside.fetch(two.ip(), 80), None);
        });
    }
}

#[test]
fn the_very_first_packet_arrives() {
    for _ in 0..20 {
        on_private_host(|| {
            let bridge = bridge();
            ensure_bridge(&bridge).unwrap();
            let one = Container::start(&bridge, 1);
            let port = one.published(ANY, 8080);
            let _ = rctr_network::publish(&bridge, &[port]).unwrap();
            one.serve();
            assert!(fetch(LOCALHOST, 8080).is_some());
        });
    }
}

#[test]
fn ipv6_works_without_waiting_for_duplicates() {
    on_private_host(|| {
        let outside = Outside::connect();
        serve(&outside.netns);
        let bridge = bridge_v6();
        ensure_bridge(&bridge).unwrap();
        let one = Container::start(&bridge, 1);
        let two = Container::start(&bridge, 2);
        two.serve();
        assert_eq!(one.fetch(two.ip_v6(), 80), Some(one.ip_v6()));
        assert_eq!(fetch(two.ip_v6(), 80), bridge.gateway_v6().map(Into::into));
        assert_eq!(one.fetch(Outside::IP_V6, 80), Some(Outside::HOST_V6));
        assert_eq!(outside.fetch(two.ip_v6(), 80), None);
        let inside = run_in(&one.netns, || run("ip -6 address show eth0"));
        assert!(!inside.contains("tentative"), "{inside}");
    });
}

#[test]
fn ipv6_forwarding_leaves_the_hosts_own_routes_alone() {
    on_private_host(|| {
        let _outside = Outside::connect();
        let read = |key: &str| std::fs::read_to_string(format!("/proc/sys/net/{key}")).unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        ensure_bridge(&bridge()).unwrap();
        assert_eq!(read("ipv6/conf/all/forwarding"), "0\n");
        ensure_bridge(&bridge_v6()).unwrap();
        assert_eq!(read("ipv6/conf/all/forwarding"), "1\n");
        assert_eq!(read("ipv6/conf/wire0/accept_ra"), "2\n");
        assert_eq!(read("ipv6/conf/rctr0/accept_ra"), "0\n");
        let addresses = run("ip -6 address show rctr0");
        assert!(addresses.contains("fd72:6374:72"), "{addresses}");
    });
}

#[test]
fn the_packet_size_is_the_bridges() {
    on_private_host(|| {
        let mut bridge = bridge();
        ensure_bridge(&bridge).unwrap();
        bridge.mtu = Some(1400);
        ensure_bridge(&bridge).unwrap();
        assert!(run("ip link show rctr0").contains("mtu 1400"));
        let one = Container::start(&bridge, 1);
        assert!(run("ip link show rvrctr01").contains("mtu 1400"));
        assert!(run_in(&one.netns, || run("ip link show eth0")).contains("mtu 1400"));
    });
}

#[test]
fn without_ipv6_a_container_has_only_ipv4() {
    on_private_host(|| {
        ensure_bridge(&bridge()).unwrap();
        let one = Container::start(&bridge(), 1);
        let inside = run_in(&one.netns, || run("ip address show"));
        assert!(!inside.contains("fe80"), "{inside}");
        assert!(inside.contains("link/ether 02:42:0a:58:00:02"), "{inside}");
        assert!(
            inside.contains("inet 10.88.0.2/16 brd 10.88.255.255"),
            "{inside}"
        );
        assert!(inside.contains("127.0.0.1/8"), "{inside}");
    });
}

#[test]
fn a_private_host_has_no_ipv6_until_it_gets_an_address() {
    on_private_host(|| {
        ensure_bridge(&bridge_v6()).unwrap();
        assert!(!host_has_ipv6());
        let _outside = Outside::connect();
        assert!(host_has_ipv6());
    });
}

#[test]
fn the_cable_goes_with_the_namespace() {
    on_private_host(|| {
        ensure_bridge(&bridge()).unwrap();
        let one = Container::start(&bridge(), 1);
        assert!(run("ip link").contains("rvrctr01"));
        drop(one);
        // The kernel does it in its own time; every round of the loop waits for a program.
        let gone = (0..1000).any(|_| !run("ip link").contains("rvrctr01"));
        assert!(gone, "the cable is still there");
    });
}

#[test]
fn bridges_are_isolated_and_leave_one_by_one() {
    on_private_host(|| {
        let first = bridge();
        let second = BridgeConfig {
            name: "other0".to_owned(),
            subnet: "10.99.0.0/24".parse().unwrap(),
            ..bridge()
        };
        ensure_bridge(&first).unwrap();
        assert!(ensure_bridge(&second).unwrap().publish_again);
        let one = Container::start(&first, 1);
        let other = Container::start(&second, 1);
        other.serve();
        assert_eq!(one.fetch(other.ip(), 80), None);
        let _ = rctr_network::publish(&second, &[other.published(ANY, 8080)]).unwrap();
        assert!(one.fetch(first.gateway().into(), 8080).is_some());
        remove_bridge(&first).unwrap();
        assert!(!ensure_bridge(&second).unwrap().publish_again);
        assert!(fetch(LOCALHOST, 8080).is_some());
        assert!(!run("nft list table inet rctr").contains("10.88.0.0"));
        remove_bridge(&second).unwrap();
        assert_eq!(run("nft list ruleset"), "");
        assert_eq!(run("ip link show type bridge"), "");
        remove_bridge(&second).unwrap();
    });
}

#[test]
fn one_bridge_leaves_with_its_ports() {
    on_private_host(|| {
        let second = BridgeConfig {
            name: "other0".to_owned(),
            subnet: "10.99.0.0/24".parse().unwrap(),
            ..bridge()
        };
        ensure_bridge(&bridge_v6()).unwrap();
        ensure_bridge(&second).unwrap();
        let one = Container::start(&bridge_v6(), 1);
        let ports = [one.published(ANY, 8080), one.published(ANY_V6, 8080)];
        let _ = rctr_network::publish(&bridge_v6(), &ports).unwrap();
        remove_bridge(&bridge_v6()).unwrap();
        let rules = run("nft list table inet rctr");
        assert!(!rules.contains("8080"), "{rules}");
        assert!(!rules.contains("rctr0"), "{rules}");
    });
}

#[test]
fn clashes_are_told_apart() {
    on_private_host(|| {
        let config = bridge();
        let netns = new_netns().unwrap();
        let missing = connect(netns.as_fd(), &config, &endpoint(&config, 1));
        assert!(
            matches!(missing, Err(Error::NoSuchBridge { .. })),
            "{missing:?}"
        );
        ensure_bridge(&config).unwrap();
        let _one = Container::start(&config, 1);
        let clash = connect(netns.as_fd(), &config, &endpoint(&config, 1));
        assert!(
            matches!(&clash, Err(Error::InterfaceExists { name }) if name == "rvrctr01"),
            "{clash:?}"
        );
        // The namespace can still be used.
        connect(netns.as_fd(), &config, &endpoint(&config, 2)).unwrap();
        run("ip link add name plain0 type veth peer name plain1");
        let wrong = BridgeConfig {
            name: "plain0".to_owned(),
            ..bridge()
        };
        assert!(matches!(
            ensure_bridge(&wrong),
            Err(Error::NotABridge { .. })
        ));
        assert!(matches!(
            remove_bridge(&wrong),
            Err(Error::NotABridge { .. })
        ));
        let overlapping = BridgeConfig {
            name: "other0".to_owned(),
            subnet: "10.88.7.0/24".parse().unwrap(),
            ..bridge()
        };
        let refused = ensure_bridge(&overlapping);
        assert!(
            matches!(&refused, Err(Error::SubnetInUse { interface, .. }) if interface == "rctr0"),
            "{refused:?}"
        );
        assert!(!run("ip link").contains("other0"));
    });
}

#[test]
fn the_hot_path_is_quick() {
    on_private_host(|| {
        let bridge = bridge_v6();
        ensure_bridge(&bridge).unwrap();
        let names = [
            "ensure_bridge",
            "new_netns",
            "connect",
            "publish",
            "unpublish",
            "deferred",
        ];
        let mut times = [const { Vec::new() }; 6];
        for n in 1..=20 {
            // As cold as a person's command is.
            std::thread::sleep(std::time::Duration::from_millis(30));
            let mut clock = Instant::now();
            let mut lap = |step: usize| {
                times[step].push(clock.elapsed());
                clock = Instant::now();
            };
            ensure_bridge(&bridge).unwrap();
            lap(0);
            let netns = new_netns().unwrap();
            lap(1);
            let endpoint = endpoint(&bridge, n);
            connect(netns.as_fd(), &bridge, &endpoint).unwrap();
            lap(2);
            let one = Container { netns, endpoint };
            let udp = PublishedPort {
                protocol: Protocol::Udp,
                ..one.published(ANY, 8080)
            };
            let ports = [one.published(ANY, 8080), one.published(ANY_V6, 8080), udp];
            let published = rctr_network::publish(&bridge, &ports).unwrap();
            lap(3);
            drop(published);
            lap(5);
            let unpublished = rctr_network::unpublish(&bridge, &ports).unwrap();
            lap(4);
            drop(unpublished);
            lap(5);
        }
        for (name, times) in names.iter().zip(&mut times) {
            times.sort();
            println!(
                "{name}: median {:?}, worst {:?}",
                times[times.len() / 2],
                times[times.len() - 1]
            );
        }
    });
}
