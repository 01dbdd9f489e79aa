use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A moment; what was written before it is safe once a sync that began later is through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SyncMark(u64);

/// Lets many layers share one syncfs(2): whoever comes while one is running that began too early does the next,
/// and all who came meanwhile find their data safe already.
#[derive(Debug, Default)]
pub(crate) struct Syncer {
    begun: AtomicU64,
    done: Mutex<u64>,
}

impl Syncer {
    /// The present moment.
    pub(crate) fn mark(&self) -> SyncMark {
        SyncMark(self.begun.load(Ordering::SeqCst))
    }

    /// Returns when all that was written to the file system before `mark` is on disk.
    pub(crate) fn sync(&self, fs: impl AsFd, mark: SyncMark) -> rustix::io::Result<()> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if *done > mark.0 {
            return Ok(());
        }
        let this = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        rustix::fs::syncfs(fs)?;
        *done = this;
        Ok(())
    }
}

/// Lets the kernel begin to write a file to the disk: a sync that comes later has less to wait for.
pub(crate) fn begin_writing(file: impl AsFd) {
    let (fd, all) = (file.as_fd().as_raw_fd(), 0);
    // What fails now, the sync tells.
    // SAFETY: takes nothing but integers, and the descriptor is open.
    let _ = unsafe { libc::sync_file_range(fd, all, all, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_sync_covers_an_earlier_mark_only() {
        let dir = tempfile::tempdir().unwrap();
        let fd = super::super::open_dir(dir.path()).unwrap();
        let syncer = Syncer::default();
        let (first, second) = (syncer.mark(), syncer.mark());
        syncer.sync(&fd, first).unwrap();
        syncer.sync(&fd, second).unwrap();
        assert_eq!(
            syncer.begun.load(Ordering::SeqCst),
            1,
            "one sync serves both"
        );
        let later = syncer.mark();
        syncer.sync(&fd, later).unwrap();
        assert_eq!(syncer.begun.load(Ordering::SeqCst), 2);
    }
}
