//! Namespaces that several containers share, a pod's: kept by mounts of the kernel's own files for them, without a process.
//!
//! The mounts of all pods lie in one directory that is a shared mount of its own, so that what is unmounted here is
//! unmounted in other mount namespaces too, on every host: none keeps a namespace that is over. The monitors of pods'
//! containers do without it.

mod features;
mod sysctl;
mod sysfs;
mod user;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags,
};
use rustix::mount::OpenTreeFlags;
use serde::{Deserialize, Serialize};

pub(crate) use self::user::Member;
use crate::error::{Error, Result};
use crate::selinux;

pub use features::{Features, features};
pub(crate) use sysctl::namespace_of;
pub use sysfs::{Sysfs, make_sysfs};

/// The name of the directory that all pods' directories are in, beside the containers' state directories.
pub const DIRECTORY: &str = ".pods";

/// One range of user or group ids: `length` ids from `container` on are, on the host, those from `host` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// The first id inside the user namespace.
    pub container: u32,
    /// The first id on the host.
    pub host: u32,
    /// How many.
    pub length: u32,
}

impl IdMap {
    /// Ranges as a specification lists them.
    pub fn listed(maps: &[Self]) -> Vec<LinuxIdMapping> {
        let one = |map: &Self| {
            let builder = LinuxIdMappingBuilder::default()
                .container_id(map.container)
                .host_id(map.host)
                .size(map.length);
            // Every field has a default: there is nothing to fail at.
            builder.build().unwrap_or_default()
        };
        maps.iter().map(one).collect()
    }
}

/// What a user namespace makes of ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMappings {
    /// Of users.
    pub uids: Vec<IdMap>,
    /// Of groups.
    pub gids: Vec<IdMap>,
}

impl IdMappings {
    /// The user and group on the host that are root inside; none if it is not mapped.
    pub fn root(&self) -> Option<(u32, u32)> {
        Some((host_id(&self.uids, 0)?, host_id(&self.gids, 0)?))
    }

    /// Those of a user namespace that exists.
    ///
    /// # Errors
    /// [`Error::System`] or [`Error::File`] if it cannot be joined.
    pub(crate) fn of(namespace: BorrowedFd<'_>) -> Result<Self> {
        user::mappings(namespace)
    }

    /// A new user namespace with these mappings, for mounts that show other owners (`MOUNT_ATTR_IDMAP`).
    ///
    /// # Errors
    /// [`Error::System`]: the kernel takes no such mappings, or makes no user namespaces.
    pub(crate) fn namespace(&self) -> Result<OwnedFd> {
        Member::new(self, CloneFlags::empty())?.namespace("user")
    }
}

/// A new user namespace and, if it is wanted, a new network namespace that belongs to it.
///
/// # Errors
/// [`Error::System`], [`Error::File`]: the kernel takes no such mappings, or makes no user namespaces.
pub fn new_user(mappings: &IdMappings, net: bool) -> Result<(OwnedFd, Option<OwnedFd>)> {
    let mut others = CloneFlags::empty();
    others.set(CloneFlags::CLONE_NEWNET, net);
    let member = Member::new(mappings, others)?;
    let net = match net {
        true => Some(member.namespace("net")?),
        false => None,
    };
    Ok((member.namespace("user")?, net))
}

/// A copy, attached nowhere, of what is mounted at a place in a process's mount namespace. Nothing but a mount point
/// will do, and no link on the way to it. Safe to call from a process with threads.
///
/// # Errors
/// [`Error::File`], [`Error::System`].
pub fn copy_mount(process: i32, path: &Path) -> Result<OwnedFd> {
    let namespace = PathBuf::from(format!("/proc/{process}/ns/mnt"));
    let opened = fs::File::open(&namespace).map_err(|e| Error::file("open", &namespace, e))?;
    in_thread(|| {
        // Or it could not change its mount namespace alone.
        unshare(CloneFlags::CLONE_FS).map_err(|e| Error::system("unshare", e))?;
        setns(&opened, CloneFlags::CLONE_NEWNS).map_err(|e| Error::system("setns", e))?;
        copy_here(path).map_err(|e| Error::file("copy the mount", path, e))
    })
}

fn copy_here(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let place = rustix::fs::openat2(CWD, path, flags, Mode::empty(), links)?;
    let stat = rustix::fs::statx(&place, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
    if !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(rustix::io::Errno::INVAL);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(&place, "", flags)
}

/// Makes the loopback device of the calling process's network namespace work: in a new one it does not.
pub(crate) fn set_loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: an all-zero ifreq is valid; its name is shorter than it may be.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: reads one ifreq.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The host's id for one inside.
pub(crate) fn host_id(maps: &[IdMap], id: u32) -> Option<u32> {
    maps.iter().find_map(|map| {
        let offset = id.checked_sub(map.container)?;
        (offset < map.length).then(|| map.host.checked_add(offset))?
    })
}

/// The id inside for one of the host.
pub(crate) fn inside_id(maps: &[IdMap], id: u32) -> Option<u32> {
    maps.iter().find_map(|map| {
        let offset = id.checked_sub(map.host)?;
        (offset < map.length).then(|| map.container.checked_add(offset))?
    })
}

/// Which namespaces to keep, and what to set in them.
#[derive(Clone, Debug, Default)]
pub struct PinRequest<'a> {
    /// A network namespace made already.
    pub net: Option<BorrowedFd<'a>>,
    /// A network namespace to be made here, which belongs to the user namespace of `user`; instead of `net`.
    pub new_net: bool,
    /// An IPC namespace.
    pub ipc: bool,
    /// A UTS namespace.
    pub uts: bool,
    /// The host name in the UTS namespace.
    pub hostname: Option<String>,
    /// Kernel parameters of the namespaces kept, by name (`net.ipv4.ip_forward`).
    pub sysctls: BTreeMap<String, String>,
    /// A user namespace with these mappings, which the IPC, UTS and new network namespace belong to.
    pub user: Option<IdMappings>,
    /// A filesystem in memory for /dev/shm, of at most so many bytes.
    pub shm_size: Option<u64>,
    /// The SELinux label of that filesystem.
    pub shm_label: Option<String>,
}

/// Where the namespaces are found: paths for `linux.namespaces` of a specification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pinned {
    /// The network namespace.
    pub net: Option<PathBuf>,
    /// The IPC namespace.
    pub ipc: Option<PathBuf>,
    /// The UTS namespace.
    pub uts: Option<PathBuf>,
    /// The user namespace.
    pub user: Option<PathBuf>,
    /// The directory to bind on /dev/shm.
    pub shm: Option<PathBuf>,
}

/// Makes namespaces and keeps them as `net`, `ipc`, `uts`, `user` and `shm` in a new directory, until [`unpin`]. The
/// directory's parent, named [`DIRECTORY`], must be used for such directories alone. Safe to call from a process with threads.
///
/// # Errors
/// [`Error::HostSysctl`] for a kernel parameter of none of these namespaces, [`Error::Sysctl`] for one that the kernel
/// refuses, [`Error::File`] (also if the directory exists), [`Error::System`]. Nothing is left then.
pub fn pin(dir: &Path, request: &PinRequest<'_>) -> Result<Pinned> {
    in_thread(|| enter(request)?.pin(dir, request.shm_label.as_deref()))
}

/// Makes the namespaces of a request and puts the calling thread into them, which must end there: they are its own until
/// [`Entered::pin`] keeps them, and end with it.
///
/// # Errors
/// Those of [`pin`].
pub fn enter<'a>(request: &'a PinRequest<'a>) -> Result<Entered<'a>> {
    let sysctls = sysctl::parse(request)?;
    let mut new = CloneFlags::empty();
    new.set(CloneFlags::CLONE_NEWIPC, request.ipc);
    new.set(CloneFlags::CLONE_NEWUTS, request.uts);
    new.set(CloneFlags::CLONE_NEWNET, request.new_net);
    let member = match &request.user {
        Some(mappings) => Some(Member::new(mappings, new)?),
        None => None,
    };
    match &member {
        Some(member) => member.join(new)?,
        None => unshare(new).map_err(|e| Error::system("unshare", e))?,
    }
    if let Some(net) = request.net {
        setns(net, CloneFlags::CLONE_NEWNET).map_err(|e| Error::system("setns", e))?;
    }
    if let Some(hostname) = request.hostname.as_ref().filter(|_| request.uts) {
        nix::unistd::sethostname(hostname).map_err(|e| Error::system("sethostname", e))?;
    }
    sysctl::apply(&sysctls)?;
    Ok(Entered { request, member })
}

/// The namespaces that the calling thread is in.
pub struct Entered<'a> {
    request: &'a PinRequest<'a>,
    member: Option<Member>,
}

impl Entered<'_> {
    /// Keeps them as [`pin`] does, on the thread that has entered them; `shm_label` counts, not the request's.
    ///
    /// # Errors
    /// Those of [`pin`].
    pub fn pin(self, dir: &Path, shm_label: Option<&str>) -> Result<Pinned> {
        {
            let _lock = Parent::lock(dir)?.share()?;
            let mut builder = fs::DirBuilder::new();
            let made = builder.mode(0o711).create(dir);
            made.map_err(|e| Error::file("create", dir, e))?;
        }
        let pinned = self.keep(dir, shm_label);
        if pinned.is_err() {
            // The first error is the one to tell.
            let _ = unpin(dir);
        }
        pinned
    }

    /// Mounts the kernel's files for them.
    fn keep(&self, dir: &Path, shm_label: Option<&str>) -> Result<Pinned> {
        let request = self.request;
        let own = |kept: bool, name: &str| match kept {
            true => bind(dir, name, format!("/proc/thread-self/ns/{name}")).map(Some),
            false => Ok(None),
        };
        Ok(Pinned {
            net: own(request.net.is_some() || request.new_net, "net")?,
            ipc: own(request.ipc, "ipc")?,
            uts: own(request.uts, "uts")?,
            user: match &self.member {
                Some(member) => Some(bind(dir, "user", member.path("user"))?),
                None => None,
            },
            shm: match request.shm_size {
                Some(size) => Some(mount_shm(dir, size, request.user.as_ref(), shm_label)?),
                None => None,
            },
        })
    }
}

/// Lets go of what [`pin`] keeps in a directory, also half of it, and removes the directory; fine if it is gone.
/// The namespaces end with the last process in them.
///
/// # Errors
/// [`Error::File`].
pub fn unpin(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::file("read", dir, e)),
    };
    for entry in entries {
        let path = entry.map_err(|e| Error::file("read", dir, e))?.path();
        unmount(&path)?;
        let removed = match path.is_dir() {
            true => fs::remove_dir(&path),
            false => fs::remove_file(&path),
        };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &path, e));
            }
            _ => {}
        }
    }
    let parent = Parent::lock(dir)?;
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", dir, e)),
        _ => parent.unshare_if_empty(),
    }
}

/// Whether a namespace is kept at a path.
pub fn is_pinned(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == libc::NSFS_MAGIC)
}

/// Runs `work` in a thread that nobody else uses, whose namespaces it may change.
fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let joined = scope.spawn(work).join();
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn bind(dir: &Path, name: &str, source: String) -> Result<PathBuf> {
    let path = dir.join(name);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::from_raw_mode(0o444))
        .map_err(|e| Error::file("create", &path, e))?;
    let (source, none) = (Some(source.as_str()), None::<&str>);
    mount(source, &path, none, MsFlags::MS_BIND, none)
        .map_err(|e| Error::file("mount a namespace on", &path, e))?;
    Ok(path)
}

fn mount_shm(
    dir: &Path,
    size: u64,
    user: Option<&IdMappings>,
    label: Option<&str>,
) -> Result<PathBuf> {
    let path = dir.join("shm");
    fs::create_dir(&path).map_err(|e| Error::file("create", &path, e))?;
    let (uid, gid) = user.and_then(IdMappings::root).unwrap_or((0, 0));
    let mut options = format!("mode=1777,size={size},uid={uid},gid={gid}");
    if let Some(label) = label {
        options = selinux::mount_options(&options, label);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let kind = Some("tmpfs");
    mount(Some("shm"), &path, kind, flags, Some(options.as_str()))
        .map_err(|e| Error::file("mount a tmpfs on", &path, e))?;
    Ok(path)
}

/// Until nothing is mounted there.
fn unmount(path: &Path) -> Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(e) => return Err(Error::file("unmount", path, e)),
        }
    }
}

/// The directory of all pods' directories, nobody else making or removing one in it now.
struct Parent {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Parent {
    fn lock(dir: &Path) -> Result<Self> {
        let path = dir.parent().unwrap_or(Path::new("/")).to_owned();
        let failed = |e: rustix::io::Errno| Error::file("lock", &path, e);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    fn is_mount_point(&self) -> Result<bool> {
        let stat = statx(&self.path).map_err(|e| Error::file("look at", &self.path, e))?;
        Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }

    /// Makes it a shared mount if it is none yet.
    fn share(self) -> Result<Self> {
        let none = None::<&str>;
        let failed = |e: nix::Error| Error::file("make a shared mount of", &self.path, e);
        if !self.is_mount_point()? {
            mount(Some(&self.path), &self.path, none, MsFlags::MS_BIND, none).map_err(failed)?;
            // Or what is mounted in it would also be mounted below it, where it was bound from.
            mount(none, &self.path, none, MsFlags::MS_PRIVATE, none).map_err(failed)?;
        }
        mount(none, &self.path, none, MsFlags::MS_SHARED, none).map_err(failed)?;
        Ok(self)
    }

    fn unshare_if_empty(&self) -> Result<()> {
        let entries = fs::read_dir(&self.path);
        let mut entries = entries.map_err(|e| Error::file("read", &self.path, e))?;
        match entries.next() {
            Some(_) => Ok(()),
            None => unmount(&self.path),
        }
    }
}

fn statx(path: &Path) -> rustix::io::Result<rustix::fs::Statx> {
    rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_within_their_ranges() {
        let maps = [
            IdMap {
                container: 0,
                host: 100_000,
                length: 10,
            },
            IdMap {
                container: 10,
                host: 7,
                length: 1,
            },
        ];
        assert_eq!(host_id(&maps, 9), Some(100_009));
        assert_eq!(host_id(&maps, 10), Some(7));
        assert_eq!(host_id(&maps, 11), None);
        assert_eq!(inside_id(&maps, 100_009), Some(9));
        assert_eq!((inside_id(&maps, 7), inside_id(&maps, 8)), (Some(10), None));
        let none = IdMappings::default();
        assert_eq!(none.root(), None);
    }
}
