//! Receivers that speak TLS, and who may receive.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use nix::mount::{MsFlags, mount};
use rctr_tests::{Certificates, Env, LIMIT, entries, unseen};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Receives on a free port of loopback, and gives what it was sent piece by piece.
struct TlsServer {
    port: u16,
    pieces: Receiver<Vec<u8>>,
}

impl TlsServer {
    /// With the certificate of this name; `clients` must show one of the authority's too.
    fn start(certificates: &Certificates, name: &str, clients: bool) -> Self {
        let pem = |file: &str| CertificateDer::from_pem_file(certificates.path(file)).unwrap();
        let key = PrivateKeyDer::from_pem_file(certificates.path(&format!("{name}.key"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            false => builder.with_no_client_auth(),
            true => {
                let mut roots = RootCertStore::empty();
                roots.add(pem("ca.pem")).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder.with_single_cert(vec![pem(&format!("{name}.pem"))], key);
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(session, stream);
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(count @ 1..) = stream.read(&mut buffer) {
                        if sender.send(buffer[..count].to_vec()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, pieces }
    }

    /// All that has come, once `text` is in it.
    fn has(&self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let piece = self.pieces.recv_timeout(LIMIT);
            let piece = piece.unwrap_or_else(|_| panic!("no {text:?} in {all:?}"));
            all += &String::from_utf8_lossy(&piece);
        }
        all
    }
}

fn words(driver: &str, options: &[String], script: &'static str) -> Vec<String> {
    let start = ["run", "--rm", "--network", "none", "--log-driver", driver];
    let options = options.iter().flat_map(|option| ["--log-opt", option]);
    let last = ["busybox", "sh", "-c", script];
    start
        .into_iter()
        .chain(options)
        .chain(last)
        .map(str::to_owned)
        .collect()
}

fn certificates(env: &Env) -> Certificates {
    Certificates::new(&env.path("tls"), "DNS:localhost,IP:127.0.0.1")
}

#[test]
fn syslog_over_tls() {
    let env = Env::new();
    let certificates = certificates(&env);
    let server = TlsServer::start(&certificates, "server", false);
    let own = TlsServer::start(&certificates, "self", false);
    let address =
        |server: &TlsServer| format!("syslog-address=tcp+tls://127.0.0.1:{}", server.port);
    let ca = |name: &str| format!("syslog-tls-ca-cert={}", certificates.path(name));
    let run =
        |options: &[String]| env.rctr(words("syslog", options, "echo over; sleep 0.3; echo tls"));

    run(&[address(&server), ca("ca.pem")]).ok();
    let seen = server.has("]: tls\n");
    assert!(seen.contains("]: over\n"), "{seen}");
    run(&[address(&own), ca("self.pem")]).ok();
    own.has("]: tls\n");
    run(&[address(&own), "syslog-tls-skip-verify=true".into()]).ok();
    own.has("]: tls\n");

    // Nobody else gets a line.
    let refused = "failed to initialize logging driver";
    for options in [
        vec![address(&server)],
        vec![address(&own), ca("ca.pem")],
        vec![address(&server), ca("nosuch.pem")],
    ] {
        run(&options).exits(125).stderr_has(refused);
    }
    // A file that is not there is named, whether somebody listens or not.
    let nobody = "syslog-address=tcp+tls://127.0.0.1:1".to_owned();
    let identity = |name: &str| {
        [("cert", "pem"), ("key", "key")].map(|(kind, end)| {
            format!(
                "syslog-tls-{kind}={}",
                certificates.path(&format!("{name}.{end}"))
            )
        })
    };
    let [certificate, key] = identity("server");
    let [no_certificate, no_key] = identity("nosuch");
    for options in [
        vec![ca("nosuch.pem")],
        vec![ca("ca.pem"), no_certificate, key],
        vec![ca("ca.pem"), certificate, no_key],
    ] {
        for address in [address(&server), nobody.clone()] {
            let options = [vec![address], options.clone()].concat();
            run(&options).exits(125).stderr_has("/nosuch.");
        }
    }
    let other = format!("syslog-address=tcp+tls://127.0.0.2:{}", server.port);
    run(&[other, ca("ca.pem")]).exits(125).stderr_has(refused);
    assert!(server.pieces.try_recv().is_err() && own.pieces.try_recv().is_err());
    assert_eq!(entries(&env.root().join("containers")), [""; 0]);
}

#[test]
fn syslog_asks_who_sends() {
    let env = Env::new();
    let certificates = certificates(&env);
    let server = TlsServer::start(&certificates, "server", true);
    let own = [
        format!("syslog-address=tcp+tls://127.0.0.1:{}", server.port),
        format!("syslog-tls-ca-cert={}", certificates.path("ca.pem")),
        format!("syslog-tls-cert={}", certificates.path("server.pem")),
        format!("syslog-tls-key={}", certificates.path("server.key")),
    ];
    env.rctr(words("syslog", &own, "echo known")).ok();
    server.has("]: known\n");
    env.rctr(words("syslog", &own[..3], "true"))
        .exits(125)
        .stderr_has("without its key");
}

#[test]
fn fluentd_over_tls() {
    let env = Env::new();
    let certificates = certificates(&env);
    let server = TlsServer::start(&certificates, "server", false);
    let address = format!("fluentd-address=tls://localhost:{}", server.port);
    let options = std::slice::from_ref(&address);
    env.rctr(words("fluentd", options, "true"))
        .exits(125)
        .stderr_has("dial tls://localhost");
    // Docker has no option for another authority than the system's.
    let (ca, system) = (
        certificates.path("ca.pem"),
        "/etc/ssl/certs/ca-certificates.crt",
    );
    unseen(|| {
        let none = None::<&str>;
        mount(Some(&*ca), system, none, MsFlags::MS_BIND, none).expect("root may mount");
        env.rctr(words("fluentd", options, "echo over tls")).ok();
    });
    server.has("over tls");
}
