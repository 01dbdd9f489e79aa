//! A container's place in the network: addresses and ports before it starts, the cable when it does.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rctr_network::{BridgeConfig, Deferred, Endpoint};
use rctr_store::{AddressPool, Tx};

use crate::model::{Container, EndpointState, PublishedPort, Status};
use crate::options::{NetworkMode, PortSpec, Protocol};
use crate::{Engine, Error, Result, isolation, names};

/// The network's name in `inspect` and in the store's address table.
pub(crate) const DEFAULT_NETWORK: &str = "bridge";

/// Ports held for a container: what was published, and the sockets that keep others away from them.
#[derive(Default)]
pub(crate) struct HeldPorts {
    pub ports: Vec<PublishedPort>,
    pub sockets: Vec<OwnedFd>,
}

/// A network that is ready for its container.
#[derive(Default)]
pub(crate) struct Joined {
    /// The namespace; `None` is the host's.
    pub netns: Option<OwnedFd>,
    /// One line each, for the user.
    pub warnings: Vec<String>,
    /// The user namespace that the network namespace belongs to, if it is not the host's.
    pub user: Option<OwnedFd>,
    /// The slow rest of publishing ports: to be dropped once the container runs.
    published: Option<Deferred>,
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
        let chosen = rctr_network::choose_subnet(&settings.bridge, before, &[])?;
        if before != Some(chosen) {
            tx.set_subnet(DEFAULT_NETWORK, chosen)?;
        }
        Ok(self.bridge_with(chosen))
    }

    /// The default bridge as a container knows it.
    fn bridge_of(&self, state: &EndpointState) -> Result<BridgeConfig> {
        Ok(self.bridge_with(endpoint(state)?.address.trunc()))
    }

    fn bridge_with(&self, subnet: Ipv4Net) -> BridgeConfig {
        BridgeConfig {
            name: self.config.settings.network.bridge.clone(),
            subnet,
            subnet_v6: self.subnet_v6(),
            ..BridgeConfig::default()
        }
    }

    fn subnet_v6(&self) -> Option<Ipv6Net> {
        let settings = &self.config.settings.network;
        settings.subnet_v6.or_else(|| {
            rctr_network::host_has_ipv6()
                .then(|| BridgeConfig::generated_subnet_v6(&settings.bridge))
        })
    }

    /// Takes the host ports of a container, choosing random ones where it may.
    pub(crate) fn hold_ports(&self, container: &Container) -> Result<HeldPorts> {
        let mut held = HeldPorts::default();
        if container.options.network != NetworkMode::Bridge {
            return Ok(held);
        }
        let v6 = self.subnet_v6().is_some() && rctr_network::kernel_has_ipv6();
        for spec in wanted_ports(container)? {
            for (inner, host) in spec.expand() {
                hold(&mut held, &spec, host, inner, v6)?;
            }
        }
        Ok(held)
    }

    /// Takes one host port.
    pub(crate) fn hold_port(&self, held: &mut HeldPorts, spec: &PortSpec) -> Result<()> {
        let v6 = self.subnet_v6().is_some() && rctr_network::kernel_has_ipv6();
        for (inner, host) in spec.expand() {
            hold(held, spec, host, inner, v6)?;
        }
        Ok(())
    }

    /// Allocates addresses for the default bridge.
    pub(crate) fn allocate(
        &self,
        tx: &Tx<'_>,
        id: &str,
        ports: Vec<PublishedPort>,
    ) -> Result<EndpointState> {
        let bridge = self.settle_bridge(tx)?;
        let take = |subnet: IpNet, gateway: IpAddr| {
            let pool = AddressPool {
                network: DEFAULT_NETWORK,
                subnet,
                range: None,
                reserved: &[gateway],
            };
            tx.allocate_address(&pool, id, None)
        };
        let address = take(bridge.subnet.into(), bridge.gateway().into())?;
        let v6 = match (bridge.subnet_v6, bridge.gateway_v6()) {
            (Some(subnet), Some(gateway)) => {
                let address = take(subnet.into(), gateway.into())?;
                Some((address, subnet.prefix_len(), IpAddr::V6(gateway)))
            }
            _ => None,
        };
        let mac = match address {
            IpAddr::V4(address) => rctr_network::mac_for(address),
            IpAddr::V6(_) => [2, 0x42, 0, 0, 0, 0],
        };
        Ok(EndpointState {
            network: DEFAULT_NETWORK.into(),
            // Not the container's id: the kernel may still be removing the interface of its last run.
            host_ifname: format!("rv{}", &names::new_id()[..10]),
            mac: mac.map(|byte| format!("{byte:02x}")).join(":"),
            address,
            prefix_len: bridge.subnet.prefix_len(),
            gateway: bridge.gateway().into(),
            v6,
            ports,
        })
    }

    /// The network namespace the container gets, connected and published.
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
        let alone = |netns| Joined {
            netns,
            ..Joined::default()
        };
        match &container.options.network {
            NetworkMode::Host => Ok(Joined::default()),
            NetworkMode::None => {
                let (netns, user) = isolation::new_netns(container)?;
                let joined = alone(Some(netns));
                Ok(Joined { user, ..joined })
            }
            NetworkMode::Container(other) => Ok(alone(Some(self.namespace_of(other)?))),
            NetworkMode::Bridge => {
                let (netns, user) = isolation::new_netns(container)?;
                let mut joined = alone(Some(netns));
                joined.user = user;
                if let (Some(netns), Some(endpoint)) = (&joined.netns, &container.network) {
                    let (published, warnings) = self.plug_in(netns, endpoint)?;
                    joined.published = Some(published);
                    joined.warnings = warnings;
                }
                Ok(joined)
            }
        }
    }

    pub(crate) fn plug_in(
        &self,
        netns: &OwnedFd,
        state: &EndpointState,
    ) -> Result<(Deferred, Vec<String>)> {
        let bridge = self.bridge_of(state)?;
        let outcome = rctr_network::ensure_bridge(&bridge)?;
        if outcome.publish_again {
            self.publish_all(&bridge)?;
        }
        rctr_network::connect(netns.as_fd(), &bridge, &endpoint(state)?)?;
        let deferred = rctr_network::publish(&bridge, &published(state))?;
        Ok((
            deferred,
            outcome.warnings.iter().map(ToString::to_string).collect(),
        ))
    }

    /// The firewall table was made anew: every running container's ports go into it again.
    fn publish_all(&self, bridge: &BridgeConfig) -> Result<()> {
        for container in self.records()? {
            if let (Status::Running | Status::Paused, Some(state)) =
                (container.state.status, &container.network)
            {
                drop(rctr_network::publish(bridge, &published(state))?);
            }
        }
        for state in self.ready_endpoints()? {
            drop(rctr_network::publish(bridge, &published(&state))?);
        }
        Ok(())
    }

    /// Rules that somebody flushed are put back by any command that looks at a running container; there is no daemon
    /// that could notice sooner. A command that only looks does not fail for it.
    pub(crate) fn restore_firewall(&self, seen: &[Container]) {
        let mut live = seen.iter().filter(|c| c.state.status.is_live());
        if let Some(state) = live.find_map(|c| c.network.as_ref()) {
            self.restore_rules(state);
        }
    }

    /// Puts all rules back if they are gone; `state` is of one who needs them.
    pub(crate) fn restore_rules(&self, state: &EndpointState) {
        let restore = || -> Result<()> {
            let bridge = self.bridge_of(state)?;
            let lost = rctr_network::firewall_lost(&bridge)?;
            if lost && rctr_network::ensure_bridge(&bridge)?.publish_again {
                self.publish_all(&bridge)?;
            }
            Ok(())
        };
        if let Err(e) = restore() {
            tracing::warn!(error = %e, "published ports may be closed");
        }
    }

    /// Removes the default bridge and its rules; the next container that needs them makes them again.
    ///
    /// # Errors
    /// [`Error::NetworkInUse`] while a container is connected to it.
    pub fn remove_network(&self) -> Result<()> {
        let user = self.containers()?.into_iter().find(|c| c.network.is_some());
        let pod = self.pods()?.into_iter().find(|pod| {
            let network = pod.network.as_ref();
            network.is_some_and(|network| network.endpoint.is_some())
        });
        if let Some(container) = user.map(|c| c.name).or(pod.map(|pod| pod.options.name)) {
            return Err(Error::NetworkInUse {
                network: DEFAULT_NETWORK,
                container,
            });
        }
        Ok(rctr_network::remove_bridge(&self.bridge()?)?)
    }

    /// Takes a container's ports out of the firewall; its cable ends with its namespace.
    pub(crate) fn leave_network(&self, container: &Container) -> Result<()> {
        container
            .network
            .as_ref()
            .map_or(Ok(()), |state| self.unplug(state))
    }

    /// Takes an endpoint's ports out of the firewall.
    pub(crate) fn unplug(&self, state: &EndpointState) -> Result<()> {
        let bridge = self.bridge_of(state)?;
        drop(rctr_network::unpublish(&bridge, &published(state))?);
        Ok(())
    }

    pub(crate) fn namespace_of(&self, name: &str) -> Result<OwnedFd> {
        let other = self.container(name)?;
        if other.state.status != Status::Running {
            return Err(Error::JoinNotRunning { id: other.id });
        }
        let path = format!("/proc/{}/ns/net", other.state.pid);
        Ok(File::open(&path)
            .map_err(Error::file("open", path.as_ref()))?
            .into())
    }
}

/// `-p`, and with `-P` every exposed port that no `-p` names.
fn wanted_ports(container: &Container) -> Result<Vec<PortSpec>> {
    let mut wanted = container.options.publish.clone();
    if container.options.publish_all {
        for exposed in &container.process.exposed_ports {
            let spec: PortSpec = exposed.parse()?;
            let named = wanted
                .iter()
                .any(|w| w.protocol == spec.protocol && w.container_ports == spec.container_ports);
            if !named {
                wanted.push(spec);
            }
        }
    }
    Ok(wanted)
}

fn hold(
    held: &mut HeldPorts,
    spec: &PortSpec,
    host: Option<(u16, u16)>,
    inner: u16,
    v6: bool,
) -> Result<()> {
    let any = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    let host_ips = match spec.host_ip {
        Some(ip) => vec![ip],
        None if v6 => any.to_vec(),
        None => vec![any[0]],
    };
    let range = host.map(|(low, high)| low..=high);
    check_family(
        spec,
        range.as_ref().map_or(inner, |range| *range.start()),
        v6,
    )?;
    let protocol = network_protocol(spec.protocol);
    let (port, sockets) = match range {
        Some(range) if range.start() == range.end() => {
            let reserve = |&ip| rctr_network::reserve(ip, *range.start(), protocol);
            (
                *range.start(),
                host_ips
                    .iter()
                    .map(reserve)
                    .collect::<rctr_network::Result<Vec<_>>>()?,
            )
        }
        range => rctr_network::free_port(&host_ips, protocol, range)?,
    };
    held.sockets.extend(sockets);
    held.ports
        .extend(host_ips.into_iter().map(|host_ip| PublishedPort {
            host_ip,
            host_port: port,
            container_port: inner,
            protocol: spec.protocol,
        }));
    Ok(())
}

/// An IPv6 address can be published on only where containers have one to lead it to.
fn check_family(spec: &PortSpec, port: u16, v6: bool) -> Result<()> {
    match spec.host_ip {
        Some(IpAddr::V6(Ipv6Addr::LOCALHOST)) => {
            Err(rctr_network::Error::Ipv6Loopback { port }.into())
        }
        Some(host_ip @ IpAddr::V6(_)) if !v6 => {
            Err(rctr_network::Error::NoIpv6ToPublish { host_ip, port }.into())
        }
        _ => Ok(()),
    }
}

pub(crate) fn network_protocol(protocol: Protocol) -> rctr_network::Protocol {
    match protocol {
        Protocol::Tcp => rctr_network::Protocol::Tcp,
        Protocol::Udp => rctr_network::Protocol::Udp,
        Protocol::Sctp => rctr_network::Protocol::Sctp,
    }
}

fn endpoint(state: &EndpointState) -> Result<Endpoint> {
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
        ifname: "eth0".into(),
        mac,
        address: Ipv4Net::new(address, state.prefix_len).map_err(|_| corrupt())?,
        address_v6,
        link_local: Vec::new(),
        default_via: [Some(state.gateway), state.v6.map(|(_, _, gateway)| gateway)]
            .into_iter()
            .flatten()
            .collect(),
    })
}

/// The firewall's view of the published ports: each leads to the container's address of the same family.
fn published(state: &EndpointState) -> Vec<rctr_network::PublishedPort> {
    state
        .ports
        .iter()
        .filter_map(|port| {
            let container_ip = match port.host_ip {
                IpAddr::V4(_) => state.address,
                IpAddr::V6(_) => state.v6?.0,
            };
            Some(rctr_network::PublishedPort {
                host_ip: port.host_ip,
                host_port: port.host_port,
                container_ip,
                container_port: port.container_port,
                protocol: network_protocol(port.protocol),
            })
        })
        .collect()
}
