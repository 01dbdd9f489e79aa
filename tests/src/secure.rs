//! A registry that speaks TLS, and a proxy that leads to it under any name.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::{registry, wait_for_some};

/// Certificates in a directory, made by `openssl`.
pub struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// Makes an authority, and a certificate of it for `names` (as openssl's `subjectAltName` has them).
    ///
    /// # Panics
    /// When `openssl` fails.
    pub fn new(dir: &Path, names: &str) -> Self {
        fs::create_dir_all(dir).expect("a new directory");
        let new = Self {
            dir: dir.to_owned(),
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        new.openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=tests-authority -days 2"
        ));
        new.openssl(&format!(
            "req {key} -keyout server.key -out server.csr -subj /CN=tests-server"
        ));
        let extensions = format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n");
        fs::write(dir.join("server.ext"), extensions).expect("a new file");
        new.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.pem",
        );
        // What Docker's own instructions make: server and authority in one.
        new.openssl(&format!(
            "req -x509 {key} -keyout self.key -out self.pem -subj /CN=tests-self -addext subjectAltName={names} -days 2"
        ));
        new
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&self.dir)
            .output()
            .expect("openssl runs");
        assert!(output.status.success(), "openssl {arguments}: {output:?}");
    }

    /// The path of `NAME.pem` or `NAME.key`: `ca`, `server`, `self`.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

/// A `docker-registry` that serves the test images over TLS; it ends when dropped.
pub struct TlsRegistry {
    server: Child,
    address: SocketAddr,
}

impl TlsRegistry {
    /// Starts one on a free port of 127.0.0.1 with `NAME.pem` and `NAME.key`; `dir` is for its files.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(dir: &Path, certificates: &Certificates, name: &str) -> Self {
        fs::create_dir_all(dir).expect("a new directory");
        let [certificate, key] =
            ["pem", "key"].map(|kind| certificates.path(&format!("{name}.{kind}")));
        let config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}, level: info, formatter: text}}\n\
             storage:\n  filesystem: {{rootdirectory: {}}}\nproxy: {{remoteurl: \"{}\"}}\n\
             http: {{addr: \"127.0.0.1:0\", tls: {{certificate: {certificate}, key: {key}}}}}\n",
            dir.join("storage").display(),
            registry()
        );
        let (file, log) = (dir.join("config.yml"), dir.join("log"));
        fs::write(&file, config).expect("a new file");
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a new file"))
            .spawn()
            .expect("docker-registry is installed");
        let mut new = Self {
            server,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
        };
        new.address = wait_for_some("the registry to listen", || {
            let text = fs::read_to_string(&log).ok()?;
            let rest = text.split("listening on ").nth(1)?;
            rest.split(',').next()?.parse().ok()
        });
        new
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for TlsRegistry {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// An HTTP proxy that only knows `CONNECT`, and leads every name to one address. It ends when dropped.
pub struct Tunnel {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Tunnel {
    /// Starts one on a free port of 127.0.0.1 that leads to `target`.
    pub fn to(target: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (asked, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let acceptor = thread::spawn({
            let (asked, stop, target) = (Arc::clone(&asked), stop.clone(), target.to_owned());
            move || {
                for client in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (asked, target) = (Arc::clone(&asked), target.clone());
                    // A client that goes away in the middle is not the proxy's business.
                    thread::spawn(move || drop(relay(&client, &target, &asked)));
                }
            }
        });
        Self {
            address,
            asked,
            stop,
            acceptor: Some(acceptor),
        }
    }

    /// For `HTTPS_PROXY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of all requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .expect("no thread panics with the lock")
            .clone()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if it does not listen any more it has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn relay(mut client: &TcpStream, target: &str, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let connects = head.starts_with("CONNECT ");
    asked
        .lock()
        .expect("no thread panics with the lock")
        .push(head);
    if !connects {
        return client.write_all(b"HTTP/1.1 405 Only CONNECT\r\nContent-Length: 0\r\n\r\n");
    }
    let mut server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let mut upwards = server.try_clone()?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let done = io::copy(&mut reader, &mut upwards);
            // The other direction ends by itself once the server has seen this.
            upwards.shutdown(std::net::Shutdown::Write).and(done)
        });
        io::copy(&mut server, &mut client)?;
        client.shutdown(std::net::Shutdown::Both)
    })
}
