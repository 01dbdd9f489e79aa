//! The Kubernetes Container Runtime Interface (runtime.v1) over the engine.
//!
//! [`serve`] answers a kubelet on a unix socket. Nothing of what it knows lives only in its memory: the engine's store and
//! state directory have it all, so it may be killed and started again at any moment. This crate converts: messages
//! become the engine's options, the engine's errors become gRPC codes.
#![deny(missing_docs)]

mod by_hand;
mod convert;
mod ends;
mod error;
mod events;
mod fd;
mod front;
mod image_service;
mod join;
mod layers;
mod metrics;
mod monitoring;
mod runtime_service;
mod service;
mod snapshot;
mod socket;
mod status;
mod stream;
pub mod streaming;
mod turns;
mod watches;

pub use error::{Error, Result};

/// Messages, server traits and clients, made from proto/runtime.v1.proto.
#[allow(missing_docs, clippy::all, rustdoc::all)]
pub mod api {
    tonic::include_proto!("runtime.v1");
}

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rctr_engine::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::front::Front;
use crate::monitoring::Metrics;
use crate::service::Service;

/// Largest request taken; the largest there are list a few thousand labels.
const MAX_REQUEST: usize = 16 << 20;

/// How long a thread without work is kept.
const THREAD_REST: Duration = Duration::from_secs(3);

/// Serves until SIGTERM or SIGINT, on a socket that systemd hands over, else on `socket`, else on the one of the
/// configuration. Containers go on without it.
///
/// # Errors
/// [`Error::AlreadyServed`] if another one answers there; [`Error::Socket`]; [`Error::Runtime`].
pub fn serve(engine: Engine, socket: Option<PathBuf>) -> Result<()> {
    share_memory_between_threads();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("rctr-cri")
        .thread_keep_alive(THREAD_REST)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let served = runtime.block_on(run(engine, socket));
    // Work that is under way belongs to records: whoever starts next finds it half done and puts it in order.
    runtime.shutdown_background();
    served
}

/// Threads come and go with requests. Each would have its own heap, and what one has freed no other could use.
fn share_memory_between_threads() {
    // SAFETY: called before any other thread is made; the parameter is one that mallopt(3) knows.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

async fn run(engine: Engine, socket: Option<PathBuf>) -> Result<()> {
    let settings = engine.config().settings.cri.clone();
    let path = socket.unwrap_or(settings.socket);
    let listener = socket::listen(&path)?;
    let mut signals = Signals::new()?;
    let service = Service::start(Arc::new(engine)).await?;
    service.recover().await?;
    let metrics = Metrics::default();
    if let Some(address) = settings.metrics_address {
        metrics.clone().serve(address).await?;
    }
    let front = Front::new(service, metrics);
    socket::notify_ready();
    tracing::info!(socket = %path.display(), "serving");
    let served = tokio::select! {
        served = front.serve(listener.accepting) => served,
        () = signals.until_stop() => Ok(()),
    };
    if let Some(path) = listener.own_path {
        socket::remove(&path);
    }
    served
}

/// The signals that mean something to the service.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    child: Signal,
}

impl Signals {
    fn new() -> Result<Signals> {
        let on = |kind| signal(kind).map_err(Error::Runtime);
        Ok(Signals {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            child: on(SignalKind::child())?,
        })
    }

    /// Reaps monitors that end, until the service is asked to.
    async fn until_stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.child.recv() => {
                    rctr_runtime::reap_ended();
                }
            }
        }
    }
}
