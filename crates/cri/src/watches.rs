//! Whose ends are waited for, and what has been told already: a container may be started by a request or by hand, and may
//! have ended before either is noticed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// By container.
#[derive(Default)]
pub(crate) struct Watches {
    all: Mutex<HashMap<String, Watch>>,
}

enum Watch {
    /// A request is starting it, and will tell.
    Starting,
    /// It runs, and its end is waited for. `again`: it may have been started once more since.
    Live { again: bool },
    /// The end of the run that began then has been told.
    Ended { run: String },
}

/// What to do for a container that may have been started by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing: it is told already, or will be.
    Known,
    /// Tell of its start, and wait for its end.
    Live,
    /// Tell of its start and of its end.
    Ended,
}

impl Watches {
    /// A request is going to start it.
    pub fn starting(&self, id: &str) {
        let mut all = self.lock();
        if !matches!(all.get(id), Some(Watch::Live { .. })) {
            all.insert(id.into(), Watch::Starting);
        }
    }

    /// The request has failed.
    pub fn not_started(&self, id: &str) {
        let mut all = self.lock();
        if matches!(all.get(id), Some(Watch::Starting)) {
            all.remove(id);
        }
    }

    /// It runs; false if that is known.
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
            Some(Watch::Ended { .. }) | None => true,
        }
    }

    /// A container that nobody was starting is live, or has ended; `run` tells when that run began.
    pub fn found(&self, id: &str, run: &str, live: bool) -> Found {
        let mut all = self.lock();
        match all.get(id) {
            Some(Watch::Starting | Watch::Live { .. }) => return Found::Known,
            Some(Watch::Ended { run: told }) if told == run => return Found::Known,
            _ => {}
        }
        let (now, found) = match live {
            true => (Watch::Live { again: false }, Found::Live),
            false => (Watch::Ended { run: run.into() }, Found::Ended),
        };
        all.insert(id.into(), now);
        found
    }

    /// The run that began then has ended, and that was told; whether there may be another one.
    pub fn ended(&self, id: &str, run: &str) -> bool {
        let before = self
            .lock()
            .insert(id.into(), Watch::Ended { run: run.into() });
        matches!(before, Some(Watch::Live { again: true }))
    }

    /// It is no more.
    pub fn forget(&self, id: &str) {
        self.lock().remove(id);
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
    fn every_run_is_told_once() {
        let watches = Watches::default();
        // By a request; that it appears is seen late, or twice.
        watches.starting("a");
        assert!(!watches.appeared("a"));
        assert!(watches.started("a") && !watches.started("a"));
        assert!(watches.are_live("a"));
        assert!(!watches.ended("a", "1"));
        assert!(!watches.are_live("a") && watches.appeared("a"));
        assert_eq!(watches.found("a", "1", false), Found::Known);
        // Again by hand, already over.
        assert_eq!(watches.found("a", "2", false), Found::Ended);
        assert_eq!(watches.found("a", "2", false), Found::Known);
        // Again, and started once more before its end was told.
        assert_eq!(watches.found("a", "3", true), Found::Live);
        assert!(!watches.appeared("a"));
        assert!(watches.ended("a", "3"));
        assert_eq!(watches.found("a", "4", true), Found::Live);
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
        watches.forget("b");
        assert!(!watches.are_live("b"));
    }
}
