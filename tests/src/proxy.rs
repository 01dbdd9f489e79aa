//! A registry with faults: an HTTP server in front of the shared registry that can answer, delay or cut by itself.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::registry;

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method in capitals.
    pub method: String,
    /// Path with its query.
    pub path: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// How many requests with this method and path came before.
    pub seen: usize,
}

impl Request {
    /// The value of a header; the name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// True for the download of a blob.
    pub fn is_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The registry answers.
    Forward,
    /// The registry answers after this time.
    Delay(Duration),
    /// The registry answers, and the connection ends after so many bytes of the body.
    Cut(u64),
    /// The registry answers, at no more than so many bytes a second.
    Slow(u64),
    /// The registry answers, and the first byte of the body is another.
    Corrupt,
    /// This is the answer: status, headers, body.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// The registry gets so many bytes of the request's body, then both connections end.
    Swallow(u64),
    /// The connection is closed without an answer.
    Close,
}

impl Verdict {
    /// An answer with a status and no more.
    pub fn status(code: u16) -> Self {
        Self::Answer(code, Vec::new(), Vec::new())
    }
}

type Judge = dyn Fn(&Request) -> Verdict + Send + Sync;

/// The server; it ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one on a free port of 127.0.0.1; `judge` decides about each request.
    pub fn start(judge: impl Fn(&Request) -> Verdict + Send + Sync + 'static) -> Self {
        Self::before(registry(), judge)
    }

    /// One in front of another registry than the shared one.
    pub fn before(
        registry: &str,
        judge: impl Fn(&Request) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let registry: Arc<str> = registry.trim_start_matches("http://").into();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let judge: Arc<Judge> = Arc::new(judge);
        let acceptor = thread::spawn({
            let (log, stop) = (log.clone(), stop.clone());
            move || {
                for stream in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (log, judge, registry) = (log.clone(), judge.clone(), registry.clone());
                    // A client that goes away in the middle is part of what is tested.
                    thread::spawn(move || drop(serve(&stream, &registry, &log, &*judge)));
                }
            }
        });
        Self {
            address,
            log,
            stop,
            acceptor: Some(acceptor),
        }
    }

    /// Its address, such as `http://127.0.0.1:35123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log
            .lock()
            .expect("no thread panics with the lock")
            .clone()
    }

    /// How many blobs were asked for.
    pub fn blob_downloads(&self) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.is_blob())
            .count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if it does not listen any more it has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// One request per connection: every answer says `Connection: close`.
fn serve(
    client: &TcpStream,
    registry: &str,
    log: &Mutex<Vec<Request>>,
    judge: &Judge,
) -> io::Result<()> {
    let mut from = BufReader::new(client);
    let Some(request) = read_request(&mut from, log)? else {
        return Ok(());
    };
    let length = request
        .header("content-length")
        .and_then(|n| n.parse().ok());
    let length: u64 = length.unwrap_or(0);
    let mut body = from.take(length);
    let forward = |relay: &dyn Fn(&mut dyn Read, &mut dyn Write) -> io::Result<()>,
                   body: &mut dyn Read| {
        forward(registry, &request, body, client, relay)
    };
    let mut out = client;
    match judge(&request) {
        Verdict::Close => Ok(()),
        Verdict::Answer(status, headers, text) => {
            // An end with bytes unread would look like a broken connection.
            io::copy(&mut body, &mut io::sink())?;
            write!(out, "HTTP/1.1 {status} {}\r\n", reason(status))?;
            for (name, value) in headers {
                write!(out, "{name}: {value}\r\n")?;
            }
            write!(
                out,
                "Content-Length: {}\r\nConnection: close\r\n\r\n",
                text.len()
            )?;
            out.write_all(&text)
        }
        Verdict::Forward => forward(&|answer, out| io::copy(answer, out).map(drop), &mut body),
        Verdict::Delay(time) => {
            thread::sleep(time);
            forward(&|answer, out| io::copy(answer, out).map(drop), &mut body)
        }
        Verdict::Swallow(most) => {
            let mut upstream = ask(registry, &request)?;
            io::copy(&mut body.take(most), &mut upstream).map(drop)
        }
        Verdict::Cut(length) => {
            let cut = |answer: &mut dyn Read, out: &mut dyn Write| {
                io::copy(&mut answer.take(length), out).map(drop)
            };
            forward(&cut, &mut body)
        }
        Verdict::Slow(rate) => {
            let slowly = |answer: &mut dyn Read, out: &mut dyn Write| {
                let slice = (rate / 20).max(1);
                while io::copy(&mut (&mut *answer).take(slice), out)? > 0 {
                    thread::sleep(Duration::from_millis(50));
                }
                Ok(())
            };
            forward(&slowly, &mut body)
        }
        Verdict::Corrupt => {
            let corrupt = |answer: &mut dyn Read, out: &mut dyn Write| {
                let mut first = [0];
                answer.read_exact(&mut first)?;
                out.write_all(&[first[0] ^ 0xff])?;
                io::copy(answer, out).map(drop)
            };
            forward(&corrupt, &mut body)
        }
    }
}

fn read_request(
    client: &mut BufReader<&TcpStream>,
    log: &Mutex<Vec<Request>>,
) -> io::Result<Option<Request>> {
    let limit = Some(Duration::from_secs(30));
    client.get_ref().set_read_timeout(limit)?;
    let mut lines = client.lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut log = log.lock().expect("no thread panics with the lock");
    let seen = log
        .iter()
        .filter(|known| known.method == method && known.path == path)
        .count();
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
        seen,
    };
    log.push(request.clone());
    Ok(Some(request))
}

/// Sends the head of a request to the registry. It gets the proxy's name for its own, and sends uploads there.
fn ask(registry: &str, request: &Request) -> io::Result<TcpStream> {
    let mut upstream = TcpStream::connect(registry)?;
    let host = request.header("host").unwrap_or(registry);
    write!(
        upstream,
        "{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n",
        request.method, request.path
    )?;
    for (name, value) in &request.headers {
        if !matches!(name.as_str(), "host" | "connection" | "authorization") {
            write!(upstream, "{name}: {value}\r\n")?;
        }
    }
    write!(upstream, "\r\n")?;
    Ok(upstream)
}

/// Asks the registry and passes its answer on: the head as it is, the body through `relay`.
fn forward(
    registry: &str,
    request: &Request,
    body: &mut dyn Read,
    mut client: &TcpStream,
    relay: &dyn Fn(&mut dyn Read, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut upstream = ask(registry, request)?;
    io::copy(body, &mut upstream)?;
    let mut answer = BufReader::new(upstream);
    loop {
        let mut line = Vec::new();
        answer.read_until(b'\n', &mut line)?;
        client.write_all(&line)?;
        if line.len() <= 2 {
            break;
        }
    }
    relay(&mut answer, &mut client)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        _ => "Answer",
    }
}
