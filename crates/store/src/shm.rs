//! The memory that SQLite shares between processes, kept from needing space.
//!
//! Whoever finds nobody else at the file `store.db-shm` cannot trust what is in it. SQLite cuts it to nothing then and
//! extends it again, for which a full disk has no room; worse, where blocks are smaller than pages a write to the mapped
//! file is then a SIGBUS. Here it is filled with zeros in place, which are no valid header: SQLite builds its index anew.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::Result;
use crate::error::At;

/// SQLite's "dead man switch": the byte that everybody who uses the file holds a shared lock on (wal-index format).
const SWITCH: libc::off_t = 128;
/// The first part of the file; SQLite adds others for a log of more than 4,062 pages.
const SIZE: u64 = 32 << 10;

/// Held while SQLite opens the shared memory: it then finds somebody there, and does not cut it.
pub(crate) struct Prepared {
    /// Never closed: that would take the locks of all of this process's connections to the file (POSIX locks).
    file: ManuallyDrop<File>,
}

impl Prepared {
    /// Empties the shared memory if nobody uses it. None if there is none yet.
    pub fn new(root: &Path) -> Result<Option<Self>> {
        let path = root.join("store.db-shm");
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path);
        let file = match file {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at("open", &path)?,
        };
        // From here on its end gives back whatever is locked: a second attempt must not wait for this one.
        let prepared = Prepared {
            file: ManuallyDrop::new(file),
        };
        let file = &prepared.file;
        match lock(file, libc::F_WRLCK, false) {
            Ok(()) => empty(file).at("write", &path)?,
            Err(Errno::EAGAIN | Errno::EACCES) => {}
            Err(e) => return Err(std::io::Error::from(e)).at("lock", &path),
        }
        // Of the exclusive lock, or when whoever has that is done.
        lock(file, libc::F_RDLCK, true)
            .map_err(std::io::Error::from)
            .at("lock", &path)?;
        Ok(Some(prepared))
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // Nothing can be wrong with giving back what is held.
        let _ = lock(&self.file, libc::F_UNLCK, false);
    }
}

fn empty(file: &File) -> std::io::Result<()> {
    if file.metadata()?.len() > SIZE {
        file.set_len(SIZE)?;
    }
    file.write_all_at(&[0; SIZE as usize], 0)
}

/// A lock of this descriptor (F_OFD_SETLK): SQLite's own, of this process, do not replace it.
fn lock(file: &File, kind: i32, wait: bool) -> nix::Result<()> {
    let range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: SWITCH,
        l_len: 1,
        l_pid: 0,
    };
    loop {
        let how = match wait {
            true => FcntlArg::F_OFD_SETLKW(&range),
            false => FcntlArg::F_OFD_SETLK(&range),
        };
        match fcntl(file, how) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use crate::tests::store;
    use crate::{Error, Store};

    #[test]
    fn what_was_shared_is_built_anew_in_its_place() {
        let (_dir, store) = store();
        let root = store.root().to_owned();
        store.write(|_| Ok::<_, Error>(())).unwrap();
        drop(store);
        let path = root.join("store.db-shm");
        let before = path.metadata().unwrap();
        // As a machine that lost its power may leave it.
        std::fs::write(&path, vec![0x5a; before.len() as usize]).unwrap();
        let store = Store::open(&root).unwrap();
        assert!(store.images().unwrap().is_empty());
        let after = path.metadata().unwrap();
        assert_eq!((after.ino(), after.len()), (before.ino(), before.len()));
        // A second one beside it takes nothing away from the first.
        let second = Store::open(&root).unwrap();
        drop(second);
        store.write(|_| Ok::<_, Error>(())).unwrap();
    }
}
