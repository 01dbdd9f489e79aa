//! What happens to pods and containers, told to whoever listens.
//!
//! The engine records what happens in the transaction that makes it so, whoever does it: a request, a command, or a
//! container's end while no service was there. This reads those records on from where it was last read. How far that is
//! is kept in a file of the state directory, from the first listener on: who listens again, to this service or the next,
//! misses nothing of the last minutes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rctr_engine::pod::Pod;
use rctr_engine::{Engine, PodChange, PodEvent, PodEvents};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, broadcast};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tonic::Status;

use crate::api::ContainerEventType as Kind;
use crate::convert::container::Member;
use crate::convert::pod;
use crate::stream::Parts;
use crate::{api, error};

/// How many events a listener may be behind before it is told to look at everything again.
const BACKLOG: usize = 1024;

/// What is older is told to nobody any more; who has not listened for so long looks at everything first.
const AGE: Duration = Duration::from_secs(300);

/// The file that tells which event was the last.
const FILE: &str = ".cri-events";

/// An event, or that some were forgotten before they could be told.
type Told = Result<Arc<api::ContainerEventResponse>, ()>;

/// The events of one service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    tell: broadcast::Sender<Told>,
    engine: Arc<Engine>,
    /// Whether somebody reads them.
    reading: Mutex<bool>,
}

impl Events {
    pub fn new(engine: Arc<Engine>) -> Events {
        Events {
            shared: Arc::new(Shared {
                tell: broadcast::channel(BACKLOG).0,
                engine,
                reading: Mutex::new(false),
            }),
        }
    }

    /// Everything from now on; what nobody has heard since the last listener went, too.
    pub async fn listen(&self) -> Result<Parts<api::ContainerEventResponse>, Status> {
        let mut reading = self.shared.reading.lock().await;
        let told = self.shared.tell.subscribe();
        if !*reading {
            let reader = self.shared.open().await.map_err(|failure| {
                Status::internal(format!("events: {}", error::chain(failure.as_ref())))
            })?;
            *reading = true;
            tokio::spawn(Arc::clone(&self.shared).read(reader));
        }
        let missed = || Status::data_loss("events were missed: list everything");
        Ok(Box::pin(BroadcastStream::new(told).map(
            move |event| match event {
                Ok(Ok(event)) => Ok(api::ContainerEventResponse::clone(&event)),
                Ok(Err(())) | Err(_) => Err(missed()),
            },
        )))
    }
}

impl Shared {
    /// Reads until nobody listens any more.
    async fn read(self: Arc<Self>, mut reader: Reader) {
        while !self.is_over().await {
            match self.read_on(reader).await {
                Ok(next) => reader = next,
                Err(failure) => {
                    let failure = error::chain(failure.as_ref());
                    tracing::warn!(error = failure, "events are not told any more");
                    let mut reading = self.reading.lock().await;
                    let _ = self.tell.send(Err(()));
                    *reading = false;
                    return;
                }
            }
        }
    }

    /// Nobody begins to listen while this is found out.
    async fn is_over(&self) -> bool {
        let mut reading = self.reading.lock().await;
        *reading = self.tell.receiver_count() > 0;
        !*reading
    }

    /// Tells what is there, or waits for something.
    async fn read_on(&self, mut reader: Reader) -> Result<Reader, Failure> {
        let engine = Arc::clone(&self.engine);
        let read = tokio::task::spawn_blocking(move || {
            let told = reader.read(&engine)?;
            Ok::<_, rctr_engine::Error>((reader, told))
        });
        let (reader, told) = read.await??;
        if told.is_empty() {
            // What is written from here on makes it readable again, and was not read above.
            reader.written.readable().await?.clear_ready();
            return Ok(reader);
        }
        match told.into_iter().all(|event| self.tell.send(event).is_ok()) {
            true => {
                reader.last.write(reader.events.last());
                Ok(reader)
            }
            // All have gone meanwhile: it is told to whoever comes next.
            false => self.open().await,
        }
    }

    async fn open(&self) -> Result<Reader, Failure> {
        let engine = Arc::clone(&self.engine);
        tokio::task::spawn_blocking(move || Reader::open(&engine)).await?
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where the reading stands.
struct Reader {
    events: PodEvents,
    written: AsyncFd<OwnedFd>,
    last: Last,
}

impl Reader {
    /// To be called on the runtime that reads.
    fn open(engine: &Engine) -> Result<Reader, Failure> {
        let last = Last::open(&engine.config().state.join(FILE))?;
        let events = engine.pod_events(last.read(), AGE)?;
        last.write(events.last());
        let fd = events.as_fd().try_clone_to_owned()?;
        // SAFETY: an owned descriptor stays open, and the same, until it is dropped.
        let written = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Reader {
            events,
            written,
            last,
        })
    }

    /// All that is there.
    fn read(&mut self, engine: &Engine) -> rctr_engine::Result<Vec<Told>> {
        let mut read = Vec::new();
        while let Some(event) = self.events.ready()? {
            read.push(event);
        }
        let mut told: Vec<Told> = Vec::new();
        if self.events.missed() > 0 {
            told.push(Err(()));
        }
        for (index, event) in read.iter().enumerate() {
            let later = read.get(index..).unwrap_or_default();
            told.extend(response(engine, event, later).map(|event| Ok(Arc::new(event))));
        }
        Ok(told)
    }
}

/// An event with its pod and all containers of that as they are now. `None` for one of a pod of which nothing is known.
fn response(
    engine: &Engine,
    event: &PodEvent,
    later: &[PodEvent],
) -> Option<api::ContainerEventResponse> {
    let pod = match engine.pod(&event.pod) {
        Ok(pod) => pod,
        Err(_) => Pod::clone(
            later
                .iter()
                .filter(|e| e.pod == event.pod)
                .find_map(|e| e.last.as_deref())?,
        ),
    };
    let members = engine.containers_of(&pod.id).unwrap_or_default();
    let statuses = members.iter().filter_map(Member::of);
    let kind = match event.change {
        PodChange::Created => Kind::ContainerCreatedEvent,
        PodChange::Started => Kind::ContainerStartedEvent,
        PodChange::Stopped => Kind::ContainerStoppedEvent,
        PodChange::Deleted => Kind::ContainerDeletedEvent,
    };
    Some(api::ContainerEventResponse {
        container_id: event.id.clone(),
        container_event_type: kind.into(),
        created_at: event.time,
        containers_statuses: statuses.map(|member| member.status()).collect(),
        pod_sandbox_status: Some(pod::status(&pod)),
    })
}

/// The number of the last event that was read, in a file. A service may be killed at any moment: it is one write.
struct Last(File);

impl Last {
    fn open(path: &Path) -> io::Result<Last> {
        let mut options = File::options();
        options.read(true).write(true).create(true).mode(0o600);
        options.truncate(false).open(path).map(Last)
    }

    /// `None` if nobody has ever listened.
    fn read(&self) -> Option<i64> {
        let mut bytes = [0; size_of::<i64>()];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        Some(i64::from_le_bytes(bytes))
    }

    fn write(&self, seq: i64) {
        if let Err(error) = self.0.write_all_at(&seq.to_le_bytes(), 0) {
            tracing::warn!(%error, "the next service may tell events again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let last = Last::open(&path).unwrap();
        assert_eq!(last.read(), None);
        last.write(0);
        assert_eq!(last.read(), Some(0));
        last.write(i64::MAX);
        assert_eq!(Last::open(&path).unwrap().read(), Some(i64::MAX));
    }
}
