//! What mounts show that is no place of the host as it is: filesystems of volumes, images, places below a volume that
//! nothing may lead out of. And the root of a container, running or not, as one descriptor.
//!
//! All mounts are made in mount namespaces that only one thread has for a moment; what is given is attached nowhere,
//! and ends with its last descriptor, however that goes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::error::{Error, Result};
use crate::monitor::mounts::{Kind, Options, open_target, set_attributes};
use crate::namespaces::IdMappings;
use crate::overlay::{self, Overlay, Writable, in_own_namespace};
use crate::spec::LowerDir;

/// Something to be mounted in a container.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A directory of ours.
    Directory(&'a Path),
    /// A filesystem of its own, as a volume's options say.
    Filesystem {
        /// Its type: `nfs`, `tmpfs`, `ext4`; not looked at for a bind.
        kind: &'a str,
        /// What it is on.
        device: &'a str,
        /// Words as for mount(8); `bind` and `rbind` make it a place of the host.
        options: &'a [String],
        /// A directory it is mounted on, for a moment and for nobody else.
        at: &'a Path,
    },
    /// The layers of an image, top first, at least two of them.
    Image {
        /// The layers.
        lower: &'a [LowerDir],
        /// As for a filesystem.
        at: &'a Path,
        /// Those of a user namespace that its files are shown in.
        owners: Option<&'a IdMappings>,
        /// The SELinux label of all its files.
        label: Option<&'a str>,
    },
    /// What is mounted in another container.
    Shared {
        /// That one's first process.
        pid: i32,
        /// Where it is mounted there.
        target: &'a Path,
    },
}

/// Opens something to be mounted, from each of the places `within` on: one mount for each, attached nowhere.
/// The places are relative; no link leads out. None stands for the whole.
///
/// # Errors
/// [`Error::VolumeMount`], [`Error::SubPath`], [`Error::File`].
pub fn open_source(source: Source<'_>, within: &[Option<&Path>]) -> Result<Vec<OwnedFd>> {
    match source {
        Source::Directory(path) => {
            let base = pin(CWD, path).map_err(|e| Error::file("open", path, e))?;
            places(&base, path, within)
        }
        Source::Filesystem {
            kind,
            device,
            options,
            at,
        } => {
            let options = Options::parse(options);
            let failed = |source: io::Error| Error::VolumeMount {
                path: at.to_owned(),
                device: device.to_owned(),
                flags: options.flags | bind_flags(&options),
                data: options.data().to_string_lossy().into_owned(),
                source,
            };
            own_namespace(|| {
                mount_filesystem(kind, device, &options, at).map_err(failed)?;
                let base = pin(CWD, at).map_err(|e| Error::file("open", at, e))?;
                places(&base, at, within)
            })
        }
        Source::Image {
            lower,
            at,
            owners,
            label,
        } => own_namespace(|| {
            let attach = || -> io::Result<OwnedFd> {
                let shown = Overlay {
                    lower,
                    writable: None,
                    label,
                };
                let overlay = match owners {
                    Some(owners) => overlay::mount_mapped(shown, owners, at)?,
                    None => overlay::mount_detached(shown)?,
                };
                attach(overlay.as_fd(), CWD, at)?;
                Ok(pin(CWD, at)?)
            };
            let base = attach().map_err(|e| Error::file("mount an image on", at, e))?;
            places(&base, Path::new("/"), within)
        }),
        Source::Shared { pid, target } => own_namespace(|| {
            let find = || -> io::Result<OwnedFd> {
                let root = enter(pid)?;
                let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Ok(openat2(root, target, flags, Mode::empty(), resolve)?)
            };
            let base = find().map_err(|e| Error::file("open", target, e))?;
            let mounts = places(&base, target, within)?;
            for mount in &mounts {
                // Whether it can be written there says nothing for here.
                let writable = set_attributes(mount.as_fd(), 0, libc::MS_RDONLY, 0, false);
                writable.map_err(|e| Error::file("copy", target, e))?;
            }
            Ok(mounts)
        }),
    }
}

/// What a container without processes has mounted.
#[derive(Debug, Clone, Copy)]
pub struct ViewMount<'a> {
    /// What.
    pub source: ViewSource<'a>,
    /// Where, in the container; made if it is missing.
    pub target: &'a Path,
    /// It cannot be written to.
    pub read_only: bool,
}

/// What a [`ViewMount`] shows.
#[derive(Debug, Clone, Copy)]
pub enum ViewSource<'a> {
    /// A place of the host, with all that is mounted below.
    Place(&'a Path),
    /// A mount that is attached nowhere ([`open_source`]).
    Mount(BorrowedFd<'a>),
}

/// The root of a container that does not run, with all its mounts, its own files under an SELinux label if there is one.
/// Nobody else must use `upper` and `work` meanwhile.
///
/// # Errors
/// [`Error::File`].
pub fn assemble(
    lower: &[LowerDir],
    (upper, work): (&Path, &Path),
    label: Option<&str>,
    mounts: &[ViewMount<'_>],
) -> Result<OwnedFd> {
    let failed = |e: io::Error| Error::file("mount the files of the container on", upper, e);
    own_namespace(|| {
        let writable = Writable {
            upper,
            work,
            volatile: false,
        };
        let overlay = Overlay {
            lower,
            writable: Some(writable),
            label,
        };
        let root = overlay::mount_detached(overlay).map_err(failed)?;
        let attached = attach(root.as_fd(), CWD, upper);
        attached.map_err(|e| failed(e.into()))?;
        let root = pin(CWD, upper).map_err(|e| failed(e.into()))?;
        for mount in mounts {
            let added = add(&root, mount);
            added.map_err(|e| Error::file("mount", mount.target, e))?;
        }
        let tree = copy(CWD, upper);
        tree.map_err(|e| failed(e.into()))
    })
}

/// The root of a running container; without `mounts`, nothing that is mounted in it. `pid` is its first process: make
/// sure afterwards that it still is.
///
/// # Errors
/// [`Error::File`].
pub fn root_of(pid: i32, mounts: bool) -> Result<OwnedFd> {
    let open = || -> io::Result<OwnedFd> {
        let root = enter(pid)?;
        if mounts {
            return Ok(root);
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        Ok(open_tree(root, "", flags)?)
    };
    own_namespace(|| {
        let path = PathBuf::from(format!("/proc/{pid}/ns/mnt"));
        open().map_err(|e| Error::file("enter", &path, e))
    })
}

/// Runs `work` in a thread with a mount namespace of its own.
fn own_namespace<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let ran = in_own_namespace(|| Ok(work()));
    ran.map_err(|source| Error::System {
        call: "unshare",
        source,
    })?
}

/// Takes the calling thread into a process's mount namespace; the root there. A process that has changed its root does
/// not change that.
fn enter(pid: i32) -> io::Result<OwnedFd> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    unshare(CloneFlags::CLONE_FS)?;
    setns(namespace, CloneFlags::CLONE_NEWNS)?;
    Ok(pin(CWD, Path::new("/"))?)
}

fn places(base: &OwnedFd, shown: &Path, within: &[Option<&Path>]) -> Result<Vec<OwnedFd>> {
    let place = |path: &Option<&Path>| match path {
        None => copy(base.as_fd(), Path::new("")).map_err(|e| Error::file("copy", shown, e)),
        Some(path) => {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            openat2(base, *path, flags, Mode::empty(), resolve)
                .and_then(|found| copy(found.as_fd(), Path::new("")))
                .map_err(|e| Error::SubPath {
                    base: shown.to_owned(),
                    path: path.to_path_buf(),
                    reason: match e {
                        Errno::XDEV => "path concatenation escapes the base directory".to_owned(),
                        other => io::Error::from(other).to_string(),
                    },
                })
        }
    };
    within.iter().map(place).collect()
}

fn mount_filesystem(kind: &str, device: &str, options: &Options, at: &Path) -> io::Result<()> {
    if options.bind {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if options.rbind {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let place = open_tree(CWD, device, flags)?;
        if options.flags != 0 {
            set_attributes(place.as_fd(), options.flags, 0, 0, false)?;
        }
        return Ok(attach(place.as_fd(), CWD, at)?);
    }
    let data = options.data();
    let flags = MsFlags::from_bits_truncate(options.flags);
    Ok(nix::mount::mount(
        Some(device),
        at,
        Some(kind),
        flags,
        Some(data.as_c_str()),
    )?)
}

fn bind_flags(options: &Options) -> libc::c_ulong {
    match (options.bind, options.rbind) {
        (false, _) => 0,
        (true, false) => libc::MS_BIND,
        (true, true) => libc::MS_BIND | libc::MS_REC,
    }
}

fn add(root: &OwnedFd, mount: &ViewMount<'_>) -> io::Result<()> {
    let copied = match mount.source {
        ViewSource::Place(path) => copy(CWD, path)?,
        ViewSource::Mount(fd) => fd.try_clone_to_owned()?,
    };
    if mount.read_only {
        set_attributes(copied.as_fd(), libc::MS_RDONLY, 0, 0, true)?;
    }
    let kind = match FileType::from_raw_mode(rustix::fs::fstat(&copied)?.st_mode) {
        FileType::Directory => Kind::Directory,
        _ => Kind::File,
    };
    let target = open_target(root.as_fd(), mount.target, kind)?;
    Ok(attach(copied.as_fd(), target.as_fd(), Path::new(""))?)
}

/// A copy of the mount at a path, from there on, with all that is mounted below.
fn copy(at: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    open_tree(at, path, flags)
}

fn attach(mount: BorrowedFd<'_>, at: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<()> {
    let mut flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    if path.as_os_str().is_empty() {
        flags |= MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    }
    move_mount(mount, "", at, path, flags)
}

fn pin(at: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(mount: &OwnedFd, path: &str) -> Option<String> {
        let resolve = ResolveFlags::IN_ROOT;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat2(mount, path, flags, Mode::empty(), resolve).ok()?;
        Some(io::read_to_string(File::from(file)).unwrap())
    }

    fn mounts() -> String {
        fs::read_to_string("/proc/self/mountinfo").unwrap()
    }

    #[test]
    fn places_below_a_volume_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/f"), "x").unwrap();
        symlink("a", dir.path().join("in")).unwrap();
        symlink("/etc", dir.path().join("abs")).unwrap();
        symlink("../../etc", dir.path().join("up")).unwrap();
        let open = |path: &str| {
            let place = [Some(Path::new(path))];
            open_source(Source::Directory(dir.path()), &place).map(|mut fds| fds.remove(0))
        };
        assert_eq!(read(&open("in/b").unwrap(), "f").as_deref(), Some("x"));
        assert!(open("a/b/f").is_ok(), "a file may be mounted, too");
        for (path, reason) in [
            ("abs", "escapes the base directory"),
            ("up", "escapes the base directory"),
            ("../x", "escapes the base directory"),
            ("none", "No such file or directory"),
        ] {
            let message = open(path).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
        // Pinned: whatever takes the name afterwards.
        let pinned = open("a/b").unwrap();
        fs::rename(dir.path().join("a"), dir.path().join("old")).unwrap();
        symlink("/etc", dir.path().join("a")).unwrap();
        assert_eq!(read(&pinned, "f").as_deref(), Some("x"));
    }

    #[test]
    fn filesystems_of_volumes_are_nobody_else_s() {
        let dir = tempfile::tempdir().unwrap();
        let before = mounts();
        let words = ["size=64k".to_owned(), "nosuid".to_owned()];
        let tmpfs = Source::Filesystem {
            kind: "tmpfs",
            device: "tmpfs",
            options: &words,
            at: dir.path(),
        };
        let fds = open_source(tmpfs, &[None, None]).unwrap();
        rustix::fs::mkdirat(&fds[0], "d", Mode::RWXU).unwrap();
        assert!(
            rustix::fs::accessat(
                &fds[1],
                "d",
                rustix::fs::Access::EXISTS,
                rustix::fs::AtFlags::empty()
            )
            .is_ok()
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(mounts(), before);

        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("f"), "bound").unwrap();
        let words = ["bind".to_owned()];
        let device = other.path().to_str().unwrap();
        let bind = |device| Source::Filesystem {
            kind: "none",
            device,
            options: &words,
            at: dir.path(),
        };
        let fds = open_source(bind(device), &[None]).unwrap();
        assert_eq!(read(&fds[0], "f").as_deref(), Some("bound"));
        assert_eq!(
            open_source(bind("/nonexistent"), &[None])
                .unwrap_err()
                .to_string(),
            format!(
                "error while mounting volume '{0}': failed to mount local volume: mount /nonexistent:{0}, flags: 0x1000: \
                 No such file or directory (os error 2)",
                dir.path().display()
            )
        );
    }

    #[test]
    fn a_stopped_container_s_root_has_its_mounts() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lower", "upper", "work", "volume"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("lower/f"), "image").unwrap();
        symlink("/elsewhere", dir.path().join("lower/link")).unwrap();
        fs::write(dir.path().join("volume/v"), "volume").unwrap();
        let before = mounts();
        let lower = [LowerDir {
            path: dir.path().join("lower"),
            short: None,
        }];
        let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
        let mount = |target| ViewMount {
            source: ViewSource::Place(Path::new("")),
            target: Path::new(target),
            read_only: false,
        };
        let volume = dir.path().join("volume");
        let wanted = [
            ViewMount {
                source: ViewSource::Place(&volume),
                ..mount("/data")
            },
            ViewMount {
                source: ViewSource::Place(&volume),
                read_only: true,
                ..mount("/ro")
            },
        ];
        let root = assemble(&lower, (&upper, &work), None, &wanted).unwrap();
        assert_eq!(read(&root, "/f").as_deref(), Some("image"));
        assert_eq!(read(&root, "/data/v").as_deref(), Some("volume"));
        rustix::fs::mkdirat(&root, "data/made", Mode::RWXU).unwrap();
        assert!(volume.join("made").is_dir());
        assert_eq!(
            rustix::fs::mkdirat(&root, "ro/x", Mode::RWXU),
            Err(Errno::ROFS)
        );
        rustix::fs::mkdirat(&root, "new", Mode::RWXU).unwrap();
        assert!(upper.join("new").is_dir());
        assert_eq!(mounts(), before);
    }
}
