//! Removing what commands that were killed have left half-made or half-removed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::{Engine, Error, Result, settle};

/// How soon a process that has looked looks again.
const INTERVAL: Duration = Duration::from_secs(60);

impl Engine {
    /// Removes what commands that were killed have left half-made or half-removed, and not what is being made. Whoever
    /// ends or removes something calls it, and nobody who starts something. What cannot be removed stays for the next one.
    pub fn sweep(&self) {
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.is_some_and(|at| at.elapsed() < INTERVAL) {
                return;
            }
            *swept = Some(Instant::now());
        }
        let leftovers = self.store.sweep_leftovers().map_err(Error::from);
        if let Err(error) = leftovers.and_then(|()| self.sweep_steps()) {
            let error = crate::chain(&error);
            tracing::warn!(
                error,
                "what commands that were killed have left is still there"
            );
        }
    }

    /// Removes the state directories of steps whose builder was killed before they ran.
    pub(crate) fn sweep_steps(&self) -> Result<()> {
        for dir in self.unknown_state_dirs()? {
            // Whoever runs one holds the lock; one without has a monitor.
            let Some(_lock) = lock_dir(&dir)? else {
                continue;
            };
            match rctr_runtime::status(&dir)? {
                rctr_runtime::Status::Running { .. } => {}
                _ => {
                    rctr_runtime::await_release(&dir)?;
                    settle::discard_state_dir(&dir)?;
                }
            }
        }
        Ok(())
    }

    /// The state directories that belong to no container or pod: those of the steps of builds, and what is left of them.
    pub(crate) fn unknown_state_dirs(&self) -> Result<Vec<PathBuf>> {
        let state = &self.config.state;
        let entries = match fs::read_dir(state) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(Error::file("list", state))?,
        };
        let names = entries.map(|entry| {
            let entry = entry.map_err(Error::file("list", state))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        });
        let mut names = names.collect::<Result<Vec<String>>>()?;
        names.retain(|name| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()));
        if names.is_empty() {
            return Ok(Vec::new());
        }
        // After the directories, which are made after the records and removed before them.
        let containers = self.store.container_versions()?.into_iter();
        let known: HashSet<String> = containers
            .chain(self.store.pod_versions()?)
            .map(|(id, _)| id)
            .collect();
        names.retain(|name| !known.contains(name));
        names.sort();
        Ok(names.into_iter().map(|name| state.join(name)).collect())
    }

    /// A new state directory of a step, locked.
    pub(crate) fn locked_state_dir(&self, id: &str) -> Result<(PathBuf, Flock<File>)> {
        let dir = self.state_dir(id);
        loop {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(Error::file("create", &dir))?;
            // Until then it may be taken for a leftover.
            if let Some(lock) = lock_dir(&dir)? {
                return Ok((dir, lock));
            }
        }
    }
}

/// The lock of a state directory, unless somebody has it or the directory is gone.
pub(crate) fn lock_dir(dir: &Path) -> Result<Option<Flock<File>>> {
    let open = || File::open(dir).and_then(|file| Ok((file.metadata()?.ino(), file)));
    let (inode, file) = match open() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::file("open", dir))?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        // Whoever had it before may have removed the directory.
        Ok(lock) => Ok(dir
            .metadata()
            .is_ok_and(|now| now.ino() == inode)
            .then_some(lock)),
        Err((_, nix::Error::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(Error::file("lock", dir)(errno.into())),
    }
}
