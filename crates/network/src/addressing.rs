//! Addresses and routes over rtnetlink.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use crate::Result;
use crate::link::{ACK, CREATE, UP, ifinfo, run};
use crate::netlink::{Requests, Socket, attribute, ne32};

const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// What an interface inside a namespace is to have.
pub(crate) struct Addressing<'a> {
    pub(crate) name: &'a str,
    pub(crate) index: u32,
    pub(crate) addresses: &'a [IpNet],
    pub(crate) gateways: &'a [IpAddr],
}

/// Brings an interface up with addresses and default routes, in one datagram.
pub(crate) fn configure(socket: &Socket, wanted: &Addressing<'_>) -> Result<()> {
    let mut requests = Requests::default();
    for &address in wanted.addresses {
        push_address(&mut requests, wanted.index, address);
    }
    requests.push(
        libc::RTM_NEWLINK,
        ACK,
        &ifinfo(wanted.index, UP, UP),
        |_| {},
    );
    for &gateway in wanted.gateways {
        push_default_route(&mut requests, wanted.index, gateway);
    }
    let operation = format!("configure {}", wanted.name);
    run(socket, &requests, &operation, |_| false)
}

/// Replaces the default route of a family, or takes it away.
pub(crate) fn set_default_route(
    socket: &Socket,
    family: libc::c_int,
    via: Option<(u32, IpAddr)>,
) -> Result<()> {
    let mut header = [0; 12];
    header[0] = family as u8;
    header[4] = libc::RT_TABLE_MAIN;
    header[6] = libc::RT_SCOPE_NOWHERE;
    // IPv6 may hold several default routes side by side; each request takes one away.
    loop {
        let mut requests = Requests::default();
        requests.push(libc::RTM_DELROUTE, ACK, &header, |_| {});
        let answer = socket.exchange(&requests, "remove a default route")?;
        match answer.into_result() {
            Ok(_) => {}
            // IPv6 has a route to nowhere that stands for none.
            Err(refusal) if matches!(refusal.errno, Errno::ESRCH | Errno::ENOENT) => break,
            Err(refusal) => return Err(refusal.into_error("remove a default route")),
        }
    }
    let Some((index, gateway)) = via else {
        return Ok(());
    };
    let mut requests = Requests::default();
    push_default_route(&mut requests, index, gateway);
    run(socket, &requests, "set a default route", |_| false)
}

/// Gives an interface the addresses it lacks; another process may be doing the same.
pub(crate) fn ensure_addresses(
    socket: &Socket,
    name: &str,
    index: u32,
    addresses: &[IpNet],
) -> Result<()> {
    let present = addresses_of(socket, name, index)?;
    let mut requests = Requests::default();
    let missing = addresses.iter().filter(|a| !present.contains(a));
    missing.for_each(|&address| push_address(&mut requests, index, address));
    if requests.is_empty() {
        return Ok(());
    }
    let operation = format!("give {name} its addresses");
    run(socket, &requests, &operation, |errno| {
        errno == Errno::EEXIST
    })
}

fn addresses_of(socket: &Socket, name: &str, index: u32) -> Result<Vec<IpNet>> {
    let operation = format!("list the addresses of {name}");
    let mut requests = Requests::default();
    let filter = ifaddr(libc::AF_UNSPEC, 0, 0, index);
    requests.push(libc::RTM_GETADDR, DUMP, &filter, |_| {});
    let answer = socket.dump(&requests, &operation)?;
    let replies = answer
        .into_result()
        .map_err(|refusal| refusal.into_error(operation))?;
    let mine = replies.iter().filter_map(|reply| {
        let header = reply.body.get(..8)?;
        let value = attribute(&reply.body[8..], libc::IFA_ADDRESS)?;
        // Kernels before 4.20 list the addresses of all interfaces.
        (ne32(&header[4..8])? == index).then_some(())?;
        IpNet::new(ip(value)?, header[1]).ok()
    });
    Ok(mine.collect())
}

/// The networks that the main routing table reaches directly or by a gateway, with the interface's name.
pub(crate) fn routed_networks(socket: &Socket, family: libc::c_int) -> Result<Vec<(IpNet, u32)>> {
    let operation = "list the routes";
    let mut requests = Requests::default();
    let mut filter = [0; 12];
    filter[0] = family as u8;
    requests.push(libc::RTM_GETROUTE, DUMP, &filter, |_| {});
    let replies = socket
        .dump(&requests, operation)?
        .into_result()
        .map_err(|refusal| refusal.into_error(operation))?;
    let networks = replies.iter().filter_map(|reply| {
        let header = reply.body.get(..12)?;
        let prefix = header[1];
        let main = header[4] == libc::RT_TABLE_MAIN && header[7] == libc::RTN_UNICAST;
        // A default route overlaps everything and means nothing.
        (main && prefix != 0).then_some(())?;
        let attrs = &reply.body[12..];
        let network = IpNet::new(ip(attribute(attrs, libc::RTA_DST)?)?, prefix).ok()?;
        Some((network, ne32(attribute(attrs, libc::RTA_OIF)?)?))
    });
    Ok(networks.collect())
}

fn push_address(requests: &mut Requests, index: u32, address: IpNet) {
    let family = family_of(address.addr());
    let header = ifaddr(family, address.prefix_len(), 0, index);
    requests.push(libc::RTM_NEWADDR, CREATE, &header, |a| {
        let octets = octets(address.addr());
        a.bytes(libc::IFA_LOCAL, &octets);
        a.bytes(libc::IFA_ADDRESS, &octets);
        match address {
            IpNet::V4(net) => a.bytes(libc::IFA_BROADCAST, &net.broadcast().octets()),
            // Duplicate address detection would hold the address back for a second.
            IpNet::V6(_) => a.u32(libc::IFA_FLAGS, libc::IFA_F_NODAD),
        }
    });
}

fn push_default_route(requests: &mut Requests, index: u32, gateway: IpAddr) {
    let mut header = [0; 12];
    header[0] = family_of(gateway) as u8;
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_BOOT;
    header[6] = libc::RT_SCOPE_UNIVERSE;
    header[7] = libc::RTN_UNICAST;
    requests.push(libc::RTM_NEWROUTE, CREATE, &header, |a| {
        a.bytes(libc::RTA_GATEWAY, &octets(gateway));
        a.u32(libc::RTA_OIF, index);
    });
}

/// struct ifaddrmsg
fn ifaddr(family: libc::c_int, prefix: u8, scope: u8, index: u32) -> [u8; 8] {
    let [a, b, c, d] = index.to_ne_bytes();
    [family as u8, prefix, 0, scope, a, b, c, d]
}

fn family_of(address: IpAddr) -> libc::c_int {
    match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    }
}

/// An address in the byte order of the wire.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(v4.into());
    }
    Some(<[u8; 16]>::try_from(value).ok()?.into())
}
