//! Published ports: elements of maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nix::errno::Errno;

use crate::addressing::octets;
use crate::netlink::{Requests, Socket};
use crate::{BridgeConfig, Error, PublishedPort, Result};

use super::batch::{Batch, NewElement};
use super::ruleset::{NAMES_V4, NAMES_V6, Names};
use super::{TABLE, elements, elements_in, push_get_element, retrying};

/// Answers of the kernel that surely fit into a socket's receive buffer together.
const QUERIES_AT_ONCE: usize = 16;

/// A port as an element of one of the maps.
struct Mapping {
    map: &'static str,
    key: Vec<u8>,
    target: Vec<u8>,
}

impl Mapping {
    fn of(port: &PublishedPort) -> Result<Self> {
        if port.host_ip.is_ipv4() != port.container_ip.is_ipv4() {
            return Err(Error::FamilyMismatch {
                host_ip: port.host_ip,
                container_ip: port.container_ip,
            });
        }
        let names = names(port.host_ip);
        let mut key = vec![port.protocol.number(), 0, 0, 0];
        let map = if port.host_ip.is_unspecified() {
            names.published_any
        } else {
            key.extend(octets(port.host_ip));
            names.published
        };
        key.extend(padded(port.host_port));
        let mut target = octets(port.container_ip);
        target.extend(padded(port.container_port));
        Ok(Self { map, key, target })
    }

    fn to_publish(port: &PublishedPort) -> Result<Self> {
        if port.host_ip == Ipv6Addr::LOCALHOST {
            return Err(Error::Ipv6Loopback {
                port: port.host_port,
            });
        }
        Self::of(port)
    }
}

/// Publishes ports. A port that an earlier container left behind now leads to the new one.
pub(crate) fn publish(
    socket: &Socket,
    bridge: &BridgeConfig,
    ports: &[PublishedPort],
) -> Result<()> {
    let mappings = ports
        .iter()
        .map(Mapping::to_publish)
        .collect::<Result<Vec<_>>>()?;
    let operation = format!("publish ports on {}", bridge.name);
    let mut batch = Batch::new(None);
    push_all(&mut batch, mappings.iter());
    match batch.commit(socket, &operation)? {
        Ok(()) => Ok(()),
        // The element is there with another target.
        Err(refusal) if matches!(refusal.errno, Errno::EEXIST | Errno::EBUSY) => {
            replace(socket, &mappings, &operation)
        }
        Err(refusal) if refusal.errno == Errno::ENOENT => Err(Error::NoSuchBridge {
            bridge: bridge.name.clone(),
        }),
        Err(refusal) => Err(refusal.into_error(operation)),
    }
}

fn replace(socket: &Socket, mappings: &[Mapping], operation: &str) -> Result<()> {
    retrying(socket, operation, || {
        let generation = super::generation(socket, operation)?;
        let present = targets(socket, mappings, operation)?;
        let mut batch = Batch::new(Some(generation));
        let stale = mappings.iter().zip(&present).filter(|(_, p)| p.is_some());
        push_removals(&mut batch, stale.map(|(mapping, _)| mapping));
        push_all(&mut batch, mappings.iter());
        Ok((batch, ()))
    })
}

/// Takes published ports back. Ports that are not published, or lead elsewhere by now, are left alone.
pub(crate) fn unpublish(
    socket: &Socket,
    bridge: &BridgeConfig,
    ports: &[PublishedPort],
) -> Result<()> {
    let mappings = ports.iter().map(Mapping::of).collect::<Result<Vec<_>>>()?;
    let operation = format!("take back ports published on {}", bridge.name);
    retrying(socket, &operation, || {
        let generation = super::generation(socket, &operation)?;
        let present = targets(socket, &mappings, &operation)?;
        let mut batch = Batch::new(Some(generation));
        let ours = mappings.iter().zip(&present);
        let ours = ours.filter(|(mapping, present)| present.as_ref() == Some(&mapping.target));
        push_removals(&mut batch, ours.map(|(mapping, _)| mapping));
        Ok((batch, ()))
    })
}

/// Takes away all ports that lead to the bridge's networks.
pub(super) fn push_removal(
    socket: &Socket,
    batch: &mut Batch,
    bridge: &BridgeConfig,
    operation: &str,
) -> Result<()> {
    for network in super::ruleset::networks(bridge) {
        let names = names(network.addr());
        for map in [names.published, names.published_any] {
            let listed = elements(socket, map, operation)?;
            let gone = listed
                .into_iter()
                .filter(|element| leads_into(network, &element.data))
                .map(|element| NewElement::key(element.key))
                .collect::<Vec<_>>();
            batch.delete_elements(TABLE, map, &gone);
        }
    }
    Ok(())
}

fn leads_into(network: IpNet, target: &[u8]) -> bool {
    match network {
        IpNet::V4(net) => target
            .first_chunk::<4>()
            .is_some_and(|address| net.contains(&Ipv4Addr::from(*address))),
        IpNet::V6(net) => target
            .first_chunk::<16>()
            .is_some_and(|address| net.contains(&Ipv6Addr::from(*address))),
    }
}

/// Where each mapping's host port leads now.
fn targets(socket: &Socket, mappings: &[Mapping], operation: &str) -> Result<Vec<Option<Vec<u8>>>> {
    let mut found = Vec::with_capacity(mappings.len());
    for some in mappings.chunks(QUERIES_AT_ONCE) {
        let mut requests = Requests::default();
        for mapping in some {
            push_get_element(&mut requests, mapping.map, &mapping.key);
        }
        let answer = socket.exchange(&requests, operation)?;
        found.extend((1..=some.len()).map(|request| {
            let element = elements_in(answer.reply(request as u32)?).next()?;
            Some(element.data)
        }));
    }
    Ok(found)
}

fn push_all<'a>(batch: &mut Batch, mappings: impl Iterator<Item = &'a Mapping> + Clone) {
    for map in maps() {
        let elements = mappings
            .clone()
            .filter(|mapping| mapping.map == map)
            .map(|mapping| NewElement {
                key: mapping.key.clone(),
                data: Some(mapping.target.clone()),
                flags: 0,
            });
        batch.add_elements(TABLE, map, &elements.collect::<Vec<_>>());
    }
}

fn push_removals<'a>(batch: &mut Batch, mappings: impl Iterator<Item = &'a Mapping> + Clone) {
    for map in maps() {
        let elements = mappings
            .clone()
            .filter(|mapping| mapping.map == map)
            .map(|mapping| NewElement::key(mapping.key.clone()));
        batch.delete_elements(TABLE, map, &elements.collect::<Vec<_>>());
    }
}

fn maps() -> [&'static str; 4] {
    [
        NAMES_V4.published,
        NAMES_V4.published_any,
        NAMES_V6.published,
        NAMES_V6.published_any,
    ]
}

fn names(address: IpAddr) -> &'static Names {
    match address {
        IpAddr::V4(_) => &NAMES_V4,
        IpAddr::V6(_) => &NAMES_V6,
    }
}

/// Every part of a concatenation fills whole registers.
fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    fn port(host_ip: &str, container_ip: &str) -> PublishedPort {
        PublishedPort {
            host_ip: host_ip.parse().unwrap(),
            host_port: 0x1f90,
            container_ip: container_ip.parse().unwrap(),
            container_port: 80,
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn an_address_and_any_address_use_different_maps() {
        let one = Mapping::of(&port("192.0.2.1", "10.88.0.2")).unwrap();
        assert_eq!(one.map, "published4");
        assert_eq!(one.key, [6, 0, 0, 0, 192, 0, 2, 1, 0x1f, 0x90, 0, 0]);
        assert_eq!(one.target, [10, 88, 0, 2, 0, 80, 0, 0]);
        let any = Mapping::of(&port("0.0.0.0", "10.88.0.2")).unwrap();
        assert_eq!(any.map, "published_any4");
        assert_eq!(any.key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        let v6 = Mapping::of(&port("::", "fd00::2")).unwrap();
        assert_eq!(v6.map, "published_any6");
    }

    #[test]
    fn families_do_not_mix() {
        assert!(matches!(
            Mapping::of(&port("::", "10.88.0.2")),
            Err(Error::FamilyMismatch { .. })
        ));
    }

    #[test]
    fn a_target_belongs_to_the_network_of_its_address() {
        let network = "10.88.0.0/16".parse().unwrap();
        assert!(leads_into(network, &[10, 88, 3, 2, 0, 80, 0, 0]));
        assert!(!leads_into(network, &[10, 89, 3, 2, 0, 80, 0, 0]));
        assert!(!leads_into(network, &[]));
    }
}
