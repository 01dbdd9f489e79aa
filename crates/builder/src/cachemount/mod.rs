//! Directories that outlive a build: `RUN --mount=type=cache`.
//!
//! ```text
//! cache-mounts/<sha256 of the id>[-n]/
//!     id        the id as written
//!     data/     what the command sees
//! ```
//! As with BuildKit, an id with an owner or mode of its own, or with files to begin with, is another directory than the
//! id alone. The directory's lock says who uses it: shared by those that share, alone by those that do not.

mod archive;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::dockerfile::Sharing;
use crate::solve::Cancel;
use crate::{BuildError, Result};

pub use archive::{export_cache_mount, import_cache_mount};

/// A cache directory in use.
#[derive(Debug)]
pub(crate) struct CacheMount {
    name: String,
    data: PathBuf,
    _lock: File,
}

/// Which one, and how it is made if it is not there.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) id: &'a str,
    pub(crate) sharing: Sharing,
    /// What a new one holds.
    pub(crate) initial: Option<Initial<'a>>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

/// What a cache directory begins with.
#[derive(Debug)]
pub(crate) struct Initial<'a> {
    pub(crate) path: &'a Path,
    /// Stands for the content.
    pub(crate) identity: &'a str,
}

impl Wanted<'_> {
    /// The directory's name, whoever uses it.
    fn name(&self) -> String {
        let mut text = self.id.to_owned();
        if (self.mode, self.owner) != (MODE, (0, 0)) {
            let (uid, gid) = self.owner;
            text += &format!("\0{uid}:{gid}:{:o}", self.mode);
        }
        if let Some(initial) = &self.initial {
            text += &format!("\0{}", initial.identity);
        }
        rctr_store::sha256(text.as_bytes()).digest().to_owned()
    }
}

impl CacheMount {
    /// Takes a cache directory, made if it is not there.
    pub(crate) fn take(root: &Path, wanted: &Wanted<'_>, cancel: &Cancel) -> Result<CacheMount> {
        let name = wanted.name();
        let all = directory(root);
        make_dir(&all)?;
        if wanted.sharing != Sharing::Private {
            let how = match wanted.sharing {
                Sharing::Locked => FlockOperation::NonBlockingLockExclusive,
                _ => FlockOperation::NonBlockingLockShared,
            };
            loop {
                if let Some(taken) = take(&all.join(&name), wanted, how)? {
                    return Ok(taken);
                }
                if cancel.wait(WAIT_MS) {
                    return Err(BuildError::Cancelled);
                }
            }
        }
        let mut number = 0;
        loop {
            let name = match number {
                0 => name.clone(),
                n => format!("{name}-{n}"),
            };
            let how = FlockOperation::NonBlockingLockExclusive;
            if let Some(taken) = take(&all.join(name), wanted, how)? {
                return Ok(taken);
            }
            number += 1;
        }
    }

    /// Whether it is what is wanted: then one command uses it twice.
    pub(crate) fn serves(&self, wanted: &Wanted<'_>) -> bool {
        self.name == wanted.name()
    }

    /// What the command sees.
    pub(crate) fn path(&self) -> &Path {
        &self.data
    }
}

/// Of a directory whose mode nobody says.
const MODE: u32 = 0o755;

/// How often it is looked whether somebody else's use has ended.
const WAIT_MS: i64 = 20;

/// The file with the id.
const ID: &str = "id";

/// A cache directory, for those who look after the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMountUsage {
    /// Name of its directory.
    pub key: String,
    /// The id it is known by in Dockerfiles.
    pub id: String,
    /// Bytes it takes.
    pub size: u64,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When a step used it last.
    pub last_used: i64,
    /// A step uses it now.
    pub in_use: bool,
}

/// The directory that an id or a directory's name stands for: of several with one id, that without an owner, mode or
/// beginning of its own, else the one used last.
fn find(root: &Path, id: &str) -> Result<PathBuf> {
    let all = directory(root);
    let usual = all.join(rctr_store::sha256(id.as_bytes()).digest());
    if usual.join("data").exists() {
        return Ok(usual);
    }
    let known = cache_mounts(root)?;
    let found = known.iter().rev().find(|m| m.id == id || m.key == id);
    Ok(found.map_or(usual, |mount| all.join(&mount.key)))
}

/// All cache directories below the store's root.
///
/// # Errors
/// [`BuildError::Io`], [`BuildError::Store`].
pub fn cache_mounts(root: &Path) -> Result<Vec<CacheMountUsage>> {
    let all = directory(root);
    let entries = match fs::read_dir(&all) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(BuildError::io("read", &all))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let dir = entry.map_err(BuildError::io("read", &all))?.path();
        let data = dir.join("data");
        let (Ok(made), Ok(id)) = (fs::metadata(&data), fs::read_to_string(dir.join(ID))) else {
            // Being made, or cleared away.
            continue;
        };
        let used = fs::metadata(dir.join(ID)).and_then(|meta| meta.modified());
        found.push(CacheMountUsage {
            key: dir
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            id,
            size: rctr_store::tree_size(&data)?,
            created: seconds(made.created().or(made.modified()).unwrap_or(UNIX_EPOCH)),
            last_used: seconds(used.unwrap_or(UNIX_EPOCH)),
            in_use: lock_alone(&dir)?.is_none(),
        });
    }
    found.sort_by(|a, b| (a.last_used, &a.key).cmp(&(b.last_used, &b.key)));
    Ok(found)
}

/// Empties those of the cache directories that no step uses which `chosen` chooses; which those were.
///
/// # Errors
/// [`BuildError::Io`], [`BuildError::Store`].
pub fn prune_cache_mounts(
    root: &Path,
    chosen: &dyn Fn(&CacheMountUsage) -> bool,
) -> Result<Vec<CacheMountUsage>> {
    let mut pruned = Vec::new();
    for usage in cache_mounts(root)? {
        let dir = directory(root).join(&usage.key);
        if !chosen(&usage) {
            continue;
        }
        let Some(_lock) = lock_alone(&dir)? else {
            continue;
        };
        // Out of the way first: it is there whole or not at all.
        let (data, old) = (dir.join("data"), dir.join("old"));
        let clear = || match fs::remove_dir_all(&old) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
        clear()
            .and_then(|()| fs::rename(&data, &old))
            .and_then(|()| clear())
            .map_err(BuildError::io("remove", &data))?;
        pruned.push(usage);
    }
    Ok(pruned)
}

/// The lock of a cache directory, unless somebody uses it.
fn lock_alone(dir: &Path) -> Result<Option<File>> {
    let lock = File::open(dir).map_err(BuildError::io("open", dir))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(BuildError::io("lock", dir)(e.into())),
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// `<root>/cache-mounts`.
fn directory(root: &Path) -> PathBuf {
    root.join("cache-mounts")
}

fn make_dir(path: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(BuildError::io("create", path)(e))
        }
        _ => Ok(()),
    }
}

/// The directory, unless somebody uses it in a way that excludes us.
fn take(dir: &Path, wanted: &Wanted<'_>, how: FlockOperation) -> Result<Option<CacheMount>> {
    make_dir(dir)?;
    let lock = File::open(dir).map_err(BuildError::io("open", dir))?;
    let data = dir.join("data");
    if !data.exists() {
        // Whoever makes it does so alone.
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            other => other.map_err(|e| BuildError::io("lock", dir)(e.into()))?,
        }
        if !data.exists() {
            make(dir, &data, wanted)?;
        }
    }
    match flock(&lock, how) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        other => other.map_err(|e| BuildError::io("lock", dir)(e.into()))?,
    }
    if !data.exists() {
        return Ok(None);
    }
    // Its time tells when the mount was used last; nothing depends on it.
    let used = File::options().write(true).open(dir.join(ID));
    let _ = used.and_then(|file| file.set_modified(SystemTime::now()));
    Ok(Some(CacheMount {
        name: wanted.name(),
        data,
        _lock: lock,
    }))
}

/// Makes it under another name first: it is there whole or not at all.
fn make(dir: &Path, data: &Path, wanted: &Wanted<'_>) -> Result<()> {
    let fresh = dir.join("new");
    let build = || -> io::Result<()> {
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        fs::write(dir.join(ID), wanted.id)?;
        fs::DirBuilder::new().mode(wanted.mode).create(&fresh)?;
        fs::set_permissions(
            &fresh,
            std::os::unix::fs::PermissionsExt::from_mode(wanted.mode),
        )?;
        chown(&fresh, Some(wanted.owner.0), Some(wanted.owner.1))
    };
    build().map_err(BuildError::io("create", &fresh))?;
    if let Some(initial) = &wanted.initial {
        crate::solve::copy_tree(initial.path, &fresh)?;
    }
    fs::rename(&fresh, data).map_err(BuildError::io("create", data))
}
