//! All pods and containers as they were at one moment, remembered for as long as nothing has changed.
//!
//! A kubelet asks for everything every second, and almost always nothing has happened. The store tells when a record
//! changed; ends of containers are settled, and so recorded, the moment they come ([`crate::ends`]). Only that a
//! start is over is told by no record: while one is under way, nothing is remembered.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rctr_engine::model::Container;
use rctr_engine::pod::{Pod, PodsView};
use rctr_engine::{Engine, Error, Result};

use crate::watches::Watches;

/// For what no record tells, such as a pod whose namespaces somebody has unmounted.
const LONGEST: Duration = Duration::from_secs(10);

/// Pods and their containers.
#[derive(Default)]
pub(crate) struct Snapshot(PodsView);

impl Deref for Snapshot {
    type Target = PodsView;

    fn deref(&self) -> &PodsView {
        &self.0
    }
}

impl Snapshot {
    /// The container whose id begins so.
    pub fn container(&self, id: &str) -> Result<&Container> {
        match only(&self.containers, id, |container| &container.id) {
            Some(found) => found,
            None => Err(Error::NoSuchContainer { name: id.into() }),
        }
    }

    /// The pod whose id begins so.
    pub fn pod(&self, id: &str) -> Result<&Pod> {
        match only(&self.pods, id, |pod| &pod.id) {
            Some(found) => found,
            None => Err(Error::NoSuchPod { id: id.into() }),
        }
    }

    /// The containers of a pod, by its complete id.
    pub fn containers_of(&self, pod: &str) -> impl Iterator<Item = &Container> {
        let own = move |c: &&Container| c.pod.as_ref().is_some_and(|member| member.pod == pod);
        self.containers.iter().map(Arc::as_ref).filter(own)
    }
}

/// The newest snapshot.
#[derive(Default)]
pub(crate) struct Snapshots {
    newest: Mutex<Option<Remembered>>,
    /// Goes up when something was done that the store does not tell.
    outdated: AtomicU64,
    /// Whose ends will be heard of.
    pub watches: Watches,
}

struct Remembered {
    snapshot: Arc<Snapshot>,
    of: Moment,
    taken: Instant,
    /// When all were looked at, and not only those that had changed.
    looked: Instant,
}

impl Remembered {
    fn still_true(&self, moment: Moment) -> Option<Arc<Snapshot>> {
        let same = self.of == moment && !self.snapshot.starting && self.taken.elapsed() < LONGEST;
        same.then(|| Arc::clone(&self.snapshot))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    generation: (i64, u64),
    outdated: u64,
}

/// The one whose id begins so; none for nothing, which every id begins with.
fn only<'a, T>(all: &'a [Arc<T>], prefix: &str, id: fn(&T) -> &String) -> Option<Result<&'a T>> {
    let mut found = all
        .iter()
        .map(Arc::as_ref)
        .filter(|one| !prefix.is_empty() && id(one).starts_with(prefix));
    let first = found.next()?;
    Some(match found.next() {
        Some(_) if id(first) != prefix => Err(Error::AmbiguousId {
            prefix: prefix.into(),
        }),
        _ => Ok(first),
    })
}

impl Snapshots {
    /// Those remembered, if nothing has changed and that can be told without waiting for anybody.
    pub fn remembered(&self, engine: &Engine) -> Option<Arc<Snapshot>> {
        let newest = self.newest.try_lock().ok()?;
        let generation = engine.generation_now()?;
        newest.as_ref()?.still_true(self.moment(generation))
    }

    /// Pods and containers as they are now.
    pub fn now(&self, engine: &Engine) -> Result<Arc<Snapshot>> {
        // Held while a new one is taken: who asks meanwhile waits for that one.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = self.moment(engine.generation()?);
        if let Some(snapshot) = newest.as_ref().and_then(|newest| newest.still_true(moment)) {
            return Ok(snapshot);
        }
        let nothing = PodsView::default();
        let (last, trusted) = match newest.as_ref() {
            Some(last) => (&**last.snapshot, last.looked.elapsed() < LONGEST),
            None => (&nothing, false),
        };
        let watched = |id: &str| trusted && self.watches.are_live(id);
        let snapshot = Arc::new(Snapshot(engine.pods_view(last, trusted, watched)?));
        let now = Instant::now();
        let looked = newest.as_ref().map(|last| last.looked);
        *newest = Some(Remembered {
            snapshot: Arc::clone(&snapshot),
            // Looking may have settled something: then the next one looks again.
            of: moment,
            taken: now,
            looked: looked.filter(|_| trusted).unwrap_or(now),
        });
        Ok(snapshot)
    }

    /// Something was done that the store may not tell.
    pub fn outdate(&self) {
        self.outdated.fetch_add(1, Ordering::SeqCst);
    }

    fn moment(&self, generation: (i64, u64)) -> Moment {
        Moment {
            generation,
            outdated: self.outdated.load(Ordering::SeqCst),
        }
    }
}
