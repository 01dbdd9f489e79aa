//! Connecting containers to networks, whether they run or not.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::{Driver, Network};
use crate::endpoint::{self, DEFAULT_NETWORK, DriverOptions};
use crate::events::NetworkEvent;
use crate::model::{Connection, Container, EndpointState, PublishedPort};
use crate::options::{EndpointRequest, NetworkFlagError, NetworkMode, ParseError, RunOptions};
use crate::{Engine, Error, NetworkError, Result, events, files, lifecycle};

impl Engine {
    /// The connections of a container that is about to be made.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`], [`NetworkError::Endpoint`].
    pub(crate) fn connections_of(&self, options: &RunOptions) -> Result<Vec<Connection>> {
        let requests = match (&options.network, &options.endpoints[..]) {
            (NetworkMode::Bridge, []) => vec![EndpointRequest::on(DEFAULT_NETWORK)],
            (NetworkMode::User(name), []) => vec![EndpointRequest::on(name)],
            (NetworkMode::Bridge | NetworkMode::User(_), requests) => requests.to_vec(),
            _ => Vec::new(),
        };
        let mut connections: Vec<Connection> = Vec::new();
        for request in requests {
            let (connection, _) = self.connection(request)?;
            let same = |c: &&Connection| c.network_id == connection.network_id;
            if connections.iter().any(|c| same(&c)) {
                let name = connection.request.network;
                return Err(ParseError::from(NetworkFlagError::Twice { name }).into());
            }
            connections.push(connection);
        }
        Ok(connections)
    }

    /// Checks what is asked for on a network.
    fn connection(&self, mut request: EndpointRequest) -> Result<(Connection, Network)> {
        let network = self.network(&request.network)?;
        let wrong = |reason: String| {
            let network = network.name.clone();
            Error::from(NetworkError::Endpoint { network, reason })
        };
        if matches!(network.driver, Driver::Host | Driver::Null) {
            return Err(ParseError::from(NetworkFlagError::ModesMixed).into());
        }
        if !network.is_custom() {
            if request.ip.is_some() || request.ip6.is_some() {
                let error = NetworkFlagError::AddressOnDefault;
                return Err(wrong(error.to_string()));
            }
            if !request.aliases.is_empty() {
                let error = NetworkFlagError::AliasOnDefault;
                return Err(wrong(error.to_string()));
            }
        }
        let wanted = [request.ip.map(IpAddr::from), request.ip6.map(IpAddr::from)];
        for address in wanted.into_iter().flatten() {
            match network.pool(address.is_ipv4()) {
                Some(pool) if pool.chosen => {
                    return Err(wrong(
                        "user specified IP address is supported only when connecting to networks with user configured subnets"
                            .to_owned(),
                    ));
                }
                Some(pool) if pool.subnet.contains(&address) => {}
                _ => {
                    return Err(wrong(format!(
                        "no configured subnet contains IP address {address}"
                    )));
                }
            }
        }
        DriverOptions::read(&request.driver_opts, network.driver).map_err(&wrong)?;
        if request.mac.is_some() && network.driver == Driver::Ipvlan {
            return Err(wrong(
                "all interfaces of an ipvlan network have the hardware address of their parent"
                    .to_owned(),
            ));
        }
        request.network.clone_from(&network.name);
        let connection = Connection {
            network_id: network.id.clone(),
            driver: network.driver,
            request,
        };
        Ok((connection, network))
    }

    /// Connects a container, running or not, to one more network.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`], [`Error::NoSuchContainer`], [`NetworkError::AlreadyConnected`],
    /// [`NetworkError::NotConnectable`], [`NetworkError::Endpoint`], and whatever hinders the connection: it is then
    /// not made.
    pub fn connect_network(&self, container: &str, request: EndpointRequest) -> Result<()> {
        let network = self.network(&request.network)?;
        if network.driver == Driver::Host {
            return Err(not_connectable(HOST));
        }
        let id = self.find(container)?;
        let lock = self.lock(&id)?;
        let mut container = self.refresh_locked(self.load(&id)?, &lock)?;
        connectable(&container, &network)?;
        let (connection, network) = self.connection(request)?;
        let connections = container.connections().into_owned();
        if connections.iter().any(|c| c.network_id == network.id) {
            return Err(NetworkError::AlreadyConnected {
                container: container.name,
                network: network.name,
            }
            .into());
        }
        let before = container.clone();
        container.connections = Some([connections, vec![connection.clone()]].concat());
        let netns = match is_up(&container) {
            true => endpoint::open_netns(container.state.pid)?,
            false => None,
        };
        let Some(netns) = netns else {
            // Told of when it starts, as of those it had before.
            return self.store.write(|tx| {
                self.reserve_static(tx, &id, &connection)?;
                lifecycle::save(tx, &container)
            });
        };
        let ifname = endpoint::free_interface(&container, &network);
        self.store.write(|tx| -> Result<()> {
            let mut state = self.allocate_on(tx, &id, &network, &connection.request)?;
            state.ifname = ifname;
            container.networks.push(state);
            move_ports(&mut container);
            tell(tx, &network, NetworkEvent::Connect(&id))?;
            lifecycle::save(tx, &container)
        })?;
        match self.plug_in_live(&before, &container, &netns) {
            Ok(()) => Ok(()),
            Err(error) => {
                if let Err(more) = self.unplug_failed(&before, &container, &netns) {
                    // What is there is known: `network disconnect` takes it away.
                    tracing::warn!(error = %more, "a failed connection is not undone");
                    return Err(error);
                }
                self.store.write(|tx| -> Result<()> {
                    tx.release_network_addresses(endpoint::address_key(&network), &id)?;
                    tell(tx, &network, NetworkEvent::Disconnect(&id))?;
                    lifecycle::save(tx, &before)
                })?;
                Err(error)
            }
        }
    }

    /// Takes away what a connection that failed has made.
    fn unplug_failed(
        &self,
        before: &Container,
        container: &Container,
        netns: &OwnedFd,
    ) -> Result<()> {
        if let Some(state) = container.networks.last() {
            rctr_network::disconnect(netns.as_fd(), &state.ifname)?;
        }
        self.rewire(container, before, netns)
    }

    fn plug_in_live(
        &self,
        before: &Container,
        container: &Container,
        netns: &OwnedFd,
    ) -> Result<()> {
        let Some(state) = container.networks.last() else {
            return Ok(());
        };
        // Without routes: those that are there move below.
        let silent = EndpointState {
            ports: Vec::new(),
            ..state.clone()
        };
        drop(self.plug_in(netns, &silent, Vec::new())?);
        self.rewire(before, container, netns)?;
        match before.has_names() {
            true => self.names_changed()?,
            false if container.has_names() => self.serve_names_of_running(container, netns)?,
            false => {}
        }
        self.rewrite_files(container)
    }

    /// Takes a container out of a network. With `force` what hinders is passed over.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`], [`Error::NoSuchContainer`], [`NetworkError::NotConnected`],
    /// [`NetworkError::NotConnectable`].
    pub fn disconnect_network(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let network = self.network(network)?;
        if network.driver == Driver::Host {
            return Err(not_connectable(HOST));
        }
        let id = self.find(container)?;
        let lock = self.lock(&id)?;
        let mut container = self.refresh_locked(self.load(&id)?, &lock)?;
        let mut connections = container.connections().into_owned();
        let at = connections.iter().position(|c| c.network_id == network.id);
        let Some(at) = at else {
            return Err(NetworkError::NotConnected {
                id,
                network: network.name,
            }
            .into());
        };
        connections.remove(at);
        let before = container.clone();
        container.connections = Some(connections);
        container.networks.retain(|e| e.network_id() != network.id);
        let lost = before
            .networks
            .iter()
            .find(|e| e.network_id() == network.id);
        if let Some(lost) = lost.filter(|_| is_up(&before)) {
            let ports = lost.ports.clone();
            if !ports.is_empty() {
                give_ports(&mut container, ports);
            }
            let unplugged = self.unplug_live(&before, &container, lost);
            match unplugged {
                Err(error) if force => tracing::warn!(%error, "disconnected all the same"),
                other => other?,
            }
        }
        self.store.write(|tx| -> Result<()> {
            tx.release_network_addresses(endpoint::address_key(&network), &id)?;
            // Of one that does not run that was told when it ended.
            if is_up(&before) {
                tell(tx, &network, NetworkEvent::Disconnect(&id))?;
            }
            lifecycle::save(tx, &container)
        })?;
        if before.has_names() {
            self.names_changed()?;
        }
        if is_up(&before) {
            self.rewrite_files(&container)?;
        }
        Ok(())
    }

    fn unplug_live(
        &self,
        before: &Container,
        after: &Container,
        lost: &EndpointState,
    ) -> Result<()> {
        self.unplug(lost)?;
        let Some(netns) = endpoint::open_netns(before.state.pid)? else {
            return Ok(());
        };
        rctr_network::disconnect(netns.as_fd(), &lost.ifname)?;
        self.rewire(before, after, &netns)
    }

    /// Moves default routes and published ports from where they were to where they are now.
    fn rewire(&self, before: &Container, after: &Container, netns: &OwnedFd) -> Result<()> {
        let way = |container: &'_ Container| {
            let v4 = container.way_out().map(|e| (e.ifname.clone(), e.gateway));
            let v6 = container.way_out_v6();
            let v6 = v6.and_then(|e| Some((e.ifname.clone(), e.v6?.2)));
            let usable = |(_, gateway): &(String, IpAddr)| !gateway.is_unspecified();
            (v4.filter(usable), v6.filter(usable))
        };
        let (v4, v6) = way(after);
        if way(before) != (v4.clone(), v6.clone()) {
            rctr_network::set_default_routes(
                netns.as_fd(),
                v4.as_ref().map(|(name, gateway)| (name.as_str(), *gateway)),
                v6.as_ref().map(|(name, gateway)| (name.as_str(), *gateway)),
            )?;
        }
        for state in &before.networks {
            let now = after.networks.iter().find(|e| e.network == state.network);
            if now.is_some_and(|now| now.ports != state.ports) {
                self.unplug(state)?;
            }
        }
        for state in &after.networks {
            let then = before.networks.iter().find(|e| e.network == state.network);
            if then.is_none_or(|then| then.ports != state.ports)
                && let Some(bridge) = self.bridge_of(state)?
            {
                drop(rctr_network::publish(&bridge, &endpoint::published(state))?);
            }
        }
        Ok(())
    }

    /// What a running container's /etc/hosts and /etc/resolv.conf say of its networks.
    fn rewrite_files(&self, container: &Container) -> Result<()> {
        let bundle = self.store.container_dir(&container.id)?;
        let gateway = self.gateway_for(container)?;
        files::write(&bundle, container, None, gateway)?;
        Ok(())
    }

    /// What `host-gateway` means to a container: the host's address on a bridge that it is on, or on the default one.
    pub(crate) fn gateway_for(&self, container: &Container) -> Result<std::net::Ipv4Addr> {
        let own = container.way_out().or(container.networks.first());
        let own = own.filter(|state| state.driver == Driver::Bridge);
        match own.map(|state| state.gateway) {
            Some(IpAddr::V4(gateway)) if !gateway.is_unspecified() => Ok(gateway),
            _ => Ok(self.bridge()?.gateway()),
        }
    }
}

const HOST: &str =
    "container cannot be disconnected from host network or connected to host network";

fn not_connectable(reason: &'static str) -> Error {
    NetworkError::NotConnectable { reason }.into()
}

/// Only who has a network of his own can be connected to others.
fn connectable(container: &Container, network: &Network) -> Result<()> {
    match &container.options.network {
        _ if container.pod.is_some() => Err(not_connectable(
            "the network of a container in a pod is the pod's",
        )),
        NetworkMode::Container(_) => Err(not_connectable(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        )),
        NetworkMode::Host => Err(not_connectable(HOST)),
        NetworkMode::None => Err(not_connectable(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        )),
        _ if network.driver == Driver::Null => Err(not_connectable(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        )),
        _ => Ok(()),
    }
}

/// Whether it has a namespace now: one between two runs has none.
fn is_up(container: &Container) -> bool {
    container.state.status.is_live() && container.state.pid != 0
}

/// Ports go with the way out.
fn move_ports(container: &mut Container) {
    let ports: Vec<PublishedPort> = container
        .networks
        .iter_mut()
        .flat_map(|state| std::mem::take(&mut state.ports))
        .collect();
    give_ports(container, ports);
}

fn give_ports(container: &mut Container, ports: Vec<PublishedPort>) {
    let way = container.way_out().map(|state| state.network.clone());
    let mut states = container.networks.iter_mut();
    if let Some(state) = states.find(|state| Some(&state.network) == way.as_ref()) {
        state.ports = ports;
    }
}

fn tell(
    tx: &rctr_store::Tx<'_>,
    network: &Network,
    event: NetworkEvent<'_>,
) -> rctr_store::Result<()> {
    events::network(
        tx,
        &network.id,
        &network.name,
        network.driver.as_str(),
        event,
    )
}
