//! The streaming server: `exec`, `attach` and `port-forward`, as kubelets ask for them.
//!
//! A CRI call registers what is wanted and gets a URL with a token that works once, within a minute. Whoever
//! holds the URL (the kubelet, which passes its client's connection through) dials it and upgrades to
//! SPDY/3.1 or WebSocket. From then on:
//!
//! - `spdy` and `websocket` turn the connection into byte streams ([`Inbound`], [`Outbound`]);
//! - `command` and `forward` say what the streams mean;
//! - [`Sessions`] does the work; [`EngineSessions`] does it with the engine.
//!
//! Every buffer on the way is bounded, so a slow reader at one end holds up the writer at the other.

mod command;
mod engine;
mod error;
mod forward;
mod negotiate;
mod server;
mod silence;
mod spdy;
mod status;
mod stream;
mod tasks;
#[cfg(test)]
mod tests;
mod tokens;
mod websocket;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;

pub use command::{CommandStreams, Resizes, TerminalSize};
pub use engine::EngineSessions;
pub use error::{Error, Result};
pub use server::Server;
pub use stream::{Gone, Inbound, Outbound};

/// A process to run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRequest {
    /// The container's id.
    pub container: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The streams that the client will open.
    pub streams: Wanted,
}

/// A look at a container's main process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// The container's id.
    pub container: String,
    /// The streams that the client will open.
    pub streams: Wanted,
}

/// Connections into a pod's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortForwardRequest {
    /// The pod's id.
    pub pod: String,
    /// The ports, where the client's protocol cannot name them itself (WebSocket without a tunnel).
    pub ports: Vec<u16>,
}

/// Which standard streams a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; never with a terminal, where both outputs are one.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// Who does what the clients ask for.
///
/// A session runs until its process has ended or its client has gone
/// ([`CommandStreams::client_gone`]); dropping the future ends it at once.
pub trait Sessions: Send + Sync + 'static {
    /// Runs a process in a container; gives its exit code once all it wrote has been sent.
    fn exec<'a>(
        &'a self,
        request: ExecRequest,
        streams: &'a mut CommandStreams,
    ) -> BoxFuture<'a, Result<i32>>;

    /// Joins a container's main process to the streams until it ends.
    fn attach<'a>(
        &'a self,
        request: AttachRequest,
        streams: &'a mut CommandStreams,
    ) -> BoxFuture<'a, Result<()>>;

    /// Connects to a TCP port on the loopback interface of a pod's network.
    fn dial(&self, pod: String, port: u16) -> BoxFuture<'_, Result<TcpStream>>;
}
