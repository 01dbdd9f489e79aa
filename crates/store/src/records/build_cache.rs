//! What builds made before, by what they made it of.

use oci_spec::image::Digest;
use rusqlite::Row;

use super::layers::digest;
use super::{Tx, now};
use crate::store::Store;
use crate::{Error, Result};

/// A result to be remembered.
#[derive(Debug, Clone, Copy)]
pub struct NewCacheEntry<'a> {
    /// What the result depends on, hashed. Any text.
    pub key: &'a str,
    /// What kind of step it was, such as `regular`, `exec` or `source.local`.
    pub kind: &'a str,
    /// For people: the instruction.
    pub description: &'a str,
}

/// A remembered result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// What it depends on, hashed.
    pub key: String,
    /// The layer that was made.
    pub chain_id: Digest,
    /// What kind of step it was.
    pub kind: String,
    /// For people: the instruction.
    pub description: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it was made or last used, in seconds since 1970.
    pub last_used: i64,
    /// How often it was used.
    pub use_count: u64,
}

impl Tx<'_> {
    /// Remembers that a step gave a layer, in place of what the key led to before.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], [`Error::Database`].
    pub fn cache_put(&self, entry: &NewCacheEntry<'_>, chain_id: &Digest) -> Result<()> {
        self.cache_put_as_of(entry, chain_id, now())
    }

    /// The same for a result that was made at another time, in seconds since 1970: elsewhere, or under another key.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], [`Error::Database`].
    pub fn cache_put_as_of(
        &self,
        entry: &NewCacheEntry<'_>,
        chain_id: &Digest,
        created: i64,
    ) -> Result<()> {
        if self.layer_number(chain_id)?.is_none() {
            return Err(Error::NoSuchLayer {
                chain_id: chain_id.clone(),
            });
        }
        self.execute(
            "INSERT INTO build_cache (key, chain_id, kind, description, created, used, uses)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)
             ON CONFLICT (key) DO UPDATE SET chain_id = excluded.chain_id, kind = excluded.kind,
                 description = excluded.description, created = excluded.created, used = excluded.used, uses = 0",
            (
                entry.key,
                chain_id.as_ref(),
                entry.kind,
                entry.description,
                created,
                now(),
            ),
        )
        .map(drop)
    }

    /// All entries that lead to a layer, by key.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn cache_entries_of(&self, chain_id: &Digest) -> Result<Vec<CacheEntry>> {
        self.all(
            "SELECT key, chain_id, kind, description, created, used, uses FROM build_cache WHERE chain_id = ?
             ORDER BY key",
            [chain_id.as_ref()],
            entry,
        )
    }

    pub(crate) fn cache_entry(&self, key: &str) -> Result<Option<CacheEntry>> {
        self.first(
            "SELECT key, chain_id, kind, description, created, used, uses FROM build_cache WHERE key = ?",
            [key],
            entry,
        )
    }

    /// All entries, the one not used for the longest time first.
    pub(crate) fn cache_entries(&self) -> Result<Vec<CacheEntry>> {
        self.all(
            "SELECT key, chain_id, kind, description, created, used, uses FROM build_cache
             ORDER BY used, created, key",
            [],
            entry,
        )
    }

    pub(crate) fn cache_layers(&self) -> Result<Vec<String>> {
        self.all("SELECT DISTINCT chain_id FROM build_cache", [], |row| {
            row.get(0)
        })
    }

    pub(crate) fn cache_remove(&self, key: &str) -> Result<()> {
        self.execute("DELETE FROM build_cache WHERE key = ?", [key])
            .map(drop)
    }

    /// Notes that entries have been used.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn cache_touch<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let now = now();
        for key in keys {
            self.execute(
                "UPDATE build_cache SET used = max(used, ?), uses = uses + 1 WHERE key = ?",
                (now, key),
            )?;
        }
        Ok(())
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<CacheEntry> {
    Ok(CacheEntry {
        key: row.get(0)?,
        chain_id: digest(row, 1)?,
        kind: row.get(2)?,
        description: row.get(3)?,
        created: row.get(4)?,
        last_used: row.get(5)?,
        use_count: row.get::<_, i64>(6)?.unsigned_abs(),
    })
}

impl Store {
    /// [`Tx::cache_put`] in a transaction of its own.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], [`Error::Database`].
    pub fn cache_put(&self, entry: &NewCacheEntry<'_>, chain_id: &Digest) -> Result<()> {
        self.write(|tx| tx.cache_put(entry, chain_id))
    }

    /// [`Tx::cache_entries_of`].
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn cache_entries_of(&self, chain_id: &Digest) -> Result<Vec<CacheEntry>> {
        self.read(|tx| tx.cache_entries_of(chain_id))
    }

    /// [`Tx::cache_touch`] in a transaction of its own: give it all entries a build used at once.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn cache_touch<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Result<()> {
        self.write(|tx| tx.cache_touch(keys))
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::store;
    use crate::{CommitOptions, NewCacheEntry};

    #[test]
    fn a_result_from_elsewhere_keeps_its_time() {
        let (_dir, store) = store();
        let step = store.begin_build_step(None).unwrap();
        let layer = step.commit(CommitOptions::default()).unwrap();
        for (key, created) in [("b", 7), ("a", 9)] {
            let entry = NewCacheEntry {
                key,
                kind: "regular",
                description: "RUN true",
            };
            store
                .write(|tx| tx.cache_put_as_of(&entry, &layer.chain_id, created))
                .unwrap();
        }
        let entries = store.cache_entries_of(&layer.chain_id).unwrap();
        let found: Vec<_> = entries.iter().map(|e| (&*e.key, e.created)).collect();
        assert_eq!(found, [("a", 9), ("b", 7)]);
        assert!(entries.iter().all(|entry| entry.last_used > 9));
    }
}
