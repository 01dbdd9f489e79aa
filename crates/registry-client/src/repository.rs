//! One repository in all the places it can be read from: mirrors in order, then the registry itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest, DigestAlgorithm, MediaType};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use url::form_urlencoded;

use crate::Error;
use crate::auth::Auth;
use crate::hosts::{Endpoint, endpoints};
use crate::manifest::{
    ACCEPT_MANIFESTS, MAX_CONFIG, MAX_MANIFEST, digest_of, essence, is_manifest_type, parse,
};
use crate::retry::{Backoff, Failure, Timing};
use crate::transport::{Request, Response, Transport};

/// What of a repository is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Object<'a> {
    /// A manifest by tag or digest.
    Manifest(&'a str),
    Blob(&'a Digest),
    /// A page of the list of tags, by its query.
    Tags(&'a str),
}

/// How to learn what a tag or digest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// By a `HEAD`, which rate limits do not count: for what may be here already.
    Head,
    /// By fetching it, a round trip less.
    Get,
}

/// What a tag or digest names, with the bytes if they came along.
pub(crate) struct Resolved {
    pub descriptor: Descriptor,
    pub bytes: Option<Vec<u8>>,
}

pub(crate) struct Repository<'a> {
    pub reference: &'a Reference,
    pub timing: Timing,
    transport: &'a Transport,
    auth: &'a Auth,
    endpoints: Vec<Endpoint>,
    /// The endpoint that served the manifest is asked first for everything else.
    preferred: AtomicUsize,
}

impl<'a> Repository<'a> {
    pub fn new(
        transport: &'a Transport,
        auth: &'a Auth,
        timing: Timing,
        reference: &'a Reference,
    ) -> Result<Self, Error> {
        Ok(Self {
            endpoints: endpoints(transport.hosts(), reference)?,
            preferred: AtomicUsize::new(0),
            reference,
            timing,
            transport,
            auth,
        })
    }

    /// All endpoints, the one that answered before first.
    pub fn sources(&self) -> Vec<&Endpoint> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let others = (0..self.endpoints.len()).filter(|i| *i != preferred);
        let order = std::iter::once(preferred).chain(others);
        order.filter_map(|i| self.endpoints.get(i)).collect()
    }

    /// The descriptor of what the reference names. `Head` fetches it as well if the registry does not answer it in full.
    pub async fn resolve(&self, lookup: Lookup) -> Result<Resolved, Error> {
        let name = self.reference.digest().or(self.reference.tag());
        let name = name.unwrap_or("latest");
        self.first_success(&self.reference.whole(), |endpoint| {
            self.resolve_at(endpoint, name, lookup).boxed()
        })
        .await
    }

    /// The bytes of a manifest, checked against its descriptor.
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let name = descriptor.digest().to_string();
        self.first_success(&self.describe(descriptor), |endpoint| {
            let object = Object::Manifest(&name);
            self.verified(endpoint, object, descriptor).boxed()
        })
        .await
    }

    /// The bytes of a small blob, checked against its descriptor.
    pub async fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.first_success(&self.describe(descriptor), |endpoint| {
            let object = Object::Blob(descriptor.digest());
            self.verified(endpoint, object, descriptor).boxed()
        })
        .await
    }

    /// How error messages name a part of the image.
    pub fn describe(&self, descriptor: &Descriptor) -> String {
        format!("{} of {}", descriptor.digest(), self.reference)
    }

    /// Tries an operation at one endpoint after the other, at each as often as is reasonable.
    pub async fn first_success<'s, T>(
        &'s self,
        wanted: &str,
        operation: impl Fn(&'s Endpoint) -> BoxFuture<'s, Result<T, Failure>>,
    ) -> Result<T, Error> {
        let mut failed = Vec::new();
        for endpoint in self.sources() {
            let mut backoff = Backoff::new(self.timing, endpoint);
            loop {
                let failure = match operation(endpoint).await {
                    Ok(result) => {
                        self.prefer(endpoint);
                        return Ok(result);
                    }
                    Err(failure) => failure,
                };
                tracing::debug!(
                    host = endpoint.authority,
                    reason = failure.reason(),
                    "request failed"
                );
                match backoff.after(failure) {
                    Ok(pause) => tokio::time::sleep(pause).await,
                    Err(failure) => {
                        failed.push((endpoint, failure));
                        break;
                    }
                }
            }
        }
        Err(all_failed(failed, wanted))
    }

    fn prefer(&self, endpoint: &Endpoint) {
        let found = self
            .endpoints
            .iter()
            .position(|e| std::ptr::eq(e, endpoint));
        if let Some(index) = found {
            self.preferred.store(index, Ordering::Relaxed);
        }
    }

    /// Sends one request, proving who we are if asked to. The answer may be of any status but 401.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        method: Method,
        object: Object<'_>,
        from_byte: u64,
    ) -> Result<Response, Failure> {
        let path = path_of(endpoint, object);
        let mut request = Request::new(method);
        if let Object::Manifest(_) = object {
            let accept = HeaderValue::from_static(ACCEPT_MANIFESTS);
            request.headers.insert(ACCEPT, accept);
        }
        if from_byte > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={from_byte}-"))
        {
            request.headers.insert(RANGE, range);
        }
        let scope = format!("repository:{}:pull", endpoint.repository);
        let known = self.auth.known(endpoint, &scope).await;
        if let Some(header) = &known {
            request.headers.insert(AUTHORIZATION, header.clone());
        }
        let answer = self.transport.send(endpoint, &path, &request).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || answer.elsewhere {
            return Ok(answer);
        }
        let fresh = self
            .auth
            .answer(
                self.transport,
                endpoint,
                &scope,
                answer.headers(),
                answer.secure,
                known.as_ref(),
            )
            .await?;
        let refused = match fresh {
            None => answer,
            Some(header) => {
                request.headers.insert(AUTHORIZATION, header);
                let answer = self.transport.send(endpoint, &path, &request).await?;
                if answer.status() != StatusCode::UNAUTHORIZED {
                    return Ok(answer);
                }
                answer
            }
        };
        let mut failure = refused.into_failure().await;
        let note = self.auth.note(endpoint).await;
        if let Failure::Status { detail, .. } = &mut failure
            && !note.is_empty()
        {
            let separator = if detail.is_empty() { "" } else { "; " };
            *detail = format!("{detail}{separator}{note}");
        }
        Err(failure)
    }

    async fn resolve_at(
        &self,
        endpoint: &Endpoint,
        name: &str,
        lookup: Lookup,
    ) -> Result<Resolved, Failure> {
        let object = Object::Manifest(name);
        let by_digest = Digest::try_from(name).ok();
        if lookup == Lookup::Head
            && let Some(descriptor) = self.head(endpoint, object, by_digest.as_ref()).await?
        {
            return Ok(Resolved {
                descriptor,
                bytes: None,
            });
        }
        let mut answer = self.send(endpoint, Method::GET, object, 0).await?;
        if !answer.status().is_success() {
            return Err(answer.into_failure().await);
        }
        let content_type = answer.header(CONTENT_TYPE.as_str()).map(str::to_owned);
        let bytes = answer.body(MAX_MANIFEST as usize).await?;
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(Failure::Fatal(Error::Protocol {
                host: answer.host,
                reason: format!("sent a manifest of more than {MAX_MANIFEST} bytes"),
            }));
        }
        let algorithm = match &by_digest {
            Some(digest) => digest.algorithm().clone(),
            None => DigestAlgorithm::Sha256,
        };
        let actual = digest_of(&algorithm, &bytes)
            .ok_or_else(|| self.unsupported("its digest is of an unknown algorithm".to_owned()))?;
        if let Some(expected) = by_digest
            && expected != actual
        {
            return Err(Failure::Fatal(Error::DigestMismatch {
                host: answer.host,
                expected,
                actual: actual.to_string(),
            }));
        }
        let (media_type, _) =
            parse(&bytes, content_type.as_deref()).map_err(|reason| self.unsupported(reason))?;
        Ok(Resolved {
            descriptor: Descriptor::new(media_type, bytes.len() as u64, actual),
            bytes: Some(bytes),
        })
    }

    /// What a registry says of a manifest without sending it; nothing if it does not say enough.
    async fn head(
        &self,
        endpoint: &Endpoint,
        object: Object<'_>,
        by_digest: Option<&Digest>,
    ) -> Result<Option<Descriptor>, Failure> {
        let answer = self.send(endpoint, Method::HEAD, object, 0).await?;
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            return Err(answer.into_failure().await);
        }
        // A refusal of HEAD has no body: GET will say why, if it does not succeed.
        Ok(described(&answer, by_digest).filter(|_| status.is_success()))
    }

    fn unsupported(&self, reason: String) -> Failure {
        Failure::Fatal(Error::UnsupportedManifest {
            reference: self.reference.to_string(),
            reason,
        })
    }

    async fn verified(
        &self,
        endpoint: &Endpoint,
        object: Object<'_>,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, Failure> {
        let most = match object {
            Object::Manifest(_) => MAX_MANIFEST,
            Object::Blob(_) | Object::Tags(_) => MAX_CONFIG,
        };
        let expected = descriptor.size();
        if expected > most {
            let digest = descriptor.digest();
            let reason = format!("its {digest} has {expected} bytes, more than {most}");
            return Err(self.unsupported(reason));
        }
        let mut answer = self.send(endpoint, Method::GET, object, 0).await?;
        if !answer.status().is_success() {
            return Err(answer.into_failure().await);
        }
        let host = answer.host.clone();
        if let (Object::Manifest(_), Some(announced)) =
            (object, answer.header(CONTENT_TYPE.as_str()).map(essence))
            && is_manifest_type(&announced)
            && announced != descriptor.media_type().to_string()
        {
            let expected = descriptor.media_type();
            let reason = format!("sent {announced} where {expected} was promised");
            return Err(Failure::Fatal(Error::Protocol { host, reason }));
        }
        let bytes = answer.body(expected as usize).await?;
        if bytes.len() as u64 != expected {
            return Err(Failure::Fatal(Error::SizeMismatch {
                host,
                digest: descriptor.digest().clone(),
                expected,
                actual: bytes.len() as u64,
            }));
        }
        match digest_of(descriptor.digest().algorithm(), &bytes) {
            Some(actual) if actual == *descriptor.digest() => Ok(bytes),
            actual => Err(Failure::Fatal(Error::DigestMismatch {
                host,
                expected: descriptor.digest().clone(),
                actual: actual.map_or_else(|| "unknown".to_owned(), |d| d.to_string()),
            })),
        }
    }
}

/// The descriptor in the headers of an answer to `HEAD`, if they are complete and of a kind we know.
fn described(answer: &Response, by_digest: Option<&Digest>) -> Option<Descriptor> {
    let announced = answer.header("docker-content-digest");
    let announced = announced.and_then(|digest| Digest::try_from(digest).ok());
    let digest = match (by_digest, announced) {
        (Some(wanted), Some(got)) if *wanted != got => return None,
        (Some(wanted), _) => wanted.clone(),
        (None, announced) => announced?,
    };
    let size: u64 = answer.header(CONTENT_LENGTH.as_str())?.parse().ok()?;
    let content_type = essence(answer.header(CONTENT_TYPE.as_str())?);
    let usable = size > 0
        && size <= MAX_MANIFEST
        && is_manifest_type(&content_type)
        && !matches!(digest.algorithm(), DigestAlgorithm::Other(_));
    usable.then(|| Descriptor::new(MediaType::from(content_type.as_str()), size, digest))
}

fn path_of(endpoint: &Endpoint, object: Object<'_>) -> String {
    let repository = &endpoint.repository;
    let path = match object {
        Object::Manifest(name) => format!("/v2/{repository}/manifests/{name}"),
        Object::Blob(digest) => format!("/v2/{repository}/blobs/{digest}"),
        Object::Tags(_) => format!("/v2/{repository}/tags/list"),
    };
    let page = match object {
        Object::Tags(query) if !query.is_empty() => Some(query.to_owned()),
        _ => None,
    };
    let namespace = endpoint.namespace.as_ref().map(|host| {
        let host: String = form_urlencoded::byte_serialize(host.as_bytes()).collect();
        format!("ns={host}")
    });
    let query: Vec<String> = page.into_iter().chain(namespace).collect();
    match query.is_empty() {
        true => path,
        false => format!("{path}?{}", query.join("&")),
    }
}

/// What each place said, in the order they were asked; the registry's own failure is the one to act on.
pub(crate) fn all_failed(failed: Vec<(&Endpoint, Failure)>, wanted: &str) -> Error {
    let mut upstream = None;
    let mut tried = Vec::new();
    for (endpoint, failure) in failed {
        let error = failure.into_error(endpoint, wanted);
        let kind = if endpoint.is_mirror { "mirror " } else { "" };
        tried.push(format!("{kind}{}: {}", endpoint.authority, error.of_host()));
        if !endpoint.is_mirror {
            upstream = Some(error);
        }
    }
    match upstream {
        Some(upstream) if tried.len() == 1 => upstream,
        Some(upstream) => Error::Mirrors {
            wanted: wanted.to_owned(),
            upstream: Box::new(upstream),
            tried,
        },
        None => Error::Config {
            what: wanted.to_owned(),
            reason: "no registry to ask".to_owned(),
        },
    }
}
