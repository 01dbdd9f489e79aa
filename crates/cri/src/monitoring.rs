//! What an operator may look at: counted requests (`/metrics`, in Prometheus' text format) and health (`/healthz`), on an
//! address of its own, if the configuration names one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::{Error, Result};

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 60.0];

/// How long a client may take to send its request's head.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests answered so far.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    methods: Arc<Mutex<BTreeMap<String, Counts>>>,
}

#[derive(Default)]
struct Counts {
    /// By gRPC code.
    codes: BTreeMap<i32, u64>,
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
}

impl Metrics {
    /// A request was answered.
    pub fn record(&self, method: &str, code: i32, took: Duration) {
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        if !methods.contains_key(method) {
            methods.insert(method.to_owned(), Counts::default());
        }
        let Some(counts) = methods.get_mut(method) else {
            return;
        };
        *counts.codes.entry(code).or_default() += 1;
        let seconds = took.as_secs_f64();
        counts.seconds += seconds;
        for (count, bound) in counts.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= bound);
        }
    }

    /// Prometheus' text format, version 0.0.4.
    fn text(&self) -> String {
        let methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from(
            "# HELP rctr_cri_requests_total Requests answered, by method and gRPC code.\n\
             # TYPE rctr_cri_requests_total counter\n",
        );
        // Writing to a String cannot fail.
        for (method, counts) in methods.iter() {
            for (code, count) in &counts.codes {
                let _ = writeln!(
                    text,
                    "rctr_cri_requests_total{{method=\"{method}\",code=\"{code}\"}} {count}"
                );
            }
        }
        text.push_str(
            "# HELP rctr_cri_request_seconds How long answers took.\n\
             # TYPE rctr_cri_request_seconds histogram\n",
        );
        for (method, counts) in methods.iter() {
            let name = "rctr_cri_request_seconds";
            for (count, bound) in counts.buckets.iter().zip(BUCKETS) {
                let _ = writeln!(
                    text,
                    "{name}_bucket{{method=\"{method}\",le=\"{bound}\"}} {count}"
                );
            }
            let all: u64 = counts.codes.values().sum();
            let _ = writeln!(
                text,
                "{name}_bucket{{method=\"{method}\",le=\"+Inf\"}} {all}"
            );
            let _ = writeln!(text, "{name}_sum{{method=\"{method}\"}} {}", counts.seconds);
            let _ = writeln!(text, "{name}_count{{method=\"{method}\"}} {all}");
        }
        text
    }

    /// Listens on an address and answers in the background.
    pub async fn serve(self, address: SocketAddr) -> Result<()> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((connection, _)) => {
                        let metrics = self.clone();
                        tokio::spawn(async move {
                            let answer =
                                service_fn(move |request| answer(metrics.clone(), request));
                            // A client that went away in the middle is its own affair.
                            let _ = http1::Builder::new()
                                .timer(TokioTimer::new())
                                .header_read_timeout(PATIENCE)
                                .serve_connection(TokioIo::new(connection), answer)
                                .await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "metrics: accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        Ok(())
    }
}

async fn answer(
    metrics: Metrics,
    request: Request<Incoming>,
) -> std::result::Result<Response<String>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, metrics.text()),
        // Whoever can answer is healthy.
        (&Method::GET, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, _) => (
            StatusCode::NOT_FOUND,
            "there are /metrics and /healthz\n".to_owned(),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted() {
        let metrics = Metrics::default();
        metrics.record("Version", 0, Duration::from_micros(500));
        metrics.record("Version", 0, Duration::from_millis(20));
        metrics.record("Version", 4, Duration::from_secs(100));
        let text = metrics.text();
        for line in [
            "rctr_cri_requests_total{method=\"Version\",code=\"0\"} 2",
            "rctr_cri_requests_total{method=\"Version\",code=\"4\"} 1",
            "rctr_cri_request_seconds_bucket{method=\"Version\",le=\"0.001\"} 1",
            "rctr_cri_request_seconds_bucket{method=\"Version\",le=\"0.03\"} 2",
            "rctr_cri_request_seconds_bucket{method=\"Version\",le=\"+Inf\"} 3",
            "rctr_cri_request_seconds_count{method=\"Version\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
