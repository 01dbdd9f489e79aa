//! The compressed bytes of a layer on their way to be unpacked: through the file they are kept in.
//!
//! The download appends to the file and moves a mark; the unpacker reads up to the mark. So a slow unpacker never holds
//! up a download, memory stays small, and bytes kept from an interrupted try need no path of their own.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

const BUFFER: usize = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct Feed {
    state: Mutex<State>,
    changed: Condvar,
    /// Nobody wants the layer any more. Looked at between reads only: who waits for bytes is told by [`Feed::abort`].
    cancelled: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    available: u64,
    ended: bool,
    aborted: bool,
    /// The unpacker has given up for a reason that makes it useless to go on.
    failed: bool,
}

impl Feed {
    pub fn new(available: u64, cancelled: Arc<AtomicBool>) -> Arc<Self> {
        let feed = Feed {
            cancelled,
            ..Feed::default()
        };
        feed.lock().available = available;
        Arc::new(feed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes are in the file now; false if the unpacker has failed.
    pub fn advance(&self, available: u64) -> bool {
        let mut state = self.lock();
        state.available = available;
        self.changed.notify_all();
        !state.failed
    }

    /// Nothing follows.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Makes the unpacker stop.
    pub fn abort(&self) {
        self.lock().aborted = true;
        self.changed.notify_all();
    }

    pub fn fail(&self) {
        self.lock().failed = true;
    }
}

/// Reads what is fed, and hashes it.
pub(super) struct FeedReader {
    file: File,
    feed: Arc<Feed>,
    position: u64,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    hash: Sha256,
    broken: bool,
}

impl FeedReader {
    pub fn new(file: File, feed: Arc<Feed>) -> Self {
        FeedReader {
            file,
            feed,
            position: 0,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            hash: Sha256::new(),
            broken: false,
        }
    }

    /// The bytes could not be read, or nobody wants them: an error from further up says nothing of their content.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The hash of all that was read.
    pub fn into_hash(self) -> Sha256 {
        self.hash
    }

    /// Waits for bytes; how many there are to read, 0 at the end.
    fn wait(&self) -> io::Result<u64> {
        let mut state = self.feed.lock();
        loop {
            if state.aborted || self.feed.cancelled.load(Ordering::Relaxed) {
                return Err(io::Error::other("aborted"));
            }
            if state.available > self.position || state.ended {
                return Ok(state.available.saturating_sub(self.position));
            }
            state = self
                .feed
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl BufRead for FeedReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.broken = true;
            let ready = usize::try_from(self.wait()?).unwrap_or(usize::MAX);
            let count = ready.min(self.buffer.len());
            self.file
                .read_exact_at(&mut self.buffer[..count], self.position)?;
            self.broken = false;
            self.hash.update(&self.buffer[..count]);
            self.position += count as u64;
            (self.start, self.end) = (0, count);
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }
}

impl Read for FeedReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut data = self.fill_buf()?;
        let count = data.read(to)?;
        self.consume(count);
        Ok(count)
    }
}
