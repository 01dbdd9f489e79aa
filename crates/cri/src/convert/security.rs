//! Namespaces, users, capabilities and profiles.

use rctr_engine::options::SelinuxOptions;
use rctr_engine::pod::{
    GroupsPolicy, IdMap, IdMappings, NamespaceScope, PidScope, PodApparmor, PodSeccomp, PodSecurity,
};
use tonic::Status;

use super::{known, number, said};
use crate::api;
use crate::api::NamespaceMode as Mode;
use crate::api::security_profile::ProfileType;

/// The namespaces of a pod or of a container in one.
pub(crate) struct Namespaces {
    pub network: NamespaceScope,
    pub ipc: NamespaceScope,
    pub pid: PidScope,
    pub user: Option<IdMappings>,
}

/// What nobody says: network and IPC are the pod's, processes each container's own.
pub(crate) fn namespaces(options: Option<api::NamespaceOption>) -> Result<Namespaces, Status> {
    let Some(options) = options else {
        return Ok(Namespaces {
            network: NamespaceScope::Pod,
            ipc: NamespaceScope::Pod,
            pid: PidScope::Container,
            user: None,
        });
    };
    let pid = match known(options.pid, "pid namespace mode")? {
        Mode::Pod => PidScope::Pod,
        Mode::Container => PidScope::Container,
        Mode::Node => PidScope::Node,
        Mode::Target => PidScope::Target(options.target_id),
    };
    Ok(Namespaces {
        network: scope(options.network, "network")?,
        ipc: scope(options.ipc, "ipc")?,
        pid,
        user: options.userns_options.map(user).transpose()?.flatten(),
    })
}

fn scope(mode: i32, what: &str) -> Result<NamespaceScope, Status> {
    match known(mode, "namespace mode")? {
        Mode::Pod => Ok(NamespaceScope::Pod),
        Mode::Node => Ok(NamespaceScope::Node),
        other => Err(Status::invalid_argument(format!(
            "a {what} namespace cannot be {}",
            other.as_str_name()
        ))),
    }
}

fn user(options: api::UserNamespace) -> Result<Option<IdMappings>, Status> {
    match known(options.mode, "user namespace mode")? {
        Mode::Node if options.uids.is_empty() && options.gids.is_empty() => Ok(None),
        Mode::Node => Err(Status::invalid_argument(
            "mappings in the host's user namespace",
        )),
        Mode::Pod if options.uids.is_empty() || options.gids.is_empty() => Err(
            Status::invalid_argument("a user namespace without uid and gid mappings"),
        ),
        Mode::Pod => Ok(Some(mappings(&options.uids, &options.gids))),
        other => Err(Status::unimplemented(format!(
            "a user namespace that is {}",
            other.as_str_name()
        ))),
    }
}

pub(crate) fn mappings(uids: &[api::IdMapping], gids: &[api::IdMapping]) -> IdMappings {
    let maps = |from: &[api::IdMapping]| {
        let map = |m: &api::IdMapping| IdMap {
            container: m.container_id,
            host: m.host_id,
            length: m.length,
        };
        from.iter().map(map).collect()
    };
    IdMappings {
        uids: maps(uids),
        gids: maps(gids),
    }
}

pub(crate) fn id_mappings(maps: &[IdMap]) -> Vec<api::IdMapping> {
    let map = |m: &IdMap| api::IdMapping {
        host_id: m.host,
        container_id: m.container,
        length: m.length,
    };
    maps.iter().map(map).collect()
}

/// The pod's namespaces as they were asked for.
pub(crate) fn namespace_option(
    network: NamespaceScope,
    ipc: NamespaceScope,
    pid: &PidScope,
    user: Option<&IdMappings>,
) -> api::NamespaceOption {
    let scope = |scope| match scope {
        NamespaceScope::Pod => Mode::Pod.into(),
        NamespaceScope::Node => Mode::Node.into(),
    };
    let (pid, target_id) = match pid {
        PidScope::Pod => (Mode::Pod, String::new()),
        PidScope::Container => (Mode::Container, String::new()),
        PidScope::Node => (Mode::Node, String::new()),
        PidScope::Target(id) => (Mode::Target, id.clone()),
    };
    api::NamespaceOption {
        network: scope(network),
        ipc: scope(ipc),
        pid: pid.into(),
        target_id,
        userns_options: user.map(|maps| api::UserNamespace {
            mode: Mode::Pod.into(),
            uids: id_mappings(&maps.uids),
            gids: id_mappings(&maps.gids),
        }),
    }
}

/// A container's security context.
pub(crate) fn security(from: api::LinuxContainerSecurityContext) -> Result<PodSecurity, Status> {
    let id = |value: Option<api::Int64Value>, what| {
        value.map(|id| number::<u32>(id.value, what)).transpose()
    };
    let run_as_user = id(from.run_as_user, "run_as_user")?;
    let run_as_group = id(from.run_as_group, "run_as_group")?;
    let run_as_username = said(from.run_as_username);
    if run_as_group.is_some() && run_as_user.is_none() && run_as_username.is_none() {
        return Err(Status::invalid_argument("run_as_group without a user"));
    }
    let groups = from.supplemental_groups.into_iter();
    let capabilities = from.capabilities.unwrap_or_default();
    let policy: api::SupplementalGroupsPolicy =
        known(from.supplemental_groups_policy, "groups policy")?;
    Ok(PodSecurity {
        privileged: from.privileged,
        read_only_rootfs: from.readonly_rootfs,
        no_new_privileges: from.no_new_privs,
        run_as_user,
        run_as_username,
        run_as_group,
        supplemental_groups: groups
            .map(|gid| number(gid, "supplemental group"))
            .collect::<Result<_, _>>()?,
        groups_policy: match policy {
            api::SupplementalGroupsPolicy::Merge => GroupsPolicy::Merge,
            api::SupplementalGroupsPolicy::Strict => GroupsPolicy::Strict,
        },
        cap_add: capabilities.add_capabilities,
        cap_drop: capabilities.drop_capabilities,
        ambient: capabilities.add_ambient_capabilities,
        masked_paths: from.masked_paths,
        readonly_paths: from.readonly_paths,
        seccomp: seccomp(from.seccomp, &from.seccomp_profile_path)?,
        apparmor: apparmor(from.apparmor, &from.apparmor_profile)?,
        selinux: from.selinux_options.map(selinux),
        pid: namespaces(from.namespace_options)?.pid,
    })
}

pub(crate) fn selinux(from: api::SeLinuxOption) -> SelinuxOptions {
    SelinuxOptions {
        user: from.user,
        role: from.role,
        r#type: from.r#type,
        level: from.level,
        ..SelinuxOptions::default()
    }
}

/// Without a word, as Kubernetes has it: unconfined.
fn seccomp(profile: Option<api::SecurityProfile>, old: &str) -> Result<PodSeccomp, Status> {
    let Some(profile) = profile else {
        return match old {
            "" | "unconfined" => Ok(PodSeccomp::Unconfined),
            "runtime/default" | "docker/default" => Ok(PodSeccomp::RuntimeDefault),
            other => match other.strip_prefix("localhost/") {
                Some(path) => localhost(path).map(|path| PodSeccomp::Localhost(path.into())),
                None => Err(no_profile("seccomp", other)),
            },
        };
    };
    Ok(match known(profile.profile_type, "seccomp profile")? {
        ProfileType::RuntimeDefault => PodSeccomp::RuntimeDefault,
        ProfileType::Unconfined => PodSeccomp::Unconfined,
        ProfileType::Localhost => PodSeccomp::Localhost(localhost(&profile.localhost_ref)?.into()),
    })
}

fn apparmor(profile: Option<api::SecurityProfile>, old: &str) -> Result<PodApparmor, Status> {
    let Some(profile) = profile else {
        return match old {
            "" => Ok(PodApparmor::Unnamed),
            "runtime/default" => Ok(PodApparmor::RuntimeDefault),
            "unconfined" => Ok(PodApparmor::Unconfined),
            other => match other.strip_prefix("localhost/") {
                Some(name) => Ok(PodApparmor::Localhost(localhost(name)?)),
                None => Err(no_profile("AppArmor", other)),
            },
        };
    };
    Ok(match known(profile.profile_type, "AppArmor profile")? {
        ProfileType::RuntimeDefault => PodApparmor::RuntimeDefault,
        ProfileType::Unconfined => PodApparmor::Unconfined,
        ProfileType::Localhost => PodApparmor::Localhost(localhost(&profile.localhost_ref)?),
    })
}

fn localhost(reference: &str) -> Result<String, Status> {
    let name = reference.strip_prefix("localhost/").unwrap_or(reference);
    match name.is_empty() {
        true => Err(Status::invalid_argument("a local profile without a name")),
        false => Ok(name.to_owned()),
    }
}

fn no_profile(kind: &str, name: &str) -> Status {
    Status::invalid_argument(format!("{name:?} is no {kind} profile"))
}
