//! Forgetting UDP flows.
//!
//! Addresses are translated as the first packet of a flow says. A UDP flow ends only when it falls silent, so a client
//! that keeps sending would for ever reach where the port led before: nobody, or a container that is gone.

use std::net::IpAddr;

use crate::addressing::octets;
use crate::netlink::{Reply, Requests, Socket, attribute};
use crate::{Protocol, PublishedPort, Result};

const CT_GET: u16 = ((libc::NFNL_SUBSYS_CTNETLINK as u16) << 8) | 1;
const CT_DELETE: u16 = ((libc::NFNL_SUBSYS_CTNETLINK as u16) << 8) | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_PROTO_NUM: u32 = 1 << 3;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const NESTED: u16 = libc::NLA_F_NESTED as u16;
const OPERATION: &str = "forget UDP flows";

/// UDP flows the kernel is to forget; it does when this is dropped.
///
/// The ports work for new flows whatever comes of this: trouble is for the log only.
#[derive(Debug)]
pub(crate) struct StaleFlows {
    socket: Socket,
    udp_ports: Vec<PublishedPort>,
    keep_right_ones: bool,
}

impl StaleFlows {
    /// The flows that enter by the UDP ports among these, except, if wanted, those that already lead to the right
    /// container.
    pub(crate) fn new(socket: Socket, ports: &[PublishedPort], keep_right_ones: bool) -> Self {
        let udp = ports.iter().filter(|port| port.protocol == Protocol::Udp);
        Self {
            socket,
            udp_ports: udp.copied().collect(),
            keep_right_ones,
        }
    }
}

impl Drop for StaleFlows {
    fn drop(&mut self) {
        for is_v4 in [true, false] {
            let concerned = self
                .udp_ports
                .iter()
                .filter(|port| port.host_ip.is_ipv4() == is_v4)
                .collect::<Vec<_>>();
            if concerned.is_empty() {
                continue;
            }
            if let Err(error) = forget(&self.socket, &concerned, is_v4, self.keep_right_ones) {
                tracing::debug!("{error}");
            }
        }
    }
}

fn forget(
    socket: &Socket,
    ports: &[&PublishedPort],
    is_v4: bool,
    keep_right_ones: bool,
) -> Result<()> {
    let header = if is_v4 {
        [libc::AF_INET as u8, 0, 0, 0]
    } else {
        [libc::AF_INET6 as u8, 0, 0, 0]
    };
    let mut list = Requests::default();
    list.push(CT_GET, libc::NLM_F_DUMP as u16, &header, |a| {
        // Kernels since 5.8 list UDP only.
        a.nest(CTA_TUPLE_ORIG, |a| {
            a.nest(CTA_TUPLE_PROTO, |a| {
                a.u8(CTA_PROTO_NUM, Protocol::Udp.number());
            });
        });
        a.nest(CTA_FILTER, |a| {
            a.u32(CTA_FILTER_ORIG_FLAGS, CTA_FILTER_PROTO_NUM);
        });
    });
    let flows = socket
        .dump(&list, OPERATION)?
        .into_result()
        .map_err(|refusal| refusal.into_error(OPERATION))?;
    let stale = flows.iter().filter(|flow| {
        Flow::parse(flow).is_some_and(|flow| {
            let concerned = |port: &&&PublishedPort| flow.enters_by(port);
            let port = ports.iter().find(concerned);
            port.is_some_and(|port| !(keep_right_ones && flow.leads_to(port)))
        })
    });
    for flow in stale {
        let attrs = flow.body.get(4..).unwrap_or_default();
        let mut delete = Requests::default();
        delete.push(CT_DELETE, 0, &header, |a| {
            for (kind, flags) in [(CTA_TUPLE_ORIG, NESTED), (CTA_ZONE, 0)] {
                if let Some(value) = attribute(attrs, kind) {
                    a.bytes(kind | flags, value);
                }
            }
        });
        // It may have ended by itself.
        socket.exchange(&delete, OPERATION)?;
    }
    Ok(())
}

/// Where a flow was sent to, and where its answers come from.
struct Flow<'a> {
    destination: &'a [u8],
    destination_port: &'a [u8],
    answerer: &'a [u8],
    answerer_port: &'a [u8],
}

impl<'a> Flow<'a> {
    fn parse(reply: &'a Reply) -> Option<Self> {
        let attrs = reply.body.get(4..)?;
        let original = attribute(attrs, CTA_TUPLE_ORIG)?;
        let answers = attribute(attrs, CTA_TUPLE_REPLY)?;
        let protocol = attribute(original, CTA_TUPLE_PROTO)?;
        (attribute(protocol, CTA_PROTO_NUM)? == [Protocol::Udp.number()]).then_some(())?;
        // Sources have odd attribute numbers (CTA_IP_V4_SRC, CTA_IP_V6_SRC), destinations the next ones.
        let address = |tuple, v4: u16| {
            let ip = attribute(tuple, CTA_TUPLE_IP)?;
            attribute(ip, v4).or_else(|| attribute(ip, v4 + 2))
        };
        Some(Self {
            destination: address(original, 2)?,
            destination_port: attribute(protocol, CTA_PROTO_DST_PORT)?,
            answerer: address(answers, 1)?,
            answerer_port: attribute(attribute(answers, CTA_TUPLE_PROTO)?, CTA_PROTO_SRC_PORT)?,
        })
    }

    fn enters_by(&self, port: &PublishedPort) -> bool {
        self.destination_port == port.host_port.to_be_bytes()
            && (port.host_ip.is_unspecified() || is(self.destination, port.host_ip))
    }

    fn leads_to(&self, port: &PublishedPort) -> bool {
        self.answerer_port == port.container_port.to_be_bytes()
            && is(self.answerer, port.container_ip)
    }
}

fn is(bytes: &[u8], address: IpAddr) -> bool {
    octets(address) == bytes
}
