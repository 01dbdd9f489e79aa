//! Names of containers on users' networks: a small DNS server for all of them.
//!
//! One process serves all networks of a root. It listens inside every container's network namespace on 127.0.0.11, as
//! Docker's does: so it is reached on every kind of network, also where nothing leads to the host; no firewall of the host
//! stands between; no server of the host on port 53 is in its way; and who asks is known by the socket, not by an address
//! that could be forged. Inside, it listens on ports of its own choice, and a rule of the namespace leads port 53 of
//! 127.0.0.11 there: a container may run a server of its own on port 53.
//!
//! Names, aliases and short ids of the containers that share a network with the one who asks are answered from memory.
//! Anything else is forwarded as it came to the container's own servers (`--dns`, asked from inside its namespace) or to
//! the host's, and the answer is handed back as it came: EDNS, DNSSEC and truncation are between the two ends.
//!
//! [`serve`] is the process; [`notify`] and [`attach`] are how commands talk to it.

mod control;
mod forward;
mod message;
mod resolvers;
mod server;
mod sockets;
mod zone;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

pub use control::{Absent, attach, notify};
pub use server::serve;

/// Where containers find the server.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// All running containers on users' networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// One for each container.
    pub hosts: Vec<Host>,
}

/// A running container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its id.
    pub id: String,
    /// The networks it is on, the one that leads to the world first.
    pub places: Vec<Place>,
    /// Whether names that no container has are asked elsewhere: not on networks that lead nowhere.
    pub forwards: bool,
    /// Whom to ask for them, from inside its namespace; the host's servers if empty.
    pub servers: Vec<IpAddr>,
}

/// A container's place on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The network's id.
    pub network: String,
    /// The network's name.
    pub network_name: String,
    /// What the container is called there; its real name first.
    pub names: Vec<String>,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
}

/// Where the server's knowledge comes from.
pub trait Source {
    /// All containers as they are now.
    ///
    /// # Errors
    /// Why they cannot be told; the server goes on with what it knew.
    fn load(&mut self) -> Result<Zone, Box<dyn std::error::Error>>;

    /// The network namespace of a running container, and a descriptor that becomes readable at its end. `None` if it does
    /// not run.
    fn open(&mut self, id: &str) -> Option<(OwnedFd, OwnedFd)>;
}
