//! Directories that outlive a build: `RUN --mount=type=cache`.
//!
//! ```text
//! cache-mounts/<sha256 of the id>[-n]/
//!     id        the id as written
//!     data/     what the command sees
//! ```
//! The directory's lock says who uses it: shared by those that share, alone by those that do not.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::dockerfile::Sharing;
use crate::solve::Cancel;
use crate::{BuildError, Result};

/// A cache directory in use.
#[derive(Debug)]
pub(crate) struct CacheMount {
    data: PathBuf,
    _lock: File,
}

/// Which one, and how it is made if it is not there.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) id: &'a str,
    pub(crate) sharing: Sharing,
    /// What a new one holds.
    pub(crate) initial: Option<&'a Path>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

impl CacheMount {
    /// Takes a cache directory, made if it is not there.
    pub(crate) fn take(root: &Path, wanted: &Wanted<'_>, cancel: &Cancel) -> Result<CacheMount> {
        let name = rctr_store::sha256(wanted.id.as_bytes());
        let name = name.as_ref().trim_start_matches("sha256:").to_owned();
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

    /// What the command sees.
    pub(crate) fn path(&self) -> &Path {
        &self.data
    }
}

/// How often it is looked whether somebody else's use has ended.
const WAIT_MS: i64 = 20;

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
    Ok(data.exists().then_some(CacheMount { data, _lock: lock }))
}

/// Makes it under another name first: it is there whole or not at all.
fn make(dir: &Path, data: &Path, wanted: &Wanted<'_>) -> Result<()> {
    let fresh = dir.join("new");
    let build = || -> io::Result<()> {
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        fs::write(dir.join("id"), wanted.id)?;
        fs::DirBuilder::new().mode(wanted.mode).create(&fresh)?;
        fs::set_permissions(
            &fresh,
            std::os::unix::fs::PermissionsExt::from_mode(wanted.mode),
        )?;
        chown(&fresh, Some(wanted.owner.0), Some(wanted.owner.1))
    };
    build().map_err(BuildError::io("create", &fresh))?;
    if let Some(initial) = wanted.initial {
        crate::solve::copy_tree(initial, &fresh)?;
    }
    fs::rename(&fresh, data).map_err(BuildError::io("create", data))
}
