//! The namespaces of a container's pod, which are mounts of the host's: see [`crate::namespaces`].
//!
//! A monitor's mount namespace is a copy of the host's, with all mounts of all pods. It takes what it needs and lets go
//! of the rest, or a hundred pods would cost each other's monitors memory, and time whenever one comes or goes. Not
//! before it has time: letting go waits for the kernel, milliseconds.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use oci_spec::runtime::Spec;

use crate::error::StartError;
use crate::namespaces::DIRECTORY;

/// Open namespaces, until the container has joined them.
pub(super) struct Pinned {
    directory: PathBuf,
    namespaces: Vec<OwnedFd>,
}

impl Pinned {
    /// Opens those that the specification names, which then names the descriptors.
    pub(super) fn take_from(spec: &mut Spec, state_dir: &Path) -> Result<Self, StartError> {
        let directory = state_dir.with_file_name(DIRECTORY);
        let mut namespaces = Vec::new();
        let listed = spec.linux().as_ref().and_then(|l| l.namespaces().clone());
        let mut listed = listed.unwrap_or_default();
        for namespace in &mut listed {
            let path = namespace.path().as_ref();
            let Some(path) = path.filter(|path| path.starts_with(&directory)) else {
                continue;
            };
            let file = File::open(path).map_err(|e| StartError::Config {
                reason: format!("namespace {}: {e}", path.display()),
            })?;
            let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
            namespace.set_path(Some(descriptor.into()));
            namespaces.push(file.into());
        }
        let linux = spec.linux().as_ref().filter(|_| !namespaces.is_empty());
        if let Some(mut linux) = linux.cloned() {
            linux.set_namespaces(Some(listed));
            spec.set_linux(Some(linux));
        }
        Ok(Self {
            directory,
            namespaces,
        })
    }

    /// Closes them; the directory of all pods' mounts remains, if there were any.
    pub(super) fn close(self) -> Option<PathBuf> {
        (!self.namespaces.is_empty()).then_some(self.directory)
    }
}

/// Takes the mounts of all pods out of the monitor's mount namespace, the calling process's.
pub(super) fn hide(directory: &Path) {
    // Where they are not in a mount of their own they stay, and do no more than cost.
    let _ = umount2(directory, MntFlags::MNT_DETACH);
}
