//! Writes the members of an archive to disk.

use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ftruncate, linkat, mkdirat, mknodat, openat, statat,
    symlinkat, unlinkat,
};
use rustix::io::{Errno, pwrite};
use rustix::thread::UnshareFlags;

use super::error::UntarError;
use super::header::Members;
use super::member::{Attributes, Kind, Member};
use super::meta::{apply, apply_at, set_opaque};
use super::name::{clean, split};
use super::tree::{Dir, Fault, NEW_FILE, Tree, open_real};
use super::{Unpacked, sparse::Segment};
use crate::fs::{begin_writing, remove_all};
use crate::{Error, MemberProblem, overlay};

/// Prefix of whiteouts (OCI image-spec, layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Prefix of what AUFS kept for itself; all but the opaque marker is ignored.
const RESERVED: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Files from this size on are searched for runs of zeros, which are left out.
const SEARCH_ZEROS: u64 = 1 << 20;
/// Runs are left out in whole pieces of this size.
const ZERO_PIECE: usize = 64 << 10;
/// Files from this size on go to the disk while the next ones are unpacked.
const WRITE_AT_ONCE: u64 = 256 << 10;

pub(super) struct Extractor {
    tree: Tree,
    size: u64,
}

impl Extractor {
    pub fn new(root: OwnedFd) -> Result<Self, UntarError> {
        // Modes shall be as archived whatever the process's umask: give this thread its own.
        // SAFETY: only the file-system attributes (umask, root, working directory) stop being shared; no descriptor
        // table is involved, and this thread uses neither the working directory nor changes the root.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
            .map_err(|e| Fault::System("set the umask for", e).of(b"/"))?;
        rustix::process::umask(Mode::empty());
        Ok(Extractor {
            tree: Tree::new(root),
            size: 0,
        })
    }

    pub fn run(mut self, reader: impl BufRead) -> Result<Unpacked, UntarError> {
        let mut members = Members::new(reader);
        while let Some(member) = members.next()? {
            self.member(&member, &mut members)?;
        }
        self.finish()
    }

    fn member<R: BufRead>(
        &mut self,
        member: &Member,
        members: &mut Members<R>,
    ) -> Result<(), UntarError> {
        match self.place(member).map_err(|fault| fault.of(&member.name))? {
            Some(file) => {
                let size = fill(&file, member, members)?;
                // Files with holes may be of any size.
                self.size = self.size.saturating_add(size);
                if size >= WRITE_AT_ONCE {
                    begin_writing(&file);
                }
                let attributes = &member.attributes;
                apply(&file, attributes, Some(attributes.mode))
                    .map_err(|e| Fault::System("set the attributes of", e).of(&member.name))
            }
            None => Ok(()),
        }
    }

    /// Makes the member; a regular file is given back to be filled.
    fn place(&mut self, member: &Member) -> Result<Option<OwnedFd>, Fault> {
        let path = clean(&member.name)?;
        let attributes = &member.attributes;
        if path.is_empty() {
            if member.kind != Kind::Directory {
                return Err(MemberProblem::InvalidName.into());
            }
            self.tree.dirs.insert(path, Some(attributes.clone()));
            return Ok(None);
        }
        let (parent, name) = split(&path);
        let dir = self.tree.dir(parent)?;
        if name.starts_with(WHITEOUT) {
            return self.whiteout(&dir, name).map(|()| None);
        }
        let mode = Mode::from_raw_mode(attributes.mode);
        match member.kind {
            Kind::File => {
                return self
                    .make(&dir, name, "create", || {
                        openat(&dir.fd, name, NEW_FILE, mode)
                    })
                    .map(Some);
            }
            Kind::Directory => self.directory(&dir, name, attributes)?,
            Kind::HardLink => self.hard_link(&dir, name, &path, &member.link)?,
            Kind::Symlink => {
                self.make(&dir, name, "link", || {
                    symlinkat(&member.link[..], &dir.fd, name)
                })?;
                attribute(&dir, name, attributes)?;
            }
            Kind::CharDevice(..) | Kind::BlockDevice(..) | Kind::Fifo => {
                let (kind, device) = match member.kind {
                    Kind::CharDevice(major, minor) => {
                        (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
                    }
                    Kind::BlockDevice(major, minor) => {
                        (FileType::BlockDevice, rustix::fs::makedev(major, minor))
                    }
                    _ => (FileType::Fifo, 0),
                };
                let made = self.make(&dir, name, "make the node", || {
                    mknodat(&dir.fd, name, kind, mode, device)
                });
                match made {
                    // Nobody could open it there anyway; a container has devices of its own.
                    Err(Fault::System(_, Errno::PERM)) if overlay::in_user_namespace() => {
                        tracing::warn!(name = %String::from_utf8_lossy(name), "device left out: not possible in a user namespace");
                    }
                    made => {
                        made?;
                        attribute(&dir, name, attributes)?;
                    }
                }
            }
        }
        Ok(None)
    }

    /// Makes something, in place of what an earlier member may have left there.
    fn make<T>(
        &mut self,
        dir: &Dir,
        name: &[u8],
        action: &'static str,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T, Fault> {
        match make() {
            Err(Errno::EXIST) => {
                self.clear(dir, name)?;
                make()
            }
            other => other,
        }
        .map_err(|e| Fault::System(action, e))
    }

    fn clear(&mut self, dir: &Dir, name: &[u8]) -> Result<(), Fault> {
        let replace = |e| Fault::System("replace", e);
        let stat = statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(replace)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                remove_all(&dir.fd, name, Path::new("")).map_err(|e| replace(errno(&e)))?;
                self.tree.forget(&dir.join(name));
            }
            FileType::Symlink => {
                unlinkat(&dir.fd, name, AtFlags::empty()).map_err(replace)?;
                self.tree.forget(&dir.join(name));
            }
            _ => unlinkat(&dir.fd, name, AtFlags::empty()).map_err(replace)?,
        }
        Ok(())
    }

    fn directory(&mut self, dir: &Dir, name: &[u8], attributes: &Attributes) -> Result<(), Fault> {
        let real = dir.join(name);
        if !self.tree.dirs.contains_key(&real) {
            if super::tree::is_whiteout(dir, name) {
                self.tree.opaque.insert(real.clone());
            }
            self.make(dir, name, "create", || {
                mkdirat(&dir.fd, name, Mode::from_raw_mode(0o755))
            })?;
        }
        self.tree.dirs.insert(real, Some(attributes.clone()));
        Ok(())
    }

    fn hard_link(&mut self, dir: &Dir, name: &[u8], path: &[u8], link: &[u8]) -> Result<(), Fault> {
        let target = clean(link).map_err(|problem| match problem {
            MemberProblem::Escapes => MemberProblem::LinkEscapes,
            other => other,
        })?;
        if target == path {
            return Ok(());
        }
        let (parent, target) = split(&target);
        let Some(from) = self.tree.existing_dir(parent)? else {
            return Err(MemberProblem::LinkDangling.into());
        };
        self.make(dir, name, "link", || {
            linkat(&from.fd, target, &dir.fd, name, AtFlags::empty())
        })
        .map_err(|fault| match fault {
            Fault::System(_, Errno::NOENT) => MemberProblem::LinkDangling.into(),
            other => other,
        })
    }

    fn whiteout(&mut self, dir: &Dir, name: &[u8]) -> Result<(), Fault> {
        if name == OPAQUE {
            self.tree.opaque.insert(dir.path.clone());
            return Ok(());
        }
        if name.starts_with(RESERVED) {
            return Ok(());
        }
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(MemberProblem::InvalidName.into());
        }
        let made = mknodat(&dir.fd, hidden, FileType::CharacterDevice, Mode::empty(), 0);
        match made {
            // A whiteout hides what lower layers have, not what this one has.
            Err(Errno::EXIST) => {
                let real = dir.join(hidden);
                if self.tree.dirs.contains_key(&real) {
                    self.tree.opaque.insert(real);
                }
                Ok(())
            }
            other => other.map_err(|e| Fault::System("create", e)),
        }
    }

    /// Gives directories their attributes, now that nothing in them changes any more.
    fn finish(self) -> Result<Unpacked, UntarError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = &self.tree.root.fd;
        let open = |path: &[u8]| {
            open_real(root, path, flags).map_err(|e| Fault::System("open", e).of(path))
        };
        for path in &self.tree.opaque {
            if !path.is_empty() {
                set_opaque(&open(path)?).map_err(|e| Fault::System("make opaque", e).of(path))?;
            }
        }
        let mut unpacked = Unpacked {
            size: self.size,
            opaque_root: self.tree.opaque.contains(&b""[..]),
            ..Unpacked::default()
        };
        for (path, attributes) in &self.tree.dirs {
            match attributes {
                Some(attributes) => {
                    let dir = open(path)?;
                    apply(&dir, attributes, Some(0o755))
                        .map_err(|e| Fault::System("set the attributes of", e).of(path))?;
                }
                None => unpacked.implied.push(path.clone()),
            }
        }
        Ok(unpacked)
    }
}

fn attribute(dir: &Dir, name: &[u8], attributes: &Attributes) -> Result<(), Fault> {
    apply_at(&dir.fd, name, attributes).map_err(|e| Fault::System("set the attributes of", e))
}

/// Writes a member's data to an empty file; the file's size.
pub(super) fn fill<R: BufRead>(
    file: &OwnedFd,
    member: &Member,
    members: &mut Members<R>,
) -> Result<u64, UntarError> {
    let fault = |action| move |e| Fault::System(action, e).of(&member.name);
    let whole = [Segment {
        offset: 0,
        length: member.stored,
    }];
    let (segments, size) = match &member.sparse {
        Some(sparse) => (&sparse.segments[..], sparse.size),
        None => (&whole[..], member.stored),
    };
    let search = member.stored >= SEARCH_ZEROS;
    let mut written = 0;
    for segment in segments {
        let (mut at, end) = (segment.offset, segment.offset + segment.length);
        while at < end {
            at += members.data(end - at, |data| {
                let reached = if search {
                    write_without_zeros(file, data, at)
                } else {
                    write_all(file, data, at)
                };
                written = reached.map_err(fault("write"))?.max(written);
                Ok(())
            })?;
        }
    }
    if written < size {
        ftruncate(file, size).map_err(fault("write"))?;
    }
    Ok(size)
}

/// Writes everything; where the writing ended.
fn write_all(file: &OwnedFd, mut data: &[u8], mut at: u64) -> rustix::io::Result<u64> {
    while !data.is_empty() {
        match pwrite(file, data, at) {
            Ok(count) => {
                data = &data[count..];
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(at)
}

/// Writes all but long runs of zeros; where the last writing ended.
fn write_without_zeros(file: &OwnedFd, data: &[u8], at: u64) -> rustix::io::Result<u64> {
    let (mut from, mut end) = (0, 0);
    for (i, piece) in data.chunks(ZERO_PIECE).enumerate() {
        if piece.len() == ZERO_PIECE && piece.iter().all(|&b| b == 0) {
            let start = i * ZERO_PIECE;
            if start > from {
                end = write_all(file, &data[from..start], at + from as u64)?;
            }
            from = start + ZERO_PIECE;
        }
    }
    if from < data.len() {
        end = write_all(file, &data[from..], at + from as u64)?;
    }
    Ok(end)
}

fn errno(e: &Error) -> Errno {
    match e {
        Error::Io { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::IO),
        _ => Errno::BUSY,
    }
}
