//! Pod sandboxes.

use std::net::IpAddr;
use std::path::PathBuf;

use rctr_engine::options::Protocol;
use rctr_engine::pod::{Pod, PodDns, PodOptions, PodPort, PodState};
use serde_json::{Value, json};
use tonic::Status;

use super::{known, number, required, said, sorted, time, unsorted};
use crate::api;
use crate::convert::{resources, security};

/// What a pod is to be.
pub(crate) fn options(
    config: api::PodSandboxConfig,
    handler: String,
) -> Result<PodOptions, Status> {
    let metadata = required(config.metadata, "metadata of the pod")?;
    if metadata.name.is_empty() || metadata.namespace.is_empty() {
        return Err(Status::invalid_argument("a pod has a name and a namespace"));
    }
    let linux = config.linux.unwrap_or_default();
    let context = linux.security_context.unwrap_or_default();
    let namespaces = security::namespaces(context.namespace_options)?;
    let ports = config.port_mappings.into_iter();
    Ok(PodOptions {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        attempt: metadata.attempt,
        hostname: config.hostname,
        log_directory: said(config.log_directory).map(Into::into),
        dns: config.dns_config.map(|dns| PodDns {
            servers: dns.servers,
            searches: dns.searches,
            options: dns.options,
        }),
        ports: ports
            .filter(|port| port.host_port != 0)
            .map(port)
            .collect::<Result<_, _>>()?,
        labels: sorted(config.labels),
        annotations: sorted(config.annotations),
        cgroup_parent: said(linux.cgroup_parent),
        sysctls: sorted(linux.sysctls),
        network: namespaces.network,
        ipc: namespaces.ipc,
        pid: namespaces.pid,
        user: namespaces.user,
        privileged: context.privileged,
        selinux: context.selinux_options.map(security::selinux),
        resources: linux.resources.map(resources::resources).transpose()?,
        overhead: linux.overhead.map(resources::resources).transpose()?,
        handler,
    })
}

fn port(from: api::PortMapping) -> Result<PodPort, Status> {
    let protocol = match known(from.protocol, "protocol")? {
        api::Protocol::Tcp => Protocol::Tcp,
        api::Protocol::Udp => Protocol::Udp,
        api::Protocol::Sctp => Protocol::Sctp,
    };
    let host_ip: Option<IpAddr> = said(from.host_ip)
        .map(|text| {
            text.parse()
                .map_err(|_| Status::invalid_argument(format!("{text:?} is no address")))
        })
        .transpose()?;
    let container_port = match number(from.container_port.into(), "container port")? {
        // Network plugins choke on it, also when they are to let the pod go.
        0 => return Err(Status::invalid_argument("container port 0 is out of range")),
        port => port,
    };
    Ok(PodPort {
        protocol,
        container_port,
        host_port: number(from.host_port.into(), "host port")?,
        host_ip,
    })
}

fn metadata(options: &PodOptions) -> api::PodSandboxMetadata {
    api::PodSandboxMetadata {
        name: options.name.clone(),
        uid: options.uid.clone(),
        namespace: options.namespace.clone(),
        attempt: options.attempt,
    }
}

pub(crate) fn attributes(pod: &Pod) -> api::PodSandboxAttributes {
    api::PodSandboxAttributes {
        id: pod.id.clone(),
        metadata: Some(metadata(&pod.options)),
        labels: unsorted(&pod.options.labels),
        annotations: unsorted(&pod.options.annotations),
    }
}

pub(crate) fn state(pod: &Pod) -> api::PodSandboxState {
    match pod.state {
        PodState::Ready => api::PodSandboxState::SandboxReady,
        PodState::Creating | PodState::NotReady => api::PodSandboxState::SandboxNotready,
    }
}

/// An entry of a list.
pub(crate) fn item(pod: &Pod) -> api::PodSandbox {
    api::PodSandbox {
        id: pod.id.clone(),
        metadata: Some(metadata(&pod.options)),
        state: state(pod).into(),
        created_at: time::nanos(&pod.created),
        labels: unsorted(&pod.options.labels),
        annotations: unsorted(&pod.options.annotations),
        runtime_handler: pod.options.handler.clone(),
    }
}

/// All there is to say of a pod.
pub(crate) fn status(pod: &Pod) -> api::PodSandboxStatus {
    let options = &pod.options;
    let namespaces = security::namespace_option(
        options.network,
        options.ipc,
        &options.pid,
        options.user.as_ref(),
    );
    api::PodSandboxStatus {
        id: pod.id.clone(),
        metadata: Some(metadata(options)),
        state: state(pod).into(),
        created_at: time::nanos(&pod.created),
        network: Some(network(pod)),
        linux: Some(api::LinuxPodSandboxStatus {
            namespaces: Some(api::Namespace {
                options: Some(namespaces),
            }),
        }),
        labels: unsorted(&options.labels),
        annotations: unsorted(&options.annotations),
        runtime_handler: options.handler.clone(),
    }
}

/// Where a pod's namespaces are, in the words of the OCI's configuration, as scripts look for them with every runtime.
pub(crate) fn spec(pod: &Pod) -> Value {
    let kept = &pod.namespaces;
    let of = |kind: &str, path: &Option<PathBuf>| {
        let path = path.as_ref()?;
        Some(json!({ "type": kind, "path": path }))
    };
    let namespaces = [
        of("network", &kept.net),
        of("ipc", &kept.ipc),
        of("uts", &kept.uts),
        of("user", &kept.user),
    ];
    json!({
        "hostname": pod.options.hostname,
        "linux": {
            "cgroupsPath": pod.cgroup,
            "namespaces": namespaces.into_iter().flatten().collect::<Vec<_>>(),
        },
    })
}

/// Addresses, the primary one apart. A pod that was stopped has none any more.
fn network(pod: &Pod) -> api::PodSandboxNetworkStatus {
    let ready = pod.state == PodState::Ready;
    let network = pod.network.as_ref().filter(|_| ready);
    let mut ips = network
        .into_iter()
        .flat_map(|network| &network.ips)
        .map(ToString::to_string);
    api::PodSandboxNetworkStatus {
        ip: ips.next().unwrap_or_default(),
        additional_ips: ips.map(|ip| api::PodIp { ip }).collect(),
    }
}

/// What an entry of a list must be.
pub(crate) struct Filter(Option<api::PodSandboxFilter>);

impl Filter {
    pub fn new(filter: Option<api::PodSandboxFilter>) -> Filter {
        Filter(filter)
    }

    pub fn takes(&self, pod: &Pod) -> bool {
        let Some(filter) = &self.0 else { return true };
        let wanted = filter.state.as_ref().map(|value| value.state);
        pod.id.starts_with(&filter.id)
            && wanted.is_none_or(|wanted| wanted == i32::from(state(pod)))
            && super::selects(&filter.label_selector, &pod.options.labels)
    }
}
