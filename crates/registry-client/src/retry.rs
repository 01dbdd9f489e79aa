//! When to try again, and how a single request fails.

use std::time::Duration;

use reqwest::StatusCode;

use crate::Error;
use crate::hosts::{Endpoint, Trust};

/// Time-outs and pauses; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub connect: Duration,
    /// Longest silence accepted while an answer is awaited or read.
    pub idle: Duration,
    /// First pause; doubles with each failure.
    pub pause: Duration,
    pub longest_pause: Duration,
    /// A registry that asks for a longer wait than this is not waited for.
    pub longest_retry_after: Duration,
    /// How long what others may want is held for a layer beneath that another process is at.
    pub patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            pause: Duration::from_millis(400),
            longest_pause: Duration::from_secs(10),
            longest_retry_after: Duration::from_secs(60),
            patience: Duration::from_secs(2),
        }
    }
}

/// Counts failures since the last progress and says how long to pause.
#[derive(Debug)]
pub(crate) struct Backoff {
    timing: Timing,
    tries: u32,
    failures: u32,
}

impl Backoff {
    /// A mirror gets fewer tries: there is somebody else to ask.
    pub fn new(timing: Timing, endpoint: &Endpoint) -> Self {
        Self {
            timing,
            tries: if endpoint.is_mirror { 2 } else { 5 },
            failures: 0,
        }
    }

    pub fn progress(&mut self) {
        self.failures = 0;
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The pause before the next try, or the failure back if there should be none.
    pub fn after(&mut self, failure: Failure) -> Result<Duration, Failure> {
        self.failures += 1;
        if self.failures >= self.tries || !failure.is_transient() {
            return Err(failure);
        }
        match failure.retry_after() {
            Some(wanted) if wanted > self.timing.longest_retry_after => Err(failure),
            Some(wanted) => Ok(wanted.max(self.timing.pause)),
            None => {
                let doubled = self.timing.pause * (1 << (self.failures - 1).min(16));
                // Between half and one and a half times: clients that failed together do not return together.
                let jitter = 0.5 + rand::random::<f64>();
                Ok(doubled.min(self.timing.longest_pause).mul_f64(jitter))
            }
        }
    }
}

/// How one request, or the reading of its answer, failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody there.
    Connect { host: String, reason: String },
    /// Somebody there, but not trusted.
    Tls { host: String, reason: String },
    /// The connection broke, fell silent or ended early.
    Broken { host: String, reason: String },
    /// An answer, but not the one hoped for.
    Status {
        host: String,
        status: StatusCode,
        retry_after: Option<Duration>,
        detail: String,
    },
    /// Asking the same host again cannot help.
    Fatal(Error),
}

impl Failure {
    fn is_transient(&self) -> bool {
        match self {
            Failure::Broken { .. } => true,
            Failure::Status { status, .. } => {
                matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=599)
            }
            Failure::Connect { .. } | Failure::Tls { .. } | Failure::Fatal(_) => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// One line for progress output.
    pub fn reason(&self) -> String {
        match self {
            Failure::Connect { reason, .. }
            | Failure::Tls { reason, .. }
            | Failure::Broken { reason, .. } => reason.clone(),
            Failure::Status { status, .. } => format!("the registry answered {status}"),
            Failure::Fatal(error) => error.to_string(),
        }
    }

    /// A registry that was there a moment ago may be restarting: worth waiting for.
    pub fn after_progress(self) -> Self {
        match self {
            Failure::Connect { host, reason } => Failure::Broken { host, reason },
            other => other,
        }
    }

    /// The public error, once giving up; `wanted` names what was asked for.
    pub fn into_error(self, endpoint: &Endpoint, wanted: &str) -> Error {
        match self {
            Failure::Connect { host, reason } | Failure::Broken { host, reason } => {
                Error::Network { host, reason }
            }
            Failure::Tls { host, reason } => Error::Tls {
                hint: tls_hint(endpoint, &host, &reason),
                host,
                reason,
            },
            Failure::Status {
                host,
                status,
                retry_after,
                detail,
            } => {
                let registry = endpoint.registry.clone();
                let repository = format!("{registry}/{}", endpoint.repository);
                match status {
                    StatusCode::NOT_FOUND => Error::NotFound {
                        reference: wanted.to_owned(),
                        detail,
                    },
                    StatusCode::UNAUTHORIZED => Error::Unauthorized {
                        registry,
                        repository,
                        detail,
                    },
                    StatusCode::FORBIDDEN => Error::Denied {
                        registry,
                        repository,
                        detail,
                    },
                    StatusCode::TOO_MANY_REQUESTS => Error::TooManyRequests {
                        registry,
                        retry_after,
                    },
                    _ => Error::Server {
                        host,
                        status: status.as_u16(),
                        detail,
                    },
                }
            }
            Failure::Fatal(error) => error,
        }
    }
}

fn tls_hint(endpoint: &Endpoint, host: &str, reason: &str) -> String {
    // A redirect may have led elsewhere: then that host's settings count.
    let own = host == endpoint.authority;
    let key = if own { &endpoint.registry } else { host };
    let table = format!("[registry.\"{key}\"] of the configuration");
    // What rustls says when the answer to its greeting is no TLS record.
    if reason.contains("InvalidContentType") {
        return format!("if it speaks plain HTTP, set insecure = true in {table}");
    }
    if reason.contains("not valid for name") {
        return format!(
            "use a name that its certificate is for, or set insecure = true in {table} to trust anyone"
        );
    }
    if reason.contains("expired") {
        return format!(
            "have its certificate renewed, or set insecure = true in {table} to trust anyone"
        );
    }
    match &endpoint.trust {
        Trust::SystemAnd(file) if own => format!(
            "{} does not vouch for its certificate: set another ca = \"FILE.pem\" in {table}, or insecure = true to trust anyone",
            file.display()
        ),
        _ => format!(
            "set ca = \"FILE.pem\" in {table} to trust its certificate, or insecure = true to trust anyone"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{HostConfigs, endpoints};

    fn broken() -> Failure {
        Failure::Broken {
            host: "h".into(),
            reason: "reset".into(),
        }
    }

    fn status(status: u16, retry_after: Option<u64>) -> Failure {
        Failure::Status {
            host: "h".into(),
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: retry_after.map(Duration::from_secs),
            detail: String::new(),
        }
    }

    fn backoff() -> Backoff {
        let reference = crate::parse_reference("nginx").unwrap();
        let endpoint = endpoints(&HostConfigs::new(), &reference)
            .unwrap()
            .remove(0);
        Backoff::new(Timing::default(), &endpoint)
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut backoff = backoff();
        for base in [400, 800, 1600, 3200] {
            let pause = backoff.after(broken()).unwrap().as_millis();
            assert!((base / 2..=base * 3 / 2).contains(&pause), "{pause}");
        }
        assert!(backoff.after(broken()).is_err());
        backoff.progress();
        assert!(backoff.after(broken()).is_ok());
    }

    #[test]
    fn retry_after_rules_unless_it_is_too_long() {
        assert_eq!(
            backoff().after(status(429, Some(7))).unwrap(),
            Duration::from_secs(7)
        );
        assert!(backoff().after(status(429, Some(3600))).is_err());
        assert!(backoff().after(status(404, None)).is_err());
        assert!(backoff().after(status(501, None)).is_err());
    }
}
