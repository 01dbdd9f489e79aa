//! From the flags of a container to the engine's options.

use std::path::PathBuf;
use std::str::FromStr;

use rctr_engine::options::{
    AttachTo, BlockIo, DeviceFlag, Devices, EndpointFlags, EndpointRequest, Isolation, LogChoice,
    MountKind, MountSpec, ParseError, PullPolicy, RestartPolicy, RunOptions, SecurityOptions,
    check_cpuset, check_isolation, combine_networks, parse_annotation, parse_cpus, parse_dns,
    parse_dns_search, parse_expose, parse_ip4, parse_ip6, parse_link_local, parse_log_options,
    parse_mac, parse_memory_swap, parse_name, parse_platform, parse_rate_bytes,
    parse_rate_operations, parse_signal, parse_size, parse_storage_option, parse_sysctl, parse_uts,
    parse_weight_device, resolve_env, resolve_labels,
};

use super::ContainerFlags;
use crate::failure::{Failure, GENERAL, Result, bad_value};

/// What the flags of a container mean, and what is to be said about them.
#[derive(Debug)]
pub struct Parsed {
    pub options: RunOptions,
    pub warnings: Vec<String>,
}

impl ContainerFlags {
    /// Checks every value. `words` are image, command and arguments; `command` names the command for messages.
    pub fn into_options(self, command: &str, words: Vec<String>, detach: bool) -> Result<Parsed> {
        let check = Checker { command };
        let mut words = words.into_iter();
        let image = words
            .next()
            .ok_or_else(|| crate::usage::wrong_count(command, "requires at least 1 argument"))?;
        let restart: RestartPolicy = match self.restart.as_deref() {
            Some(text) => text.parse().map_err(|e| check.files(&e))?,
            None => RestartPolicy::default(),
        };
        super::check_trust(command, self.disable_content_trust)?;
        check.one("--isolation", self.isolation, check_isolation)?;
        let isolation = Isolation {
            cgroupns: check.mode(self.cgroupns)?,
            ipc: check.mode(self.ipc)?,
            pid: check.mode(self.pid)?,
            uts_host: match self.uts.as_deref().map(parse_uts) {
                Some(uts) => uts.map_err(|e| check.files(&e))?,
                None => false,
            },
            userns: check.mode(self.userns)?,
        };
        let mut devices = Devices {
            rules: check.each("--device-cgroup-rule", &self.device_cgroup_rule, |text| {
                text.parse()
            })?,
            gpus: check.one("--gpus", self.gpus, |text| text.parse())?,
            ..Devices::default()
        };
        for device in check.each("--device", &self.device, |text| text.parse())? {
            match device {
                DeviceFlag::Node(node) => devices.nodes.push(node),
                DeviceFlag::Cdi(name) => devices.cdi.push(name),
            }
        }
        let places = EndpointFlags {
            aliases: self.network_alias,
            ip: check.one("--ip", given(self.ip), parse_ip4)?,
            ip6: check.one("--ip6", given(self.ip6), parse_ip6)?,
            mac: check.one("--mac-address", given(self.mac_address), parse_mac)?,
            link_local: check.each("--link-local-ip", &self.link_local_ip, parse_link_local)?,
        };
        for text in &self.network {
            check.one("--network", Some(text.clone()), |text| {
                text.parse::<EndpointRequest>()
            })?;
        }
        let (network, endpoints) =
            combine_networks(&self.network, places).map_err(|e| check.files(&e))?;
        let mounts = check.mounts(&self.volume, &self.mount, &self.tmpfs)?;
        let dns = check.each("--dns", &self.dns, parse_dns)?;
        let own = dns.iter().filter(|server| server.is_loopback());
        let warnings = own.map(|it| format!("Localhost DNS ({it}) may fail in containers."));
        let warnings = warnings.collect();
        let mut options = RunOptions {
            restart,
            health: self.health.into_config(command, self.no_healthcheck)?,
            image,
            cmd: words.collect(),
            entrypoint: self.entrypoint.map(|word| {
                if word.is_empty() {
                    Vec::new()
                } else {
                    vec![word]
                }
            }),
            name: check.one("--name", given(self.name), parse_name)?,
            tty: self.tty,
            interactive: self.interactive,
            auto_remove: self.rm,
            detach,
            publish: check.each("-p, --publish", &self.publish, |text| text.parse())?,
            publish_all: self.publish_all,
            expose: check.each("--expose", &self.expose, parse_expose)?.concat(),
            env: resolve_env(&self.env, &self.env_file, host_variable)
                .map_err(|e| check.files(&e))?,
            mounts,
            volumes_from: check.each("--volumes-from", &self.volumes_from, |text| text.parse())?,
            volume_driver: given(self.volume_driver),
            working_dir: given(self.workdir),
            user: self.user,
            group_add: self.group_add,
            hostname: given(self.hostname),
            add_hosts: check.each("--add-host", &self.add_host, |text| text.parse())?,
            dns,
            dns_search: check.each("--dns-search", &self.dns_search, parse_dns_search)?,
            dns_options: self
                .dns_option
                .into_iter()
                .filter(|o| !o.is_empty())
                .collect(),
            network,
            endpoints,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            privileged: self.privileged,
            security: SecurityOptions::parse(&self.security_opt).map_err(|e| {
                Failure::argument(command, &self.security_opt.join(" "), "--security-opt", &e)
            })?,
            read_only: self.read_only,
            init: self.init,
            labels: resolve_labels(&self.label, &self.label_file).map_err(|e| check.files(&e))?,
            stop_timeout: self.stop_timeout,
            ulimits: check.each("--ulimit", &self.ulimit, |text| text.parse())?,
            sysctls: check
                .each("--sysctl", &self.sysctl, parse_sysctl)?
                .into_iter()
                .collect(),
            shm_size: check
                .one("--shm-size", self.shm_size, parse_size)?
                .filter(|size| *size > 0),
            platform: check.one("--platform", given(self.platform), parse_platform)?,
            pull: check
                .one("--pull", self.pull, |text| text.parse::<PullPolicy>())?
                .unwrap_or_default(),
            cidfile: given(self.cidfile).map(PathBuf::from),
            attach: check.attach(&self.attach, detach)?,
            annotations: check
                .each("--annotation", &self.annotation, parse_annotation)?
                .into_iter()
                .collect(),
            domainname: given(self.domainname),
            cgroup_parent: given(self.cgroup_parent),
            runtime: given(self.runtime),
            isolation,
            devices,
            log: LogChoice {
                driver: given(self.log_driver),
                options: parse_log_options(&self.log_opt),
            },
            storage_size: check
                .each("--storage-opt", &self.storage_opt, parse_storage_option)?
                .pop(),
            ..RunOptions::default()
        };
        if let Some(signal) = given(self.stop_signal) {
            parse_signal(&signal)
                .map_err(|e| Failure::argument(command, &signal, "--stop-signal", &e))?;
            options.stop_signal = Some(signal);
        }
        let limits = &mut options.resources;
        limits.memory = check.one("-m, --memory", self.memory, parse_size)?;
        limits.memory_swap = check.one("--memory-swap", self.memory_swap, parse_memory_swap)?;
        limits.memory_reservation =
            check.one("--memory-reservation", self.memory_reservation, parse_size)?;
        limits.nano_cpus = check.one("--cpus", self.cpus, parse_cpus)?;
        limits.cpu_shares = self.cpu_shares;
        limits.cpuset_cpus = check.cpuset("cpus", "--cpuset-cpus", given(self.cpuset_cpus))?;
        limits.cpuset_mems = check.cpuset("mems", "--cpuset-mems", given(self.cpuset_mems))?;
        limits.pids_limit = self.pids_limit;
        limits.oom_score_adj = self.oom_score_adj;
        limits.cpu_period = self.cpu_period;
        limits.cpu_quota = self.cpu_quota;
        limits.cpu_rt_period = self.cpu_rt_period;
        limits.cpu_rt_runtime = self.cpu_rt_runtime;
        limits.memory_swappiness = self.memory_swappiness.filter(|n| *n != -1);
        limits.oom_kill_disable = self.oom_kill_disable;
        limits.kernel_memory = check.one("--kernel-memory", self.kernel_memory, parse_size)?;
        limits.block_io = BlockIo {
            weight: self.blkio_weight.unwrap_or(0),
            weight_devices: check.each(
                "--blkio-weight-device",
                &self.blkio_weight_device,
                parse_weight_device,
            )?,
            read_bps: check.each("--device-read-bps", &self.device_read_bps, parse_rate_bytes)?,
            write_bps: check.each(
                "--device-write-bps",
                &self.device_write_bps,
                parse_rate_bytes,
            )?,
            read_iops: check.each(
                "--device-read-iops",
                &self.device_read_iops,
                parse_rate_operations,
            )?,
            write_iops: check.each(
                "--device-write-iops",
                &self.device_write_iops,
                parse_rate_operations,
            )?,
        };
        // Its warnings come again from the engine.
        options.validate().map_err(|e| check.files(&e))?;
        // As with Docker, what stands for no limit is none that is told of.
        options.resources.pids_limit = self.pids_limit.filter(|limit| *limit > 0);
        Ok(Parsed { options, warnings })
    }
}

/// An empty name or directory is none, as from a script's unset variable.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The host's value of a variable, for `-e NAME`; one that is not text counts as none.
pub fn host_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Applies the engine's parsers and says which flag of which command was wrong.
struct Checker<'a> {
    command: &'a str,
}

impl Checker<'_> {
    fn one<T>(
        &self,
        flag: &str,
        text: Option<String>,
        parse: impl Fn(&str) -> Parse<T>,
    ) -> Result<Option<T>> {
        text.map(|text| parse(&text).map_err(|e| Failure::argument(self.command, &text, flag, &e)))
            .transpose()
    }

    fn each<T>(
        &self,
        flag: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Parse<T>,
    ) -> Result<Vec<T>> {
        texts
            .iter()
            .map(|text| parse(text).map_err(|e| Failure::argument(self.command, text, flag, &e)))
            .collect()
    }

    fn cpuset(
        &self,
        kind: &'static str,
        flag: &str,
        text: Option<String>,
    ) -> Result<Option<String>> {
        self.one(flag, text, |text| {
            check_cpuset(kind, text).map(|()| text.to_owned())
        })
    }

    fn mounts(
        &self,
        volumes: &[String],
        mounts: &[String],
        tmpfs: &[String],
    ) -> Result<Vec<MountSpec>> {
        // As with Docker, what is said twice is said once.
        let mut once: Vec<String> = Vec::new();
        for volume in volumes {
            if !once.contains(volume) {
                once.push(volume.clone());
            }
        }
        let mut specs = self.each("-v, --volume", &once, MountSpec::from_volume)?;
        specs.extend(self.each("--mount", mounts, MountSpec::from_mount)?);
        specs.extend(self.each("--tmpfs", tmpfs, MountSpec::from_tmpfs)?);
        give_way(&mut specs);
        Ok(specs)
    }

    /// A mode of a namespace, whose error names its flag itself.
    fn mode<T: FromStr<Err = ParseError> + Default>(&self, text: Option<String>) -> Result<T> {
        match text {
            Some(text) => text.parse().map_err(|e| self.files(&e)),
            None => Ok(T::default()),
        }
    }

    fn attach(&self, names: &[String], detach: bool) -> Result<Option<AttachTo>> {
        let mut streams = AttachTo::default();
        for one in self.each("-a, --attach", names, |text| text.parse::<AttachTo>())? {
            streams.stdin |= one.stdin;
            streams.stdout |= one.stdout;
            streams.stderr |= one.stderr;
        }
        match names {
            [] => Ok(None),
            _ if detach => Err(Failure::new(
                GENERAL,
                "conflicting options: cannot specify both --attach and --detach",
            )),
            _ => Ok(Some(streams)),
        }
    }

    /// An error that names file or value itself.
    fn files(&self, error: &ParseError) -> Failure {
        Failure::usage(
            bad_value(self.command, error),
            self.command,
            crate::failure::chain(error),
        )
    }
}

type Parse<T> = std::result::Result<T, ParseError>;

/// As with Docker, the last of several `--tmpfs` for one place counts, and `-v /place` asks only for what nothing else
/// brings there.
fn give_way(specs: &mut Vec<MountSpec>) {
    let gives_way = |spec: &MountSpec, to: &MountSpec, later: bool| {
        let weak = |spec: &MountSpec| {
            spec.kind == MountKind::Volume && spec.source.is_none() && !spec.by_mount_flag
        };
        let memory = |spec: &MountSpec| spec.kind == MountKind::Tmpfs && !spec.by_mount_flag;
        spec.target == to.target
            && (weak(spec) && (later || !weak(to)) || memory(spec) && memory(to) && later)
    };
    let mut index = 0;
    while index < specs.len() {
        let mut others = specs.iter().enumerate().filter(|(at, _)| *at != index);
        match others.any(|(at, to)| gives_way(&specs[index], to, at > index)) {
            true => drop(specs.remove(index)),
            false => index += 1,
        }
    }
}

#[cfg(test)]
mod tests;
