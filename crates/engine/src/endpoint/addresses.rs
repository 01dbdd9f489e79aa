//! Addresses: taken before a container starts, and given back.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rctr_network::{BridgeConfig, InterfaceSysctl};
use rctr_store::{AddressPool, Tx};

use super::{DEFAULT_NETWORK, DriverOptions, Planned, free_interface};
use crate::model::{Connection, Container, EndpointState, PublishedPort};
use crate::network::{Driver, Network, Pool};
use crate::options::EndpointRequest;
use crate::{Engine, Error, Result, names};

impl Engine {
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
        let options = DriverOptions::read(&request.driver_opts, network.driver);
        let options = options.map_err(|what| Error::BadRecord { what })?;
        let without_v6 = options.sysctls.iter().any(InterfaceSysctl::disables_ipv6);
        let key = address_key(network);
        let (mut v4, mut v6) = (None, None);
        for pool in &pools {
            if without_v6 && matches!(pool.subnet, IpNet::V6(_)) {
                continue;
            }
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
            sysctls: options.sysctls.iter().map(ToString::to_string).collect(),
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
