//! A file on its way into an image.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, copy_file_range, fstat, openat};
use rustix::io::Errno;

use super::cache::Hash;
use super::entry::{Entry, Meta, Xattr, xattrs};
use super::error::{At, FilesError, Result, text};
use super::path::{DIRECTORY, FILE, join, kind, open_dir, split};
use super::select::{Selected, Selection};
use super::target::{Attributes, Policy};

/// Of what is copied through memory.
pub(super) const BUFFER: usize = 256 << 10;

/// A regular file to be copied.
pub(super) struct Opened<'a> {
    pub file: File,
    pub xattrs: Vec<Xattr>,
    /// As it was selected.
    pub meta: Meta,
    selection: &'a Selection,
    hash: Option<&'a Hash>,
    /// In the tree.
    pub path: Vec<u8>,
}

impl<'a> Opened<'a> {
    pub fn new(
        selection: &'a Selection,
        selected: &Selected,
        entry: &Entry,
        hash: Option<&'a Hash>,
    ) -> Result<Self> {
        let (parent, _) = split(&selected.base);
        let dir = open_dir(selection.tree.root(), parent, DIRECTORY);
        Self::at(&dir.at("open", parent)?, selection, selected, entry, hash)
    }

    pub fn at(
        dir: &OwnedFd,
        selection: &'a Selection,
        selected: &Selected,
        entry: &Entry,
        hash: Option<&'a Hash>,
    ) -> Result<Self> {
        let path = join(&selected.base, &entry.path);
        let changed = || FilesError::Changed { path: text(&path) };
        let file = match openat(dir, split(&path).1, FILE, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Err(changed()),
            other => other.at("open", &path)?,
        };
        let stat = fstat(&file).at("look at", &path)?;
        if kind(&stat) != FileType::RegularFile || Meta::from(&stat).size != entry.meta.size {
            return Err(changed());
        }
        let which = selection.tree.attributes();
        Ok(Opened {
            xattrs: xattrs(file.as_fd(), which).at("read attributes of", &path)?,
            file: file.into(),
            meta: entry.meta,
            selection,
            hash,
            path,
        })
    }

    pub fn attributes(&self, policy: Policy<'_>) -> Attributes {
        policy.attributes(&self.meta, self.selection.tree.owned())
    }

    /// Whether what was read may be something else than what was hashed.
    pub fn must_verify(&self) -> Result<bool> {
        let now = Meta::from(&fstat(&self.file).at("look at", &self.path)?);
        let changed = now != self.meta;
        if changed
            && (self.hash.is_none() || (now.mode, now.size) != (self.meta.mode, self.meta.size))
        {
            return Err(self.changed());
        }
        Ok(changed || (self.hash.is_some() && self.selection.is_racy(&self.meta)))
    }

    pub fn verify(&self, hash: &Hash) -> Result<()> {
        match self.hash {
            Some(expected) if expected != hash => Err(self.changed()),
            _ => Ok(()),
        }
    }

    pub fn check_unchanged(&self) -> Result<()> {
        let now = Meta::from(&fstat(&self.file).at("look at", &self.path)?);
        match now.same_content(&self.meta) {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }

    fn changed(&self) -> FilesError {
        FilesError::Changed {
            path: text(&self.path),
        }
    }
}

/// Copies a file's content: within the kernel where both are on one file system, else through a buffer.
pub(super) fn transfer(
    mut from: &File,
    mut to: &File,
    size: u64,
    buffer: &mut [u8],
) -> std::io::Result<()> {
    let mut copied = 0;
    while size - copied > buffer.len() as u64 || (copied > 0 && copied < size) {
        let left = usize::try_from(size - copied)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        match copy_file_range(from, None, to, None, left) {
            Ok(0) => break,
            Ok(count) => copied += count as u64,
            Err(Errno::INTR) => {}
            Err(
                Errno::XDEV
                | Errno::NOSYS
                | Errno::OPNOTSUPP
                | Errno::INVAL
                | Errno::PERM
                | Errno::IO,
            ) if copied == 0 => break,
            Err(e) => return Err(e.into()),
        }
    }
    // Whether there is more than there was, the file's status will tell.
    while copied < size {
        match from.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                copied += count as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
