//! Paths as bytes, and how one is walked beneath a root directory.
//!
//! Every step opens one name in an open directory and never follows a link in the kernel: links are followed here, as
//! a process in a chroot would, so nothing that a context, an archive or an image says leads out of the root, and a
//! directory that is swapped for a link meanwhile is an error, not an escape.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use super::error::{At, FilesError, Result, text};

/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: usize = 40;
/// Bytes of a path the kernel takes at once.
pub(super) const PATH_MAX: usize = 4096;

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
pub(super) const DIRECTORY_PATH: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Regular files are opened so: a fifo that took one's place does not block.
pub(super) const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// The components of a path that say something; `..` is one of them.
pub(super) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&b| b == b'/')
        .filter(|c| !c.is_empty() && *c != b".")
}

/// The path without `/` in front and without `.` and `..`, which never leave the root.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut clean: Vec<&[u8]> = Vec::new();
    for component in components(path) {
        match component {
            b".." => drop(clean.pop()),
            name => clean.push(name),
        }
    }
    clean.join(&b'/')
}

/// Parent and last component of a clean path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// A clean path and something below it; either may be empty.
pub(super) fn join(path: &[u8], below: &[u8]) -> Vec<u8> {
    match (path.is_empty(), below.is_empty()) {
        (true, _) => below.to_vec(),
        (_, true) => path.to_vec(),
        _ => [path, b"/", below].concat(),
    }
}

/// Opens a directory at a path that holds no links, at once or, where it is too long for that, name by name.
pub(super) fn open_dir(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    if path.is_empty() {
        return openat(root, c".", flags, Mode::empty());
    }
    if path.len() < PATH_MAX && !path.starts_with(b"/") {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        return openat2(root, path, flags, Mode::empty(), beneath);
    }
    let mut at = openat(root, c".", flags, Mode::empty())?;
    for name in components(path) {
        at = openat(&at, name, flags, Mode::empty())?;
    }
    Ok(at)
}

/// Where a path leads.
pub(super) struct Place {
    /// The directory it is in.
    pub dir: OwnedFd,
    /// That directory's path, without links.
    pub parent: Vec<u8>,
    /// Its name there; `.` if the path leads to a directory that it did not name, such as the root.
    pub name: Vec<u8>,
    /// `None` if there is nothing.
    pub stat: Option<Stat>,
    /// The links that were followed, by their own paths.
    pub links: Vec<Vec<u8>>,
}

impl Place {
    /// Its path, without links.
    pub fn path(&self) -> Vec<u8> {
        match &self.name[..] {
            b"." => self.parent.clone(),
            name => join(&self.parent, name),
        }
    }

    pub fn is_dir(&self) -> bool {
        self.stat.is_some_and(|s| kind(&s) == FileType::Directory)
    }
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Makes a directory that is missing on the way: parent, name, path.
pub(super) type Make<'a> = &'a mut dyn FnMut(&OwnedFd, &[u8], &[u8]) -> Result<()>;

/// What to do at the end of the way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// Follow a link.
    Follow,
    /// Stop at a link.
    Keep,
}

/// Walks a path. What is missing on the way is made, or, without `make`, gives a place whose `stat` is `None` and
/// whose name is that of the first component that is missing.
pub(super) fn walk(
    root: BorrowedFd<'_>,
    path: &[u8],
    last: Last,
    mut make: Option<Make<'_>>,
) -> Result<Place> {
    let shown = || clean(path);
    let open_root = || openat(root, c".", DIRECTORY_PATH, Mode::empty()).at("open", b"");
    let mut todo: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
    let mut place = Place {
        dir: open_root()?,
        parent: Vec::new(),
        name: b".".to_vec(),
        stat: None,
        links: Vec::new(),
    };
    while let Some(name) = todo.pop_front() {
        if name == b".." {
            place.parent = split(&place.parent).0.to_vec();
            place.dir = open_dir(root, &place.parent, DIRECTORY_PATH).at("open", &place.parent)?;
            continue;
        }
        let is_last = todo.is_empty();
        let here = join(&place.parent, &name);
        let stat = match statat(&place.dir, &name[..], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                if let (false, Some(make)) = (is_last, make.as_mut()) {
                    make(&place.dir, &name, &here)?;
                    enter(&mut place, &name, here)?;
                    continue;
                }
                place.name = name;
                return Ok(place);
            }
            Err(e) => return Err(e).at("look at", &here),
        };
        match kind(&stat) {
            FileType::Symlink if !is_last || last == Last::Follow => {
                if place.links.len() >= MAX_LINKS {
                    return Err(FilesError::LinkLoop {
                        path: text(&shown()),
                    });
                }
                let target = readlinkat(&place.dir, &name[..], Vec::new())
                    .at("read the link", &here)?
                    .into_bytes();
                if target.starts_with(b"/") {
                    place.dir = open_root()?;
                    place.parent.clear();
                }
                for component in components(&target).rev() {
                    todo.push_front(component.to_vec());
                }
                place.links.push(here);
            }
            _ if is_last => {
                place.name = name;
                place.stat = Some(stat);
                return Ok(place);
            }
            FileType::Directory => enter(&mut place, &name, here)?,
            _ => return Err(FilesError::NotADirectory { path: text(&here) }),
        }
    }
    place.stat = Some(fstat(&place.dir).at("look at", &place.parent)?);
    Ok(place)
}

fn enter(place: &mut Place, name: &[u8], here: Vec<u8>) -> Result<()> {
    place.dir = match openat(place.dir.as_fd(), name, DIRECTORY_PATH, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Err(FilesError::NotADirectory { path: text(&here) });
        }
        Err(e) => return Err(e).at("open", &here),
    };
    place.parent = here;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn cleaned_paths_never_leave_the_root() {
        for (path, expected) in [
            ("/", ""),
            ("..", ""),
            ("../../etc/passwd", "etc/passwd"),
            ("/f", "f"),
            ("a//b/./c/", "a/b/c"),
            ("a/../../b", "b"),
            ("...", "..."),
        ] {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn links_are_followed_inside_the_root_only() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir_all(root.join("etc/deep")).unwrap();
        std::fs::write(root.join("etc/file"), "in").unwrap();
        std::fs::write(temp.path().join("file"), "out").unwrap();
        symlink("/etc/file", root.join("absolute")).unwrap();
        symlink("../../../etc/file", root.join("etc/deep/up")).unwrap();
        symlink("etc/deep", root.join("dir")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/nowhere/else", root.join("dangling")).unwrap();
        let fd = open_dir(
            rustix::fs::CWD,
            temp.path().as_os_str().as_encoded_bytes(),
            DIRECTORY,
        );
        assert!(fd.is_err(), "a leading slash means the root that was given");
        let fd = OwnedFd::from(std::fs::File::open(&root).unwrap());
        let at = |path: &str, last| walk(fd.as_fd(), path.as_bytes(), last, None).unwrap();
        for path in [
            "absolute",
            "etc/deep/up",
            "dir/up",
            "dir/../file",
            "../etc/file",
        ] {
            let place = at(path, Last::Follow);
            assert_eq!(place.path(), b"etc/file", "{path}");
            assert!(place.stat.is_some(), "{path}");
        }
        assert_eq!(at("absolute", Last::Keep).path(), b"absolute");
        assert_eq!(at("../file", Last::Follow).path(), b"file");
        assert!(at("../file", Last::Follow).stat.is_none());
        assert_eq!(at("dangling", Last::Follow).path(), b"nowhere");
        assert_eq!(at("dir", Last::Follow).path(), b"etc/deep");
        assert!(at("/", Last::Follow).is_dir());
        let fails = |path: &str| walk(fd.as_fd(), path.as_bytes(), Last::Follow, None).err();
        assert!(matches!(fails("loop"), Some(FilesError::LinkLoop { .. })));
        assert!(matches!(
            fails("etc/file/x"),
            Some(FilesError::NotADirectory { .. })
        ));
    }
}
