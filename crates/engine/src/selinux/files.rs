//! What is labelled for containers: layers, what they change, volumes, and places of the host.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rctr_runtime::selinux::{self, Defaults};

use super::SelinuxLabels;
use crate::files::EtcFiles;
use crate::model::{Container, ResolvedMount};
use crate::mounts::OpenedMounts;
use crate::options::{MountKind, NetworkMode, Relabel};
use crate::pod::PodMountSource;
use crate::{Engine, Error, Result};

impl Engine {
    /// The labels of a container, where SELinux is enabled.
    pub(crate) fn labels_of<'a>(&self, container: &'a Container) -> Option<&'a SelinuxLabels> {
        container.selinux.as_ref().filter(|_| self.facts().selinux)
    }

    /// Gives layers the label of what every container may read: a program that is executed from an overlay is, to the
    /// kernel, in part that of the layer.
    ///
    /// # Errors
    /// [`rctr_runtime::Error::Relabel`].
    pub(crate) fn label_layers(&self, layers: &[PathBuf]) -> Result<()> {
        let policy = match self.facts().selinux {
            true => selinux::defaults(),
            false => None,
        };
        if let Some(Defaults { read_only, .. }) = policy {
            let label = read_only.to_string();
            for layer in layers {
                selinux::relabel_once(layer, &label)?;
            }
        }
        Ok(())
    }

    /// Gives what a container is shown its label: what it has changed, its files under /etc, volumes, and the places of
    /// the host that are to have it.
    ///
    /// # Errors
    /// [`rctr_runtime::Error::Relabel`].
    pub(crate) fn relabel(
        &self,
        container: &Container,
        upper: &Path,
        files: &EtcFiles,
        opened: &OpenedMounts,
    ) -> Result<()> {
        let Some(labels) = self.labels_of(container) else {
            return Ok(());
        };
        label_upper(upper, labels)?;
        let shared = labels.shared();
        let of_etc = match container.options.network {
            NetworkMode::Container(_) => &shared,
            _ => &labels.mount,
        };
        for file in [&files.hostname, &files.hosts, &files.resolv_conf] {
            selinux::relabel(file, of_etc)?;
        }
        for (index, mount) in container.mounts.iter().enumerate() {
            let label = match relabelling(mount, container.pod.is_some()) {
                Relabel::Private => &labels.mount,
                Relabel::Shared => &shared,
                Relabel::Unsaid | Relabel::Never => continue,
            };
            match opened.mounts.iter().find(|(other, _)| *other == index) {
                Some((_, fd)) => selinux::relabel_opened(fd.as_fd(), &mount.source, label)?,
                None => selinux::relabel(&real(&mount.source)?, label)?,
            }
        }
        if let Some(member) = &container.pod {
            for mount in member.options.mounts.iter().filter(|mount| mount.relabel) {
                if let PodMountSource::Host(path) = &mount.source {
                    selinux::relabel(&real(path)?, &labels.mount)?;
                }
            }
        }
        Ok(())
    }
}

/// What is written there other than by the container is then its own, too.
///
/// # Errors
/// [`rctr_runtime::Error::Relabel`].
pub(crate) fn label_upper(upper: &Path, labels: &SelinuxLabels) -> Result<()> {
    Ok(selinux::relabel_once(upper, &labels.mount)?)
}

/// As with Docker a volume may be others', too, unless something else is said; in a pod nobody else can have it.
fn relabelling(mount: &ResolvedMount, in_pod: bool) -> Relabel {
    match mount.spec.relabel {
        Relabel::Unsaid if mount.spec.kind == MountKind::Volume => match in_pod {
            true => Relabel::Private,
            false => Relabel::Shared,
        },
        said => said,
    }
}

/// Where links lead to, as on the host.
fn real(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(Error::file("find", path))
}
