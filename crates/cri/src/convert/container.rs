//! Containers.

use std::path::Path;

use rctr_engine::model::{Container, Status as State, ZERO_TIME};
use rctr_engine::pod::{PodContainerOptions, PodDevice, PodMount, PodMountSource, Propagation};
use tonic::Status;

use super::{known, required, resources, said, security, signal, sorted, time, unsorted};
use crate::api;
use crate::api::ContainerState;

/// What a container is to be.
pub(crate) fn options(config: api::ContainerConfig) -> Result<PodContainerOptions, Status> {
    let metadata = required(config.metadata, "metadata of the container")?;
    if metadata.name.is_empty() {
        return Err(Status::invalid_argument("a container has a name"));
    }
    let image = required(config.image, "the container's image")?;
    if image.image.is_empty() {
        return Err(Status::invalid_argument(
            "the container's image is not named",
        ));
    }
    let linux = config.linux.unwrap_or_default();
    let limits = linux.resources.unwrap_or_default();
    let context = linux.security_context.unwrap_or_default();
    let envs = config.envs.into_iter();
    let mounts = config.mounts.into_iter();
    let devices = config.devices.into_iter();
    Ok(PodContainerOptions {
        name: metadata.name,
        attempt: metadata.attempt,
        image_name: said(image.user_specified_image).unwrap_or_else(|| image.image.clone()),
        image: image.image,
        command: config.command,
        args: config.args,
        working_dir: said(config.working_dir),
        env: envs.map(|pair| (pair.key, pair.value)).collect(),
        mounts: mounts.map(mount).collect::<Result<_, _>>()?,
        devices: devices.map(device).collect::<Result<_, _>>()?,
        cdi_devices: config.cdi_devices.into_iter().map(|d| d.name).collect(),
        labels: sorted(config.labels),
        annotations: sorted(config.annotations),
        log_path: said(config.log_path).map(Into::into),
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        tty: config.tty,
        resources: resources::of_container(limits)?,
        security: security::security(context)?,
        stop_signal: signal::name(config.stop_signal)?,
    })
}

fn mount(from: api::Mount) -> Result<PodMount, Status> {
    let bad = |why: &str| Status::invalid_argument(format!("mount {}: {why}", from.container_path));
    let propagation = match known(from.propagation, "mount propagation")? {
        api::MountPropagation::PropagationPrivate => Propagation::Private,
        api::MountPropagation::PropagationHostToContainer => Propagation::HostToContainer,
        api::MountPropagation::PropagationBidirectional => Propagation::Bidirectional,
    };
    if from.recursive_read_only {
        if !from.readonly {
            return Err(bad("recursively read-only, but not read-only"));
        }
        if propagation != Propagation::Private {
            return Err(bad("recursively read-only mounts have private propagation"));
        }
    }
    let source = match from.image.filter(|image| !image.image.is_empty()) {
        Some(_) if !from.host_path.is_empty() => {
            return Err(bad("both a path of the host and an image"));
        }
        Some(_) if !from.readonly => {
            return Err(bad("an image is mounted read-only or not at all"));
        }
        Some(image) => PodMountSource::Image {
            image: image.image,
            sub_path: said(from.image_sub_path),
        },
        None if from.host_path.is_empty() => return Err(bad("no source")),
        None if !from.host_path.starts_with('/') => {
            return Err(bad("the path on the host is not absolute"));
        }
        None => PodMountSource::Host(from.host_path.into()),
    };
    let mapped = !from.uid_mappings.is_empty() || !from.gid_mappings.is_empty();
    Ok(PodMount {
        target: from.container_path,
        source,
        read_only: from.readonly,
        recursive_read_only: from.recursive_read_only,
        propagation,
        mappings: mapped.then(|| security::mappings(&from.uid_mappings, &from.gid_mappings)),
        relabel: from.selinux_relabel,
    })
}

fn device(from: api::Device) -> Result<PodDevice, Status> {
    if from.host_path.is_empty() {
        return Err(Status::invalid_argument("a device without a path"));
    }
    let inside = said(from.container_path).unwrap_or_else(|| from.host_path.clone());
    Ok(PodDevice {
        host: from.host_path.into(),
        container: inside.into(),
        permissions: said(from.permissions).unwrap_or_else(|| "rwm".into()),
    })
}

/// A container of a pod, with what the pod's member record says of it.
pub(crate) struct Member<'a> {
    container: &'a Container,
    options: &'a PodContainerOptions,
    pod: &'a str,
    log: Option<&'a Path>,
}

impl<'a> Member<'a> {
    /// `None` for a container that is in no pod.
    pub fn of(container: &'a Container) -> Option<Member<'a>> {
        let member = container.pod.as_ref()?;
        Some(Member {
            container,
            options: &member.options,
            pod: &member.pod,
            log: member.log.as_deref(),
        })
    }

    /// The id of its pod.
    pub fn pod(&self) -> &'a str {
        self.pod
    }

    /// What it was asked to be.
    pub fn options(&self) -> &'a PodContainerOptions {
        self.options
    }

    pub fn attributes(&self) -> api::ContainerAttributes {
        api::ContainerAttributes {
            id: self.container.id.clone(),
            metadata: Some(self.metadata()),
            labels: unsorted(&self.options.labels),
            annotations: unsorted(&self.options.annotations),
        }
    }

    fn metadata(&self) -> api::ContainerMetadata {
        api::ContainerMetadata {
            name: self.options.name.clone(),
            attempt: self.options.attempt,
        }
    }

    fn image(&self) -> api::ImageSpec {
        api::ImageSpec {
            image: self.options.image.clone(),
            user_specified_image: self.options.image_name.clone(),
            ..Default::default()
        }
    }

    /// A start that failed is an end: a kubelet shows its reason and tries again.
    pub fn state(&self) -> ContainerState {
        let state = &self.container.state;
        match state.status {
            State::Created if state.error.is_empty() => ContainerState::ContainerCreated,
            State::Created | State::Exited | State::Dead | State::Removing => {
                ContainerState::ContainerExited
            }
            State::Running | State::Paused | State::Restarting => ContainerState::ContainerRunning,
        }
    }

    /// An entry of a list.
    pub fn item(&self) -> api::Container {
        api::Container {
            id: self.container.id.clone(),
            pod_sandbox_id: self.pod.to_owned(),
            metadata: Some(self.metadata()),
            image: Some(self.image()),
            image_ref: self.container.image_id.clone(),
            image_id: self.container.image_id.clone(),
            state: self.state().into(),
            created_at: time::nanos(&self.container.created),
            labels: unsorted(&self.options.labels),
            annotations: unsorted(&self.options.annotations),
        }
    }

    /// All there is to say of it.
    pub fn status(&self) -> api::ContainerStatus {
        let container = self.container;
        let ended = self.state() == ContainerState::ContainerExited;
        let created_at = time::nanos(&container.created);
        let finished_at = match ended {
            true if container.state.finished_at == ZERO_TIME => created_at,
            true => time::nanos(&container.state.finished_at),
            false => 0,
        };
        let (reason, message) = self.reason();
        api::ContainerStatus {
            id: container.id.clone(),
            metadata: Some(self.metadata()),
            state: self.state().into(),
            created_at,
            started_at: time::nanos(&container.state.started_at),
            finished_at,
            exit_code: if ended { container.state.exit_code } else { 0 },
            image: Some(api::ImageSpec {
                image: self.options.image_name.clone(),
                user_specified_image: self.options.image_name.clone(),
                ..Default::default()
            }),
            image_ref: container.image_id.clone(),
            image_id: container.image_id.clone(),
            reason,
            message,
            labels: unsorted(&self.options.labels),
            annotations: unsorted(&self.options.annotations),
            mounts: self.mounts(),
            log_path: self
                .log
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
            resources: Some(api::ContainerResources {
                linux: Some(resources::message(&self.options.resources)),
            }),
            user: self.user(),
            stop_signal: signal::value(&container.process.stop_signal).into(),
        }
    }

    /// Why it ended, in one word a kubelet knows, and in a sentence where there is one.
    fn reason(&self) -> (String, String) {
        let state = &self.container.state;
        let reason = match self.state() {
            ContainerState::ContainerExited if state.started_at == ZERO_TIME => "StartError",
            ContainerState::ContainerExited if state.oom_killed => "OOMKilled",
            ContainerState::ContainerExited if state.unseen_end => "Unknown",
            ContainerState::ContainerExited if state.exit_code == 0 => "Completed",
            ContainerState::ContainerExited => "Error",
            _ => "",
        };
        (reason.into(), state.error.clone())
    }

    /// Its mounts; those of images with the id of what is mounted.
    fn mounts(&self) -> Vec<api::Mount> {
        let ids = self.container.pod.as_ref().map(|pod| &pod.image_volumes);
        let mut mounts: Vec<_> = self.options.mounts.iter().map(mount_status).collect();
        for image in mounts.iter_mut().filter_map(|mount| mount.image.as_mut()) {
            let id = ids.and_then(|ids| ids.get(&image.image)).cloned();
            image.image_ref = id.unwrap_or_default();
        }
        mounts
    }

    /// Whom its first process runs as.
    fn user(&self) -> Option<api::ContainerUser> {
        let identity = self.container.pod.as_ref()?.identity.as_ref()?;
        Some(api::ContainerUser {
            linux: Some(api::LinuxContainerUser {
                uid: identity.uid.into(),
                gid: identity.gid.into(),
                supplemental_groups: identity.groups.iter().map(|gid| (*gid).into()).collect(),
            }),
        })
    }
}

fn mount_status(mount: &PodMount) -> api::Mount {
    let propagation = match mount.propagation {
        Propagation::Private => api::MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => api::MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => api::MountPropagation::PropagationBidirectional,
    };
    let (host_path, image, image_sub_path) = match &mount.source {
        PodMountSource::Host(path) => (path.to_string_lossy().into_owned(), None, None),
        PodMountSource::Image { image, sub_path } => {
            (String::new(), Some(image.clone()), sub_path.clone())
        }
    };
    let mappings = mount.mappings.as_ref();
    let ids = |maps: Option<&Vec<_>>| maps.map(|m| security::id_mappings(m)).unwrap_or_default();
    api::Mount {
        container_path: mount.target.clone(),
        host_path,
        readonly: mount.read_only,
        recursive_read_only: mount.recursive_read_only,
        propagation: propagation.into(),
        uid_mappings: ids(mappings.map(|m| &m.uids)),
        gid_mappings: ids(mappings.map(|m| &m.gids)),
        image: image.map(|image| api::ImageSpec {
            image,
            ..Default::default()
        }),
        image_sub_path: image_sub_path.unwrap_or_default(),
        selinux_relabel: mount.relabel,
    }
}

/// What an entry of a list must be.
pub(crate) struct Filter(Option<api::ContainerFilter>);

impl Filter {
    pub fn new(filter: Option<api::ContainerFilter>) -> Filter {
        Filter(filter)
    }

    pub fn takes(&self, member: &Member<'_>) -> bool {
        let Some(filter) = &self.0 else { return true };
        let wanted = filter.state.as_ref().map(|value| value.state);
        member.container.id.starts_with(&filter.id)
            && member.pod.starts_with(&filter.pod_sandbox_id)
            && wanted.is_none_or(|wanted| wanted == i32::from(member.state()))
            && super::selects(&filter.label_selector, &member.options.labels)
    }
}
