//! Unpacks the archives that ADD adds, and those that are a context.
//!
//! Not layers: names such as `.wh.x` mean nothing here, members replace what is there, and owners are the archive's
//! unless somebody else is named. Names resolve as in a chroot of the directory.

use std::cell::Cell;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, linkat, makedev, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;
use tar::EntryType;

use super::entry::{Meta, Xattr};
use super::error::{At, FilesError, Result, text};
use super::path::{DIRECTORY, components, join, kind, open_dir, split};
use super::target::{Attributes, Policy, Spot, Target, apply};
use super::walk::names;

const BUFFER: usize = 128 << 10;
const XATTR: &str = "SCHILY.xattr.";
/// Bytes of a member's headers with long names and extended attributes, which are kept in memory.
const MAX_HEADERS: u64 = 4 << 20;
/// Levels of directories that are removed to make place.
const MAX_DEPTH: usize = 256;

/// Unpacks a tar archive into a directory. `chown` owns everything; `archive` is its name for messages.
pub(crate) fn unpack(
    reader: impl Read,
    root: OwnedFd,
    chown: Option<(u32, u32)>,
    archive: &str,
) -> Result<()> {
    let policy = Policy {
        chown,
        chmod: None,
        timestamp: None,
    };
    let target = Target::new(root.as_fd(), policy);
    let mut unpacker = Unpacker {
        target: &target,
        archive,
        directories: Vec::new(),
        buffer: vec![0; BUFFER],
    };
    let broken = |e: io::Error| FilesError::Archive {
        archive: archive.into(),
        member: None,
        problem: e.to_string(),
    };
    let left = Cell::new(MAX_HEADERS);
    let mut tar = tar::Archive::new(Metered {
        reader,
        left: &left,
    });
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        left.set(u64::MAX);
        unpacker.member(&mut entry)?;
        // Data that nobody has a use for is not counted with the next headers.
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
        left.set(MAX_HEADERS);
    }
    unpacker.finish()
}

/// Lets so many bytes through: headers say themselves how long they are.
struct Metered<'a, R> {
    reader: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left
            .set(left.ok_or_else(|| io::Error::other("an extended header is too large"))?);
        Ok(count)
    }
}

struct Unpacker<'a> {
    target: &'a Target<'a>,
    archive: &'a str,
    /// They get their attributes at the end: what is put in them changes their times.
    directories: Vec<(Vec<u8>, Attributes, Vec<Xattr>)>,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn refuse(&self, member: &[u8], problem: impl Into<String>) -> FilesError {
        FilesError::Archive {
            archive: self.archive.into(),
            member: Some(text(member)),
            problem: problem.into(),
        }
    }

    /// A name or link target within the archive, without `.` and `..`.
    fn clean(&self, member: &[u8], name: &[u8]) -> Result<Vec<u8>> {
        let mut clean: Vec<&[u8]> = Vec::new();
        for component in components(name) {
            match component {
                b".." if clean.pop().is_none() => {
                    return Err(self.refuse(member, "it leads out of the archive"));
                }
                b".." => {}
                name => clean.push(name),
            }
        }
        Ok(clean.join(&b'/'))
    }

    fn member<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<()> {
        let member = entry.path_bytes().into_owned();
        let path = self.clean(&member, &member)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::XGlobalHeader => return Ok(()),
            // One of an archive that is too old to have such.
            EntryType::XHeader => return Err(self.unsupported(&member, kind)),
            _ => {}
        }
        let (attributes, xattrs) = self.attributes(entry, &member)?;
        if path.is_empty() {
            if kind == EntryType::Directory {
                self.directories.push((path, attributes, xattrs));
            }
            return Ok(());
        }
        let (parent, name) = split(&path);
        let dir = self.target.make_dirs(parent)?;
        let spot = Spot {
            dir: &dir,
            name,
            path: &path,
        };
        // Before POSIX, a directory was a file whose name ends with a slash.
        let is_file = matches!(
            kind,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        );
        if kind == EntryType::Directory || (is_file && member.ends_with(b"/")) {
            self.directory(spot)?;
            self.directories.push((path, attributes, xattrs));
            return Ok(());
        }
        remove(&dir, name, &path, 0)?;
        match kind {
            _ if is_file => {
                let mut file = File::from(spot.file(0o600)?);
                loop {
                    match entry.read(&mut self.buffer) {
                        Ok(0) => break,
                        Ok(count) => file.write_all(&self.buffer[..count]).at("write", &path)?,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(self.refuse(&member, e.to_string())),
                    }
                }
                apply(&file.into(), &attributes, &xattrs, &path)
            }
            EntryType::Link => {
                let link = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.hard_link(&member, &link, spot)
            }
            EntryType::Symlink => {
                let link = entry.link_name_bytes().unwrap_or_default();
                spot.symlink(&link, &attributes)
            }
            EntryType::Char | EntryType::Block => {
                let header = entry.header();
                let number = |n: io::Result<Option<u32>>| n.ok().flatten();
                let (Some(major), Some(minor)) =
                    (number(header.device_major()), number(header.device_minor()))
                else {
                    return Err(self.refuse(&member, "a device number is malformed"));
                };
                let kind = match kind {
                    EntryType::Char => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                spot.node(kind, makedev(major, minor), &attributes)
            }
            EntryType::Fifo => spot.node(FileType::Fifo, 0, &attributes),
            other => Err(self.unsupported(&member, other)),
        }
    }

    fn unsupported(&self, member: &[u8], kind: EntryType) -> FilesError {
        let kind = char::from(kind.as_byte());
        self.refuse(member, format!("type '{kind}' is not supported"))
    }

    fn directory(&self, spot: Spot<'_>) -> Result<()> {
        match mkdirat(spot.dir, spot.name, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            other => return other.at("create", spot.path),
        }
        let stat = statat(spot.dir, spot.name, AtFlags::SYMLINK_NOFOLLOW);
        if kind(&stat.at("look at", spot.path)?) == FileType::Directory {
            return Ok(());
        }
        spot.put("create", || mkdirat(spot.dir, spot.name, Mode::RWXU))
    }

    fn hard_link(&self, member: &[u8], link: &[u8], spot: Spot<'_>) -> Result<()> {
        let first = self.clean(member, link)?;
        let place = self.target.find(split(&first).0)?;
        let dir = match place.is_dir() {
            true => openat(&place.dir, &place.name[..], DIRECTORY, Mode::empty())
                .at("open", &place.path())?,
            false => return Err(self.refuse(member, "it is a link to what is not there")),
        };
        match linkat(&dir, split(&first).1, spot.dir, spot.name, AtFlags::empty()) {
            Err(Errno::NOENT) => Err(self.refuse(member, "it is a link to what is not there")),
            other => other.at("link", spot.path),
        }
    }

    fn attributes<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        member: &[u8],
    ) -> Result<(Attributes, Vec<Xattr>)> {
        let bad = |e: io::Error| self.refuse(member, e.to_string());
        let header = entry.header();
        let id = |id: io::Result<u64>| {
            u32::try_from(id.map_err(bad)?)
                .ok()
                // It means "leave as is" to chown(2).
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| self.refuse(member, "an owner is out of range"))
        };
        let (uid, gid) = (id(header.uid())?, id(header.gid())?);
        let mode = header.mode().map_err(bad)? & 0o7777;
        let mut mtime = (header.mtime().map_err(bad)? as i64, 0);
        let mut xattrs = Vec::new();
        for extension in entry.pax_extensions().map_err(bad)?.into_iter().flatten() {
            let extension = extension.map_err(bad)?;
            let (key, value) = (extension.key().unwrap_or_default(), extension.value_bytes());
            if key == "mtime" {
                mtime = pax_time(value).unwrap_or(mtime);
            } else if key.starts_with("GNU.sparse.") {
                return Err(self.refuse(member, "PAX sparse files are not supported"));
            } else if let Some(name) = key.strip_prefix(XATTR)
                && !name.starts_with("trusted.overlay.")
                && !name.starts_with("user.overlay.")
                && let Ok(name) = CString::new(name)
            {
                xattrs.push((name, value.to_vec()));
            }
        }
        let meta = Meta {
            mode,
            uid,
            gid,
            mtime,
            ..Meta::default()
        };
        Ok((self.target.policy.attributes(&meta, true), xattrs))
    }

    fn finish(self) -> Result<()> {
        for (path, attributes, xattrs) in self.directories.iter().rev() {
            let dir = match open_dir(self.target.root(), path, DIRECTORY) {
                // A later member took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                other => other.at("open", path)?,
            };
            apply(&dir, attributes, xattrs, path)?;
        }
        Ok(())
    }
}

/// `seconds[.fraction]`.
fn pax_time(value: &[u8]) -> Option<(i64, u64)> {
    let value = std::str::from_utf8(value).ok()?;
    let (seconds, fraction) = value.split_once('.').unwrap_or((value, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: u64 = digits.parse().ok()?;
    match (value.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}

/// Removes whatever is there.
fn remove(dir: &OwnedFd, name: &[u8], path: &[u8], depth: usize) -> Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e).at("replace", path),
    }
    if depth == MAX_DEPTH {
        return Err(FilesError::TooDeep {
            path: text(path),
            limit: MAX_DEPTH,
        });
    }
    let fd = openat(dir, name, DIRECTORY, Mode::empty()).at("replace", path)?;
    for entry in names(fd.as_fd()).at("read", path)? {
        let name = entry.name.as_bytes();
        remove(&fd, name, &join(path, name), depth + 1)?;
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR).at("replace", path)
}
