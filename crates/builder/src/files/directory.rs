//! Copies what is in a directory: first the directories, then the files, by several threads, last the directories'
//! times.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{FileType, Mode, fchmod, futimens, mkdirat, openat};
use rustix::io::Errno;

use super::digest::content_hash;
use super::entry::Entry;
use super::error::{At, FilesError, Result, text};
use super::opened::{BUFFER, Opened, transfer};
use super::path::{DIRECTORY, DIRECTORY_PATH, join, open_dir, split};
use super::select::{Selected, Selection};
use super::target::{Policy, Spot, apply, times};

/// Files a thread takes at once: neighbours, mostly of one directory.
const BATCH: usize = 32;

/// A directory of a selection on its way.
pub(super) struct DirectoryCopy<'a> {
    pub policy: Policy<'a>,
    pub selection: &'a Selection,
    /// Which of the selection's sources.
    pub index: usize,
    pub from: OwnedFd,
    pub to: OwnedFd,
    /// Of the destination, for messages.
    pub path: Vec<u8>,
}

/// An open directory on both sides.
struct Level {
    from: OwnedFd,
    to: OwnedFd,
}

/// What must wait until all files are there.
#[derive(Default)]
struct Later<'a> {
    /// By their number among the entries.
    files: Vec<usize>,
    /// Further names of a file, and where its first one is.
    links: Vec<(&'a Entry, &'a [u8])>,
    /// Parents first, and whether they were there before.
    directories: Vec<(&'a Entry, bool)>,
}

impl DirectoryCopy<'_> {
    fn selected(&self) -> &Selected {
        &self.selection.sources[self.index]
    }

    /// Copies everything; the destination itself gets only the time.
    pub fn run(&self) -> Result<()> {
        let later = self.make()?;
        self.files(&later.files)?;
        for (entry, first) in &later.links {
            let (parent, name) = split(&entry.path);
            let path = join(&self.path, &entry.path);
            let dir = open_dir(self.to.as_fd(), parent, DIRECTORY_PATH).at("open", &path)?;
            let spot = Spot {
                dir: &dir,
                name,
                path: &path,
            };
            spot.hard_link(&self.to, first)?;
        }
        for (entry, kept) in later.directories.iter().rev() {
            let path = join(&self.path, &entry.path);
            let dir = open_dir(self.to.as_fd(), &entry.path, DIRECTORY).at("open", &path)?;
            if entry.implied && *kept {
                let mode = Mode::from_raw_mode(entry.meta.mode & 0o7777);
                fchmod(&dir, mode).at("set the mode of", &path)?;
                continue;
            }
            let attributes = self
                .policy
                .attributes(&entry.meta, self.selection.tree.owned());
            apply(&dir, &attributes, &entry.xattrs, &path)?;
        }
        let time = self.policy.attributes(&self.selected().meta, true).mtime;
        futimens(&self.to, &times(time)).at("set the time of", &self.path)
    }

    /// Makes all but regular files.
    fn make(&self) -> Result<Later<'_>> {
        let mut later = Later::default();
        let mut first_names: HashMap<(u64, u64), &[u8]> = HashMap::new();
        let clone = |fd: &OwnedFd| fd.try_clone().at("open", &self.path);
        let mut levels = vec![Level {
            from: clone(&self.from)?,
            to: clone(&self.to)?,
        }];
        for (number, entry) in self.selected().entries.iter().enumerate() {
            levels.truncate(entry.depth());
            let Some(top) = levels.last() else {
                break;
            };
            let path = join(&self.path, &entry.path);
            let spot = Spot {
                dir: &top.to,
                name: entry.name(),
                path: &path,
            };
            let attributes = || {
                self.policy
                    .attributes(&entry.meta, self.selection.tree.owned())
            };
            match entry.kind() {
                FileType::Directory => {
                    let (level, kept) = self.enter(entry, top, spot)?;
                    levels.push(level);
                    later.directories.push((entry, kept));
                }
                FileType::RegularFile if entry.meta.links > 1 => {
                    let id = (entry.meta.dev, entry.meta.ino);
                    match first_names.get(&id) {
                        Some(first) => later.links.push((entry, first)),
                        None => {
                            first_names.insert(id, &entry.path);
                            later.files.push(number);
                        }
                    }
                }
                FileType::RegularFile => later.files.push(number),
                FileType::Symlink => {
                    spot.symlink(entry.link.as_deref().unwrap_or_default(), &attributes())?;
                }
                kind => spot.node(kind, entry.meta.rdev, &attributes())?,
            }
        }
        Ok(later)
    }

    fn enter(&self, entry: &Entry, top: &Level, spot: Spot<'_>) -> Result<(Level, bool)> {
        let source = || join(&self.selected().base, &entry.path);
        let from = match openat(&top.from, entry.name(), DIRECTORY_PATH, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Err(FilesError::Changed {
                    path: text(&source()),
                });
            }
            other => other.at("open", &source())?,
        };
        let kept = match mkdirat(spot.dir, spot.name, Mode::RWXU) {
            Ok(()) => false,
            Err(Errno::EXIST) => true,
            Err(e) => return Err(e).at("create", spot.path),
        };
        match openat(spot.dir, spot.name, DIRECTORY_PATH, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => Err(FilesError::OntoNonDirectory {
                path: text(spot.path),
            }),
            other => Ok((
                Level {
                    from,
                    to: other.at("open", spot.path)?,
                },
                kept,
            )),
        }
    }

    /// Copies the files with these numbers.
    fn files(&self, numbers: &[usize]) -> Result<()> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.min(numbers.len() / (2 * BATCH)).max(1);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            let mut worker = Worker {
                copy: self,
                buffer: vec![0; BUFFER],
                at: None,
            };
            loop {
                let start = next.fetch_add(BATCH, Ordering::Relaxed);
                if start >= numbers.len() || failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                for &number in numbers.iter().skip(start).take(BATCH) {
                    worker
                        .file(number)
                        .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
                }
            }
        };
        if threads == 1 {
            return work();
        }
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                match other.join() {
                    Ok(other) => result = result.and(other),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            result
        })
    }
}

/// What one thread works with.
struct Worker<'a> {
    copy: &'a DirectoryCopy<'a>,
    buffer: Vec<u8>,
    /// The directory of the last file: files come in the order of their directories.
    at: Option<(&'a [u8], Level)>,
}

impl<'a> Worker<'a> {
    fn file(&mut self, number: usize) -> Result<()> {
        let copy = self.copy;
        let entry = &copy.selected().entries[number];
        let (parent, name) = split(&entry.path);
        let level = match self.at.take() {
            Some((path, level)) if path == parent => level,
            _ => self.open(parent)?,
        };
        let (_, level) = self.at.insert((parent, level));
        let hash = copy.selection.hashes.get().map(|h| &h[copy.index][number]);
        let source = Opened::at(&level.from, copy.selection, copy.selected(), entry, hash)?;
        let path = join(&copy.path, &entry.path);
        let spot = Spot {
            dir: &level.to,
            name,
            path: &path,
        };
        copy_file(source, spot, copy.policy, &mut self.buffer)
    }

    fn open(&self, parent: &[u8]) -> Result<Level> {
        let open = |dir: BorrowedFd<'_>| open_dir(dir, parent, DIRECTORY_PATH);
        let from = match open(self.copy.from.as_fd()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                let path = join(&self.copy.selected().base, parent);
                return Err(FilesError::Changed { path: text(&path) });
            }
            other => other.at("open", parent)?,
        };
        Ok(Level {
            from,
            to: open(self.copy.to.as_fd()).at("open", &join(&self.copy.path, parent))?,
        })
    }
}

/// Copies one file, and makes sure that it is what was hashed.
pub(super) fn copy_file(
    source: Opened<'_>,
    spot: Spot<'_>,
    policy: Policy<'_>,
    buffer: &mut [u8],
) -> Result<()> {
    let attributes = source.attributes(policy);
    let mut to = File::from(spot.file(attributes.mode)?);
    transfer(&source.file, &to, source.meta.size, buffer).at("copy to", spot.path)?;
    if source.must_verify()? {
        to.seek(SeekFrom::Start(0)).at("read", spot.path)?;
        let hash = content_hash(&mut to, &source.xattrs, buffer).at("read", spot.path)?;
        source.verify(&hash)?;
    }
    apply(&to.into(), &attributes, &source.xattrs, spot.path)
}
