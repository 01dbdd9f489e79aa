//! The container's standard input.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// More is not taken from clients before the container has read some.
const ENOUGH: usize = 64 * 1024;

/// Bytes on their way to a container that reads when it likes.
pub(super) struct Input {
    fd: OwnedFd,
    queue: Vec<u8>,
    ending: bool,
}

impl Input {
    /// Writes to `fd`, which must be non-blocking.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            queue: Vec::new(),
            ending: false,
        }
    }

    /// Takes bytes and writes what fits; false when the input is at its end.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        self.queue.extend_from_slice(bytes);
        self.flush()
    }

    /// Closes the input once what is queued has been written; false if that is already so.
    pub(super) fn end(&mut self) -> bool {
        self.ending = true;
        !self.queue.is_empty()
    }

    /// Whether bytes wait.
    pub(super) fn wants_write(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether clients should hold back.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= ENOUGH
    }

    /// Writes what fits; false when the input is at its end, or nobody will ever read it.
    pub(super) fn flush(&mut self) -> bool {
        while !self.queue.is_empty() {
            match rustix::io::write(&self.fd, &self.queue) {
                Ok(count) => drop(self.queue.drain(..count)),
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        self.queue.shrink_to(0);
        !self.ending
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn input_ends_after_what_was_queued() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut input = Input::new(writer);
        let much = vec![b'x'; 200_000];
        assert!(input.push(&much));
        assert!(input.is_full());
        assert!(input.end());

        let mut reader = std::fs::File::from(reader);
        let mut got = Vec::new();
        let mut chunk = [0; 65536];
        while input.flush() {
            let count = reader.read(&mut chunk).unwrap();
            got.extend_from_slice(&chunk[..count]);
        }
        drop(input);
        reader.read_to_end(&mut got).unwrap();
        assert_eq!(got, much);
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_input() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        // The test harness, like the monitor, ignores SIGPIPE.
        assert!(!Input::new(writer).push(b"x"));
    }
}
