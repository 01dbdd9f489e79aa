//! The server, driven by clients of its own kind over real sockets.

mod commands;
mod fake;
mod forwards;
pub mod http;
mod protocol;
pub mod spdy;
pub mod websocket;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::mpsc;

use self::fake::{Fake, Said};
use super::*;

/// Longer than any test.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(3600);

/// A server with its fake sessions.
struct Bench {
    server: Server,
    said: mpsc::UnboundedReceiver<Said>,
    sent: Arc<AtomicUsize>,
}

impl Bench {
    async fn new() -> Bench {
        let (said, hear) = mpsc::unbounded_channel();
        let sent = Arc::new(AtomicUsize::new(0));
        let fake = Fake {
            said,
            sent: sent.clone(),
        };
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), SILENCE, Arc::new(fake))
            .await
            .unwrap();
        Bench {
            server,
            said: hear,
            sent,
        }
    }

    fn exec(&self, command: &[&str], streams: Wanted) -> String {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        self.server
            .exec_url(ExecRequest {
                container: "c".into(),
                command,
                streams,
            })
            .unwrap()
    }

    fn forward(&self, ports: &[u16]) -> String {
        self.server
            .port_forward_url(PortForwardRequest {
                pod: "p".into(),
                ports: ports.to_vec(),
            })
            .unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.server.shut_down();
    }
}

const ALL: Wanted = Wanted {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const OUT: Wanted = Wanted {
    stdin: false,
    stdout: true,
    stderr: false,
    tty: false,
};
const TTY: Wanted = Wanted {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};
const V4: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"];

/// Runs a blocking client.
async fn client<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// The streams of a command over SPDY, opened in the order of Go's client.
struct Opened {
    error: u32,
    stdin: u32,
    stdout: u32,
    stderr: u32,
    resize: u32,
}

fn open(client: &mut spdy::Client, wanted: Wanted) -> Opened {
    let mut stream = |wanted: bool, kind: &str| match wanted {
        true => client.open(&[("streamtype", kind)]),
        false => 0,
    };
    Opened {
        error: stream(true, "error"),
        stdin: stream(wanted.stdin, "stdin"),
        stdout: stream(wanted.stdout, "stdout"),
        stderr: stream(wanted.stderr, "stderr"),
        resize: stream(wanted.tty, "resize"),
    }
}
