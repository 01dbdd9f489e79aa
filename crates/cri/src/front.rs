//! What every request goes through: its service is found, its deadline kept, its span opened, its outcome counted.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::Service as TowerService;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::{Code, Status};
use tracing::Instrument;

use crate::api::image_service_server::ImageServiceServer;
use crate::api::runtime_service_server::RuntimeServiceServer;
use crate::monitoring::Metrics;
use crate::service::Service;
use crate::{Error, MAX_REQUEST, Result};

/// How a client says how long it will wait (gRPC over HTTP/2, "Timeout").
const TIMEOUT: &str = "grpc-timeout";

/// Both services of the interface on one socket.
#[derive(Clone)]
pub(crate) struct Front {
    runtime: RuntimeServiceServer<Service>,
    image: ImageServiceServer<Service>,
    metrics: Metrics,
}

impl Front {
    pub fn new(service: Service, metrics: Metrics) -> Front {
        Front {
            metrics,
            runtime: RuntimeServiceServer::new(service.clone())
                .max_decoding_message_size(MAX_REQUEST),
            image: ImageServiceServer::new(service).max_decoding_message_size(MAX_REQUEST),
        }
    }

    /// Serves until the listener breaks.
    pub async fn serve(self, listener: UnixListener) -> Result<()> {
        Server::builder()
            .serve_with_incoming(self, UnixListenerStream::new(listener))
            .await
            .map_err(Error::Serve)
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl TowerService<Request<Body>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Answer {
        let path = request.uri().path().to_owned();
        let patience = take_timeout(request.headers_mut());
        let (service, method) = split(&path);
        let answer: Answer = match service {
            <RuntimeServiceServer<Service> as NamedService>::NAME => self.runtime.call(request),
            <ImageServiceServer<Service> as NamedService>::NAME => self.image.call(request),
            _ => {
                let status = Status::unimplemented(format!("no service {service}"));
                Box::pin(async move { Ok(status.into_http()) })
            }
        };
        let method = method.to_owned();
        let span = tracing::debug_span!("rpc", method);
        let metrics = self.metrics.clone();
        Box::pin(
            async move {
                let began = Instant::now();
                let response = within(patience, answer).await;
                let (code, took) = (code_of(&response), began.elapsed());
                tracing::debug!(code, ?took, "answered");
                // What is no method of ours would be counted under whatever name a client thinks of.
                if code != i32::from(Code::Unimplemented) {
                    metrics.record(&method, code, took);
                }
                Ok(response)
            }
            .instrument(span),
        )
    }
}

/// The answer, or DeadlineExceeded once nobody waits for it any more.
async fn within(patience: Option<Duration>, answer: Answer) -> Response<Body> {
    let answered = match patience {
        Some(patience) => tokio::time::timeout(patience, answer).await,
        None => Ok(answer.await),
    };
    match answered {
        Ok(Ok(response)) => response,
        Err(_) => Status::deadline_exceeded("context deadline exceeded").into_http(),
    }
}

/// `/runtime.v1.RuntimeService/Version`: service and method.
fn split(path: &str) -> (&str, &str) {
    path.trim_start_matches('/')
        .split_once('/')
        .unwrap_or((path, ""))
}

/// A refusal has its code among the headers; what has none there was answered.
fn code_of(response: &Response<Body>) -> i32 {
    let code = response.headers().get("grpc-status");
    code.and_then(|code| code.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}

/// Takes the timeout out of the headers, so that nobody else acts on it.
fn take_timeout(headers: &mut HeaderMap) -> Option<Duration> {
    parse_timeout(headers.remove(TIMEOUT)?.to_str().ok()?)
}

/// At most eight digits and a unit: `100m` is a tenth of a second.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let valid = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| valid)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_as_the_protocol_has_them() {
        let parsed = |text| parse_timeout(text).map(|t| t.as_nanos());
        assert_eq!(parsed("1m"), Some(1_000_000));
        assert_eq!(parsed("2S"), Some(2_000_000_000));
        assert_eq!(parsed("99999999H"), Some(99_999_999 * 3_600_000_000_000));
        for bad in ["", "m", "1", "1x", "-1S", "123456789S", "1é"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths() {
        assert_eq!(
            split("/runtime.v1.RuntimeService/Version"),
            ("runtime.v1.RuntimeService", "Version")
        );
        assert_eq!(split("/"), ("/", ""));
    }

    #[tokio::test]
    async fn a_deadline_is_kept_here_whoever_waits_there() {
        let never: Answer = Box::pin(std::future::pending());
        let response = within(parse_timeout("1m"), never).await;
        assert_eq!(code_of(&response), i32::from(Code::DeadlineExceeded));
        let at_once: Answer = Box::pin(async { Ok(Status::not_found("x").into_http()) });
        let response = within(parse_timeout("1H"), at_once).await;
        assert_eq!(code_of(&response), i32::from(Code::NotFound));
    }
}
