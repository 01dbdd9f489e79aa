//! Namespaces, hidden paths, kernel parameters, cgroup, devices.

use std::collections::HashMap;
use std::path::Path;

use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
};
use rctr_runtime::defaults;
use rctr_runtime::namespaces::IdMap;
use rctr_runtime::rootless::in_initial_namespace;

use super::{SpecError, SpecInput, devices, resources};
use crate::options::{CgroupnsMode, IpcMode, NetworkMode, PidMode, UsernsMode};

pub(super) fn build(input: &SpecInput, warnings: &mut Vec<String>) -> Result<Linux, SpecError> {
    let options = &input.container.options;
    let masked = !options.privileged && !options.security.systempaths_unconfined;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(input)?)
        .resources(resources::build(input, warnings)?)
        .cgroups_path(&input.container.cgroup_path)
        .sysctl(sysctls(input))
        .masked_paths(if masked {
            defaults::masked_paths()
        } else {
            Vec::new()
        })
        .readonly_paths(if masked {
            defaults::readonly_paths()
        } else {
            Vec::new()
        })
        .build()?;
    let mut nodes = match options.privileged {
        true => devices::of_host(Path::new("/dev"))?,
        false => Vec::new(),
    };
    let (mut custom, rules) = devices::custom(&options.devices)?;
    if !in_initial_namespace() {
        // Where devices cannot be made they are mounted: see `mounts`.
        custom.clear();
    }
    nodes.retain(|node| !custom.iter().any(|new| new.path() == node.path()));
    nodes.extend(custom);
    linux.set_devices(Some(nodes).filter(|nodes| !nodes.is_empty()));
    if let Some(resources) = linux
        .resources_mut()
        .as_mut()
        .filter(|_| !options.privileged)
    {
        let mut all = resources.devices().clone().unwrap_or_default();
        all.extend(rules);
        resources.set_devices(Some(all));
    }
    if let Some(mappings) = options.isolation.userns.mappings() {
        linux.set_uid_mappings(Some(IdMap::listed(&mappings.uids)));
        linux.set_gid_mappings(Some(IdMap::listed(&mappings.gids)));
    }
    // The monitor loads a compiled filter of its own choice: see `SpecOutput::seccomp`.
    linux.set_seccomp(None);
    Ok(linux)
}

fn namespaces(input: &SpecInput) -> Result<Vec<LinuxNamespace>, SpecError> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, User, Uts};
    let shared = &input.container.options.isolation;
    let joined = &input.joined;
    // New ones, and then those that exist.
    let own = [
        (Mount, true),
        (Uts, !shared.uts_host),
        (Ipc, shared.ipc != IpcMode::Host && joined.ipc.is_none()),
        (Pid, shared.pid == PidMode::Private),
        (Cgroup, shared.cgroupns == CgroupnsMode::Private),
    ];
    let existing = [
        (Network, &input.netns),
        (Ipc, &joined.ipc),
        (Pid, &joined.pid),
        (User, &joined.user),
    ];
    let mut namespaces = Vec::new();
    for (typ, _) in own.into_iter().filter(|(_, wanted)| *wanted) {
        namespaces.push(LinuxNamespaceBuilder::default().typ(typ).build()?);
    }
    for (typ, path) in existing {
        if let Some(path) = path {
            let namespace = LinuxNamespaceBuilder::default().typ(typ).path(path.clone());
            namespaces.push(namespace.build()?);
        }
    }
    Ok(namespaces)
}

/// The kernel's last, or the last that is there in a user namespace.
fn last_group(userns: &UsernsMode) -> u32 {
    let groups = userns.mappings().map(|mappings| &mappings.gids);
    let first = groups.and_then(|maps| maps.iter().find(|map| map.container == 0));
    first.map_or(i32::MAX as u32, |map| map.length - 1)
}

/// As Docker does, a container with a network of its own may ping and use any port without privileges.
fn sysctls(input: &SpecInput) -> HashMap<String, String> {
    let options = &input.container.options;
    let mut sysctls: HashMap<String, String> = HashMap::new();
    if matches!(
        options.network,
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::User(_)
    ) {
        sysctls.insert(
            "net.ipv4.ip_unprivileged_port_start".to_owned(),
            "0".to_owned(),
        );
        sysctls.insert(
            "net.ipv4.ping_group_range".to_owned(),
            format!(
                "0 {}",
                last_group(&options.isolation.userns).min(crate::rootless::last_group())
            ),
        );
    }
    sysctls.extend(options.sysctls.clone());
    sysctls
}
