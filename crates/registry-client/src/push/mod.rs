//! Pushing: blobs first, several at a time, manifests once everything they name is there.
//!
//! ```text
//! HEAD  blobs/<digest>                        is it there already?
//! POST  blobs/uploads/?mount=<digest>&from=…  does another repository have it?
//! POST  blobs/uploads/                        no: open an upload
//! PATCH <location>                            its bytes, in one piece or, where that is too large, in several
//! GET   <location>                            after a break: how many arrived?
//! PUT   <location>?digest=<digest>            done (with the bytes themselves if they are few)
//! PUT   manifests/<tag or digest>
//! ```

mod blob;
mod refusal;
mod source;
mod wire;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
};
use reqwest::{Method, StatusCode};
use url::Url;

pub use source::{BlobSource, BlobStream, PushEvent, file_blob};

use crate::auth::Auth;
use crate::hosts::{Endpoint, endpoints};
use crate::manifest::ACCEPT_MANIFESTS;
use crate::retry::{Backoff, Failure, Timing};
use crate::transport::{Request, Response, Transport, protocol};
use crate::{Client, Error};

/// Repositories that a blob is looked for in, as many as Docker asks.
const MOST_MOUNTS: usize = 3;

/// Pushes to one repository. Mirrors are never pushed to.
pub struct Pusher<'a> {
    transport: &'a Transport,
    auth: &'a Auth,
    timing: Timing,
    endpoint: Endpoint,
    /// Repositories of the same registry that may have the same blobs.
    mounts: Vec<String>,
    scope: String,
}

/// What a request is sent to.
enum Target<'t> {
    /// A path of the registry.
    Path(String),
    /// A place the registry named.
    Place(&'t Url),
}

impl Client {
    /// Begins to push to the repository of a reference; its tag does not matter yet. `mount_from` are images that may
    /// share blobs with what will be pushed: those of the same registry are asked to hand them over.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn pusher<'r>(
        &self,
        reference: &Reference,
        mount_from: impl IntoIterator<Item = &'r Reference>,
    ) -> Result<Pusher<'_>, Error> {
        let endpoint = endpoints(self.transport.hosts(), reference)?
            .pop()
            .ok_or_else(|| Error::Config {
                what: reference.to_string(),
                reason: "no registry to push to".to_owned(),
            })?;
        let mut mounts: Vec<String> = Vec::new();
        for other in mount_from {
            let repository = other.repository();
            if other.registry() == reference.registry()
                && repository != reference.repository()
                && !mounts.iter().any(|known| known == repository)
                && mounts.len() < MOST_MOUNTS
            {
                mounts.push(repository.to_owned());
            }
        }
        Ok(Pusher {
            scope: format!("repository:{}:pull,push", endpoint.repository),
            transport: &self.transport,
            auth: &self.auth,
            timing: self.timing,
            endpoint,
            mounts,
        })
    }
}

impl Pusher<'_> {
    /// Sees to it that the repository has a blob. `what` is told how it goes.
    ///
    /// Dropping the future stops everything; a later push skips what is there by then.
    ///
    /// # Errors
    /// [`Error::PushDenied`], [`Error::NoRepository`], [`Error::TooLarge`], [`Error::Refused`],
    /// [`Error::TooManyRequests`], [`Error::Server`], [`Error::Network`], [`Error::Tls`], [`Error::Protocol`], and
    /// [`Error::Source`] if the content cannot be read.
    pub async fn blob(
        &self,
        blob: &Descriptor,
        source: &dyn BlobSource,
        report: &(dyn Fn(PushEvent) + Sync),
    ) -> Result<(), Error> {
        blob::BlobPush {
            pusher: self,
            blob,
            source,
            report,
        }
        .run()
        .await
    }

    /// Whether the repository has a blob, or takes it over from another one, without being sent anything; how it came
    /// by it.
    ///
    /// # Errors
    /// As [`Pusher::blob`].
    pub async fn ready(&self, blob: &Descriptor) -> Result<Option<PushEvent>, Error> {
        let what = format!("blob {}", blob.digest());
        self.retried(&what, || {
            async move {
                blob::BlobPush {
                    pusher: self,
                    blob,
                    source: &source::Nothing,
                    report: &|_| (),
                }
                .ready()
                .await
            }
            .boxed()
        })
        .await
    }

    /// Whether the repository has a manifest or index.
    ///
    /// # Errors
    /// As [`Pusher::blob`].
    pub async fn has_manifest(&self, digest: &Digest) -> Result<bool, Error> {
        let what = digest.to_string();
        self.retried(&what, || {
            async {
                let mut request = Request::new(Method::HEAD);
                let accept = HeaderValue::from_static(ACCEPT_MANIFESTS);
                request.headers.insert(ACCEPT, accept);
                let answer = self.send(&self.manifest_path(&what), request).await?;
                match answer.status() {
                    status if status.is_success() => Ok(true),
                    StatusCode::NOT_FOUND => Ok(false),
                    _ => Err(answer.into_failure().await),
                }
            }
            .boxed()
        })
        .await
    }

    /// Puts a manifest or index, under a tag or its digest. Everything it names must be there.
    ///
    /// # Errors
    /// As [`Pusher::blob`].
    pub async fn manifest(
        &self,
        name: &str,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let content = HeaderValue::from_str(descriptor.media_type().as_ref());
        let content = content.map_err(|_| Error::UnsupportedManifest {
            reference: name.to_owned(),
            reason: format!("its media type is {:?}", descriptor.media_type().as_ref()),
        })?;
        let what = format!("manifest {name}");
        self.retried(&what, || {
            let mut request = Request::new(Method::PUT);
            request.headers.insert(CONTENT_TYPE, content.clone());
            request.body = Some(bytes.to_vec().into());
            async move {
                let answer = self.send(&self.manifest_path(name), request).await?;
                if !answer.status().is_success() {
                    return Err(answer.into_failure().await);
                }
                match answer.header("docker-content-digest") {
                    Some(other) if other != descriptor.digest().as_ref() => {
                        let ours = descriptor.digest();
                        let reason = format!("says that manifest {ours} has the digest {other}");
                        Err(protocol(answer.url(), &reason))
                    }
                    _ => Ok(()),
                }
            }
            .boxed()
        })
        .await
    }

    fn manifest_path(&self, name: &str) -> Target<'static> {
        let repository = &self.endpoint.repository;
        Target::Path(format!("/v2/{repository}/manifests/{name}"))
    }

    async fn retried<'s, T>(
        &'s self,
        what: &str,
        operation: impl Fn() -> BoxFuture<'s, Result<T, Failure>>,
    ) -> Result<T, Error> {
        let mut backoff = Backoff::new(self.timing, &self.endpoint);
        loop {
            let failure = match operation().await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let pause = backoff
                .after(failure)
                .map_err(|failure| self.refusal(failure, what))?;
            tokio::time::sleep(pause).await;
        }
    }

    /// One request without a body, or with a small one. The answer may be of any status but 401.
    async fn send(&self, target: &Target<'_>, request: Request) -> Result<Response, Failure> {
        self.send_as(&self.scope, target, request).await
    }

    async fn send_as(
        &self,
        scope: &str,
        target: &Target<'_>,
        mut request: Request,
    ) -> Result<Response, Failure> {
        if request.body.is_none() && !matches!(request.method, Method::GET | Method::HEAD) {
            request.headers.insert(CONTENT_LENGTH, 0.into());
        }
        let known = match self.may_know_us(target) {
            true => self.auth.known(&self.endpoint, scope).await,
            false => None,
        };
        if let Some(header) = &known {
            request.headers.insert(AUTHORIZATION, header.clone());
        }
        let mut answer = self.once(target, &request).await?;
        if answer.status() != StatusCode::UNAUTHORIZED
            || answer.elsewhere
            || !self.may_know_us(target)
        {
            return Ok(answer);
        }
        if let Some(header) = self.renewed(scope, &answer, known.as_ref()).await? {
            request.headers.insert(AUTHORIZATION, header);
            answer = self.once(target, &request).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
        }
        Err(self.unauthorized(answer).await)
    }

    async fn once(&self, target: &Target<'_>, request: &Request) -> Result<Response, Failure> {
        match target {
            Target::Path(path) => self.transport.send(&self.endpoint, path, request).await,
            Target::Place(url) => {
                let trust = &self.endpoint.trust;
                self.transport
                    .exchange((*url).clone(), trust, request)
                    .await
            }
        }
    }

    /// Another `Authorization` than the one that was refused.
    async fn renewed(
        &self,
        scope: &str,
        refused: &Response,
        known: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Failure> {
        let (headers, secure): (&HeaderMap, bool) = (refused.headers(), refused.secure);
        let (auth, endpoint) = (self.auth, &self.endpoint);
        auth.answer(self.transport, endpoint, scope, headers, secure, known)
            .await
    }

    /// A refusal, with what became of the credentials.
    async fn unauthorized(&self, answer: Response) -> Failure {
        let mut failure = answer.into_failure().await;
        let note = self.auth.note(&self.endpoint).await;
        if let Failure::Status { detail, .. } = &mut failure
            && !note.is_empty()
        {
            let separator = if detail.is_empty() { "" } else { "; " };
            *detail = format!("{detail}{separator}{note}");
        }
        failure
    }

    /// Credentials go to the registry itself only, wherever it sends uploads.
    fn may_know_us(&self, target: &Target<'_>) -> bool {
        let Target::Place(url) = target else {
            return true;
        };
        let own = Url::parse(&format!("{}://{}/", url.scheme(), self.endpoint.authority));
        own.is_ok_and(|own| own.origin() == url.origin())
    }

    /// The place an answer names to go on at.
    fn location(&self, answer: &Response) -> Result<Url, Failure> {
        let from = answer.url();
        let named = answer.header(LOCATION.as_str());
        let url = named.and_then(|location| from.join(location).ok());
        let usable = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let mut url =
            usable.ok_or_else(|| protocol(from, "opens an upload but does not say where"))?;
        if from.scheme() == "https" && url.scheme() == "http" {
            // What a registry says that does not know of the proxy before it.
            let same_host = url.host() == from.host();
            if !same_host || url.set_scheme("https").is_err() {
                let reason = format!("sends uploads from HTTPS to plain HTTP at {url}");
                return Err(protocol(from, &reason));
            }
        }
        Ok(url)
    }
}
