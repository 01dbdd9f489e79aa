//! Packs an archive in blocks, on all processors: one thread makes the archive and cuts it, some pack, one writes.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use flate2::Crc;
use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use super::codec::{Block, Codec, Packed, Packer};
use crate::archive::Sink;
use crate::digest::from_hash;
use crate::error::At;
use crate::{Error, Result};

/// More threads than this only take more memory.
const MAX_THREADS: usize = 8;

/// A block, and where to send it packed.
type Job = (Block, SyncSender<io::Result<Packed>>);

/// Packs the archive that `produce` sends into `file`; the digest and size of what is in the file then.
pub(super) fn pack_archive(
    codec: Codec,
    file: &File,
    path: &Path,
    produce: impl FnOnce(&mut dyn Sink) -> Result<()>,
) -> Result<(Digest, u64)> {
    let ((), output) = pack(codec, file, path, |blocks| {
        let mut cutter = Cutter {
            blocks,
            block: Vec::new(),
            before: Vec::new(),
        };
        produce(&mut cutter)?;
        cutter
            .finish()
            .map_err(|source| Error::WriteArchive { source })
    })?;
    Ok((from_hash(output.hash), output.size))
}

/// What is in the file by now.
pub(super) struct Output {
    pub hash: Sha256,
    pub size: u64,
    /// Where each block begins.
    pub offsets: Vec<u64>,
}

impl Output {
    /// Writes more.
    pub fn write(&mut self, mut file: &File, data: &[u8]) -> io::Result<()> {
        self.hash.update(data);
        self.size += data.len() as u64;
        file.write_all(data)
    }
}

/// Packs the blocks that `produce` sends into `file`.
pub(super) fn pack<T>(
    codec: Codec,
    file: &File,
    path: &Path,
    produce: impl FnOnce(&mut Blocks) -> Result<T>,
) -> Result<(T, Output)> {
    let threads = thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS));
    let (jobs, todo) = sync_channel::<Job>(threads);
    // Bounds the blocks that are in memory, however fast the archive comes.
    let (order, packed) = sync_channel(threads);
    let todo = Mutex::new(todo);
    let (produced, written) = thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(codec, &todo));
        }
        let writer = scope.spawn(move || write(codec, file, packed));
        let mut blocks = Blocks { codec, jobs, order };
        let produced = produce(&mut blocks);
        drop(blocks);
        let written = writer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (produced, written)
    });
    // Should the writer have failed, the other error only follows from that.
    let written = written.at("write", path);
    match (produced, written) {
        (Ok(_) | Err(Error::WriteArchive { .. }), Err(e)) | (Err(e), _) => Err(e),
        (Ok(produced), Ok(written)) => Ok((produced, written)),
    }
}

/// Takes blocks to be packed, in order.
pub(super) struct Blocks {
    codec: Codec,
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<io::Result<Packed>>>,
}

impl Blocks {
    pub fn send(&mut self, block: Block) -> io::Result<()> {
        let (done, packed) = sync_channel(1);
        let stopped = || io::Error::other("the packing has stopped");
        self.order.send(packed).map_err(|_| stopped())?;
        self.jobs.send((block, done)).map_err(|_| stopped())
    }
}

/// Cuts pieces of any size into blocks of one.
struct Cutter<'b> {
    blocks: &'b mut Blocks,
    block: Vec<u8>,
    before: Vec<u8>,
}

impl Cutter<'_> {
    fn finish(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            Ok(())
        } else {
            self.send()
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let data = std::mem::take(&mut self.block);
        let window = self.blocks.codec.window();
        let end = data[data.len().saturating_sub(window)..].to_vec();
        let before = std::mem::replace(&mut self.before, end);
        self.blocks.send(Block { data, before })
    }
}

impl Sink for Cutter<'_> {
    fn put(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>> {
        let size = self.blocks.codec.block_size();
        let mut left = &piece[..];
        while !left.is_empty() {
            if self.block.capacity() < size {
                self.block.reserve_exact(size - self.block.len());
            }
            let (now, later) = left.split_at(left.len().min(size - self.block.len()));
            self.block.extend_from_slice(now);
            left = later;
            if self.block.len() == size {
                self.send()?;
            }
        }
        Ok(piece)
    }
}

fn work(codec: Codec, todo: &Mutex<Receiver<Job>>) {
    let mut packer = Packer::new(codec);
    loop {
        // Held only to take a job, or to wait for one: the others wait for the same.
        let job = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, done)) = job else {
            return;
        };
        let packed = match &mut packer {
            Ok(packer) => packer.pack(block),
            Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
        };
        // The writer may have failed.
        let _ = done.send(packed);
    }
}

fn write(
    codec: Codec,
    file: &File,
    blocks: Receiver<Receiver<io::Result<Packed>>>,
) -> io::Result<Output> {
    let mut output = Output {
        hash: Sha256::new(),
        size: 0,
        offsets: Vec::new(),
    };
    let mut crc = Crc::new();
    output.write(file, codec.begin())?;
    for block in blocks {
        let packed = block
            .recv()
            .map_err(|_| io::Error::other("the packing has stopped"))??;
        crc.combine(&packed.crc);
        output.offsets.push(output.size);
        output.write(file, &packed.data)?;
    }
    output.write(file, &codec.end(&crc))?;
    Ok(output)
}
