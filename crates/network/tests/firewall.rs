//! Beside a firewall that drops what it does not know, as Docker's.

mod lab;

use lab::*;
use rctr_network::{ensure_bridge, publish, remove_bridge};

#[test]
fn a_dropping_forward_policy_gets_one_exception() {
    if !have("iptables") {
        eprintln!("skipped: iptables is not installed");
        return;
    }
    on_private_host(|| {
        let outside = Outside::connect();
        serve(&outside.netns);
        run("iptables -P FORWARD DROP");
        run("ip6tables -P FORWARD DROP");
        let bridge = bridge_v6();
        ensure_bridge(&bridge).unwrap();
        let one = Container::start(&bridge, 1);
        one.serve();
        let ports = [one.published(ANY, 8080), one.published(ANY_V6, 8080)];
        publish(&bridge, &ports).unwrap();
        let all_works = || {
            assert_eq!(one.fetch(Outside::IP, 80), Some(Outside::HOST));
            assert_eq!(one.fetch(Outside::IP_V6, 80), Some(Outside::HOST_V6));
            assert!(outside.fetch(Outside::HOST, 8080).is_some());
            assert!(outside.fetch(Outside::HOST_V6, 8080).is_some());
            assert_eq!(outside.fetch(one.ip(), 80), None);
            assert_eq!(outside.fetch(one.ip_v6(), 80), None);
        };
        all_works();
        let rules = run("iptables -S");
        ensure_bridge(&bridge).unwrap();
        assert_eq!(run("iptables -S"), rules, "a second call added rules");
        println!("{rules}");
        // The tool can still read what we wrote.
        assert!(rules.contains("-A FORWARD -i rctr0"), "{rules}");

        // dockerd starts: its chain for others comes first from now on.
        run("iptables -F FORWARD");
        run("iptables -N DOCKER-USER");
        run("iptables -A DOCKER-USER -j RETURN");
        run("iptables -I FORWARD -j DOCKER-USER");
        ensure_bridge(&bridge).unwrap();
        all_works();
        let rules = run("iptables -S");
        assert!(rules.contains("-A DOCKER-USER -i rctr0"), "{rules}");
        assert!(!rules.contains("-A FORWARD -i rctr0"), "{rules}");

        remove_bridge(&bridge).unwrap();
        assert!(!run("iptables -S").contains("rctr0"));
        assert!(!run("ip6tables -S").contains("rctr0"));
    });
}

#[test]
fn an_open_firewall_is_left_alone() {
    if !have("iptables") {
        eprintln!("skipped: iptables is not installed");
        return;
    }
    on_private_host(|| {
        run("iptables -A FORWARD -s 198.51.100.0/24 -j DROP");
        let before = run("iptables -S");
        ensure_bridge(&bridge()).unwrap();
        assert_eq!(run("iptables -S"), before);
        remove_bridge(&bridge()).unwrap();
        assert_eq!(run("iptables -S"), before);
    });
}
