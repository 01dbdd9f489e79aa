//! What a copy depends on, as one hash.

use std::fmt::Write as _;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{FileType, fstat};
use sha2::{Digest as _, Sha256};

use super::cache::Hash;
use super::entry::{Entry, Meta, Xattr, xattrs};
use super::error::{At, FilesError, Result, text};
use super::path::join;
use super::select::{Selected, Selection};
use super::tree::Tree;

/// A ctime this close to when a file was looked at may stand for two contents: the kernel's clock for it ticks every
/// 10 ms at worst.
const RACY_NS: i128 = 20_000_000;
/// The same where times are kept in seconds, or in two (FAT).
const RACY_SECONDS_NS: i128 = 2_500_000_000;
const BUFFER: usize = 128 << 10;
/// Fewer files are hashed sooner than threads are started.
const FILES_PER_THREAD: usize = 16;
const BYTES_PER_THREAD: u64 = 1 << 20;

impl Selection {
    /// SHA-256, in hex, of all that a copy's result depends on: names as they will be copied, types, modes, contents,
    /// link targets; of images and stages also owners and extended attributes. Times are no part of it, nor are a
    /// context's owners. Files whose hashes are not cached are read, by as many threads as there are processors.
    ///
    /// # Errors
    /// [`FilesError::Changed`] for a file that is written to meanwhile; [`FilesError::Io`].
    pub fn digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(b"rctr selection 1\0");
        if let Some(identity) = &self.tree.identity {
            field(&mut hash, identity.as_bytes());
            for source in &self.sources {
                field(&mut hash, &source.base);
                field(&mut hash, &source.name);
                for entry in &source.entries {
                    field(&mut hash, &entry.path);
                }
            }
            return Ok(hex(hash));
        }
        let hashes = self.hashes()?;
        for (source, hashes) in self.sources.iter().zip(hashes) {
            hash.update([u8::from(source.is_dir)]);
            field(&mut hash, if source.is_dir { b"" } else { &source.name });
            for (entry, content) in source.entries.iter().zip(hashes) {
                add(&mut hash, &self.tree, entry, content);
            }
            hash.update(b"\0end\0");
        }
        Ok(hex(hash))
    }

    /// The hash of each entry that is a regular file; zeros for others.
    fn hashes(&self) -> Result<&Vec<Vec<Hash>>> {
        if let Some(hashes) = self.hashes.get() {
            return Ok(hashes);
        }
        let mut hashes: Vec<Vec<Hash>> = self
            .sources
            .iter()
            .map(|source| vec![[0; 32]; source.entries.len()])
            .collect();
        let mut unknown = Vec::new();
        let mut look_up = |find: &mut dyn FnMut(&Meta) -> Option<Hash>| {
            for (s, source) in self.sources.iter().enumerate() {
                for (e, entry) in source.entries.iter().enumerate() {
                    if entry.kind() != FileType::RegularFile {
                        continue;
                    }
                    match find(&entry.meta) {
                        Some(hash) => hashes[s][e] = hash,
                        None => unknown.push((s, e)),
                    }
                }
            }
        };
        match &self.tree.cache {
            Some(cache) => cache.look_up(look_up),
            None => look_up(&mut |_| None),
        }
        let found = self.hash_files(&unknown)?;
        if let (Some(cache), false) = (&self.tree.cache, found.is_empty()) {
            let safe = found.iter().filter_map(|(job, hash)| {
                let (s, e) = unknown[*job];
                let meta = self.sources[s].entries[e].meta;
                (!self.is_racy(&meta)).then_some((meta, *hash))
            });
            cache.remember(safe);
            if let Err(e) = cache.save() {
                tracing::warn!(error = %e, "hashes of the context's files are not remembered");
            }
        }
        for (job, hash) in found {
            let (s, e) = unknown[job];
            hashes[s][e] = hash;
        }
        Ok(self.hashes.get_or_init(|| hashes))
    }

    /// Whether a file may have changed since without its status showing it.
    pub(super) fn is_racy(&self, meta: &Meta) -> bool {
        let margin = match meta.ctime.1 {
            0 => RACY_SECONDS_NS,
            _ => RACY_NS,
        };
        self.since - meta.changed_ns() < margin
    }

    fn hash_files(&self, jobs: &[(usize, usize)]) -> Result<Vec<(usize, Hash)>> {
        let of = |job: usize| {
            let (s, e) = jobs[job];
            (&self.sources[s], &self.sources[s].entries[e])
        };
        let sizes = (0..jobs.len()).map(|job| of(job).1.meta.size);
        let bytes = sizes.fold(0, u64::saturating_add);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let useful = (jobs.len() / FILES_PER_THREAD).max((bytes / BYTES_PER_THREAD) as usize);
        let threads = processors.min(useful).min(jobs.len()).max(1);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            let mut buffer = vec![0; BUFFER];
            let mut found = Vec::new();
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                if job >= jobs.len() || failed.load(Ordering::Relaxed) {
                    return Ok(found);
                }
                let (source, entry) = of(job);
                match hash_file(&self.tree, source, entry, &mut buffer) {
                    Ok(hash) => found.push((job, hash)),
                    Err(e) => {
                        failed.store(true, Ordering::Relaxed);
                        return Err(e);
                    }
                }
            }
        };
        if threads == 1 {
            return work();
        }
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut found = work()?;
            for other in others {
                match other.join() {
                    Ok(more) => found.extend(more?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(found)
        })
    }
}

/// One hash for the content and the extended attributes: a cached hash stands for both, as setting either changes ctime.
fn hash_file(tree: &Tree, source: &Selected, entry: &Entry, buffer: &mut [u8]) -> Result<Hash> {
    let path = join(&source.base, &entry.path);
    let changed = || FilesError::Changed { path: text(&path) };
    let (file, meta) = match tree.open_file(&path) {
        Err(FilesError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(changed());
        }
        other => other?,
    };
    if !meta.same_content(&entry.meta) {
        return Err(changed());
    }
    let attributes = xattrs(file.as_fd(), tree.attributes()).at("read attributes of", &path)?;
    let mut file = std::fs::File::from(file);
    let hash = content_hash(&mut file, &attributes, buffer).at("read", &path)?;
    let after = fstat(&file).at("look at", &path)?;
    match Meta::from(&after).same_content(&meta) {
        true => Ok(hash),
        false => Err(changed()),
    }
}

/// What a file's hash is made of.
pub(super) fn content_hash(
    file: &mut impl Read,
    attributes: &[Xattr],
    buffer: &mut [u8],
) -> std::io::Result<Hash> {
    let mut hash = Sha256::new();
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => hash.update(&buffer[..count]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let content: Hash = hash.finalize().into();
    if attributes.is_empty() {
        return Ok(content);
    }
    let mut hash = Sha256::new_with_prefix(content);
    add_xattrs(&mut hash, attributes);
    Ok(hash.finalize().into())
}

fn add_xattrs(hash: &mut Sha256, attributes: &[Xattr]) {
    for (name, value) in attributes {
        field(hash, name.to_bytes());
        field(hash, value);
    }
}

fn add(hash: &mut Sha256, tree: &Tree, entry: &Entry, content: &Hash) {
    let kind = match entry.kind() {
        // A socket is copied as an empty file.
        FileType::RegularFile | FileType::Socket => b'f',
        FileType::Directory if entry.implied => b'i',
        FileType::Directory => b'd',
        FileType::Symlink => b'l',
        FileType::CharacterDevice => b'c',
        FileType::BlockDevice => b'b',
        FileType::Fifo => b'p',
        FileType::Unknown => b'?',
    };
    hash.update([kind]);
    hash.update((entry.meta.mode & 0o7777).to_le_bytes());
    if tree.owned() {
        hash.update(entry.meta.uid.to_le_bytes());
        hash.update(entry.meta.gid.to_le_bytes());
    }
    field(hash, &entry.path);
    match kind {
        b'f' => hash.update(content),
        b'l' => field(hash, entry.link.as_deref().unwrap_or_default()),
        b'c' | b'b' => hash.update(entry.meta.rdev.to_le_bytes()),
        _ => {}
    }
    add_xattrs(hash, &entry.xattrs);
    hash.update([0]);
}

/// Bytes of any length, so that no two rows of fields are the same bytes.
pub(super) fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
