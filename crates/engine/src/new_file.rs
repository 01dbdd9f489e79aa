//! Files that appear under their name only when they are complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A file that is being written. Dropped without [`commit`](Self::commit) it is gone.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    /// Its name until then; none for a device or pipe, which is written as it is.
    temp: Option<PathBuf>,
}

impl NewFile {
    /// Begins a file that will take the place of one of that name.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(path: &Path) -> Result<NewFile> {
        let special = path
            .metadata()
            .is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
        if special {
            let file = File::options().write(true).open(path);
            return Ok(NewFile {
                file: file.map_err(Error::file("open", path))?,
                path: path.to_owned(),
                temp: None,
            });
        }
        if path.is_dir() {
            let is_dir = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            return Err(Error::file("create", path)(is_dir));
        }
        let mut temp = path.as_os_str().to_owned();
        temp.push(format!(".{}", std::process::id()));
        let temp = PathBuf::from(temp);
        let file = File::create_new(&temp).map_err(Error::file("create", path))?;
        Ok(NewFile {
            file,
            path: path.to_owned(),
            temp: Some(temp),
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
        if let Some(temp) = self.temp.take() {
            let synced = self.file.sync_all();
            let moved = synced.and_then(|()| fs::rename(&temp, &self.path));
            if moved.is_err() {
                self.temp = Some(temp);
            }
            return moved.map_err(Error::file("write", &self.path));
        }
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temp) = &self.temp {
            // Whatever is wrong with it has been told.
            let _ = fs::remove_file(temp);
        }
    }
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
