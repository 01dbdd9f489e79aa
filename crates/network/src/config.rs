//! What a caller describes: a bridge, a container's end of a cable, a published port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, InterfaceSysctl, Result};

/// All our generated IPv6 networks lie in this one (RFC 4193: `fd`, then the letters r, c, t, r).
pub(crate) const GENERATED_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd72, 0x6374, 0x7200, 0, 0, 0, 0, 0), 40);

/// The bridge of a network and the addresses behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeConfig {
    /// Name of the bridge interface, at most 15 bytes.
    pub name: String,
    /// Addresses of the containers; the first one is the bridge's own.
    pub subnet: Ipv4Net,
    /// The same for IPv6; without it containers get no IPv6.
    pub subnet_v6: Option<Ipv6Net>,
    /// Largest packet in bytes; the kernel's default (1500) without it.
    pub mtu: Option<u32>,
    /// The bridge's own IPv4 address, where it is not the first of the subnet.
    #[serde(default)]
    pub fixed_gateway: Option<Ipv4Addr>,
    /// The bridge's own IPv6 address, where it is not the first of the subnet.
    #[serde(default)]
    pub fixed_gateway_v6: Option<Ipv6Addr>,
    /// Containers reach each other and the host, and nothing else; nothing else reaches them.
    #[serde(default)]
    pub internal: bool,
    /// Containers keep their own addresses when they speak to the world: whoever answers must know the way back.
    #[serde(default)]
    pub unmasked: bool,
    /// Containers reach the world and not each other.
    #[serde(default)]
    pub isolated: bool,
}

impl Default for BridgeConfig {
    /// `rctr0` with 10.88.0.0/16 and no IPv6.
    fn default() -> Self {
        Self {
            name: "rctr0".to_owned(),
            subnet: Ipv4Net::new_assert(Ipv4Addr::new(10, 88, 0, 0), 16),
            subnet_v6: None,
            mtu: None,
            fixed_gateway: None,
            fixed_gateway_v6: None,
            internal: false,
            unmasked: false,
            isolated: false,
        }
    }
}

impl BridgeConfig {
    /// The bridge's IPv4 address: the containers' default route.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        let first = self.subnet.network().to_bits().wrapping_add(1);
        self.fixed_gateway
            .unwrap_or_else(|| Ipv4Addr::from_bits(first))
    }

    /// The bridge's IPv6 address, if the network has IPv6.
    #[must_use]
    pub fn gateway_v6(&self) -> Option<Ipv6Addr> {
        self.subnet_v6.map(|net| {
            let first = net.network().to_bits().wrapping_add(1);
            self.fixed_gateway_v6
                .unwrap_or_else(|| Ipv6Addr::from_bits(first))
        })
    }

    /// A private /64 (RFC 4193) that always is the same for the same bridge name.
    #[must_use]
    pub fn generated_subnet_v6(bridge: &str) -> Ipv6Net {
        // FNV-1a: stable between releases, which std's hasher does not promise.
        let hash = bridge
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let folded = u128::from((hash ^ (hash >> 24)) & 0x00ff_ffff);
        let bits = GENERATED_V6.network().to_bits() | (folded << 64);
        Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 64)
    }

    /// The gateway with its prefix length, for each address family the network has.
    pub(crate) fn gateways(&self) -> Vec<IpNet> {
        let mut gateways = vec![IpNet::V4(Ipv4Net::new_assert(
            self.gateway(),
            self.subnet.prefix_len(),
        ))];
        if let (Some(address), Some(net)) = (self.gateway_v6(), self.subnet_v6) {
            gateways.push(IpNet::V6(Ipv6Net::new_assert(address, net.prefix_len())));
        }
        gateways
    }

    /// Whether such a bridge can be.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::SubnetTooSmall`].
    pub fn validate(&self) -> Result<()> {
        check_interface_name(&self.name)?;
        let too_small = |subnet| Error::SubnetTooSmall {
            bridge: self.name.clone(),
            subnet,
        };
        if self.subnet.prefix_len() > 30 {
            return Err(too_small(self.subnet.into()));
        }
        match self.subnet_v6 {
            Some(net) if net.prefix_len() > 126 => Err(too_small(net.into())),
            _ => Ok(()),
        }
    }
}

/// A container's end of its cable to the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name of the end that stays on the host; unique on the host, at most 15 bytes.
    pub host_ifname: String,
    /// Name inside the namespace, usually `eth0`.
    pub ifname: String,
    /// Hardware address inside the namespace, usually [`mac_for`] its address.
    pub mac: [u8; 6],
    /// IPv4 address with the subnet's prefix length.
    pub address: Ipv4Net,
    /// IPv6 address with the subnet's prefix length.
    pub address_v6: Option<Ipv6Net>,
    /// Addresses besides, of 169.254.0.0/16 or fe80::/64.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Where packets to the world go; empty where another interface takes them, or none.
    #[serde(default)]
    pub default_via: Vec<IpAddr>,
    /// Kernel parameters that somebody asked for; they count more than this crate's own.
    #[serde(skip)]
    pub sysctls: Vec<InterfaceSysctl>,
}

impl Endpoint {
    /// All addresses, as far as the kernel can have them.
    pub(crate) fn addresses(&self, with_ipv6: bool) -> Vec<IpNet> {
        let v6 = self.address_v6.filter(|_| with_ipv6).map(IpNet::from);
        let extra = self.link_local.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Ipv4Net::new(*v4, 16).ok().map(IpNet::from),
            IpAddr::V6(v6) => Ipv6Net::new(*v6, 64)
                .ok()
                .filter(|_| with_ipv6)
                .map(IpNet::from),
        });
        std::iter::once(IpNet::from(self.address))
            .chain(v6)
            .chain(extra)
            .collect()
    }

    /// The default routes, as far as the kernel can have them.
    pub(crate) fn gateways(&self, with_ipv6: bool) -> Vec<IpAddr> {
        let possible = |address: &&IpAddr| with_ipv6 || address.is_ipv4();
        self.default_via.iter().filter(possible).copied().collect()
    }
}

/// Docker's hardware address for a container: 02:42 and the four bytes of its IPv4 address.
///
/// An address that passes to another container keeps its hardware address, so no neighbour's
/// ARP cache is ever wrong.
#[must_use]
pub fn mac_for(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// The transport protocol of a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

impl Protocol {
    /// The protocol number of the IP header.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One port of the host that leads to a port of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// `0.0.0.0` and `::` mean every address of the host of that family, loopback included.
    pub host_ip: IpAddr,
    /// Port on the host.
    pub host_port: u16,
    /// Address of the container, of the same family as `host_ip`.
    pub container_ip: IpAddr,
    /// Port of the container.
    pub container_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// The kernel's rules (`dev_valid_name`).
pub(crate) fn check_interface_name(name: &str) -> Result<()> {
    let refused =
        |byte: u8| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace();
    let bad = name.is_empty()
        || name.len() >= libc::IFNAMSIZ
        || name == "."
        || name == ".."
        || name.bytes().any(refused);
    if bad {
        return Err(Error::InvalidName {
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// For `deserialize_with`: a name that the kernel takes for an interface.
///
/// # Errors
/// [`Error::InvalidName`] in the deserializer's own type.
pub fn deserialize_interface_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    check_interface_name(&name).map_err(D::Error::custom)?;
    Ok(name)
}

/// For `deserialize_with`: a subnet that containers can live in, without its host part, as what is there or not.
///
/// # Errors
/// A text that is no subnet, one without room for two hosts, and addresses with a meaning of their own.
pub fn deserialize_subnet<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Ipv4Net>, D::Error> {
    let text = String::deserialize(from)?;
    let net: Ipv4Net = parse_subnet(&text, "10.88.0.0/16").map_err(D::Error::custom)?;
    let net = net.trunc();
    let address = net.network();
    let special = address.is_loopback() || address.is_multicast() || address.octets()[0] == 0;
    usable(net.into(), net.prefix_len() > 30, special).map_err(D::Error::custom)?;
    Ok(Some(net))
}

/// Whether the default bridge has IPv6, and with which subnet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ipv6Choice {
    /// A unique local subnet made from the bridge's name, if the host has IPv6.
    #[default]
    Generated,
    /// This one, without its host part.
    Subnet(Ipv6Net),
    /// IPv4 alone.
    Off,
}

impl<'de> Deserialize<'de> for Ipv6Choice {
    /// A subnet that containers can live in, or the word `none`.
    ///
    /// # Errors
    /// As [`deserialize_subnet`].
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "none" {
            return Ok(Ipv6Choice::Off);
        }
        let net: Ipv6Net = parse_subnet(&text, "fd00:88::/64")
            .map_err(|wrong| D::Error::custom(format!("{wrong}, nor \"none\"")))?;
        let net = net.trunc();
        let address = net.network();
        let special =
            address.is_multicast() || address.is_unicast_link_local() || net.prefix_len() < 8;
        usable(net.into(), net.prefix_len() > 126, special).map_err(D::Error::custom)?;
        Ok(Ipv6Choice::Subnet(net))
    }
}

fn parse_subnet<N: FromStr>(text: &str, example: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no subnet such as {example:?}"))
}

fn usable(net: IpNet, too_small: bool, special: bool) -> Result<(), String> {
    if too_small {
        return Err(format!(
            "subnet {net} is too small for a bridge and a container"
        ));
    }
    match special {
        true => Err(format!(
            "{net} cannot be a subnet of containers: its addresses have a meaning of their own"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_the_first_addresses() {
        let mut bridge = BridgeConfig::default();
        assert_eq!(bridge.gateway(), Ipv4Addr::new(10, 88, 0, 1));
        assert_eq!(bridge.gateway_v6(), None);
        bridge.subnet_v6 = Some("fd00:1::/64".parse().unwrap());
        assert_eq!(bridge.gateway_v6(), Some("fd00:1::1".parse().unwrap()));
    }

    #[test]
    fn generated_v6_networks_are_stable_and_differ() {
        let first = BridgeConfig::generated_subnet_v6("rctr0");
        assert_eq!(first, BridgeConfig::generated_subnet_v6("rctr0"));
        assert_ne!(first, BridgeConfig::generated_subnet_v6("rctr1"));
        assert_eq!(first.prefix_len(), 64);
        assert!(GENERATED_V6.contains(&first));
    }

    #[test]
    fn interface_names_follow_the_kernels_rules() {
        for good in ["rctr0", "a", "fifteen-chars--", "rv0123456789"] {
            check_interface_name(good).unwrap();
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "sixteen-chars---"] {
            assert!(
                matches!(check_interface_name(bad), Err(Error::InvalidName { .. })),
                "{bad:?} was accepted"
            );
        }
    }

    #[test]
    fn subnets_without_room_are_refused() {
        let config = BridgeConfig {
            subnet: "10.0.0.0/31".parse().unwrap(),
            ..BridgeConfig::default()
        };
        assert!(matches!(
            config.validate(),
            Err(Error::SubnetTooSmall { .. })
        ));
    }
}
