//! HTTP as registries need it: a client per kind of trust, HTTPS or HTTP as the host has it, redirects that carry no
//! credentials elsewhere, and failures sorted by what can be done about them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use tokio::time::timeout;
use url::Url;

use crate::Error;
use crate::hosts::{Endpoint, HostConfigs, Scheme, Trust, authority_of, is_loopback, manners};
use crate::retry::{Failure, Timing};
use crate::tls::{ClientKind, build_client};
use crate::words::{classify, error_detail};

const MAX_REDIRECTS: usize = 10;
/// More of an error's body is not read.
const MAX_ERROR_BODY: usize = 64 << 10;

pub(crate) struct Transport {
    hosts: HostConfigs,
    pub timing: Timing,
    clients: Mutex<HashMap<ClientKind, reqwest::Client>>,
    /// What hosts that may speak either turned out to speak.
    spoken: Mutex<HashMap<String, Scheme>>,
}

/// One request, before it is known where redirects lead.
#[derive(Clone)]
pub(crate) struct Request {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
}

impl Request {
    pub fn new(method: Method) -> Self {
        Self {
            method,
            headers: HeaderMap::new(),
            body: None,
        }
    }
}

/// An answer whose body has not been read.
pub(crate) struct Response {
    pub(crate) inner: reqwest::Response,
    pub(crate) idle: Duration,
    pub host: String,
    /// A redirect led to another host: what it says about credentials does not concern the registry.
    pub elsewhere: bool,
    /// The registry itself was spoken to over TLS.
    pub secure: bool,
}

impl Transport {
    pub fn new(hosts: HostConfigs, timing: Timing) -> Self {
        Self {
            hosts,
            timing,
            clients: Mutex::default(),
            spoken: Mutex::default(),
        }
    }

    pub fn hosts(&self) -> &HostConfigs {
        &self.hosts
    }

    /// Sends a request for `path` (with query) to a registry and follows redirects.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        path: &str,
        request: &Request,
    ) -> Result<Response, Failure> {
        let authority = &endpoint.authority;
        let remembered = lock(&self.spoken).get(authority).copied();
        let scheme = match endpoint.scheme {
            Scheme::Either => remembered.unwrap_or(Scheme::Either),
            fixed => fixed,
        };
        if scheme != Scheme::Http {
            let url = url_of("https", authority, path)?;
            match self.exchange(url, &endpoint.trust, request).await {
                Err(Failure::Tls { .. } | Failure::Connect { .. }) if scheme == Scheme::Either => {}
                Ok(response) => {
                    self.remember(authority, Scheme::Https);
                    return Ok(response);
                }
                Err(failure) => return Err(failure),
            }
        }
        let url = url_of("http", authority, path)?;
        let response = self.exchange(url, &endpoint.trust, request).await?;
        // What a TLS server says to plain HTTP: it was only slow to shake hands.
        if response.status() != StatusCode::BAD_REQUEST {
            self.remember(authority, Scheme::Http);
        }
        Ok(response)
    }

    fn remember(&self, authority: &str, scheme: Scheme) {
        lock(&self.spoken).insert(authority.to_owned(), scheme);
    }

    /// Sends a request to a full URL, trusting as its origin is trusted unless the host has settings of its own.
    pub async fn exchange(
        &self,
        mut url: Url,
        trust: &Trust,
        request: &Request,
    ) -> Result<Response, Failure> {
        let origin = url.clone();
        let mut request = request.clone();
        for _ in 0..=MAX_REDIRECTS {
            let trust = self.trust_of(&url, &origin, trust);
            let answer = self.once(&url, trust, &request).await?;
            let Some(next) = redirect(&url, &answer, &request.method) else {
                return Ok(Response {
                    host: host_of(&url),
                    idle: self.timing.idle,
                    elsewhere: url.origin() != origin.origin(),
                    secure: origin.scheme() == "https",
                    inner: answer,
                });
            };
            let next = next?;
            self.check_redirect(&url, &next)?;
            if next.origin() != url.origin() {
                request.headers.remove(AUTHORIZATION);
            }
            url = next;
        }
        Err(protocol(&origin, "redirects without end"))
    }

    pub fn trust_of(&self, url: &Url, origin: &Url, of_origin: &Trust) -> Trust {
        let authority = host_of(url);
        if url.origin() == origin.origin() {
            of_origin.clone()
        } else if self.hosts.contains_key(&authority) || is_loopback(&authority) {
            manners(&self.hosts, &authority).1
        } else if is_loopback(&host_of(origin)) {
            // Loopback needs no certificate; where it sends us to does.
            Trust::System
        } else {
            of_origin.clone()
        }
    }

    /// A blob may come over plain HTTP, its digest being known; nothing else that was asked for over TLS may.
    fn check_redirect(&self, from: &Url, to: &Url) -> Result<(), Failure> {
        let downgraded = from.scheme() == "https" && to.scheme() == "http";
        let allowed = from.path().contains("/blobs/")
            || manners(&self.hosts, &host_of(to)).0 == Scheme::Either;
        if downgraded && !allowed {
            return Err(protocol(
                from,
                &format!("redirects from HTTPS to plain HTTP at {}", host_of(to)),
            ));
        }
        Ok(())
    }

    async fn once(
        &self,
        url: &Url,
        trust: Trust,
        request: &Request,
    ) -> Result<reqwest::Response, Failure> {
        let host = host_of(url);
        let client = self.client(ClientKind {
            trust: Some(trust).filter(|_| url.scheme() == "https"),
            proxied: !is_loopback(&host),
        })?;
        let mut builder = client
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone());
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        match timeout(self.timing.idle, builder.send()).await {
            Ok(answer) => answer.map_err(|e| classify(host, &e)),
            Err(_) => Err(silent(host, self.timing.idle)),
        }
    }

    pub fn client(&self, kind: ClientKind) -> Result<reqwest::Client, Failure> {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let client = build_client(&kind, &self.timing).map_err(Failure::Fatal)?;
        clients.insert(kind, client.clone());
        Ok(client)
    }
}

impl Response {
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// Where the answer came from, redirects followed.
    pub fn url(&self) -> &Url {
        self.inner.url()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match timeout(self.idle, self.inner.chunk()).await {
            Ok(chunk) => chunk.map_err(|e| classify(self.host.clone(), &e).after_progress()),
            Err(_) => Err(silent(self.host.clone(), self.idle)),
        }
    }

    /// The whole body, or what there is of it one byte past `limit`.
    pub async fn body(&mut self, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            let room = (limit + 1).saturating_sub(body.len());
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() > limit {
                break;
            }
        }
        Ok(body)
    }

    /// An answer that is no success as a failure, with the registry's own words.
    pub async fn into_failure(mut self) -> Failure {
        let retry_after = self
            .header(RETRY_AFTER.as_str())
            .and_then(|value| value.trim().parse().ok())
            .map(Duration::from_secs);
        let body = self.body(MAX_ERROR_BODY).await.unwrap_or_default();
        Failure::Status {
            status: self.status(),
            retry_after,
            detail: error_detail(&body),
            host: self.host,
        }
    }
}

/// Where a redirect leads, if the answer is one that may be followed.
fn redirect(
    url: &Url,
    answer: &reqwest::Response,
    method: &Method,
) -> Option<Result<Url, Failure>> {
    let follows = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308)
        && matches!(*method, Method::GET | Method::HEAD);
    if !follows {
        return None;
    }
    let location = answer.headers().get(LOCATION)?;
    let next = location
        .to_str()
        .ok()
        .and_then(|location| url.join(location).ok())
        .filter(|next| matches!(next.scheme(), "http" | "https") && next.has_host());
    Some(next.ok_or_else(|| protocol(url, "redirects to nowhere")))
}

fn url_of(scheme: &str, authority: &str, path: &str) -> Result<Url, Failure> {
    let text = format!("{scheme}://{authority}{path}");
    Url::parse(&text).map_err(|e| {
        Failure::Fatal(Error::Protocol {
            host: authority.to_owned(),
            reason: format!("cannot ask for {text}: {e}"),
        })
    })
}

pub(crate) fn host_of(url: &Url) -> String {
    authority_of(url).unwrap_or_default()
}

pub(crate) fn protocol(url: &Url, reason: &str) -> Failure {
    Failure::Fatal(Error::Protocol {
        host: host_of(url),
        reason: reason.to_owned(),
    })
}

pub(crate) fn silent(host: String, idle: Duration) -> Failure {
    Failure::Broken {
        host,
        reason: format!("no answer for {} s", idle.as_secs_f32()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps are only ever inserted into: a panic elsewhere leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostConfig;

    #[test]
    fn only_blobs_may_leave_tls() {
        let transport = Transport::new(HostConfigs::new(), Timing::default());
        let check = |from: &str, to: &str| {
            let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
            transport.check_redirect(&from, &to).is_ok()
        };
        assert!(check("https://a.io/v2/x/blobs/d", "http://s.io/d"));
        assert!(check("https://a.io/v2/x/manifests/t", "https://s.io/d"));
        assert!(check(
            "https://a.io/v2/x/manifests/t",
            "http://127.0.0.1:1/d"
        ));
        assert!(!check("https://a.io/v2/x/manifests/t", "http://s.io/d"));
    }

    #[test]
    fn trust_stays_with_its_host() {
        let ca = HostConfig {
            ca: Some("/s.pem".into()),
            ..HostConfig::default()
        };
        let hosts = HostConfigs::from([("s.io".to_owned(), ca)]);
        let transport = Transport::new(hosts, Timing::default());
        let trust = |to: &str, from: &str, trust: Trust| {
            transport.trust_of(&Url::parse(to).unwrap(), &Url::parse(from).unwrap(), &trust)
        };
        let own = Trust::SystemAnd("/own.pem".into());
        assert_eq!(trust("https://a.io/1", "https://a.io/2", own.clone()), own);
        assert_eq!(trust("https://b.io/1", "https://a.io/2", own.clone()), own);
        let listed = Trust::SystemAnd("/s.pem".into());
        assert_eq!(trust("https://s.io/1", "https://a.io/2", own), listed);
        let from_loopback = trust("https://b.io/1", "https://127.0.0.1/2", Trust::Anyone);
        assert_eq!(from_loopback, Trust::System);
    }
}
