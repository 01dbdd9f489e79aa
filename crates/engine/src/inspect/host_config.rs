//! `HostConfig`: what the host gives a container, as the user asked for it.

mod resources;
mod security;

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;

use self::resources::{device, device_limits, device_requests, memory_swap, ulimits};
use self::security::{capabilities, security_options, shares};
use super::mount_request::{MountRequest, bind, mount_request};
use super::{PortBinding, PortMap, none_if_empty};
use crate::model::Container;
use crate::options::{CgroupnsMode, MountKind, NetworkMode, PortSpec, RunOptions};

/// Docker's default for `--shm-size`.
const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// `HostConfig.LogConfig`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogConfig {
    /// `json-file`, `none`, …
    pub r#type: String,
    /// Options of the driver.
    pub config: BTreeMap<String, String>,
}

/// `HostConfig.RestartPolicy`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// `no`, `always`, …
    pub name: String,
    /// Limit of `on-failure`.
    pub maximum_retry_count: u32,
}

/// One of `HostConfig.Ulimits`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UlimitJson {
    /// `nofile`, …
    pub name: String,
    /// Hard limit.
    pub hard: i64,
    /// Soft limit.
    pub soft: i64,
}

/// `HostConfig` of a container.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // The names are Docker's, and https://docs.docker.com/reference/api/engine describes them.
pub struct HostConfig {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub binds: Option<Vec<String>>,
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    pub log_config: LogConfig,
    pub network_mode: String,
    pub port_bindings: PortMap,
    pub restart_policy: RestartPolicy,
    pub auto_remove: bool,
    pub volume_driver: String,
    pub volumes_from: Option<Vec<String>>,
    pub console_size: [u16; 2],
    pub cap_add: Option<Vec<String>>,
    pub cap_drop: Option<Vec<String>>,
    pub cgroupns_mode: &'static str,
    pub dns: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    pub extra_hosts: Option<Vec<String>>,
    pub group_add: Option<Vec<String>>,
    pub ipc_mode: String,
    pub cgroup: String,
    pub links: Option<Vec<String>>,
    pub oom_score_adj: i32,
    pub pid_mode: String,
    pub privileged: bool,
    pub publish_all_ports: bool,
    pub readonly_rootfs: bool,
    pub security_opt: Option<Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    pub userns_mode: String,
    pub shm_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_opt: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    pub runtime: String,
    pub isolation: String,
    pub cpu_shares: u64,
    pub memory: u64,
    pub nano_cpus: u64,
    pub cgroup_parent: String,
    pub blkio_weight: u16,
    pub blkio_weight_device: Vec<Value>,
    pub blkio_device_read_bps: Vec<Value>,
    pub blkio_device_write_bps: Vec<Value>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Vec<Value>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Vec<Value>,
    pub cpu_period: u64,
    pub cpu_quota: i64,
    pub cpu_realtime_period: u64,
    pub cpu_realtime_runtime: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub devices: Vec<Value>,
    pub device_cgroup_rules: Option<Vec<String>>,
    pub device_requests: Option<Vec<Value>>,
    pub memory_reservation: u64,
    pub memory_swap: i64,
    pub memory_swappiness: Option<i64>,
    pub oom_kill_disable: Option<bool>,
    pub pids_limit: Option<i64>,
    pub ulimits: Vec<UlimitJson>,
    pub cpu_count: u64,
    pub cpu_percent: u64,
    #[serde(rename = "IOMaximumIOps")]
    pub io_maximum_iops: u64,
    #[serde(rename = "IOMaximumBandwidth")]
    pub io_maximum_bandwidth: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountRequest>,
    pub masked_paths: Option<Vec<String>>,
    pub readonly_paths: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
}

impl HostConfig {
    /// That of a container; `log_driver` is the configuration's.
    pub fn new(container: &Container, log_driver: &str) -> HostConfig {
        let options = &container.options;
        let resources = &options.resources;
        let (cap_add, cap_drop) = capabilities(options);
        let hidden = |paths: fn() -> Vec<String>| match options.security.systempaths_unconfined {
            _ if options.privileged => None,
            true => Some(Vec::new()),
            false => Some(paths()),
        };
        HostConfig {
            annotations: options.annotations.clone(),
            binds: none_if_empty(&options.mounts.iter().filter_map(bind).collect::<Vec<_>>()),
            container_id_file: options
                .cidfile
                .as_ref()
                .map(|file| file.display().to_string())
                .unwrap_or_default(),
            log_config: LogConfig {
                r#type: options
                    .log
                    .driver
                    .clone()
                    .unwrap_or_else(|| log_driver.to_owned()),
                config: options.log.options.clone(),
            },
            network_mode: network_mode(&options.network),
            port_bindings: port_bindings(&options.publish),
            restart_policy: RestartPolicy {
                name: options.restart.mode.as_str().into(),
                maximum_retry_count: options.restart.maximum,
            },
            auto_remove: options.auto_remove,
            volume_driver: container.options.volume_driver.clone().unwrap_or_default(),
            volumes_from: volumes_from(container),
            console_size: [0, 0],
            cap_add: none_if_empty(&cap_add),
            cap_drop: none_if_empty(&cap_drop),
            cgroupns_mode: match options.isolation.cgroupns {
                CgroupnsMode::Private => "private",
                CgroupnsMode::Host => "host",
            },
            dns: strings(&options.dns),
            dns_options: options.dns_options.clone(),
            dns_search: options.dns_search.clone(),
            extra_hosts: none_if_empty(&extra_hosts(options)),
            group_add: none_if_empty(&options.group_add),
            ipc_mode: options.isolation.ipc.to_string(),
            cgroup: String::new(),
            links: None,
            oom_score_adj: resources.oom_score_adj.unwrap_or(0),
            pid_mode: options.isolation.pid.to_string(),
            privileged: options.privileged,
            publish_all_ports: options.publish_all,
            readonly_rootfs: options.read_only,
            security_opt: none_if_empty(&security_options(
                &options.security,
                options.privileged || options.isolation.shares_processes_with_host(),
                container.selinux.as_ref().filter(|_| shares(options)),
            )),
            tmpfs: options
                .mounts
                .iter()
                .filter(|mount| mount.kind == MountKind::Tmpfs && !mount.by_mount_flag)
                .map(|mount| (mount.target.clone(), mount.tmpfs_options.join(",")))
                .collect(),
            uts_mode: (if options.isolation.uts_host {
                "host"
            } else {
                ""
            })
            .to_owned(),
            userns_mode: options.isolation.userns.to_string(),
            shm_size: options.shm_size.unwrap_or(DEFAULT_SHM_SIZE),
            storage_opt: options
                .storage_size
                .map(|size| [("size".to_owned(), size.to_string())].into()),
            sysctls: options.sysctls.clone(),
            runtime: options.runtime.clone().unwrap_or_else(|| "runc".to_owned()),
            isolation: String::new(),
            cpu_shares: resources.cpu_shares.unwrap_or(0),
            memory: resources.memory.unwrap_or(0),
            nano_cpus: resources.nano_cpus.unwrap_or(0),
            cgroup_parent: options.cgroup_parent.clone().unwrap_or_default(),
            blkio_weight: resources.block_io.weight,
            blkio_weight_device: device_limits(&resources.block_io.weight_devices, "Weight"),
            blkio_device_read_bps: device_limits(&resources.block_io.read_bps, "Rate"),
            blkio_device_write_bps: device_limits(&resources.block_io.write_bps, "Rate"),
            blkio_device_read_iops: device_limits(&resources.block_io.read_iops, "Rate"),
            blkio_device_write_iops: device_limits(&resources.block_io.write_iops, "Rate"),
            cpu_period: resources.cpu_period.unwrap_or(0),
            cpu_quota: resources.cpu_quota.unwrap_or(0),
            cpu_realtime_period: resources.cpu_rt_period.unwrap_or(0),
            cpu_realtime_runtime: resources.cpu_rt_runtime.unwrap_or(0),
            cpuset_cpus: resources.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: resources.cpuset_mems.clone().unwrap_or_default(),
            devices: options.devices.nodes.iter().map(device).collect(),
            device_cgroup_rules: none_if_empty(&strings(&options.devices.rules)),
            device_requests: Some(device_requests(&options.devices)).filter(|all| !all.is_empty()),
            memory_reservation: resources.memory_reservation.unwrap_or(0),
            memory_swap: memory_swap(options),
            memory_swappiness: resources.memory_swappiness,
            oom_kill_disable: resources.oom_kill_disable.then_some(true),
            pids_limit: resources.pids_limit,
            ulimits: ulimits(options),
            cpu_count: 0,
            cpu_percent: 0,
            io_maximum_iops: 0,
            io_maximum_bandwidth: 0,
            mounts: options.mounts.iter().filter_map(mount_request).collect(),
            masked_paths: hidden(rctr_runtime::defaults::masked_paths),
            readonly_paths: hidden(rctr_runtime::defaults::readonly_paths),
            init: options.init.then_some(true),
        }
    }
}

/// Docker's spelling of a network mode.
fn network_mode(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Bridge => "bridge".into(),
        NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        NetworkMode::Container(name) => format!("container:{name}"),
        NetworkMode::User(name) => name.clone(),
    }
}

fn volumes_from(container: &Container) -> Option<Vec<String>> {
    let from = container.options.volumes_from.iter();
    let words = from.map(|from| match from.read_only {
        true => format!("{}:ro", from.container),
        false => from.container.clone(),
    });
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then_some(words)
}

fn port_bindings(publish: &[PortSpec]) -> PortMap {
    let mut map = PortMap::new();
    for spec in publish {
        let (first, last) = spec.container_ports;
        for port in first..=last {
            let host_port = match spec.host_ports {
                None => String::new(),
                Some((low, high)) if low == high => low.to_string(),
                Some((low, high)) if first == last => format!("{low}-{high}"),
                Some((low, _)) => (low + (port - first)).to_string(),
            };
            let binding = PortBinding {
                host_ip: spec.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
                host_port,
            };
            map.entry(format!("{port}/{}", spec.protocol.as_str()))
                .or_default()
                .get_or_insert_default()
                .push(binding);
        }
    }
    map
}

fn extra_hosts(options: &RunOptions) -> Vec<String> {
    options
        .add_hosts
        .iter()
        .map(|host| match host.address {
            Some(address) => format!("{}:{address}", host.name),
            None => format!("{}:host-gateway", host.name),
        })
        .collect()
}

fn strings<T: Display>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings(flags: &[&str]) -> String {
        let specs: Vec<PortSpec> = flags.iter().map(|flag| flag.parse().unwrap()).collect();
        serde_json::to_string(&port_bindings(&specs)).unwrap()
    }

    #[test]
    fn ports_as_they_were_asked_for() {
        assert_eq!(
            bindings(&["8080:80"]),
            r#"{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}"#
        );
        assert_eq!(
            bindings(&["80/udp"]),
            r#"{"80/udp":[{"HostIp":"","HostPort":""}]}"#
        );
        assert_eq!(
            bindings(&["127.0.0.1:9000-9001:90-91"]),
            r#"{"90/tcp":[{"HostIp":"127.0.0.1","HostPort":"9000"}],"91/tcp":[{"HostIp":"127.0.0.1","HostPort":"9001"}]}"#
        );
        assert_eq!(
            bindings(&["8000-8010:80"]),
            r#"{"80/tcp":[{"HostIp":"","HostPort":"8000-8010"}]}"#
        );
    }
}
