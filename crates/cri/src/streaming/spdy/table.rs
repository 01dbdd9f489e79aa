//! The streams of one connection and their windows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::connection::Answer;

/// What either side may send before the other has opened its window (SPDY/3.1, section 2.6.8).
const INITIAL_WINDOW: i64 = 64 * 1024;
/// Streams open at once: 512 forwarded connections.
pub(super) const MOST_STREAMS: usize = 1_024;

#[derive(Default)]
pub(super) struct Table {
    state: Mutex<State>,
    credited: Notify,
}

struct State {
    streams: HashMap<u32, Entry>,
    /// What we may send at all.
    session: i64,
    initial: i64,
    /// Whether the client has shown that it keeps a window for the session, and for streams.
    session_limited: bool,
    streams_limited: bool,
}

impl Default for State {
    fn default() -> Self {
        State {
            streams: HashMap::new(),
            session: INITIAL_WINDOW,
            initial: INITIAL_WINDOW,
            session_limited: false,
            streams_limited: false,
        }
    }
}

struct Entry {
    /// What we may send.
    window: i64,
    /// Where the client's bytes go, until its end of the stream.
    from_client: Option<mpsc::Sender<Bytes>>,
    gone: CancellationToken,
    /// Whether our end of the stream is still open.
    sending: bool,
}

impl Table {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream; false if there are too many.
    pub(super) fn open(
        &self,
        stream: u32,
        from_client: Option<mpsc::Sender<Bytes>>,
        gone: CancellationToken,
    ) -> bool {
        let mut state = self.state();
        if state.streams.len() >= MOST_STREAMS {
            return false;
        }
        let entry = Entry {
            window: state.initial,
            from_client,
            gone,
            sending: true,
        };
        state.streams.insert(stream, entry);
        true
    }

    /// Where the bytes of a stream go; nowhere once it has ended.
    pub(super) fn destination(&self, stream: u32) -> Option<mpsc::Sender<Bytes>> {
        self.state().streams.get(&stream)?.from_client.clone()
    }

    /// The client sends no more on this stream.
    pub(super) fn end(&self, stream: u32) {
        let mut state = self.state();
        if let Some(entry) = state.streams.get_mut(&stream) {
            entry.from_client = None;
            if !entry.sending {
                state.streams.remove(&stream);
            }
        }
    }

    /// The client has given the stream up.
    pub(super) fn reset(&self, stream: u32) {
        if let Some(entry) = self.state().streams.remove(&stream) {
            entry.gone.cancel();
        }
    }

    /// The client is gone, and with it all streams.
    pub(super) fn clear(&self) {
        self.state().streams.clear();
    }

    /// The client allows more, on one stream or (0) in all.
    pub(super) fn credit(&self, stream: u32, delta: u32) {
        let mut state = self.state();
        let delta = i64::from(delta);
        if stream == 0 {
            state.session_limited = true;
            state.session = state.session.saturating_add(delta);
        } else {
            state.streams_limited = true;
            if let Some(entry) = state.streams.get_mut(&stream) {
                entry.window = entry.window.saturating_add(delta);
            }
        }
        drop(state);
        self.credited.notify_waiters();
    }

    /// The client sets what streams may send from their beginning.
    pub(super) fn set_initial_window(&self, window: u32) {
        let mut state = self.state();
        let change = i64::from(window) - state.initial;
        state.initial = i64::from(window);
        state.streams_limited = true;
        for entry in state.streams.values_mut() {
            entry.window = entry.window.saturating_add(change);
        }
        drop(state);
        self.credited.notify_waiters();
    }
}

impl State {
    fn allowed(&self, stream: u32) -> i64 {
        let session = match self.session_limited {
            true => self.session,
            false => i64::MAX,
        };
        match self.streams.get(&stream) {
            Some(entry) if self.streams_limited => session.min(entry.window),
            _ => session,
        }
    }
}

/// What may be sent on one stream. Dropping it closes our end.
pub(in crate::streaming) struct SendWindow {
    table: Arc<Table>,
    stream: u32,
}

impl SendWindow {
    pub(super) fn new(table: Arc<Table>, stream: u32) -> SendWindow {
        SendWindow { table, stream }
    }

    /// Waits until something may be sent.
    pub(in crate::streaming) async fn open(&self) {
        loop {
            let mut credited = std::pin::pin!(self.table.credited.notified());
            // Before the look at the window, lest a credit be missed between the two.
            credited.as_mut().enable();
            if self.table.state().allowed(self.stream) > 0 {
                return;
            }
            credited.await;
        }
    }

    /// Takes as much as may be sent now of what is wanted.
    pub(in crate::streaming) fn take(&self, wanted: usize) -> usize {
        let mut state = self.table.state();
        let allowed = usize::try_from(state.allowed(self.stream)).unwrap_or(0);
        let taken = wanted.min(allowed);
        // Counted also while the client keeps no windows: it may begin to.
        state.session = state.session.saturating_sub(taken as i64);
        if let Some(entry) = state.streams.get_mut(&self.stream) {
            entry.window = entry.window.saturating_sub(taken as i64);
        }
        taken
    }

    /// Forgets the stream: we break it off.
    pub(in crate::streaming) fn abandon(&self) {
        self.table.state().streams.remove(&self.stream);
    }
}

impl Drop for SendWindow {
    fn drop(&mut self) {
        let mut state = self.table.state();
        if let Some(entry) = state.streams.get_mut(&self.stream) {
            entry.sending = false;
            if entry.from_client.is_none() {
                state.streams.remove(&self.stream);
            }
        }
    }
}

/// What the client may send on one stream: opened again as its bytes are taken.
pub(in crate::streaming) struct ReceiveWindow {
    answers: mpsc::Sender<Answer>,
    stream: u32,
    owed: u32,
}

impl ReceiveWindow {
    /// The window of a stream, or (0) of the whole connection.
    pub(super) fn new(answers: mpsc::Sender<Answer>, stream: u32) -> ReceiveWindow {
        ReceiveWindow {
            answers,
            stream,
            owed: 0,
        }
    }

    /// Notes that bytes were taken out of the stream's buffer.
    pub(in crate::streaming) fn taken(&mut self, bytes: usize) {
        self.owed = self.owed.saturating_add(bytes as u32);
        if i64::from(self.owed) < INITIAL_WINDOW / 2 {
            return;
        }
        let update = Answer::WindowUpdate {
            stream: self.stream,
            delta: self.owed,
        };
        // If the writer is busy the next taking tries again.
        if self.answers.try_send(update).is_ok() {
            self.owed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn window(table: &Arc<Table>, stream: u32) -> SendWindow {
        assert!(table.open(stream, None, CancellationToken::new()));
        SendWindow::new(table.clone(), stream)
    }

    #[test]
    fn a_client_without_windows_is_not_limited() {
        let table = Arc::new(Table::default());
        let window = window(&table, 1);
        for _ in 0..100 {
            assert_eq!(window.take(32_768), 32_768);
        }
        assert!(window.open().now_or_never().is_some());
    }

    #[test]
    fn a_client_with_windows_is_obeyed() {
        let table = Arc::new(Table::default());
        let (one, two) = (window(&table, 1), window(&table, 3));
        assert_eq!(one.take(60_000), 60_000);
        table.credit(1, 10);
        assert_eq!(one.take(60_000), 65_536 - 60_000 + 10);
        assert_eq!(one.take(1), 0);
        assert!(one.open().now_or_never().is_none());
        // The session is not limited yet, so the other stream has all of its own.
        assert_eq!(two.take(100_000), 65_536);
        table.credit(0, 100_000);
        table.credit(3, 100_000);
        assert_eq!(two.take(200_000), 100_000 - 65_546);
    }

    #[tokio::test]
    async fn credit_wakes_a_waiter() {
        let table = Arc::new(Table::default());
        let one = window(&table, 1);
        table.set_initial_window(0);
        let mut waiting = std::pin::pin!(one.open());
        assert!(waiting.as_mut().now_or_never().is_none());
        table.credit(1, 5);
        waiting.await;
        assert_eq!(one.take(9), 5);
    }

    #[test]
    fn streams_end_when_both_sides_have() {
        let table = Arc::new(Table::default());
        let (sender, _receiver) = mpsc::channel(1);
        assert!(table.open(1, Some(sender), CancellationToken::new()));
        let window = SendWindow::new(table.clone(), 1);
        assert!(table.destination(1).is_some());
        table.end(1);
        assert!(table.destination(1).is_none());
        assert_eq!(table.state().streams.len(), 1);
        drop(window);
        assert_eq!(table.state().streams.len(), 0);
        for stream in 0..MOST_STREAMS as u32 {
            assert!(table.open(stream, None, CancellationToken::new()));
        }
        assert!(!table.open(9_999, None, CancellationToken::new()));
    }

    #[test]
    fn windows_are_opened_again_by_halves() {
        let (answers, mut given) = mpsc::channel(4);
        let mut window = ReceiveWindow::new(answers, 1);
        window.taken(20_000);
        assert!(given.try_recv().is_err());
        window.taken(20_000);
        assert_eq!(
            given.try_recv().unwrap(),
            Answer::WindowUpdate {
                stream: 1,
                delta: 40_000
            }
        );
    }
}
