//! nftables over netlink: published ports, masquerading, and the guard before the bridges.
//!
//! One table for all bridges of all rctr roots on the host. What a bridge or a port adds are elements of sets
//! and maps, so the rules never change and the number of ports costs nothing per packet:
//!
//! ```text
//! table inet rctr {
//!   set bridges          { type ifname }                       our bridges
//!   set same_bridge      { type ifname . ifname }              each bridge with itself
//!   set internal         { type ifname }                       bridges that lead nowhere
//!   set networks4        { type ipv4_addr; flags interval }    our subnets
//!   set masked4          { type ipv4_addr; flags interval }    those that go out with the host's address
//!   map published4       { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service }
//!   map published_any4   { type inet_proto . inet_service : ipv4_addr . inet_service }
//!   chain guard          { hook prerouting priority raw }      containers never reach the host's 127.0.0.0/8
//!   chain prerouting     { type nat }                          from outside and from containers
//!   chain output         { type nat }                          from the host itself
//!   chain postrouting    { type nat }                          masquerading
//!   chain forward        { type filter }                       drop what nobody published
//! }
//! ```

mod batch;
mod dns;
mod expression;
mod firewall;
mod intervals;
mod ports;
mod ruleset;

use nix::errno::Errno;

use crate::addressing::octets;
use crate::netlink::{Answer, Requests, Socket, attribute, attributes, be32};
use crate::{BridgeConfig, Error, Result};

use batch::{Batch, INTERVAL_END, nfgenmsg};
pub(crate) use dns::redirect_dns;
use intervals::Gone;
pub(crate) use ports::{publish, unpublish};

const TABLE: &str = "rctr";
const INET: u8 = libc::NFPROTO_INET as u8;
/// How often a change is tried again when other programs change rules at the same time.
const ATTEMPTS: usize = 100;

const NFTA_GEN_ID: u16 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_USERDATA: u16 = 6;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_DATA_VALUE: u16 = 1;

/// What `ensure` found and did.
pub(crate) struct Ensured {
    /// The bridge was not known to the table: no port behind it is published.
    pub(crate) bridge_added: bool,
}

/// Makes the table if it is missing and lets it know the bridge.
pub(crate) fn ensure(bridge: &BridgeConfig) -> Result<Ensured> {
    let operation = format!("set up nftables for {}", bridge.name);
    let socket = &Socket::netfilter()?;
    retrying(socket, &operation, || {
        let state = State::read(socket, bridge, &operation)?;
        let mut batch = Batch::new(Some(state.generation));
        if !state.table {
            ruleset::push_table(&mut batch, crate::host::kernel_has_ipv6());
        }
        if !state.bridge {
            ruleset::push_bridge(&mut batch, bridge);
        }
        for network in &state.missing_networks {
            if state.table {
                let gone = Gone::Overlapping;
                intervals::push_removal(socket, &mut batch, *network, gone, &operation)?;
            }
            ruleset::push_network(&mut batch, bridge, *network);
        }
        for filter in &state.foreign {
            filter.push_accept(socket, &mut batch, &bridge.name)?;
        }
        let done = Ensured {
            bridge_added: !state.bridge,
        };
        Ok((batch, done))
    })
}

/// Whether `ensure` would find nothing to do.
pub(crate) fn is_complete(bridge: &BridgeConfig) -> Result<bool> {
    let operation = format!("look at nftables for {}", bridge.name);
    let socket = &Socket::netfilter()?;
    let state = State::read(socket, bridge, &operation)?;
    let mut complete = state.bridge && state.missing_networks.is_empty();
    for filter in &state.foreign {
        complete = complete && filter.accepts(socket, &bridge.name)?;
    }
    Ok(complete)
}

/// Takes the bridge and the ports behind it out of the table, and the table away with the last bridge.
pub(crate) fn remove(bridge: &BridgeConfig) -> Result<()> {
    let operation = format!("remove {} from nftables", bridge.name);
    let socket = &Socket::netfilter()?;
    retrying(socket, &operation, || {
        let state = State::read(socket, bridge, &operation)?;
        let mut batch = Batch::new(Some(state.generation));
        if state.table {
            let known = elements(socket, ruleset::BRIDGES, &operation)?;
            let ours = ruleset::ifname(&bridge.name);
            if known.iter().all(|element| element.key == ours) {
                batch.delete_table(INET, TABLE);
            } else if state.bridge {
                // Without it, what lies in its networks is another one's: its own came and went with it.
                ruleset::push_bridge_removal(&mut batch, bridge);
                for network in ruleset::networks(bridge) {
                    intervals::push_removal(socket, &mut batch, network, Gone::Own, &operation)?;
                }
                ports::push_removal(socket, &mut batch, bridge, &operation)?;
            }
        }
        firewall::push_removal(socket, &mut batch, &bridge.name)?;
        Ok((batch, ()))
    })
}

/// Commits the batch that `prepare` makes from what it reads; again, if the rules changed in between.
fn retrying<T>(
    socket: &Socket,
    operation: &str,
    mut prepare: impl FnMut() -> Result<(Batch, T)>,
) -> Result<T> {
    for _ in 0..ATTEMPTS {
        let (batch, result) = prepare()?;
        match batch.commit(socket, operation)? {
            Ok(()) => return Ok(result),
            Err(refusal) if refusal.errno == Errno::ERESTART => {}
            Err(refusal) => return Err(refusal.into_error(operation)),
        }
    }
    Err(Error::Contended {
        operation: operation.to_owned(),
    })
}

/// The number of the present set of rules: every change on the host counts it up.
fn generation(socket: &Socket, operation: &str) -> Result<u32> {
    let mut requests = Requests::default();
    requests.push(message(libc::NFT_MSG_GETGEN), 0, &nfgenmsg(0), |_| {});
    let answer = socket.exchange(&requests, operation)?;
    generation_in(&answer, 1, operation)
}

fn generation_in(answer: &Answer, request: u32, operation: &str) -> Result<u32> {
    if answer.refusals.iter().any(|r| r.request == request) {
        return Err(Error::NoNftables {
            operation: operation.to_owned(),
        });
    }
    let attrs = answer.reply(request).and_then(|body| body.get(4..));
    let id = attrs.and_then(|attrs| attribute(attrs, NFTA_GEN_ID));
    id.and_then(be32).ok_or_else(|| Error::MalformedReply {
        operation: operation.to_owned(),
    })
}

/// What is there already, read in one round trip.
struct State {
    generation: u32,
    table: bool,
    bridge: bool,
    missing_networks: Vec<ipnet::IpNet>,
    foreign: Vec<firewall::DroppingFilter>,
}

impl State {
    fn read(socket: &Socket, bridge: &BridgeConfig, operation: &str) -> Result<Self> {
        const GENERATION: u32 = 1;
        const TABLE_COMMENT: u32 = 2;
        const BRIDGE: u32 = 3;
        const FILTERS: u32 = 4;
        let networks = ruleset::networks(bridge);
        let families = firewall::families(bridge);
        let first_network = FILTERS + families.len() as u32;

        let mut requests = Requests::default();
        requests.push(message(libc::NFT_MSG_GETGEN), 0, &nfgenmsg(0), |_| {});
        requests.push(message(libc::NFT_MSG_GETTABLE), 0, &nfgenmsg(INET), |a| {
            a.string(NFTA_TABLE_NAME, TABLE);
        });
        push_get_element(
            &mut requests,
            ruleset::BRIDGES,
            &ruleset::ifname(&bridge.name),
        );
        for &family in families {
            firewall::push_query(&mut requests, family);
        }
        for network in &networks {
            // Asked for the last address, the kernel answers where the interval around it begins.
            let last = octets(network.broadcast());
            push_get_element(&mut requests, ruleset::network_set(*network), &last);
        }
        let answer = socket.exchange(&requests, operation)?;
        let generation = generation_in(&answer, GENERATION, operation)?;
        let body = |request| answer.reply(request).and_then(|body| body.get(4..));
        let table = body(TABLE_COMMENT).is_some();
        let current = body(TABLE_COMMENT)
            .and_then(|attrs| attribute(attrs, NFTA_TABLE_USERDATA))
            .is_some_and(|data| data == ruleset::table_comment());
        if table && !current {
            tracing::debug!("nftables table {TABLE} has another layout and is made anew");
        }
        let there = |at: usize, network: &ipnet::IpNet| {
            let reply = answer.reply(first_network + at as u32);
            let first = octets(network.network());
            current && reply.is_some_and(|body| elements_in(body).any(|e| e.key == first))
        };
        let missing_networks = networks
            .iter()
            .enumerate()
            .filter(|&(at, net)| !there(at, net));
        let foreign = families.iter().enumerate().filter_map(|(at, &family)| {
            firewall::DroppingFilter::from_reply(family, body(FILTERS + at as u32)?)
        });
        Ok(Self {
            generation,
            table: current,
            bridge: current && body(BRIDGE).is_some(),
            missing_networks: missing_networks.map(|(_, net)| *net).collect(),
            foreign: foreign.collect(),
        })
    }
}

/// An element of a set or map.
struct Element {
    key: Vec<u8>,
    data: Vec<u8>,
    flags: u32,
}

impl Element {
    fn parse(attrs: &[u8]) -> Option<Self> {
        let key = attribute(attribute(attrs, NFTA_SET_ELEM_KEY)?, NFTA_DATA_VALUE)?;
        let data = attribute(attrs, NFTA_SET_ELEM_DATA).and_then(|d| attribute(d, NFTA_DATA_VALUE));
        let flags = attribute(attrs, NFTA_SET_ELEM_FLAGS).and_then(be32);
        Some(Self {
            key: key.to_vec(),
            data: data.unwrap_or_default().to_vec(),
            flags: flags.unwrap_or_default(),
        })
    }

    fn ends_interval(&self) -> bool {
        self.flags & INTERVAL_END != 0
    }
}

/// The elements in an answer to a request for one or all elements of a set.
fn elements_in(body: &[u8]) -> impl Iterator<Item = Element> {
    let attrs = body.get(4..).unwrap_or_default();
    let list = attribute(attrs, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    attributes(list).filter_map(|(_, element)| Element::parse(element))
}

/// All elements of one of our sets; none if it does not exist.
fn elements(socket: &Socket, set: &str, operation: &str) -> Result<Vec<Element>> {
    let mut requests = Requests::default();
    let dump = libc::NLM_F_DUMP as u16;
    requests.push(
        message(libc::NFT_MSG_GETSETELEM),
        dump,
        &nfgenmsg(INET),
        |a| {
            a.string(NFTA_SET_ELEM_LIST_TABLE, TABLE);
            a.string(NFTA_SET_ELEM_LIST_SET, set);
        },
    );
    match socket.dump(&requests, operation)?.into_result() {
        Ok(replies) => Ok(replies.iter().flat_map(|r| elements_in(&r.body)).collect()),
        Err(refusal) if refusal.errno == Errno::ENOENT => Ok(Vec::new()),
        Err(refusal) => Err(refusal.into_error(operation)),
    }
}

fn push_get_element(requests: &mut Requests, set: &str, key: &[u8]) {
    requests.push(message(libc::NFT_MSG_GETSETELEM), 0, &nfgenmsg(INET), |a| {
        a.string(NFTA_SET_ELEM_LIST_TABLE, TABLE);
        a.string(NFTA_SET_ELEM_LIST_SET, set);
        a.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |a| {
            a.nest(NFTA_LIST_ELEM, |a| {
                a.nest(NFTA_SET_ELEM_KEY, |a| a.bytes(NFTA_DATA_VALUE, key));
            });
        });
    });
}

/// The netlink message type of an nftables command.
fn message(command: libc::c_int) -> u16 {
    ((libc::NFNL_SUBSYS_NFTABLES as u16) << 8) | command as u16
}
