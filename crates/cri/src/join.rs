//! Work that several requests may ask for at once is done once.
//!
//! A kubelet gives up on a request after a while and asks again. The work of the first request goes on; the second one
//! joins it, so nothing is made twice and no name stays reserved by something nobody waits for.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tonic::Status;
use tracing::Instrument;

type Outcome<T> = Option<Result<T, Status>>;

/// Work under way, by key.
pub(crate) struct Joins<T> {
    running: Arc<Mutex<HashMap<String, watch::Receiver<Outcome<T>>>>>,
}

impl<T> Default for Joins<T> {
    fn default() -> Self {
        Joins {
            running: Arc::default(),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Joins<T> {
    /// Waits for the work under way that has this key, or starts `work`. It ends, whether anybody waits for it or not.
    pub async fn run<W>(&self, key: String, work: impl FnOnce() -> W) -> Result<T, Status>
    where
        W: Future<Output = Result<T, Status>> + Send + 'static,
    {
        let mut outcome = self.join_or_start(key, work);
        let seen = outcome.wait_for(Option::is_some).await;
        match seen.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err(Status::internal("the work was given up: see the log")),
        }
    }

    /// The keys of the work that is under way.
    pub fn under_way(&self) -> HashSet<String> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.keys().cloned().collect()
    }

    fn join_or_start<W>(&self, key: String, work: impl FnOnce() -> W) -> watch::Receiver<Outcome<T>>
    where
        W: Future<Output = Result<T, Status>> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = running.get(&key) {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        running.insert(key.clone(), outcome.clone());
        let done = Done {
            running: Arc::clone(&self.running),
            key,
        };
        let work = work();
        let ending = async move {
            let result = work.await;
            // Before it is told: who sees the outcome and asks again starts anew.
            drop(done);
            tell.send_replace(Some(result));
        };
        // What it logs is part of the request that has begun it.
        tokio::spawn(ending.in_current_span());
        outcome
    }
}

/// Takes the entry away, also when the work panics.
struct Done<T> {
    running: Arc<Mutex<HashMap<String, watch::Receiver<Outcome<T>>>>>,
    key: String,
}

impl<T> Drop for Done<T> {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn the_second_joins_and_the_third_starts_anew() {
        let joins = Joins::<usize>::default();
        let count = Arc::new(AtomicUsize::new(0));
        let (open, gate) = oneshot::channel::<()>();
        let gate = Arc::new(tokio::sync::Mutex::new(Some(gate)));
        let work = || {
            let (count, gate) = (count.clone(), gate.clone());
            async move {
                if let Some(gate) = gate.lock().await.take() {
                    let _ = gate.await;
                }
                Ok(count.fetch_add(1, Ordering::SeqCst))
            }
        };
        let first = joins.run("k".into(), work);
        let second = joins.run("k".into(), work);
        let (first, second, ()) = tokio::join!(first, second, async {
            open.send(()).unwrap();
        });
        assert_eq!((first.unwrap(), second.unwrap()), (0, 0));
        assert_eq!(joins.run("k".into(), work).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn the_work_outlives_who_asked_for_it() {
        let joins = Joins::<()>::default();
        let (open, gate) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel::<()>();
        let asked = joins.run("k".into(), || async move {
            let _ = gate.await;
            let _ = tell.send(());
            Ok(())
        });
        let waited = tokio::time::timeout(std::time::Duration::from_millis(1), asked).await;
        assert!(waited.is_err());
        open.send(()).unwrap();
        told.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_leaves_nothing_behind() {
        let joins = Joins::<()>::default();
        let failed = joins
            .run("k".into(), || async { panic!("on purpose") })
            .await;
        assert_eq!(failed.unwrap_err().code(), tonic::Code::Internal);
        assert!(joins.run("k".into(), || async { Ok(()) }).await.is_ok());
    }
}
