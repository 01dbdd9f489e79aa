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
                    let (log, judge) = (log.clone(), judge.clone());
                    // A client that goes away in the middle is part of what is tested.
                    thread::spawn(move || drop(serve(&stream, &log, &*judge)));
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
fn serve(client: &TcpStream, log: &Mutex<Vec<Request>>, judge: &Judge) -> io::Result<()> {
    let Some(request) = read_request(client, log)? else {
        return Ok(());
    };
    let mut out = client;
    match judge(&request) {
        Verdict::Close => Ok(()),
        Verdict::Answer(status, headers, body) => {
            write!(out, "HTTP/1.1 {status} {}\r\n", reason(status))?;
            for (name, value) in headers {
                write!(out, "{name}: {value}\r\n")?;
            }
            write!(
                out,
                "Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            )?;
            out.write_all(&body)
        }
        Verdict::Forward => forward(&request, out, |body, out| io::copy(body, out).map(drop)),
        Verdict::Delay(time) => {
            thread::sleep(time);
            forward(&request, out, |body, out| io::copy(body, out).map(drop))
        }
        Verdict::Cut(length) => forward(&request, out, |body, out| {
            io::copy(&mut body.take(length), out).map(drop)
        }),
        Verdict::Slow(rate) => forward(&request, out, |body, out| {
            let slice = (rate / 20).max(1);
            while io::copy(&mut body.take(slice), out)? > 0 {
                thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }),
        Verdict::Corrupt => forward(&request, out, |body, out| {
            let mut first = [0];
            body.read_exact(&mut first)?;
            out.write_all(&[first[0] ^ 0xff])?;
            io::copy(body, out).map(drop)
        }),
    }
}

fn read_request(client: &TcpStream, log: &Mutex<Vec<Request>>) -> io::Result<Option<Request>> {
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut lines = BufReader::new(client).lines();
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

/// Asks the registry and passes its answer on: the head as it is, the body through `relay`.
fn forward(
    request: &Request,
    mut client: &TcpStream,
    relay: impl FnOnce(&mut dyn Read, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let host = registry().trim_start_matches("http://");
    let mut upstream = TcpStream::connect(host)?;
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
