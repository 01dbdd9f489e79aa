//! One blob: from the question whether it is there, through breaks and resumptions, to its end.

use std::ops::Range;

use oci_spec::image::{Descriptor, Digest};
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use url::{Url, form_urlencoded};

use super::wire::{Body, Stop};
use super::{BlobSource, PushEvent, Pusher, Target};
use crate::Error;
use crate::retry::{Backoff, Failure};
use crate::transport::{Request, Response};

/// A blob up to this size goes with the request that ends its upload.
const SMALL: u64 = 4 << 20;
/// Pieces are not made smaller than this, nor larger once one was too large.
const SMALLEST_PIECE: u64 = 512 << 10;
const LARGEST_PIECE: u64 = 64 << 20;

pub(super) struct BlobPush<'a> {
    pub pusher: &'a Pusher<'a>,
    pub blob: &'a Descriptor,
    pub source: &'a dyn BlobSource,
    pub report: &'a (dyn Fn(PushEvent) + Sync),
}

/// How far it has come.
struct State {
    upload: Option<Upload>,
    /// Set once something was too large in one piece.
    piece: Option<u64>,
    /// The registry knows only the request that ends an upload.
    only_whole: bool,
    /// Most bytes the registry ever had: only more than that is progress.
    furthest: u64,
    backoff: Backoff,
    /// Bytes have gone out before.
    started: bool,
}

/// An upload that the registry has opened.
struct Upload {
    location: Url,
    /// Bytes the registry has.
    offset: u64,
    /// The smallest piece the registry takes, but for the last.
    smallest: u64,
    /// A request broke: only the registry knows how much it has.
    in_doubt: bool,
    /// It was gone on with after a break.
    resumed: bool,
}

enum Begun {
    Upload(Upload),
    Mounted(String),
}

impl BlobPush<'_> {
    pub async fn run(&self) -> Result<(), Error> {
        let mut state = State {
            upload: None,
            piece: None,
            only_whole: false,
            furthest: 0,
            backoff: Backoff::new(self.pusher.timing, &self.pusher.endpoint),
            started: false,
        };
        loop {
            let failure = match self.attempt(&mut state).await {
                Ok(end) => {
                    (self.report)(end);
                    return Ok(());
                }
                Err(Stop::Source(source)) => {
                    return Err(Error::Source {
                        digest: self.digest().clone(),
                        source,
                    });
                }
                // A registry that was there a moment ago may be restarting.
                Err(Stop::Failure(failure)) if state.started => failure.after_progress(),
                Err(Stop::Failure(failure)) => failure,
            };
            let reason = failure.reason();
            let pause = state.backoff.after(failure);
            let pause = pause.map_err(|failure| self.refusal(failure))?;
            (self.report)(PushEvent::Retrying {
                attempt: state.backoff.failures(),
                reason,
            });
            tokio::time::sleep(pause).await;
        }
    }

    /// What can be had without sending anything.
    pub async fn ready(&self) -> Result<Option<PushEvent>, Failure> {
        if self.exists().await? {
            return Ok(Some(PushEvent::Exists));
        }
        Ok(match self.mount().await? {
            Some(Begun::Mounted(from)) => Some(PushEvent::Mounted { from }),
            Some(Begun::Upload(upload)) => {
                self.cancel(Some(upload)).await;
                None
            }
            None => None,
        })
    }

    async fn attempt(&self, state: &mut State) -> Result<PushEvent, Stop> {
        if let Some(upload) = &mut state.upload
            && upload.in_doubt
            && !self.ask_offset(upload).await?
        {
            state.upload = None;
        }
        if state.upload.is_none() {
            if self.exists().await? {
                return Ok(match state.started {
                    true => PushEvent::Pushed,
                    false => PushEvent::Exists,
                });
            }
            match self.begin().await? {
                Begun::Mounted(from) => return Ok(PushEvent::Mounted { from }),
                Begun::Upload(upload) => state.upload = Some(upload),
            }
        }
        self.upload(state).await?;
        Ok(PushEvent::Pushed)
    }

    async fn exists(&self) -> Result<bool, Failure> {
        let path = format!("{}/{}", self.blobs_path(), self.digest());
        let request = Request::new(Method::HEAD);
        let answer = self.pusher.send(&Target::Path(path), request).await?;
        match answer.status() {
            status if status.is_success() => Ok(true),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(answer.into_failure().await)
            }
            // Whatever else there is to say, the upload will be told with more words.
            _ => Ok(false),
        }
    }

    /// Opens an upload, unless another repository hands the blob over.
    async fn begin(&self) -> Result<Begun, Failure> {
        if let Some(begun) = self.mount().await? {
            return Ok(begun);
        }
        let path = format!("{}/uploads/", self.blobs_path());
        let request = Request::new(Method::POST);
        let answer = self.pusher.send(&Target::Path(path), request).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(answer.into_failure().await);
        }
        self.opened(&answer).map(Begun::Upload)
    }

    /// Asks for the blob from other repositories. Refusals are no failure: there is another way.
    async fn mount(&self) -> Result<Option<Begun>, Failure> {
        let mut opened: Option<Upload> = None;
        let scope = self.pusher.mounts.iter();
        let scope = scope.fold(self.pusher.scope.clone(), |scope, from| {
            format!("{scope} repository:{from}:pull")
        });
        for from in &self.pusher.mounts {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("mount", self.digest().as_ref())
                .append_pair("from", from)
                .finish();
            let path = format!("{}/uploads/?{query}", self.blobs_path());
            let request = Request::new(Method::POST);
            let target = Target::Path(path);
            match self.pusher.send_as(&scope, &target, request).await {
                Ok(answer) if answer.status() == StatusCode::CREATED => {
                    self.cancel(opened).await;
                    return Ok(Some(Begun::Mounted(from.clone())));
                }
                // It does not have it, and has opened an upload instead.
                Ok(answer) if answer.status() == StatusCode::ACCEPTED => {
                    let upload = self.opened(&answer)?;
                    self.cancel(opened.replace(upload)).await;
                }
                Ok(answer) => {
                    tracing::debug!(from, status = %answer.status(), "cannot mount");
                }
                Err(failure) => tracing::debug!(from, reason = failure.reason(), "cannot mount"),
            }
        }
        Ok(opened.map(Begun::Upload))
    }

    /// Closes an upload that is not needed. The registry would do so itself in a while.
    async fn cancel(&self, upload: Option<Upload>) {
        if let Some(upload) = upload {
            let target = Target::Place(&upload.location);
            let _ = self
                .pusher
                .send(&target, Request::new(Method::DELETE))
                .await;
        }
    }

    fn opened(&self, answer: &Response) -> Result<Upload, Failure> {
        let smallest = answer.header("oci-chunk-min-length");
        Ok(Upload {
            location: self.pusher.location(answer)?,
            offset: 0,
            smallest: smallest
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0),
            in_doubt: false,
            resumed: false,
        })
    }

    /// Asks how much of a broken upload has arrived; false if the registry no longer knows of it, or got nothing.
    async fn ask_offset(&self, upload: &mut Upload) -> Result<bool, Failure> {
        let target = Target::Place(&upload.location);
        let answer = self.pusher.send(&target, Request::new(Method::GET)).await?;
        let status = answer.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(answer.into_failure().await);
        }
        let arrived = arrived(&answer).filter(|arrived| (1..=self.size()).contains(arrived));
        let (true, Some(arrived)) = (status.is_success(), arrived) else {
            return Ok(false);
        };
        if let Ok(location) = self.pusher.location(&answer) {
            upload.location = location;
        }
        upload.offset = arrived;
        upload.in_doubt = false;
        upload.resumed = true;
        Ok(true)
    }

    /// Sends what the registry does not have yet, and ends the upload.
    async fn upload(&self, state: &mut State) -> Result<(), Stop> {
        loop {
            let Some(upload) = &mut state.upload else {
                return Err(forgotten(self).into());
            };
            let rest = upload.offset..self.size();
            if state.furthest < upload.offset {
                state.furthest = upload.offset;
                state.backoff.progress();
            }
            let small = self.size() <= SMALL || state.only_whole;
            let small = small && upload.offset == 0 && state.piece.is_none();
            let last = rest.is_empty() || small;
            let part = match state.piece {
                Some(piece) if !last => {
                    let piece = piece.max(upload.smallest);
                    rest.start..rest.end.min(rest.start.saturating_add(piece))
                }
                _ => rest,
            };
            let method = if last { Method::PUT } else { Method::PATCH };
            // Until it is answered.
            upload.in_doubt = true;
            state.started |= !part.is_empty();
            let answer = self.send_part(upload, method, part.clone()).await?;
            match answer.status() {
                status if status.is_success() && last => return Ok(()),
                status if status.is_success() => {
                    upload.offset = match arrived(&answer) {
                        Some(arrived) if (1..=part.end).contains(&arrived) => arrived,
                        _ => part.end,
                    };
                    if upload.offset <= part.start {
                        return Err(Stop::Failure(Failure::Broken {
                            host: answer.host,
                            reason: "takes nothing of what it is sent".to_owned(),
                        }));
                    }
                    if answer.headers().contains_key("location") {
                        upload.location = self.pusher.location(&answer)?;
                    }
                    upload.in_doubt = false;
                }
                _ => self.refused_part(state, answer, part).await?,
            }
        }
    }

    async fn send_part(
        &self,
        upload: &Upload,
        method: Method,
        part: Range<u64>,
    ) -> Result<Response, Stop> {
        let mut url = upload.location.clone();
        let mut headers = HeaderMap::new();
        let bytes = HeaderValue::from_static("application/octet-stream");
        headers.insert(CONTENT_TYPE, bytes);
        let whole = part == (0..self.size());
        if method == Method::PUT {
            url.query_pairs_mut()
                .append_pair("digest", self.digest().as_ref());
        } else if !whole && let Ok(range) = format!("{}-{}", part.start, part.end - 1).parse() {
            headers.insert(CONTENT_RANGE, range);
        }
        let target = Target::Place(&url);
        let pusher = self.pusher;
        let known = match pusher.may_know_us(&target) {
            true => pusher.auth.known(&pusher.endpoint, &pusher.scope).await,
            false => None,
        };
        if let Some(header) = &known {
            headers.insert(AUTHORIZATION, header.clone());
        }
        let stream = self.source.open(self.blob, part.clone()).await;
        let body = Body {
            stream: stream.map_err(Stop::Source)?,
            length: part.end - part.start,
        };
        let told = |sent: u64| {
            (self.report)(PushEvent::Pushing {
                current: part.start + sent,
                total: self.size(),
            });
        };
        told(0);
        let answer = pusher
            .transport
            .send_body(&pusher.endpoint, (method, &url), headers, body, &told)
            .await?;
        if answer.status() != StatusCode::UNAUTHORIZED || !pusher.may_know_us(&target) {
            return Ok(answer);
        }
        // The token ran out. The bytes are gone: the next try asks where to go on.
        let fresh = pusher
            .renewed(&pusher.scope, &answer, known.as_ref())
            .await?;
        Err(Stop::Failure(match fresh {
            Some(_) => Failure::Broken {
                host: answer.host,
                reason: "the login ran out and was renewed".to_owned(),
            },
            None => pusher.unauthorized(answer).await,
        }))
    }

    /// What can be done about a part that was not taken.
    async fn refused_part(
        &self,
        state: &mut State,
        answer: Response,
        part: Range<u64>,
    ) -> Result<(), Stop> {
        let Some(upload) = &mut state.upload else {
            return Err(forgotten(self).into());
        };
        let length = part.end - part.start;
        let floor = upload.smallest.max(SMALLEST_PIECE);
        match answer.status() {
            StatusCode::PAYLOAD_TOO_LARGE if length > floor => {
                state.piece = Some((length / 2).clamp(floor, LARGEST_PIECE.max(floor)));
                // The registry itself may never have heard of it.
                if !self.ask_offset(upload).await? {
                    state.upload = match self.begin().await? {
                        Begun::Upload(upload) => Some(upload),
                        Begun::Mounted(_) => None,
                    };
                }
                Ok(())
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
                if upload.offset == 0 && !state.only_whole =>
            {
                state.only_whole = true;
                upload.in_doubt = false;
                Ok(())
            }
            StatusCode::NOT_FOUND => {
                state.upload = None;
                Err(forgotten(self).into())
            }
            StatusCode::BAD_REQUEST | StatusCode::RANGE_NOT_SATISFIABLE if upload.resumed => {
                state.upload = None;
                let reason = "does not go on with a broken upload".to_owned();
                let host = answer.host;
                Err(Failure::Broken { host, reason }.into())
            }
            _ => Err(answer.into_failure().await.into()),
        }
    }

    fn refusal(&self, failure: Failure) -> Error {
        self.pusher
            .refusal(failure, &format!("blob {}", self.digest()))
    }

    fn blobs_path(&self) -> String {
        format!("/v2/{}/blobs", self.pusher.endpoint.repository)
    }

    fn digest(&self) -> &Digest {
        self.blob.digest()
    }

    fn size(&self) -> u64 {
        self.blob.size()
    }
}

fn forgotten(push: &BlobPush<'_>) -> Failure {
    Failure::Broken {
        host: push.pusher.endpoint.authority.clone(),
        reason: "forgot the upload".to_owned(),
    }
}

/// How many bytes an answer says have arrived: `Range: 0-99` for 100. Nothing and one byte look alike.
fn arrived(answer: &Response) -> Option<u64> {
    arrived_of(answer.header(RANGE.as_str())?)
}

fn arrived_of(range: &str) -> Option<u64> {
    let range = range.trim();
    let span = range.strip_prefix("bytes=").unwrap_or(range);
    let (start, end) = span.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    (start == 0).then(|| if end == 0 { 0 } else { end.saturating_add(1) })
}

#[cfg(test)]
mod tests {
    use super::arrived_of;

    #[test]
    fn what_has_arrived() {
        assert_eq!(arrived_of("0-99"), Some(100));
        assert_eq!(arrived_of("bytes=0-99"), Some(100));
        assert_eq!(arrived_of("0-0"), Some(0));
        assert_eq!(arrived_of("5-99"), None);
        assert_eq!(arrived_of("all"), None);
    }
}
