//! The directories of the layer under construction.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, openat2, readlinkat, statat};
use rustix::io::Errno;

use super::error::UntarError;
use super::member::Attributes;
use super::name::{components, push};
use crate::MemberProblem;
use crate::fs::BENEATH;

/// Descriptors of directories kept open.
const CACHED: usize = 64;
/// Symbolic links that are followed on the way to one directory, as the kernel does.
const MAX_LINKS: usize = 40;
/// Bytes of a path given to the kernel at once (PATH_MAX is 4096).
const PATH_PIECE: usize = 2048;

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How a file of an archive is opened: nothing that is there is written to, or through.
pub(super) const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Why a member cannot be placed.
#[derive(Debug)]
pub(super) enum Fault {
    Problem(MemberProblem),
    System(&'static str, Errno),
}

impl Fault {
    pub fn of(self, member: &[u8]) -> UntarError {
        let member = member.to_owned();
        match self {
            Fault::Problem(problem) => UntarError::Member { member, problem },
            Fault::System(_, Errno::NAMETOOLONG) => UntarError::Member {
                member,
                problem: MemberProblem::NameTooLong,
            },
            Fault::System(action, source) => UntarError::Write {
                member,
                action,
                source: source.into(),
            },
        }
    }
}

impl From<MemberProblem> for Fault {
    fn from(problem: MemberProblem) -> Self {
        Fault::Problem(problem)
    }
}

/// An open directory of the layer.
pub(super) struct Dir {
    pub fd: OwnedFd,
    /// Where it really is: clean, and no component is a symbolic link.
    pub path: Vec<u8>,
}

impl Dir {
    /// The real path of something in it.
    pub fn join(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        push(&mut path, name);
        path
    }
}

pub(super) struct Tree {
    pub root: Rc<Dir>,
    /// By the path that led there, which may have gone through links.
    cache: HashMap<Vec<u8>, Rc<Dir>>,
    /// Every directory of the layer by its real path, with what the archive says of it.
    pub dirs: BTreeMap<Vec<u8>, Option<Attributes>>,
    /// Directories that hide what lower layers have there.
    pub opaque: BTreeSet<Vec<u8>>,
}

impl Tree {
    pub fn new(root: OwnedFd) -> Self {
        Tree {
            root: Rc::new(Dir {
                fd: root,
                path: Vec::new(),
            }),
            cache: HashMap::new(),
            dirs: BTreeMap::from([(Vec::new(), None)]),
            opaque: BTreeSet::new(),
        }
    }

    /// Opens the directory at a clean path and makes it, and its parents, where missing.
    pub fn dir(&mut self, path: &[u8]) -> Result<Rc<Dir>, Fault> {
        self.find(path, true)?
            .ok_or(Fault::System("open the directory of", Errno::NOENT))
    }

    /// Opens the directory at a clean path if it exists.
    pub fn existing_dir(&mut self, path: &[u8]) -> Result<Option<Rc<Dir>>, Fault> {
        self.find(path, false)
    }

    fn find(&mut self, path: &[u8], create: bool) -> Result<Option<Rc<Dir>>, Fault> {
        if path.is_empty() {
            return Ok(Some(self.root.clone()));
        }
        if let Some(dir) = self.cache.get(path) {
            return Ok(Some(dir.clone()));
        }
        let found = match openat2(&self.root.fd, path, DIRECTORY, Mode::empty(), BENEATH) {
            Ok(fd) => Rc::new(Dir {
                fd,
                path: path.to_owned(),
            }),
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NAMETOOLONG) => {
                match self.walk(path, create)? {
                    Some(dir) => dir,
                    None => return Ok(None),
                }
            }
            Err(e) => return Err(Fault::System("open the directory of", e)),
        };
        if self.cache.len() >= CACHED {
            self.cache.clear();
        }
        self.cache.insert(path.to_owned(), found.clone());
        Ok(Some(found))
    }

    /// Goes to the directory step by step, resolving links as a process in a chroot of the layer would.
    fn walk(&mut self, path: &[u8], create: bool) -> Result<Option<Rc<Dir>>, Fault> {
        let mut todo: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_owned).collect();
        let mut at = self.root.clone();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                let (parent, _) = super::name::split(&at.path);
                at = self.reopen(parent)?;
                continue;
            }
            match openat(&at.fd, &name[..], DIRECTORY, Mode::empty()) {
                Ok(fd) => {
                    let path = at.join(&name);
                    at = Rc::new(Dir { fd, path });
                }
                Err(Errno::NOENT) if !create => return Ok(None),
                Err(Errno::NOENT) => at = self.make(&at, &name)?,
                Err(Errno::NOTDIR | Errno::LOOP) => match self.link_target(&at, &name)? {
                    Some(target) => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(MemberProblem::NotADirectory.into());
                        }
                        if target.starts_with(b"/") {
                            at = self.root.clone();
                        }
                        for component in components(&target).rev() {
                            todo.push_front(component.to_owned());
                        }
                    }
                    // A whiteout hides the lower directory, then the archive goes on beneath a new one.
                    None if create => {
                        self.opaque.insert(at.join(&name));
                        at = self.make(&at, &name)?;
                    }
                    None => return Ok(None),
                },
                Err(e) => return Err(Fault::System("open the directory of", e)),
            }
        }
        Ok(Some(at))
    }

    fn make(&mut self, parent: &Dir, name: &[u8]) -> Result<Rc<Dir>, Fault> {
        mkdirat(&parent.fd, name, Mode::from_raw_mode(0o755))
            .and_then(|()| openat(&parent.fd, name, DIRECTORY, Mode::empty()))
            .map(|fd| {
                let path = parent.join(name);
                self.dirs.insert(path.clone(), None);
                Rc::new(Dir { fd, path })
            })
            .map_err(|e| Fault::System("make the directory of", e))
    }

    /// The target of a link; None for a whiteout, which has been removed.
    fn link_target(&self, dir: &Dir, name: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        match readlinkat(&dir.fd, name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::INVAL) if is_whiteout(dir, name) => {
                rustix::fs::unlinkat(&dir.fd, name, AtFlags::empty())
                    .map_err(|e| Fault::System("replace the whiteout above", e))?;
                Ok(None)
            }
            Err(Errno::INVAL) => Err(MemberProblem::NotADirectory.into()),
            Err(e) => Err(Fault::System("read the link above", e)),
        }
    }

    /// Opens the directory at a real path.
    pub fn reopen(&self, path: &[u8]) -> Result<Rc<Dir>, Fault> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        let fd = open_real(&self.root.fd, path, DIRECTORY)
            .map_err(|e| Fault::System("open the directory of", e))?;
        Ok(Rc::new(Dir {
            fd,
            path: path.to_owned(),
        }))
    }

    /// Must be called when a link or directory has been removed: what was known of the ways through it is void.
    pub fn forget(&mut self, real: &[u8]) {
        self.cache.clear();
        let gone = |path: &Vec<u8>| {
            path.strip_prefix(real)
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        self.dirs.retain(|path, _| !gone(path));
        self.opaque.retain(|path| !gone(path));
    }
}

/// Opens the directory at a real path, however long it is.
pub(super) fn open_real(root: &OwnedFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let open = |at: &OwnedFd, piece: &[u8]| {
        let piece = if piece.is_empty() { b"." } else { piece };
        openat2(at, piece, flags | OFlags::DIRECTORY, Mode::empty(), BENEATH)
    };
    if path.len() <= PATH_PIECE {
        return open(root, path);
    }
    let mut at: Option<OwnedFd> = None;
    let mut piece = Vec::new();
    for component in components(path) {
        push(&mut piece, component);
        if piece.len() > PATH_PIECE {
            at = Some(open(at.as_ref().unwrap_or(root), &piece)?);
            piece.clear();
        }
    }
    open(at.as_ref().unwrap_or(root), &piece)
}

pub(super) fn is_whiteout(dir: &Dir, name: &[u8]) -> bool {
    statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
    })
}
