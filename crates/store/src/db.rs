//! The database: how it is opened, and its schema.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::FlockOperation;

use crate::error::At;
use crate::{Error, Result, fs, reserve, shm};

/// Marks the file as rctr's (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x7263_7472;
/// How long a writer waits for another process.
const BUSY: Duration = Duration::from_secs(30);
/// A write-ahead log longer than this is folded into the database when a command ends, not while it works.
const CHECKPOINT_BYTES: u64 = 1 << 20;

/// Migrations: each brings the schema one version further. Never change one that was released.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE layers (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        chain_id TEXT NOT NULL UNIQUE,
        parent TEXT,
        diff_id TEXT NOT NULL,
        blob TEXT NOT NULL,
        size INTEGER NOT NULL,
        opaque INTEGER NOT NULL
    );
    CREATE TABLE images (
        id TEXT PRIMARY KEY,
        record TEXT NOT NULL,
        stored INTEGER NOT NULL
    );
    CREATE TABLE image_names (
        name TEXT PRIMARY KEY,
        image TEXT NOT NULL,
        tag INTEGER NOT NULL
    );
    CREATE INDEX image_names_image ON image_names (image);
    CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        image TEXT,
        layer TEXT,
        version INTEGER NOT NULL,
        document TEXT NOT NULL
    );
    CREATE INDEX containers_image ON containers (image);
    CREATE TABLE addresses (
        network TEXT NOT NULL,
        address BLOB NOT NULL,
        container TEXT NOT NULL,
        PRIMARY KEY (network, address)
    ) WITHOUT ROWID;
    CREATE INDEX addresses_container ON addresses (container);
    CREATE TABLE address_cursors (
        network TEXT NOT NULL,
        range TEXT NOT NULL,
        last BLOB NOT NULL,
        PRIMARY KEY (network, range)
    ) WITHOUT ROWID;
    CREATE TABLE volumes (
        name TEXT PRIMARY KEY,
        anonymous INTEGER NOT NULL,
        labels TEXT NOT NULL,
        options TEXT NOT NULL,
        created INTEGER NOT NULL
    );
    CREATE TABLE volume_uses (
        volume TEXT NOT NULL,
        container TEXT NOT NULL,
        PRIMARY KEY (volume, container)
    ) WITHOUT ROWID;
    CREATE INDEX volume_uses_container ON volume_uses (container);
    CREATE TABLE leases (
        id INTEGER PRIMARY KEY,
        boot TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started INTEGER NOT NULL
    );
    CREATE TABLE lease_items (
        lease INTEGER NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (lease, digest)
    ) WITHOUT ROWID;
", "
    -- Size of the uncompressed archive, and whether it lists the root directory; NULL where an earlier rctr did not note it.
    ALTER TABLE layers ADD COLUMN archive_size INTEGER;
    ALTER TABLE layers ADD COLUMN root_listed INTEGER;
    -- The boot during which the layer was built, until it is safe on disk: after another boot it is not to be trusted.
    ALTER TABLE layers ADD COLUMN unsynced TEXT;
    CREATE INDEX layers_unsynced ON layers (unsynced) WHERE unsynced IS NOT NULL;
    CREATE INDEX layers_diff_id ON layers (diff_id);
    CREATE TABLE build_cache (
        key TEXT PRIMARY KEY,
        chain_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        description TEXT NOT NULL,
        created INTEGER NOT NULL,
        used INTEGER NOT NULL,
        uses INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX build_cache_chain_id ON build_cache (chain_id);
    CREATE TABLE packed_layers (
        diff_id TEXT NOT NULL,
        variant TEXT NOT NULL,
        blob TEXT NOT NULL,
        size INTEGER NOT NULL,
        media_type TEXT NOT NULL,
        PRIMARY KEY (diff_id, variant)
    ) WITHOUT ROWID;
", "
    CREATE TABLE networks (
        name TEXT PRIMARY KEY,
        subnet TEXT NOT NULL
    ) WITHOUT ROWID;
", "
    -- Of a layer packed as eStargz: digest and size of the archive in it, digest of its table of contents.
    ALTER TABLE packed_layers ADD COLUMN archive TEXT;
    ALTER TABLE packed_layers ADD COLUMN archive_size INTEGER;
    ALTER TABLE packed_layers ADD COLUMN toc TEXT;
", "
    CREATE TABLE pods (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        document TEXT NOT NULL
    );
", "
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        kind TEXT NOT NULL,
        action TEXT NOT NULL,
        actor TEXT NOT NULL,
        attributes TEXT NOT NULL
    );
    -- Of whom there is something to tell that could not be told when it was begun.
    CREATE TABLE events_due (
        actor TEXT PRIMARY KEY
    ) WITHOUT ROWID;
", "
    CREATE TABLE user_networks (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        document TEXT NOT NULL
    );
", "
    -- Layers that a pod has mounted, besides those that its containers stand on.
    CREATE TABLE pod_layers (
        pod TEXT NOT NULL,
        layer TEXT NOT NULL,
        PRIMARY KEY (pod, layer)
    ) WITHOUT ROWID;
", "
    ALTER TABLE pods ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
", "
    -- SELinux levels of what has no record of its own.
    CREATE TABLE lease_levels (
        lease INTEGER NOT NULL,
        level TEXT NOT NULL,
        PRIMARY KEY (lease, level)
    ) WITHOUT ROWID;
"];

/// Opens the database of the store in `root`, and creates it if there is none.
pub(crate) fn open(root: &Path) -> Result<Connection> {
    let path = root.join("store.db");
    let wrap = |e: rusqlite::Error| match e.sqlite_error_code() {
        // SQLite tries again to read only, and then has forgotten why it had to.
        Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
            let again = std::fs::File::options().read(true).write(true).open(&path);
            // Never closed, see [`shm`].
            match again.map(std::mem::ManuallyDrop::new).at("open", &path) {
                Err(reason) => reason,
                Ok(_) => Error::database(&path, e),
            }
        }
        _ => Error::database(&path, e),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // The first statement opens the shared memory.
    let prepared = shm::Prepared::new(root)?;
    let mut conn = Connection::open_with_flags(&path, flags).map_err(wrap)?;
    conn.busy_timeout(BUSY).map_err(wrap)?;
    // The last one to close would otherwise checkpoint, with four fsyncs: 1.6 ms a command.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(wrap)?;
    conn.pragma_update(None, "synchronous", "NORMAL")
        .map_err(wrap)?;
    let supported = MIGRATIONS.len() as i64;
    let mut found = version(&conn).map_err(wrap)?;
    drop(prepared);
    if found < supported {
        migrate(root, &path, &mut conn)?;
        found = version(&conn).map_err(wrap)?;
    }
    if found > supported {
        return Err(Error::DatabaseNewer {
            path,
            found,
            supported,
        });
    }
    Ok(conn)
}

/// Folds a long write-ahead log into the database, unless somebody else is busy with it.
pub(crate) fn checkpoint(root: &Path, conn: &Connection) {
    let long =
        std::fs::metadata(root.join("store.db-wal")).is_ok_and(|wal| wal.len() > CHECKPOINT_BYTES);
    if long {
        let done = conn
            .busy_timeout(Duration::ZERO)
            .and_then(|()| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        if let Err(e) = done {
            tracing::debug!(error = %e, "checkpoint left to a later command");
        }
        // The log may be empty now, and its room gone with it.
        reserve::prepare_log(root);
    }
}

fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn migrate(root: &Path, path: &Path, conn: &mut Connection) -> Result<()> {
    let wrap = |e| Error::database(path, e);
    // Two processes that create a store at once take turns; switching to WAL knows no busy timeout.
    let lock = fs::open_dir(root)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).at("lock", root)?;
    let found = version(conn).map_err(wrap)?;
    let id: i64 = conn
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(wrap)?;
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(wrap)?;
    if id != APPLICATION_ID && (found != 0 || id != 0 || tables != 0) {
        return Err(Error::DatabaseForeign {
            path: path.to_owned(),
        });
    }
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
        .map_err(wrap)?;
    let tx = conn.transaction().map_err(wrap)?;
    let done = usize::try_from(found).unwrap_or_default();
    for step in MIGRATIONS.iter().skip(done) {
        tx.execute_batch(step).map_err(wrap)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)
        .and_then(|()| tx.pragma_update(None, "user_version", MIGRATIONS.len() as i64))
        .and_then(|()| tx.commit())
        .map_err(wrap)
}
