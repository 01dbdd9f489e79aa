//! What happens to containers, told to whoever listens.
//!
//! A container's end is seen by waiting on its monitor's socket, one descriptor each and no thread. The end is settled at
//! once, so that its exit code and address are in order before a kubelet asks.

use std::os::fd::AsFd;
use std::sync::Arc;

use rctr_engine::Engine;
use rctr_engine::model::{Container, ZERO_TIME};
use rctr_engine::pod::Pod;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tonic::Status;

use crate::api;
use crate::api::ContainerEventType as Kind;
use crate::convert::container::Member;
use crate::convert::{pod, time};
use crate::snapshot::Snapshots;
use crate::stream::Parts;
use crate::watches::Found;

/// How many events a listener may be behind before it is told to look at everything again.
const BACKLOG: usize = 1024;

/// The events of one service.
#[derive(Clone)]
pub(crate) struct Events {
    tell: broadcast::Sender<Arc<api::ContainerEventResponse>>,
    engine: Arc<Engine>,
    snapshots: Arc<Snapshots>,
    io: Handle,
}

impl Events {
    /// To be called on the runtime that waits for ends.
    pub fn new(engine: Arc<Engine>, snapshots: Arc<Snapshots>) -> Events {
        Events {
            tell: broadcast::channel(BACKLOG).0,
            engine,
            snapshots,
            io: Handle::current(),
        }
    }

    /// Everything from now on.
    pub fn listen(&self) -> Parts<api::ContainerEventResponse> {
        let events = BroadcastStream::new(self.tell.subscribe());
        Box::pin(events.map(|event| match event {
            Ok(event) => Ok(api::ContainerEventResponse::clone(&event)),
            Err(_) => Err(Status::data_loss("events were missed: list everything")),
        }))
    }

    pub fn created(&self, engine: &Engine, id: &str) {
        self.tell(engine, id, Kind::ContainerCreatedEvent);
    }

    /// Also watches for the end.
    pub fn started(&self, engine: &Engine, id: &str) {
        if self.snapshots.watches.started(id) {
            self.tell(engine, id, Kind::ContainerStartedEvent);
            self.watch(id);
        }
    }

    /// A directory has been made for a container's run. Who has asked for that will tell, unless it was done by hand.
    pub fn appeared(&self, id: &str) {
        if self.snapshots.watches.appeared(id) {
            let (events, id) = (self.clone(), id.to_owned());
            self.io.spawn_blocking(move || events.look_at(&id));
        }
    }

    /// Looks for containers that were started by hand among all.
    pub fn look_at_all(&self) {
        let events = self.clone();
        self.io.spawn_blocking(move || {
            events.snapshots.outdate();
            match events.snapshots.now(&events.engine) {
                Ok(snapshot) => {
                    for container in &snapshot.containers {
                        events.look_at(&container.id);
                    }
                }
                Err(error) => tracing::warn!(%error, "containers are not looked at"),
            }
        });
    }

    /// Waits until nobody is starting a container any more; then tells what of it nobody has told.
    fn look_at(&self, id: &str) {
        let engine = &self.engine;
        let is_ours = |c: &Container| c.pod.is_some() && c.id == id;
        if !engine.container(id).is_ok_and(|c| is_ours(&c)) {
            return;
        }
        self.settle(id);
        let Ok(container) = engine.container(id) else {
            return;
        };
        let run = &container.state.started_at;
        if run == ZERO_TIME {
            return;
        }
        let live = container.state.status.is_live();
        let found = self.snapshots.watches.found(id, run, live);
        if found != Found::Known {
            self.tell(engine, id, Kind::ContainerStartedEvent);
        }
        match found {
            Found::Known => {}
            Found::Live => self.watch(id),
            Found::Ended => self.tell(engine, id, Kind::ContainerStoppedEvent),
        }
    }

    /// Something happened to the pod itself: it is told as a container of its own id.
    pub fn of_pod(&self, engine: &Engine, pod: &Pod, kind: Kind) {
        if self.tell.receiver_count() == 0 {
            return;
        }
        let members = engine.containers_of(&pod.id).unwrap_or_default();
        let statuses = members.iter().filter_map(Member::of);
        self.send(api::ContainerEventResponse {
            container_id: pod.id.clone(),
            container_event_type: kind.into(),
            created_at: time::now(),
            containers_statuses: statuses.map(|m| m.status()).collect(),
            pod_sandbox_status: Some(pod::status(pod)),
        });
    }

    /// The container, or the pod itself, is gone; `pod` is how the pod was before.
    pub fn deleted(&self, id: &str, pod: Option<&Pod>) {
        self.snapshots.watches.forget(id);
        self.send(api::ContainerEventResponse {
            container_id: id.into(),
            container_event_type: Kind::ContainerDeletedEvent.into(),
            created_at: time::now(),
            pod_sandbox_status: pod.map(pod::status),
            containers_statuses: Vec::new(),
        });
    }

    /// Waits for the end of every container of a pod that runs: those from before this service was started.
    pub fn watch_all(&self) -> rctr_engine::Result<()> {
        for container in &self.snapshots.now(&self.engine)?.containers {
            let live = container.state.status.is_live();
            if live && self.snapshots.watches.started(&container.id) {
                self.watch(&container.id);
            }
        }
        Ok(())
    }

    fn watch(&self, id: &str) {
        let (events, id) = (self.clone(), id.to_owned());
        self.io.spawn(async move {
            if let Err(error) = events.until_end(&id).await {
                tracing::warn!(container = id, %error, "its end is not watched");
            }
            // A panic in it has been printed.
            let _ = tokio::task::spawn_blocking(move || events.ended(&id)).await;
        });
    }

    fn ended(&self, id: &str) {
        self.settle(id);
        self.snapshots.outdate();
        self.tell(&self.engine, id, Kind::ContainerStoppedEvent);
        match self.engine.container(id) {
            Ok(container) => {
                let live = container.state.status.is_live();
                // One that runs again was started by hand.
                let run = if live {
                    ZERO_TIME
                } else {
                    &container.state.started_at
                };
                if self.snapshots.watches.ended(id, run) || live {
                    self.look_at(id);
                }
            }
            Err(_) => self.snapshots.watches.forget(id),
        }
    }

    fn settle(&self, id: &str) {
        if let Err(error) = self.engine.settle(id) {
            tracing::warn!(container = id, %error, "its end is not settled");
        }
    }

    async fn until_end(&self, id: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(handle) = self.engine.end_of(id)? else {
            return Ok(());
        };
        let socket = handle.as_fd().try_clone_to_owned()?;
        // SAFETY: an owned descriptor stays open, and the same, until it is dropped.
        let ended = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        ended.readable().await?.retain_ready();
        Ok(())
    }

    fn tell(&self, engine: &Engine, id: &str, kind: Kind) {
        if self.tell.receiver_count() == 0 {
            return;
        }
        let Ok(container) = engine.container(id) else {
            return;
        };
        let Some(member) = Member::of(&container) else {
            return;
        };
        let pod = engine.pod(member.pod()).ok();
        let siblings = engine.containers_of(member.pod()).unwrap_or_default();
        let statuses = siblings.iter().filter_map(Member::of);
        self.send(api::ContainerEventResponse {
            container_id: container.id.clone(),
            container_event_type: kind.into(),
            created_at: time::now(),
            containers_statuses: statuses.map(|m| m.status()).collect(),
            pod_sandbox_status: pod.as_ref().map(pod::status),
        });
    }

    fn send(&self, event: api::ContainerEventResponse) {
        // Nobody listens: that is fine.
        let _ = self.tell.send(Arc::new(event));
    }
}
