//! What a container wrote, on its way to our own standard output and error, in the order it came.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::stat::{FileStat, SFlag, fstat};

/// So much waits at most before nothing more is read.
const LIMIT: usize = 256 * 1024;
/// A pipe that polls as writable takes this much without blocking (`PIPE_BUF`).
const SMALL_WRITE: usize = 4096;
const LARGE_WRITE: usize = 64 * 1024;

/// Which of our streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Stdout,
    Stderr,
}

/// The queue to both.
pub struct Outputs {
    queue: VecDeque<(Target, Vec<u8>)>,
    waiting: usize,
    write_sizes: [usize; 2],
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Outputs {
    /// To our own standard output and error.
    pub fn standard() -> io::Result<Outputs> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Outputs::new(
            stdout,
            io::stderr().as_fd().try_clone_to_owned()?,
        ))
    }

    pub fn new(stdout: OwnedFd, stderr: OwnedFd) -> Outputs {
        let write_sizes = [write_size(stdout.as_fd()), write_size(stderr.as_fd())];
        Outputs {
            queue: VecDeque::new(),
            waiting: 0,
            write_sizes,
            stdout,
            stderr,
        }
    }

    /// Takes bytes; they are written later.
    pub fn push(&mut self, target: Target, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.waiting += bytes.len();
        self.queue.push_back((target, bytes));
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether enough waits.
    pub fn is_full(&self) -> bool {
        self.waiting >= LIMIT
    }

    /// Where the first bytes go: poll it for writing.
    pub fn next_fd(&self) -> Option<BorrowedFd<'_>> {
        self.queue.front().map(|(target, _)| self.fd(*target))
    }

    /// Writes once.
    pub fn write_some(&mut self) -> io::Result<()> {
        let Some((target, bytes)) = self.queue.front() else {
            return Ok(());
        };
        let size = self.write_sizes[*target as usize].min(bytes.len());
        let written = match nix::unistd::write(self.fd(*target), &bytes[..size]) {
            Ok(written) => written,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        self.waiting -= written;
        if let Some((_, bytes)) = self.queue.front_mut() {
            bytes.drain(..written);
            if bytes.is_empty() {
                self.queue.pop_front();
            }
        }
        Ok(())
    }

    fn fd(&self, target: Target) -> BorrowedFd<'_> {
        match target {
            Target::Stdout => self.stdout.as_fd(),
            Target::Stderr => self.stderr.as_fd(),
        }
    }
}

/// A file never blocks; pipes and terminals may, and get little at a time.
fn write_size(fd: BorrowedFd<'_>) -> usize {
    let kind = |stat: FileStat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    match fstat(fd).is_ok_and(|stat| kind(stat) == SFlag::S_IFREG) {
        true => LARGE_WRITE,
        false => SMALL_WRITE,
    }
}
