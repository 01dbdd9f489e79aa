//! What a container mounts: from what was asked for to what there is, and to descriptors when it starts.
//!
//! A bind and a plain volume are paths. Everything else is opened by whoever starts the container, as mounts attached
//! nowhere, which the monitor gets: the filesystem of a volume with options, images, and places below a volume, which
//! are found beneath a descriptor and pinned. Nothing of it is seen on the host, or left when the last process ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rctr_runtime::namespaces::IdMappings;
use rctr_runtime::{CopyUp, LowerDir, Source, open_source};
use rctr_store::{NewVolume, Tx, Volume};

use crate::events::{self, VolumeEvent};
use crate::model::{Container, ResolvedMount, ZERO_TIME};
use crate::options::{
    MountKind, MountSpec, Relabel, RunOptions, check_volume_driver, check_volume_options,
};
use crate::{Engine, Error, Result, names};

/// Filesystems that are new each time they are mounted: containers at the same time share one.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// What was found out about mounts before the transaction that makes the container.
pub(crate) struct Prepared {
    /// Those of other containers.
    inherited: Vec<ResolvedMount>,
    /// Ids of the images to be mounted, by what was asked for.
    images: BTreeMap<String, String>,
}

impl Engine {
    /// Looks up other containers and images that mounts are of.
    pub(crate) fn prepare_mounts(&self, options: &RunOptions) -> Result<Prepared> {
        let mut inherited: Vec<ResolvedMount> = Vec::new();
        for from in &options.volumes_from {
            for mut mount in self.load(&self.find(&from.container)?)?.mounts {
                if mount.spec.kind == MountKind::Tmpfs {
                    continue;
                }
                mount.spec.read_only |= from.read_only;
                mount.spec.copy = false;
                // That is what the other one's flag said.
                mount.spec.mode.clear();
                mount.spec.relabel = relabel_inherited(&mount);
                inherited.retain(|other| !same_path(&other.spec.target, &mount.spec.target));
                inherited.push(mount);
            }
        }
        let covered = |mount: &ResolvedMount| {
            let mut flags = options.mounts.iter();
            flags.any(|flag| same_path(&flag.target, &mount.spec.target))
        };
        inherited.retain(|mount| !covered(mount));
        if let Some(driver) = &options.volume_driver {
            check_volume_driver(driver)?;
        }
        let mut images = BTreeMap::new();
        for mount in &options.mounts {
            if let (MountKind::Image, Some(name)) = (mount.kind, &mount.source) {
                images.insert(name.clone(), self.image(name)?.id);
            }
        }
        Ok(Prepared { inherited, images })
    }

    /// Opens what the monitor cannot take from a path; images with the owners that they have in a user namespace.
    pub(crate) fn open_mounts(
        &self,
        container: &Container,
        owners: Option<&IdMappings>,
    ) -> Result<OpenedMounts> {
        let mut opened = OpenedMounts::default();
        let mut volumes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, mount) in container.mounts.iter().enumerate() {
            match (&mount.volume, mount.spec.kind) {
                (Some(name), _) => volumes.entry(name).or_default().push(index),
                (None, MountKind::Image) => opened
                    .mounts
                    .push(self.open_image(container, index, owners)?),
                _ => {}
            }
        }
        for (name, indices) in volumes {
            self.open_volume(container, name, &indices, &mut opened)?;
        }
        Ok(opened)
    }

    /// All mounts of one volume in a container: they show the same.
    fn open_volume(
        &self,
        container: &Container,
        name: &str,
        indices: &[usize],
        opened: &mut OpenedMounts,
    ) -> Result<()> {
        let spec = |index: &usize| &container.mounts[*index].spec;
        let Some(volume) = self.store.volume(name)? else {
            return Ok(());
        };
        let plain = volume.options.is_empty();
        let wanted: Vec<usize> = indices
            .iter()
            .copied()
            .filter(|index| !plain || spec(index).subpath.is_some())
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        // Filled from the image through a mount of its own: that of the container may be read-only.
        let filled = wanted
            .iter()
            .copied()
            .filter(|index| fills(container, *index));
        let filled: Vec<usize> = filled.collect();
        let mut places: Vec<Option<&Path>> = wanted
            .iter()
            .map(|index| spec(index).subpath.as_deref().map(Path::new))
            .collect();
        places.extend(filled.iter().map(|_| None));
        let mut fds = match plain {
            true => open_source(Source::Directory(&volume.path), &places)?,
            false => self.open_filesystem(container, &volume, &places, opened)?,
        }
        .into_iter();
        opened.mounts.extend(wanted.into_iter().zip(fds.by_ref()));
        opened.copies.extend(filled.into_iter().zip(fds));
        Ok(())
    }

    fn open_filesystem(
        &self,
        container: &Container,
        volume: &Volume,
        places: &[Option<&Path>],
        opened: &mut OpenedMounts,
    ) -> Result<Vec<OwnedFd>> {
        let local = LocalVolume::of(volume)?;
        if local.is_in_memory() {
            // Whoever else starts with it now waits, and then finds ours.
            opened.locks.push(lock(&volume.path)?);
            if let Some((pid, target)) = self.user_of_volume(&volume.name, &container.id)? {
                let shared = Source::Shared {
                    pid,
                    target: &target,
                };
                return Ok(open_source(shared, places)?);
            }
        }
        Ok(open_source(local.source(), places)?)
    }

    /// A running container that shows a whole volume, and where.
    fn user_of_volume(&self, volume: &str, but: &str) -> Result<Option<(i32, PathBuf)>> {
        for user in self.store.volume_users(volume)? {
            let Some(other) = self.record(&user)?.filter(|_| user != but) else {
                continue;
            };
            let shows = |mount: &&ResolvedMount| {
                mount.volume.as_deref() == Some(volume) && mount.spec.subpath.is_none()
            };
            let mount = other.mounts.iter().find(shows);
            if let (Some(mount), rctr_runtime::Status::Running { pid, .. }) =
                (mount, rctr_runtime::status(&self.state_dir(&user))?)
            {
                return Ok(Some((pid, PathBuf::from(&mount.spec.target))));
            }
        }
        Ok(None)
    }

    fn open_image(
        &self,
        container: &Container,
        index: usize,
        owners: Option<&IdMappings>,
    ) -> Result<(usize, OwnedFd)> {
        let mount = &container.mounts[index];
        let id = mount.source.to_string_lossy();
        let image = self.image(&id)?;
        let at = self.store.container_dir(&container.id)?.join("image");
        let mut lower = self.lower_dirs(&image.layers)?;
        // The kernel wants two.
        for name in ["one", "two"].into_iter().skip(lower.len()) {
            let path = at.join(name);
            fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
            lower.push(LowerDir { path, short: None });
        }
        fs::create_dir_all(&at).map_err(Error::file("create", &at))?;
        let place = mount.spec.subpath.as_deref().map(Path::new);
        let source = Source::Image {
            lower: &lower,
            at: &at,
            owners,
            label: self
                .labels_of(container)
                .map(|labels| labels.mount.as_str()),
        };
        let mut fds = open_source(source, &[place])?;
        Ok((index, fds.remove(0)))
    }

    /// The files of a volume, whatever it is made of.
    pub(crate) fn open_whole_volume(&self, volume: &Volume) -> Result<OwnedFd> {
        let mut fds = match volume.options.is_empty() {
            true => open_source(Source::Directory(&volume.path), &[None])?,
            false => {
                let local = LocalVolume::of(volume)?;
                let user = match local.is_in_memory() {
                    true => self.user_of_volume(&volume.name, "")?,
                    false => None,
                };
                match &user {
                    Some((pid, target)) => {
                        open_source(Source::Shared { pid: *pid, target }, &[None])?
                    }
                    None => open_source(local.source(), &[None])?,
                }
            }
        };
        Ok(fds.remove(0))
    }
}

/// Descriptors of mounts, until the container has them.
#[derive(Default)]
pub(crate) struct OpenedMounts {
    /// By the mount's number among the container's.
    pub(crate) mounts: Vec<(usize, OwnedFd)>,
    /// Further ones of volumes that are to be filled.
    copies: Vec<(usize, OwnedFd)>,
    locks: Vec<Flock<File>>,
}

impl OpenedMounts {
    /// The container with its sources where a monitor finds them; `path_of` hands a descriptor to it.
    pub(crate) fn show<'a>(
        &'a self,
        container: &Container,
        mut path_of: impl FnMut(&'a OwnedFd) -> PathBuf,
    ) -> (Container, Vec<CopyUp>) {
        let mut shown = container.clone();
        let mut copies: BTreeMap<usize, PathBuf> = BTreeMap::new();
        for (index, fd) in &self.mounts {
            shown.mounts[*index].source = path_of(fd);
        }
        for (index, fd) in &self.copies {
            // Opened without following links.
            copies.insert(*index, path_of(fd).join("."));
        }
        let copy_up = (0..container.mounts.len())
            .filter(|index| fills(container, *index))
            .map(|index| CopyUp {
                target: PathBuf::from(&container.mounts[index].spec.target),
                volume: copies
                    .remove(&index)
                    .unwrap_or_else(|| container.mounts[index].source.clone()),
            });
        let copy_up = copy_up.collect();
        (shown, copy_up)
    }
}

/// Whether the image fills an empty volume, once: before the first start.
fn fills(container: &Container, index: usize) -> bool {
    let mount = &container.mounts[index];
    mount.volume.is_some() && mount.spec.copy && container.state.started_at == ZERO_TIME
}

/// A volume with options.
struct LocalVolume<'a> {
    kind: &'a str,
    device: &'a str,
    options: Vec<String>,
    at: &'a Path,
}

impl<'a> LocalVolume<'a> {
    fn of(volume: &'a Volume) -> Result<Self> {
        let get = |name: &str| volume.options.get(name).map_or("", String::as_str);
        let words = get("o").split(',').filter(|word| !word.is_empty());
        let kind = get("type");
        let mut options = Vec::new();
        for word in words {
            options.push(match word.strip_prefix("addr=") {
                Some(host) if ["nfs", "nfs4", "cifs"].contains(&kind) => {
                    format!("addr={}", address(host)?)
                }
                _ => word.to_owned(),
            });
        }
        Ok(LocalVolume {
            kind,
            device: get("device"),
            options,
            at: &volume.path,
        })
    }

    fn is_in_memory(&self) -> bool {
        IN_MEMORY.contains(&self.kind)
            && !self
                .options
                .iter()
                .any(|word| word == "bind" || word == "rbind")
    }

    fn source(&self) -> Source<'_> {
        Source::Filesystem {
            kind: self.kind,
            device: self.device,
            options: &self.options,
            at: self.at,
        }
    }
}

/// The kernel wants numbers.
fn address(host: &str) -> Result<String> {
    if host.parse::<IpAddr>().is_ok() {
        return Ok(host.to_owned());
    }
    let failed = |source| Error::VolumeAddress {
        host: host.to_owned(),
        source,
    };
    let mut found = (host, 0).to_socket_addrs().map_err(failed)?;
    let none = || failed(std::io::ErrorKind::NotFound.into());
    Ok(found.next().ok_or_else(none)?.ip().to_string())
}

fn lock(data: &Path) -> Result<Flock<File>> {
    let dir = data.parent().unwrap_or(data);
    let file = File::open(dir).map_err(Error::file("open", dir))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::file("lock", dir)(errno.into()))
}

/// Finds or makes what every mount shows: other containers' mounts and the flags', then the image's volumes that
/// neither covers.
pub(crate) fn resolve_mounts(
    tx: &Tx<'_>,
    container: &Container,
    prepared: Prepared,
) -> Result<Vec<ResolvedMount>> {
    let Prepared { inherited, images } = prepared;
    let covered = |target: &str| {
        let mut flags = container.options.mounts.iter();
        let mut others = inherited.iter();
        flags.any(|m| same_path(&m.target, target))
            || others.any(|m| same_path(&m.spec.target, target))
            || container.pod.as_ref().is_some_and(|member| {
                let mut mounts = member.options.mounts.iter();
                mounts.any(|m| same_path(&m.target, target))
            })
    };
    let of_image = container.process.volumes.iter();
    let of_image = of_image
        .filter(|target| !covered(target))
        .map(|target| MountSpec {
            kind: MountKind::Volume,
            target: target.clone(),
            copy: true,
            ..MountSpec::default()
        });
    let asked_for = container.options.mounts.iter().cloned().chain(of_image);
    let mut resolved = asked_for
        .map(|spec| resolve_mount(tx, spec, &images))
        .collect::<Result<Vec<_>>>()?;
    resolved.extend(inherited);
    Ok(resolved)
}

fn resolve_mount(
    tx: &Tx<'_>,
    spec: MountSpec,
    images: &BTreeMap<String, String>,
) -> Result<ResolvedMount> {
    let (volume, source) = match spec.kind {
        MountKind::Tmpfs => (None, Default::default()),
        MountKind::Bind => (None, bind_source(&spec)?),
        MountKind::Image => {
            let name = spec.source.clone().unwrap_or_default();
            (None, images.get(&name).cloned().unwrap_or(name).into())
        }
        MountKind::Volume => {
            let name = spec.source.clone().unwrap_or_else(names::new_id);
            check_volume_driver(spec.volume_driver.as_deref().unwrap_or_default())?;
            check_volume_options(&spec.volume_options)?;
            let new = NewVolume {
                name: &name,
                anonymous: spec.source.is_none(),
                labels: spec.volume_labels.clone(),
                options: spec.volume_options.clone(),
            };
            let (volume, made) = tx.ensure_volume(&new)?;
            if made {
                events::volume(tx, &name, VolumeEvent::Create)?;
            }
            (Some(name), volume.path)
        }
    };
    Ok(ResolvedMount {
        anonymous: volume.is_some() && spec.source.is_none(),
        volume,
        source,
        spec,
    })
}

fn bind_source(spec: &MountSpec) -> Result<PathBuf> {
    let source = Path::new(spec.source.as_deref().unwrap_or_default());
    match fs::symlink_metadata(source) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && spec.create_source => {
            fs::create_dir_all(source).map_err(Error::file("create", source))?;
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::BindSourceMissing {
                source_path: source.into(),
            });
        }
        Err(e) => return Err(Error::file("stat", source)(e)),
    }
    Ok(source.into())
}

/// A bind is labelled as the other container has it, and so is a volume that is that one's own.
fn relabel_inherited(mount: &ResolvedMount) -> Relabel {
    match mount.spec.relabel {
        Relabel::Unsaid | Relabel::Shared if mount.volume.is_some() => Relabel::Unsaid,
        _ => Relabel::Never,
    }
}

pub(crate) fn same_path(a: &str, b: &str) -> bool {
    Path::new(a).components().eq(Path::new(b).components())
}
