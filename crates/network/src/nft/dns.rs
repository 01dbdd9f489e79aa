//! The rule of a container's own namespace that leads its DNS queries to our server.

use std::net::Ipv4Addr;

use crate::Result;
use crate::netlink::Socket;

use super::batch::{BaseChain, Batch};
use super::expression::{IPV4, REG};

const TABLE: &str = "rctr_dns";
const IP: u8 = libc::NFPROTO_IPV4 as u8;
const DOMAIN: u16 = 53;
const OUTPUT: BaseChain = BaseChain {
    name: "output",
    kind: "nat",
    hook: libc::NF_INET_LOCAL_OUT,
    priority: libc::NF_IP_PRI_NAT_DST,
};

/// Makes port 53 of `address` lead to other ports of it, in the calling thread's namespace.
pub(crate) fn redirect_dns(address: Ipv4Addr, udp: u16, tcp: u16) -> Result<()> {
    let operation = "lead DNS queries to the server";
    let socket = Socket::netfilter()?;
    let mut batch = Batch::new(None);
    batch.touch_table(IP, TABLE);
    batch.delete_table(IP, TABLE);
    batch.add_table(IP, TABLE, &[]);
    batch.add_chain(IP, TABLE, &OUTPUT);
    for (protocol, port) in [(libc::IPPROTO_UDP, udp), (libc::IPPROTO_TCP, tcp)] {
        batch.append_rule(IP, TABLE, OUTPUT.name, |e| {
            e.load_destination(IPV4, REG)
                .equals(REG, &address.octets())
                .load_meta(libc::NFT_META_L4PROTO, REG)
                .equals(REG, &[protocol as u8])
                .load_destination_port(REG)
                .equals(REG, &DOMAIN.to_be_bytes())
                .load_value(REG, &address.octets())
                .load_value(REG + 1, &port.to_be_bytes())
                .dnat(IPV4, REG, REG + 1);
        });
    }
    match batch.commit(&socket, operation)? {
        Ok(()) => Ok(()),
        Err(refusal) => Err(refusal.into_error(operation)),
    }
}
