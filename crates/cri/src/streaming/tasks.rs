//! The two tasks of a connection, whatever it speaks: one reads, one writes. Dropping them cuts the client off.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a client that has left, or has been sent everything, may take to close its end.
const LINGER: Duration = Duration::from_secs(10);

pub(super) struct Tasks {
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    cut_off: DropGuard,
}

impl Tasks {
    /// `write` sends until it has sent everything, or cannot; `gone` tells that the client is gone, which ends it soon.
    pub(super) fn start<T: Send + 'static>(
        read: impl Future<Output = ()> + Send + 'static,
        write: impl Future<Output = T> + Send + 'static,
        gone: CancellationToken,
    ) -> Tasks {
        let cut_off = CancellationToken::new();
        let until_cut_off = (cut_off.clone(), cut_off.clone());
        let write = async move {
            tokio::select! {
                _ = write => {}
                () = async {
                    gone.cancelled().await;
                    tokio::time::sleep(LINGER).await;
                } => {}
            }
            // Also after an error: nobody need try to send more.
            gone.cancel();
        };
        Tasks {
            reader: tokio::spawn(async move {
                until_cut_off.0.run_until_cancelled(read).await;
            }),
            writer: tokio::spawn(async move {
                until_cut_off.1.run_until_cancelled(write).await;
            }),
            cut_off: cut_off.drop_guard(),
        }
    }

    /// Waits until everything has been sent, which comes to pass once nobody can send more, and for the client's end.
    pub(super) async fn finish(self) {
        let _ = self.writer.await;
        // Closing a socket that holds unread bytes would take from the client what it has not read yet.
        let _ = tokio::time::timeout(LINGER, self.reader).await;
        drop(self.cut_off);
    }
}
