//! Unpacks an archive of files into a directory that is in use: no layer, so names such as `.wh.x` mean nothing.
//!
//! The directory is pinned ([`Trail`]), and so is every directory that a member lies in while the member is made there:
//! whoever changes the tree meanwhile leads nothing out of the root.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, chmod, chownat, fchown, fstat, linkat,
    mkdirat, mknodat, openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::error::UntarError;
use super::extract::fill;
use super::header::Members;
use super::member::{Attributes, Kind, Member};
use super::meta::{apply, apply_at};
use super::name::{clean, split};
use super::tree::NEW_FILE;
use crate::MemberProblem;
use crate::fs::{Found, Links, Trail};
use crate::layer::decompress;

/// To whom unpacked files belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Whoever the archive names, by number.
    Archived,
    /// This process's user.
    Caller,
    /// This user and group.
    Fixed(u32, u32),
}

/// How files are unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Unpacking {
    /// To whom they belong.
    pub owner: Owner,
    /// Links among the directories of a member's name.
    pub links: Links,
}

/// Why files could not be unpacked. Its words are Docker's where Docker has some.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The archive could not be read or unpacked.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// It is no archive, or a broken one.
    #[error("malformed archive: {problem} at byte {offset}")]
    Archive {
        /// What is wrong.
        problem: &'static str,
        /// Where, in bytes of the unpacked archive.
        offset: u64,
    },
    /// A name leads out of the directory.
    #[error("{member:?} is outside of {dir:?}")]
    Outside {
        /// The member.
        member: String,
        /// The directory.
        dir: PathBuf,
    },
    /// A hard link leads out of the directory.
    #[error("invalid hardlink {member:?} -> {link:?}")]
    LinkOutside {
        /// The member.
        member: String,
        /// Where it leads.
        link: String,
    },
    /// A member is refused.
    #[error("member {member:?} of the archive {problem}")]
    Member {
        /// The member.
        member: String,
        /// Why.
        problem: MemberProblem,
    },
    /// A file or link would take the place of a directory.
    #[error("cannot overwrite directory {path:?} with non-directory {dir:?}")]
    OntoDirectory {
        /// What is there.
        path: PathBuf,
        /// Where the archive is unpacked.
        dir: PathBuf,
    },
    /// A directory would take the place of something else.
    #[error("cannot overwrite non-directory {path:?} with directory {dir:?}")]
    OntoFile {
        /// What is there.
        path: PathBuf,
        /// Where the archive is unpacked.
        dir: PathBuf,
    },
    /// The kernel refuses.
    #[error("{action} {}", path.display())]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Unpacks an archive, plain or packed, into a directory, and reads on to its end. Directories that are there already
/// are kept, and get the archive's attributes; files and links are replaced.
///
/// # Errors
/// [`UnpackError`]; what was unpacked until then stays.
pub fn unpack_files(
    archive: impl Read,
    into: &Trail,
    how: Unpacking,
) -> std::result::Result<(), UnpackError> {
    let packed = BufReader::with_capacity(256 << 10, archive);
    let plain = decompress(packed).map_err(UnpackError::Read)?;
    let mut members = Members::new(BufReader::with_capacity(256 << 10, plain));
    let mut unpacker = Unpacker {
        into,
        how,
        last: None,
        directories: BTreeMap::new(),
    };
    while let Some(member) = members.next().map_err(|e| unpacker.of_archive(e))? {
        if let Some(file) = unpacker.place(&member)? {
            let filled = fill(&file, &member, &mut members);
            filled.map_err(|e| unpacker.of_archive(e))?;
            unpacker.settle(file.as_fd(), &member.name, &member.attributes)?;
        }
    }
    unpacker.finish()
}

/// A directory that gets its attributes at the end: what is put in it changes its time.
struct Directory {
    /// Device and number: it is told apart from one that took its place.
    identity: (u64, u64),
    attributes: Attributes,
}

struct Unpacker<'a> {
    into: &'a Trail,
    how: Unpacking,
    /// The directory of the last member, by its cleaned name.
    last: Option<(Vec<u8>, Trail)>,
    /// By their cleaned names.
    directories: BTreeMap<Vec<u8>, Directory>,
}

type Result<T, E = UnpackError> = std::result::Result<T, E>;

impl Unpacker<'_> {
    /// Makes a member; a regular file is given back to be filled.
    fn place(&mut self, member: &Member) -> Result<Option<OwnedFd>> {
        let path = clean(&member.name).map_err(|problem| self.refused(member, problem))?;
        if path.is_empty() {
            // The directory itself stays as it is, as with Docker.
            return Ok(None);
        }
        let (parent, name) = split(&path);
        let dir = self.parent(parent)?;
        let there = self.look(&dir, name, &path)?;
        let is_dir = |stat: &Stat| FileType::from_raw_mode(stat.st_mode).is_dir();
        if member.kind == Kind::Directory {
            match there {
                Some(stat) if !is_dir(&stat) => {
                    return Err(UnpackError::OntoFile {
                        path: self.shown(&path),
                        dir: self.into.path(),
                    });
                }
                Some(_) => {}
                None => self.at("create", &path, mkdirat(&dir, name, Mode::RWXU))?,
            }
            return self.directory(&dir, name, &path, member).map(|()| None);
        }
        if there.is_some_and(|stat| is_dir(&stat)) {
            return Err(UnpackError::OntoDirectory {
                path: self.shown(&path),
                dir: self.into.path(),
            });
        }
        if self.at("replace", &path, unlinked(&dir, name))? {
            // It may be the link that the last directory was found through.
            self.last = None;
        }
        self.make(&dir, name, &path, member)
    }

    fn make(
        &mut self,
        dir: &Trail,
        name: &[u8],
        path: &[u8],
        member: &Member,
    ) -> Result<Option<OwnedFd>> {
        match member.kind {
            Kind::File => {
                let mode = Mode::RUSR | Mode::WUSR;
                return self
                    .at("create", path, openat(dir, name, NEW_FILE, mode))
                    .map(Some);
            }
            Kind::HardLink => return self.hard_link(dir, name, path, member).map(|()| None),
            Kind::Symlink => {
                let made = symlinkat(&member.link[..], dir, name);
                self.at("create", path, made)?;
            }
            Kind::CharDevice(major, minor) => {
                let device = rustix::fs::makedev(major, minor);
                let made = mknodat(dir, name, FileType::CharacterDevice, Mode::RUSR, device);
                self.at("create", path, made)?;
            }
            Kind::BlockDevice(major, minor) => {
                let device = rustix::fs::makedev(major, minor);
                let made = mknodat(dir, name, FileType::BlockDevice, Mode::RUSR, device);
                self.at("create", path, made)?;
            }
            Kind::Fifo => {
                let made = mknodat(dir, name, FileType::Fifo, Mode::RUSR, 0);
                self.at("create", path, made)?;
            }
            // It has been made before.
            Kind::Directory => return Ok(None),
        }
        let set = self.settle_at(dir, name, member);
        self.at("set the attributes of", path, set)?;
        Ok(None)
    }

    fn directory(&mut self, dir: &Trail, name: &[u8], path: &[u8], member: &Member) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(dir, name, flags, Mode::empty());
        let opened = self.at("open", path, opened)?;
        let stat = self.at("look at", path, fstat(&opened))?;
        let mut trail = dir.clone();
        trail.enter(opened, OsStr::from_bytes(name).to_owned());
        self.directories.insert(
            path.to_vec(),
            Directory {
                identity: (stat.st_dev, stat.st_ino),
                attributes: member.attributes.clone(),
            },
        );
        self.last = Some((path.to_vec(), trail));
        Ok(())
    }

    fn hard_link(&self, dir: &Trail, name: &[u8], path: &[u8], member: &Member) -> Result<()> {
        let outside = || UnpackError::LinkOutside {
            member: text(&member.name),
            link: text(&member.link),
        };
        let target = clean(&member.link).map_err(|_| outside())?;
        let dangling = || UnpackError::Member {
            member: text(&member.name),
            problem: MemberProblem::LinkDangling,
        };
        let (parent, target) = split(&target);
        let from = match self.find(parent) {
            Ok(Found::Directory(from)) => from,
            _ => return Err(dangling()),
        };
        match linkat(&from, target, dir, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Err(dangling()),
            linked => self.at("link", path, linked),
        }
    }

    /// The directory at a cleaned name, made with its parents where missing.
    fn parent(&mut self, path: &[u8]) -> Result<Trail> {
        if let Some((last, trail)) = &self.last
            && last == path
        {
            return Ok(trail.clone());
        }
        let trail = match self.find(path) {
            Ok(Found::Directory(trail)) => trail,
            Ok(Found::Other { .. }) => return self.at("create", path, Err(Errno::NOTDIR)),
            Ok(Found::Missing { .. }) | Err(Errno::NOENT) => self.make_parents(path)?,
            Err(e) => return self.at("open", path, Err(e)),
        };
        self.last = Some((path.to_vec(), trail.clone()));
        Ok(trail)
    }

    /// As root's, for the archive does not say whose they are.
    fn make_parents(&self, path: &[u8]) -> Result<Trail> {
        let mut at = self.into.clone();
        for name in path.split(|&b| b == b'/') {
            let links = match self.how.links {
                Links::Refuse => Links::Refuse,
                _ => Links::Follow,
            };
            at = match at.find(OsStr::from_bytes(name), links) {
                Ok(Found::Directory(next)) => next,
                Ok(Found::Missing { parent, name }) => {
                    let mode = Mode::from_raw_mode(0o755);
                    let made = mkdirat(&parent, &name, mode);
                    self.at("create", path, made)?;
                    let flags =
                        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let opened = openat(&parent, &name, flags, Mode::empty());
                    let opened = self.at("open", path, opened)?;
                    let mut next = parent;
                    next.enter(opened, name);
                    next
                }
                Ok(Found::Other { .. }) => return self.at("create", path, Err(Errno::NOTDIR)),
                Err(e) => return self.at("open", path, Err(e)),
            };
        }
        Ok(at)
    }

    fn find(&self, path: &[u8]) -> rustix::io::Result<Found> {
        match (
            self.into.find(OsStr::from_bytes(path), self.how.links)?,
            self.how.links,
        ) {
            // The last one of a parent's name is in the midst of a member's.
            (Found::Other { stat, .. }, Links::Refuse)
                if FileType::from_raw_mode(stat.st_mode).is_symlink() =>
            {
                Err(Errno::LOOP)
            }
            (found, _) => Ok(found),
        }
    }

    fn look(&self, dir: &Trail, name: &[u8], path: &[u8]) -> Result<Option<Stat>> {
        match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            found => self.at("look at", path, found).map(Some),
        }
    }

    /// Owner first: changing it drops setuid and setgid bits and capabilities.
    fn settle(&self, file: BorrowedFd<'_>, path: &[u8], attributes: &Attributes) -> Result<()> {
        let set = match self.owner(attributes) {
            Some((uid, gid)) => fchown(file, Some(uid), Some(gid)),
            None => Ok(()),
        };
        let set = set.and_then(|()| apply(file, &unowned(attributes), None));
        self.at("set the attributes of", path, set)
    }

    /// The same for what cannot be opened for it, but was made just now; somebody may have put another in its place.
    fn settle_at(&self, dir: &Trail, name: &[u8], member: &Member) -> rustix::io::Result<()> {
        let attributes = &member.attributes;
        if let Some((uid, gid)) = self.owner(attributes) {
            chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if member.kind != Kind::Symlink {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let pinned = openat(dir, name, flags, Mode::empty())?;
            if FileType::from_raw_mode(fstat(&pinned)?.st_mode).is_symlink() {
                return Err(Errno::LOOP);
            }
            let own = format!("/proc/self/fd/{}", pinned.as_raw_fd());
            chmod(own, Mode::from_raw_mode(attributes.mode))?;
        }
        let dir = dir.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        apply_at(&dir, name, &unowned(attributes))
    }

    fn owner(&self, attributes: &Attributes) -> Option<(Uid, Gid)> {
        let (uid, gid) = match self.how.owner {
            Owner::Archived => (attributes.uid, attributes.gid),
            Owner::Caller => return None,
            Owner::Fixed(uid, gid) => (uid, gid),
        };
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    fn finish(self) -> Result<()> {
        for (path, directory) in self.directories.iter().rev() {
            // What took its place meanwhile is somebody else's.
            let Ok(Found::Directory(trail)) = self.find(path) else {
                continue;
            };
            let opened = self.at("open", path, trail.open())?;
            let stat = self.at("look at", path, fstat(&opened))?;
            if (stat.st_dev, stat.st_ino) == directory.identity {
                self.settle(opened.as_fd(), path, &directory.attributes)?;
            }
        }
        Ok(())
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        self.into.path().join(OsStr::from_bytes(path))
    }

    fn at<T>(&self, action: &'static str, path: &[u8], result: rustix::io::Result<T>) -> Result<T> {
        result.map_err(|e| UnpackError::System {
            action,
            path: self.shown(path),
            source: e.into(),
        })
    }

    fn refused(&self, member: &Member, problem: MemberProblem) -> UnpackError {
        let name = text(&member.name);
        match problem {
            MemberProblem::Escapes => UnpackError::Outside {
                member: name,
                dir: self.into.path(),
            },
            problem => UnpackError::Member {
                member: name,
                problem,
            },
        }
    }

    fn of_archive(&self, error: UntarError) -> UnpackError {
        error.of_unpacking(&self.into.path())
    }
}

/// Owners are set apart: for whom nobody is to be set, 0 says to leave them.
fn unowned(attributes: &Attributes) -> Attributes {
    Attributes {
        uid: 0,
        gid: 0,
        ..attributes.clone()
    }
}

/// Takes away what is no directory; whether there was something.
fn unlinked(dir: &Trail, name: &[u8]) -> rustix::io::Result<bool> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
