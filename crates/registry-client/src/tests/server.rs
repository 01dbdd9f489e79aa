//! A small HTTP/1.1 server: every connection serves one request, answered by a closure.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    headers: Vec<(String, String)>,
    pub body: String,
    /// The same as it came.
    pub bytes: Vec<u8>,
    /// Not all of the body was read: the connection ends without an answer.
    pub cut: bool,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.target.contains(part)
    }

    /// First byte asked for.
    pub fn range_start(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.split('-').next()?.parse().ok()
    }
}

/// What to answer. `length` is announced if set; only the first `sent` bytes of the body go out.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub length: Option<usize>,
    pub sent: usize,
    /// Never answer at all.
    pub silent: bool,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: Vec::new(),
            length: Some(body.len()),
            sent: body.len(),
            silent: false,
            body,
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sends the client there instead.
    pub fn with_location(mut self, place: &str) -> Self {
        self.headers.retain(|(name, _)| name != "Location");
        self.header("Location", place)
    }

    /// Announces all and breaks off after `sent` bytes.
    pub fn cut_after(mut self, sent: usize) -> Self {
        self.sent = sent.min(self.body.len());
        self
    }

    /// No `Content-Length`: the body ends with the connection.
    pub fn without_length(mut self) -> Self {
        self.length = None;
        self
    }
}

/// How many bytes of a request's body are read.
pub type Appetite = fn(&Seen) -> usize;

pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer).await
    }

    /// Reads no more of each body than `appetite` says.
    pub async fn start_hungry(
        appetite: Appetite,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::run("127.0.0.1:0", None, Some(appetite), answer).await
    }

    pub async fn start_at(
        address: &str,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::run(address, None, None, answer).await
    }

    /// Speaks TLS with a certificate for 127.0.0.1 signed by tls/ca.pem.
    pub async fn start_tls(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem"));
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key.pem"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.unwrap()], key.unwrap())
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        Self::run("127.0.0.1:0", Some(tls), None, answer).await
    }

    async fn run(
        address: &str,
        tls: Option<TlsAcceptor>,
        appetite: Option<Appetite>,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer, tls) = (Arc::clone(&log), Arc::clone(&answer), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &log, &*answer, appetite).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &log, &*answer, appetite).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|r| r.is(method, part)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Mutex<Vec<Seen>>,
    answer: &dyn AnswerFn,
    appetite: Option<Appetite>,
) {
    let Some(request) = read_request(&mut stream, appetite).await else {
        return;
    };
    log.lock().unwrap().push(request.clone());
    let reply = answer.answer(&request);
    if request.cut {
        return;
    }
    if reply.silent {
        std::future::pending::<()>().await;
    }
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    if let Some(length) = reply.length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    // A client that hangs up early is what some tests are about.
    let _ = stream.write_all(head.as_bytes()).await;
    if request.method != "HEAD" {
        let _ = stream.write_all(&reply.body[..reply.sent]).await;
    }
    let _ = stream.shutdown().await;
}

/// Names the closure's type where `impl Fn` may not stand.
trait AnswerFn: Send + Sync {
    fn answer(&self, request: &Seen) -> Reply;
}

impl<F: Fn(&Seen) -> Reply + Send + Sync> AnswerFn for F {
    fn answer(&self, request: &Seen) -> Reply {
        self(request)
    }
}

/// `None` for what is no HTTP, such as a TLS greeting.
async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    appetite: Option<Appetite>,
) -> Option<Seen> {
    let mut text = Vec::new();
    let head_end = loop {
        let byte = stream.read_u8().await.ok()?;
        text.push(byte);
        if text[0] == 0x16 {
            return None;
        }
        if text.ends_with(b"\r\n\r\n") {
            break text.len();
        }
    };
    let head = String::from_utf8(text[..head_end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let mut request = Seen {
        method,
        target,
        headers,
        body: String::new(),
        bytes: Vec::new(),
        cut: false,
    };
    if let Some(length) = request.header("content-length") {
        let length: usize = length.parse().ok()?;
        let taken = appetite.map_or(length, |most| most(&request).min(length));
        let mut body = vec![0; taken];
        stream.read_exact(&mut body).await.ok()?;
        request.body = String::from_utf8_lossy(&body).into_owned();
        request.bytes = body;
        request.cut = taken < length;
    }
    Some(request)
}
