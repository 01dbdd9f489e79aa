//! What a configuration must be, beyond its syntax, before anything is made of it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capability, Linux, LinuxNamespaceType, LinuxSeccompAction, Spec};

use super::{Error, Result};
use crate::error::StartError;
use crate::namespaces::namespace_of;
use crate::selinux;

/// The version of the OCI runtime specification that states are written by.
pub const SPEC_VERSION: &str = "1.2.1";

/// A container's id becomes a file name.
pub(super) fn id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    match !id.is_empty() && id.len() <= 1024 && id != "." && id != ".." && id.chars().all(allowed) {
        true => Ok(()),
        false => Err(Error::InvalidId { id: id.to_owned() }),
    }
}

/// What a container is to be made of, if it can be: its bundle's whole path, its configuration, and a line for each thing
/// in it that means nothing. `console` says whether a terminal is handed over; none for both.
pub(super) fn bundle(
    container: &str,
    path: &Path,
    console: Option<bool>,
) -> Result<(PathBuf, Spec, Vec<String>)> {
    id(container)?;
    let bundle = fs::canonicalize(path).map_err(|e| Error::file("open", path, e))?;
    let (configuration, warnings) = load_spec(&bundle.join("config.json"))?;
    spec(&configuration, console)?;
    Ok((bundle, configuration, warnings))
}

/// Reads a configuration. Gives a line for each capability that gives nothing, and by the specification is no error: of a
/// name that no kernel knows, or ambient where the kernel cannot have it so.
pub(super) fn load_spec(path: &Path) -> Result<(Spec, Vec<String>)> {
    let bytes = fs::read(path).map_err(|e| Error::file("read", path, e))?;
    let parse = || -> serde_json::Result<(Spec, Vec<String>)> {
        let mut json = serde_json::from_slice(&bytes)?;
        let mut warnings = drop_unknown_capabilities(&mut json);
        let spec = serde_json::from_value(json)?;
        warnings.extend(idle_ambient_capabilities(&spec));
        Ok((spec, warnings))
    };
    parse().map_err(|e| Error::Corrupt {
        path: path.to_owned(),
        reason: e.to_string(),
    })
}

fn drop_unknown_capabilities(spec: &mut serde_json::Value) -> Vec<String> {
    let mut unknown = BTreeSet::new();
    let sets = spec.pointer_mut("/process/capabilities");
    let sets = sets.and_then(|sets| sets.as_object_mut());
    for names in sets.into_iter().flatten() {
        let Some(names) = names.1.as_array_mut() else {
            continue;
        };
        names.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known {
                unknown.insert(name.to_string());
            }
            known
        });
    }
    let warning = |name| format!("capability {name} is unknown and left out");
    unknown.into_iter().map(warning).collect()
}

/// `runc spec` of some versions writes such.
fn idle_ambient_capabilities(spec: &Spec) -> Vec<String> {
    let process = spec.process().as_ref();
    let Some(sets) = process.and_then(|process| process.capabilities().as_ref()) else {
        return Vec::new();
    };
    let has = |set: &Option<HashSet<Capability>>, c| set.as_ref().is_some_and(|s| s.contains(c));
    let ambient = sets.ambient().iter().flatten();
    let idle = ambient.filter(|c| !has(sets.permitted(), c) || !has(sets.inheritable(), c));
    let mut idle: Vec<String> = idle
        .map(|c| {
            format!("capability CAP_{c} is not permitted and inheritable, and so cannot be ambient")
        })
        .collect();
    idle.sort();
    idle
}

/// Refuses what would otherwise be left out without a word.
fn spec(spec: &Spec, console: Option<bool>) -> Result<(), StartError> {
    let refuse = |reason: &str| {
        Err(StartError::Config {
            reason: reason.to_owned(),
        })
    };
    if !spec.version().starts_with("1.") {
        return refuse(&format!("ociVersion {:?} is not 1.x", spec.version()));
    }
    let Some(process) = spec.process() else {
        return refuse("process property must not be empty");
    };
    if process.args().as_ref().is_none_or(|args| args.is_empty()) {
        return refuse("args must not be empty");
    }
    if !process.cwd().is_absolute() {
        return refuse("cwd must be an absolute path");
    }
    if let Some(score) = process
        .oom_score_adj()
        .filter(|s| !(-1000..=1000).contains(s))
    {
        return refuse(&format!(
            "oomScoreAdj {score} is not between -1000 and 1000"
        ));
    }
    match (process.terminal().unwrap_or(false), console) {
        (true, Some(false)) => {
            return refuse("cannot allocate tty if it will be detached without a console socket");
        }
        (false, Some(true)) => {
            return refuse("cannot use a console socket where no tty is allocated");
        }
        _ => {}
    }
    let named = |label: &Option<String>| label.as_ref().is_some_and(|l| !l.is_empty());
    if named(process.selinux_label()) && !selinux::is_enabled() {
        return refuse("process.selinuxLabel: SELinux is disabled or not supported");
    }
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    if linux.intel_rdt().is_some() {
        return refuse("linux.intelRdt is not supported");
    }
    if named(linux.mount_label()) && !selinux::is_enabled() {
        return refuse("linux.mountLabel: SELinux is disabled or not supported");
    }
    let notifies = |action| action == LinuxSeccompAction::ScmpActNotify;
    if let Some(seccomp) = linux.seccomp() {
        let mut rules = seccomp.syscalls().iter().flatten();
        if notifies(seccomp.default_action()) || rules.any(|rule| notifies(rule.action())) {
            return refuse("seccomp with SCMP_ACT_NOTIFY is not supported");
        }
    }
    let personality = linux.personality().as_ref();
    if personality.is_some_and(|p| p.flags().as_ref().is_some_and(|f| !f.is_empty())) {
        return refuse("flags of linux.personality are none that there are");
    }
    let names = linux.sysctl().iter().flat_map(|all| all.keys());
    match names.filter_map(|name| host_parameter(name, linux)).min() {
        Some(reason) => refuse(&reason),
        None => Ok(()),
    }
}

/// Whether there are hooks that are run where the runtime is started.
pub(super) fn has_hooks_outside(spec: &Spec) -> bool {
    let Some(hooks) = spec.hooks() else {
        return false;
    };
    #[allow(deprecated)] // Docker's network is made by one.
    let all = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.poststart(),
        hooks.poststop(),
    ];
    all.into_iter().flatten().any(|hooks| !hooks.is_empty())
}

/// Whether a configuration limits more than the use of devices.
pub(super) fn asks_for_limits(spec: &Spec) -> bool {
    let resources = spec.linux().as_ref().and_then(|l| l.resources().as_ref());
    let listed = resources.and_then(|resources| serde_json::to_value(resources).ok());
    let is_empty = |value: &serde_json::Value| {
        value.is_null()
            || value.as_object().is_some_and(|all| all.is_empty())
            || value.as_array().is_some_and(|all| all.is_empty())
    };
    let mut groups = listed.iter().filter_map(|all| all.as_object()).flatten();
    groups.any(|(name, group)| name != "devices" && !is_empty(group))
}

/// Why a kernel parameter is none of the container's own, in runc's words: it would be set for the host.
fn host_parameter(name: &str, linux: &Linux) -> Option<String> {
    let namespace = namespace_of(name);
    let Some(kind) = namespace.filter(|kind| *kind != LinuxNamespaceType::Network) else {
        return match namespace {
            None => Some(format!(
                "sysctl {name:?} is not in a separate kernel namespace"
            )),
            Some(_) if has_own_network(linux) => None,
            Some(_) => Some(format!(
                "sysctl {name:?} not allowed in host network namespace"
            )),
        };
    };
    let mut namespaces = linux.namespaces().iter().flatten();
    let own = namespaces.any(|namespace| namespace.typ() == kind);
    (!own).then(|| format!("sysctl {name:?} is not allowed in the host's {kind} namespace"))
}

fn has_own_network(linux: &Linux) -> bool {
    let mut namespaces = linux.namespaces().iter().flatten();
    let network = namespaces.find(|n| n.typ() == LinuxNamespaceType::Network);
    let path = network.map(|network| network.path().as_deref().unwrap_or(Path::new("")));
    let inode = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    match path {
        None => false,
        Some(path) if path.as_os_str().is_empty() => true,
        // One that is not there is another error.
        Some(path) => {
            inode(path).is_none_or(|own| Some(own) != inode("/proc/self/ns/net".as_ref()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_plain_file_name() {
        for good in ["a", "a.b_c-d+1", "..."] {
            id(good).unwrap();
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\n"] {
            assert!(matches!(id(bad), Err(Error::InvalidId { .. })), "{bad:?}");
        }
    }

    #[test]
    fn unknown_capabilities_are_left_out() {
        let mut json = serde_json::json!(
            {"process": {"capabilities": {"bounding": ["CAP_KILL", "CAP_NONE"], "ambient": null}}}
        );
        let warnings = drop_unknown_capabilities(&mut json);
        assert_eq!(
            warnings,
            ["capability \"CAP_NONE\" is unknown and left out"]
        );
        let bounding = &json["process"]["capabilities"]["bounding"];
        assert_eq!(bounding, &serde_json::json!(["CAP_KILL"]));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        let refused = |change: fn(&mut serde_json::Value), console| {
            let mut json = serde_json::to_value(Spec::default()).unwrap();
            change(&mut json);
            let changed: Spec = serde_json::from_value(json).unwrap();
            spec(&changed, console).map_err(|e| e.to_string())
        };
        refused(|_| {}, None).unwrap();
        let words = |change: fn(&mut serde_json::Value)| refused(change, None).unwrap_err();
        assert!(words(|s| s["ociVersion"] = "2.0.0".into()).contains("2.0.0"));
        assert!(words(|s| s["process"]["cwd"] = "x".into()).contains("absolute"));
        assert!(words(|s| s["process"]["selinuxLabel"] = "l".into()).contains("selinuxLabel"));
        assert!(words(|s| s["linux"]["intelRdt"] = serde_json::json!({})).contains("intelRdt"));
        assert!(words(|s| s["process"]["oomScoreAdj"] = 1001.into()).contains("1001"));
        let terminal: fn(&mut serde_json::Value) = |s| s["process"]["terminal"] = true.into();
        refused(terminal, Some(true)).unwrap();
        refused(terminal, Some(false)).unwrap_err();
        refused(|s| s["process"]["terminal"] = false.into(), Some(true)).unwrap_err();
    }

    #[test]
    fn parameters_of_the_host_are_refused() {
        let linux = |kinds: serde_json::Value| -> Linux {
            let mut linux = serde_json::to_value(Linux::default()).unwrap();
            linux["namespaces"] = kinds;
            serde_json::from_value(linux).unwrap()
        };
        let own = linux(serde_json::json!([{"type": "network"}, {"type": "ipc"}, {"type": "uts"}]));
        for name in [
            "net.ipv4.ip_forward",
            "kernel.shmmax",
            "fs.mqueue.msg_max",
            "kernel.domainname",
        ] {
            assert_eq!(host_parameter(name, &own), None, "{name}");
        }
        for name in ["kernel.core_pattern", "vm.swappiness", "kernel"] {
            let reason = host_parameter(name, &own).unwrap();
            assert!(reason.contains("separate kernel namespace"), "{reason}");
        }
        assert!(host_parameter("user.max_user_namespaces", &own).is_some());
        let host = serde_json::json!([{"type": "network", "path": "/proc/self/ns/net"}]);
        for linux in [linux(host), linux(serde_json::json!([]))] {
            assert!(host_parameter("net.ipv4.ip_forward", &linux).is_some());
            assert!(host_parameter("kernel.shmmax", &linux).is_some());
        }
    }
}
