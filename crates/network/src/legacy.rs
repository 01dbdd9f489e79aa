//! Reading the kernel's old packet filter, which nftables does not know of.
//!
//! It has no netlink interface and can be changed only as a whole, by its own tool (`iptables-legacy`); but whether it
//! stands in the way can be asked. The layouts are those of include/uapi/linux/netfilter_ipv{4/ip,6/ip6}_tables.h.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::netlink::ne32;

const TABLE: &str = "filter";
const TABLE_NAME_LENGTH: usize = 32;
/// IPT_SO_GET_INFO, IP6T_SO_GET_INFO
const GET_INFO: libc::c_int = 64;
/// IPT_SO_GET_ENTRIES, IP6T_SO_GET_ENTRIES
const GET_ENTRIES: libc::c_int = 65;
/// struct ipt_getinfo: name, valid hooks, five entry points, five policies, number and size of the entries.
const INFO_LENGTH: usize = 84;
const INFO_POLICIES: usize = 56;
const INFO_SIZE: usize = 80;
/// struct ipt_get_entries: name, size, padding, entries.
const ENTRIES_SIZE: usize = 32;
const ENTRIES_START: usize = 40;
/// struct xt_entry_target, after which a standard target keeps its verdict.
const TARGET_HEADER: usize = 32;
/// How a standard target says NF_DROP.
const VERDICT_DROP: u32 = -1_i32 as u32;

struct Family {
    tables: &'static str,
    address_family: AddressFamily,
    level: libc::c_int,
    /// Where an entry says at what distance its target begins.
    target_offset: usize,
}

const FAMILIES: [Family; 2] = [
    Family {
        tables: "/proc/thread-self/net/ip_tables_names",
        address_family: AddressFamily::Inet,
        level: libc::SOL_IP,
        target_offset: 88,
    },
    Family {
        tables: "/proc/thread-self/net/ip6_tables_names",
        address_family: AddressFamily::Inet6,
        level: libc::SOL_IPV6,
        target_offset: 140,
    },
];

/// Whether the old filter drops what it is to forward, and has no rule that names the bridge.
pub(crate) fn filter_drops(bridge: &str, with_ipv6: bool) -> bool {
    let families = &FAMILIES[..if with_ipv6 { 2 } else { 1 }];
    families
        .iter()
        .filter(|family| is_loaded(family))
        .any(|family| stands_in_the_way(family, bridge).unwrap_or(false))
}

/// Asking about a table that is not there would load it.
fn is_loaded(family: &Family) -> bool {
    let names = fs::read_to_string(family.tables);
    names.is_ok_and(|names| names.lines().any(|name| name == TABLE))
}

fn stands_in_the_way(family: &Family, bridge: &str) -> Option<bool> {
    let socket = socket(
        family.address_family,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Raw,
    )
    .ok()?;
    let mut info = vec![0; INFO_LENGTH];
    info[..TABLE.len()].copy_from_slice(TABLE.as_bytes());
    ask(&socket, family, GET_INFO, &mut info)?;
    let policy_at = INFO_POLICIES + 4 * libc::NF_INET_FORWARD as usize;
    let policy = ne32(&info[policy_at..policy_at + 4])? as usize;
    let size = ne32(&info[INFO_SIZE..INFO_SIZE + 4])?;

    let mut table = vec![0; ENTRIES_START + size as usize];
    table[..TABLE.len()].copy_from_slice(TABLE.as_bytes());
    table[ENTRIES_SIZE..ENTRIES_SIZE + 4].copy_from_slice(&size.to_ne_bytes());
    ask(&socket, family, GET_ENTRIES, &mut table)?;
    let entries = &table[ENTRIES_START..];
    let name = [bridge.as_bytes(), &[0]].concat();
    let named = entries.windows(name.len()).any(|window| window == name);
    Some(drops(entries, policy, family.target_offset)? && !named)
}

/// Whether the standard target of the entry at `entry` is to drop.
fn drops(entries: &[u8], entry: usize, target_offset: usize) -> Option<bool> {
    let at = entry + target_offset;
    let distance = u16::from_ne_bytes(entries.get(at..at + 2)?.try_into().ok()?);
    let verdict = entry + usize::from(distance) + TARGET_HEADER;
    Some(ne32(entries.get(verdict..verdict + 4)?)? == VERDICT_DROP)
}

fn ask(socket: &OwnedFd, family: &Family, option: libc::c_int, buffer: &mut [u8]) -> Option<()> {
    debug_assert!(buffer.len() > TABLE_NAME_LENGTH);
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the pointer and `length` describe the live buffer, which the kernel reads and fills.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            family.level,
            option,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_the_verdict_of_its_entry() {
        let mut entries = vec![0; 200];
        entries[10 + 88..10 + 90].copy_from_slice(&112_u16.to_ne_bytes());
        let verdict = 10 + 112 + TARGET_HEADER;
        entries[verdict..verdict + 4].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(drops(&entries, 10, 88), Some(true));
        entries[verdict..verdict + 4].copy_from_slice(&(-2_i32).to_ne_bytes());
        assert_eq!(drops(&entries, 10, 88), Some(false));
        assert_eq!(drops(&entries, 190, 88), None);
    }
}
