//! COPY and ADD.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Mode, openat};

use super::archive;
use super::chmod::Chmod;
use super::directory::{DirectoryCopy, copy_file};
use super::entry::Meta;
use super::error::{At, FilesError, Result, text};
use super::opened::{BUFFER, Opened};
use super::path::{DIRECTORY, clean, join, open_dir, split};
use super::select::{Selected, Selection};
use super::target::{Policy, Spot, Target, apply};
use super::unpack::unpack;

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

impl<'a> CopyRequest<'a> {
    /// A COPY without flags: what is copied becomes root's and keeps its mode and time.
    pub fn new(sources: &'a [Source], destination: &'a str) -> Self {
        CopyRequest {
            sources,
            destination,
            destination_is_dir: false,
            chown: None,
            chmod: None,
            unpack: false,
            timestamp: None,
        }
    }
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
    let policy = Policy {
        chown: request.chown,
        chmod: request.chmod,
        timestamp: request.timestamp,
    };
    let target = Target::new(root, policy);
    let copier = Copier {
        target: &target,
        request,
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
    let policy = Policy {
        chown: Some(owner),
        chmod: None,
        timestamp,
    };
    let target = Target::new(root, policy);
    target.make_dirs(path.as_bytes())?;
    target.finish()
}

struct Copier<'a> {
    target: &'a Target<'a>,
    request: &'a CopyRequest<'a>,
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
        let mut file = File::from(spot.file(0o600)?);
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
            &self.target.policy.attributes(&meta, false),
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
        let owned = selection.tree.owned();
        let attributes = self.target.policy.attributes(&selected.meta, owned);
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
        let policy = Policy {
            chmod: None,
            ..self.target.policy
        };
        let into = Target::new(self.target.root(), policy);
        let dir = into.make_dirs(self.destination())?;
        unpack(reader, dir, self.request.chown, &text(&selected.name))?;
        self.target.made.borrow_mut().extend(into.made.take());
        source.check_unchanged()?;
        Ok(true)
    }

    fn directory(&self, selection: &Selection, index: usize, selected: &Selected) -> Result<()> {
        let place = self.target.find(self.destination())?;
        if place.stat.is_some() && !place.is_dir() {
            return Err(FilesError::OntoNonDirectory {
                path: text(&place.path()),
            });
        }
        let from = open_dir(selection.tree.root(), &selected.base, DIRECTORY);
        let copy = DirectoryCopy {
            policy: self.target.policy,
            selection,
            index,
            from: from.at("open", &selected.base)?,
            to: self.target.make_dirs(self.destination())?,
            path: place.path(),
        };
        copy.run()
    }

    fn file(&self, source: Opened<'_>, spot: Spot<'_>) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        copy_file(source, spot, self.target.policy, &mut buffer)
    }
}

fn kind_of(meta: &Meta) -> FileType {
    FileType::from_raw_mode(meta.mode)
}
