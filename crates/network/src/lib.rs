//! The network of containers on one host: bridges, cables into network namespaces, addresses, published ports.
//!
//! Everything is done over netlink by the calling thread; nothing is spawned and nothing runs in the background.
//! All calls act on the network namespace of the calling thread, or on the one that [`set_home`] named. [`new_netns`] and [`connect`] leave it for a moment
//! and come back: in a process with several threads only the calling one is affected.
//!
//! The usual order is [`ensure_bridge`], [`reserve`] or [`free_port`], [`new_netns`], [`connect`], [`publish`];
//! at the end [`unpublish`], then close the reservation and the namespace.
#![deny(missing_docs)]

mod addressing;
mod bridge;
pub mod cni;
mod config;
mod conntrack;
pub mod dns;
mod error;
mod home;
mod host;
mod legacy;
mod link;
mod netlink;
mod netns;
mod nft;
mod port;
mod quiet;
mod sublink;
mod sysctl;

pub use bridge::{
    Deferred, EnsureOutcome, Warning, choose_subnet, connect, disconnect, ensure_bridge,
    firewall_lost, publish, reached_by, remove_bridge, set_default_routes, unpublish,
};
pub use config::{
    BridgeConfig, Endpoint, Ipv6Choice, Protocol, PublishedPort, deserialize_interface_name,
    deserialize_subnet, mac_for,
};
pub use error::{Error, Result};
pub use home::set_home;
pub use host::{host_has_ipv6, kernel_has_ipv6};
pub use netns::{new_netns, traffic};
pub use port::{free_port, reserve};
pub use sublink::{SubKind, SubLink, connect_sublink, ensure_parent, lacks_parent, remove_parent};
pub use sysctl::InterfaceSysctl;
