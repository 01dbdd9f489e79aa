//! A container's places on networks: addresses and ports before it starts, the cables when it does.

mod addresses;
mod driver_options;
mod firewall;
mod ports;

use std::fs::File;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use ipnet::{Ipv4Net, Ipv6Net};
use rctr_network::{BridgeConfig, Deferred, Endpoint, Ipv6Choice};
use rctr_runtime::namespaces::{self, Sysfs};
use rctr_store::Tx;

use crate::model::{Connection, Container, EndpointState, Status};
use crate::network::Network;
use crate::options::NetworkMode;
use crate::{Engine, Error, NetworkError, Result, isolation, rootless};

pub(crate) use addresses::address_key;
pub(crate) use driver_options::DriverOptions;
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
        sysctls: (state.sysctls.iter().map(|text| text.parse()))
            .collect::<rctr_network::Result<_>>()
            .map_err(|_| corrupt())?,
    })
}
