use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, TransactionBehavior};

use crate::fs::{self, Syncer};
use crate::records::Tx;
use crate::{Error, Result, db, reserve};

/// A store. Cheap to clone; all clones share one connection to the database.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    db: Mutex<Connection>,
    syncer: Syncer,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let conn = self.db.get_mut().unwrap_or_else(PoisonError::into_inner);
        db::checkpoint(&self.root, conn);
    }
}

impl Store {
    /// Opens the store in the directory `root`, and creates it if there is none.
    ///
    /// # Errors
    /// [`Error::DatabaseDamaged`], [`Error::DatabaseForeign`], [`Error::DatabaseNewer`], [`Error::Database`],
    /// [`Error::Io`].
    pub fn open(root: &Path) -> Result<Store> {
        let root = std::path::absolute(root).map_err(|source| Error::Io {
            action: "find",
            path: root.to_owned(),
            source,
        })?;
        if !fs::exists(&root.join("store.db"))? {
            fs::make_dirs(&root, 0o711)?;
            let dirs = [
                "blobs/sha256",
                "layers/link",
                "containers",
                "volumes",
                "tmp",
            ];
            for dir in dirs {
                make_private_dirs(&root, dir)?;
            }
            for unrelated in ["containers", "tmp"] {
                fs::spread_subdirs(&root.join(unrelated))?;
            }
        }
        let db = reserve::spend(&root, || db::open(&root))?;
        Ok(Store {
            inner: Arc::new(Inner {
                root,
                db: Mutex::new(db),
                syncer: Syncer::default(),
            }),
        })
    }

    /// The directory of the store.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// For what puts something new on the disk, to be called first: makes sure that enough stays free to record how
    /// containers end, and to remove things.
    ///
    /// # Errors
    /// [`Error::DiskFull`].
    pub fn require_space(&self) -> Result<()> {
        reserve::await_room(self.root())
    }

    /// Runs `work` in one transaction: all of its changes become visible at once, or, if it gives an error, none.
    ///
    /// Other writers, in this and in other processes, wait meanwhile: do nothing slow in it, and do not use the store
    /// itself but only the [`Tx`].
    ///
    /// # Errors
    /// Those of `work`; [`Error::Database`].
    pub fn write<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        reserve::prepare_log(self.root());
        self.transaction(TransactionBehavior::Immediate, work)
    }

    /// A value that is another one after every change of the records, by this process or another. Asking costs next to
    /// nothing; two answers can only be compared if the same store gave them.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn generation(&self) -> Result<(i64, u64)> {
        generation(&self.connection())
            .map_err(|e| Error::database(&self.root().join("store.db"), e))
    }

    /// The same where nobody may wait: `None` while this process does something else with the records, or if they
    /// cannot be read.
    pub fn generation_now(&self) -> Option<(i64, u64)> {
        let conn = self.inner.db.try_lock().ok()?;
        generation(&conn).ok()
    }

    /// Runs `work` upon one unchanging view of the records.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.transaction(TransactionBehavior::Deferred, work)
    }

    /// Runs `work` upon one view of the records, once nobody else is writing.
    pub(crate) fn alone<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.transaction(TransactionBehavior::Immediate, work)
    }

    fn transaction<T, E: From<Error>>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = self.root().join("store.db");
        let wrap = |e| Error::database(&path, e);
        let mut conn = self.connection();
        let transaction = conn.transaction_with_behavior(behavior).map_err(wrap)?;
        let value = work(&Tx::new(&transaction, &path))?;
        transaction.commit().map_err(wrap)?;
        Ok(value)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic in the midst of a transaction has rolled it back.
        self.inner.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn syncer(&self) -> &Syncer {
        &self.inner.syncer
    }

    pub(crate) fn blobs_dir(&self) -> PathBuf {
        self.root().join("blobs/sha256")
    }

    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.root().join("layers")
    }

    pub(crate) fn links_dir(&self) -> PathBuf {
        self.root().join("layers/link")
    }

    pub(crate) fn containers_dir(&self) -> PathBuf {
        self.root().join("containers")
    }

    pub(crate) fn volumes_dir(&self) -> PathBuf {
        self.root().join("volumes")
    }

    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.root().join("tmp")
    }

    pub(crate) fn open_tmp(&self) -> Result<OwnedFd> {
        fs::open_dir(&self.tmp_dir())
    }
}

/// Makes `path` beneath `root`, open to nobody but the owner, bar the search that leads a container's user to a volume.
fn make_private_dirs(root: &Path, path: &str) -> Result<()> {
    let mut at = root.to_owned();
    for component in path.split('/') {
        at.push(component);
        let searchable = matches!(component, "volumes" | "containers");
        fs::make_dirs(&at, if searchable { 0o711 } else { 0o700 })?;
    }
    Ok(())
}

fn generation(conn: &Connection) -> rusqlite::Result<(i64, u64)> {
    let others = conn.pragma_query_value(None, "data_version", |row| row.get(0))?;
    Ok((others, conn.total_changes()))
}
