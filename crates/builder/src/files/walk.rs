//! Walks a directory: one descriptor and one read a directory, one look at each name.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, RawDir, openat, readlinkat, statat};
use rustix::io::Errno;

use super::entry::{Entry, Meta, xattrs};
use super::error::{At, FilesError, Result, text};
use super::path::{DIRECTORY, kind};
use super::tree::Tree;
use crate::ignore::{Ignore, Matches};

/// Levels of directories: what a sane tree has many times over, and two descriptors each.
const MAX_DEPTH: usize = 256;

/// A name in a directory, and its type if the file system says it there.
pub(super) struct Name {
    pub name: CString,
    pub kind: FileType,
}

/// The names in a directory but `.` and `..`, sorted by their bytes.
pub(super) fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<Name>> {
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(Name {
                name: name.to_owned(),
                kind: entry.file_type(),
            });
        }
    }
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

/// What of a directory is wanted.
#[derive(Clone, Copy)]
pub(super) struct Filter<'a> {
    /// `--exclude`, relative to the source.
    pub exclude: Option<&'a Ignore>,
    /// `--parents`: only what matches.
    pub include: Option<&'a Ignore>,
}

pub(super) struct Walker<'a> {
    tree: &'a Tree,
    hidden: Rule<'a>,
    excluded: Rule<'a>,
    included: Rule<'a>,
    /// Of the present directory: from the tree's root, and how much of it is not the source's own.
    path: Vec<u8>,
    base: usize,
    depth: usize,
    entries: Vec<Entry>,
}

impl<'a> Walker<'a> {
    /// Everything wanted below the directory at a path without links, parents first, in order of their names.
    pub fn walk(
        tree: &'a Tree,
        dir: OwnedFd,
        path: &[u8],
        filter: Filter<'a>,
    ) -> Result<Vec<Entry>> {
        let mut hidden = Rule::new(tree.ignore.as_deref());
        for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            hidden.enter(&path[..slash]);
        }
        let mut start = path.to_vec();
        if !path.is_empty() {
            hidden.enter(path);
            start.push(b'/');
        }
        let mut walker = Walker {
            tree,
            hidden,
            excluded: Rule::new(filter.exclude),
            included: Rule::new(filter.include),
            base: start.len(),
            path: start,
            depth: 0,
            entries: Vec::new(),
        };
        walker.directory(dir)?;
        Ok(walker.entries)
    }

    fn directory(&mut self, dir: OwnedFd) -> Result<()> {
        if self.depth >= MAX_DEPTH {
            return Err(FilesError::TooDeep {
                path: text(&self.path),
                limit: MAX_DEPTH,
            });
        }
        self.depth += 1;
        let length = self.path.len();
        for name in names(dir.as_fd()).at("read", &self.path)? {
            self.path.extend_from_slice(name.name.as_bytes());
            self.visit(&dir, name)?;
            self.path.truncate(length);
        }
        self.depth -= 1;
        Ok(())
    }

    fn visit(&mut self, dir: &OwnedFd, name: Name) -> Result<()> {
        let mut stat = None;
        if name.kind == FileType::Unknown {
            stat = look(dir, &name).at("look at", &self.path)?;
        }
        let is_dir = stat.as_ref().map_or(name.kind, kind) == FileType::Directory;
        let hidden = self.hidden.judge(&self.path);
        let excluded = self.excluded.judge(&self.path[self.base..]);
        let included =
            self.included.ignore.is_none() || self.included.judge(&self.path[self.base..]);
        let wanted = !hidden && !excluded && included;
        let skipped = |rule: &Rule<'_>, path: &[u8]| !is_dir || rule.can_skip(path);
        if (hidden && skipped(&self.hidden, &self.path))
            || (excluded && skipped(&self.excluded, &self.path[self.base..]))
            || !(wanted || is_dir)
        {
            return Ok(());
        }
        let stat = match stat {
            Some(stat) => stat,
            None => match look(dir, &name).at("look at", &self.path)? {
                Some(stat) => stat,
                // Removed since the directory was read.
                None => return Ok(()),
            },
        };
        let mut entry = Entry {
            path: self.path[self.base..].into(),
            implied: excluded || !included,
            meta: Meta::from(&stat),
            link: None,
            xattrs: Vec::new(),
        };
        match entry.kind() {
            FileType::Directory => return self.below(dir, &name, entry, wanted),
            FileType::Symlink => {
                let target = readlinkat(dir, &name.name, Vec::new());
                entry.link = Some(target.at("read the link", &self.path)?.to_bytes().into());
            }
            _ => {}
        }
        if wanted {
            self.entries.push(entry);
        }
        Ok(())
    }

    /// A directory that is not wanted itself is there if something in it is.
    fn below(&mut self, dir: &OwnedFd, name: &Name, mut entry: Entry, wanted: bool) -> Result<()> {
        let opened = openat(dir, &name.name, DIRECTORY, Mode::empty());
        let fd = opened.at("open", &self.path)?;
        let attributes = self.tree.attributes();
        entry.xattrs = xattrs(fd.as_fd(), attributes).at("read attributes of", &self.path)?;
        let index = self.entries.len();
        self.entries.push(entry);
        self.hidden.enter(&self.path);
        self.excluded.enter(&self.path[self.base..]);
        self.included.enter(&self.path[self.base..]);
        self.path.push(b'/');
        self.directory(fd)?;
        for rule in [&mut self.hidden, &mut self.excluded, &mut self.included] {
            rule.above.pop();
        }
        if !wanted && self.entries.len() == index + 1 {
            self.entries.pop();
        }
        Ok(())
    }
}

/// Patterns, and what they said of the directories the walk is in.
struct Rule<'a> {
    ignore: Option<&'a Ignore>,
    above: Vec<Matches>,
}

impl<'a> Rule<'a> {
    fn new(ignore: Option<&'a Ignore>) -> Rule<'a> {
        Rule {
            ignore: ignore.filter(|ignore| !ignore.is_empty()),
            above: vec![Matches::default()],
        }
    }

    fn check(&self, path: &[u8]) -> (bool, Matches) {
        match (self.ignore, self.above.last()) {
            (Some(ignore), Some(above)) => ignore.check(&String::from_utf8_lossy(path), above),
            _ => (false, Matches::default()),
        }
    }

    fn judge(&self, path: &[u8]) -> bool {
        self.ignore.is_some() && self.check(path).0
    }

    fn can_skip(&self, path: &[u8]) -> bool {
        self.ignore
            .is_some_and(|ignore| ignore.can_skip_dir(&String::from_utf8_lossy(path)))
    }

    fn enter(&mut self, path: &[u8]) {
        self.above.push(self.check(path).1);
    }
}

fn look(dir: &OwnedFd, name: &Name) -> rustix::io::Result<Option<rustix::fs::Stat>> {
    match statat(dir, &name.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}
