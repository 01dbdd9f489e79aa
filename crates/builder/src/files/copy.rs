//! COPY and ADD.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Mode, fchmod, futimens, mkdirat, openat};
use rustix::io::Errno;

use super::archive;
use super::chmod::Chmod;
use super::digest::content_hash;
use super::entry::{Entry, Meta};
use super::error::{At, FilesError, Result, text};
use super::opened::{Opened, transfer};
use super::path::{DIRECTORY, clean, join, split};
use super::select::{Selected, Selection};
use super::target::{Attributes, Spot, Target, apply, times};
use super::unpack::unpack;

const BUFFER: usize = 256 << 10;

/// Something to copy.
#[derive(Debug)]
pub enum Source {
    /// Files of a tree.
    Selection(Selection),
    /// A file written in the Dockerfile.
    Inline {
        /// Its name.
        name: String,
        /// Its content, variables expanded.
        content: Vec<u8>,
    },
}

/// What COPY or ADD says, everything expanded.
#[derive(Debug)]
pub struct CopyRequest<'a> {
    /// In order: later ones overwrite.
    pub sources: &'a [Source],
    /// Absolute. A slash at the end says that it is a directory.
    pub destination: &'a str,
    /// It is a directory even without a slash: there are several sources.
    pub destination_is_dir: bool,
    /// Owner of all that is copied and of directories made for it; else root, or whoever owns it in a stage.
    pub chown: Option<(u32, u32)>,
    /// Mode of all that is copied.
    pub chmod: Option<&'a Chmod>,
    /// Files that are archives are unpacked, whatever their names.
    pub unpack: bool,
    /// Time of all that is copied instead of its own: seconds since 1970.
    pub timestamp: Option<i64>,
}

/// Copies beneath `root`, which nothing leaves: links in the destination are resolved as a process in a chroot would.
///
/// A directory's content is copied, not the directory. Missing directories are made: root's, 0755. A file replaces a
/// file or link of its name in a directory; a destination that is itself a link is written through. Files keep mode,
/// time and names they share (hard links).
///
/// # Errors
/// [`FilesError::Changed`] for a file that is not what it was when it was selected, [`FilesError::OntoDirectory`],
/// [`FilesError::OntoNonDirectory`], [`FilesError::Archive`], [`FilesError::Io`].
pub fn copy(root: BorrowedFd<'_>, request: &CopyRequest<'_>) -> Result<()> {
    let target = Target {
        root,
        chown: request.chown,
        chmod: request.chmod,
        timestamp: request.timestamp,
        made: RefCell::new(Vec::new()),
    };
    let copier = Copier {
        target: &target,
        request,
        buffer: RefCell::new(vec![0; BUFFER]),
    };
    for source in request.sources {
        match source {
            Source::Inline { name, content } => copier.inline(name, content)?,
            Source::Selection(selection) => {
                for (index, selected) in selection.sources.iter().enumerate() {
                    copier.selected(selection, index, selected)?;
                }
            }
        }
    }
    target.finish()
}

/// Makes a directory and its parents beneath `root` where they are missing, 0755, as WORKDIR does.
///
/// # Errors
/// [`FilesError::NotADirectory`], [`FilesError::Io`].
pub fn make_dirs(
    root: BorrowedFd<'_>,
    path: &str,
    owner: (u32, u32),
    timestamp: Option<i64>,
) -> Result<()> {
    let target = Target {
        root,
        chown: Some(owner),
        chmod: None,
        timestamp,
        made: RefCell::new(Vec::new()),
    };
    target.make_dirs(path.as_bytes())?;
    target.finish()
}

struct Copier<'a> {
    target: &'a Target<'a>,
    request: &'a CopyRequest<'a>,
    buffer: RefCell<Vec<u8>>,
}

/// A directory being copied: where from, where to, and what it is to become at the end.
struct Level<'a> {
    from: OwnedFd,
    to: OwnedFd,
    path: Vec<u8>,
    entry: Option<&'a Entry>,
    /// It was there before.
    kept: bool,
}

impl Copier<'_> {
    fn destination(&self) -> &[u8] {
        self.request.destination.as_bytes()
    }

    fn is_directory(&self) -> bool {
        let end = self.destination();
        self.request.destination_is_dir || end.ends_with(b"/") || end.ends_with(b"/.")
    }

    /// The directory and name a file goes to, and its path.
    fn file_spot(&self, name: &[u8]) -> Result<(OwnedFd, Vec<u8>, Vec<u8>)> {
        if self.is_directory() {
            self.target.make_dirs(self.destination())?;
        }
        let place = self.target.find(self.destination())?;
        if !place.is_dir() {
            let path = place.path();
            return Ok((place.dir, place.name, path));
        }
        let dir = openat(&place.dir, &place.name[..], DIRECTORY, Mode::empty());
        let dir = dir.at("open", &place.path())?;
        Ok((dir, name.to_vec(), join(&place.path(), name)))
    }

    fn inline(&self, name: &str, content: &[u8]) -> Result<()> {
        let name = clean(name.as_bytes());
        let (dir, name, path) = self.file_spot(split(&name).1)?;
        let spot = Spot {
            dir: &dir,
            name: &name,
            path: &path,
        };
        let mut file = File::from(spot.file()?);
        file.write_all(content).at("write", &path)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let meta = Meta {
            mode: FileType::RegularFile.as_raw_mode() | 0o644,
            mtime: (now.as_secs() as i64, now.subsec_nanos().into()),
            ..Meta::default()
        };
        apply(
            &file.into(),
            &self.target.attributes(&meta, false),
            &[],
            &path,
        )
    }

    fn selected(&self, selection: &Selection, index: usize, selected: &Selected) -> Result<()> {
        if selected.is_dir {
            return self.directory(selection, index, selected);
        }
        let hash = selection.hashes.get().map(|h| &h[index][0]);
        if kind_of(&selected.meta) == FileType::RegularFile {
            let source = Opened::new(selection, selected, &selected.entries[0], hash)?;
            if self.request.unpack && self.unpacked(&source, selected)? {
                return Ok(());
            }
            let (dir, name, path) = self.file_spot(&selected.name)?;
            let spot = Spot {
                dir: &dir,
                name: &name,
                path: &path,
            };
            return self.file(source, spot);
        }
        let (dir, name, path) = self.file_spot(&selected.name)?;
        let spot = Spot {
            dir: &dir,
            name: &name,
            path: &path,
        };
        let attributes = self
            .target
            .attributes(&selected.meta, selection.tree.owned());
        spot.node(kind_of(&selected.meta), selected.meta.rdev, &attributes)
    }

    /// Unpacks the file if it is an archive.
    fn unpacked(&self, source: &Opened<'_>, selected: &Selected) -> Result<bool> {
        let file = source.file.try_clone().at("open", &source.path)?;
        let Some(reader) = archive::open(file).at("read", &source.path)? else {
            (&source.file)
                .seek(SeekFrom::Start(0))
                .at("read", &source.path)?;
            return Ok(false);
        };
        let into = Target {
            root: self.target.root,
            chown: self.target.chown,
            chmod: None,
            timestamp: self.target.timestamp,
            made: RefCell::new(Vec::new()),
        };
        let dir = into.make_dirs(self.destination())?;
        unpack(reader, dir, self.target.chown, &text(&selected.name))?;
        self.target.made.borrow_mut().extend(into.made.take());
        source.check_unchanged()?;
        Ok(true)
    }

    fn directory(&self, selection: &Selection, index: usize, selected: &Selected) -> Result<()> {
        let tree = &selection.tree;
        let place = self.target.find(self.destination())?;
        if place.stat.is_some() && !place.is_dir() {
            return Err(FilesError::OntoNonDirectory {
                path: text(&place.path()),
            });
        }
        let to = self.target.make_dirs(self.destination())?;
        let from = super::path::open_dir(tree.root(), &selected.base, DIRECTORY)
            .at("open", &selected.base)?;
        let mut levels = vec![Level {
            from,
            to,
            path: place.path(),
            entry: None,
            kept: true,
        }];
        // Files with more than one name, and where the first copy of each went.
        let mut links: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
        let hashes = selection.hashes.get().map(|hashes| &hashes[index]);
        for (number, entry) in selected.entries.iter().enumerate() {
            while levels.len() > entry.depth() {
                if let Some(level) = levels.pop() {
                    self.leave(selection, level)?;
                }
            }
            let Some(top) = levels.last() else {
                break;
            };
            let path = join(&top.path, entry.name());
            let spot = Spot {
                dir: &top.to,
                name: entry.name(),
                path: &path,
            };
            match entry.kind() {
                FileType::Directory => {
                    let level = self.enter(selected, entry, top, spot)?;
                    levels.push(level);
                }
                FileType::RegularFile => {
                    let shared = (entry.meta.links > 1).then_some((entry.meta.dev, entry.meta.ino));
                    if let Some(first) = shared.and_then(|id| links.get(&id)) {
                        spot.hard_link(&levels[0].to, first)?;
                        continue;
                    }
                    let hash = hashes.map(|hashes| &hashes[number]);
                    let source = Opened::at(&top.from, selection, selected, entry, hash)?;
                    self.file(source, spot)?;
                    if let Some(id) = shared {
                        links.insert(id, entry.path.to_vec());
                    }
                }
                FileType::Symlink => {
                    let attributes = self.target.attributes(&entry.meta, tree.owned());
                    spot.symlink(entry.link.as_deref().unwrap_or_default(), &attributes)?;
                }
                kind => {
                    let attributes = self.target.attributes(&entry.meta, tree.owned());
                    spot.node(kind, entry.meta.rdev, &attributes)?;
                }
            }
        }
        while let Some(level) = levels.pop() {
            match level.entry {
                Some(_) => self.leave(selection, level)?,
                None => {
                    let time = self.target.attributes(&selected.meta, true).mtime;
                    futimens(&level.to, &times(time)).at("set the time of", &level.path)?;
                }
            }
        }
        Ok(())
    }

    fn enter<'e>(
        &self,
        selected: &Selected,
        entry: &'e Entry,
        top: &Level<'_>,
        spot: Spot<'_>,
    ) -> Result<Level<'e>> {
        let source = join(&selected.base, &entry.path);
        let from = match openat(&top.from, entry.name(), DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Err(FilesError::Changed {
                    path: text(&source),
                });
            }
            other => other.at("open", &source)?,
        };
        let kept = match mkdirat(spot.dir, spot.name, Mode::RWXU) {
            Ok(()) => false,
            Err(Errno::EXIST) => true,
            Err(e) => return Err(e).at("create", spot.path),
        };
        let to = match openat(spot.dir, spot.name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(FilesError::OntoNonDirectory {
                    path: text(spot.path),
                });
            }
            other => other.at("open", spot.path)?,
        };
        Ok(Level {
            from,
            to,
            path: spot.path.to_vec(),
            entry: Some(entry),
            kept,
        })
    }

    /// Gives a directory what it shall have, now that all is in it.
    fn leave(&self, selection: &Selection, level: Level<'_>) -> Result<()> {
        let Some(entry) = level.entry else {
            return Ok(());
        };
        let attributes = self.target.attributes(&entry.meta, selection.tree.owned());
        if entry.implied && level.kept {
            let mode = Mode::from_raw_mode(entry.meta.mode & 0o7777);
            return fchmod(&level.to, mode).at("set the mode of", &level.path);
        }
        apply(&level.to, &attributes, &entry.xattrs, &level.path)
    }

    fn file(&self, source: Opened<'_>, spot: Spot<'_>) -> Result<()> {
        let mut to = File::from(spot.file()?);
        let mut buffer = self.buffer.borrow_mut();
        transfer(&source.file, &to, source.meta.size, &mut buffer).at("copy to", spot.path)?;
        if source.must_verify()? {
            to.seek(SeekFrom::Start(0)).at("read", spot.path)?;
            let hash = content_hash(&mut to, &source.xattrs, &mut buffer).at("read", spot.path)?;
            source.verify(&hash)?;
        }
        let attributes: Attributes = source.attributes(self.target);
        apply(&to.into(), &attributes, &source.xattrs, spot.path)
    }
}

fn kind_of(meta: &Meta) -> FileType {
    FileType::from_raw_mode(meta.mode)
}
