//! A container's places on networks: addresses and ports before it starts, the cables when it does.

mod firewall;
mod ports;

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rctr_network::{BridgeConfig, Deferred, Endpoint, Ipv6Choice};
use rctr_runtime::namespaces::{self, Sysfs};
use rctr_store::{AddressPool, Tx};

use crate::model::{Connection, Container, EndpointState, PublishedPort, Status};
use crate::network::{Driver, Network, Pool};
use crate::options::{EndpointRequest, NetworkMode};
use crate::{Engine, Error, NetworkError, Result, isolation, names, rootless};

pub(crate) use ports::{HeldPorts, network_protocol, published};

/// The network's name in `inspect` and in the store's address table.
pub(crate) const DEFAULT_NETWORK: &str = "bridge";

/// A connection of a container that is about to start, and the network it leads to.
pub(crate) type Planned = (Connection, Network);

/// The namespace of a container's network.
#[derive(Default)]
pub(crate) struct Joined {
    /// The namespace; `None` is the host's.
    pub netns: Option<OwnedFd>,
    /// The user namespace that the network namespace belongs to, if it is not the host's.
    pub user: Option<OwnedFd>,
    /// What the monitor holds open for as long as the container lives.
    pub held: Vec<OwnedFd>,
}

/// A container's way into its networks.
#[derive(Default)]
pub(crate) struct Connected {
    /// One line each, for the user.
    pub warnings: Vec<String>,
    /// The slow rest of publishing ports: to be dropped once the container runs.
    published: Vec<Deferred>,
    /// What the container mounts meanwhile.
    sysfs: Option<Sysfs>,
}

impl Engine {
    /// The default bridge as configured, or with the subnet that was chosen for it last.
    pub(crate) fn bridge(&self) -> Result<BridgeConfig> {
        let subnet = match self.config.settings.network.subnet {
            Some(configured) => configured,
            None => {
                let chosen = self.store.subnet(DEFAULT_NETWORK)?;
                chosen.unwrap_or(BridgeConfig::default().subnet)
            }
        };
        Ok(self.bridge_with(subnet))
    }

    /// The default bridge for one more container: the subnet is chosen now, if nobody configured one, none was
    /// chosen before, or something else has taken it since.
    fn settle_bridge(&self, tx: &Tx<'_>) -> Result<BridgeConfig> {
        let settings = &self.config.settings.network;
        if let Some(configured) = settings.subnet {
            return Ok(self.bridge_with(configured));
        }
        let before = tx.subnet(DEFAULT_NETWORK)?;
        let others = self.spoken_for(tx, Some(DEFAULT_NETWORK))?;
        let chosen = rctr_network::choose_subnet(&settings.bridge, before, &others)?;
        if before != Some(chosen) {
            tx.set_subnet(DEFAULT_NETWORK, chosen)?;
        }
        Ok(self.bridge_with(chosen))
    }

    /// The bridge behind an endpoint, if there is one: the default one as the container knows it.
    pub(crate) fn bridge_of(&self, state: &EndpointState) -> Result<Option<BridgeConfig>> {
        if state.network == DEFAULT_NETWORK {
            return Ok(Some(self.bridge_with(wire(state)?.address.trunc())));
        }
        Ok(self.network_of(state)?.and_then(|network| network.bridge()))
    }

    fn bridge_with(&self, subnet: Ipv4Net) -> BridgeConfig {
        BridgeConfig {
            name: self.config.settings.network.bridge.clone(),
            subnet,
            subnet_v6: self.subnet_v6(),
            ..BridgeConfig::default()
        }
    }

    pub(crate) fn subnet_v6(&self) -> Option<Ipv6Net> {
        let settings = &self.config.settings.network;
        match settings.subnet_v6 {
            Ipv6Choice::Subnet(subnet) => Some(subnet),
            Ipv6Choice::Generated => rctr_network::host_has_ipv6()
                .then(|| BridgeConfig::generated_subnet_v6(&settings.bridge)),
            Ipv6Choice::Off => None,
        }
    }

    /// The networks of a container that is about to start.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`] if one was removed since the container was connected to it.
    pub(crate) fn plan_networks(&self, container: &Container) -> Result<Vec<Planned>> {
        let connections = container.connections().into_owned().into_iter();
        connections
            .map(|connection| {
                let network =
                    self.network(&connection.network_id)
                        .map_err(|error| match error {
                            Error::NoSuchNetwork { .. } => Error::NoSuchNetwork {
                                name: connection.request.network.clone(),
                            },
                            other => other,
                        })?;
                Ok((connection, network))
            })
            .collect()
    }

    /// Takes addresses on all networks of a container that is about to start; `ports` are published by the way out.
    pub(crate) fn allocate_all(
        &self,
        tx: &Tx<'_>,
        container: &mut Container,
        plan: &[Planned],
        ports: Vec<PublishedPort>,
    ) -> Result<()> {
        tx.release_addresses(&container.id)?;
        container.networks.clear();
        for (connection, network) in plan {
            let mut state = self.allocate_on(tx, &container.id, network, &connection.request)?;
            state.ifname = free_interface(container, network);
            container.networks.push(state);
        }
        let way_out = container.way_out().map(|state| state.network.clone());
        let mut states = container.networks.iter_mut();
        if let Some(state) = states.find(|state| Some(&state.network) == way_out.as_ref()) {
            state.ports = ports;
        }
        Ok(())
    }

    /// Takes addresses on the default bridge.
    pub(crate) fn allocate(
        &self,
        tx: &Tx<'_>,
        id: &str,
        ports: Vec<PublishedPort>,
    ) -> Result<EndpointState> {
        // In a transaction the store is asked nothing else.
        let network = self.described(DEFAULT_NETWORK, Some(&self.settle_bridge(tx)?));
        let state = self.allocate_on(tx, id, &network, &EndpointRequest::on(DEFAULT_NETWORK))?;
        Ok(EndpointState { ports, ..state })
    }

    /// Takes addresses on a network.
    pub(crate) fn allocate_on(
        &self,
        tx: &Tx<'_>,
        id: &str,
        network: &Network,
        request: &EndpointRequest,
    ) -> Result<EndpointState> {
        let pools = match network.name == DEFAULT_NETWORK {
            true => pools_of(&self.settle_bridge(tx)?),
            false => self.settle_pools(tx, network)?,
        };
        let key = address_key(network);
        let (mut v4, mut v6) = (None, None);
        for pool in &pools {
            let wanted = match pool.subnet {
                IpNet::V4(_) => request.ip.map(IpAddr::from),
                IpNet::V6(_) => request.ip6.map(IpAddr::from),
            };
            let address = take(tx, key, id, pool, wanted)?;
            let place = (address, pool.subnet.prefix_len(), pool.gateway);
            match address {
                IpAddr::V4(_) => v4 = Some(place),
                IpAddr::V6(_) => v6 = Some(place),
            }
        }
        let (address, prefix_len, gateway) = v4.ok_or_else(|| Error::BadRecord {
            what: format!("network {}: it has no IPv4 subnet", network.name),
        })?;
        let unset = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let mac = match (&request.mac, address) {
            (Some(mac), _) => mac.clone(),
            (None, IpAddr::V4(v4)) => {
                let bytes = rctr_network::mac_for(v4);
                bytes.map(|byte| format!("{byte:02x}")).join(":")
            }
            (None, IpAddr::V6(_)) => String::new(),
        };
        Ok(EndpointState {
            network: network.name.clone(),
            network_id: network.id.clone(),
            driver: network.driver,
            endpoint_id: names::new_id(),
            ifname: format!("{}0", network.interface_prefix()),
            leads_out: network.leads_out(),
            gw_priority: request.gw_priority,
            link_local: request.link_local.clone(),
            // Not the container's id: the kernel may still be removing the interface of its last run.
            host_ifname: format!("rv{}", &names::new_id()[..10]),
            mac,
            address,
            prefix_len,
            gateway: gateway.unwrap_or(unset),
            v6: v6.map(|(address, len, gateway)| (address, len, gateway.unwrap_or(unset))),
            ports: Vec::new(),
        })
    }

    /// Where a network's addresses come from: a subnet that nobody asked for is chosen anew if, with the bridge away,
    /// something else has taken it.
    fn settle_pools(&self, tx: &Tx<'_>, network: &Network) -> Result<Vec<Pool>> {
        let mut stored: Vec<Network> = tx.find_networks(&network.id)?;
        let Some(mut network) = stored.pop().filter(|found| found.id == network.id) else {
            return Err(Error::NoSuchNetwork {
                name: network.name.clone(),
            });
        };
        let interface = network.interface();
        let (driver, others) = (network.driver, self.spoken_for(tx, Some(&network.id))?);
        let mut changed = false;
        for pool in network.pools.iter_mut().filter(|pool| pool.chosen) {
            let IpNet::V4(before) = pool.subnet else {
                continue;
            };
            if driver != Driver::Bridge {
                continue;
            }
            let chosen = rctr_network::choose_subnet(&interface, Some(before), &others)?;
            if chosen != before {
                pool.subnet = chosen.into();
                pool.gateway = chosen.hosts().next().map(IpAddr::from);
                changed = true;
            }
        }
        if changed {
            tx.replace_network(&network.id, &network)?;
        }
        Ok(network.pools)
    }

    /// Gives back a container's addresses, but those that were asked for: they stay its own while it exists.
    pub(crate) fn release_addresses(
        &self,
        tx: &Tx<'_>,
        container: &Container,
    ) -> rctr_store::Result<()> {
        tx.release_addresses(&container.id)?;
        for connection in container.connections().iter() {
            self.reserve_static(tx, &container.id, connection)?;
        }
        Ok(())
    }

    /// Takes the addresses that were asked for.
    pub(crate) fn reserve_static(
        &self,
        tx: &Tx<'_>,
        id: &str,
        connection: &Connection,
    ) -> rctr_store::Result<()> {
        let request = &connection.request;
        if request.ip.is_none() && request.ip6.is_none() {
            return Ok(());
        }
        let found: Vec<Network> = tx.find_networks(&connection.network_id)?;
        for network in found.iter().filter(|n| n.id == connection.network_id) {
            for pool in &network.pools {
                let wanted = match pool.subnet {
                    IpNet::V4(_) => request.ip.map(IpAddr::from),
                    IpNet::V6(_) => request.ip6.map(IpAddr::from),
                };
                if wanted.is_some() {
                    take(tx, &network.id, id, pool, wanted)?;
                }
            }
        }
        Ok(())
    }

    /// The network namespace the container gets, not connected to anything yet.
    pub(crate) fn join_network(&self, container: &Container) -> Result<Joined> {
        if let Some(member) = &container.pod {
            let netns = match self.pod(&member.pod)?.netns() {
                Some(path) => Some(
                    File::open(&path)
                        .map_err(Error::file("open", &path))?
                        .into(),
                ),
                None => None,
            };
            return Ok(Joined {
                netns,
                ..Joined::default()
            });
        }
        match &container.options.network {
            NetworkMode::Host => Ok(Joined::default()),
            NetworkMode::Container(other) => Ok(Joined {
                netns: Some(self.namespace_of(other)?),
                ..Joined::default()
            }),
            NetworkMode::None | NetworkMode::Bridge | NetworkMode::User(_) => {
                let (netns, user) = isolation::new_netns(container)?;
                let held = match container.has_names() {
                    true => vec![self.serve_names(&container.id, &netns)?],
                    false => Vec::new(),
                };
                Ok(Joined {
                    netns: Some(netns),
                    user,
                    held,
                })
            }
        }
    }

    /// Connects a container's namespace to its networks and publishes its ports.
    pub(crate) fn connect_networks(
        &self,
        container: &Container,
        joined: &Joined,
    ) -> Result<Connected> {
        let mut connected = Connected::default();
        let Some(netns) = joined
            .netns
            .as_ref()
            .filter(|_| !container.networks.is_empty())
        else {
            return Ok(connected);
        };
        connected.sysfs = namespaces::make_sysfs(netns.as_fd()).ok();
        for state in &container.networks {
            let (published, warnings) = self.plug_in(netns, state, routes(container, state))?;
            connected.published.push(published);
            connected.warnings.extend(warnings);
        }
        Ok(connected)
    }

    /// Connects a namespace and publishes the endpoint's ports; `routes` are the gateways that take what leaves the
    /// network.
    pub(crate) fn plug_in(
        &self,
        netns: &OwnedFd,
        state: &EndpointState,
        routes: Vec<IpAddr>,
    ) -> Result<(Deferred, Vec<String>)> {
        let mut endpoint = wire(state)?;
        endpoint.default_via = routes;
        let Some(bridge) = self.bridge_of(state)? else {
            return self.hang_on(netns, state, &endpoint);
        };
        let outside = rootless::lead_outside()?;
        let outcome = rctr_network::ensure_bridge(&bridge)?;
        if outcome.publish_again {
            self.restore_others(&bridge)?;
            self.publish_all(&bridge)?;
        }
        rctr_network::connect(netns.as_fd(), &bridge, &endpoint)?;
        let deferred = rctr_network::publish(&bridge, &published(state))?;
        let of_bridge = outcome.warnings.iter().map(ToString::to_string);
        Ok((deferred, outside.into_iter().chain(of_bridge).collect()))
    }

    /// The same where an interface of the host is the network.
    fn hang_on(
        &self,
        netns: &OwnedFd,
        state: &EndpointState,
        endpoint: &Endpoint,
    ) -> Result<(Deferred, Vec<String>)> {
        let missing = || Error::NoSuchNetwork {
            name: state.network.clone(),
        };
        let network = self.network_of(state)?.ok_or_else(missing)?;
        let link = network.sub_link().ok_or_else(missing)?;
        network.ensure_parent()?;
        rctr_network::connect_sublink(netns.as_fd(), &link, endpoint)?;
        Ok((Deferred::default(), Vec::new()))
    }

    /// Removes the bridges of all networks and their rules; the next container that needs one makes it again.
    ///
    /// # Errors
    /// [`NetworkError::InUse`] while a container is connected to one.
    pub fn remove_network(&self) -> Result<()> {
        let user = self.containers()?.into_iter();
        let user = user.map(|c| (c.networks.first().map(|e| e.network.clone()), c.name));
        let pods = self.pods()?.into_iter().map(|pod| {
            let endpoint = pod.network.and_then(|network| network.endpoint);
            (endpoint.map(|e| e.network), pod.options.name)
        });
        let used = user
            .chain(pods)
            .find_map(|(network, name)| Some((network?, name)));
        if let Some((network, container)) = used {
            return Err(NetworkError::InUse { network, container }.into());
        }
        let networks: Vec<Network> = self.store.networks()?;
        for network in &networks {
            self.remove_links(network, &networks)?;
        }
        Ok(rctr_network::remove_bridge(&self.bridge()?)?)
    }

    /// Takes a container's ports out of the firewall; its cables end with its namespace.
    pub(crate) fn leave_network(&self, container: &Container) -> Result<()> {
        for state in &container.networks {
            self.unplug(state)?;
        }
        Ok(())
    }

    /// Takes an endpoint's ports out of the firewall.
    pub(crate) fn unplug(&self, state: &EndpointState) -> Result<()> {
        if state.ports.is_empty() {
            return Ok(());
        }
        if let Some(bridge) = self.bridge_of(state)? {
            drop(rctr_network::unpublish(&bridge, &published(state))?);
        }
        Ok(())
    }

    pub(crate) fn namespace_of(&self, name: &str) -> Result<OwnedFd> {
        let other = self.container(name)?;
        if other.state.status != Status::Running {
            return Err(Error::JoinNotRunning { id: other.id });
        }
        open_netns(other.state.pid)?.ok_or(Error::JoinNotRunning { id: other.id })
    }
}

/// The network namespace of a process, unless that has ended.
pub(crate) fn open_netns(pid: i32) -> Result<Option<OwnedFd>> {
    let path = format!("/proc/{pid}/ns/net");
    match File::open(&path) {
        Ok(file) => Ok(Some(file.into())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("open", path.as_ref())(e)),
    }
}

/// The gateways that an endpoint leads to the world by: those of the families for which it is the way out.
pub(crate) fn routes(container: &Container, state: &EndpointState) -> Vec<IpAddr> {
    let is = |way: Option<&EndpointState>| way.is_some_and(|way| way.network == state.network);
    let v4 = is(container.way_out()).then_some(state.gateway);
    let v6 = is(container.way_out_v6()).then_some(state.v6.map(|(_, _, gateway)| gateway));
    [v4, v6.flatten()]
        .into_iter()
        .flatten()
        .filter(|gateway| !gateway.is_unspecified())
        .collect()
}

/// The gateways of an endpoint that is its owner's only one.
pub(crate) fn own_routes(state: &EndpointState) -> Vec<IpAddr> {
    let gateways = [Some(state.gateway), state.v6.map(|(_, _, gateway)| gateway)];
    gateways.into_iter().flatten().collect()
}

/// The next interface's name.
pub(crate) fn free_interface(container: &Container, network: &Network) -> String {
    let taken = |name: &String| container.networks.iter().any(|state| state.ifname == *name);
    let mut names = (0..).map(|n: u32| format!("{}{n}", network.interface_prefix()));
    names.find(|name| !taken(name)).unwrap_or_default()
}

/// The network's name in the store's address table.
pub(crate) fn address_key(network: &Network) -> &str {
    match network.name == DEFAULT_NETWORK {
        true => DEFAULT_NETWORK,
        false => &network.id,
    }
}

fn pools_of(bridge: &BridgeConfig) -> Vec<Pool> {
    let pool = |subnet, gateway| Pool {
        subnet,
        gateway: Some(gateway),
        range: None,
        aux: Default::default(),
        chosen: true,
    };
    let v6 = bridge.subnet_v6.zip(bridge.gateway_v6());
    let v6 = v6.map(|(subnet, gateway)| pool(IpNet::from(subnet), IpAddr::from(gateway)));
    let v4 = pool(bridge.subnet.into(), bridge.gateway().into());
    [Some(v4), v6].into_iter().flatten().collect()
}

fn take(
    tx: &Tx<'_>,
    network: &str,
    id: &str,
    pool: &Pool,
    wanted: Option<IpAddr>,
) -> rctr_store::Result<IpAddr> {
    let reserved: Vec<IpAddr> = pool
        .gateway
        .iter()
        .chain(pool.aux.values())
        .copied()
        .collect();
    let pool = AddressPool {
        network,
        subnet: pool.subnet,
        range: pool.range,
        reserved: &reserved,
    };
    tx.allocate_address(&pool, id, wanted)
}

/// The endpoint as the network wants it, without routes.
pub(crate) fn wire(state: &EndpointState) -> Result<Endpoint> {
    let corrupt = || Error::BadRecord {
        what: format!("network endpoint {}", state.host_ifname),
    };
    let IpAddr::V4(address) = state.address else {
        return Err(corrupt());
    };
    let address_v6 = match state.v6 {
        Some((IpAddr::V6(address), prefix, _)) => {
            Some(Ipv6Net::new(address, prefix).map_err(|_| corrupt())?)
        }
        _ => None,
    };
    let mut mac = [0; 6];
    for (byte, text) in mac.iter_mut().zip(state.mac.split(':')) {
        *byte = u8::from_str_radix(text, 16).map_err(|_| corrupt())?;
    }
    Ok(Endpoint {
        host_ifname: state.host_ifname.clone(),
        ifname: state.ifname.clone(),
        mac,
        address: Ipv4Net::new(address, state.prefix_len).map_err(|_| corrupt())?,
        address_v6,
        link_local: state.link_local.clone(),
        default_via: Vec::new(),
    })
}
