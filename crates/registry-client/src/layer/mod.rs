//! One layer: from the first registry that has it, through breaks and resumptions, into the sink.

mod writer;

use std::sync::Arc;

use oci_spec::image::{Descriptor, Digest};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE};
use reqwest::{Method, StatusCode};
use tokio::sync::watch;

use writer::{Place, SinkGone, Writer};

use crate::hosts::Endpoint;
use crate::repository::{Object, Repository, all_failed};
use crate::retry::{Backoff, Failure};
use crate::{Corrupt, Error, LayerEvent, LayerIngest, Progress, PulledLayer, Sink, SinkError};

pub(crate) struct LayerPull<'a> {
    pub repository: &'a Repository<'a>,
    pub sink: &'a Arc<dyn Sink>,
    pub progress: &'a dyn Progress,
    pub blob: &'a Descriptor,
    pub index: usize,
    pub image: Image,
    /// How far it is, for the layer above.
    pub stage: &'a watch::Sender<Stage>,
    /// How far the layer beneath is.
    pub parent: Option<&'a watch::Sender<Stage>>,
}

/// Waits until a layer is so far.
pub(crate) async fn reaches(layer: &watch::Sender<Stage>, stage: Stage) {
    // The sender outlives the waiting, so this ends by its value only.
    let _ = layer.subscribe().wait_for(|now| *now == stage).await;
}

/// How far a layer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The sink has not begun it; another process may be at it.
    #[default]
    Waiting,
    Begun,
    /// It is committed, or was there already.
    Done,
}

/// The layers of the image, base first, once its configuration is here.
pub(crate) type Image = watch::Receiver<Option<Arc<[PulledLayer]>>>;

/// Why a download stopped short.
enum Stop {
    Failure(Failure),
    Sink,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failure(failure)
    }
}

impl From<SinkGone> for Stop {
    fn from(_: SinkGone) -> Self {
        Stop::Sink
    }
}

impl LayerPull<'_> {
    /// Fetches and stores the layer unless it is here. Bytes that turn out to be wrong are fetched once more, from
    /// another source if there is one.
    pub async fn run(&self) -> Result<(), Error> {
        let mut sources = self.repository.sources();
        let early = self.begin_early().await?;
        if early.is_none() {
            self.place().await;
            self.event(LayerEvent::Waiting);
        }
        match self.fetch(&sources, early).await? {
            Ok(()) => return Ok(()),
            Err(corrupt) => self.event(LayerEvent::Retrying {
                attempt: 1,
                reason: corrupt.to_string(),
            }),
        }
        sources.rotate_left(1);
        let host = sources.first().map(|e| e.authority.clone());
        self.fetch(&sources, None)
            .await?
            .map_err(|corrupt| Error::DigestMismatch {
                host: host.unwrap_or_default(),
                expected: self.digest().clone(),
                actual: corrupt.actual,
            })
    }

    /// Fetches it into the sink, which has perhaps begun already.
    async fn fetch(
        &self,
        sources: &[&Endpoint],
        early: Option<Writer>,
    ) -> Result<Result<(), Corrupt>, Error> {
        let unnamed = early.is_some();
        let begun = match early {
            Some(writer) => Some(writer),
            None => self.begin().await?,
        };
        let Some(mut writer) = begun else {
            self.event(LayerEvent::Exists);
            return Ok(Ok(()));
        };
        self.stage.send_replace(Stage::Begun);
        let downloaded = self.download(sources, &mut writer).await;
        if let Err(Some(error)) = downloaded {
            return Err(error);
        }
        if downloaded.is_ok() {
            // Whoever is told so may end us: what has come is kept then.
            writer.taken().await;
            if unnamed {
                self.named(&writer).await;
            }
            self.event(LayerEvent::Unpacking);
            if !self.await_parent(&writer).await {
                self.stage.send_replace(Stage::Waiting);
                // What has come is kept.
                drop(writer);
                if let Some(parent) = self.parent {
                    reaches(parent, Stage::Done).await;
                }
                return Box::pin(self.fetch(sources, None)).await;
            }
            writer.commit().await;
        }
        match writer.end().await {
            Ok(()) => {
                self.event(LayerEvent::Done);
                Ok(Ok(()))
            }
            Err(e) => match e.downcast::<Corrupt>() {
                Ok(corrupt) => Ok(Err(*corrupt)),
                Err(source) => Err(self.sink_error(source)),
            },
        }
    }

    /// A parent that is fetched again, being corrupt, must not fail its child: only here is it known that it will be.
    ///
    /// False if it does not begin: then another process is at it, which may be waiting for what we hold. Of two images
    /// that have the same blobs in another order each could wait for the other for ever.
    async fn await_parent(&self, writer: &Writer) -> bool {
        let Some(parent) = self.parent else {
            return true;
        };
        let stuck = async {
            loop {
                reaches(parent, Stage::Waiting).await;
                let begun = reaches(parent, Stage::Begun);
                let patience = self.repository.timing.patience;
                if tokio::time::timeout(patience, begun).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = reaches(parent, Stage::Done) => true,
            () = writer.closed() => true,
            () = stuck => false,
        }
    }

    /// What it is in the image, which is waited for.
    async fn place(&self) -> Place {
        let mut image = self.image.clone();
        let known = image.wait_for(Option::is_some).await;
        match known.ok().and_then(|layers| layers.clone()) {
            Some(layers) => Place {
                layer: layers[self.index].clone(),
                parent: (self.index.checked_sub(1)).map(|below| layers[below].chain_id.clone()),
            },
            // Whoever was to tell has failed, and ends all of this.
            None => std::future::pending().await,
        }
    }

    /// Tells the sink what it has begun early.
    async fn named(&self, writer: &Writer) {
        let place = self.place().await;
        // Until now nobody could be told.
        self.event(LayerEvent::Downloading {
            current: writer.offset,
            total: self.size(),
        });
        writer.name(place).await;
    }

    /// Starts the sink's thread before the image is known; `None` if it is known, or the sink wants to know it first.
    async fn begin_early(&self) -> Result<Option<Writer>, Error> {
        if self.image.borrow().is_some() {
            return Ok(None);
        }
        let blob = self.blob.clone();
        self.start(move |sink| sink.begin_early(&blob)).await
    }

    /// Starts the sink's thread; `None` if the layer is here already.
    async fn begin(&self) -> Result<Option<Writer>, Error> {
        let Place { layer, parent } = self.place().await;
        self.start(move |sink| sink.begin_layer(&layer, parent.as_ref()))
            .await
    }

    async fn start(
        &self,
        begin: impl FnOnce(&dyn Sink) -> Result<Option<Box<dyn LayerIngest>>, SinkError>
        + Send
        + 'static,
    ) -> Result<Option<Writer>, Error> {
        Writer::start(Arc::clone(self.sink), self.size(), begin)
            .await
            .map_err(|source| self.sink_error(source))
    }

    /// Brings all bytes to the sink, from one source after the other. `Err(None)`: the sink's thread knows why.
    async fn download(
        &self,
        sources: &[&Endpoint],
        writer: &mut Writer,
    ) -> Result<(), Option<Error>> {
        let mut failed = Vec::new();
        // A server that ignores ranges and breaks at the same place every time makes no progress.
        let mut furthest = writer.offset;
        for endpoint in sources {
            let mut backoff = Backoff::new(self.repository.timing, endpoint);
            let mut started = false;
            loop {
                let stop = match self
                    .attempt(endpoint, writer, &mut furthest, &mut backoff)
                    .await
                {
                    Ok(()) => return Ok(()),
                    Err(stop) => stop,
                };
                let failure = match stop {
                    Stop::Sink => return Err(None),
                    Stop::Failure(failure) => failure,
                };
                started |= writer.offset > 0;
                let failure = if started {
                    failure.after_progress()
                } else {
                    failure
                };
                let reason = failure.reason();
                match backoff.after(failure) {
                    Ok(pause) => {
                        self.event(LayerEvent::Retrying {
                            attempt: backoff.failures(),
                            reason,
                        });
                        tokio::time::sleep(pause).await;
                    }
                    Err(failure) => {
                        failed.push((*endpoint, failure));
                        break;
                    }
                }
            }
        }
        let wanted = self.repository.describe(self.blob);
        Err(Some(all_failed(failed, &wanted)))
    }

    /// One request, from the first byte that is missing.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        writer: &mut Writer,
        furthest: &mut u64,
        backoff: &mut Backoff,
    ) -> Result<(), Stop> {
        if writer.offset == self.size() {
            return Ok(());
        }
        let object = Object::Blob(self.digest());
        let mut answer = self
            .repository
            .send(endpoint, Method::GET, object, writer.offset)
            .await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if writer.offset > 0 => {
                let range = answer.header(CONTENT_RANGE.as_str()).unwrap_or("");
                if !continues(range, writer.offset, self.size()) {
                    let reason = format!("sent another range than asked for ({range})");
                    writer.reset().await?;
                    let host = answer.host;
                    return Err(Failure::Broken { host, reason }.into());
                }
            }
            StatusCode::OK if writer.offset > 0 => writer.reset().await?,
            StatusCode::OK => {}
            StatusCode::RANGE_NOT_SATISFIABLE if writer.offset > 0 => {
                writer.reset().await?;
                let reason = "refuses to resume".to_owned();
                let host = answer.host;
                return Err(Failure::Broken { host, reason }.into());
            }
            _ => return Err(answer.into_failure().await.into()),
        }

        let announced = answer.header(CONTENT_LENGTH.as_str());
        let announced: Option<u64> = announced.and_then(|length| length.parse().ok());
        let start = writer.offset;
        if let Some(length) =
            announced.filter(|length| start.saturating_add(*length) != self.size())
        {
            return Err(self
                .wrong_size(&answer.host, start.saturating_add(length))
                .into());
        }
        loop {
            let chunk = match answer.chunk().await {
                Ok(Some(chunk)) => chunk,
                end => {
                    // Keep what came before a break.
                    writer.flush().await?;
                    note_progress(writer, furthest, backoff);
                    end?;
                    break;
                }
            };
            let arrived = writer.arrived() + chunk.len() as u64;
            if arrived > self.size() {
                return Err(self.wrong_size(&answer.host, arrived).into());
            }
            writer.write(chunk).await?;
            note_progress(writer, furthest, backoff);
            self.event(LayerEvent::Downloading {
                current: arrived,
                total: self.size(),
            });
        }
        if writer.offset == self.size() {
            return Ok(());
        }
        let reason = format!("ended after {} of {} bytes", writer.offset, self.size());
        let host = answer.host;
        Err(Failure::Broken { host, reason }.into())
    }

    fn wrong_size(&self, host: &str, actual: u64) -> Failure {
        Failure::Fatal(Error::SizeMismatch {
            host: host.to_owned(),
            digest: self.digest().clone(),
            expected: self.size(),
            actual,
        })
    }

    fn sink_error(&self, source: SinkError) -> Error {
        Error::Sink {
            digest: self.digest().clone(),
            source,
        }
    }

    fn event(&self, event: LayerEvent) {
        // Nobody can tell yet what it is a layer of.
        if self.image.borrow().is_some() {
            self.progress.event(self.digest(), event);
        }
    }

    fn digest(&self) -> &Digest {
        self.blob.digest()
    }

    fn size(&self) -> u64 {
        self.blob.size()
    }
}

/// Only bytes no earlier try brought count.
fn note_progress(writer: &Writer, furthest: &mut u64, backoff: &mut Backoff) {
    if writer.offset > *furthest {
        *furthest = writer.offset;
        backoff.progress();
    }
}

/// Whether `Content-Range` is the rest we asked for: `bytes 10-99/100`.
fn continues(range: &str, from: u64, size: u64) -> bool {
    let parsed = range.trim().strip_prefix("bytes ").and_then(|rest| {
        let (span, total) = rest.split_once('/')?;
        let (start, end) = span.split_once('-')?;
        Some((start.parse::<u64>().ok()?, end.parse::<u64>().ok()?, total))
    });
    parsed.is_some_and(|(start, end, total)| {
        start == from
            && end.checked_add(1) == Some(size)
            && (total == "*" || total.parse() == Ok(size))
    })
}

#[cfg(test)]
mod tests {
    use super::continues;

    #[test]
    fn only_the_asked_range_continues() {
        assert!(continues("bytes 10-99/100", 10, 100));
        assert!(continues("bytes 10-99/*", 10, 100));
        for bad in [
            "",
            "bytes 0-99/100",
            "bytes 10-98/100",
            "bytes 10-99/200",
            "10-99/100",
            "bytes */100",
        ] {
            assert!(!continues(bad, 10, 100), "{bad}");
        }
    }
}
