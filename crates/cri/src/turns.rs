//! What is asked of one container's monitor takes few threads, however many ask.
//!
//! A monitor serves one request after the other. One that is stopped serves none, and whoever asks it has a thread that
//! waits until it is given up. There are only so many threads: the probes of one such container would take those that
//! all other requests need.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rctr_engine::Engine;
use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// How many may ask one container's monitor.
const AT_ONCE: usize = 4;

/// Who asks now, by container. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Turns {
    engine: Arc<Engine>,
    lines: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

impl Turns {
    pub fn new(engine: Arc<Engine>) -> Turns {
        Turns {
            engine,
            lines: Arc::default(),
        }
    }

    /// Does what asks this container's monitor, on a thread that may block, when it is its turn. If nobody waits for it
    /// any more it is not begun; once it has begun it goes on, and what it gives is dropped.
    ///
    /// # Errors
    /// The work panicked, or the service ends.
    pub async fn take<T: Send + 'static>(
        &self,
        container: &str,
        work: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // Nobody closes it, so it is always had.
        let turn = self.line(container).acquire_owned().await.ok();
        let engine = Arc::clone(&self.engine);
        let span = tracing::Span::current();
        let working = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            span.in_scope(|| work(&engine))
        });
        working.await
    }

    fn line(&self, container: &str) -> Arc<Semaphore> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(container).and_then(Weak::upgrade) {
            return line;
        }
        lines.retain(|_, line| line.strong_count() > 0);
        let line = Arc::new(Semaphore::new(AT_ONCE));
        lines.insert(container.to_owned(), Arc::downgrade(&line));
        line
    }
}
