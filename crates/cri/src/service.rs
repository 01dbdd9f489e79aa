//! What all requests share, and how blocking work is done beside the async ones.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rctr_engine::Engine;
use rctr_engine::pod::Features;
use tonic::Status;

use crate::ends::Ends;
use crate::events::Events;
use crate::join::Joins;
use crate::layers::Layers;
use crate::runtime_service::stats::Rates;
use crate::snapshot::{Snapshot, Snapshots};
use crate::status::Network;
use crate::turns::Turns;
use crate::{Error, by_hand, error, streaming};

/// How long a streaming session may be silent, as a kubelet has it by default.
const SILENCE: Duration = Duration::from_secs(4 * 3600);

/// How long half-made pods may keep the service from answering: a network plugin may hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state of the service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    inner: Arc<Inner>,
}

/// See [`Service`].
pub(crate) struct Inner {
    pub engine: Arc<Engine>,
    /// What is being made or started: its id.
    pub made: Joins<String>,
    /// Pulls under way: the image's id.
    pub pulls: Joins<String>,
    pub snapshots: Arc<Snapshots>,
    pub ends: Ends,
    pub events: Events,
    pub rates: Rates,
    pub layers: Layers,
    pub network: Network,
    /// What the kernel can do for pods, once it was asked.
    pub features: OnceLock<Features>,
    pub turns: Turns,
    pub streams: streaming::Server,
}

impl Service {
    /// To be called on the runtime that serves.
    pub async fn start(engine: Arc<Engine>) -> Result<Service, Error> {
        let turns = Turns::new(Arc::clone(&engine));
        let sessions = streaming::EngineSessions::new(Arc::clone(&engine), turns.clone());
        let address = engine.config().settings.cri.stream_address;
        let streams = streaming::Server::bind(address, SILENCE, Arc::new(sessions))
            .await
            .map_err(Error::Streaming)?;
        let snapshots = Arc::<Snapshots>::default();
        let ends = Ends::new(Arc::clone(&engine), Arc::clone(&snapshots));
        let events = Events::new(Arc::clone(&engine));
        Ok(Service {
            inner: Arc::new(Inner {
                engine,
                made: Joins::default(),
                pulls: Joins::default(),
                snapshots,
                ends,
                events,
                rates: Rates::default(),
                layers: Layers::default(),
                network: Network::default(),
                features: OnceLock::new(),
                turns,
                streams,
            }),
        })
    }

    /// Puts in order what an earlier service left half done, and watches what it left running.
    pub async fn recover(&self) -> Result<(), Error> {
        // Before those that run are looked at: none is started unseen in between.
        by_hand::watch(self.ends.clone(), &self.engine.config().state).map_err(Error::Runtime)?;
        let ends = self.ends.clone();
        let watching = tokio::task::spawn_blocking(move || ends.watch_all());
        let broken = |e| Error::Runtime(std::io::Error::other(e));
        watching.await.map_err(broken)?.map_err(Error::Engine)?;
        let engine = Arc::clone(&self.engine);
        let recovering = tokio::task::spawn_blocking(move || engine.recover_pods());
        match tokio::time::timeout(PATIENCE, recovering).await {
            Ok(recovered) => recovered.map_err(broken)?.map_err(Error::Engine)?,
            // A kubelet that finds nobody here ends. What is being cleared is not ready, and locked.
            Err(_) => tracing::warn!("half-made pods are still being cleared"),
        }
        let engine = Arc::clone(&self.engine);
        tokio::task::spawn_blocking(move || {
            engine.sweep();
            if let Err(failure) = engine.collect_pod_networks() {
                let failure = error::chain(&failure);
                tracing::warn!(
                    error = failure,
                    "network plugins did not give back what nobody has"
                );
            }
        });
        Ok(())
    }

    /// Runs blocking work of the engine on a thread of its own. It goes on when nobody waits for it any more.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> rctr_engine::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        self.engine_work(move |engine| work(engine).map_err(|e| error::status(&e)))
            .await
    }

    /// Tells something of the pods and containers that there are now; at once, if that is known.
    pub async fn look<T: Send + 'static>(
        &self,
        tell: impl FnOnce(&Snapshot) -> rctr_engine::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        if let Some(snapshot) = self.snapshots.remembered(&self.engine) {
            return tell(&snapshot).map_err(|e| error::status(&e));
        }
        let snapshots = Arc::clone(&self.snapshots);
        self.blocking(move |engine| tell(&*snapshots.now(engine)?))
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

    /// The same for work that asks the monitor of this container.
    pub async fn monitor_work<T: Send + 'static>(
        &self,
        container: &str,
        work: impl FnOnce(&Engine) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let worked = self.turns.take(container, work).await;
        worked.unwrap_or_else(|e| Err(Status::internal(e.to_string())))
    }
}

impl Deref for Service {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}
