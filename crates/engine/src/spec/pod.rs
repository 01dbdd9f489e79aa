//! What a pod makes of its container's configuration: shared namespaces, mounts and devices as a kubelet asks for them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, Mount, MountBuilder, Spec,
};

use super::{SpecError, SpecInput, caps, devices, mounts};
use crate::pod::{IdMap, NamespaceScope, Pod, PodContainerOptions, Propagation};

/// A container's pod, with everything found that the configuration names.
#[derive(Debug)]
pub(crate) struct InPod {
    pub(crate) pod: Pod,
    pub(crate) options: PodContainerOptions,
    /// The PID namespace to join: `Some(None)` is the host's, `None` a new one.
    pub(crate) pid: Option<Option<PathBuf>>,
    pub(crate) mounts: Vec<InPodMount>,
}

/// A mount with its source found.
#[derive(Debug)]
pub(crate) struct InPodMount {
    pub(crate) target: String,
    pub(crate) source: PathBuf,
    pub(crate) read_only: bool,
    pub(crate) recursive_read_only: bool,
    pub(crate) propagation: Propagation,
    pub(crate) mappings: Option<crate::pod::IdMappings>,
}

/// Changes a configuration that was made as if the container stood alone.
pub(super) fn adjust(
    spec: &mut Spec,
    input: &SpecInput,
    in_pod: &InPod,
    warnings: &mut Vec<String>,
) -> Result<(), SpecError> {
    let security = &in_pod.options.security;
    // The name belongs to the namespace that is joined.
    spec.set_hostname(None);
    let all = replace_mounts(spec.mounts().clone().unwrap_or_default(), in_pod)?;
    spec.set_mounts(Some(all));
    if let Some(linux) = spec.linux_mut() {
        linux.set_namespaces(Some(namespaces(in_pod)?));
        // They are set where the namespaces are made.
        linux.set_sysctl(None);
        if !security.privileged {
            // Only in a user namespace may a kubelet mean none by naming none.
            let unmasked = in_pod.pod.options.user.is_some();
            if unmasked || !security.masked_paths.is_empty() {
                linux.set_masked_paths(Some(security.masked_paths.clone()));
            }
            if unmasked || !security.readonly_paths.is_empty() {
                linux.set_readonly_paths(Some(security.readonly_paths.clone()));
            }
        }
        if let Some(maps) = &in_pod.pod.options.user {
            linux.set_uid_mappings(Some(IdMap::listed(&maps.uids)));
            linux.set_gid_mappings(Some(IdMap::listed(&maps.gids)));
        }
        pass_devices(linux, in_pod)?;
    }
    if let Some(process) = spec.process_mut()
        && !security.ambient.is_empty()
    {
        let mut ambient = caps::Set::new();
        for name in &security.ambient {
            match caps::parse(name)? {
                caps::Named::One(capability) => drop(ambient.insert(capability)),
                caps::Named::All => ambient.extend(input.facts.capabilities.iter().copied()),
            }
        }
        if let Some(sets) = process.capabilities() {
            let with = |set: &Option<caps::Set>| {
                let own: HashSet<_> = set.clone().unwrap_or_default();
                Some(own.union(&ambient).copied().collect())
            };
            let mut sets = sets.clone();
            sets.set_bounding(with(sets.bounding()));
            sets.set_permitted(with(sets.permitted()));
            sets.set_effective(with(sets.effective()));
            sets.set_inheritable(Some(ambient.clone()));
            sets.set_ambient(Some(ambient));
            process.set_capabilities(Some(sets));
        }
    }
    let named = security.selinux.as_ref().is_some_and(|l| l.is_said());
    if !input.facts.selinux && named {
        warnings.push("SELinux is not enabled on this host. Label discarded.".to_owned());
    }
    Ok(())
}

fn namespaces(in_pod: &InPod) -> Result<Vec<LinuxNamespace>, SpecError> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, User, Uts};
    let kept = &in_pod.pod.namespaces;
    let mut namespaces = Vec::new();
    namespaces.push(LinuxNamespaceBuilder::default().typ(Mount).build()?);
    // A node's agents are privileged, and look for themselves and others in the node's hierarchy. In a user namespace
    // nobody is let mount that.
    if !in_pod.options.security.privileged || kept.user.is_some() {
        namespaces.push(LinuxNamespaceBuilder::default().typ(Cgroup).build()?);
    }
    let joined = [
        (Network, &kept.net),
        (Ipc, &kept.ipc),
        (Uts, &kept.uts),
        (User, &kept.user),
    ];
    for (typ, path) in joined {
        if let Some(path) = path {
            let namespace = LinuxNamespaceBuilder::default().typ(typ).path(path.clone());
            namespaces.push(namespace.build()?);
        }
    }
    let pid = LinuxNamespaceBuilder::default().typ(Pid);
    match &in_pod.pid {
        None => namespaces.push(pid.build()?),
        Some(Some(path)) => namespaces.push(pid.path(path.clone()).build()?),
        Some(None) => {}
    }
    Ok(namespaces)
}

/// The pod's /dev/shm for the container's own, then the kubelet's mounts over whatever is at their places.
fn replace_mounts(defaults: Vec<Mount>, in_pod: &InPod) -> Result<Vec<Mount>, SpecError> {
    let mut own = Vec::new();
    let shm = match in_pod.pod.options.ipc {
        NamespaceScope::Pod => in_pod.pod.namespaces.shm.clone(),
        NamespaceScope::Node => Some(PathBuf::from("/dev/shm")),
    };
    if let Some(shm) = shm {
        own.push(mounts::build_mount(
            "/dev/shm",
            "bind",
            &shm,
            words(&["rbind", "rprivate", "rw", "nosuid", "nodev", "noexec"]),
        )?);
    }
    for mount in &in_pod.mounts {
        own.push(kubelets(mount)?);
    }
    let hidden = |mount: &Mount| {
        own.iter()
            .any(|o| mounts::hides(&o.destination().to_string_lossy(), mount.destination()))
    };
    let kept = defaults.into_iter().filter(|mount| !hidden(mount));
    // The files under /etc and the image's volumes go among the kubelet's.
    let (shown, mut all): (Vec<_>, Vec<_>) =
        kept.partition(|mount| mount.typ().as_deref() == Some("bind"));
    let mut own: Vec<Mount> = shown.into_iter().chain(own).collect();
    // Parents first, or they would hide what is mounted below them.
    own.sort_by_key(|mount| mount.destination().components().count());
    all.extend(own);
    Ok(all)
}

fn kubelets(mount: &InPodMount) -> Result<Mount, SpecError> {
    let mut options = vec!["rbind"];
    options.push(match mount.propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    });
    options.push(if mount.read_only { "ro" } else { "rw" });
    if mount.recursive_read_only {
        options.push("rro");
    }
    let mut built = mounts::build_mount(&mount.target, "bind", &mount.source, words(&options))?;
    if let Some(mappings) = &mount.mappings {
        built = MountBuilder::default()
            .destination(built.destination())
            .typ("bind")
            .source(&mount.source)
            .options(words(&options))
            .uid_mappings(IdMap::listed(&mappings.uids))
            .gid_mappings(IdMap::listed(&mappings.gids))
            .build()?;
    }
    Ok(built)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn pass_devices(linux: &mut Linux, in_pod: &InPod) -> Result<(), SpecError> {
    let mut nodes = linux.devices().clone().unwrap_or_default();
    let mut rules = Vec::new();
    for device in &in_pod.options.devices {
        let (more, allow) = devices::passed_on(
            &device.host,
            Path::new(&device.container),
            &device.permissions,
        )?;
        nodes.retain(|node| !more.iter().any(|new| new.path() == node.path()));
        nodes.extend(more);
        rules.extend(allow);
    }
    linux.set_devices(Some(nodes).filter(|nodes| !nodes.is_empty()));
    if let Some(resources) = linux
        .resources_mut()
        .as_mut()
        .filter(|_| !in_pod.options.security.privileged)
    {
        let mut all = resources.devices().clone().unwrap_or_default();
        all.extend(rules);
        resources.set_devices(Some(all));
    }
    Ok(())
}
