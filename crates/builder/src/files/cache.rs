//! Hashes of files that have not changed since they were computed.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::entry::Meta;

/// SHA-256 of a file's content and extended attributes.
pub(super) type Hash = [u8; 32];

/// The version is part of it: another layout is no cache.
const MAGIC: &[u8; 16] = b"rctr file hash 1";
/// Device, inode, size, mtime, ctime (seconds and nanoseconds), hash.
const RECORD: usize = 7 * 8 + 32;
/// So many entries nobody asked for are kept: other parts of the context, other branches.
const SPARE: usize = 50_000;
/// After so long without a change a cache is removed.
const OLD: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// Hashes by file identity, kept in one file.
///
/// An entry counts only for the same device, inode, size, mtime and ctime. The ctime cannot be set by anybody, so a
/// change that keeps size and mtime is seen. A missing or damaged file is an empty cache.
#[derive(Debug)]
pub struct HashCache {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<(u64, u64), Known>,
    changed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    size: u64,
    mtime: (i64, u64),
    ctime: (i64, u64),
    hash: Hash,
    asked: bool,
}

impl HashCache {
    /// Reads the cache kept at `path`, in one go.
    pub fn open(path: &Path) -> HashCache {
        let known = std::fs::read(path)
            .ok()
            .and_then(|bytes| parse(&bytes))
            .unwrap_or_default();
        HashCache {
            path: path.into(),
            state: Mutex::new(State {
                known,
                changed: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `each` a way to look up many files at once.
    pub(super) fn look_up<T>(
        &self,
        each: impl FnOnce(&mut dyn FnMut(&Meta) -> Option<Hash>) -> T,
    ) -> T {
        let mut state = self.lock();
        each(&mut |meta| {
            let known = state.known.get_mut(&(meta.dev, meta.ino))?;
            let same =
                (known.size, known.mtime, known.ctime) == (meta.size, meta.mtime, meta.ctime);
            known.asked |= same;
            same.then_some(known.hash)
        })
    }

    /// Remembers hashes of files that were not changed at the time of hashing.
    pub(super) fn remember(&self, hashes: impl Iterator<Item = (Meta, Hash)>) {
        let mut state = self.lock();
        for (meta, hash) in hashes {
            let known = Known {
                size: meta.size,
                mtime: meta.mtime,
                ctime: meta.ctime,
                hash,
                asked: true,
            };
            state.known.insert((meta.dev, meta.ino), known);
            state.changed = true;
        }
    }

    /// Writes the cache back if there is something new. Of two builds that do so at once, one's additions are lost.
    ///
    /// # Errors
    /// The file system's; the old file is then still whole.
    pub fn save(&self) -> io::Result<()> {
        let mut state = self.lock();
        if !state.changed {
            return Ok(());
        }
        let spare = state.known.values().filter(|k| !k.asked).count();
        if spare > SPARE {
            state.known.retain(|_, known| known.asked);
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&format(&state.known))?;
        file.persist(&self.path).map_err(|e| e.error)?;
        state.changed = false;
        remove_old(dir, OLD)
    }
}

/// Caches of contexts that have not changed for so long are not missed, and what a killed build left neither.
fn remove_old(dir: &Path, age: Duration) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let modified = entry.metadata().and_then(|meta| meta.modified());
        if modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed > age)) {
            match std::fs::remove_file(entry.path()) {
                // Another build was quicker.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

fn format(known: &HashMap<(u64, u64), Known>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + known.len() * RECORD + 32);
    bytes.extend_from_slice(MAGIC);
    for ((dev, ino), known) in known {
        let ((mtime, mtime_ns), (ctime, ctime_ns)) = (known.mtime, known.ctime);
        let numbers = [
            *dev,
            *ino,
            known.size,
            mtime as u64,
            mtime_ns,
            ctime as u64,
            ctime_ns,
        ];
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&known.hash);
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn parse(bytes: &[u8]) -> Option<HashMap<(u64, u64), Known>> {
    let (body, sum) = bytes.split_last_chunk::<32>()?;
    if Sha256::digest(body)[..] != sum[..] {
        return None;
    }
    let records = body.strip_prefix(&MAGIC[..])?;
    let mut known = HashMap::with_capacity(records.len() / RECORD);
    for record in records.chunks_exact(RECORD) {
        let (numbers, hash) = record.split_last_chunk::<32>()?;
        let mut numbers = numbers
            .as_chunks::<8>()
            .0
            .iter()
            .map(|n| u64::from_le_bytes(*n));
        let mut next = || numbers.next();
        let key = (next()?, next()?);
        let value = Known {
            size: next()?,
            mtime: (next()? as i64, next()?),
            ctime: (next()? as i64, next()?),
            hash: *hash,
            asked: false,
        };
        known.insert(key, value);
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(ino: u64) -> Meta {
        Meta {
            dev: 1,
            ino,
            size: 3,
            mtime: (5, 6),
            ctime: (-7, 8),
            ..Meta::default()
        }
    }

    fn ask(cache: &HashCache, meta: Meta) -> Option<Hash> {
        cache.look_up(|find| find(&meta))
    }

    #[test]
    fn only_the_very_same_file_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache");
        let cache = HashCache::open(&path);
        cache.remember([(meta(1), [1; 32]), (meta(2), [2; 32])].into_iter());
        cache.save().unwrap();
        let cache = HashCache::open(&path);
        assert_eq!(ask(&cache, meta(1)), Some([1; 32]));
        assert_eq!(ask(&cache, meta(2)), Some([2; 32]));
        assert_eq!(ask(&cache, meta(3)), None);
        for other in [
            Meta { size: 4, ..meta(1) },
            Meta {
                mtime: (5, 7),
                ..meta(1)
            },
            Meta {
                ctime: (-7, 9),
                ..meta(1)
            },
            Meta { dev: 2, ..meta(1) },
        ] {
            assert_eq!(ask(&cache, other), None);
        }
    }

    #[test]
    fn a_damaged_file_is_an_empty_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache");
        let cache = HashCache::open(&path);
        cache.remember([(meta(1), [1; 32])].into_iter());
        cache.save().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[40] ^= 1;
        for damaged in [&flipped[..], &whole[..whole.len() - 1], b"", b"nonsense"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(ask(&HashCache::open(&path), meta(1)), None);
        }
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(ask(&HashCache::open(&path), meta(1)), Some([1; 32]));
    }

    #[test]
    fn caches_nobody_has_used_for_long_go() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old");
        std::fs::write(&old, "x").unwrap();
        let then = std::time::SystemTime::now() - OLD - Duration::from_secs(60);
        let file = std::fs::File::options().write(true).open(&old).unwrap();
        file.set_modified(then).unwrap();
        let cache = HashCache::open(&dir.path().join("new"));
        cache.remember([(meta(1), [1; 32])].into_iter());
        cache.save().unwrap();
        assert!(!old.exists());
        assert!(dir.path().join("new").exists());
    }
}
