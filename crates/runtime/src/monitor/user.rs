//! Containers in a user namespace: root inside is nobody in particular outside.
//!
//! The namespace is made before the container, or was: mounts that show other owners need it. The container's image
//! keeps its owners on the disk: its layers are shown with those of the namespace; the writable layer has them for real.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxNamespaceType, Spec,
};
use rustix::fs::{FileType, Gid, Mode, Uid};

use super::mounts::{Kind, open_target};
use super::process::Joined;
use crate::error::StartError;
use crate::namespaces::{IdMap, IdMappings};

/// The user namespace that a container will be in.
pub(super) struct UserNamespace {
    namespace: OwnedFd,
    mappings: IdMappings,
    /// User and group on the host that are root inside.
    root: (u32, u32),
    /// Other namespaces it joins: nobody inside could open their paths.
    _joined: Vec<OwnedFd>,
}

fn config(reason: &str) -> StartError {
    StartError::Config {
        reason: reason.to_owned(),
    }
}

fn failed(step: impl Into<String>, error: impl Into<io::Error>) -> StartError {
    StartError::Rootfs {
        step: step.into(),
        reason: error.into().to_string(),
    }
}

impl UserNamespace {
    /// The one that a specification asks for, by path or to be made; it then names an open descriptor of this process.
    pub(super) fn take_from(spec: &mut Spec) -> Result<Option<Self>, StartError> {
        let listed = spec
            .linux()
            .as_ref()
            .and_then(|l| l.namespaces().as_deref());
        let own = listed.and_then(|list| {
            list.iter()
                .position(|n| n.typ() == LinuxNamespaceType::User)
        });
        let (Some(own), Some(mut linux)) = (own, spec.linux().clone()) else {
            return Ok(None);
        };
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        let mut mappings = mappings_of(&linux);
        let namespace = match namespaces[own].path() {
            Some(path) => {
                let namespace = open(path)?;
                if mappings == IdMappings::default() {
                    mappings = IdMappings::of(namespace.as_fd())
                        .map_err(|e| config(&format!("namespace {}: {e}", path.display())))?;
                }
                namespace
            }
            None => mappings
                .namespace()
                .map_err(|e| config(&format!("make a user namespace: {e}")))?,
        };
        let root = mappings
            .root()
            .ok_or_else(|| config("a user namespace needs mappings of user and group 0"))?;
        let mut joined = Vec::new();
        for other in &mut namespaces {
            if let Some(path) = other.path().clone() {
                let fd = open(&path)?;
                other.set_path(Some(of_descriptor(fd.as_raw_fd())));
                joined.push(fd);
            }
        }
        namespaces[own].set_path(Some(of_descriptor(namespace.as_raw_fd())));
        linux.set_namespaces(Some(namespaces));
        spec.set_linux(Some(linux));
        Ok(Some(Self {
            namespace,
            mappings,
            root,
            _joined: joined,
        }))
    }

    /// User and group on the host that are root inside.
    pub(super) fn root(&self) -> (u32, u32) {
        self.root
    }

    /// For processes that join it later.
    pub(super) fn joined(&self) -> io::Result<Joined> {
        Ok(Joined {
            namespace: Rc::new(self.namespace.try_clone()?),
            root: self.root,
        })
    }

    /// User and group inside for those of the host; nobody's become the kernel's nobody.
    pub(super) fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        const NOBODY: u32 = 65534;
        let inside = |maps, id| crate::namespaces::inside_id(maps, id).unwrap_or(NOBODY);
        (
            inside(&self.mappings.uids, uid),
            inside(&self.mappings.gids, gid),
        )
    }

    /// The host's group for one inside.
    pub(super) fn group(&self, id: u32) -> Option<u32> {
        crate::namespaces::host_id(&self.mappings.gids, id)
    }

    /// The namespace for a mount that shows the owners of `wanted`; without any those of this one.
    pub(super) fn for_mount(&self, wanted: &IdMappings) -> Result<OwnedFd, StartError> {
        let same = *wanted == self.mappings || *wanted == IdMappings::default();
        let namespace = match same {
            true => self.namespace.try_clone().map_err(|e| e.to_string()),
            false => wanted.namespace().map_err(|e| e.to_string()),
        };
        namespace.map_err(|e| config(&format!("mappings of a mount: {e}")))
    }

    /// What is done here is done as root inside would: what it makes is that root's.
    pub(super) fn as_root<T>(&self, work: impl FnOnce() -> T) -> T {
        let _guard = FilesystemUser::become_other(self.root);
        work()
    }

    /// Gives a stream's pipe to root inside, who may open it again by its path.
    pub(super) fn own_pipe(&self, fd: BorrowedFd<'_>) {
        let pipe = rustix::fs::fstat(fd)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        if pipe {
            let _ = self.own(fd);
        }
    }

    fn own(&self, fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.root.0), Gid::from_raw(self.root.1));
        rustix::fs::fchown(fd, Some(uid), Some(gid))
    }

    /// Makes the topmost directory of a writable layer root's, if it is the host root's.
    pub(super) fn own_layer(&self, upper: &Path) -> Result<(), StartError> {
        let own = || -> io::Result<()> {
            let directory = File::open(upper)?;
            if directory.metadata()?.uid() == 0 {
                self.own(directory.as_fd())?;
            }
            Ok(())
        };
        own().map_err(|e| failed(format!("give {} to the container", upper.display()), e))
    }

    /// Makes the devices of a specification, of which only the host's root is able, and takes them out of it.
    pub(super) fn make_devices(
        &self,
        spec: &mut Spec,
        root: BorrowedFd<'_>,
    ) -> Result<(), StartError> {
        let Some(mut linux) = spec.linux().clone() else {
            return Ok(());
        };
        let devices = linux.devices().iter().flatten();
        for device in devices.filter(|device| !is_everybody_s(device.path())) {
            let made = self.make_device(device, root);
            made.map_err(|e| failed(format!("make {}", device.path().display()), e))?;
        }
        linux.set_devices(None);
        spec.set_linux(Some(linux));
        Ok(())
    }

    fn make_device(&self, device: &LinuxDevice, root: BorrowedFd<'_>) -> io::Result<()> {
        let path = device.path();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if !path.starts_with("/dev") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let parent = self.as_root(|| open_target(root, parent, Kind::Directory))?;
        let kind = match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::P => FileType::Fifo,
            _ => FileType::CharacterDevice,
        };
        let number = rustix::fs::makedev(device.major() as u32, device.minor() as u32);
        let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(0o666));
        rustix::fs::mknodat(&parent, name, kind, mode, number)?;
        let name = CString::new(name.as_encoded_bytes())?;
        let id = |maps: &[IdMap], id: Option<u32>| {
            // What is not mapped belongs to nobody inside, as it should.
            crate::namespaces::host_id(maps, id.unwrap_or(0)).unwrap_or(u32::MAX)
        };
        let uid = id(&self.mappings.uids, device.uid());
        let gid = id(&self.mappings.gids, device.gid());
        let at = parent.as_raw_fd();
        // SAFETY: read a C string; the rest are integers.
        unsafe {
            // The umask has no say.
            libc::fchmodat(at, name.as_ptr(), mode.as_raw_mode(), 0);
            libc::fchownat(at, name.as_ptr(), uid, gid, libc::AT_SYMLINK_NOFOLLOW);
        }
        Ok(())
    }
}

/// Those that libcontainer binds from the host in any case. It opens what is there already, which a /dev/tty without a
/// terminal refuses.
fn is_everybody_s(path: &Path) -> bool {
    let names = ["null", "zero", "full", "tty", "random", "urandom"];
    names
        .iter()
        .any(|name| path == Path::new("/dev").join(name))
}

impl AsFd for UserNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// The mappings in a list of the specification's.
pub(super) fn mappings(
    uids: &Option<Vec<LinuxIdMapping>>,
    gids: &Option<Vec<LinuxIdMapping>>,
) -> IdMappings {
    let list = |list: &Option<Vec<LinuxIdMapping>>| {
        let map = |m: &LinuxIdMapping| IdMap {
            container: m.container_id(),
            host: m.host_id(),
            length: m.size(),
        };
        list.iter().flatten().map(map).collect()
    };
    IdMappings {
        uids: list(uids),
        gids: list(gids),
    }
}

fn mappings_of(linux: &Linux) -> IdMappings {
    mappings(linux.uid_mappings(), linux.gid_mappings())
}

fn open(path: &Path) -> Result<OwnedFd, StartError> {
    let opened = File::open(path);
    let opened = opened.map_err(|e| config(&format!("namespace {}: {e}", path.display())))?;
    Ok(opened.into())
}

fn of_descriptor(fd: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{fd}"))
}

/// The calling process accesses files as another user until this goes.
struct FilesystemUser;

impl FilesystemUser {
    fn become_other((uid, gid): (u32, u32)) -> Self {
        set(uid, gid);
        Self
    }
}

impl Drop for FilesystemUser {
    fn drop(&mut self) {
        set(0, 0);
    }
}

fn set(uid: u32, gid: u32) {
    // SAFETY: take integers.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}
