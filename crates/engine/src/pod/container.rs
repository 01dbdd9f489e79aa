//! Containers of pods: from what a kubelet asks for to a container's record, and what only they are asked for.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use rctr_runtime::apparmor::DEFAULT_PROFILE;
use rctr_runtime::cgroup::Cgroup;
use rctr_runtime::{MonitorClient, WaitHandle};
use rctr_store::Tx;

use super::{
    GroupsPolicy, MemberIdentity, NamespaceScope, PidScope, Pod, PodApparmor, PodContainerOptions,
    PodMember, PodMountSource, PodSeccomp, PodSecurity, PodState, cdi, profiles,
};
use crate::create::{Created, NewRecord};
use crate::model::Container;
use crate::options::{NetworkMode, Resources, RunOptions, SeccompChoice, SecurityOptions};
use crate::rootfs_view::RootfsView;
use crate::spec::{InPod, InPodMount, caps};
use crate::user::{self, Identity};
use crate::{Engine, Error, Result, lifecycle, resolve, settle, spec, update};

impl Engine {
    /// Makes a container in a pod without starting it.
    ///
    /// # Errors
    /// [`Error::NoSuchPod`], [`Error::PodNotReady`], [`Error::NoSuchImage`], [`Error::NameTaken`]; anything wrong with
    /// the options.
    pub fn create_in_pod(&self, pod: &str, options: &PodContainerOptions) -> Result<Created> {
        let pod = self.pod(pod)?;
        if pod.state != PodState::Ready {
            return Err(Error::PodNotReady { id: pod.id });
        }
        profiles::check(&options.security, self.facts())?;
        self.store.require_space()?;
        let image = self.image(&options.image)?;
        let run = run_options(&pod, options)?;
        let process = resolve::resolve(&image.config, image.raw_config(), &run)?;
        let layers = self.lower_dirs(&image.layers)?;
        let view = RootfsView::new(None, layers.into_iter().map(|layer| layer.path).collect());
        let identity = identity(&view, options, &process.user)?;
        let image_volumes = self.check_mounts(&pod, options)?;
        let member = PodMember {
            pod: pod.id.clone(),
            log: log_path(&pod, options)?,
            options: options.clone(),
            identity: Some(MemberIdentity {
                uid: identity.uid,
                gid: identity.gid,
                groups: identity.groups,
            }),
            image_volumes,
        };
        let (container, warnings) = self.insert_record(NewRecord {
            options: run,
            image,
            process,
            warnings: Vec::new(),
            cgroup_parent: pod.cgroup,
            pod: Some(member),
            connections: Vec::new(),
        })?;
        Ok(Created {
            id: container.id,
            warnings,
        })
    }

    /// Images that are mounted, what is asked of them, and devices that are named must be there. Gives the ids of the
    /// images under the names they were asked for by.
    fn check_mounts(
        &self,
        pod: &Pod,
        options: &PodContainerOptions,
    ) -> Result<BTreeMap<String, String>> {
        cdi::edits(&options.cdi_devices, &cdi::dirs())?;
        let mut images = BTreeMap::new();
        for mount in &options.mounts {
            if !mount.target.starts_with('/') {
                return Err(Error::PodOption {
                    what: format!(
                        "mount {:?}: the path in the container is not absolute",
                        mount.target
                    ),
                });
            }
            let is_root = |part: &str| matches!(part, "" | "." | "..");
            if mount.target.split('/').all(is_root) {
                return Err(Error::PodOption {
                    what: format!(
                        "mount {:?}: nothing is mounted over the container's root",
                        mount.target
                    ),
                });
            }
            if let PodMountSource::Host(path) = &mount.source
                && mount.relabel
                && self.facts().selinux
                && !rctr_runtime::selinux::may_relabel(path)
            {
                return Err(Error::PodOption {
                    what: format!(
                        "mount {:?}: {} cannot be relabelled: it is the host's",
                        mount.target,
                        path.display()
                    ),
                });
            }
            if let PodMountSource::Image { image, sub_path } = &mount.source {
                images.insert(image.clone(), self.image(image)?.id);
                if sub_path.is_some() {
                    self.image_volume(pod, image, sub_path.as_deref(), mount.mappings.as_ref())?;
                }
            }
        }
        Ok(images)
    }

    /// The containers of one pod, newest first, their live state filled in.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn containers_of(&self, pod: &str) -> Result<Vec<Container>> {
        let mut containers = Vec::new();
        for record in self.store.containers_with::<Container>(pod)? {
            let member = record.doc.pod.as_ref();
            if member.is_some_and(|member| member.pod == pod) {
                containers.extend(self.refresh(record.doc)?);
            }
        }
        Ok(containers)
    }

    /// The OCI configuration that a container was last started with, if it was.
    pub fn spec_of(&self, container: &Container) -> Option<serde_json::Value> {
        let dir = self.store.container_dir(&container.id).ok()?;
        serde_json::from_slice(&std::fs::read(dir.join("config.json")).ok()?).ok()
    }

    /// Changes what a container may use, at once if it runs. What is not said stays as it is.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; a limit that cannot be set, and then nothing is recorded.
    pub fn update_resources(&self, name: &str, wanted: &Resources) -> Result<()> {
        let id = self.find(name)?;
        let lock = self.lock(&id)?;
        let mut container = self.refresh_locked(self.load(&id)?, &lock)?;
        update::merge(&mut container.options.resources, wanted);
        if container.state.status.is_live() {
            let mut warnings = Vec::new();
            let limits = spec::limits(&container, self.facts(), &mut warnings)?;
            let driver = settle::driver_of(&container);
            let cgroup = Cgroup::open(driver, Path::new(&container.cgroup_path))?;
            warnings.extend(cgroup.update(&limits)?);
            super::lifecycle::tell(&id, &warnings);
        }
        if let Some(member) = &mut container.pod {
            member.options.resources = container.options.resources.clone();
        }
        self.store.write(|tx| lifecycle::save(tx, &container))
    }

    /// Lets a running container's output go to a new file, after the old one was moved away.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; the file cannot be made.
    pub fn reopen_log(&self, name: &str) -> Result<()> {
        let container = self.running(name)?;
        Ok(MonitorClient::connect(&self.state_dir(&container.id))?.reopen_log()?)
    }

    /// Something to wait on until a container has ended; `None` if it does not run.
    ///
    /// # Errors
    /// The monitor does not answer.
    pub fn end_of(&self, id: &str) -> Result<Option<WaitHandle>> {
        match MonitorClient::connect(&self.state_dir(id)).and_then(MonitorClient::start_wait) {
            Err(rctr_runtime::Error::NotRunning { .. } | rctr_runtime::Error::MonitorLost) => {
                Ok(None)
            }
            other => Ok(Some(other?)),
        }
    }

    /// A container's pod with everything found that a configuration names.
    pub(crate) fn in_pod(&self, pod: &Pod, member: &PodMember) -> Result<InPod> {
        let options = &member.options;
        let mut mounts = Vec::new();
        for mount in &options.mounts {
            let mut mappings = mount.mappings.clone();
            let (source, read_only) = match &mount.source {
                PodMountSource::Host(path) => (host_source(path)?, mount.read_only),
                // It has been mounted with them.
                PodMountSource::Image { image, sub_path } => {
                    let owners = mappings.take();
                    let path = self.image_volume(pod, image, sub_path.as_deref(), owners.as_ref());
                    (path?, true)
                }
            };
            mounts.push(InPodMount {
                target: mount.target.clone(),
                source,
                read_only,
                recursive_read_only: mount.recursive_read_only,
                propagation: mount.propagation,
                mappings,
            });
        }
        Ok(InPod {
            pod: pod.clone(),
            options: options.clone(),
            pid: self.pid_namespace(pod, options)?,
            mounts,
        })
    }

    /// Path of the PID namespace that a container joins: `Some(None)` is the host's, `None` one of its own.
    pub(crate) fn pid_namespace(
        &self,
        pod: &Pod,
        options: &PodContainerOptions,
    ) -> Result<Option<Option<PathBuf>>> {
        Ok(match &options.security.pid {
            PidScope::Container => None,
            PidScope::Node => Some(None),
            PidScope::Pod => match self.pause_pid(&pod.id) {
                Some(pid) => Some(Some(pid_path(pid))),
                None => return Err(Error::PodNotReady { id: pod.id.clone() }),
            },
            PidScope::Target(target) => {
                let other = self.running(target)?;
                if other.pod.as_ref().is_none_or(|member| member.pod != pod.id) {
                    return Err(Error::PodOption {
                        what: format!("the processes of {target}, which is in another pod"),
                    });
                }
                Some(Some(pid_path(other.state.pid)))
            }
        })
    }
}

/// A pod that is being stopped takes no containers any more.
pub(crate) fn must_be_ready(tx: &Tx<'_>, pod: &str) -> Result<()> {
    let found = tx.pods::<Pod>(pod)?;
    match found.iter().any(|pod| pod.state == PodState::Ready) {
        true => Ok(()),
        false => Err(Error::PodNotReady { id: pod.into() }),
    }
}

/// Where a mount's source is, links resolved as on the host; a directory is made if nothing is there.
fn host_source(path: &Path) -> Result<PathBuf> {
    match path.canonicalize() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path).map_err(Error::file("create", path))?;
            path.canonicalize().map_err(Error::file("find", path))
        }
        other => other.map_err(Error::file("find", path)),
    }
}

fn pid_path(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/pid"))
}

/// The same wishes in the words of `rctr run`, for all that both have.
fn run_options(pod: &Pod, options: &PodContainerOptions) -> Result<RunOptions> {
    let security = &options.security;
    let of = &pod.options;
    let name = format!(
        "k8s_{}_{}_{}_{}_{}",
        options.name, of.name, of.namespace, of.uid, options.attempt
    );
    let env = options.env.iter().map(|(name, value)| {
        rctr_runtime::variable(name, value).ok_or_else(|| Error::PodOption {
            what: format!("environment variable {name:?}: a NUL byte, or `=` in its name"),
        })
    });
    Ok(RunOptions {
        image: options.image_name.clone(),
        entrypoint: (!options.command.is_empty()).then(|| options.command.clone()),
        cmd: options.args.clone(),
        name: Some(name),
        tty: options.tty,
        interactive: options.stdin,
        detach: true,
        env: env.collect::<Result<_>>()?,
        working_dir: options.working_dir.clone(),
        user: user_word(options)?,
        network: match of.network {
            NamespaceScope::Pod => NetworkMode::None,
            NamespaceScope::Node => NetworkMode::Host,
        },
        resources: options.resources.clone(),
        cap_add: added(security),
        cap_drop: security.cap_drop.clone(),
        privileged: security.privileged,
        security: SecurityOptions {
            no_new_privileges: security.no_new_privileges,
            seccomp: seccomp(&security.seccomp)?,
            apparmor: match &security.apparmor {
                PodApparmor::Unnamed => None,
                PodApparmor::RuntimeDefault => Some(DEFAULT_PROFILE.into()),
                PodApparmor::Unconfined => Some("unconfined".into()),
                PodApparmor::Localhost(name) => Some(name.clone()),
            },
            ..Default::default()
        },
        read_only: security.read_only_rootfs,
        labels: options.labels.clone(),
        stop_signal: options.stop_signal.clone(),
        ..Default::default()
    })
}

/// What is dropped is not added: other runtimes of pods add first and drop then, Docker does it the other way round.
fn added(security: &PodSecurity) -> Vec<String> {
    let parsed = |name: &String| caps::parse(name).ok();
    let dropped: Vec<_> = security.cap_drop.iter().filter_map(parsed).collect();
    let stays = |name: &&String| parsed(name).is_none_or(|named| !dropped.contains(&named));
    security.cap_add.iter().filter(stays).cloned().collect()
}

/// `user[:group]` instead of the image's, if there is to be another.
fn user_word(options: &PodContainerOptions) -> Result<Option<String>> {
    let refuse = |what: &str| Err(Error::PodOption { what: what.into() });
    let security = &options.security;
    let user = match (security.run_as_user, &security.run_as_username) {
        (Some(_), Some(_)) => return refuse("a user id and a user name, where one is taken"),
        (Some(uid), None) => uid.to_string(),
        (None, Some(name)) if name.contains(':') => {
            return refuse("the user name contains a colon");
        }
        (None, Some(name)) => name.clone(),
        (None, None) if security.run_as_group.is_some() => {
            return refuse(
                "a group without a user: run_as_group needs run_as_user or run_as_username",
            );
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(match security.run_as_group {
        Some(gid) => format!("{user}:{gid}"),
        None => user,
    }))
}

fn seccomp(profile: &PodSeccomp) -> Result<SeccompChoice> {
    Ok(match profile {
        PodSeccomp::RuntimeDefault => SeccompChoice::Default,
        PodSeccomp::Unconfined => SeccompChoice::Unconfined,
        PodSeccomp::Localhost(path) => {
            let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
            SeccompChoice::Profile(text)
        }
    })
}

/// Whom a container's processes run as. Unlike with Docker, a primary group that is named leaves the groups that the
/// image gives its user, unless only those that are named shall count.
///
/// # Errors
/// [`user::UserError`].
pub(crate) fn identity(
    view: &RootfsView,
    options: &PodContainerOptions,
    word: &str,
) -> Result<Identity, user::UserError> {
    let security = &options.security;
    // The group is looked at by itself; a user's own groups are found only without one.
    let (name, group) = match word.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (word, None),
    };
    let mut identity = user::resolve(view, name, &[])?;
    if let Some(group) = group {
        // Another primary group takes the place of the user's own, which for an unknown user is root's.
        identity.groups.retain(|gid| *gid != identity.gid);
        identity.gid = user::resolve(view, &format!("{name}:{group}"), &[])?.gid;
    }
    let of_image = match security.groups_policy {
        GroupsPolicy::Merge => std::mem::take(&mut identity.groups),
        GroupsPolicy::Strict => Vec::new(),
    };
    identity.groups = vec![identity.gid];
    for gid in of_image
        .into_iter()
        .chain(security.supplemental_groups.iter().copied())
    {
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    Ok(identity)
}

/// The log's place, which is below the pod's directory.
fn log_path(pod: &Pod, options: &PodContainerOptions) -> Result<Option<PathBuf>> {
    let (Some(dir), Some(path)) = (&pod.options.log_directory, &options.log_path) else {
        return Ok(None);
    };
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    match path.components().all(plain) {
        true => Ok(Some(dir.join(path))),
        false => Err(Error::PodOption {
            what: format!(
                "log path {}: it must stay below the pod's log directory",
                path.display()
            ),
        }),
    }
}
