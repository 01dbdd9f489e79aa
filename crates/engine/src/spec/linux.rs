//! Namespaces, hidden paths, kernel parameters, cgroup, devices.

use std::collections::HashMap;
use std::path::Path;

use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
};
use rctr_runtime::defaults;

use super::{SpecError, SpecInput, devices, resources};
use crate::options::NetworkMode;

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
    linux.set_devices(match options.privileged {
        true => Some(devices::of_host(Path::new("/dev"))?),
        false => None,
    });
    // The monitor loads a compiled filter of its own choice: see `SpecOutput::seccomp`.
    linux.set_seccomp(None);
    Ok(linux)
}

fn namespaces(input: &SpecInput) -> Result<Vec<LinuxNamespace>, SpecError> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let mut namespaces = Vec::new();
    for typ in [Mount, Uts, Ipc, Pid, Cgroup] {
        namespaces.push(LinuxNamespaceBuilder::default().typ(typ).build()?);
    }
    if let Some(path) = &input.netns {
        namespaces.push(
            LinuxNamespaceBuilder::default()
                .typ(Network)
                .path(path.clone())
                .build()?,
        );
    }
    Ok(namespaces)
}

/// As Docker does, a container with a network of its own may ping and use any port without privileges.
fn sysctls(input: &SpecInput) -> HashMap<String, String> {
    let options = &input.container.options;
    let mut sysctls: HashMap<String, String> = HashMap::new();
    if matches!(options.network, NetworkMode::Bridge | NetworkMode::None) {
        sysctls.insert(
            "net.ipv4.ip_unprivileged_port_start".to_owned(),
            "0".to_owned(),
        );
        sysctls.insert(
            "net.ipv4.ping_group_range".to_owned(),
            "0 2147483647".to_owned(),
        );
    }
    sysctls.extend(options.sysctls.clone());
    sysctls
}
