//! What the host offers.

use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;

use crate::config::GENERATED_V6;

/// Whether the host takes part in an IPv6 network: an interface has an address that others can reach, as none has where
/// IPv6 is switched off. Addresses of our own bridges do not count.
#[must_use]
pub fn host_has_ipv6() -> bool {
    let table = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    has_reachable_address(&table)
}

/// Whether the kernel was built and booted with IPv6.
#[must_use]
pub fn kernel_has_ipv6() -> bool {
    Path::new("/proc/thread-self/net/if_inet6").exists()
}

/// Reads lines of `address index prefix scope flags name`, all in hexadecimal.
fn has_reachable_address(if_inet6: &str) -> bool {
    if_inet6.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        let address = fields
            .next()
            .and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let global = fields.nth(2) == Some("00");
        let ours = |bits| GENERATED_V6.contains(&Ipv6Addr::from_bits(bits));
        global && address.is_some_and(|bits| !ours(bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_others_can_reach_count() {
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let link = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n";
        let ours = "fd726374720012340000000000000001 05 40 00 82    rctr0\n";
        let global = "20010db8000000000000000000000002 04 40 00 82     eth0\n";
        assert!(!has_reachable_address(&[loopback, link, ours].concat()));
        assert!(has_reachable_address(&[loopback, ours, global].concat()));
        assert!(!has_reachable_address("garbage\n\n"));
    }
}
