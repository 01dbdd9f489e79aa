//! The records in the database, and the transactions they are changed in.

mod addresses;
mod build_cache;
mod built;
mod check;
mod containers;
mod events;
mod images;
mod layers;
mod leases;
mod networks;
mod packed;
mod pods;
mod volumes;

use std::path::Path;

use rusqlite::{CachedStatement, Connection, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

pub use addresses::AddressPool;
pub use build_cache::{CacheEntry, NewCacheEntry};
pub(crate) use built::BuiltRow;
pub(crate) use containers::check_id;
pub use containers::{Container, NewContainer};
pub use events::{Event, NewEvent, Watch};
pub use images::{DeletedImage, IdMatch, Image, ImageLayer, ImageRecord};
pub(crate) use layers::LayerRow;
pub use leases::Lease;
pub(crate) use packed::PackedRow;
pub use volumes::{NewVolume, Volume};

/// A transaction: what [`crate::Store::write`] gives its closure.
#[derive(Debug)]
pub struct Tx<'a> {
    conn: &'a Connection,
    path: &'a Path,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(conn: &'a Connection, path: &'a Path) -> Self {
        Tx { conn, path }
    }

    fn wrap(&self, e: rusqlite::Error) -> Error {
        Error::database(self.path, e)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'a>> {
        self.conn.prepare_cached(sql).map_err(|e| self.wrap(e))
    }

    /// How many rows it changed.
    fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare(sql)?.execute(params).map_err(|e| self.wrap(e))
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.prepare(sql)?
            .query_map(params, map)
            .and_then(Iterator::collect)
            .map_err(|e| self.wrap(e))
    }

    fn first<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        match self.prepare(sql)?.query_row(params, map) {
            Ok(value) => Ok(Some(value)),
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            Err(e) => Err(self.wrap(e)),
        }
    }
}

fn to_json(what: &str, value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|source| Error::Document {
        what: what.to_owned(),
        source,
    })
}

fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| Error::Document {
        what: what.to_owned(),
        source,
    })
}

/// Seconds since 1970.
fn now() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}
