//! A request whose body is streamed.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use tokio::time::{Instant, interval};
use url::Url;

use super::BlobStream;
use crate::SinkError;
use crate::hosts::{Endpoint, is_loopback};
use crate::retry::Failure;
use crate::tls::ClientKind;
use crate::transport::{Response, Transport, host_of, silent};
use crate::words::classify;

/// How often progress is told of, and silence looked for.
const TICK: Duration = Duration::from_millis(100);
/// A registry that has all bytes may take as many times longer to answer: it moves them to where they stay.
const DIGESTING: u32 = 10;

/// Why a request with a body got no answer.
pub(super) enum Stop {
    Failure(Failure),
    /// The body could not be read.
    Source(SinkError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failure(failure)
    }
}

/// The body of a request, of known length.
pub(super) struct Body {
    pub stream: BlobStream,
    pub length: u64,
}

#[derive(Default)]
struct Meter {
    sent: AtomicU64,
    source_error: Mutex<Option<SinkError>>,
}

impl Transport {
    /// Sends a body to a URL that the registry named. `progress` hears how many bytes went out so far. Redirects are
    /// not followed, as a stream cannot be sent twice.
    pub(super) async fn send_body(
        &self,
        endpoint: &Endpoint,
        (method, url): (Method, &Url),
        mut headers: HeaderMap,
        body: Body,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Response, Stop> {
        let host = host_of(url);
        let trust = self.trust_of(url, &origin_of(endpoint, url), &endpoint.trust);
        let client = self.client(ClientKind {
            trust: Some(trust).filter(|_| url.scheme() == "https"),
            proxied: !is_loopback(&host),
        })?;
        let length = body.length;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let meter = Arc::new(Meter::default());
        let sending = client
            .request(method, url.clone())
            .headers(headers)
            .body(metered(body.stream, &meter))
            .send();
        tokio::pin!(sending);
        let mut tick = interval(TICK);
        let (mut seen, mut last) = (0, Instant::now());
        let answer = loop {
            tokio::select! {
                answer = &mut sending => break answer,
                _ = tick.tick() => {
                    let sent = meter.sent.load(Ordering::Relaxed);
                    if sent != seen {
                        (seen, last) = (sent, Instant::now());
                        progress(sent);
                    }
                    let patience = self.timing.idle * if sent < length { 1 } else { DIGESTING };
                    if last.elapsed() > patience {
                        return Err(silent(host, patience).into());
                    }
                }
            }
        };
        let unread = lock(&meter.source_error).take();
        match (answer, unread) {
            (_, Some(error)) => Err(Stop::Source(error)),
            (Err(error), None) => Err(classify(host, &error).into()),
            (Ok(inner), None) => Ok(Response {
                idle: self.timing.idle,
                host,
                elsewhere: false,
                secure: url.scheme() == "https",
                inner,
            }),
        }
    }
}

/// The body, which counts what goes out and keeps the reader's own error: the client would wrap it up as one of the
/// connection.
fn metered(stream: BlobStream, meter: &Arc<Meter>) -> reqwest::Body {
    let meter = Arc::clone(meter);
    reqwest::Body::wrap_stream(stream.map(move |piece| match piece {
        Ok(bytes) => {
            meter.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            Ok(bytes)
        }
        Err(error) => {
            *lock(&meter.source_error) = Some(error);
            Err(io::Error::other("the body cannot be read"))
        }
    }))
}

/// The registry's own root, with the scheme of `url`: what its trust belongs to.
fn origin_of(endpoint: &Endpoint, url: &Url) -> Url {
    let text = format!("{}://{}/", url.scheme(), endpoint.authority);
    Url::parse(&text).unwrap_or_else(|_| url.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
