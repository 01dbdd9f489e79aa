//! The files of a container from outside: with everything mounted in it, as it sees them, or its own alone.
//!
//! A running container is looked at in its own mount namespace, one that does not run is mounted for the moment where
//! nobody sees it. Either way there is one descriptor of the root, and paths are walked from it with every step pinned:
//! what the container does meanwhile leads nowhere out of it.

use std::ffi::{CString, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use rctr_runtime::{LowerDir, ViewMount, ViewSource, assemble, root_of};
use rctr_store::{Found, Links, Owner, Trail, Unpacking, unpack_files, write_entry_archive};
use rustix::fs::{FileType, fstatfs, statat};
use rustix::io::Errno;

use crate::lock::ContainerLock;
use crate::model::Container;
use crate::options::MountKind;
use crate::rootfs_view::RootfsView;
use crate::{CopyError, Engine, Error, Result, first_process};

/// How often a container that is started or ends while its files are opened is looked at again.
const ATTEMPTS: u32 = 20;

/// How long each time a monitor may take to tell that its container has ended.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// Where a running container has what the kernel makes up, and devices. As with Docker, these are not files of its own.
const NOT_FILES: [&[u8]; 3] = [b"dev/", b"proc/", b"sys/"];

/// The files of a container, as long as this lives. One that does not run cannot be started meanwhile.
pub(crate) struct ContainerFiles<'a> {
    engine: &'a Engine,
    pub(crate) container: Container,
    root: Trail,
    /// As the user named the container.
    name: String,
    runs: bool,
    _lock: Option<ContainerLock>,
}

/// What is at a path of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathStat {
    /// A directory, not a link to one.
    pub(crate) is_dir: bool,
    /// A device of any kind.
    pub(crate) is_device: bool,
    /// Where a link leads, all links followed, as far as there is something.
    pub(crate) link: Option<String>,
}

impl Engine {
    /// Opens a container's files with all mounts.
    pub(crate) fn container_files(&self, name: &str) -> Result<ContainerFiles<'_>> {
        let container = self.container(name)?;
        let (root, lock) = self.open_root(&container, true)?;
        Ok(ContainerFiles {
            engine: self,
            container,
            root: Trail::root(root),
            name: name.to_owned(),
            runs: lock.is_none(),
            _lock: lock,
        })
    }

    /// Opens a container's own files, nothing that is mounted in it.
    pub(crate) fn container_rootfs(
        &self,
        container: &Container,
    ) -> Result<(OwnedFd, Option<ContainerLock>)> {
        self.open_root(container, false)
    }

    fn open_root(
        &self,
        container: &Container,
        mounts: bool,
    ) -> Result<(OwnedFd, Option<ContainerLock>)> {
        let dir = self.state_dir(&container.id);
        let running = || match rctr_runtime::status(&dir) {
            Ok(rctr_runtime::Status::Running { pid, .. }) => Some(pid),
            _ => None,
        };
        for _ in 0..ATTEMPTS {
            if let Some(pid) = running() {
                let root = root_of(pid, mounts);
                // If it still is the container's process, it was when its namespace was opened.
                if running() != Some(pid) {
                    continue;
                }
                if root.is_err() && first_process::has_ended(pid) {
                    self.wait_for_end(&container.id, Some(END_PATIENCE))?;
                    continue;
                }
                return Ok((root?, None));
            }
            let lock = self.lock(&container.id)?;
            if running().is_none() {
                let root = self.mount_root(container, mounts)?;
                return Ok((root, Some(lock)));
            }
        }
        Err(Error::NotRunning {
            id: container.id.clone(),
        })
    }

    /// The root of a container that does not run; the caller has its lock.
    fn mount_root(&self, container: &Container, mounts: bool) -> Result<OwnedFd> {
        let bundle = self.store.container_dir(&container.id)?;
        let mut lower = self.layers(container)?;
        if lower.is_empty() {
            let path = bundle.join("image");
            fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
            lower.push(LowerDir { path, short: None });
        }
        let (upper, work) = (bundle.join("upper"), bundle.join("work"));
        let label = self.labels_of(container);
        let label = label.map(|labels| labels.mount.as_str());
        if !mounts {
            return Ok(assemble(&lower, (&upper, &work), label, &[])?);
        }
        let opened = self.open_mounts(container, None)?;
        let mut wanted: Vec<ViewMount<'_>> = Vec::new();
        for (index, mount) in container.mounts.iter().enumerate() {
            let open = opened.mounts.iter().find(|(of, _)| *of == index);
            let source = match open {
                Some((_, fd)) => ViewSource::Mount(fd.as_fd()),
                // Memory is gone with the container, and so may be what was bound.
                None if mount.spec.kind == MountKind::Tmpfs || !mount.source.exists() => continue,
                None => ViewSource::Place(&mount.source),
            };
            wanted.push(ViewMount {
                source,
                target: Path::new(&mount.spec.target),
                read_only: mount.spec.read_only,
            });
        }
        let etc = ["resolv.conf", "hostname", "hosts"];
        let etc = etc.map(|name| (bundle.join(name), Path::new("/etc").join(name)));
        for (source, target) in &etc {
            let taken = wanted.iter().any(|mount| mount.target == target);
            if source.exists() && !taken {
                wanted.push(ViewMount {
                    source: ViewSource::Place(source),
                    target,
                    read_only: container.options.read_only,
                });
            }
        }
        wanted.sort_by_key(|mount| mount.target.components().count());
        Ok(assemble(&lower, (&upper, &work), label, &wanted)?)
    }
}

impl ContainerFiles<'_> {
    /// What is at a path, which is taken from the root.
    ///
    /// # Errors
    /// [`CopyError::NoSuchPath`].
    pub(crate) fn stat(&self, path: &str) -> Result<PathStat> {
        let (parent, name) = match self.find(path, Links::KeepLast)? {
            Found::Directory(_) => {
                return Ok(PathStat {
                    is_dir: true,
                    is_device: false,
                    link: None,
                });
            }
            Found::Other { parent, name, stat } => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                if !kind.is_symlink() {
                    return Ok(PathStat {
                        is_dir: false,
                        is_device: kind.is_char_device() || kind.is_block_device(),
                        link: None,
                    });
                }
                (parent, name)
            }
            Found::Missing { .. } => return Err(self.missing(path)),
        };
        let ends_at = match parent.find(&name, Links::Follow) {
            Ok(Found::Directory(trail)) => trail.path(),
            Ok(Found::Other { parent, name, .. } | Found::Missing { parent, name }) => {
                parent.path().join(name)
            }
            Err(_) => parent.path().join(name),
        };
        Ok(PathStat {
            is_dir: false,
            is_device: false,
            link: Some(ends_at.to_string_lossy().into_owned()),
        })
    }

    /// Writes what is at a path as an archive, in which it is called `called`.
    ///
    /// # Errors
    /// [`CopyError::NoSuchPath`], also for what the kernel makes up, and what hinders reading or writing.
    pub(crate) fn archive(&self, path: &str, called: &str, to: &mut dyn Write) -> Result<()> {
        let (dir, name) = match self.find(path, Links::KeepLast)? {
            Found::Directory(trail) => (trail, c".".to_owned()),
            Found::Other { parent, name, .. } => {
                let name = c_name(name).ok_or_else(|| self.missing(path))?;
                (parent, name)
            }
            Found::Missing { .. } => return Err(self.missing(path)),
        };
        if is_made_up(dir.as_fd()) {
            return Err(self.missing(path));
        }
        let whole = self.runs && dir.path() == Path::new("/");
        let skip = |path: &[u8]| whole && NOT_FILES.iter().any(|start| path.starts_with(start));
        let called = called.as_bytes();
        Ok(write_entry_archive(dir.as_fd(), &name, called, &skip, to)?)
    }

    /// Unpacks an archive in a directory; `as_user`: for the container's user.
    ///
    /// # Errors
    /// [`CopyError::NoSuchPath`], [`CopyError::NotADirectory`], [`CopyError::ReadOnlyRootfs`],
    /// [`CopyError::ReadOnlyVolume`], and [`Error::Store`] for what is wrong with the archive.
    pub(crate) fn extract(&self, path: &str, archive: impl Read, as_user: bool) -> Result<()> {
        let into = match self.find(path, Links::Follow)? {
            Found::Directory(into) => into,
            Found::Other { .. } => return Err(CopyError::NotADirectory.into()),
            Found::Missing { .. } => return Err(self.missing(path)),
        };
        self.must_be_writable(&into.path())?;
        let owner = match as_user && !self.container.process.user.is_empty() {
            true => self.user()?,
            false => Owner::Archived,
        };
        let how = Unpacking {
            owner,
            links: Links::Follow,
        };
        Ok(unpack_files(archive, &into, how).map_err(rctr_store::Error::from)?)
    }

    fn find(&self, path: &str, links: Links) -> Result<Found> {
        let absolute = format!("/{path}");
        self.root.find(&absolute, links).map_err(|e| match e {
            Errno::NOENT => self.missing(path),
            other => Error::file("open", Path::new(&absolute))(other.into()),
        })
    }

    fn missing(&self, path: &str) -> Error {
        CopyError::NoSuchPath {
            path: path.to_owned(),
            container: self.name.clone(),
        }
        .into()
    }

    /// As Docker: the first mount that holds the path decides, else the root.
    fn must_be_writable(&self, path: &Path) -> Result<()> {
        let holds = self
            .container
            .mount_points()
            .find(|mount| path.starts_with(&mount.spec.target));
        match holds {
            Some(mount) if mount.spec.read_only => Err(CopyError::ReadOnlyVolume.into()),
            None if self.container.options.read_only => Err(CopyError::ReadOnlyRootfs.into()),
            _ => Ok(()),
        }
    }

    fn user(&self) -> Result<Owner> {
        let upper = self
            .engine
            .store
            .container_dir(&self.container.id)?
            .join("upper");
        let layers = self.engine.layers(&self.container)?;
        let view = RootfsView::new(Some(upper), layers.into_iter().map(|l| l.path).collect());
        let identity = self.engine.identity(&self.container, &view)?;
        Ok(Owner::Fixed(identity.uid, identity.gid))
    }
}

/// A place of the host: the directory it is in, and its name there.
pub(crate) struct HostPlace {
    dir: OwnedFd,
    name: CString,
    pub(crate) is_dir: bool,
}

impl HostPlace {
    /// Looks at a path, the last link in it not followed.
    pub(crate) fn find(path: &str) -> Result<HostPlace> {
        let failed = |e: Errno| Error::file("lstat", Path::new(path))(e.into());
        let trimmed = path.trim_end_matches('/');
        let (dir, name) = match trimmed.rsplit_once('/') {
            _ if trimmed.is_empty() => ("/", "."),
            Some(("", name)) => ("/", name),
            Some((dir, name)) => (dir, name),
            None => (".", trimmed),
        };
        let flags =
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, rustix::fs::Mode::empty()).map_err(failed)?;
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        let stat = statat(&dir, name, flags).map_err(failed)?;
        Ok(HostPlace {
            dir,
            name: CString::new(name).map_err(|_| failed(Errno::NOENT))?,
            is_dir: FileType::from_raw_mode(stat.st_mode).is_dir(),
        })
    }

    /// Writes it as an archive, in which it is called `called`.
    pub(crate) fn archive(&self, called: &str, to: &mut dyn Write) -> Result<()> {
        let (dir, called) = (self.dir.as_fd(), called.as_bytes());
        Ok(write_entry_archive(
            dir,
            &self.name,
            called,
            &|_| false,
            to,
        )?)
    }
}

/// Unpacks an archive in a directory of the host, as the caller's; no link of the archive is followed.
pub(crate) fn extract_on_host(dir: &Path, archive: impl Read) -> Result<()> {
    let fd = fs::File::open(dir).map_err(Error::file("open", dir))?;
    let into = Trail::root(fd.into());
    let how = Unpacking {
        owner: Owner::Caller,
        links: Links::Refuse,
    };
    Ok(unpack_files(archive, &into, how).map_err(rctr_store::Error::from)?)
}

/// Whether a directory is one of the kernel's own filesystems: their files have no size before they are read, and no
/// content that lasts.
fn is_made_up(dir: BorrowedFd<'_>) -> bool {
    let kinds = [
        libc::PROC_SUPER_MAGIC,
        libc::SYSFS_MAGIC,
        libc::CGROUP_SUPER_MAGIC,
        libc::CGROUP2_SUPER_MAGIC,
    ];
    fstatfs(dir).is_ok_and(|found| kinds.contains(&found.f_type))
}

fn c_name(name: OsString) -> Option<CString> {
    CString::new(name.into_vec()).ok()
}
