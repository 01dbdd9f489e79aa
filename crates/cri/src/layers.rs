//! What containers have written, remembered: finding out means looking at all their files.
//!
//! A size is good for ten seconds. An older one is told once more while the files are looked at beside the request; only
//! one that nobody has asked for in a minute is waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rctr_engine::pod::LayerStats;
use rctr_engine::{Engine, Result};

const FRESH: Duration = Duration::from_secs(10);
const STALE: Duration = Duration::from_secs(60);

/// Sizes by container. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Layers {
    sizes: Arc<Mutex<HashMap<String, Size>>>,
}

struct Size {
    stats: LayerStats,
    taken: Instant,
    /// Somebody is looking at the files.
    renewing: bool,
}

enum Known {
    Enough(LayerStats),
    ToRenew(LayerStats),
    Nothing,
}

impl Layers {
    /// The size of a container's layer.
    pub fn of(&self, engine: &Arc<Engine>, id: &str) -> Result<LayerStats> {
        match self.known(id) {
            Known::Enough(stats) => Ok(stats),
            Known::ToRenew(stats) => {
                let (layers, engine, id) = (self.clone(), Arc::clone(engine), id.to_owned());
                // It is forgotten when nothing comes of it.
                tokio::task::spawn_blocking(move || drop(layers.renew(&engine, &id)));
                Ok(stats)
            }
            Known::Nothing => self.renew(engine, id),
        }
    }

    fn known(&self, id: &str) -> Known {
        match self.lock().get_mut(id) {
            Some(size) if size.renewing || size.taken.elapsed() < FRESH => {
                Known::Enough(size.stats)
            }
            Some(size) if size.taken.elapsed() < STALE => {
                size.renewing = true;
                Known::ToRenew(size.stats)
            }
            _ => Known::Nothing,
        }
    }

    fn renew(&self, engine: &Engine, id: &str) -> Result<LayerStats> {
        let looked = engine.layer_stats(id);
        let mut sizes = self.lock();
        match &looked {
            Ok(stats) => {
                let size = Size {
                    stats: *stats,
                    taken: Instant::now(),
                    renewing: false,
                };
                sizes.insert(id.to_owned(), size);
            }
            Err(_) => drop(sizes.remove(id)),
        }
        // Those of containers that are no more.
        sizes.retain(|_, size| size.renewing || size.taken.elapsed() < STALE);
        looked
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Size>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn sizes_age() {
        let layers = Layers::default();
        let seen = |age: Duration| {
            let size = Size {
                stats: LayerStats {
                    at: SystemTime::now(),
                    bytes: 7,
                    inodes: 1,
                },
                taken: Instant::now() - age,
                renewing: false,
            };
            layers.lock().insert("c".into(), size);
            layers.known("c")
        };
        assert!(matches!(seen(Duration::ZERO), Known::Enough(_)));
        assert!(matches!(seen(STALE), Known::Nothing));
        assert!(matches!(seen(FRESH), Known::ToRenew(stats) if stats.bytes == 7));
        // One look at a time.
        assert!(matches!(layers.known("c"), Known::Enough(_)));
        assert!(matches!(layers.known("other"), Known::Nothing));
    }
}
