//! A directory that files are copied from.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, ResolveFlags, openat, openat2};

use super::cache::HashCache;
use super::entry::{Attributes, Meta};
use super::error::{At, FilesError, Result, text};
use super::path::{DIRECTORY_PATH, FILE, Last, PATH_MAX, clean, kind, open_dir, split, walk};
use crate::ignore::Ignore;

/// A build context, an image or a stage: whatever COPY and ADD take files from.
///
/// Nothing outside its root is ever read, whatever links and names in it say.
#[derive(Debug, Clone)]
pub struct Tree {
    root: Arc<OwnedFd>,
    /// Files keep owner and all attributes; otherwise they become root's.
    owned: bool,
    pub(super) ignore: Option<Arc<Ignore>>,
    pub(super) cache: Option<Arc<HashCache>>,
    pub(super) identity: Option<Arc<str>>,
}

impl Tree {
    /// A person's own files: in an image they belong to root (0:0), and lose file capabilities.
    pub fn context(root: OwnedFd) -> Tree {
        Tree {
            root: Arc::new(root),
            owned: false,
            ignore: None,
            cache: None,
            identity: None,
        }
    }

    /// The root file system of an image or stage, or an unpacked archive: files keep owner and attributes.
    pub fn rootfs(root: OwnedFd) -> Tree {
        Tree {
            owned: true,
            ..Tree::context(root)
        }
    }

    /// The same without what `.dockerignore` hides.
    #[must_use]
    pub fn with_ignore(self, ignore: Ignore) -> Tree {
        Tree {
            ignore: Some(Arc::new(ignore)),
            ..self
        }
    }

    /// What `.dockerignore` says.
    pub fn ignore(&self) -> Option<&Ignore> {
        self.ignore.as_deref()
    }

    /// The same, with hashes of unchanged files remembered between builds. Useless where inode numbers are new each
    /// time: for what was just unpacked, and on overlays.
    #[must_use]
    pub fn with_cache(self, cache: Arc<HashCache>) -> Tree {
        Tree {
            cache: Some(cache),
            ..self
        }
    }

    /// The same, its content known by a name (such as a git commit) instead of by hashing it.
    #[must_use]
    pub fn with_identity(self, identity: &str) -> Tree {
        Tree {
            identity: Some(identity.into()),
            ..self
        }
    }

    /// Keeps the hashes of files for the next build. Without them that one only takes longer.
    pub fn remember_hashes(&self) {
        if let Some(Err(error)) = self.cache.as_ref().map(|cache| cache.save()) {
            tracing::debug!(%error, "hashes of the context's files are not kept");
        }
    }

    /// The root directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(super) fn owned(&self) -> bool {
        self.owned
    }

    pub(super) fn attributes(&self) -> Attributes {
        match self.owned {
            true => Attributes::All,
            false => Attributes::User,
        }
    }

    /// Whether `.dockerignore` hides a clean path.
    pub(super) fn hides(&self, path: &[u8], is_dir: bool) -> bool {
        let ignored = |ignore: &Arc<Ignore>| ignore.is_ignored(&text(path), is_dir);
        !path.is_empty() && self.ignore.as_ref().is_some_and(ignored)
    }

    /// Reads a regular file of at most `limit` bytes, also one that `.dockerignore` hides: the Dockerfile,
    /// `.dockerignore` itself, an image's `/etc/passwd`. `None` if there is nothing.
    ///
    /// # Errors
    /// [`FilesError::NotAFile`], [`FilesError::TooLarge`], [`FilesError::Io`].
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let shown = || text(&clean(path.as_bytes()));
        let place = match walk(self.root(), path.as_bytes(), Last::Follow, None) {
            Err(FilesError::NotADirectory { .. }) => return Ok(None),
            other => other?,
        };
        let Some(stat) = place.stat else {
            return Ok(None);
        };
        if kind(&stat) != FileType::RegularFile {
            return Err(FilesError::NotAFile { path: shown() });
        }
        let (file, _) = self.open_file(&place.path())?;
        let mut content = Vec::new();
        std::fs::File::from(file)
            .take(limit + 1)
            .read_to_end(&mut content)
            .at("read", &place.path())?;
        if content.len() as u64 > limit {
            return Err(FilesError::TooLarge {
                path: shown(),
                limit,
            });
        }
        Ok(Some(content))
    }

    /// Opens a regular file at a path without links, and looks at it.
    pub(super) fn open_file(&self, path: &[u8]) -> Result<(OwnedFd, Meta)> {
        let beneath =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = if path.len() < PATH_MAX {
            openat2(self.root(), path, FILE, Mode::empty(), beneath)
        } else {
            let (parent, name) = split(path);
            open_dir(self.root(), parent, DIRECTORY_PATH)
                .and_then(|dir| openat(dir, name, FILE, Mode::empty()))
        };
        let file = opened.at("open", path)?;
        let stat = rustix::fs::fstat(&file).at("look at", path)?;
        match kind(&stat) {
            FileType::RegularFile => Ok((file, Meta::from(&stat))),
            _ => Err(FilesError::NotAFile { path: text(path) }),
        }
    }
}
