//! The build cache: remembered results, and the layers they lead to.

use crate::records::CacheEntry;
use crate::store::Store;
use crate::{Result, fs};

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
            let chain = match tx.layer_number(&entry.chain_id)? {
                Some(_) => tx.layer_chain(&entry.chain_id)?,
                None => Vec::new(),
            };
            Ok(Some((entry, chain)))
        })?;
        let Some((entry, chain)) = found else {
            return Ok(None);
        };
        let mut whole = !chain.is_empty();
        for chain_id in &chain {
            whole &= fs::exists(&self.layer_dir(chain_id)?.join("diff"))?;
        }
        if whole {
            return Ok(Some(entry));
        }
        tracing::debug!(key, "cached layer is damaged: forgotten");
        self.write(|tx| tx.cache_remove(key))?;
        Ok(None)
    }
}
