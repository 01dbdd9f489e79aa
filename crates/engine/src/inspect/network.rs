//! `NetworkSettings`: addresses and published ports.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::model::{Connection, Container, EndpointState, PublishedPort, ZERO_TIME};
use crate::options::{EndpointRequest, NetworkMode};

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
    /// The addresses that were asked for.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<IpamConfig>,
    /// Unused.
    pub links: Option<Vec<String>>,
    /// Other names in this network.
    pub aliases: Option<Vec<String>>,
    /// Hardware address.
    pub mac_address: String,
    /// Options of the driver, as given.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// Of several networks the one with the highest leads to the world.
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

/// The addresses that a container asked for on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IpamConfig {
    /// IPv4.
    #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// IPv6.
    #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
    pub ipv6_address: String,
    /// Those of the link besides.
    #[serde(rename = "LinkLocalIPs", skip_serializing_if = "Vec::is_empty")]
    pub link_local_ips: Vec<String>,
}

impl NetworkSettings {
    /// That of a container; addresses and ports are there while it runs.
    pub fn new(container: &Container) -> NetworkSettings {
        let live = container.state.status.is_live();
        let networks: BTreeMap<String, EndpointSettings> = match &container.options.network {
            NetworkMode::None => shared(container, "none"),
            NetworkMode::Host => shared(container, "host"),
            NetworkMode::Container(_) => return NetworkSettings::default(),
            NetworkMode::Bridge | NetworkMode::User(_) => {
                let connections = container.connections();
                let settings = connections.iter().map(|connection| {
                    let name = connection.request.network.clone();
                    (name, EndpointSettings::new(container, connection))
                });
                settings.collect()
            }
        };
        // As with Docker, what stands outside `Networks` is of the default bridge alone.
        let default = networks.get("bridge").cloned().unwrap_or_default();
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
            endpoint_id: default.endpoint_id,
            gateway: default.gateway,
            global_ipv6_address: default.global_ipv6_address,
            global_ipv6_prefix_len: default.global_ipv6_prefix_len,
            ip_address: default.ip_address,
            ip_prefix_len: default.ip_prefix_len,
            ipv6_gateway: default.ipv6_gateway,
            mac_address: default.mac_address,
            networks,
            ..NetworkSettings::default()
        }
    }
}

/// As Docker: a container has a network's id from its first start on, even if that failed.
fn has_been_started(container: &Container) -> bool {
    let state = &container.state;
    state.started_at != ZERO_TIME || !state.error.is_empty()
}

/// A place where there are no addresses.
fn shared(container: &Container, name: &str) -> BTreeMap<String, EndpointSettings> {
    let state = &container.state;
    let mut settings = EndpointSettings::default();
    if has_been_started(container) {
        settings.network_id = network_id(name);
    }
    if state.status.is_live() {
        settings.endpoint_id = derived_id(&["endpoint", &container.id, &state.started_at]);
    }
    BTreeMap::from([(name.to_owned(), settings)])
}

impl EndpointSettings {
    fn new(container: &Container, connection: &Connection) -> EndpointSettings {
        let request = &connection.request;
        let live = container.state.status.is_live();
        let mut states = container.networks.iter().filter(|_| live);
        let state = states.find(|state| state.network_id() == connection.network_id);
        let mut settings = EndpointSettings {
            ipam_config: IpamConfig::of(request),
            aliases: (!request.aliases.is_empty()).then(|| request.aliases.clone()),
            mac_address: request.mac.clone().unwrap_or_default(),
            gw_priority: request.gw_priority,
            driver_opts: (!request.driver_opts.is_empty()).then(|| request.driver_opts.clone()),
            ..EndpointSettings::default()
        };
        if has_been_started(container) || connection.is_custom() {
            settings.network_id.clone_from(&connection.network_id);
        }
        if connection.is_custom() {
            settings.dns_names = Some(container.dns_names(&connection.network_id));
        }
        if let Some(state) = state {
            settings.fill_in(container, state);
        }
        settings
    }

    fn fill_in(&mut self, container: &Container, state: &EndpointState) {
        self.endpoint_id = match state.endpoint_id.is_empty() {
            true => derived_id(&["endpoint", &container.id, &container.state.started_at]),
            false => state.endpoint_id.clone(),
        };
        self.mac_address.clone_from(&state.mac);
        if state.leads_out && !state.gateway.is_unspecified() {
            self.gateway = state.gateway.to_string();
        }
        self.ip_address = state.address.to_string();
        self.ip_prefix_len = state.prefix_len;
        if let Some((address, len, gateway)) = state.v6 {
            self.global_ipv6_address = address.to_string();
            self.global_ipv6_prefix_len = len;
            if state.leads_out && !gateway.is_unspecified() {
                self.ipv6_gateway = gateway.to_string();
            }
        }
    }
}

impl IpamConfig {
    fn of(request: &EndpointRequest) -> Option<IpamConfig> {
        let text = |address: Option<IpAddr>| address.map(|a| a.to_string()).unwrap_or_default();
        let config = IpamConfig {
            ipv4_address: text(request.ip.map(IpAddr::from)),
            ipv6_address: text(request.ip6.map(IpAddr::from)),
            link_local_ips: request.link_local.iter().map(ToString::to_string).collect(),
        };
        (config != IpamConfig::default()).then_some(config)
    }
}

/// The id of a network that is known by its name.
pub(crate) fn network_id(name: &str) -> String {
    derived_id(&["network", name])
}

/// 64 hex digits for a thing that is known by its names.
pub(crate) fn derived_id(names: &[&str]) -> String {
    let hash = Sha256::digest(names.join("\0"));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The ports of a running container as they are published now; none of one that does not run.
///
/// One entry per address of the host, so a port on every address gives two where the host has IPv6.
pub fn published_ports(container: &Container) -> &[PublishedPort] {
    let live = container.state.status.is_live();
    let mut endpoints = container.networks.iter().filter(|_| live);
    endpoints
        .find(|endpoint| !endpoint.ports.is_empty())
        .map_or(&[], |endpoint| &endpoint.ports)
}

/// The ports of a running container, by container port; none of one that does not run or has no network of its own.
pub fn port_map(container: &Container) -> PortMap {
    if !container.state.status.is_live() || container.networks.is_empty() {
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
