//! Files that appear under their name only when they are complete.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;

use crate::{Error, Result};

/// The umask of whoever started this process.
static CALLERS_UMASK: AtomicU32 = AtomicU32::new(0o022);

/// Makes what belongs to containers independent of how this process was started: directories and files are for all users
/// from now on, except for what a user gets as a file of their own ([`NewFile`]).
pub fn settle_umask() {
    let callers = rustix::process::umask(Mode::from_raw_mode(0o022));
    CALLERS_UMASK.store(callers.as_raw_mode(), Ordering::Relaxed);
}

/// A mode for a file that the user gets.
pub(crate) fn callers_mode(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & !CALLERS_UMASK.load(Ordering::Relaxed))
}

/// A file that is being written. Dropped without [`commit`](Self::commit) it is gone.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    until: Until,
}

/// What it is until it is complete.
#[derive(Debug)]
enum Until {
    /// A file without a name, of which nothing stays whatever happens.
    Nameless,
    /// A file of another name, where files must have one.
    Named(PathBuf),
    /// A device or pipe, which is written as it is.
    Itself,
}

impl NewFile {
    /// Begins a file that will take the place of one of that name, readable for all whom the caller's umask lets.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(path: &Path) -> Result<NewFile> {
        NewFile::with_mode(path, callers_mode(0o644))
    }

    /// The same for nobody but its owner: what a container holds may be secret.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn private(path: &Path) -> Result<NewFile> {
        NewFile::with_mode(path, Mode::from_raw_mode(0o600))
    }

    fn with_mode(path: &Path, mode: Mode) -> Result<NewFile> {
        let special = path
            .metadata()
            .is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
        if special {
            let file = File::options().write(true).open(path);
            return Ok(NewFile {
                file: file.map_err(Error::file("open", path))?,
                path: path.to_owned(),
                until: Until::Itself,
            });
        }
        if path.is_dir() {
            let is_dir = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            return Err(Error::file("create", path)(is_dir));
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let (file, until) = match openat(CWD, dir.unwrap_or(Path::new(".")), flags, mode) {
            Ok(file) => (File::from(file), Until::Nameless),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let temp = beside(path);
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
                let file = openat(CWD, &temp, flags, mode)
                    .map_err(|e| Error::file("create", path)(e.into()))?;
                (File::from(file), Until::Named(temp))
            }
            Err(e) => return Err(Error::file("create", path)(e.into())),
        };
        Ok(NewFile {
            file,
            path: path.to_owned(),
            until,
        })
    }

    /// What is written to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What it is to be called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it appear, on disk.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn commit(mut self) -> Result<()> {
        self.put().map_err(Error::file("write", &self.path))
    }

    fn put(&mut self) -> io::Result<()> {
        if matches!(self.until, Until::Itself) {
            return Ok(());
        }
        self.file.sync_all()?;
        if matches!(self.until, Until::Nameless) {
            // A name that is taken cannot be linked to, only renamed to.
            let temp = beside(&self.path);
            let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            linkat(CWD, own, CWD, &temp, AtFlags::SYMLINK_FOLLOW)?;
            self.until = Until::Named(temp);
        }
        if let Until::Named(temp) = &self.until {
            fs::rename(temp, &self.path)?;
            self.until = Until::Itself;
        }
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Until::Named(temp) = &self.until {
            // Whatever is wrong with it has been told.
            let _ = fs::remove_file(temp);
        }
    }
}

/// A name in the same directory that nobody else uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    // A process that was killed may have left one, and had the same number.
    name.push(format!(".{:016x}", rand::random::<u64>()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let new = NewFile::create(&path).unwrap();
        new.file().write_all(b"half").unwrap();
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "not even a name"
        );
        drop(new);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(&path, "old").unwrap();
        let new = NewFile::create(&path).unwrap();
        new.file().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        new.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(NewFile::create(dir.path()).is_err());
        let device = NewFile::create(Path::new("/dev/null")).unwrap();
        device.file().write_all(b"x").unwrap();
        device.commit().unwrap();
        assert!(NewFile::create(&dir.path().join("no/such")).is_err());
    }
}
