//! A container's files without mounting anything: a path looked up in upper directory and layers as overlayfs would.
//!
//! Every step is one name opened relative to a directory descriptor, never following a link in the kernel: links
//! are followed here, inside the view, so nothing an image says leads out of it. Not handled, because only a kernel
//! with other defaults writes it: overlayfs' `redirect` and `metacopy` attributes.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// A path could not be looked up in a container's files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The kernel said no.
    #[error("{} in the container's files", path.display())]
    Io {
        /// The path in the container.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Links that lead to links without end.
    #[error("{} in the container's files: too many levels of symbolic links", path.display())]
    Loop {
        /// The path in the container.
        path: PathBuf,
    },
    /// Something other than a file where a file is needed.
    #[error("{} in the container's files is not a regular file", path.display())]
    NotAFile {
        /// The path in the container.
        path: PathBuf,
    },
    /// A file larger than what is sensible for its use.
    #[error("{} in the container's files is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The path in the container.
        path: PathBuf,
        /// What would have been read.
        limit: u64,
    },
}

/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// The files of a container: its upper directory, if it has one, over its layers.
#[derive(Debug)]
pub(crate) struct RootfsView {
    /// Top first.
    roots: Vec<PathBuf>,
}

/// One directory of the view: the directories of all layers that show through, top first.
pub(crate) type Merged = Rc<Vec<OwnedFd>>;

/// What one name leads to in a view.
pub(crate) enum Found {
    /// A directory.
    Directory(Merged),
    /// A link and its target.
    Link(OsString),
    /// Descriptor of the directory that holds it, and its status.
    Other(Merged, usize, OsString, Stat),
}

impl RootfsView {
    /// A view of `upper` over `layers`, top first.
    pub(crate) fn new(upper: Option<PathBuf>, layers: Vec<PathBuf>) -> RootfsView {
        RootfsView {
            roots: upper.into_iter().chain(layers).collect(),
        }
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> Result<Merged, Errno> {
        Ok(Rc::new(self.open_roots()?))
    }

    /// Reads a regular file, at most `limit` bytes. `None` if there is no such file.
    ///
    /// # Errors
    /// [`ViewError`] with the path; [`ViewError::TooLarge`] if there is more than `limit`.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ViewError> {
        let Some(file) = self.open(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        match read.map_err(|source| ViewError::Io {
            path: path.into(),
            source,
        })? as u64
            > limit
        {
            true => Err(ViewError::TooLarge {
                path: path.into(),
                limit,
            }),
            false => Ok(Some(bytes)),
        }
    }

    /// Opens a regular file for reading. `None` if there is no such file.
    ///
    /// # Errors
    /// [`ViewError`] with the path; [`ViewError::NotAFile`] for anything but a regular file.
    pub(crate) fn open(&self, path: &Path) -> Result<Option<File>, ViewError> {
        let fail = |e: Errno| ViewError::Io {
            path: path.into(),
            source: e.into(),
        };
        let not_a_file = || ViewError::NotAFile { path: path.into() };
        match self.walk(path)? {
            None => Ok(None),
            Some(Found::Other(parent, index, name, stat))
                if FileType::from_raw_mode(stat.st_mode).is_file() =>
            {
                let flags = OFlags::RDONLY
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC
                    | OFlags::NONBLOCK
                    | OFlags::NOCTTY;
                let fd = rustix::fs::openat(&parent[index], &name, flags, Mode::empty())
                    .map_err(fail)?;
                // It may have become something else since it was looked at.
                let stat = rustix::fs::fstat(&fd).map_err(fail)?;
                match FileType::from_raw_mode(stat.st_mode).is_file() {
                    true => Ok(Some(File::from(fd))),
                    false => Err(not_a_file()),
                }
            }
            Some(_) => Err(not_a_file()),
        }
    }

    fn walk(&self, path: &Path) -> Result<Option<Found>, ViewError> {
        let fail = |e: Errno| ViewError::Io {
            path: path.into(),
            source: e.into(),
        };
        let root = self.root().map_err(fail)?;
        let mut trail: Vec<Merged> = vec![Rc::clone(&root)];
        let mut todo: VecDeque<OsString> = steps(path.as_os_str());
        let mut links = 0;
        while let Some(step) = todo.pop_front() {
            if step == ".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let here = Rc::clone(trail.last().unwrap_or(&root));
            match look_up(&here, &step).map_err(fail)? {
                None => return Ok(None),
                Some(Found::Directory(merged)) => trail.push(merged),
                Some(Found::Link(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(ViewError::Loop { path: path.into() });
                    }
                    if target.as_bytes().starts_with(b"/") {
                        trail.truncate(1);
                    }
                    for step in steps(&target).into_iter().rev() {
                        todo.push_front(step);
                    }
                }
                // A file in the middle of a path leads nowhere.
                Some(other) => return Ok(todo.is_empty().then_some(other)),
            }
        }
        Ok(trail.pop().map(Found::Directory))
    }

    /// The root directories themselves are ours, not the image's.
    fn open_roots(&self) -> Result<Vec<OwnedFd>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.roots
            .iter()
            .map(|root| rustix::fs::open(root, flags, Mode::empty()))
            .collect()
    }
}

/// The names of a path, in order; `..` is kept, it depends on links.
fn steps(path: &OsStr) -> VecDeque<OsString> {
    let parts = Path::new(path).components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    parts.collect()
}

/// Overlayfs' rules for one name: the topmost entry counts; a whiteout hides everything below; directories merge
/// down to the first opaque one or the first thing that is none.
pub(crate) fn look_up(here: &Merged, name: &OsStr) -> Result<Option<Found>, Errno> {
    let mut merged = Vec::new();
    for (index, dir) in here.iter().enumerate() {
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(e),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice if stat.st_rdev == 0 => break,
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
                let opaque = is_opaque(&fd);
                merged.push(fd);
                if opaque {
                    break;
                }
            }
            _ if !merged.is_empty() => break,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
                return Ok(Some(Found::Link(OsString::from_vec(target.into_bytes()))));
            }
            _ => {
                return Ok(Some(Found::Other(
                    Rc::clone(here),
                    index,
                    name.to_owned(),
                    stat,
                )));
            }
        }
    }
    Ok((!merged.is_empty()).then(|| Found::Directory(Rc::new(merged))))
}

/// Whether nothing of below shows through a directory.
pub(crate) fn is_opaque(dir: &OwnedFd) -> bool {
    let mut value = [0u8; 1];
    matches!(
        rustix::fs::fgetxattr(dir, rctr_store::opaque_attribute(), &mut value),
        Ok(1)
    ) && value == *b"y"
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Directories `0` (top) to `2` (bottom).
    struct Layers(tempfile::TempDir);

    impl Layers {
        fn new() -> Layers {
            let dir = tempfile::tempdir().unwrap();
            for n in ["0", "1", "2"] {
                fs::create_dir(dir.path().join(n)).unwrap();
            }
            Layers(dir)
        }

        fn at(&self, path: &str) -> PathBuf {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        }

        fn file(&self, path: &str, text: &str) {
            fs::write(self.at(path), text).unwrap();
        }

        fn whiteout(&self, path: &str) {
            let mode = Mode::from_raw_mode(0);
            rustix::fs::mknodat(
                rustix::fs::CWD,
                self.at(path),
                FileType::CharacterDevice,
                mode,
                0,
            )
            .unwrap();
        }

        fn opaque(&self, path: &str) {
            let path = self.at(path);
            fs::create_dir_all(&path).unwrap();
            rustix::fs::setxattr(
                &path,
                c"trusted.overlay.opaque",
                b"y",
                rustix::fs::XattrFlags::empty(),
            )
            .unwrap();
        }

        fn read(&self, path: &str) -> Option<String> {
            let bytes = self.view().read(Path::new(path), 100).unwrap();
            bytes.map(|b| String::from_utf8(b).unwrap())
        }

        fn view(&self) -> RootfsView {
            let layer = |n: &str| self.0.path().join(n);
            RootfsView::new(Some(layer("0")), vec![layer("1"), layer("2")])
        }
    }

    #[test]
    fn the_topmost_file_counts_and_directories_merge() {
        let layers = Layers::new();
        layers.file("2/etc/passwd", "bottom");
        layers.file("1/etc/passwd", "middle");
        layers.file("2/etc/only", "bottom only");
        layers.file("0/etc/top", "top");
        assert_eq!(layers.read("/etc/passwd").unwrap(), "middle");
        assert_eq!(layers.read("etc/./only").unwrap(), "bottom only");
        assert_eq!(layers.read("/etc/top").unwrap(), "top");
        assert_eq!(layers.read("/etc/none"), None);
        assert_eq!(layers.read("/etc/top/none"), None);
    }

    #[test]
    fn whiteouts_and_opaque_directories_hide() {
        let layers = Layers::new();
        layers.file("2/a/file", "x");
        layers.whiteout("1/a/file");
        layers.file("2/b/file", "x");
        layers.opaque("1/b");
        layers.file("2/c/file", "x");
        layers.whiteout("1/c");
        layers.file("0/c/other", "new");
        layers.file("2/d/file", "x");
        layers.file("1/d", "a file now");
        for path in ["/a/file", "/b/file", "/c/file", "/d/file"] {
            assert_eq!(layers.read(path), None, "{path}");
        }
        assert_eq!(layers.read("/c/other").unwrap(), "new");
        assert_eq!(layers.read("/d").unwrap(), "a file now");
    }

    #[test]
    fn links_stay_inside_the_view() {
        let layers = Layers::new();
        let outside = layers.0.path().join("outside");
        fs::write(&outside, "secret").unwrap();
        layers.file("2/etc/real", "inside");
        symlink("/etc/real", layers.at("1/abs")).unwrap();
        symlink("../../../../etc/real", layers.at("1/dir/up")).unwrap();
        symlink("/etc", layers.at("1/conf")).unwrap();
        symlink(&outside, layers.at("1/escape")).unwrap();
        symlink("../../outside", layers.at("1/dir/climb")).unwrap();
        symlink("loop", layers.at("1/loop")).unwrap();
        for path in [
            "/abs",
            "/dir/up",
            "/conf/real",
            "/conf/../etc/real",
            "/../../etc/real",
        ] {
            assert_eq!(layers.read(path).unwrap(), "inside", "{path}");
        }
        assert_eq!(layers.read("/escape"), None);
        assert_eq!(layers.read("/dir/climb"), None);
        assert!(matches!(
            layers.view().read(Path::new("/loop"), 1),
            Err(ViewError::Loop { .. })
        ));
    }

    #[test]
    fn only_files_of_bounded_size_are_read() {
        let layers = Layers::new();
        layers.file("2/big", &"x".repeat(101));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            layers.at("2/fifo"),
            FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        let read = |path: &str| layers.view().read(Path::new(path), 100);
        assert!(matches!(
            read("/big"),
            Err(ViewError::TooLarge { limit: 100, .. })
        ));
        assert!(matches!(read("/fifo"), Err(ViewError::NotAFile { .. })));
        assert!(matches!(read("/"), Err(ViewError::NotAFile { .. })));
    }
}
