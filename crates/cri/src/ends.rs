//! Ends of containers: waited for on their monitors' sockets, one descriptor each and no thread, and settled at once, so
//! that exit code, address and event are in order before a kubelet asks.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rctr_engine::Engine;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use crate::snapshot::Snapshots;

/// How long to rest when an end cannot be waited for: descriptors may be short.
const REST: Duration = Duration::from_secs(1);

/// Whoever waits for all ends. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ends {
    engine: Arc<Engine>,
    snapshots: Arc<Snapshots>,
    io: Handle,
}

impl Ends {
    /// To be called on the runtime that waits.
    pub fn new(engine: Arc<Engine>, snapshots: Arc<Snapshots>) -> Ends {
        Ends {
            engine,
            snapshots,
            io: Handle::current(),
        }
    }

    /// A container runs: its end is to be waited for.
    pub fn started(&self, id: &str) {
        if self.snapshots.watches.started(id) {
            self.watch(id);
        }
    }

    /// A directory has been made for a container's run, by a request or by hand.
    pub fn appeared(&self, id: &str) {
        if self.snapshots.watches.appeared(id) {
            let (ends, id) = (self.clone(), id.to_owned());
            self.io.spawn_blocking(move || ends.look_at(&id));
        }
    }

    /// Looks for containers that were started by hand among all.
    pub fn look_at_all(&self) {
        let ends = self.clone();
        self.io.spawn_blocking(move || {
            ends.snapshots.outdate();
            match ends.snapshots.now(&ends.engine) {
                Ok(snapshot) => {
                    for container in &snapshot.containers {
                        ends.look_at(&container.id);
                    }
                }
                Err(error) => tracing::warn!(%error, "containers are not looked at"),
            }
        });
    }

    /// Waits for the end of every container of a pod that runs: those from before this service was started.
    pub fn watch_all(&self) -> rctr_engine::Result<()> {
        for container in &self.snapshots.now(&self.engine)?.containers {
            if container.state.status.is_live() {
                self.started(&container.id);
            }
        }
        Ok(())
    }

    /// Waits until nobody is starting a container any more, and if it runs then, for its end.
    fn look_at(&self, id: &str) {
        let of_pod = |id: &str| {
            let found = self.engine.container(id);
            found.ok().filter(|c| c.pod.is_some() && c.id == id)
        };
        if of_pod(id).is_none() {
            return;
        }
        self.settle(id);
        let live = of_pod(id).is_some_and(|container| container.state.status.is_live());
        if live && self.snapshots.watches.found(id) {
            self.watch(id);
        }
    }

    fn watch(&self, id: &str) {
        let (ends, id) = (self.clone(), id.to_owned());
        self.io.spawn(async move {
            if let Err(error) = ends.until_end(&id).await {
                tracing::warn!(container = id, %error, "its end is not watched");
                // If it still runs it is tried again.
                tokio::time::sleep(REST).await;
            }
            // A panic in it has been printed.
            let _ = tokio::task::spawn_blocking(move || ends.ended(&id)).await;
        });
    }

    fn ended(&self, id: &str) {
        self.settle(id);
        self.snapshots.outdate();
        let again = self.snapshots.watches.ended(id);
        // One that runs again was started by hand.
        let live = |id| {
            let found = self.engine.container(id);
            found.is_ok_and(|container| container.state.status.is_live())
        };
        if again || live(id) {
            self.look_at(id);
        }
    }

    fn settle(&self, id: &str) {
        if let Err(error) = self.engine.settle(id) {
            tracing::warn!(container = id, %error, "its end is not settled");
        }
    }

    async fn until_end(&self, id: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (engine, id) = (Arc::clone(&self.engine), id.to_owned());
        // A monitor that hangs may keep whoever connects.
        let connected = tokio::task::spawn_blocking(move || engine.end_of(&id)).await?;
        let Some(handle) = connected? else {
            return Ok(());
        };
        let socket = handle.as_fd().try_clone_to_owned()?;
        // SAFETY: an owned descriptor stays open, and the same, until it is dropped.
        let ended = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        ended.readable().await?.retain_ready();
        Ok(())
    }
}
