//! Whose ends are waited for: a container may be started by a request or by hand, and may have ended before either is
//! noticed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// By container.
#[derive(Default)]
pub(crate) struct Watches {
    all: Mutex<HashMap<String, Watch>>,
}

enum Watch {
    /// A request is starting it, and will say when it runs.
    Starting,
    /// It runs, and its end is waited for. `again`: it may have been started once more since.
    Live { again: bool },
}

impl Watches {
    /// A request is going to start it.
    pub fn starting(&self, id: &str) {
        self.lock().entry(id.into()).or_insert(Watch::Starting);
    }

    /// The request has failed.
    pub fn not_started(&self, id: &str) {
        let mut all = self.lock();
        if matches!(all.get(id), Some(Watch::Starting)) {
            all.remove(id);
        }
    }

    /// It runs; false if its end is waited for already.
    pub fn started(&self, id: &str) -> bool {
        let now = Watch::Live { again: false };
        let before = self.lock().insert(id.into(), now);
        !matches!(before, Some(Watch::Live { .. }))
    }

    /// Somebody is starting it; whether it must be looked at when that is over.
    pub fn appeared(&self, id: &str) -> bool {
        match self.lock().get_mut(id) {
            Some(Watch::Starting) => false,
            Some(Watch::Live { again }) => {
                *again = true;
                false
            }
            None => true,
        }
    }

    /// It runs, and no request has started it; false if its end is waited for, or will be.
    pub fn found(&self, id: &str) -> bool {
        let mut all = self.lock();
        let new = !all.contains_key(id);
        if new {
            all.insert(id.into(), Watch::Live { again: false });
        }
        new
    }

    /// It has ended; whether it may run again.
    pub fn ended(&self, id: &str) -> bool {
        matches!(self.lock().remove(id), Some(Watch::Live { again: true }))
    }

    /// Whether its end will be heard of.
    pub fn are_live(&self, id: &str) -> bool {
        matches!(self.lock().get(id), Some(Watch::Live { .. }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Watch>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_is_watched_once() {
        let watches = Watches::default();
        // By a request; that it appears is seen late, or twice.
        watches.starting("a");
        assert!(!watches.appeared("a") && !watches.found("a"));
        assert!(watches.started("a") && !watches.started("a"));
        assert!(watches.are_live("a") && !watches.found("a"));
        assert!(!watches.ended("a"));
        assert!(!watches.are_live("a") && watches.appeared("a"));
        // By hand, and once more before its end was seen.
        assert!(watches.found("a") && !watches.found("a"));
        assert!(!watches.appeared("a"));
        assert!(watches.ended("a") && watches.found("a"));
        assert!(!watches.ended("a"));
        assert!(watches.lock().is_empty());
    }

    #[test]
    fn a_start_that_fails_leaves_nothing() {
        let watches = Watches::default();
        watches.starting("a");
        watches.not_started("a");
        assert!(watches.appeared("a"));
        watches.started("b");
        watches.starting("b");
        watches.not_started("b");
        assert!(watches.are_live("b"));
    }
}
