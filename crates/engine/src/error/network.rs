//! What is wrong with a network, or with a container on it.

/// What is wrong with a network, or with a container on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A container is connected to the network.
    #[error("network {network} has active endpoints: container {container} is connected to it")]
    InUse {
        /// The network.
        network: String,
        /// The container's name.
        container: String,
    },
    /// Several networks have ids that begin so.
    #[error("network {name} is ambiguous: several ids begin so")]
    Ambiguous {
        /// What was asked for.
        name: String,
    },
    /// There is a network of this name already.
    #[error("network with name {name} already exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// `network create` of one that is always there.
    #[error("operation is not permitted on predefined {name} network")]
    Predefined {
        /// The name.
        name: String,
    },
    /// `network rm` of one that is always there.
    #[error("{name} is a pre-defined network and cannot be removed")]
    Stays {
        /// The name.
        name: String,
    },
    /// `network rm` while containers run on it.
    #[error("error while removing network: network {name} has active endpoints ({endpoints})")]
    Active {
        /// The network.
        name: String,
        /// The containers.
        endpoints: String,
    },
    /// `network create` with a driver that there is once, or not at all.
    #[error("only one instance of {driver:?} network is allowed")]
    OnlyOne {
        /// The driver.
        driver: &'static str,
    },
    /// `network create` with an unknown driver.
    #[error("network driver {driver:?} is not supported: {reason}")]
    Driver {
        /// The driver.
        driver: String,
        /// Why not.
        reason: &'static str,
    },
    /// A flag of `network create` makes no sense.
    #[error("{reason}")]
    Option {
        /// What is wrong, in Docker's words where it has some.
        reason: String,
    },
    /// A subnet is one of another network's.
    #[error("invalid pool request: Pool overlaps with other one on this address space: {subnet}")]
    PoolOverlaps {
        /// The subnet.
        subnet: ipnet::IpNet,
    },
    /// IPv6 where the kernel has none.
    #[error(
        "no network {network} with IPv6 can be made: the kernel has none, as after a boot with ipv6.disable=1"
    )]
    NoIpv6 {
        /// Its name.
        network: String,
    },
    /// Two networks with the same bridge.
    #[error("bridge {bridge} is that of network {network}")]
    BridgeTaken {
        /// The bridge.
        bridge: String,
        /// The network that has it.
        network: String,
    },
    /// A container cannot be on a network as it was asked for.
    #[error("invalid config for network {network}: invalid endpoint settings: {reason}")]
    Endpoint {
        /// The network.
        network: String,
        /// What is wrong, in Docker's words where it has some.
        reason: String,
    },
    /// `network connect` of what is connected.
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected {
        /// The container's name.
        container: String,
        /// The network.
        network: String,
    },
    /// `network disconnect` of what is not connected.
    #[error("container {id} is not connected to network {network}")]
    NotConnected {
        /// The container's id.
        id: String,
        /// The network.
        network: String,
    },
    /// `network connect` or `disconnect` where that cannot be.
    #[error("{reason}")]
    NotConnectable {
        /// Why not, in Docker's words.
        reason: &'static str,
    },
}
