//! `cp`: between a container and the host. Which name a copy gets follows Docker's rules, which are `cp -a`'s where the
//! destination exists; what is copied goes through an archive, so that a file, a directory and a stream are one thing.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rctr_store::write_tree_archive;

use crate::container_files::{HostPlace, extract_on_host};
use crate::cp_paths::{asserts_directory, base_of, clean, local, rebase_name, split_entry};
use crate::events::ContainerEvent;
use crate::{CopyError, Engine, Error, Result};

/// As many links as Docker follows to a destination on the host.
const MAX_LINKS: usize = 10;

/// What is copied into a container.
pub enum CopySource<'a> {
    /// A path on the host.
    Path(&'a str),
    /// An archive, plain or packed.
    Archive(&'a mut (dyn Read + Send)),
}

/// Where something of a container is copied to.
pub enum CopyTarget<'a> {
    /// A path on the host.
    Path(&'a str),
    /// As an archive.
    Archive(&'a mut (dyn Write + Send)),
}

/// How to copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyFlags {
    /// `--archive`: what comes into a container belongs to the user that it runs as, if it was given one.
    pub archive: bool,
    /// `--follow-link`: not the link that the source is, but what it leads to.
    pub follow_link: bool,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of the archive that it went through.
    pub bytes: u64,
    /// The destination, links followed.
    pub path: String,
}

/// A source, as far as the name of its copy depends on it.
struct Named {
    /// With what it ends that says that it is a directory, or its content.
    path: String,
    /// The name to use instead of the path's own.
    rebase: Option<String>,
    is_dir: bool,
}

/// A destination, likewise.
struct Destination {
    path: String,
    exists: bool,
    is_dir: bool,
}

impl Engine {
    /// Copies into a container.
    ///
    /// # Errors
    /// [`CopyError::NoSuchPath`], [`CopyError::CannotCopyDirectory`], [`CopyError::NoSuchDirectory`],
    /// [`CopyError::CopyOntoSpecial`], [`CopyError::CopyArchiveOntoFile`], [`CopyError::ReadOnlyRootfs`],
    /// [`CopyError::ReadOnlyVolume`], [`CopyError::NotADirectory`], [`Error::Store`] for what is wrong with an archive.
    pub fn copy_into(
        &self,
        name: &str,
        from: CopySource<'_>,
        to: &str,
        flags: CopyFlags,
    ) -> Result<Copied> {
        let from = match from {
            CopySource::Path(path) => Ok(local(path)?),
            CopySource::Archive(archive) => Err(archive),
        };
        let files = self.container_files(name)?;
        let mut path = to.to_owned();
        let mut stat = files.stat(to).ok();
        if let Some(link) = stat.as_ref().and_then(|stat| stat.link.clone()) {
            stat = files.stat(&link).ok();
            path = link;
        }
        if stat.as_ref().is_some_and(|stat| stat.is_device) {
            return Err(CopyError::CopyOntoSpecial {
                container: name.to_owned(),
                path: to.to_owned(),
            }
            .into());
        }
        let into = Destination {
            exists: stat.is_some(),
            is_dir: stat.is_some_and(|stat| stat.is_dir),
            path,
        };
        let bytes = match from {
            Err(_) if !into.is_dir => {
                return Err(CopyError::CopyArchiveOntoFile {
                    container: name.to_owned(),
                    path: to.to_owned(),
                }
                .into());
            }
            Err(archive) => {
                let mut counted = Counted::new(archive);
                files.extract(&into.path, &mut counted, flags.archive)?;
                counted.bytes
            }
            Ok(from) => {
                let named = on_host(&from, flags.follow_link)?;
                let place = HostPlace::find(&named.path)?;
                let (dir, called) = prepare(&named, &into)?;
                through_pipe(
                    |to| place.archive(&called, to),
                    |archive| files.extract(&dir, archive, flags.archive),
                )?
            }
        };
        self.tell(&files.container, ContainerEvent::ExtractToDir)?;
        Ok(Copied {
            bytes,
            path: into.path,
        })
    }

    /// Writes a container's own files, nothing that is mounted in it, as an archive.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Store`].
    pub fn export(&self, name: &str, to: &mut dyn Write) -> Result<()> {
        let container = self.container(name)?;
        let (root, _lock) = self.container_rootfs(&container)?;
        write_tree_archive(root.as_fd(), to)?;
        self.tell(&container, ContainerEvent::Export)
    }

    /// Copies out of a container.
    ///
    /// # Errors
    /// [`CopyError::NoSuchPath`], [`CopyError::CannotCopyDirectory`], [`CopyError::NoSuchDirectory`],
    /// [`CopyError::OutputDirectoryMissing`], [`CopyError::OutputSpecial`], [`Error::File`], [`Error::Store`].
    pub fn copy_out(
        &self,
        name: &str,
        from: &str,
        to: CopyTarget<'_>,
        flags: CopyFlags,
    ) -> Result<Copied> {
        let to = match to {
            CopyTarget::Path(path) => {
                let path = local(path)?;
                check_output(&path)?;
                Ok(path)
            }
            CopyTarget::Archive(archive) => Err(archive),
        };
        let files = self.container_files(name)?;
        let mut named = Named {
            path: from.to_owned(),
            rebase: None,
            is_dir: false,
        };
        let mut stat = files.stat(from)?;
        if let Some(link) = stat.link.clone().filter(|_| flags.follow_link) {
            (named.path, named.rebase) = rebase_name(from, link);
            stat = files.stat(&named.path)?;
            if stat.link.is_some() {
                return Err(CopyError::TooManyLinks { path: from.into() }.into());
            }
        }
        named.is_dir = stat.is_dir;
        let copied = match to {
            Err(archive) => {
                let mut counted = Counted::new(archive);
                files.archive(&named.path, &base_of(&named.path), &mut counted)?;
                counted
                    .inner
                    .flush()
                    .map_err(Error::file("write", "standard output".as_ref()))?;
                Copied {
                    bytes: counted.bytes,
                    path: "-".to_owned(),
                }
            }
            Ok(path) => {
                let into = destination(&path)?;
                let (dir, called) = prepare(&named, &into)?;
                let bytes = through_pipe(
                    |to| files.archive(&named.path, &called, to),
                    |archive| extract_on_host(Path::new(&dir), archive),
                )?;
                Copied { bytes, path }
            }
        };
        self.tell(&files.container, ContainerEvent::ArchivePath)?;
        Ok(copied)
    }
}

/// The directory that the source is unpacked in, and what it is called there.
fn prepare(from: &Named, to: &Destination) -> Result<(String, String)> {
    let (dir, base) = split_entry(&to.path);
    let own = || from.rebase.clone().unwrap_or_else(|| base_of(&from.path));
    match (to.exists, to.is_dir, from.is_dir) {
        (true, true, _) => Ok((to.path.clone(), own())),
        (true, false, true) => Err(CopyError::CannotCopyDirectory.into()),
        (true, false, false) | (false, _, true) => Ok((dir, base)),
        (false, _, false) if asserts_directory(&to.path) => Err(CopyError::NoSuchDirectory.into()),
        (false, _, false) => Ok((dir, base)),
    }
}

/// A source on the host: links on the way to it are followed, and itself if that is asked for.
fn on_host(path: &str, follow: bool) -> Result<Named> {
    let real = |path: &str| -> Result<String> {
        let real = std::fs::canonicalize(path).map_err(Error::file("lstat", Path::new(path)))?;
        Ok(real.to_string_lossy().into_owned())
    };
    let (path, rebase) = if follow {
        rebase_name(path, real(path)?)
    } else {
        let (dir, base) = match path.rsplit_once('/') {
            Some((dir, base)) => (format!("{dir}/"), base),
            None => (".".to_owned(), path),
        };
        let dir = real(&dir)?;
        let found = format!("{}/{base}", dir.trim_end_matches('/'));
        let renamed = path.ends_with('/') && base_of(path) != base_of(&found);
        (found, renamed.then(|| base_of(path)))
    };
    Ok(Named {
        is_dir: HostPlace::find(&path)?.is_dir,
        path,
        rebase,
    })
}

/// A destination on the host: where a link leads, which may be nothing yet.
fn destination(original: &str) -> Result<Destination> {
    let mut path = original.to_owned();
    for _ in 0..=MAX_LINKS {
        let missing = match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => {
                let link = std::fs::read_link(path.trim_end_matches('/'));
                let link = link.map_err(Error::file("read", Path::new(&path)))?;
                path = Path::new(&split_entry(&path).0)
                    .join(link)
                    .to_string_lossy()
                    .into_owned();
                continue;
            }
            Ok(meta) => {
                return Ok(Destination {
                    exists: true,
                    is_dir: meta.is_dir(),
                    path,
                });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => true,
            Err(e) => return Err(Error::file("lstat", Path::new(&path))(e)),
        };
        let parent = split_entry(&path).0;
        let meta = std::fs::metadata(&parent).map_err(Error::file("stat", Path::new(&parent)))?;
        if !meta.is_dir() {
            return Err(CopyError::NotADirectory.into());
        }
        return Ok(Destination {
            exists: !missing,
            is_dir: false,
            path,
        });
    }
    Err(CopyError::TooManyLinks {
        path: original.to_owned(),
    }
    .into())
}

/// Refuses a place on the host that no file can be written to, before anything else is done.
///
/// # Errors
/// [`CopyError::OutputDirectoryMissing`], [`CopyError::OutputSpecial`].
pub fn check_output(path: &str) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let cleaned = clean(path);
    let dir = Path::new(&cleaned).parent().unwrap_or("/".as_ref());
    if !dir.as_os_str().is_empty() && !dir.exists() {
        return Err(CopyError::OutputDirectoryMissing {
            dir: dir.to_owned(),
        }
        .into());
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.file_type().is_char_device() || meta.file_type().is_block_device() => {
            Err(CopyError::OutputSpecial {
                path: PathBuf::from(path),
            }
            .into())
        }
        _ => Ok(()),
    }
}

/// Lets one side write what the other reads; how many bytes that was.
fn through_pipe(
    write: impl FnOnce(&mut PipeWriter) -> Result<()> + Send,
    read: impl FnOnce(&mut Counted<PipeReader>) -> Result<()>,
) -> Result<u64> {
    let pipe = io::pipe().map_err(Error::file("make", Path::new("a pipe")));
    let (reader, mut writer) = pipe?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || write(&mut writer));
        let mut counted = Counted::new(reader);
        let done = read(&mut counted);
        let Counted { inner, bytes } = counted;
        // A writer that is not done yet learns of it.
        drop(inner);
        let written = writing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (written, done) {
            // What it broke off with is the reason, unless the other side did.
            (Err(e), _) if !is_broken_pipe(&e) => Err(e),
            (_, done) => done.map(|()| bytes),
        }
    })
}

fn is_broken_pipe(error: &Error) -> bool {
    matches!(
        error,
        Error::Store(rctr_store::Error::WriteArchive { source }) if source.kind() == io::ErrorKind::BrokenPipe
    )
}

/// Counts what passes.
struct Counted<T> {
    inner: T,
    bytes: u64,
}

impl<T> Counted<T> {
    fn new(inner: T) -> Self {
        Counted { inner, bytes: 0 }
    }
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

impl<T: Write> Write for Counted<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_get_docker_s_names() {
        let source = |path: &str, is_dir| Named {
            path: path.to_owned(),
            rebase: None,
            is_dir,
        };
        let to = |path: &str, kind: &str| Destination {
            path: path.to_owned(),
            exists: kind != "none",
            is_dir: kind == "dir",
        };
        let place = |from: Named, to| match prepare(&from, &to) {
            Ok((dir, called)) => format!("{dir} {called}"),
            Err(e) => e.to_string(),
        };
        let file = || source("/s/f", false);
        let dir = || source("/s/d", true);
        let content = || source("/s/d/.", true);
        assert_eq!(place(file(), to("/t", "dir")), "/t f");
        assert_eq!(place(file(), to("/t/x", "file")), "/t x");
        assert_eq!(place(file(), to("/t/x", "none")), "/t x");
        assert_eq!(place(file(), to("/t/x/", "none")), "no such directory");
        assert_eq!(place(dir(), to("/t", "dir")), "/t d");
        assert_eq!(place(dir(), to("/t/x", "file")), "cannot copy directory");
        assert_eq!(place(dir(), to("/t/x", "none")), "/t x");
        assert_eq!(place(dir(), to("/t/x/", "none")), "/t x");
        assert_eq!(place(content(), to("/t", "dir")), "/t .");
        assert_eq!(place(content(), to("/t/x", "none")), "/t x");
    }
}
