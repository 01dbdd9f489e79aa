//! What can be wrong with the flags that say how a container is connected.

/// What is wrong with a flag that says how a container is connected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkFlagError {
    /// A part of the long form of `--network` that is no `KEY=VALUE`.
    #[error("invalid field {field}")]
    Field {
        /// The part.
        field: String,
    },
    /// A key of the long form of `--network` that is not known.
    #[error("invalid field key {key}")]
    Key {
        /// The key.
        key: String,
    },
    /// The long form of `--network` without `name=`.
    #[error("network name/id is not specified")]
    Unnamed,
    /// An option of a network's driver that is no `KEY=VALUE`.
    #[error("invalid key value pair format in driver options: {value:?}")]
    DriverOption {
        /// What was given.
        value: String,
    },
    /// `gw-priority=` that is no number.
    #[error("invalid gw-priority: {value:?}")]
    GatewayPriority {
        /// What was given.
        value: String,
    },
    /// The same network twice.
    #[error("network {name:?} is specified multiple times")]
    Twice {
        /// The network.
        name: String,
    },
    /// `--network` of host, none or another container beside others.
    #[error(
        "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
    )]
    ModesMixed,
    /// The same thing by a flag and in the long form of `--network`.
    #[error("conflicting options: cannot specify both {flag} and per-network {what}")]
    Both {
        /// The flag.
        flag: &'static str,
        /// What it sets.
        what: &'static str,
    },
    /// An address for a container without a network that users make.
    #[error("user specified IP address is supported on user defined networks only")]
    AddressOnDefault,
    /// An alias for a container without a network that users make.
    #[error("network-scoped aliases are only supported for user-defined networks")]
    AliasOnDefault,
    /// `--ip` or `--ip6` that is none.
    #[error("failed to parse IP: {value:?}")]
    Ip {
        /// What was given.
        value: String,
    },
    /// `--link-local-ip` that is one of another kind.
    #[error("{address} is no link-local address")]
    NotLinkLocal {
        /// What was given.
        address: std::net::IpAddr,
    },
    /// `--mac-address` that is none.
    #[error("{value} is not a valid mac address")]
    Mac {
        /// What was given.
        value: String,
    },
    /// `--network container:` without a name.
    #[error("invalid container format container:<name|id>")]
    Container,
}

impl NetworkFlagError {
    /// As [`ParseError::found_by_engine`](super::ParseError::found_by_engine).
    pub(super) fn found_by_engine(&self) -> bool {
        matches!(self, Self::AddressOnDefault | Self::Container)
    }
}
