//! Links over rtnetlink.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use crate::netlink::{Attributes, Requests, Socket, attribute, ne32, text};
use crate::{Error, Result, SubKind};

// include/uapi/linux/if_link.h, veth.h, rtnetlink.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_CONF: u16 = 2;
// Places in their arrays. include/uapi/linux/ip.h: enum IPV4_DEVCONF_*, which begins with 1; ipv6.h: enum DEVCONF_*
const IPV4_FORWARDING: usize = 0;
const IPV4_ROUTE_LOCALNET: usize = 25;
const IPV6_FORWARDING: usize = 0;
const IPV6_ACCEPT_RA: usize = 3;
const IPV6_DISABLE: usize = 26;
const IPV6_ACCEPT_DAD: usize = 27;
const VETH_INFO_PEER: u16 = 1;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;

pub(crate) const ACK: u16 = libc::NLM_F_ACK as u16;
pub(crate) const CREATE: u16 = ACK | libc::NLM_F_CREATE as u16 | libc::NLM_F_EXCL as u16;
pub(crate) const UP: u32 = libc::IFF_UP as u32;
const LOOPBACK_INDEX: u32 = 1;

/// What the kernel says of an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) is_bridge: bool,
    pub(crate) is_up: bool,
    pub(crate) mtu: u32,
    pub(crate) parameters: Parameters,
}

/// An interface's kernel parameters as far as a bridge of ours depends on them: they come with every look at it, while
/// to find the files below /proc/sys takes the longer the more network namespaces there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    /// IPv4 packets are forwarded, those of 127.0.0.0/8 too.
    pub(crate) routes_v4: bool,
    /// IPv6 works, without detection of duplicate addresses, and packets are forwarded.
    pub(crate) routes_v6: bool,
    /// Addresses and routes are taken from routers.
    pub(crate) accepts_ra: bool,
}

impl Parameters {
    /// From the attributes of a link.
    fn parse(link: &[u8]) -> Self {
        let values = |family: libc::c_int| {
            let family = attribute(link, IFLA_AF_SPEC).and_then(|a| attribute(a, family as u16));
            move |kind: u16, at: usize| ne32(attribute(family?, kind)?.chunks_exact(4).nth(at)?)
        };
        let v4 = values(libc::AF_INET);
        let v4 = |at| v4(IFLA_INET_CONF, at);
        let v6 = values(libc::AF_INET6);
        let v6 = |at| v6(IFLA_INET6_CONF, at);
        Self {
            routes_v4: v4(IPV4_FORWARDING) == Some(1) && v4(IPV4_ROUTE_LOCALNET) == Some(1),
            routes_v6: v6(IPV6_FORWARDING) == Some(1)
                && v6(IPV6_DISABLE) == Some(0)
                && v6(IPV6_ACCEPT_DAD) == Some(0),
            accepts_ra: v6(IPV6_ACCEPT_RA).is_some_and(|accepted| accepted != 0),
        }
    }
}

/// Both ends of a cable between the host and a namespace.
pub(crate) struct VethPair<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_mac: [u8; 6],
    pub(crate) netns: BorrowedFd<'a>,
    pub(crate) mtu: u32,
}

/// An interface that becomes a port of a bridge.
pub(crate) struct BridgePort<'a> {
    pub(crate) name: &'a str,
    pub(crate) bridge_index: u32,
    /// It exchanges no frames with other isolated ports of the bridge.
    pub(crate) isolated: bool,
}

/// An interface of a namespace that hangs on one of the host's.
pub(crate) struct NewSubLink<'a> {
    pub(crate) name: &'a str,
    pub(crate) parent: &'a str,
    pub(crate) parent_index: u32,
    pub(crate) netns: RawFd,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: Option<u32>,
    pub(crate) kind: SubKind,
}

impl NewSubLink<'_> {
    fn push_kind(&self, a: &mut Attributes<'_>) {
        let macvlan = |a: &mut Attributes<'_>, mode: u32| {
            a.string(IFLA_INFO_KIND, "macvlan");
            a.nest(IFLA_INFO_DATA, |a| a.u32(IFLA_MACVLAN_MODE, mode));
        };
        let ipvlan = |a: &mut Attributes<'_>, mode: u16| {
            a.string(IFLA_INFO_KIND, "ipvlan");
            a.nest(IFLA_INFO_DATA, |a| {
                a.bytes(IFLA_IPVLAN_MODE, &mode.to_ne_bytes());
            });
        };
        // include/uapi/linux/if_link.h: enum macvlan_mode, enum ipvlan_mode
        match self.kind {
            SubKind::MacvlanPrivate => macvlan(a, 1),
            SubKind::MacvlanVepa => macvlan(a, 2),
            SubKind::MacvlanBridge => macvlan(a, 4),
            SubKind::MacvlanPassthru => macvlan(a, 8),
            SubKind::IpvlanL2 => ipvlan(a, 0),
            SubKind::IpvlanL3 => ipvlan(a, 1),
            SubKind::IpvlanL3s => ipvlan(a, 2),
        }
    }
}

impl Link {
    /// Looks an interface up; none if there is none of that name.
    pub(crate) fn find(socket: &Socket, name: &str) -> Result<Option<Self>> {
        let operation = format!("look up interface {name}");
        let mut requests = Requests::default();
        requests.push(libc::RTM_GETLINK, 0, &ifinfo(0, 0, 0), |a| {
            a.string(IFLA_IFNAME, name);
        });
        let replies = match socket.exchange(&requests, &operation)?.into_result() {
            Ok(replies) => replies,
            Err(refusal) if refusal.errno == Errno::ENODEV => return Ok(None),
            Err(refusal) => return Err(refusal.into_error(operation)),
        };
        match replies.first().and_then(|reply| Self::parse(&reply.body)) {
            Some(link) => Ok(Some(link)),
            None => Err(Error::MalformedReply { operation }),
        }
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let attrs = body.get(16..)?;
        let kind = attribute(attrs, IFLA_LINKINFO).and_then(|i| attribute(i, IFLA_INFO_KIND));
        Some(Self {
            index: ne32(&body[4..8])?,
            is_bridge: kind.is_some_and(|kind| text(kind) == "bridge"),
            is_up: ne32(&body[8..12])? & UP != 0,
            mtu: attribute(attrs, IFLA_MTU).and_then(ne32).unwrap_or(0),
            parameters: Parameters::parse(attrs),
        })
    }

    /// Makes a bridge that is up. A fixed hardware address keeps it from changing with every port.
    ///
    /// Another process may have been quicker: that is no error.
    pub(crate) fn create_bridge(
        socket: &Socket,
        name: &str,
        mac: [u8; 6],
        mtu: Option<u32>,
    ) -> Result<()> {
        let mut requests = Requests::default();
        requests.push(libc::RTM_NEWLINK, CREATE, &ifinfo(0, UP, UP), |a| {
            a.string(IFLA_IFNAME, name);
            a.bytes(IFLA_ADDRESS, &mac);
            if let Some(mtu) = mtu {
                a.u32(IFLA_MTU, mtu);
            }
            a.nest(IFLA_LINKINFO, |a| a.string(IFLA_INFO_KIND, "bridge"));
        });
        run(
            socket,
            &requests,
            &format!("create bridge {name}"),
            |errno| errno == Errno::EEXIST,
        )
    }

    /// Makes an interface that leads nowhere. Another process may have been quicker: that is no error.
    pub(crate) fn create_dummy(socket: &Socket, name: &str) -> Result<()> {
        let kind = |a: &mut Attributes<'_>| a.string(IFLA_INFO_KIND, "dummy");
        Self::create_parent(socket, name, None, kind)
    }

    /// Makes the VLAN `id` of another interface. Another process may have been quicker: that is no error.
    pub(crate) fn create_vlan(socket: &Socket, name: &str, below: u32, id: u16) -> Result<()> {
        Self::create_parent(socket, name, Some(below), |a| {
            a.string(IFLA_INFO_KIND, "vlan");
            a.nest(IFLA_INFO_DATA, |a| a.bytes(IFLA_VLAN_ID, &id.to_ne_bytes()));
        })
    }

    fn create_parent(
        socket: &Socket,
        name: &str,
        below: Option<u32>,
        kind: impl FnOnce(&mut Attributes<'_>),
    ) -> Result<()> {
        let mut requests = Requests::default();
        requests.push(libc::RTM_NEWLINK, CREATE, &ifinfo(0, UP, UP), |a| {
            a.string(IFLA_IFNAME, name);
            if let Some(below) = below {
                a.u32(IFLA_LINK, below);
            }
            a.nest(IFLA_LINKINFO, kind);
        });
        run(socket, &requests, &format!("create {name}"), |errno| {
            errno == Errno::EEXIST
        })
    }

    /// Makes an interface on a parent, in another namespace and still down.
    pub(crate) fn create_sublink(socket: &Socket, new: &NewSubLink<'_>) -> Result<()> {
        let mut requests = Requests::default();
        requests.push(libc::RTM_NEWLINK, CREATE, &ifinfo(0, 0, 0), |a| {
            a.string(IFLA_IFNAME, new.name);
            a.u32(IFLA_LINK, new.parent_index);
            a.u32(IFLA_NET_NS_FD, new.netns as u32);
            if let Some(mac) = new.mac {
                a.bytes(IFLA_ADDRESS, &mac);
            }
            if let Some(mtu) = new.mtu {
                a.u32(IFLA_MTU, mtu);
            }
            a.nest(IFLA_LINKINFO, |a| new.push_kind(a));
        });
        let operation = format!("create {} on {}", new.name, new.parent);
        match socket.exchange(&requests, &operation)?.into_result() {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.errno == Errno::EBUSY => Err(Error::ParentBusy {
                parent: new.parent.to_owned(),
            }),
            Err(refusal) => Err(refusal.into_error(operation)),
        }
    }

    /// Brings an interface up, and sets its MTU if one is given.
    pub(crate) fn set_up(socket: &Socket, name: &str, index: u32, mtu: Option<u32>) -> Result<()> {
        let mut requests = Requests::default();
        requests.push(libc::RTM_NEWLINK, ACK, &ifinfo(index, UP, UP), |a| {
            if let Some(mtu) = mtu {
                a.u32(IFLA_MTU, mtu);
            }
        });
        run(socket, &requests, &format!("bring up {name}"), |_| false)
    }

    /// Brings up the loopback interface of the socket's namespace.
    pub(crate) fn set_loopback_up(socket: &Socket) -> Result<()> {
        Self::set_up(socket, "lo", LOOPBACK_INDEX, None)
    }

    /// Deletes an interface; a missing one is fine.
    pub(crate) fn delete(socket: &Socket, name: &str) -> Result<()> {
        let mut requests = Requests::default();
        requests.push(libc::RTM_DELLINK, ACK, &ifinfo(0, 0, 0), |a| {
            a.string(IFLA_IFNAME, name);
        });
        run(socket, &requests, &format!("delete {name}"), |errno| {
            errno == Errno::ENODEV
        })
    }

    /// Makes a veth pair: one end here and up, the other inside the namespace and still down.
    pub(crate) fn create_veth(socket: &Socket, pair: &VethPair<'_>) -> Result<()> {
        let mut requests = Requests::default();
        requests.push(libc::RTM_NEWLINK, CREATE, &ifinfo(0, 0, 0), |a| {
            a.string(IFLA_IFNAME, pair.host_name);
            a.u32(IFLA_MTU, pair.mtu);
            a.nest(IFLA_LINKINFO, |a| {
                a.string(IFLA_INFO_KIND, "veth");
                a.nest(IFLA_INFO_DATA, |a| {
                    a.nest_after(VETH_INFO_PEER, &ifinfo(0, 0, 0), |a| {
                        a.string(IFLA_IFNAME, pair.peer_name);
                        a.bytes(IFLA_ADDRESS, &pair.peer_mac);
                        a.u32(IFLA_MTU, pair.mtu);
                        a.u32(IFLA_NET_NS_FD, pair.netns.as_raw_fd() as u32);
                    });
                });
            });
        });
        // A port of a bridge needs no address of its own.
        requests.push(libc::RTM_NEWLINK, ACK, &ifinfo(0, 0, 0), |a| {
            a.string(IFLA_IFNAME, pair.host_name);
            a.nest(IFLA_AF_SPEC, |a| {
                a.nest(libc::AF_INET6 as u16, |a| {
                    a.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
                });
            });
        });
        requests.push(libc::RTM_NEWLINK, ACK, &ifinfo(0, UP, UP), |a| {
            a.string(IFLA_IFNAME, pair.host_name);
        });
        let operation = format!("create interface {}", pair.host_name);
        let answer = socket.exchange(&requests, &operation)?;
        // There is no IPv6: the host has none, or packets are smaller than its smallest (1280 bytes).
        let is_harmless = |errno| errno == Errno::EAFNOSUPPORT;
        match answer.refusals.into_iter().find(|r| !is_harmless(r.errno)) {
            None => Ok(()),
            Some(refusal) if refusal.errno == Errno::EEXIST => Err(Error::InterfaceExists {
                name: pair.host_name.to_owned(),
            }),
            Some(refusal) => Err(refusal.into_error(operation)),
        }
    }

    /// Makes an interface of this namespace a port of a bridge.
    pub(crate) fn attach(socket: &Socket, port: &BridgePort<'_>) -> Result<()> {
        let mut requests = Requests::default();
        requests.push(libc::RTM_NEWLINK, ACK, &ifinfo(0, 0, 0), |a| {
            a.string(IFLA_IFNAME, port.name);
            a.u32(IFLA_MASTER, port.bridge_index);
        });
        // With br_netfilter a container's packet to its own published port is turned round on the bridge.
        requests.push(libc::RTM_NEWLINK, ACK, &ifinfo(0, 0, 0), |a| {
            a.string(IFLA_IFNAME, port.name);
            a.nest(IFLA_LINKINFO, |a| {
                a.string(IFLA_INFO_SLAVE_KIND, "bridge");
                a.nest(IFLA_INFO_SLAVE_DATA, |a| {
                    a.u8(IFLA_BRPORT_MODE, 1);
                    if port.isolated {
                        a.u8(IFLA_BRPORT_ISOLATED, 1);
                    }
                });
            });
        });
        let operation = format!("make {} a port of the bridge", port.name);
        run(socket, &requests, &operation, |_| false)
    }
}

/// Makes interfaces that just got a carrier ready to send, in this order.
///
/// The kernel does so in the background and drops packets until then, which costs their sender a second; but it
/// catches up when asked about an interface (since 6.8).
pub(crate) fn settle(socket: &Socket, names: &[&str]) -> Result<()> {
    let mut requests = Requests::default();
    for name in names {
        requests.push(libc::RTM_GETLINK, 0, &ifinfo(0, 0, 0), |a| {
            a.string(IFLA_IFNAME, name);
        });
    }
    run(socket, &requests, "look at a new cable", |_| false)
}

/// The name of an interface; its number if it is gone by now.
pub(crate) fn name_of(socket: &Socket, index: u32) -> Result<String> {
    let operation = "look up an interface";
    let mut requests = Requests::default();
    requests.push(libc::RTM_GETLINK, 0, &ifinfo(index, 0, 0), |_| {});
    let answer = socket.exchange(&requests, operation)?;
    let reply = answer.replies.first().and_then(|r| r.body.get(16..));
    let name = reply.and_then(|attrs| attribute(attrs, IFLA_IFNAME));
    Ok(name.map_or_else(|| index.to_string(), |name| text(name).to_owned()))
}

pub(crate) fn run(
    socket: &Socket,
    requests: &Requests,
    operation: &str,
    harmless: impl Fn(Errno) -> bool,
) -> Result<()> {
    let answer = socket.exchange(requests, operation)?;
    match answer.refusals.into_iter().find(|r| !harmless(r.errno)) {
        Some(refusal) => Err(refusal.into_error(operation)),
        None => Ok(()),
    }
}

/// struct ifinfomsg
pub(crate) fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}
