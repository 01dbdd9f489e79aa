//! Published ports: held before a container starts, so that nobody else has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use super::Planned;
use crate::model::{Container, EndpointState, PublishedPort};
use crate::network::{Driver, Network};
use crate::options::{PortSpec, Protocol};
use crate::{Engine, Result, rootless};

/// How often another random port is tried if a pod has the one that was found.
const ATTEMPTS: usize = 100;

/// Ports held for a container: what was published, and the sockets that keep others away from them.
#[derive(Default)]
pub(crate) struct HeldPorts {
    pub ports: Vec<PublishedPort>,
    pub sockets: Vec<OwnedFd>,
}

/// What there is to know besides the wish itself.
struct Circumstances {
    /// Whether containers have IPv6 there.
    v6: bool,
    /// The address to publish on if nobody says.
    default_ip: Option<IpAddr>,
    /// Ports of pods: nobody listens on them, so a socket does not find them taken.
    pods: Vec<PublishedPort>,
}

impl Engine {
    /// Takes the host ports of a container, choosing random ones where it may. They are published by the network that
    /// leads to the world, if that is a bridge.
    pub(crate) fn hold_ports(&self, container: &Container, plan: &[Planned]) -> Result<HeldPorts> {
        let mut held = HeldPorts::default();
        let Some(network) = way_out(plan).filter(|network| network.driver == Driver::Bridge) else {
            return Ok(held);
        };
        let wanted = wanted_ports(container)?;
        if wanted.is_empty() {
            return Ok(held);
        }
        let circumstances = Circumstances {
            v6: network.has_v6() && rctr_network::kernel_has_ipv6(),
            default_ip: network.host_binding().map(IpAddr::from),
            pods: self.ports_of_pods()?,
        };
        for spec in wanted {
            for (inner, host) in spec.expand() {
                hold(&mut held, &spec, host, inner, &circumstances)?;
            }
        }
        Ok(held)
    }

    /// Takes one host port for a pod.
    pub(crate) fn hold_port(&self, held: &mut HeldPorts, spec: &PortSpec) -> Result<()> {
        let circumstances = Circumstances {
            v6: self.subnet_v6().is_some() && rctr_network::kernel_has_ipv6(),
            default_ip: None,
            pods: self.ports_of_pods()?,
        };
        for (inner, host) in spec.expand() {
            hold(held, spec, host, inner, &circumstances)?;
        }
        Ok(())
    }

    fn ports_of_pods(&self) -> Result<Vec<PublishedPort>> {
        let endpoints = self.ready_endpoints()?.into_iter();
        Ok(endpoints.flat_map(|endpoint| endpoint.ports).collect())
    }
}

/// As [`Container::way_out`], before there are endpoints.
fn way_out(plan: &[Planned]) -> Option<&Network> {
    let mut ways: Vec<&Planned> = plan.iter().filter(|(_, n)| n.leads_out()).collect();
    ways.sort_by(|(a, an), (b, bn)| {
        let priority = b.request.gw_priority.cmp(&a.request.gw_priority);
        priority.then_with(|| an.name.cmp(&bn.name))
    });
    ways.first().map(|(_, network)| network)
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
    circumstances: &Circumstances,
) -> Result<()> {
    let any = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    let v6 = circumstances.v6;
    let host_ips = match spec.host_ip.or(circumstances.default_ip) {
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
    let of_pod = |port: u16| {
        let clashes = |&&ip: &&IpAddr| {
            let same = |p: &PublishedPort| (p.host_port, p.protocol) == (port, spec.protocol);
            let mut pods = circumstances.pods.iter();
            pods.any(|p| same(p) && overlap(p.host_ip, ip))
        };
        host_ips.iter().find(clashes).copied()
    };
    let in_use = |host_ip, port| rctr_network::Error::PortInUse {
        host_ip,
        port,
        protocol,
    };
    let (port, sockets) = match range {
        Some(range) if range.start() == range.end() => {
            let port = *range.start();
            if let Some(host_ip) = of_pod(port) {
                return Err(in_use(host_ip, port).into());
            }
            let reserve = |&ip| rctr_network::reserve(ip, port, protocol);
            let sockets = host_ips.iter().map(reserve);
            (port, sockets.collect::<rctr_network::Result<Vec<_>>>()?)
        }
        range => {
            // Kept open meanwhile, so that none is found twice.
            let mut refused = Vec::new();
            let mut found = None;
            for _ in 0..ATTEMPTS {
                let (port, sockets) = rctr_network::free_port(&host_ips, protocol, range.clone())?;
                match of_pod(port) {
                    None => {
                        found = Some((port, sockets));
                        break;
                    }
                    Some(host_ip) => refused.push((host_ip, port, sockets)),
                }
            }
            match (found, refused.pop()) {
                (Some(found), _) => found,
                (None, Some((host_ip, port, _))) => return Err(in_use(host_ip, port).into()),
                (None, None) => return Ok(()),
            }
        }
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

fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// An IPv6 address can be published on only where containers have one to lead it to.
fn check_family(spec: &PortSpec, port: u16, v6: bool) -> Result<()> {
    match spec.host_ip {
        Some(IpAddr::V6(Ipv6Addr::LOCALHOST)) => match rootless::leads_by_processes() {
            true => Ok(()),
            false => Err(rctr_network::Error::Ipv6Loopback { port }.into()),
        },
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

/// The firewall's view of the published ports: each leads to the container's address of the same family.
pub(crate) fn published(state: &EndpointState) -> Vec<rctr_network::PublishedPort> {
    state
        .ports
        .iter()
        .filter_map(|port| {
            let host_ip = rootless::routed(port.host_ip);
            let container_ip = match host_ip {
                IpAddr::V4(_) => state.address,
                IpAddr::V6(_) => state.v6?.0,
            };
            Some(rctr_network::PublishedPort {
                host_ip,
                host_port: port.host_port,
                container_ip,
                container_port: port.container_port,
                protocol: network_protocol(port.protocol),
            })
        })
        .collect()
}
