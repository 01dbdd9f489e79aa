//! Interfaces of containers that hang on one of the host's: macvlan and ipvlan.

use std::os::fd::{AsRawFd, BorrowedFd};

use serde::{Deserialize, Serialize};

use crate::bridge::{Medium, configure_inside};
use crate::config::check_interface_name;
use crate::home::at_home;
use crate::link::{self, Link, NewSubLink};
use crate::netlink::Socket;
use crate::{Endpoint, Error, Result};

/// How the interfaces of one parent deal with each other and with the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubKind {
    /// macvlan: reach each other within the host.
    MacvlanBridge,
    /// macvlan: reach only what is on the wire.
    MacvlanPrivate,
    /// macvlan: reach each other by a switch that sends frames back.
    MacvlanVepa,
    /// macvlan: one interface takes over its parent.
    MacvlanPassthru,
    /// ipvlan: one hardware address, switched.
    IpvlanL2,
    /// ipvlan: one hardware address, routed by the parent.
    IpvlanL3,
    /// The same with the host's firewall and connection tracking.
    IpvlanL3s,
}

impl SubKind {
    /// Whether containers keep a hardware address of their own.
    pub(crate) fn has_own_mac(self) -> bool {
        !matches!(self, Self::IpvlanL2 | Self::IpvlanL3 | Self::IpvlanL3s)
    }

    /// Whether neighbours are found and gateways used.
    #[must_use]
    pub fn is_switched(self) -> bool {
        !matches!(self, Self::IpvlanL3 | Self::IpvlanL3s)
    }
}

/// A network of macvlan or ipvlan interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubLink {
    /// Interface of the host; `NAME.ID` is a VLAN of `NAME`.
    pub parent: String,
    /// Kind and mode.
    pub kind: SubKind,
    /// Largest packet in bytes; that of the parent without it.
    pub mtu: Option<u32>,
}

/// Makes the parent if it is missing and can be made: the VLAN `NAME.ID`, or with `stand_in` an interface that leads
/// nowhere. True if it was made: whoever made it removes it with [`remove_parent`].
///
/// # Errors
/// [`Error::NoSuchParent`]; [`Error::InvalidName`], [`Error::Netlink`].
pub fn ensure_parent(parent: &str, stand_in: bool) -> Result<bool> {
    at_home(|| ensure_parent_here(parent, stand_in))
}

/// Whether [`ensure_parent`] would have to make the parent. Nothing is changed.
///
/// # Errors
/// As there, if it could not.
pub fn lacks_parent(parent: &str, stand_in: bool) -> Result<bool> {
    at_home(|| {
        let found = Parent::find(&Socket::route()?, parent, stand_in)?;
        Ok(!matches!(found, Parent::There(_)))
    })
}

/// What there is of a parent.
enum Parent {
    There(Link),
    /// An interface that leads nowhere is to be made.
    StandIn,
    /// The VLAN of this id on the interface with this index is to be made.
    Vlan(u32, u16),
}

impl Parent {
    fn find(socket: &Socket, parent: &str, stand_in: bool) -> Result<Parent> {
        check_interface_name(parent)?;
        if let Some(link) = Link::find(socket, parent)? {
            return Ok(Parent::There(link));
        }
        if stand_in {
            return Ok(Parent::StandIn);
        }
        let missing = || Error::NoSuchParent {
            parent: parent.to_owned(),
        };
        let (below, id) = parent.rsplit_once('.').ok_or_else(missing)?;
        let id = id.parse().ok().filter(|id| (1..=4094).contains(id));
        let id: u16 = id.ok_or_else(missing)?;
        let below = Link::find(socket, below)?.ok_or_else(missing)?;
        Ok(Parent::Vlan(below.index, id))
    }
}

fn ensure_parent_here(parent: &str, stand_in: bool) -> Result<bool> {
    let socket = Socket::route()?;
    match Parent::find(&socket, parent, stand_in)? {
        Parent::There(link) => {
            if !link.is_up {
                Link::set_up(&socket, parent, link.index, None)?;
            }
            return Ok(false);
        }
        Parent::StandIn => Link::create_dummy(&socket, parent)?,
        Parent::Vlan(below, id) => Link::create_vlan(&socket, parent, below, id)?,
    };
    Ok(true)
}

/// Removes a parent that [`ensure_parent`] made; one that is not there is fine.
///
/// # Errors
/// [`Error::Netlink`].
pub fn remove_parent(parent: &str) -> Result<()> {
    at_home(|| Link::delete(&Socket::route()?, parent))
}

/// Gives a namespace an interface on the parent, configured, up and routed. The endpoint's `host_ifname` means nothing.
///
/// # Errors
/// [`Error::NoSuchParent`]; [`Error::ParentBusy`] if the parent serves another kind; [`Error::InvalidName`],
/// [`Error::Netlink`], [`Error::Namespace`], [`Error::Sysctl`].
pub fn connect_sublink(
    netns: BorrowedFd<'_>,
    network: &SubLink,
    endpoint: &Endpoint,
) -> Result<()> {
    at_home(|| connect_sublink_here(netns, network, endpoint))
}

fn connect_sublink_here(
    netns: BorrowedFd<'_>,
    network: &SubLink,
    endpoint: &Endpoint,
) -> Result<()> {
    check_interface_name(&endpoint.ifname)?;
    let host = Socket::route()?;
    let parent = Link::find(&host, &network.parent)?.ok_or_else(|| Error::NoSuchParent {
        parent: network.parent.clone(),
    })?;
    let new = NewSubLink {
        name: &endpoint.ifname,
        parent: &network.parent,
        parent_index: parent.index,
        netns: netns.as_raw_fd(),
        mac: network.kind.has_own_mac().then_some(endpoint.mac),
        mtu: network.mtu,
        kind: network.kind,
    };
    Link::create_sublink(&host, &new)?;
    let inside = configure_inside(netns, endpoint, Medium::Network)?;
    link::settle(&inside.socket, &[&endpoint.ifname])
}
