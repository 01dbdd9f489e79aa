//! The bridge on the host and the cables that lead to it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use ipnet::{IpNet, Ipv4Net};
use nix::errno::Errno;

use crate::addressing::{self, Addressing};
use crate::config::check_interface_name;
use crate::conntrack::StaleFlows;
use crate::home::at_home;
use crate::link::{self, BridgePort, Link, Parameters, VethPair};
use crate::netlink::Socket;
use crate::quiet::QuietStart;
use crate::{
    BridgeConfig, Endpoint, Error, PublishedPort, Result, host, legacy, mac_for, netns, nft, sysctl,
};

/// What [`ensure_bridge`] had to do, and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnsureOutcome {
    /// The nftables table did not know the bridge, so no port behind it is published any more:
    /// publish those of all running containers again.
    pub publish_again: bool,
    /// What may keep packets from flowing, for the user to read.
    pub warnings: Vec<Warning>,
}

/// A circumstance outside our reach.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A FORWARD policy set by iptables-legacy stops the containers' packets.
    #[error(
        "iptables-legacy drops what it has no rule for: containers have no network before \
         `iptables-legacy -I FORWARD -i {bridge} -j ACCEPT` and the same with `-o`"
    )]
    LegacyFirewall {
        /// Name of the bridge whose packets are stopped.
        bridge: String,
    },
    /// A network with IPv6 was asked for, and the kernel has none.
    #[error("the kernel has no IPv6: containers get IPv4 only")]
    NoIpv6,
}

/// Makes the bridge, its addresses, kernel parameters and nftables rules as far as they are missing.
///
/// Several processes may do so at once. When all is there nothing is written.
///
/// # Errors
/// [`Error::InvalidName`], [`Error::SubnetTooSmall`], [`Error::SubnetInUse`] and [`Error::NotABridge`] for a
/// configuration that cannot work; [`Error::NoNftables`]; [`Error::Netlink`] and [`Error::Sysctl`] without CAP_NET_ADMIN.
pub fn ensure_bridge(bridge: &BridgeConfig) -> Result<EnsureOutcome> {
    at_home(|| ensure_bridge_here(bridge))
}

fn ensure_bridge_here(bridge: &BridgeConfig) -> Result<EnsureOutcome> {
    bridge.validate()?;
    let mut outcome = EnsureOutcome::default();
    let effective = &possible(bridge);
    if effective.subnet_v6 != bridge.subnet_v6 {
        outcome.warnings.push(Warning::NoIpv6);
    }
    let socket = Socket::route()?;
    let link = ensure_link(&socket, effective)?;
    ensure_parameters(effective, link.parameters)?;
    addressing::ensure_addresses(&socket, &effective.name, link.index, &effective.gateways())?;
    outcome.publish_again = nft::ensure(effective)?.bridge_added;
    if legacy::filter_drops(&bridge.name, effective.subnet_v6.is_some()) {
        let bridge = bridge.name.clone();
        outcome.warnings.push(Warning::LegacyFirewall { bridge });
    }
    Ok(outcome)
}

/// Whether the bridge is there and its rules are not: somebody flushed the firewall. [`ensure_bridge`] puts them back,
/// and says that the ports must be published again.
///
/// # Errors
/// [`Error::NoNftables`]; [`Error::Netlink`].
pub fn firewall_lost(bridge: &BridgeConfig) -> Result<bool> {
    at_home(|| {
        let there = Link::find(&Socket::route()?, &bridge.name)?.is_some();
        Ok(there && !nft::is_complete(&possible(bridge))?)
    })
}

/// The bridge as this kernel can have it.
fn possible(bridge: &BridgeConfig) -> BridgeConfig {
    BridgeConfig {
        subnet_v6: bridge.subnet_v6.filter(|_| host::kernel_has_ipv6()),
        ..bridge.clone()
    }
}

fn ensure_link(socket: &Socket, bridge: &BridgeConfig) -> Result<Link> {
    let name = &bridge.name;
    let link = match Link::find(socket, name)? {
        Some(link) => link,
        None => {
            check_subnets(socket, bridge)?;
            Link::create_bridge(socket, name, mac_for(bridge.gateway()), bridge.mtu)?;
            Link::find(socket, name)?.ok_or_else(|| Error::NoSuchBridge {
                bridge: name.clone(),
            })?
        }
    };
    if !link.is_bridge {
        return Err(Error::NotABridge { name: name.clone() });
    }
    let new_mtu = bridge.mtu.filter(|&mtu| mtu != link.mtu);
    if !link.is_up || new_mtu.is_some() {
        Link::set_up(socket, name, link.index, new_mtu)?;
    }
    Ok(link)
}

/// Refuses a subnet that is reachable elsewhere: either side would lose its packets.
fn check_subnets(socket: &Socket, bridge: &BridgeConfig) -> Result<()> {
    let wanted = [
        Some((libc::AF_INET, IpNet::from(bridge.subnet))),
        bridge.subnet_v6.map(|net| (libc::AF_INET6, net.into())),
    ];
    for (family, subnet) in wanted.into_iter().flatten() {
        let routes = addressing::routed_networks(socket, family)?;
        if let Some(&(other, index)) = routes.iter().find(|(net, _)| overlap(*net, subnet)) {
            let interface = link::name_of(socket, index)?;
            // Another process made our bridge since we looked.
            if interface == bridge.name {
                return Ok(());
            }
            return Err(Error::SubnetInUse {
                bridge: bridge.name.clone(),
                subnet,
                other,
                interface,
            });
        }
    }
    Ok(())
}

/// The interface through which a network is reached already, and the network that it is reached by: a bridge in it would
/// take its packets away. A default route is none.
///
/// # Errors
/// [`Error::Netlink`].
pub fn reached_by(network: IpNet) -> Result<Option<(String, IpNet)>> {
    at_home(|| reached_by_here(network))
}

fn reached_by_here(network: IpNet) -> Result<Option<(String, IpNet)>> {
    let socket = Socket::route()?;
    let family = match network {
        IpNet::V4(_) => libc::AF_INET,
        IpNet::V6(_) => libc::AF_INET6,
    };
    let routes = addressing::routed_networks(&socket, family)?;
    match routes.iter().find(|(net, _)| overlap(*net, network)) {
        Some(&(other, index)) => Ok(Some((link::name_of(&socket, index)?, other))),
        None => Ok(None),
    }
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// The IPv4 subnet of a bridge for which nobody named one: `current`, the one it had last, while the bridge exists or
/// nothing else is reached there; else the first free one of 10.88.0.0/16 to 10.255.0.0/16 and 172.16.0.0/16 to
/// 172.31.0.0/16. One that the bridge has on it already is as good as free; one that overlaps with `spoken_for`, other
/// networks whose bridges may not be there now, is not.
///
/// # Errors
/// [`Error::NoFreeSubnet`]; [`Error::Netlink`].
pub fn choose_subnet(
    bridge: &str,
    current: Option<Ipv4Net>,
    spoken_for: &[IpNet],
) -> Result<Ipv4Net> {
    at_home(|| choose_subnet_here(bridge, current, spoken_for))
}

fn choose_subnet_here(
    bridge: &str,
    current: Option<Ipv4Net>,
    spoken_for: &[IpNet],
) -> Result<Ipv4Net> {
    let socket = Socket::route()?;
    let own = Link::find(&socket, bridge)?.map(|link| link.index);
    if let (Some(current), Some(_)) = (current, own) {
        return Ok(current);
    }
    let routes = addressing::routed_networks(&socket, libc::AF_INET)?;
    let usual = (88..=255)
        .map(|n| (10, n))
        .chain((16..=31).map(|n| (172, n)));
    let usual = usual.map(|(a, b)| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), 16));
    let candidates: Vec<Ipv4Net> = current.into_iter().chain(usual).collect();
    let on_bridge = |net: &&Ipv4Net| {
        let is_it =
            |(routed, index): &(IpNet, u32)| *routed == IpNet::from(**net) && Some(*index) == own;
        routes.iter().any(is_it)
    };
    let is_free = |net: &&Ipv4Net| {
        let taken = |(routed, _): &(IpNet, u32)| overlap(*routed, IpNet::from(**net));
        !routes.iter().any(taken)
            && !spoken_for
                .iter()
                .any(|other| overlap(*other, IpNet::from(**net)))
    };
    let chosen = candidates.iter().find(on_bridge);
    let chosen = chosen.or_else(|| candidates.iter().find(is_free));
    chosen.copied().ok_or_else(|| Error::NoFreeSubnet {
        bridge: bridge.to_owned(),
    })
}

fn ensure_parameters(bridge: &BridgeConfig, now: Parameters) -> Result<()> {
    let name = &bridge.name;
    if !now.routes_v4 {
        let v4 = sysctl::Family::v4();
        v4.ensure("ip_forward", "1")?;
        v4.ensure(&format!("conf/{name}/route_localnet"), "1")?;
    }
    if now.accepts_ra {
        sysctl::Family::v6().ensure_if_present(&format!("conf/{name}/accept_ra"), "0")?;
    }
    if bridge.subnet_v6.is_some() && !now.routes_v6 {
        let v6 = sysctl::Family::v6();
        v6.ensure(&format!("conf/{name}/disable_ipv6"), "0")?;
        // With the first container the bridge gets its link-local address, which it needs at once to find that container.
        v6.ensure(&format!("conf/{name}/accept_dad"), "0")?;
        v6.ensure_ipv6_forwarding()?;
    }
    Ok(())
}

/// Connects a namespace to the bridge: a cable with its end inside configured, up and routed.
///
/// IPv4 works when this returns. The kernel opens IPv6 addresses for reception in the background, which this waits for a moment.
///
/// If it fails, or when the container ends, close the namespace: the kernel takes the cable away with it.
///
/// # Errors
/// [`Error::InterfaceExists`] if the host end's name is taken: call again with another;
/// [`Error::NoSuchBridge`] if [`ensure_bridge`] was not called; [`Error::Netlink`], [`Error::Namespace`], [`Error::Sysctl`].
pub fn connect(netns: BorrowedFd<'_>, bridge: &BridgeConfig, endpoint: &Endpoint) -> Result<()> {
    at_home(|| connect_here(netns, bridge, endpoint))
}

fn connect_here(netns: BorrowedFd<'_>, bridge: &BridgeConfig, endpoint: &Endpoint) -> Result<()> {
    check_interface_name(&endpoint.host_ifname)?;
    check_interface_name(&endpoint.ifname)?;
    let host = Socket::route()?;
    let link = Link::find(&host, &bridge.name)?.ok_or_else(|| Error::NoSuchBridge {
        bridge: bridge.name.clone(),
    })?;
    let pair = VethPair {
        host_name: &endpoint.host_ifname,
        peer_name: &endpoint.ifname,
        peer_mac: endpoint.mac,
        netns,
        mtu: link.mtu,
    };
    Link::create_veth(&host, &pair)?;
    let inside = configure_inside(netns, endpoint, Medium::Cable)?;
    link::settle(&inside.socket, &[&endpoint.ifname])?;
    if let Some(quiet) = &inside.quiet {
        quiet.wait(inside.index);
    }
    let port = BridgePort {
        name: &endpoint.host_ifname,
        bridge_index: link.index,
        isolated: bridge.isolated,
    };
    Link::attach(&host, &port)?;
    link::settle(&host, &[&endpoint.host_ifname, &bridge.name])
}

/// What an interface inside a namespace leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    /// A bridge of this host: no packet is lost on the way.
    Cable,
    /// The network of another interface.
    Network,
}

/// An interface inside a namespace.
pub(crate) struct Inside {
    /// Of the namespace.
    pub(crate) socket: Socket,
    index: u32,
    quiet: Option<QuietStart>,
}

/// Gives an interface inside a namespace its addresses and routes, and brings it up.
pub(crate) fn configure_inside(
    netns: BorrowedFd<'_>,
    endpoint: &Endpoint,
    medium: Medium,
) -> Result<Inside> {
    let v6 = host::kernel_has_ipv6();
    let addresses = endpoint.addresses(v6);
    let has_v6 = addresses.iter().any(|net| matches!(net, IpNet::V6(_)));
    let inside = netns::within(netns, || prepare_inside(endpoint, has_v6, medium))?;
    let wanted = Addressing {
        name: &endpoint.ifname,
        index: inside.index,
        addresses: &addresses,
        gateways: &endpoint.gateways(v6),
    };
    addressing::configure(&inside.socket, &wanted)?;
    Ok(inside)
}

/// Takes an interface out of a namespace, and its cable with it; one that is not there is fine.
///
/// # Errors
/// [`Error::Namespace`], [`Error::Netlink`].
pub fn disconnect(netns: BorrowedFd<'_>, ifname: &str) -> Result<()> {
    let inside = netns::within(netns, Socket::route)?;
    Link::delete(&inside, ifname)
}

/// Leads all packets of a namespace that leave its networks to these gateways, in place of earlier ones; `None` takes a
/// family's default route away.
///
/// # Errors
/// [`Error::Namespace`], [`Error::Netlink`].
pub fn set_default_routes(
    netns: BorrowedFd<'_>,
    v4: Option<(&str, IpAddr)>,
    v6: Option<(&str, IpAddr)>,
) -> Result<()> {
    let families = [(libc::AF_INET, v4), (libc::AF_INET6, v6)];
    let with_ipv6 = host::kernel_has_ipv6();
    for (family, via) in families {
        if family == libc::AF_INET6 && !with_ipv6 {
            continue;
        }
        let inside = netns::within(netns, Socket::route)?;
        let index = via.map(|(ifname, _)| inside_index(&inside, ifname));
        let index = index.transpose()?;
        addressing::set_default_route(&inside, family, index.zip(via.map(|(_, gateway)| gateway)))?;
    }
    Ok(())
}

/// What only a thread inside the namespace can do: its kernel parameters, and a socket that stays there.
fn prepare_inside(endpoint: &Endpoint, with_ipv6: bool, medium: Medium) -> Result<Inside> {
    let ifname = endpoint.ifname.as_str();
    let mut quiet = None;
    let v6 = sysctl::Family::v6();
    let key = |name: &str| format!("conf/{ifname}/{name}");
    if with_ipv6 {
        v6.ensure(&key("disable_ipv6"), "0")?;
        // Duplicate address detection would hold back the link-local address for a second or two.
        v6.ensure(&key("accept_dad"), "0")?;
        // A neighbour must not pose as this container's router.
        v6.ensure(&key("accept_ra"), "0")?;
        if medium == Medium::Cable {
            quiet = Some(QuietStart::begin(&v6, ifname)?);
        }
    } else {
        v6.ensure_if_present(&key("disable_ipv6"), "1")?;
    }
    for sysctl in &endpoint.sysctls {
        sysctl.set(ifname)?;
    }
    let socket = Socket::route()?;
    let index = inside_index(&socket, ifname)?;
    Ok(Inside {
        socket,
        index,
        quiet,
    })
}

/// By a socket of the namespace: the C library's way needs another one, and does not say so where there is none.
fn inside_index(inside: &Socket, ifname: &str) -> Result<u32> {
    let link = Link::find(inside, ifname)?;
    let missing = || Error::Netlink {
        operation: format!("find interface {ifname} in the namespace"),
        kernel_message: None,
        source: Errno::ENODEV.into(),
    };
    link.map(|link| link.index).ok_or_else(missing)
}

/// Makes ports of the host lead to containers behind the bridge, at once and all together.
///
/// A port that led elsewhere leads to the new container afterwards; [`crate::reserve`] keeps it from being
/// taken away from a running one.
///
/// # Errors
/// [`Error::NoSuchBridge`] if [`ensure_bridge`] was not called; [`Error::FamilyMismatch`]; [`Error::Ipv6Loopback`];
/// [`Error::Netlink`].
pub fn publish(bridge: &BridgeConfig, ports: &[PublishedPort]) -> Result<Deferred> {
    if ports.is_empty() {
        return Ok(Deferred(None));
    }
    at_home(|| {
        let socket = Socket::netfilter()?;
        nft::publish(&socket, bridge, ports)?;
        Ok(Deferred(Some(StaleFlows::new(socket, ports, true))))
    })
}

/// Takes published ports back; those that are not published, or lead elsewhere by now, are left alone.
///
/// They are closed when this returns. Do it before giving up the reservations of the ports.
///
/// # Errors
/// [`Error::FamilyMismatch`]; [`Error::Netlink`].
pub fn unpublish(bridge: &BridgeConfig, ports: &[PublishedPort]) -> Result<Deferred> {
    if ports.is_empty() {
        return Ok(Deferred(None));
    }
    at_home(|| {
        let socket = Socket::netfilter()?;
        nft::unpublish(&socket, bridge, ports)?;
        Ok(Deferred(Some(StaleFlows::new(socket, ports, false))))
    })
}

/// The slow rest of [`publish`] or [`unpublish`], done when this is dropped: keep it until nobody waits.
///
/// UDP clients that never pause still reach where the port led before, until the kernel is told to forget their
/// flows (some 20 ms, for UDP ports only). After `unpublish` it also may take 10 ms to close the socket, as the
/// kernel then waits until what was removed is freed.
#[must_use = "dropping it may take 20 ms: do so when nobody waits any more"]
#[derive(Debug, Default)]
pub struct Deferred(#[expect(dead_code, reason = "held for its drop")] Option<StaleFlows>);

/// Removes the bridge, what it added to nftables and to the firewall, and with the last bridge the table.
///
/// Kernel parameters of the host stay as they are: others may rely on them by now.
///
/// # Errors
/// [`Error::NotABridge`]; [`Error::Netlink`]. A bridge that is not there is none.
pub fn remove_bridge(bridge: &BridgeConfig) -> Result<()> {
    at_home(|| remove_bridge_here(bridge))
}

fn remove_bridge_here(bridge: &BridgeConfig) -> Result<()> {
    let socket = Socket::route()?;
    let link = Link::find(&socket, &bridge.name)?;
    if link.is_some_and(|link| !link.is_bridge) {
        return Err(Error::NotABridge {
            name: bridge.name.clone(),
        });
    }
    nft::remove(bridge)?;
    Link::delete(&socket, &bridge.name)
}
