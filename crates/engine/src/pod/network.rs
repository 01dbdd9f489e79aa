//! A pod's place in the network: CNI plugins where the node has a configuration for them, else the built-in bridge.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{PoisonError, RwLockReadGuard};

use rctr_network::cni::{Attachment, Cni, NetworkList};
use serde_json::{Map, json};

use super::{CniAttachment, NamespaceScope, Pod, PodDns, PodNetwork, PodOptions, PodState};
use crate::endpoint::{HeldPorts, own_routes};
use crate::options::{PortSpec, Protocol};
use crate::{Engine, Error, Result};

/// The interface inside, as Kubernetes expects it.
const INTERFACE: &str = "eth0";

/// The node's CNI network while a pod is attached to it: nothing is collected meanwhile, or a pod that is recorded too
/// late would lose its address to that.
pub(super) struct Plugins<'a> {
    list: NetworkList,
    _attaching: RwLockReadGuard<'a, ()>,
}

impl Plugins<'_> {
    /// What is written down before the plugins make it, so that it is taken back.
    pub(super) fn wanted(&self) -> PodNetwork {
        PodNetwork {
            ips: Vec::new(),
            endpoint: None,
            cni: Some(CniAttachment {
                list: self.list.clone(),
                result: json!(null),
            }),
            dns: None,
        }
    }
}

impl Engine {
    /// The plugins that a pod with a network of its own is attached by, if the node has some.
    pub(super) fn plugins_for(&self, options: &PodOptions) -> Result<Option<Plugins<'_>>> {
        if options.network == NamespaceScope::Node {
            return Ok(None);
        }
        let attaching = self.attaching.read();
        let list = NetworkList::load(&self.config.settings.cri.cni_conf_dir)?;
        Ok(list.map(|list| Plugins {
            list,
            _attaching: attaching.unwrap_or_else(PoisonError::into_inner),
        }))
    }

    /// Connects a pod whose namespaces are made, if it has a network of its own.
    pub(super) fn join_pod_network(
        &self,
        pod: &mut Pod,
        plugins: Option<Plugins<'_>>,
    ) -> Result<()> {
        match plugins {
            Some(plugins) => self.join_cni(pod, &plugins),
            None if pod.options.network == NamespaceScope::Node => Ok(()),
            None => self.join_bridge(pod),
        }
    }

    /// It is recorded with the pod's being ready. Until then plugins take back without it what they have made.
    fn join_cni(&self, pod: &mut Pod, plugins: &Plugins<'_>) -> Result<()> {
        let result = self.cni().add(&plugins.list, &attachment(pod))?;
        let dns = PodDns {
            servers: result.nameservers,
            searches: result.search,
            options: Vec::new(),
        };
        pod.network = Some(PodNetwork {
            ips: result.addresses.iter().map(|a| a.address.addr()).collect(),
            endpoint: None,
            cni: Some(CniAttachment {
                list: plugins.list.clone(),
                result: result.raw,
            }),
            dns: Some(dns).filter(|dns| !dns.is_empty()),
        });
        Ok(())
    }

    fn join_bridge(&self, pod: &mut Pod) -> Result<()> {
        let held = self.hold_pod_ports(pod)?;
        let ports = held.ports.clone();
        self.store.write(|tx| -> Result<()> {
            let endpoint = self.allocate(tx, &pod.id, ports)?;
            pod.network = Some(PodNetwork {
                ips: [Some(endpoint.address), endpoint.v6.map(|(ip, _, _)| ip)]
                    .into_iter()
                    .flatten()
                    .collect(),
                endpoint: Some(endpoint),
                cni: None,
                dns: None,
            });
            tx.replace_pod(&pod.id, pod)?;
            Ok(())
        })?;
        let endpoint = pod.network.as_ref().and_then(|n| n.endpoint.as_ref());
        if let (Some(path), Some(endpoint)) = (pod.netns(), endpoint) {
            let netns: OwnedFd = File::open(&path)
                .map_err(Error::file("open", &path))?
                .into();
            let (published, warnings) = self.plug_in(&netns, endpoint, own_routes(endpoint))?;
            super::lifecycle::tell(&pod.id, &warnings);
            drop(published);
        }
        Ok(())
    }

    /// Takes a pod out of its network; one that is out is fine.
    pub(super) fn leave_pod_network(&self, pod: &mut Pod) -> Result<()> {
        let Some(network) = &pod.network else {
            return Ok(());
        };
        if let Some(cni) = &network.cni {
            let mut attachment = attachment(pod);
            // After a reboot there is none; the plugins give back what they hold elsewhere.
            attachment.netns = attachment
                .netns
                .filter(|path| rctr_runtime::namespaces::is_pinned(path));
            let result = Some(&cni.result).filter(|result| !result.is_null());
            if result.is_none() {
                rctr_network::cni::end_orphans(&pod.id)?;
            }
            match self.cni().del(&cni.list, &attachment, result) {
                // It did not answer when the pod was to be connected, so it has nothing to take back; the others have
                // had their turn. A pod that could never be removed would keep its name for ever.
                Err(error @ rctr_network::Error::CniPluginMissing { .. }) if result.is_none() => {
                    tracing::warn!(pod = pod.id, %error, "let go without it");
                }
                other => other?,
            }
        }
        if let Some(endpoint) = &network.endpoint {
            self.unplug(endpoint)?;
            self.store.write(|tx| tx.release_addresses(&pod.id))?;
        }
        pod.network = None;
        self.save_pod(pod)
    }

    /// Whether pods can be connected now: `None`, or why not. Rules that somebody flushed are put back.
    ///
    /// # Errors
    /// None: what is wrong is the answer.
    pub fn pod_network_trouble(&self) -> Option<Error> {
        let asked = || -> Result<()> {
            match NetworkList::load(&self.config.settings.cri.cni_conf_dir)? {
                Some(list) => Ok(self.cni().status(&list)?),
                None => {
                    self.restore_rules(self.ready_endpoints()?.iter());
                    Ok(())
                }
            }
        };
        asked().err()
    }

    /// Lets the plugins give back what they hold for pods that are no more: what a machine that went down, or somebody who
    /// removed our state, never let them take back. Nobody is attached meanwhile.
    ///
    /// # Errors
    /// The first failure, after all plugins have had their turn.
    pub fn collect_pod_networks(&self) -> Result<()> {
        let Some(list) = NetworkList::load(&self.config.settings.cri.cni_conf_dir)? else {
            return Ok(());
        };
        let _alone = self
            .attaching
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let attached = |pod: &Pod| pod.network.as_ref().is_some_and(|n| n.cni.is_some());
        let pods = self.store.pods::<Pod>("")?.into_iter();
        let valid: Vec<(String, String)> = pods
            .filter(attached)
            .map(|pod| (pod.id, INTERFACE.to_owned()))
            .collect();
        Ok(self.cni().gc(&list, &valid)?)
    }

    fn cni(&self) -> Cni {
        Cni::new(self.config.settings.cri.cni_bin_dirs.clone())
    }

    /// The pod's ports of the host, if nobody has them; the sockets keep others away until they are published.
    fn hold_pod_ports(&self, pod: &Pod) -> Result<HeldPorts> {
        let mut held = HeldPorts::default();
        for port in &pod.options.ports {
            let spec = PortSpec {
                host_ip: port.host_ip,
                host_ports: Some((port.host_port, port.host_port)),
                container_ports: (port.container_port, port.container_port),
                protocol: port.protocol,
            };
            self.hold_port(&mut held, &spec)?;
        }
        Ok(held)
    }

    /// Where pods on the built-in bridge are.
    pub(crate) fn ready_endpoints(&self) -> Result<Vec<crate::model::EndpointState>> {
        let pods = self.store.pods::<Pod>("")?.into_iter();
        let ready = pods.filter(|pod| pod.state == PodState::Ready);
        Ok(ready.filter_map(|pod| pod.network?.endpoint).collect())
    }
}

/// What the plugins are told of a pod, with the names that everybody gives these things.
fn attachment(pod: &Pod) -> Attachment {
    let options = &pod.options;
    let args = [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &options.namespace),
        ("K8S_POD_NAME", &options.name),
        ("K8S_POD_INFRA_CONTAINER_ID", &pod.id),
        ("K8S_POD_UID", &options.uid),
    ];
    let mut capabilities = Map::new();
    if !options.ports.is_empty() {
        let ports: Vec<_> = options
            .ports
            .iter()
            .map(|port| {
                json!({
                    "hostPort": port.host_port,
                    "containerPort": port.container_port,
                    "protocol": match port.protocol {
                        Protocol::Tcp => "tcp",
                        Protocol::Udp => "udp",
                        Protocol::Sctp => "sctp",
                    },
                    "hostIP": port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
                })
            })
            .collect();
        capabilities.insert("portMappings".into(), ports.into());
    }
    if let Some(dns) = &options.dns {
        let dns = json!({"servers": dns.servers, "searches": dns.searches, "options": dns.options});
        capabilities.insert("dns".into(), dns);
    }
    capabilities.insert(
        "io.kubernetes.cri.pod-annotations".into(),
        json!(options.annotations),
    );
    if let Some(bandwidth) = bandwidth(options) {
        capabilities.insert("bandwidth".into(), bandwidth);
    }
    if let Some(parent) = &pod.cgroup {
        capabilities.insert("cgroupPath".into(), json!(parent));
    }
    Attachment {
        container_id: pod.id.clone(),
        netns: pod.netns(),
        ifname: INTERFACE.into(),
        args: args.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        capabilities,
    }
}

/// Kubernetes' annotations for traffic shaping, as the bandwidth plugin wants them: bits a second.
fn bandwidth(options: &PodOptions) -> Option<serde_json::Value> {
    let rate = |name: &str| {
        let text = options
            .annotations
            .get(&format!("kubernetes.io/{name}-bandwidth"))?;
        quantity(text)
    };
    let (ingress, egress) = (rate("ingress"), rate("egress"));
    if ingress.is_none() && egress.is_none() {
        return None;
    }
    let mut value = Map::new();
    for (name, rate) in [("ingress", ingress), ("egress", egress)] {
        if let Some(rate) = rate {
            value.insert(format!("{name}Rate"), rate.into());
            value.insert(format!("{name}Burst"), i32::MAX.into());
        }
    }
    Some(value.into())
}

/// A Kubernetes quantity: `10M`, `1Gi`, `500k`.
fn quantity(text: &str) -> Option<u64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: f64 = match unit {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * factor;
    (1.0..1e18).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let cases = [
            ("10M", Some(10_000_000)),
            ("1Ki", Some(1024)),
            ("1.5k", Some(1500)),
            ("", None),
            ("x", None),
            ("-1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(quantity(text), expected, "{text}");
        }
    }
}
