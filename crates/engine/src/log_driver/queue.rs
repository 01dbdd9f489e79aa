//! What has been read and not been delivered yet, between the thread that reads and the one that delivers.

use std::collections::VecDeque;
use std::io::BufRead;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::record::{Parser, Record};

/// How long a container waits for a receiver that takes nothing.
const STALL: Duration = Duration::from_secs(10);
/// So many bytes at most are handed over at once, but one record in any case: a receiver that takes them slowly does take.
const AT_ONCE: usize = 64 << 10;

/// Records between two threads, as many as fit.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
    limit: usize,
    /// Drop the oldest at once, instead of letting the container wait.
    never_wait: bool,
}

struct Inner {
    records: VecDeque<Record>,
    bytes: usize,
    dropped: usize,
    ended: bool,
    progress: Instant,
}

/// Some records, and how many before them were dropped.
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) dropped: usize,
}

impl Queue {
    pub(super) fn new(limit: usize, never_wait: bool) -> Queue {
        Queue {
            inner: Mutex::new(Inner {
                records: VecDeque::new(),
                bytes: 0,
                dropped: 0,
                ended: false,
                progress: Instant::now(),
            }),
            changed: Condvar::new(),
            limit,
            never_wait,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads records until there are no more.
    pub(super) fn fill(&self, mut input: impl BufRead) {
        let mut parser = Parser::default();
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if let Some(record) = parser.parse(&line) {
                self.put(record);
            }
            line.clear();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn put(&self, record: Record) {
        let size = record.size();
        let mut inner = self.lock();
        if inner.records.is_empty() {
            inner.progress = Instant::now();
        }
        while inner.bytes + size > self.limit && !inner.records.is_empty() {
            let patience = STALL.saturating_sub(inner.progress.elapsed());
            if self.never_wait || patience.is_zero() {
                inner.drop_oldest();
                continue;
            }
            let waited = self.changed.wait_timeout(inner, patience);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.bytes += size;
        inner.records.push_back(record);
        drop(inner);
        self.changed.notify_all();
    }

    /// At most so many records, as soon as there are some; `None` at the end.
    pub(super) fn take(&self, count: usize) -> Option<Batch> {
        let mut inner = self.lock();
        while inner.records.is_empty() {
            if inner.ended {
                return None;
            }
            let waited = self.changed.wait(inner);
            inner = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        let fits = |record: &&Record| {
            bytes += record.size();
            bytes <= AT_ONCE
        };
        let fitting = inner.records.iter().take(count).take_while(fits).count();
        let records: Vec<Record> = inner.records.drain(..fitting.max(1)).collect();
        inner.bytes -= records.iter().map(Record::size).sum::<usize>();
        let dropped = std::mem::take(&mut inner.dropped);
        drop(inner);
        self.changed.notify_all();
        Some(Batch { records, dropped })
    }

    /// The receiver has taken something.
    pub(super) fn progress(&self) {
        self.lock().progress = Instant::now();
    }

    /// Whether there will be nothing more than what waits.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Waits before another attempt; not much longer than until the end has come.
    pub(super) fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut inner = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = match inner.ended {
                true => left.min(Duration::from_millis(500)),
                false => left,
            };
            if left.is_zero() {
                return;
            }
            let ended = inner.ended;
            let waited = self.changed.wait_timeout(inner, left);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            inner = guard;
            if timeout.timed_out() || inner.ended && !ended {
                return;
            }
        }
    }
}

impl Inner {
    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.records.pop_front() {
            self.bytes -= oldest.size();
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> String {
        let line = |n| format!("2026-11-22T01:02:03.000000004Z stdout F line {n:04}\n");
        (0..count).map(line).collect()
    }

    /// What so many of these lines take.
    fn room_for(count: usize) -> usize {
        count * (size_of::<Record>() + "line 0000".len())
    }

    #[test]
    fn all_is_handed_over_in_order() {
        let queue = Queue::new(room_for(2), false);
        std::thread::scope(|scope| {
            scope.spawn(|| queue.fill(lines(100).as_bytes()));
            let mut seen = Vec::new();
            while let Some(batch) = queue.take(7) {
                assert_eq!(batch.dropped, 0);
                seen.extend(batch.records);
            }
            assert_eq!(seen.len(), 100);
            assert_eq!(seen[99].text, b"line 0099");
        });
        assert!(queue.has_ended());
    }

    #[test]
    fn who_does_not_wait_loses_the_oldest() {
        let queue = Queue::new(room_for(2), true);
        queue.fill(lines(100).as_bytes());
        let batch = queue.take(100).unwrap();
        assert_eq!((batch.records.len(), batch.dropped), (2, 98));
        assert_eq!(batch.records[0].text, b"line 0098");
        assert!(queue.take(1).is_none());
    }

    #[test]
    fn empty_lines_take_room_too() {
        let queue = Queue::new(1 << 16, true);
        let line = "2026-11-22T01:02:03.000000004Z stdout F \n";
        queue.fill(line.repeat(100_000).as_bytes());
        let kept = queue.lock().records.len();
        assert!(kept <= (1 << 16) / size_of::<Record>(), "{kept} wait");
        assert_eq!(kept + queue.lock().dropped, 100_000);
    }

    #[test]
    fn little_is_handed_over_at_once() {
        let queue = Queue::new(usize::MAX, false);
        let long = "x".repeat(AT_ONCE);
        let line = |text: &str| format!("2026-11-22T01:02:03.000000004Z stdout F {text}\n");
        queue.fill(
            [line(&long), line(&long), line("a"), line("b")]
                .concat()
                .as_bytes(),
        );
        let mut counts = Vec::new();
        while let Some(batch) = queue.take(512) {
            counts.push(batch.records.len());
        }
        assert_eq!(counts, [1, 1, 2]);
    }
}
