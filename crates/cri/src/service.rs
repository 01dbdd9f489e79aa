//! What all requests share, and how blocking work is done beside the async ones.

use std::ops::Deref;
use std::sync::Arc;

use rctr_engine::Engine;
use tonic::Status;

use crate::error;
use crate::join::Joins;

/// The state of the service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    inner: Arc<Inner>,
}

/// See [`Service`].
pub(crate) struct Inner {
    pub engine: Arc<Engine>,
    /// Pulls under way: the image's id.
    pub pulls: Joins<String>,
}

impl Service {
    pub fn new(engine: Arc<Engine>) -> Service {
        Service {
            inner: Arc::new(Inner {
                engine,
                pulls: Joins::default(),
            }),
        }
    }

    /// Runs blocking work of the engine on a thread of its own. It goes on when nobody waits for it any more.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> rctr_engine::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        self.engine_work(move |engine| work(engine).map_err(|e| error::status(&e)))
            .await
    }

    /// The same for work that finds its own words for what goes wrong.
    pub async fn engine_work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let engine = Arc::clone(&self.engine);
        let span = tracing::Span::current();
        tokio::task::spawn_blocking(move || span.in_scope(|| work(&engine)))
            .await
            .unwrap_or_else(|e| Err(Status::internal(e.to_string())))
    }
}

impl Deref for Service {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}
