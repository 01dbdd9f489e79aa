//! `NetworkSettings`: addresses and published ports.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Empty;
use crate::model::{Container, EndpointState, PublishedPort, ZERO_TIME};
use crate::options::NetworkMode;

/// Where on the host a port is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PortBinding {
    /// Address; empty in a request for every address.
    #[serde(rename = "HostIp")]
    pub host_ip: String,
    /// Port, or a range in a request; empty in a request for any.
    #[serde(rename = "HostPort")]
    pub host_port: String,
}

/// Bindings by container port (`80/tcp`); `null` for a port that is exposed and not published.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

/// `NetworkSettings` of a container.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Always empty, as with Docker.
    pub bridge: String,
    /// The id of the container whose network this is, while it runs.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// The network namespace, while it runs.
    pub sandbox_key: String,
    /// Ports.
    pub ports: PortMap,
    /// Unused.
    pub hairpin_mode: bool,
    /// Unused.
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_ipv6_address: String,
    /// Unused.
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_ipv6_prefix_len: u8,
    /// Unused.
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary_ip_addresses: Option<Vec<String>>,
    /// Unused.
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary_ipv6_addresses: Option<Vec<String>>,
    /// The endpoint on the default bridge.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Gateway on the default bridge.
    pub gateway: String,
    /// IPv6 address on the default bridge.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Its prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// Address on the default bridge.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Its prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// IPv6 gateway on the default bridge.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// Hardware address on the default bridge.
    pub mac_address: String,
    /// Endpoints by network name.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// A container's place in one network.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointSettings {
    /// Unused.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<Empty>,
    /// Unused.
    pub links: Option<Vec<String>>,
    /// Other names in this network.
    pub aliases: Option<Vec<String>>,
    /// Hardware address.
    pub mac_address: String,
    /// Unused.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// Unused.
    pub gw_priority: i64,
    /// The network's id, from the first start on.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// While it runs, an id of its own for each run.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Gateway.
    pub gateway: String,
    /// Address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Its prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// IPv6 gateway.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Its prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// Names that the network's DNS server knows it by.
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
}

impl NetworkSettings {
    /// That of a container; addresses and ports are there while it runs.
    pub fn new(container: &Container) -> NetworkSettings {
        let name = match &container.options.network {
            NetworkMode::Bridge => "bridge",
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
            NetworkMode::Container(_) => return NetworkSettings::default(),
        };
        let live = container.state.status.is_live();
        let endpoint = container.network.as_ref().filter(|_| live);
        let name = endpoint
            .map_or(name, |endpoint| &endpoint.network)
            .to_owned();
        let connected = endpoint.is_some();
        let mut endpoint = endpoint.map(EndpointSettings::new).unwrap_or_default();
        let state = &container.state;
        // As Docker: a container has a network's id from its first start on, even if that failed.
        if state.started_at != ZERO_TIME || !state.error.is_empty() {
            endpoint.network_id = network_id(&name);
        }
        if live {
            endpoint.endpoint_id = derived_id(&["endpoint", &container.id, &state.started_at]);
        }
        NetworkSettings {
            sandbox_id: if live {
                container.id.clone()
            } else {
                String::new()
            },
            sandbox_key: if live {
                format!("/proc/{}/ns/net", container.state.pid)
            } else {
                String::new()
            },
            ports: port_map(container),
            endpoint_id: match connected {
                true => endpoint.endpoint_id.clone(),
                false => String::new(),
            },
            gateway: endpoint.gateway.clone(),
            global_ipv6_address: endpoint.global_ipv6_address.clone(),
            global_ipv6_prefix_len: endpoint.global_ipv6_prefix_len,
            ip_address: endpoint.ip_address.clone(),
            ip_prefix_len: endpoint.ip_prefix_len,
            ipv6_gateway: endpoint.ipv6_gateway.clone(),
            mac_address: endpoint.mac_address.clone(),
            networks: BTreeMap::from([(name, endpoint)]),
            ..NetworkSettings::default()
        }
    }
}

impl EndpointSettings {
    fn new(state: &EndpointState) -> EndpointSettings {
        let (v6, v6_len, v6_gateway) = match state.v6 {
            Some((address, len, gateway)) => (address.to_string(), len, gateway.to_string()),
            None => (String::new(), 0, String::new()),
        };
        EndpointSettings {
            mac_address: state.mac.clone(),
            gateway: state.gateway.to_string(),
            ip_address: state.address.to_string(),
            ip_prefix_len: state.prefix_len,
            ipv6_gateway: v6_gateway,
            global_ipv6_address: v6,
            global_ipv6_prefix_len: v6_len,
            ..EndpointSettings::default()
        }
    }
}

/// The id of a network that is known by its name.
pub(crate) fn network_id(name: &str) -> String {
    derived_id(&["network", name])
}

/// 64 hex digits for a thing that is known by its names.
fn derived_id(names: &[&str]) -> String {
    let hash = Sha256::digest(names.join("\0"));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The ports of a running container as they are published now; none of one that does not run.
///
/// One entry per address of the host, so a port on every address gives two where the host has IPv6.
pub fn published_ports(container: &Container) -> &[PublishedPort] {
    match &container.network {
        Some(network) if container.state.status.is_live() => &network.ports,
        _ => &[],
    }
}

/// The ports of a running container, by container port; none of one that does not run or has no network of its own.
pub fn port_map(container: &Container) -> PortMap {
    if !container.state.status.is_live() || container.network.is_none() {
        return PortMap::new();
    }
    let mut map: PortMap = container
        .process
        .exposed_ports
        .iter()
        .map(|port| (port.clone(), None))
        .collect();
    let mut ports: Vec<&PublishedPort> = published_ports(container).iter().collect();
    ports.sort_by_key(|port| {
        (
            port.host_port,
            matches!(port.host_ip, IpAddr::V6(_)),
            port.host_ip,
        )
    });
    for port in ports {
        let key = format!("{}/{}", port.container_port, port.protocol.as_str());
        map.entry(key)
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: port.host_ip.to_string(),
                host_port: port.host_port.to_string(),
            });
    }
    map
}
