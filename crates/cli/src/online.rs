//! Commands that wait for a network: the only ones with an async runtime.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, Result};

/// Runs `work` to its end, or until Ctrl-C or SIGTERM: then it is dropped where it stands.
pub fn wait_for<T>(work: impl Future<Output = rctr_engine::Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = work => done.map_err(Failure::from),
            _ = interrupt.recv() => Err(Failure::silent(128 + libc::SIGINT as u8)),
            _ = terminate.recv() => Err(Failure::silent(128 + libc::SIGTERM as u8)),
        }
    });
    if outcome.is_err() {
        // What runs on blocking threads gets a moment to clear its files away.
        runtime.shutdown_timeout(Duration::from_secs(2));
    }
    outcome
}
