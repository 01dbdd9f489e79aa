//! From what the user asked for and what the image says to a container's record.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rctr_registry_client::{Platform, parse_reference};
use rctr_store::{NewContainer, Tx};

use crate::events::{self, ContainerEvent};
use crate::image::Image;
use crate::model::{Connection, Container, ResolvedProcess, State};
use crate::mounts::resolve_mounts;
use crate::options::{NetworkMode, RunOptions};
use crate::pod::{self, PodMember};
use crate::pull::parse_platform;
use crate::{Engine, Error, Result, isolation, names, quota, resolve, selinux, spec, time};

/// What `create` gives.
#[derive(Debug, Clone)]
pub struct Created {
    /// The container's id.
    pub id: String,
    /// One line each, for the user.
    pub warnings: Vec<String>,
}

/// A container's record before it has an id.
pub(crate) struct NewRecord {
    pub(crate) options: RunOptions,
    pub(crate) image: Image,
    pub(crate) process: ResolvedProcess,
    pub(crate) warnings: Vec<String>,
    /// The cgroup that its own is in, if it is not the configured one.
    pub(crate) cgroup_parent: Option<String>,
    pub(crate) pod: Option<PodMember>,
    /// The networks it is connected to.
    pub(crate) connections: Vec<Connection>,
}

impl Engine {
    /// Makes a container without starting it.
    ///
    /// # Errors
    /// [`Error::ImageMissing`] if the image must be pulled first; [`Error::NameTaken`]; anything wrong with the flags.
    pub fn create(&self, options: &RunOptions) -> Result<Created> {
        let (container, warnings) = self.insert(options)?;
        Ok(Created {
            id: container.id,
            warnings,
        })
    }

    /// Writes the record of a new container and makes its directories.
    pub(crate) fn insert(&self, options: &RunOptions) -> Result<(Container, Vec<String>)> {
        let mut warnings = options.validate()?;
        self.check_runtime(options)?;
        let image = self.image_for_run(options, &mut warnings)?;
        let process = resolve::resolve(&image.config, image.raw_config(), options)?;
        let mut options = options.clone();
        if let NetworkMode::Container(other) = &mut options.network {
            // By id from now on, as Docker keeps it: names move.
            *other = self.find(other)?;
        }
        self.settle_isolation(&mut options)?;
        let connections = self.connections_of(&options)?;
        pod::check_devices(&options.devices.cdi_names())?;
        self.insert_record(NewRecord {
            image,
            process,
            warnings,
            cgroup_parent: options.cgroup_parent.clone(),
            options,
            pod: None,
            connections,
        })
    }

    /// Writes the record once all is resolved.
    pub(crate) fn insert_record(&self, new: NewRecord) -> Result<(Container, Vec<String>)> {
        let NewRecord {
            options,
            image,
            process,
            warnings,
            cgroup_parent,
            pod,
            connections,
        } = new;
        let id = names::new_id();
        let parent = cgroup_parent.or_else(|| self.config.settings.cgroup.parent.clone());
        let mut container = Container {
            cgroup_path: spec::cgroup_path(self.cgroup_driver(), parent.as_deref(), &id),
            cgroup_driver: self.cgroup_driver_name().into(),
            name: String::new(),
            image_id: image.id.clone(),
            image_name: options.image.clone(),
            manifest_digest: Some(image.manifest_digest.clone()),
            platform: image.platform.to_string(),
            layers: image.layers.iter().map(ToString::to_string).collect(),
            options,
            process,
            mounts: Vec::new(),
            created: time::now(),
            state: State::created(),
            networks: Vec::new(),
            connections: Some(connections),
            restart_count: 0,
            restarts: Default::default(),
            pod,
            selinux: None,
            id,
        };
        if container.pod.is_none() {
            self.settle_log(&mut container)?;
        }
        let mounts = self.prepare_mounts(&container.options)?;
        self.store.require_space()?;
        let inserted = self.store.write(|tx| {
            if let Some(member) = &container.pod {
                pod::must_be_ready(tx, &member.pod)?;
            }
            // Within the transaction: a garbage collection takes a directory without a record for a leftover.
            let dir = self
                .store
                .create_container_dir(&container.id, image.layers.last())?;
            if let Some(bytes) = container.options.storage_size {
                quota::limit(&dir, bytes)?;
            }
            selinux::settle(self.facts(), &mut container, tx)?;
            if let Some(labels) = &container.selinux {
                selinux::label_upper(&dir.join("upper"), labels)?;
            }
            if container.pod.is_none() {
                mark(&dir.join("upper"))?;
            }
            isolation::choose_ids(tx, &mut container.options)?;
            container.mounts = resolve_mounts(tx, &container, mounts)?;
            for connection in container.connections().iter() {
                self.reserve_static(tx, &container.id, connection)?;
            }
            name_and_insert(tx, &mut container, &image)?;
            for volume in container
                .mounts
                .iter()
                .filter_map(|mount| mount.volume.as_deref())
            {
                tx.use_volume(volume, &container.id)?;
            }
            Ok(events::container(tx, &container, ContainerEvent::Create)?)
        });
        if let Err(e) = inserted {
            self.store.remove_container_dir(&container.id)?;
            return Err(e);
        }
        Ok((container, warnings))
    }

    /// The image, if it is here and of the platform that was asked for.
    fn image_for_run(&self, options: &RunOptions, warnings: &mut Vec<String>) -> Result<Image> {
        let missing = || Error::ImageMissing {
            reference: match parse_reference(&options.image) {
                Ok(reference) => rctr_registry_client::familiar_name(&reference),
                Err(_) => options.image.clone(),
            },
        };
        let image = match self.image(&options.image) {
            Err(Error::NoSuchImage { .. }) => return Err(missing()),
            other => other?,
        };
        let host = Platform::host();
        match &options.platform {
            Some(wanted) if !parse_platform(wanted)?.matches(&image.platform) => {
                return Err(missing());
            }
            None if !host.matches(&image.platform) => warnings.push(format!(
                "The requested image's platform ({}) does not match the detected host platform ({host}) and no specific platform was requested",
                image.platform
            )),
            _ => {}
        }
        Ok(image)
    }
}

/// Leaves the file by which programs learn that they are in a container of Docker's.
fn mark(upper: &Path) -> Result<()> {
    let path = upper.join(".dockerenv");
    let mut options = OpenOptions::new();
    let made = options.write(true).create(true).mode(0o755).open(&path);
    made.map(drop).map_err(Error::file("create", &path))
}

fn name_and_insert(tx: &Tx<'_>, container: &mut Container, image: &Image) -> Result<()> {
    if let Some(name) = &container.options.name {
        container.name.clone_from(name);
        return insert_record(tx, container, image);
    }
    let mut attempt = 0;
    loop {
        container.name = names::random_name(attempt);
        match insert_record(tx, container, image) {
            Err(Error::NameTaken { .. }) => attempt += 1,
            other => return other,
        }
    }
}

fn insert_record(tx: &Tx<'_>, container: &Container, image: &Image) -> Result<()> {
    let new = NewContainer {
        id: &container.id,
        name: &container.name,
        image: Some(&image.digest),
        layer: image.layers.last(),
    };
    match tx.insert_container(new, container) {
        Err(rctr_store::Error::NameTaken { name, by }) => Err(Error::NameTaken { name, by }),
        other => Ok(other?),
    }
}
