//! What can go wrong while streaming.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Result with the streaming server's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the streaming server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// So many URLs wait for their clients that no more are given out. They expire within a minute.
    #[error("{count} streaming requests wait for their clients; try again in a minute")]
    TooManyRequests {
        /// How many.
        count: usize,
    },
    /// A CRI request whose streams make no sense.
    #[error("bad streams: {reason}")]
    BadStreams {
        /// What is wrong.
        reason: &'static str,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] rctr_engine::Error),
    /// The work on a blocking thread was cut off, because the program ends.
    #[error("rctr cri is ending")]
    Ending,
    /// The client left before its process ended.
    #[error("the client has gone")]
    ClientGone,
    /// A process's standard stream failed.
    #[error("cannot {operation} the process's streams: {source}")]
    ProcessStream {
        /// What was tried.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A pod's network cannot be entered.
    #[error("cannot enter the network of the pod ({}): {source}", path.display())]
    PodNetwork {
        /// The namespace's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pod has ended, so that there is nothing to connect to.
    #[error("pod {pod} is not running")]
    PodNotReady {
        /// Its id.
        pod: String,
    },
    /// Nothing in the pod takes the connection.
    #[error("cannot connect to port {port} in the pod: {source}")]
    Dial {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// Nobody has said anything for so long that nobody can be meant to be there.
    #[error("nothing was sent for {seconds} s")]
    Silent {
        /// How long.
        seconds: u64,
    },
    /// The client did not open the streams it had asked for.
    #[error("the client did not open all of its streams in time")]
    StreamsMissing,
}
