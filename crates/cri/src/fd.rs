//! Pipes, terminals and sockets of a process, as an event loop needs them.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// Bytes that are read at once.
const CHUNK: usize = 32 * 1024;

/// A descriptor that never blocks the thread.
pub(crate) struct Fd(AsyncFd<OwnedFd>);

impl Fd {
    pub fn new(fd: OwnedFd) -> io::Result<Fd> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        // SAFETY: an owned descriptor stays open, and the same, until it is dropped.
        Ok(Fd(unsafe { AsyncFd::register(fd) }?))
    }

    pub fn readiness(&self) -> &AsyncFd<OwnedFd> {
        &self.0
    }

    /// What there is to read; empty at the end.
    pub async fn read(&self) -> io::Result<Bytes> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(bytes) = ready.try_io(|fd| read(fd.get_ref())) {
                return bytes;
            }
        }
    }

    /// What there is to read at this moment; empty if nothing, or at the end.
    pub fn read_now(&self) -> io::Result<Bytes> {
        // Not by the readiness known so far: the event that tells of the bytes may not have been looked at.
        match read(self.0.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Bytes::new()),
            other => other,
        }
    }

    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?))
            {
                Ok(count) => bytes = &bytes[count?..],
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}

fn read(fd: &OwnedFd) -> io::Result<Bytes> {
    let mut buffer = [0; CHUNK];
    match rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut buffer)) {
        Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
        // A terminal whose last process has gone gives an error instead of an end.
        Err(Errno::IO) => Ok(Bytes::new()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipe_is_read_and_written_without_blocking() {
        let (reader, writer) = io::pipe().unwrap();
        let (reader, writer) = (
            Fd::new(reader.into()).unwrap(),
            Fd::new(writer.into()).unwrap(),
        );
        assert!(reader.read_now().unwrap().is_empty());
        let sent = vec![7; 1 << 20];
        let all = async {
            let mut all = Vec::new();
            loop {
                match reader.read().await.unwrap() {
                    chunk if chunk.is_empty() => return all,
                    chunk => all.extend_from_slice(&chunk),
                }
            }
        };
        let send = async {
            writer.write_all(&sent).await.unwrap();
            drop(writer);
        };
        let (all, ()) = tokio::join!(all, send);
        assert_eq!(all, sent);
    }

    #[tokio::test]
    async fn a_terminal_that_hung_up_is_at_its_end() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let master = Fd::new(pty.master).unwrap();
        rustix::io::write(&pty.slave, b"last words").unwrap();
        drop(pty.slave);
        assert_eq!(&master.read_now().unwrap()[..], b"last words");
        assert!(master.read().await.unwrap().is_empty());
    }
}
