//! The unpacking of one layer, in two threads: read, hash, decompress | hash, untar.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use super::decompress::decompress;
use super::feed::{Feed, FeedReader};
use crate::digest::from_hash;
use crate::fs::SyncMark;
use crate::store::Store;
use crate::untar::{Unpacked, UntarError, untar};

/// Uncompressed bytes handed over at once, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const QUEUE: usize = 8;

/// A layer, unpacked and hashed, but not yet compared with what was announced.
pub(super) struct Done {
    pub blob: Digest,
    pub diff_id: Digest,
    pub unpacked: Unpacked,
    /// Size of the uncompressed archive in bytes.
    pub archive_size: u64,
    /// When everything was written.
    pub mark: SyncMark,
}

pub(super) enum Failure {
    /// The compressed data could not be read from disk.
    Read(io::Error),
    Decompress(io::Error),
    Untar(UntarError),
}

impl Failure {
    /// Whether the blob is to blame: then its digest tells whether it was damaged on its way.
    pub fn is_content(&self) -> bool {
        match self {
            Failure::Read(_) => false,
            Failure::Decompress(_) => true,
            Failure::Untar(e) => e.is_content(),
        }
    }
}

/// Starts to unpack into the empty directory `root` what `feed` says is in `file`.
pub(super) fn start(
    store: Store,
    file: File,
    feed: Arc<Feed>,
    root: OwnedFd,
) -> io::Result<thread::JoinHandle<Result<Done, Failure>>> {
    thread::Builder::new().name("unpack".into()).spawn(move || {
        let result = run(&store, file, &feed, root);
        if result.as_ref().is_err_and(|e| !e.is_content()) {
            feed.fail();
        }
        result
    })
}

fn run(store: &Store, file: File, feed: &Arc<Feed>, root: OwnedFd) -> Result<Done, Failure> {
    let mut source = FeedReader::new(file, feed.clone());
    let (full, pieces) = sync_channel(QUEUE);
    let (empty, used) = channel();
    let (decoded, untarred) = thread::scope(|scope| {
        let untar = scope.spawn(|| {
            let mut reader = PieceReader::new(pieces, empty);
            let unpacked = untar(&mut reader, root)?;
            Ok((unpacked, from_hash(reader.hash), reader.size))
        });
        let decoded = decode(&mut source, &full, &used);
        drop(full);
        let untarred = untar
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (decoded, untarred)
    });
    decoded?;
    // A reader whose source broke off says so only because the decoder failed, which has been told above.
    let (unpacked, diff_id, archive_size) = untarred.map_err(Failure::Untar)?;
    Ok(Done {
        blob: from_hash(source.into_hash()),
        diff_id,
        unpacked,
        archive_size,
        mark: store.syncer().mark(),
    })
}

/// Decompresses all of `source`. Ends early, without error, when nobody listens any more.
fn decode(
    source: &mut FeedReader,
    full: &SyncSender<Piece>,
    used: &Receiver<Vec<u8>>,
) -> Result<(), Failure> {
    source.fill_buf().map_err(Failure::Read)?;
    let result = decompress(&mut *source).and_then(|reader| pump(reader, full, used));
    result.map_err(|e| {
        // Tells the other end that this is not the end of the archive; it may have gone already.
        let _ = full.send(None);
        match source.is_broken() {
            true => Failure::Read(e),
            false => Failure::Decompress(e),
        }
    })
}

/// Uncompressed data; None when decompression failed.
type Piece = Option<Vec<u8>>;

fn pump(mut from: impl Read, full: &SyncSender<Piece>, used: &Receiver<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut piece = used.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let mut filled = 0;
        while filled < PIECE {
            match from.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        piece.truncate(filled);
        if filled == 0 || full.send(Some(piece)).is_err() {
            return Ok(());
        }
    }
}

/// Reads the pieces, hashes them, and gives the buffers back.
struct PieceReader {
    pieces: Receiver<Piece>,
    empty: Sender<Vec<u8>>,
    piece: Vec<u8>,
    start: usize,
    hash: Sha256,
    size: u64,
}

impl PieceReader {
    fn new(pieces: Receiver<Piece>, empty: Sender<Vec<u8>>) -> Self {
        PieceReader {
            pieces,
            empty,
            piece: Vec::new(),
            start: 0,
            hash: Sha256::new(),
            size: 0,
        }
    }
}

impl BufRead for PieceReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.piece.len() {
            let next = match self.pieces.recv() {
                Ok(Some(next)) => next,
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(_) => Vec::new(),
            };
            self.hash.update(&next);
            self.size += next.len() as u64;
            self.start = 0;
            let used = std::mem::replace(&mut self.piece, next);
            // The decoder may have ended.
            let _ = self.empty.send(used);
        }
        Ok(&self.piece[self.start..])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }
}

impl Read for PieceReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut data = self.fill_buf()?;
        let count = data.read(to)?;
        self.consume(count);
        Ok(count)
    }
}
