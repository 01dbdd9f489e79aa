//! `network inspect`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::derived_id;
use crate::model::{Container, EndpointState};
use crate::network::Network;

/// A network, and who is on it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkInspect {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: String,
    /// Always `local`.
    pub scope: &'static str,
    /// Who moves its packets.
    pub driver: &'static str,
    /// Whether it has IPv4.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    /// Whether it has IPv6.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Where its addresses come from.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Nothing gets out or in.
    pub internal: bool,
    /// As asked for.
    pub attachable: bool,
    /// Unused.
    pub ingress: bool,
    /// Unused.
    pub config_from: BTreeMap<&'static str, String>,
    /// Unused.
    pub config_only: bool,
    /// The running containers on it, by id.
    pub containers: BTreeMap<String, Member>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Where addresses come from.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    /// Always `default`.
    pub driver: &'static str,
    /// `null`, or empty for a network that a user made.
    pub options: Option<BTreeMap<String, String>>,
    /// One for each address family.
    pub config: Option<Vec<IpamPool>>,
}

/// Addresses of one family.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct IpamPool {
    /// All of them.
    pub subnet: String,
    /// The part that containers get addresses from.
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    pub ip_range: String,
    /// Where packets to the world go.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Addresses that others have.
    #[serde(
        rename = "AuxiliaryAddresses",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub auxiliary_addresses: BTreeMap<String, IpAddr>,
}

/// A running container on a network.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The endpoint's id.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Hardware address.
    pub mac_address: String,
    /// Address with the subnet's prefix length.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// The same of IPv6.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

impl NetworkInspect {
    /// That of a network with these containers.
    pub fn new(network: &Network, members: &[(Container, EndpointState)]) -> NetworkInspect {
        let custom = network.is_custom();
        let pools: Vec<IpamPool> = network
            .pools
            .iter()
            .map(|pool| IpamPool {
                subnet: pool.subnet.to_string(),
                ip_range: pool
                    .range
                    .map(|range| range.to_string())
                    .unwrap_or_default(),
                gateway: pool.gateway.map(|ip| ip.to_string()).unwrap_or_default(),
                auxiliary_addresses: pool.aux.clone(),
            })
            .collect();
        NetworkInspect {
            name: network.name.clone(),
            id: network.id.clone(),
            created: network.created.clone(),
            scope: "local",
            driver: network.driver.as_str(),
            enable_ipv4: true,
            enable_ipv6: network.has_v6(),
            ipam: Ipam {
                driver: "default",
                options: custom.then(BTreeMap::new),
                config: (!pools.is_empty()).then_some(pools),
            },
            internal: network.internal,
            attachable: network.attachable,
            ingress: false,
            config_from: BTreeMap::from([("Network", String::new())]),
            config_only: false,
            containers: members
                .iter()
                .map(|(container, state)| (container.id.clone(), Member::new(container, state)))
                .collect(),
            options: network.options.clone(),
            labels: network.labels.clone(),
        }
    }
}

impl Member {
    fn new(container: &Container, state: &EndpointState) -> Member {
        Member {
            name: container.name.clone(),
            endpoint_id: match state.endpoint_id.is_empty() {
                true => derived_id(&["endpoint", &container.id, &container.state.started_at]),
                false => state.endpoint_id.clone(),
            },
            mac_address: state.mac.clone(),
            ipv4_address: format!("{}/{}", state.address, state.prefix_len),
            ipv6_address: state
                .v6
                .map(|(address, len, _)| format!("{address}/{len}"))
                .unwrap_or_default(),
        }
    }
}
