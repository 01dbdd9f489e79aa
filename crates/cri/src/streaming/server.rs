//! The HTTP side: URLs are given out, dialled once and upgraded.

use std::convert::Infallible;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;

use super::negotiate::{self, ACCEPTED_PROTOCOLS, CommandProtocol, ForwardProtocol, Transport};
use super::silence;
use super::spdy::{self, Connection};
use super::tokens::{Registered, Tokens};
use super::websocket;
use super::{AttachRequest, Error, ExecRequest, PortForwardRequest, Result, Sessions, Wanted};
use crate::error::chain;

/// How long a client may take to send its request's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to rest when the process has run out of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The streaming server. Clones are handles of the same one.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    tokens: Tokens,
    sessions: Arc<dyn Sessions>,
    silence: Duration,
    ending: CancellationToken,
}

impl Server {
    /// Listens on an address (a port of 0 is chosen by the kernel) and serves clients in the background,
    /// until [`Server::shut_down`]; a session ends when neither side has sent anything for as long as `silence`. Call it
    /// on a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn bind(
        address: SocketAddr,
        silence: Duration,
        sessions: Arc<dyn Sessions>,
    ) -> Result<Server> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let shared = Arc::new(Shared {
            address: listener.local_addr().map_err(failed)?,
            tokens: Tokens::default(),
            sessions,
            silence,
            ending: CancellationToken::new(),
        });
        tokio::spawn(accept(listener, shared.clone()));
        Ok(Server { shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// A URL at which the command can be run, once and within a minute.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`]; [`Error::BadStreams`] when no stream or both a terminal and standard error are
    /// wanted.
    pub fn exec_url(&self, request: ExecRequest) -> Result<String> {
        check(request.streams)?;
        self.url(Registered::Exec(request))
    }

    /// A URL at which the container can be attached to, once and within a minute.
    ///
    /// # Errors
    /// As [`Server::exec_url`].
    pub fn attach_url(&self, request: AttachRequest) -> Result<String> {
        check(request.streams)?;
        self.url(Registered::Attach(request))
    }

    /// A URL at which connections into the pod can be had; it can be dialled once and within a minute.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`].
    pub fn port_forward_url(&self, request: PortForwardRequest) -> Result<String> {
        self.url(Registered::PortForward(request))
    }

    fn url(&self, request: Registered) -> Result<String> {
        let verb = request.verb();
        let token = self.shared.tokens.insert(request)?;
        Ok(format!("http://{}/{verb}/{token}", self.shared.address))
    }

    /// Stops listening and ends all sessions.
    pub fn shut_down(&self) {
        self.shared.ending.cancel();
    }
}

fn check(wanted: Wanted) -> Result<()> {
    let reason = if wanted.tty && wanted.stderr {
        "with a terminal there is no separate stderr"
    } else if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        "one of stdin, stdout and stderr must be set"
    } else {
        return Ok(());
    };
    Err(Error::BadStreams { reason })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let ending = shared.ending.clone();
    ending
        .run_until_cancelled(async {
            loop {
                match listener.accept().await {
                    Ok((connection, _)) => {
                        tokio::spawn(serve_http(connection, shared.clone()));
                    }
                    Err(error) => {
                        tracing::warn!("streaming: accept: {error}");
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                }
            }
        })
        .await;
}

async fn serve_http(connection: TcpStream, shared: Arc<Shared>) {
    // Keystrokes are small and should not wait for each other.
    let _ = connection.set_nodelay(true);
    let ending = shared.ending.clone();
    let service = service_fn(move |request| {
        let response = answer(request, &shared);
        async { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    if let Some(Err(error)) = ending.run_until_cancelled(served).await {
        tracing::debug!("streaming: http: {error}");
    }
}

/// A request that is no good; the sentence is for whoever reads the client's error.
struct Refusal {
    status: StatusCode,
    reason: String,
    accepted: Vec<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, reason: impl Into<String>) -> Refusal {
        Refusal {
            status,
            reason: reason.into(),
            accepted: Vec::new(),
        }
    }
}

fn answer(request: Request<Incoming>, shared: &Arc<Shared>) -> Response<String> {
    match upgrade(request, shared) {
        Ok(response) => response,
        Err(refusal) => {
            let mut response = Response::new(refusal.reason + "\n");
            *response.status_mut() = refusal.status;
            let headers = response.headers_mut();
            if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
                headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
            }
            for protocol in refusal.accepted {
                headers.append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(protocol));
            }
            response
        }
    }
}

/// What is served once the connection has been upgraded.
enum Work {
    Command(Registered, CommandProtocol),
    Forward(PortForwardRequest, ForwardProtocol),
}

/// Everything is checked before the token is used up.
fn upgrade(
    mut request: Request<Incoming>,
    shared: &Arc<Shared>,
) -> Result<Response<String>, Refusal> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "use GET or POST",
        ));
    }
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, "not found, used up or expired");
    let path = request.uri().path().to_owned();
    let (verb, token) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .ok_or_else(unknown)?;
    let transport = Transport::of(request.headers()).ok_or_else(|| {
        let reason = "unable to upgrade: ask for SPDY/3.1 or websocket in the Upgrade header";
        Refusal::new(StatusCode::BAD_REQUEST, reason)
    })?;
    let accept_key = match transport {
        Transport::Spdy => None,
        Transport::WebSocket => Some(websocket_accept(&request)?),
    };
    let (protocol, work) = match verb {
        "exec" | "attach" => {
            let (name, protocol) = choose(&request, transport, negotiate::commands(transport))?;
            let registered = shared.tokens.take(verb, token).ok_or_else(unknown)?;
            (name, Work::Command(registered, protocol))
        }
        "portforward" => {
            let (name, protocol) = choose(&request, transport, negotiate::forwards(transport))?;
            match shared.tokens.take(verb, token) {
                Some(Registered::PortForward(forward)) => (name, Work::Forward(forward, protocol)),
                _ => return Err(unknown()),
            }
        }
        _ => return Err(unknown()),
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(run(upgraded, work, shared.clone()));
    Ok(switching(transport, protocol, accept_key))
}

fn choose<P: Copy>(
    request: &Request<Incoming>,
    transport: Transport,
    known: &[negotiate::Named<P>],
) -> Result<negotiate::Named<P>, Refusal> {
    let offered = negotiate::list(request.headers(), &transport.header());
    negotiate::choose(&offered, known).ok_or_else(|| {
        let accepted: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        Refusal {
            status: match offered.is_empty() {
                true => StatusCode::BAD_REQUEST,
                false => StatusCode::FORBIDDEN,
            },
            reason: format!(
                "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {accepted:?}"
            ),
            accepted,
        }
    })
}

fn websocket_accept(request: &Request<Incoming>) -> Result<HeaderValue, Refusal> {
    let headers = request.headers();
    let version = headers.get("sec-websocket-version");
    if request.method() != Method::GET || version.is_none_or(|version| version != "13") {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "unable to upgrade: a WebSocket begins with GET and Sec-WebSocket-Version 13",
        ));
    }
    headers
        .get(SEC_WEBSOCKET_KEY)
        .and_then(|key| derive_accept_key(key.as_bytes()).parse().ok())
        .ok_or_else(|| {
            let reason = "unable to upgrade: no Sec-WebSocket-Key";
            Refusal::new(StatusCode::BAD_REQUEST, reason)
        })
}

fn switching(
    transport: Transport,
    protocol: &'static str,
    accept_key: Option<HeaderValue>,
) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let upgrade = match transport {
        Transport::Spdy => "SPDY/3.1",
        Transport::WebSocket => "websocket",
    };
    headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
    if !protocol.is_empty() {
        headers.insert(transport.header(), HeaderValue::from_static(protocol));
    }
    if let Some(key) = accept_key {
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    }
    response
}

async fn run(upgraded: OnUpgrade, work: Work, shared: Arc<Shared>) {
    let Some((connection, read_ahead)) = raw(upgraded).await else {
        return;
    };
    let ending = shared.ending.clone();
    let silent = silence::of(&connection, shared.silence);
    let served = serve(connection, read_ahead, work, shared.sessions.clone());
    let outcome = async {
        tokio::select! {
            served = served => served,
            () = silent => Err(Error::Silent { seconds: shared.silence.as_secs() }),
        }
    };
    if let Some(Err(error)) = ending.run_until_cancelled(outcome).await {
        tracing::debug!("streaming: {}", chain(&error));
    }
}

/// The TCP connection itself, and what was read from it already.
async fn raw(upgraded: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let parts = match upgraded.await {
        Ok(upgraded) => upgraded.downcast::<TokioIo<TcpStream>>().ok()?,
        Err(error) => {
            tracing::debug!("streaming: upgrade: {error}");
            return None;
        }
    };
    Some((parts.io.into_inner(), parts.read_buf))
}

async fn serve(
    connection: TcpStream,
    read_ahead: Bytes,
    work: Work,
    sessions: Arc<dyn Sessions>,
) -> Result<()> {
    match work {
        Work::Command(request, CommandProtocol::Spdy(version)) => {
            let connection = spdy_over_tcp(connection, read_ahead);
            spdy::command::serve(&*sessions, request, connection, version).await?;
        }
        Work::Command(request, CommandProtocol::WebSocket(channels)) => {
            let socket = websocket::accept(connection, read_ahead).await;
            websocket::command::serve(&*sessions, request, socket, channels).await;
        }
        Work::Forward(request, ForwardProtocol::Spdy) => {
            let connection = spdy_over_tcp(connection, read_ahead);
            spdy::forward::serve(sessions, request, connection).await;
        }
        Work::Forward(request, ForwardProtocol::Tunnel) => {
            let socket = websocket::accept(connection, read_ahead).await;
            let (reader, writer) = websocket::tunnel::split(socket);
            let connection = Connection::start(reader, writer);
            spdy::forward::serve(sessions, request, connection).await;
        }
        Work::Forward(request, ForwardProtocol::WebSocket(channels)) => {
            let socket = websocket::accept(connection, read_ahead).await;
            websocket::forward::serve(sessions, request, socket, channels).await;
        }
    }
    Ok(())
}

fn spdy_over_tcp(connection: TcpStream, read_ahead: Bytes) -> Connection {
    let (reader, writer) = connection.into_split();
    Connection::start(Cursor::new(read_ahead).chain(reader), writer)
}
