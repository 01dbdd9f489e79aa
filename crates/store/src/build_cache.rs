//! The build cache: remembered results, the layers they lead to, and how it is kept small.

use std::cmp::Reverse;
use std::collections::HashMap;

use oci_spec::image::Digest;

use crate::gc::{Live, Trash};
use crate::records::{CacheEntry, LayerRow};
use crate::store::Store;
use crate::usage::sum;
use crate::{Result, fs};

/// A remembered result and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheUsage {
    /// The entry.
    pub entry: CacheEntry,
    /// The layer below the one that was made.
    pub parent: Option<Digest>,
    /// Size of the files in the layer that was made, in bytes.
    pub size: u64,
    /// An image or container has the layer, too: without the entry it stays.
    pub shared: bool,
    /// A running process has leased the layer, or one upon it.
    pub in_use: bool,
}

/// The whole build cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheReport {
    /// The entries, the one not used for the longest time first.
    pub entries: Vec<CacheUsage>,
    /// Bytes of all layers that only the cache keeps, each counted once, those below the remembered ones included.
    pub size: u64,
    /// Bytes of them that [`Store::cache_prune`] would free.
    pub reclaimable: u64,
}

/// Which entries [`Store::cache_prune`] forgets. An entry must match everything that is set; one in use never does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheFilter {
    /// Also entries whose layers an image or container has: that frees nothing, but the steps will run again.
    pub all: bool,
    /// Only entries not used since, in seconds since 1970.
    pub unused_since: Option<i64>,
    /// Only entries whose key begins with this, or whose layer's chain id does, with or without `sha256:`.
    pub ids: Vec<String>,
    /// Only entries of these kinds.
    pub kinds: Vec<String>,
    /// Only entries whose description contains this.
    pub description: Option<String>,
    /// Only if they are, or are not, shared with an image or container.
    pub shared: Option<bool>,
    /// The cache may keep so many bytes: stops as soon as it is no larger.
    pub keep_bytes: Option<u64>,
}

/// What [`Store::cache_prune`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedCache {
    /// The entries that were forgotten.
    pub entries: Vec<CacheUsage>,
    /// Bytes that became free.
    pub bytes: u64,
}

fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

impl CacheFilter {
    fn matches(&self, usage: &CacheUsage) -> bool {
        let entry = &usage.entry;
        let named = |id: &String| {
            let id = hex(id);
            !id.is_empty()
                && (hex(&entry.key).starts_with(id) || entry.chain_id.digest().starts_with(id))
        };
        !usage.in_use
            && (self.all || !usage.shared)
            && self.shared.is_none_or(|shared| shared == usage.shared)
            && self.unused_since.is_none_or(|t| entry.last_used < t)
            && (self.ids.is_empty() || self.ids.iter().any(named))
            && (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && self
                .description
                .as_ref()
                .is_none_or(|text| entry.description.contains(text))
    }
}

impl Store {
    /// What a key leads to. An entry whose layer, or one below it, is damaged or gone is none, and is removed.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Database`].
    pub fn cache_find(&self, key: &str) -> Result<Option<CacheEntry>> {
        let found = self.read(|tx| {
            let Some(entry) = tx.cache_entry(key)? else {
                return Ok(None);
            };
            let chain = tx.whole_chain(&entry.chain_id)?;
            Ok(Some((entry, chain)))
        })?;
        let Some((entry, chain)) = found else {
            return Ok(None);
        };
        let mut whole = !chain.is_empty();
        for chain_id in &chain {
            whole = whole && fs::exists(&self.layer_dir(chain_id)?.join("diff"))?;
        }
        if whole {
            return Ok(Some(entry));
        }
        tracing::debug!(key, "cached layer is damaged: forgotten");
        // It may have been made again meanwhile; then it is made once more.
        self.write(|tx| tx.cache_remove(key))?;
        Ok(None)
    }

    /// All remembered results and what they take on disk.
    ///
    /// # Errors
    /// [`crate::Error::Database`], [`crate::Error::Document`].
    pub fn cache_list(&self) -> Result<CacheReport> {
        let cache = self.read(|tx| Ok(Cache::gather(&Live::of(tx)?, tx.cache_entries()?)))?;
        let mut rest = cache.sizes.clone();
        for usage in cache.entries.iter().filter(|usage| !usage.in_use) {
            rest.release(usage.entry.chain_id.as_ref());
        }
        Ok(CacheReport {
            size: cache.sizes.total,
            reclaimable: cache.sizes.total - rest.total,
            entries: cache.entries,
        })
    }

    /// Forgets results, those not used for the longest time first, and removes the layers and blobs that nothing else
    /// needs.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Mounted`], [`crate::Error::Database`], [`crate::Error::Document`].
    pub fn cache_prune(&self, filter: &CacheFilter) -> Result<PrunedCache> {
        let trash = Trash::new(self)?;
        let pruned = self.write(|tx| {
            tx.drop_dead_leases()?;
            let cache = Cache::gather(&Live::of(tx)?, tx.cache_entries()?);
            let (mut sizes, mut pruned) = (cache.sizes, PrunedCache::default());
            for usage in cache.entries {
                if filter.keep_bytes.is_some_and(|keep| sizes.total <= keep) {
                    break;
                }
                if filter.matches(&usage) {
                    tx.cache_remove(&usage.entry.key)?;
                    sizes.release(usage.entry.chain_id.as_ref());
                    pruned.entries.push(usage);
                }
            }
            pruned.bytes = self.sweep(tx, &trash)?.bytes;
            Ok::<_, crate::Error>(pruned)
        })?;
        trash.empty()?;
        Ok(pruned)
    }
}

/// The entries, and the layers that only they keep.
struct Cache {
    entries: Vec<CacheUsage>,
    sizes: Sizes,
}

/// Layers that only the cache keeps, with the number of entries and layers that need each.
#[derive(Clone, Default)]
struct Sizes {
    layers: HashMap<String, SizedLayer>,
    total: u64,
}

#[derive(Clone)]
struct SizedLayer {
    size: u64,
    parent: Option<String>,
    needed_by: usize,
}

impl Cache {
    fn gather(live: &Live, entries: Vec<CacheEntry>) -> Self {
        let mut sizes = Sizes::default();
        let mut found = Vec::with_capacity(entries.len());
        let leased = live.leased_layers();
        let needed = last_needed(&entries, &live.layers);
        for entry in entries {
            let chain_id = entry.chain_id.as_ref();
            let row = live.layers.get(chain_id);
            sizes.add(chain_id, live);
            let last_needed = needed.get(chain_id).copied();
            found.push((
                last_needed.unwrap_or(entry.last_used),
                Reverse(below(row, &live.layers).count()),
                CacheUsage {
                    parent: row
                        .and_then(|row| row.parent.as_ref())
                        .and_then(|parent| live.layers.get(parent))
                        .map(|row| row.chain_id.clone()),
                    size: row.map_or(0, |row| row.size),
                    shared: live.kept_otherwise.contains(chain_id),
                    in_use: leased.contains(chain_id),
                    entry,
                },
            ));
        }
        // A step goes before the one it was made upon: without that one it would not be found.
        found.sort_by_key(|(last_needed, depth, _)| (*last_needed, *depth));
        Cache {
            entries: found.into_iter().map(|(_, _, usage)| usage).collect(),
            sizes,
        }
    }
}

/// When the result of an entry, or one made upon it, was last used, by chain id.
fn last_needed<'a>(
    entries: &[CacheEntry],
    layers: &'a HashMap<String, LayerRow>,
) -> HashMap<&'a str, i64> {
    let mut needed = HashMap::new();
    for entry in entries {
        for row in below(layers.get(entry.chain_id.as_ref()), layers) {
            let last = needed.entry(row.chain_id.as_ref()).or_insert(0);
            *last = entry.last_used.max(*last);
        }
    }
    needed
}

/// A layer, and those it lies on.
fn below<'a>(
    layer: Option<&'a LayerRow>,
    layers: &'a HashMap<String, LayerRow>,
) -> impl Iterator<Item = &'a LayerRow> {
    std::iter::successors(layer, |row| layers.get(row.parent.as_ref()?))
}

impl Sizes {
    /// One more entry needs the layer.
    fn add(&mut self, chain_id: &str, live: &Live) {
        let mut at = chain_id;
        while !live.kept_otherwise.contains(at) {
            let Some(row) = live.layers.get(at) else {
                return;
            };
            if let Some(known) = self.layers.get_mut(at) {
                known.needed_by += 1;
                return;
            }
            self.total = sum([self.total, row.size]);
            let layer = SizedLayer {
                size: row.size,
                parent: row.parent.clone(),
                needed_by: 1,
            };
            self.layers.insert(at.to_owned(), layer);
            let Some(parent) = &row.parent else { return };
            at = parent;
        }
    }

    /// One entry less needs the layer.
    fn release(&mut self, chain_id: &str) {
        let mut at = Some(chain_id.to_owned());
        while let Some(chain_id) = at {
            let Some(layer) = self.layers.get_mut(&chain_id) else {
                return;
            };
            layer.needed_by -= 1;
            if layer.needed_by > 0 {
                return;
            }
            self.total = self.total.saturating_sub(layer.size);
            at = self.layers.remove(&chain_id).and_then(|layer| layer.parent);
        }
    }
}

#[cfg(test)]
mod tests;
