//! The walk over a tree, by directory descriptors.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, major, minor, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::error::{ArchiveError, Reason};
use super::header::{Header, kind};
use super::output::{FillError, Output, Sink};
use super::settle::{Settle, seconds};
use super::xattrs::Xattrs;
use crate::ArchiveProblem;

/// Directories within each other that a layer may have; unpacking has the same limit.
const MAX_DEPTH: usize = 1024;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What was archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Archived {
    /// Size of the archive in bytes.
    pub archive_size: u64,
    /// Sum of the sizes of the regular files, hard links counted once.
    pub size: u64,
    /// Nothing is in it.
    pub is_empty: bool,
}

/// Archives the tree beneath `root` into `sink`.
///
/// `list_root`: whether the root itself is a member. `settle`: the tree is fresh from an overlay and is made what
/// unpacking the archive would give.
pub(crate) fn archive(
    root: BorrowedFd<'_>,
    list_root: bool,
    settle: Option<Settle<'_>>,
    sink: &mut dyn Sink,
) -> Result<Archived, ArchiveError> {
    let mut walk = Walk::new(sink, settle);
    if let Err(reason) = walk.run(root, list_root) {
        return Err(ArchiveError {
            path: walk.path,
            reason,
        });
    }
    let (size, is_empty) = (walk.size, walk.members == 0);
    let archive_size = walk.output.finish().map_err(|e| ArchiveError {
        path: Vec::new(),
        reason: Reason::Sink(e),
    })?;
    Ok(Archived {
        archive_size,
        size,
        is_empty,
    })
}

/// Archives an upper directory that is in use and stays as it is, but for what `skip` says of paths relative to it.
pub(crate) fn archive_upper(
    root: BorrowedFd<'_>,
    skip: &Skip<'_>,
    sink: &mut dyn Sink,
) -> Result<(), ArchiveError> {
    let mut walk = Walk::new(sink, None);
    walk.skip = Some(skip);
    if let Err(reason) = walk.run(root, true) {
        return Err(ArchiveError {
            path: walk.path,
            reason,
        });
    }
    walk.output.finish().map(drop).map_err(|e| ArchiveError {
        path: Vec::new(),
        reason: Reason::Sink(e),
    })
}

/// Whether something is left out, by its path.
pub(crate) type Skip<'a> = dyn Fn(&[u8]) -> bool + 'a;

/// A walk on its way.
pub(super) struct Walk<'a> {
    pub(super) output: Output<'a>,
    settle: Option<Settle<'a>>,
    /// Some names and devices tell what is gone.
    pub(super) is_layer: bool,
    /// What is left out, by its path.
    pub(super) skip: Option<&'a Skip<'a>>,
    /// First name of each file with several.
    pub(super) links: HashMap<(u64, u64), Vec<u8>>,
    /// Of what is being archived, relative to the root. Left as it is when there is an error.
    pub(super) path: Vec<u8>,
    /// Room for names of extended attributes.
    names: Vec<u8>,
    size: u64,
    members: u64,
}

/// A directory whose entries are being archived.
struct Level {
    dir: OwnedFd,
    stat: Stat,
    entries: std::vec::IntoIter<Entry>,
    /// Length of its path.
    path: usize,
    /// Lower layers may have a directory there that shows through.
    merged: bool,
    /// There may be whiteouts marked by an attribute.
    marked_whiteouts: bool,
}

struct Entry {
    name: CString,
    kind: FileType,
}

impl<'a> Walk<'a> {
    pub(super) fn new(sink: &'a mut dyn Sink, settle: Option<Settle<'a>>) -> Self {
        Walk {
            output: Output::new(sink),
            settle,
            is_layer: true,
            skip: None,
            links: HashMap::new(),
            path: Vec::new(),
            names: Vec::new(),
            size: 0,
            members: 0,
        }
    }

    pub(super) fn run(&mut self, root: BorrowedFd<'_>, list_root: bool) -> Result<(), Reason> {
        let root = self.level(root, c".", true)?;
        let xattrs = self.xattrs(&root.dir)?;
        if list_root {
            self.member(Header {
                name: b"./",
                kind: kind::DIRECTORY,
                xattrs: &xattrs.kept,
                ..header(&root.stat, self.mtime(&root.stat))
            })?;
        }
        self.levels(root, list_root)
    }

    /// Archives something in a directory under the present path.
    pub(super) fn one(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Reason> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| Reason::System("look at", e))?;
        let entry = Entry {
            name: name.to_owned(),
            kind: FileType::from_raw_mode(stat.st_mode),
        };
        let parent = Level {
            dir: dir
                .try_clone_to_owned()
                .map_err(|_| Reason::System("open", Errno::MFILE))?,
            stat,
            entries: Vec::new().into_iter(),
            path: 0,
            merged: false,
            marked_whiteouts: false,
        };
        match self.add(&parent, &entry)? {
            Some(directory) => self.levels(directory, true),
            None => Ok(()),
        }
    }

    fn levels(&mut self, root: Level, list_root: bool) -> Result<(), Reason> {
        let mut levels = vec![root];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.path);
            match level.entries.next() {
                Some(entry) => {
                    if let Some(deeper) = self.entry(level, &entry)? {
                        levels.push(deeper);
                    }
                    if levels.len() > MAX_DEPTH + 1 {
                        return Err(Reason::Problem(ArchiveProblem::TooDeep));
                    }
                }
                None => {
                    let is_root = levels.len() == 1;
                    if let (Some(level), Some(settle)) = (levels.pop(), &self.settle) {
                        let dir = level.dir.as_fd();
                        if is_root && !list_root {
                            settle.time_of_implied_root(dir)
                        } else {
                            settle.time(dir, &level.stat)
                        }
                        .map_err(|e| Reason::System("set the time of", e))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Archives an entry; a directory is given back for what is in it.
    fn entry(&mut self, level: &Level, entry: &Entry) -> Result<Option<Level>, Reason> {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(entry.name.to_bytes());
        if self.skip.is_some_and(|skip| skip(&self.path)) {
            return Ok(None);
        }
        if self.is_layer && entry.name.to_bytes().starts_with(WHITEOUT) {
            return Err(Reason::Problem(ArchiveProblem::ReservedName));
        }
        self.add(level, entry)
    }

    /// Archives an entry whose path is the present one.
    fn add(&mut self, level: &Level, entry: &Entry) -> Result<Option<Level>, Reason> {
        match entry.kind {
            FileType::Directory => return self.directory(level, entry).map(Some),
            FileType::RegularFile => self.file(level, entry)?,
            _ => self.other(level, entry)?,
        }
        Ok(None)
    }

    fn directory(&mut self, parent: &Level, entry: &Entry) -> Result<Level, Reason> {
        let mut level = self.level(parent.dir.as_fd(), &entry.name, parent.merged)?;
        let xattrs = self.xattrs(&level.dir)?;
        let mut opaque = self.is_layer && xattrs.opaque == Some(b'y');
        level.merged &= !opaque;
        level.marked_whiteouts = xattrs.opaque == Some(b'x');
        if let Some(settle) = &self.settle {
            opaque = settle
                .opaque(&level.dir, &self.path, &xattrs, parent.merged)
                .map_err(|e| Reason::System("look beneath", e))?;
        }
        self.path.push(b'/');
        let header = header(&level.stat, self.mtime(&level.stat));
        self.named(Header {
            kind: kind::DIRECTORY,
            xattrs: &xattrs.kept,
            ..header
        })?;
        if opaque {
            self.marker(OPAQUE)?;
        }
        Ok(level)
    }

    fn level(&self, parent: BorrowedFd<'_>, name: &CStr, merged: bool) -> Result<Level, Reason> {
        let dir = open(parent, name, OFlags::DIRECTORY)?;
        let entries = sorted(dir.as_fd()).map_err(|e| Reason::System("read", e))?;
        Ok(Level {
            stat: fstat(&dir).map_err(|e| Reason::System("look at", e))?,
            entries: entries.into_iter(),
            path: self.path.len(),
            merged,
            marked_whiteouts: false,
            dir,
        })
    }

    fn file(&mut self, level: &Level, entry: &Entry) -> Result<(), Reason> {
        let file = open(level.dir.as_fd(), &entry.name, OFlags::NONBLOCK)?;
        let stat = fstat(&file).map_err(|e| Reason::System("look at", e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Reason::Problem(ArchiveProblem::Changed));
        }
        let xattrs = self.xattrs(&file)?;
        if level.marked_whiteouts && xattrs.whiteout && stat.st_size == 0 {
            if let Some(settle) = &self.settle {
                settle
                    .plain_whiteout(level.dir.as_fd(), &entry.name)
                    .map_err(|e| Reason::System("replace", e))?;
            }
            return self.whiteout(&entry.name);
        }
        if let Some(settle) = &self.settle {
            settle
                .time(file.as_fd(), &stat)
                .map_err(|e| Reason::System("set the time of", e))?;
        }
        if self.link(&stat)? {
            return Ok(());
        }
        let size = stat.st_size.unsigned_abs();
        // Files with holes may be of any size.
        self.size = self.size.saturating_add(size);
        self.named(Header {
            kind: kind::FILE,
            size,
            xattrs: &xattrs.kept,
            ..header(&stat, self.mtime(&stat))
        })?;
        self.output.fill(&file, size).map_err(|e| match e {
            FillError::Read(e) => Reason::System("read", e),
            FillError::Short => Reason::Problem(ArchiveProblem::Changed),
            FillError::Sink(e) => Reason::Sink(e),
        })
    }

    /// Links, devices, fifos and sockets.
    fn other(&mut self, level: &Level, entry: &Entry) -> Result<(), Reason> {
        let parent = level.dir.as_fd();
        let stat = statat(parent, &entry.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| Reason::System("look at", e))?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if self.is_layer && file_type == FileType::CharacterDevice && stat.st_rdev == 0 {
            return self.whiteout(&entry.name);
        }
        if file_type == FileType::Socket {
            let hides = match &self.settle {
                Some(settle) => settle
                    .remove_socket(parent, &entry.name, &self.path, level.merged)
                    .map_err(|e| Reason::System("remove", e))?,
                None => false,
            };
            return if hides {
                self.whiteout(&entry.name)
            } else {
                Ok(())
            };
        }
        if let Some(settle) = &self.settle {
            settle
                .time_at(parent, &entry.name, &stat)
                .map_err(|e| Reason::System("set the time of", e))?;
        }
        if self.link(&stat)? {
            return Ok(());
        }
        let mut target = Vec::new();
        let kind = match file_type {
            FileType::Symlink => {
                target = readlinkat(parent, &entry.name, Vec::new())
                    .map_err(|e| Reason::System("read", e))?
                    .into_bytes();
                kind::SYMLINK
            }
            FileType::CharacterDevice => kind::CHAR_DEVICE,
            FileType::BlockDevice => kind::BLOCK_DEVICE,
            FileType::Fifo => kind::FIFO,
            _ => return Err(Reason::Problem(ArchiveProblem::Changed)),
        };
        let device = match file_type {
            FileType::CharacterDevice | FileType::BlockDevice => {
                (major(stat.st_rdev), minor(stat.st_rdev))
            }
            _ => (0, 0),
        };
        self.named(Header {
            link: &target,
            kind,
            device,
            ..header(&stat, self.mtime(&stat))
        })
    }

    /// Adds a hard link to a file that is in the archive already; false if it is not.
    fn link(&mut self, stat: &Stat) -> Result<bool, Reason> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let first = match self.links.entry((stat.st_dev, stat.st_ino)) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(self.path.clone());
                return Ok(false);
            }
            std::collections::hash_map::Entry::Occupied(first) => first.get().clone(),
        };
        self.named(Header {
            link: &first,
            kind: kind::HARD_LINK,
            ..header(stat, self.mtime(stat))
        })?;
        Ok(true)
    }

    /// Tells that the entry whose path is the present one is gone.
    fn whiteout(&mut self, name: &CString) -> Result<(), Reason> {
        let length = self.path.len();
        self.path.truncate(length - name.to_bytes().len());
        self.marker(&[WHITEOUT, name.to_bytes()].concat())?;
        self.path.extend_from_slice(name.to_bytes());
        Ok(())
    }

    /// An empty file that tells something, in the directory whose path, with a slash, is the present one.
    fn marker(&mut self, name: &[u8]) -> Result<(), Reason> {
        let name = [&self.path, name].concat();
        self.member(Header {
            name: &name,
            kind: kind::FILE,
            ..Header::default()
        })
    }

    /// A member with the present path.
    fn named(&mut self, header: Header<'_>) -> Result<(), Reason> {
        self.members += 1;
        let header = Header {
            name: &self.path,
            ..header
        };
        self.output
            .append(|to| header.write(to))
            .map_err(Reason::Sink)
    }

    pub(super) fn member(&mut self, header: Header<'_>) -> Result<(), Reason> {
        self.members += 1;
        self.output
            .append(|to| header.write(to))
            .map_err(Reason::Sink)
    }

    fn mtime(&self, stat: &Stat) -> i64 {
        seconds(stat, self.settle.as_ref().and_then(|s| s.clamp_mtime))
    }

    fn xattrs(&mut self, file: impl AsFd) -> Result<Xattrs, Reason> {
        Xattrs::read(file, &mut self.names).map_err(|e| Reason::System("read the attributes of", e))
    }
}

fn header(stat: &Stat, mtime: i64) -> Header<'static> {
    Header {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime,
        ..Header::default()
    }
}

fn open(parent: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Reason> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Reading must not change the file, but only its owner may ask for that.
    match openat(parent, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(parent, name, flags, Mode::empty()),
        other => other,
    }
    .map_err(|e| Reason::System("open", e))
}

fn sorted(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                FileType::from_raw_mode(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
            }
            known => known,
        };
        found.push(Entry {
            name: name.to_owned(),
            kind,
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
