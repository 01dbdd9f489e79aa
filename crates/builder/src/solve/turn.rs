//! One step, one builder: of several builds that miss the same result at the same time one makes it, the others wait
//! for it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Cancel;
use crate::{BuildError, Result};

/// How often it is looked whether the other build has ended.
const WAIT_MS: i64 = 10;

/// The right to make a result; ends when dropped, or with the process.
#[derive(Debug)]
pub(super) struct Turn {
    path: PathBuf,
    _lock: File,
}

impl Turn {
    /// Takes the turn for a key, after whoever has it; whether there was somebody.
    pub(super) fn take(root: &Path, key: &str, cancel: &Cancel) -> Result<(Turn, bool)> {
        let dir = root.join("build/turns");
        fs::create_dir_all(&dir).map_err(BuildError::io("create", &dir))?;
        let path = dir.join(key.trim_start_matches("sha256:"));
        let mut waited = false;
        loop {
            if let Some(lock) = try_lock(&path)? {
                return Ok((Turn { path, _lock: lock }, waited));
            }
            waited = true;
            if cancel.wait(WAIT_MS) {
                return Err(BuildError::Cancelled);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While we hold its lock: whoever locks it afterwards sees that it is gone.
        let _ = fs::remove_file(&self.path);
    }
}

/// The lock on the file that has this name at the moment.
fn try_lock(path: &Path) -> Result<Option<File>> {
    let failed = |e: io::Error| BuildError::io("lock", path)(e);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        other => other.map_err(|e| failed(e.into()))?,
    }
    let inode = file.metadata().map_err(failed)?.ino();
    Ok(match fs::metadata(path) {
        Ok(now) if now.ino() == inode => Some(file),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = Cancel::new().unwrap();
        let (first, waited) = Turn::take(dir.path(), "sha256:aa", &cancel).unwrap();
        assert!(!waited);
        drop(Turn::take(dir.path(), "sha256:bb", &cancel).unwrap());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Turn::take(dir.path(), "sha256:aa", &cancel));
            drop(first);
            second.join().unwrap().unwrap();
        });
        cancel.cancel();
        let (_held, _) = Turn::take(dir.path(), "sha256:aa", &cancel).unwrap();
        let stopped = Turn::take(dir.path(), "sha256:aa", &cancel);
        assert!(matches!(stopped, Err(BuildError::Cancelled)));
    }
}
