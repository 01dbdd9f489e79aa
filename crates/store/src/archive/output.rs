//! Where an archive goes: full buffers, handed on whole and never copied.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use super::header::{BLOCK, padding};
use crate::digest::from_hash;

/// Bytes handed on at once, and how many such pieces may wait to be hashed.
const PIECE: usize = 256 << 10;
const QUEUE: usize = 4;

/// Takes the pieces of an archive, in order.
pub(crate) trait Sink {
    /// Takes a piece; gives a buffer to fill next, whatever is in it.
    fn put(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>>;
}

/// Collects what is written into pieces.
pub(super) struct Output<'a> {
    sink: &'a mut dyn Sink,
    piece: Vec<u8>,
    /// Bytes in earlier pieces.
    before: u64,
}

/// Why the data of a file did not get into the archive.
pub(super) enum FillError {
    Read(rustix::io::Errno),
    /// The file ended early.
    Short,
    Sink(io::Error),
}

impl<'a> Output<'a> {
    pub fn new(sink: &'a mut dyn Sink) -> Self {
        Output {
            sink,
            piece: Vec::new(),
            before: 0,
        }
    }

    /// Lets `append` add something short.
    pub fn append(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        append(&mut self.piece);
        self.hand_on(PIECE)
    }

    /// The data of a file, padded to a whole block.
    pub fn fill(&mut self, file: &OwnedFd, size: u64) -> Result<(), FillError> {
        let mut left = size;
        while left > 0 {
            let start = self.piece.len();
            let room = PIECE.saturating_sub(start).max(BLOCK);
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(room);
            self.piece.resize(start + want, 0);
            let count = loop {
                match rustix::io::read(file, &mut self.piece[start..]) {
                    Err(rustix::io::Errno::INTR) => {}
                    other => break other.map_err(FillError::Read)?,
                }
            };
            if count == 0 {
                return Err(FillError::Short);
            }
            self.piece.truncate(start + count);
            left -= count as u64;
            self.hand_on(PIECE).map_err(FillError::Sink)?;
        }
        self.append(|piece| piece.resize(piece.len() + padding(size), 0))
            .map_err(FillError::Sink)
    }

    /// Two empty blocks end an archive; its size in bytes.
    pub fn finish(mut self) -> io::Result<u64> {
        self.piece.resize(self.piece.len() + 2 * BLOCK, 0);
        self.hand_on(1)?;
        Ok(self.before)
    }

    fn hand_on(&mut self, at_least: usize) -> io::Result<()> {
        if self.piece.len() >= at_least {
            self.before += self.piece.len() as u64;
            self.piece = self.sink.put(std::mem::take(&mut self.piece))?;
            self.piece.clear();
        }
        Ok(())
    }
}

/// Hashes the archive, in a second thread as soon as there is more than one piece.
#[derive(Default)]
pub(crate) struct HashSink {
    first: Option<Vec<u8>>,
    worker: Option<Worker>,
}

struct Worker {
    full: SyncSender<Vec<u8>>,
    used: Receiver<Vec<u8>>,
    thread: JoinHandle<Sha256>,
}

impl HashSink {
    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        let hash = match self.worker {
            Some(Worker { full, thread, .. }) => {
                drop(full);
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            None => Sha256::new_with_prefix(self.first.unwrap_or_default()),
        };
        from_hash(hash)
    }

    fn start(first: Vec<u8>) -> io::Result<Worker> {
        let (full, pieces) = sync_channel::<Vec<u8>>(QUEUE);
        let (empty, used) = channel();
        let thread = thread::Builder::new().name("hash".into()).spawn(move || {
            let mut hash = Sha256::new_with_prefix(&first);
            for piece in pieces {
                hash.update(&piece);
                // Nobody may want it any more.
                let _ = empty.send(piece);
            }
            hash
        })?;
        Ok(Worker { full, used, thread })
    }
}

impl Sink for HashSink {
    fn put(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>> {
        match (&self.worker, self.first.take()) {
            (None, None) => {
                self.first = Some(piece);
                return Ok(Vec::new());
            }
            (None, Some(first)) => self.worker = Some(Self::start(first)?),
            (Some(_), _) => {}
        }
        let Some(worker) = &self.worker else {
            return Ok(Vec::new());
        };
        worker
            .full
            .send(piece)
            .map_err(|_| io::Error::other("the hashing thread has ended"))?;
        Ok(worker.used.try_recv().unwrap_or_default())
    }
}

/// Writes the archive.
pub(crate) struct WriteSink<W>(pub W);

impl<W: Write> Sink for WriteSink<W> {
    fn put(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>> {
        self.0.write_all(&piece)?;
        Ok(piece)
    }
}

/// Hashes the archive on its way to another sink.
pub(crate) struct Hashed<'a> {
    to: &'a mut dyn Sink,
    hash: Sha256,
}

impl<'a> Hashed<'a> {
    pub fn new(to: &'a mut dyn Sink) -> Self {
        Hashed {
            to,
            hash: Sha256::new(),
        }
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        from_hash(self.hash)
    }
}

impl Sink for Hashed<'_> {
    fn put(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>> {
        self.hash.update(&piece);
        self.to.put(piece)
    }
}
