//! The table's rules and sets, and what a bridge adds to them.

use ipnet::IpNet;

use crate::BridgeConfig;

use super::batch::{BaseChain, Batch, NewElement, Set};
use super::expression::{Expressions, Family, IPV4, IPV6, REG};
use super::intervals::Interval;
use super::{INET, TABLE};

/// Changes with every change of this file's rules: a table that says something else is made anew.
const LAYOUT: &str = "rctr, layout 2";

pub(super) const BRIDGES: &str = "bridges";
const SAME_BRIDGE: &str = "same_bridge";
const INTERNAL: &str = "internal";

/// The sets of one address family.
pub(super) struct Names {
    networks: &'static str,
    /// Networks whose containers speak to the world with an address of the host.
    masked: &'static str,
    /// Ports published on one address.
    pub(super) published: &'static str,
    /// Ports published on all addresses of the host.
    pub(super) published_any: &'static str,
}

pub(super) const NAMES_V4: Names = Names {
    networks: "networks4",
    masked: "masked4",
    published: "published4",
    published_any: "published_any4",
};

pub(super) const NAMES_V6: Names = Names {
    networks: "networks6",
    masked: "masked6",
    published: "published6",
    published_any: "published_any6",
};

// nft's numbers of data types: concatenated, each takes six bits.
const TYPE_IPV4_ADDR: u32 = 7;
const TYPE_IPV6_ADDR: u32 = 8;
const TYPE_INET_PROTO: u32 = 12;
const TYPE_INET_SERVICE: u32 = 13;
const TYPE_IFNAME: u32 = 41;

const IFNAME_LENGTH: u32 = libc::IFNAMSIZ as u32;

const GUARD: BaseChain = BaseChain {
    name: "guard",
    kind: "filter",
    hook: libc::NF_INET_PRE_ROUTING,
    priority: libc::NF_IP_PRI_RAW,
};
const PREROUTING: BaseChain = BaseChain {
    name: "prerouting",
    kind: "nat",
    hook: libc::NF_INET_PRE_ROUTING,
    priority: libc::NF_IP_PRI_NAT_DST,
};
const OUTPUT: BaseChain = BaseChain {
    name: "output",
    kind: "nat",
    hook: libc::NF_INET_LOCAL_OUT,
    priority: libc::NF_IP_PRI_NAT_DST,
};
const POSTROUTING: BaseChain = BaseChain {
    name: "postrouting",
    kind: "nat",
    hook: libc::NF_INET_POST_ROUTING,
    priority: libc::NF_IP_PRI_NAT_SRC,
};
const FORWARD: BaseChain = BaseChain {
    name: "forward",
    kind: "filter",
    hook: libc::NF_INET_FORWARD,
    priority: libc::NF_IP_PRI_FILTER,
};

/// The table's user data: a comment that nft shows and that tells us the layout.
pub(super) fn table_comment() -> Vec<u8> {
    comment(LAYOUT)
}

/// A comment as nft keeps it in the user data of a table or rule: type 0, length, text with NUL.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let mut data = vec![0, text.len() as u8 + 1];
    data.extend_from_slice(text.as_bytes());
    data.push(0);
    data
}

/// Makes the table from nothing, whatever was there.
pub(super) fn push_table(batch: &mut Batch, with_ipv6: bool) {
    batch.touch_table(INET, TABLE);
    batch.delete_table(INET, TABLE);
    batch.add_table(INET, TABLE, &table_comment());
    for chain in [GUARD, PREROUTING, OUTPUT, POSTROUTING, FORWARD] {
        batch.add_chain(INET, TABLE, &chain);
    }
    for set in interface_sets() {
        batch.add_set(INET, TABLE, &set);
    }
    push_forward(batch);
    push_family(batch, IPV4, &NAMES_V4);
    if with_ipv6 {
        push_family(batch, IPV6, &NAMES_V6);
    }
}

fn push_family(batch: &mut Batch, family: Family, names: &Names) {
    for set in address_sets(family, names) {
        batch.add_set(INET, TABLE, &set);
    }
    push_guard(batch, family);
    // A loopback address is never a destination from outside, however the packet got here.
    push_loopback_return(batch, &PREROUTING, family);
    if family.routes_loopback {
        push_loopback_masquerade(batch, family);
    } else {
        // The answer from a container would never arrive; a refused connection makes callers try 127.0.0.1.
        push_loopback_return(batch, &OUTPUT, family);
    }
    for chain in [&PREROUTING, &OUTPUT] {
        push_port_rules(batch, chain, family, names);
    }
    push_masquerade(batch, family, names);
}

fn push_loopback_return(batch: &mut Batch, chain: &BaseChain, family: Family) {
    rule(batch, chain, |e| {
        e.family(family)
            .load_destination(family, REG)
            .is_loopback(family, REG)
            .return_();
    });
}

/// The host's own 127.0.0.1 to a container: the answer must find its way back.
fn push_loopback_masquerade(batch: &mut Batch, family: Family) {
    rule(batch, &POSTROUTING, |e| {
        e.family(family)
            .load_source(family, REG)
            .is_loopback(family, REG)
            .load_meta(libc::NFT_META_OIFNAME, REG)
            .in_set(BRIDGES, REG)
            .masquerade();
    });
}

/// The bridges route 127.0.0.0/8 so that the host's own 127.0.0.1 can reach containers; not the other way.
fn push_guard(batch: &mut Batch, family: Family) {
    let load: [fn(&mut Expressions<'_, '_>, Family); 2] = [
        |e, family| {
            e.load_destination(family, REG);
        },
        |e, family| {
            e.load_source(family, REG);
        },
    ];
    for load_address in load {
        rule(batch, &GUARD, |e| {
            e.load_meta(libc::NFT_META_IIFNAME, REG)
                .in_set(BRIDGES, REG)
                .family(family);
            load_address(e, family);
            e.is_loopback(family, REG).drop();
        });
    }
}

fn push_port_rules(batch: &mut Batch, chain: &BaseChain, family: Family, names: &Names) {
    let address_registers = family.address_length / 4;
    // What the maps give: an address, then a port.
    let port_found = REG + address_registers;
    rule(batch, chain, |e| {
        e.family(family)
            .load_meta(libc::NFT_META_L4PROTO, REG)
            .load_destination(family, REG + 1)
            .load_destination_port(REG + 1 + address_registers)
            .map(names.published, REG)
            .dnat(family, REG, port_found);
    });
    rule(batch, chain, |e| {
        e.family(family)
            .only_to_this_host()
            .load_meta(libc::NFT_META_L4PROTO, REG)
            .load_destination_port(REG + 1)
            .map(names.published_any, REG)
            .dnat(family, REG, port_found);
    });
}

fn push_masquerade(batch: &mut Batch, family: Family, names: &Names) {
    let oifname = libc::NFT_META_OIFNAME;
    // A container to the world.
    rule(batch, &POSTROUTING, |e| {
        e.family(family)
            .load_source(family, REG)
            .in_set(names.masked, REG)
            .load_meta(oifname, REG)
            .not_in_set(BRIDGES, REG)
            .masquerade();
    });
    // A container to itself or a neighbour by a published port: without this the answer would come
    // straight from the neighbour, which the caller never addressed. No iifname here: br_netfilter hides it.
    rule(batch, &POSTROUTING, |e| {
        e.came_by_published_port()
            .family(family)
            .load_source(family, REG)
            .in_set(names.networks, REG)
            .load_meta(oifname, REG)
            .in_set(BRIDGES, REG)
            .masquerade();
    });
}

/// Towards a bridge only answers, published ports and neighbours on that bridge get through; from and to an internal one
/// only neighbours.
fn push_forward(batch: &mut Batch) {
    rule(batch, &FORWARD, |e| {
        e.established().accept();
    });
    rule(batch, &FORWARD, |e| {
        e.load_meta(libc::NFT_META_IIFNAME, REG)
            .load_meta(libc::NFT_META_OIFNAME, REG + IFNAME_LENGTH / 4)
            .in_set(SAME_BRIDGE, REG)
            .accept();
    });
    for direction in [libc::NFT_META_IIFNAME, libc::NFT_META_OIFNAME] {
        rule(batch, &FORWARD, |e| {
            e.load_meta(direction, REG)
                .in_set(INTERNAL, REG)
                .counter()
                .drop();
        });
    }
    rule(batch, &FORWARD, |e| {
        e.load_meta(libc::NFT_META_OIFNAME, REG)
            .not_in_set(BRIDGES, REG)
            .accept();
    });
    rule(batch, &FORWARD, |e| {
        e.came_by_published_port().accept();
    });
    rule(batch, &FORWARD, |e| {
        e.counter().drop();
    });
}

fn rule(batch: &mut Batch, chain: &BaseChain, body: impl FnOnce(&mut Expressions<'_, '_>)) {
    batch.append_rule(INET, TABLE, chain.name, body);
}

fn interface_sets() -> [Set; 3] {
    [
        Set {
            name: INTERNAL,
            flags: 0,
            key_type: TYPE_IFNAME,
            key_length: IFNAME_LENGTH,
            data: None,
            user_data: host_byte_order(),
        },
        Set {
            name: BRIDGES,
            flags: 0,
            key_type: TYPE_IFNAME,
            key_length: IFNAME_LENGTH,
            data: None,
            user_data: host_byte_order(),
        },
        Set {
            name: SAME_BRIDGE,
            flags: 0,
            key_type: concatenation(&[TYPE_IFNAME, TYPE_IFNAME]),
            key_length: 2 * IFNAME_LENGTH,
            data: None,
            user_data: host_byte_order(),
        },
    ]
}

fn address_sets(family: Family, names: &Names) -> [Set; 4] {
    let length = family.address_length;
    let address = if length == 4 {
        TYPE_IPV4_ADDR
    } else {
        TYPE_IPV6_ADDR
    };
    let target = concatenation(&[address, TYPE_INET_SERVICE]);
    [
        Set {
            name: names.networks,
            flags: libc::NFT_SET_INTERVAL,
            key_type: address,
            key_length: length,
            data: None,
            user_data: Vec::new(),
        },
        Set {
            name: names.masked,
            flags: libc::NFT_SET_INTERVAL,
            key_type: address,
            key_length: length,
            data: None,
            user_data: Vec::new(),
        },
        Set {
            name: names.published,
            flags: libc::NFT_SET_MAP,
            key_type: concatenation(&[TYPE_INET_PROTO, address, TYPE_INET_SERVICE]),
            key_length: length + 8,
            data: Some((target, length + 4)),
            user_data: Vec::new(),
        },
        Set {
            name: names.published_any,
            flags: libc::NFT_SET_MAP,
            key_type: concatenation(&[TYPE_INET_PROTO, TYPE_INET_SERVICE]),
            key_length: 8,
            data: Some((target, length + 4)),
            user_data: Vec::new(),
        },
    ]
}

fn concatenation(types: &[u32]) -> u32 {
    types.iter().fold(0, |all, kind| (all << 6) | kind)
}

/// Names are strings in memory order; nft prints "" unless the set's user data (type 0: key byte order) says so.
fn host_byte_order() -> Vec<u8> {
    let mut data = vec![0, 4];
    data.extend_from_slice(&1_u32.to_ne_bytes());
    data
}

pub(super) fn ifname(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(IFNAME_LENGTH as usize, 0);
    key
}

pub(super) fn push_bridge(batch: &mut Batch, bridge: &BridgeConfig) {
    for (set, element) in bridge_elements(bridge) {
        batch.add_elements(TABLE, set, &[element]);
    }
}

pub(super) fn push_bridge_removal(batch: &mut Batch, bridge: &BridgeConfig) {
    for (set, element) in bridge_elements(bridge) {
        batch.delete_elements(TABLE, set, &[element]);
    }
}

fn bridge_elements(bridge: &BridgeConfig) -> Vec<(&'static str, NewElement)> {
    let key = ifname(&bridge.name);
    let pair = [key.clone(), key.clone()].concat();
    let mut elements = vec![(BRIDGES, NewElement::key(key.clone()))];
    if !bridge.isolated {
        elements.push((SAME_BRIDGE, NewElement::key(pair)));
    }
    if bridge.internal {
        elements.push((INTERNAL, NewElement::key(key)));
    }
    elements
}

/// The networks of a bridge that the table knows of.
pub(super) fn networks(bridge: &BridgeConfig) -> Vec<IpNet> {
    let v6 = bridge.subnet_v6.filter(|_| crate::host::kernel_has_ipv6());
    let both = [Some(bridge.subnet.into()), v6.map(IpNet::from)];
    both.into_iter().flatten().collect()
}

/// The set that all networks of a family are in.
pub(super) fn network_set(network: IpNet) -> &'static str {
    names_of(network).networks
}

/// All sets that networks of a family may be in.
pub(super) fn network_sets(network: IpNet) -> [&'static str; 2] {
    let names = names_of(network);
    [names.networks, names.masked]
}

fn names_of(network: IpNet) -> &'static Names {
    match network {
        IpNet::V4(_) => &NAMES_V4,
        IpNet::V6(_) => &NAMES_V6,
    }
}

pub(super) fn push_network(batch: &mut Batch, bridge: &BridgeConfig, network: IpNet) {
    let elements = Interval::of(network).elements();
    for set in sets_of(bridge, network) {
        batch.add_elements(TABLE, set, &elements);
    }
}

/// The sets that a network of a bridge is in.
fn sets_of(bridge: &BridgeConfig, network: IpNet) -> Vec<&'static str> {
    let names = names_of(network);
    let masked = (!bridge.internal && !bridge.unmasked).then_some(names.masked);
    [Some(names.networks), masked]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concatenated_types_take_six_bits_each() {
        let key = concatenation(&[TYPE_INET_PROTO, TYPE_IPV4_ADDR, TYPE_INET_SERVICE]);
        assert_eq!(key, (12 << 12) | (7 << 6) | 13);
    }
}
