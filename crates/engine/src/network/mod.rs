//! Networks: those that are always there, and those that users make.

mod connect;
mod create;
mod remove;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use rctr_network::{BridgeConfig, Ipv6Choice, SubKind, SubLink};
use rctr_store::Tx;
use serde::{Deserialize, Serialize};

pub use create::{NetworkOptions, PoolOptions};
pub use remove::PrunedNetworks;

use crate::inspect::network_id;
use crate::model::{Container, EndpointState};
use crate::{Engine, Error, NetworkError, Result};

/// Who moves the packets of a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the host, with address translation towards the world.
    #[default]
    Bridge,
    /// The host's own interfaces.
    Host,
    /// Interfaces with one hardware address for all, on one of the host's.
    Ipvlan,
    /// Interfaces with hardware addresses of their own, on one of the host's.
    Macvlan,
    /// Nobody.
    Null,
}

impl Driver {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Host => "host",
            Driver::Ipvlan => "ipvlan",
            Driver::Macvlan => "macvlan",
            Driver::Null => "null",
        }
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339; of those that are always there Docker's zero time.
    pub created: String,
    /// Who moves its packets.
    pub driver: Driver,
    /// Nothing gets out or in.
    pub internal: bool,
    /// Recorded, and without effect: there are no services here.
    pub attachable: bool,
    /// Where its addresses come from: one for each address family it has, IPv4 first.
    pub pools: Vec<Pool>,
    /// Options of the driver, as given.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The interface that its containers' hang on was made for it, and goes with it.
    #[serde(default)]
    pub parent_made: bool,
}

/// Addresses of one family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// All of them.
    pub subnet: IpNet,
    /// Where packets to the world go; `None` where nothing takes them.
    pub gateway: Option<IpAddr>,
    /// The part containers get addresses from, if not all.
    pub range: Option<IpNet>,
    /// Addresses that others have, by name.
    #[serde(default)]
    pub aux: BTreeMap<String, IpAddr>,
    /// Nobody asked for this subnet.
    #[serde(default)]
    pub chosen: bool,
}

/// Names of the networks that are always there.
pub(crate) const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

mod key {
    pub(super) const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
    pub(super) const ICC: &str = "com.docker.network.bridge.enable_icc";
    pub(super) const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
    pub(super) const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
    pub(super) const MTU: &str = "com.docker.network.driver.mtu";
    pub(super) const IFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
    pub(super) const PARENT: &str = "parent";
    pub(super) const MACVLAN_MODE: &str = "macvlan_mode";
    pub(super) const IPVLAN_MODE: &str = "ipvlan_mode";
}

impl Network {
    /// Whether a user made it.
    pub fn is_custom(&self) -> bool {
        !PREDEFINED.contains(&self.name.as_str())
    }

    /// Whether containers have IPv6 on it.
    pub fn has_v6(&self) -> bool {
        self.pool(false).is_some()
    }

    /// The address family's pool.
    pub(crate) fn pool(&self, v4: bool) -> Option<&Pool> {
        self.pools
            .iter()
            .find(|pool| pool.subnet.addr().is_ipv4() == v4)
    }

    /// The interface of the host that carries it: a bridge, or the parent of the containers' interfaces.
    pub fn interface(&self) -> String {
        let short = || self.id.chars().take(12).collect::<String>();
        match self.driver {
            Driver::Bridge => match self.options.get(key::BRIDGE_NAME) {
                Some(name) if !name.is_empty() => name.clone(),
                _ => format!("br-{}", short()),
            },
            Driver::Macvlan | Driver::Ipvlan => match self.options.get(key::PARENT) {
                Some(parent) if !parent.is_empty() => parent.clone(),
                _ => format!("{}-{}", self.stand_in_prefix(), short()),
            },
            Driver::Host | Driver::Null => String::new(),
        }
    }

    /// As with Docker, an interface that leads nowhere is the parent where none is named.
    fn stand_in_prefix(&self) -> &'static str {
        match self.driver {
            Driver::Ipvlan => "di",
            _ => "dm",
        }
    }

    fn has_stand_in(&self) -> bool {
        !self.options.contains_key(key::PARENT)
    }

    fn mtu(&self) -> Option<u32> {
        let mtu = self.options.get(key::MTU)?.parse().ok()?;
        (mtu > 0).then_some(mtu)
    }

    fn switch(&self, key: &str, default: bool) -> bool {
        self.options
            .get(key)
            .and_then(|text| parse_bool(text))
            .unwrap_or(default)
    }

    /// What is said to be in front of an interface's number inside.
    pub(crate) fn interface_prefix(&self) -> &str {
        match self.options.get(key::IFACE_PREFIX) {
            Some(prefix) if !prefix.is_empty() => prefix,
            _ => "eth",
        }
    }

    /// Where ports of its containers are published if nobody says so.
    pub(crate) fn host_binding(&self) -> Option<Ipv4Addr> {
        let address: Ipv4Addr = self.options.get(key::HOST_BINDING)?.parse().ok()?;
        (!address.is_unspecified()).then_some(address)
    }

    /// Whether it has an address of the host in it that leads to the world.
    pub(crate) fn leads_out(&self) -> bool {
        !self.internal
            && matches!(
                self.driver,
                Driver::Bridge | Driver::Macvlan | Driver::Ipvlan
            )
    }

    /// The bridge, of a network that has one of its own.
    pub(crate) fn bridge(&self) -> Option<BridgeConfig> {
        if self.driver != Driver::Bridge {
            return None;
        }
        let (IpNet::V4(subnet), gateway) = self.pool(true).map(|p| (p.subnet, p.gateway))? else {
            return None;
        };
        let v6 = self.pool(false);
        Some(BridgeConfig {
            name: self.interface(),
            subnet,
            subnet_v6: v6.and_then(|pool| match pool.subnet {
                IpNet::V6(net) => Some(net),
                IpNet::V4(_) => None,
            }),
            mtu: self.mtu(),
            fixed_gateway: gateway.and_then(|gateway| match gateway {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            }),
            fixed_gateway_v6: v6.and_then(|pool| match pool.gateway {
                Some(IpAddr::V6(v6)) => Some(v6),
                _ => None,
            }),
            internal: self.internal,
            unmasked: !self.switch(key::MASQUERADE, true),
            isolated: !self.switch(key::ICC, true),
        })
    }

    /// The parent and what hangs on it, of a network that has no bridge.
    pub(crate) fn sub_link(&self) -> Option<SubLink> {
        let word = |key| self.options.get(key).map(String::as_str);
        let kind = match self.driver {
            Driver::Macvlan => match word(key::MACVLAN_MODE) {
                Some("private") => SubKind::MacvlanPrivate,
                Some("vepa") => SubKind::MacvlanVepa,
                Some("passthru") => SubKind::MacvlanPassthru,
                _ => SubKind::MacvlanBridge,
            },
            Driver::Ipvlan => match word(key::IPVLAN_MODE) {
                Some("l3") => SubKind::IpvlanL3,
                Some("l3s") => SubKind::IpvlanL3s,
                _ => SubKind::IpvlanL2,
            },
            _ => return None,
        };
        Some(SubLink {
            parent: self.interface(),
            kind,
            mtu: self.mtu(),
        })
    }

    /// Whether [`ensure_parent`](Self::ensure_parent) would make something.
    fn lacks_parent(&self) -> Result<bool> {
        match self.sub_link() {
            Some(link) => Ok(rctr_network::lacks_parent(
                &link.parent,
                self.has_stand_in(),
            )?),
            None => Ok(false),
        }
    }

    /// Makes the interface of the host that its containers' hang on, if there is to be one and it is missing; whether
    /// it was made.
    pub(crate) fn ensure_parent(&self) -> Result<bool> {
        match self.sub_link() {
            Some(link) => Ok(rctr_network::ensure_parent(
                &link.parent,
                self.has_stand_in(),
            )?),
            None => Ok(false),
        }
    }
}

/// Docker's spellings of yes and no.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl Engine {
    /// All networks, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn networks(&self) -> Result<Vec<Network>> {
        let mut networks: Vec<Network> = self.store.networks()?;
        for name in PREDEFINED {
            networks.push(self.predefined(name)?);
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// A network by id, name, or a unique beginning of its id.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`], [`NetworkError::Ambiguous`].
    pub fn network(&self, reference: &str) -> Result<Network> {
        let reference = match reference {
            "default" => "bridge",
            other => other,
        };
        let exact = |name: &&&str| **name == reference || network_id(name) == reference;
        if let Some(name) = PREDEFINED.iter().find(exact) {
            return self.predefined(name);
        }
        let mut found: Vec<Network> = self.store.find_networks(reference)?;
        let certain = found
            .iter()
            .any(|n| n.name == reference || n.id == reference);
        if !certain && !reference.is_empty() {
            for name in PREDEFINED {
                if network_id(name).starts_with(reference) {
                    found.push(self.predefined(name)?);
                }
            }
        }
        match (found.pop(), found.is_empty()) {
            (Some(network), true) => Ok(network),
            (Some(_), false) => Err(NetworkError::Ambiguous {
                name: reference.into(),
            }
            .into()),
            (None, _) => Err(Error::NoSuchNetwork {
                name: reference.into(),
            }),
        }
    }

    fn predefined(&self, name: &str) -> Result<Network> {
        match name {
            "bridge" => Ok(self.described(name, Some(&self.bridge()?))),
            other => Ok(self.described(other, None)),
        }
    }

    /// One of those that are always there, the default one on this bridge. Reads nothing.
    pub(crate) fn described(&self, name: &str, bridge: Option<&BridgeConfig>) -> Network {
        let driver = match name {
            "bridge" => Driver::Bridge,
            "host" => Driver::Host,
            _ => Driver::Null,
        };
        let mut network = Network {
            id: network_id(name),
            name: name.into(),
            created: crate::model::ZERO_TIME.into(),
            driver,
            internal: false,
            attachable: false,
            pools: Vec::new(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            parent_made: false,
        };
        if let Some(bridge) = bridge {
            network.pools.push(Pool {
                subnet: bridge.subnet.into(),
                gateway: Some(bridge.gateway().into()),
                range: None,
                aux: BTreeMap::new(),
                chosen: true,
            });
            network.pools.extend(bridge.subnet_v6.map(|subnet| Pool {
                subnet: subnet.into(),
                gateway: bridge.gateway_v6().map(IpAddr::from),
                range: None,
                aux: BTreeMap::new(),
                chosen: true,
            }));
            network.options = [
                ("com.docker.network.bridge.default_bridge", "true"),
                (key::ICC, "true"),
                (key::MASQUERADE, "true"),
                (key::HOST_BINDING, "0.0.0.0"),
                (key::BRIDGE_NAME, bridge.name.as_str()),
                (key::MTU, "1500"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        }
        network
    }

    /// The running containers on a network, by id, with their places there.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn network_members(&self, network: &Network) -> Result<Vec<(Container, EndpointState)>> {
        let mut members = Vec::new();
        for container in self.containers()? {
            let mut places = container.networks.iter();
            let place = places.find(|e| e.network_id() == network.id).cloned();
            if let Some(place) = place.filter(|_| container.state.status.is_live()) {
                members.push((container, place));
            }
        }
        members.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        Ok(members)
    }

    /// The ids of all networks that some container, running or not, is connected to.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn networks_in_use(&self) -> Result<BTreeSet<String>> {
        let containers = self.records()?;
        let connections = containers.iter().flat_map(|c| c.connections().into_owned());
        Ok(connections.map(|c| c.network_id).collect())
    }

    /// The network that a live endpoint is on; `None` if its record is gone.
    pub(crate) fn network_of(&self, endpoint: &EndpointState) -> Result<Option<Network>> {
        match self.network(endpoint.network_id().as_str()) {
            Err(Error::NoSuchNetwork { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The subnets that networks have, the default one's among them, but not that of the network `but` (by id, or the
    /// default one's name): none of them may be given to another.
    pub(crate) fn spoken_for(&self, tx: &Tx<'_>, but: Option<&str>) -> Result<Vec<IpNet>> {
        let networks: Vec<Network> = tx.networks()?;
        let others = networks.iter().filter(|n| Some(n.id.as_str()) != but);
        let pools = others.flat_map(|n| n.pools.iter());
        let mut subnets: Vec<IpNet> = pools.map(|pool| pool.subnet).collect();
        if but != Some(crate::endpoint::DEFAULT_NETWORK) {
            let chosen = tx.subnet(crate::endpoint::DEFAULT_NETWORK)?;
            let default: Option<Ipv4Net> = self.config.settings.network.subnet.or(chosen);
            subnets.extend(default.map(IpNet::from));
            if let Ipv6Choice::Subnet(v6) = self.config.settings.network.subnet_v6 {
                subnets.push(v6.into());
            }
        }
        Ok(subnets)
    }
}
