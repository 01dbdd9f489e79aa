//! Notices containers that somebody else starts: every run has a state directory, which is made before it begins.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::ends::Ends;

/// Watches the state directories' parent from now on. To be called on the runtime that serves.
///
/// # Errors
/// The directory cannot be made or watched.
pub(crate) fn watch(ends: Ends, state: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(state)?;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(state, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ONLYDIR)?;
    // SAFETY: it owns its descriptor, which stays open, and the same, until it is dropped.
    let made = unsafe { AsyncFd::register_with_interest(Made(inotify), Interest::READABLE) }?;
    tokio::spawn(async move {
        if let Err(error) = look_at(&ends, &made).await {
            tracing::warn!(%error, "containers that are started by hand are noticed late");
        }
    });
    Ok(())
}

async fn look_at(ends: &Ends, made: &AsyncFd<Made>) -> io::Result<()> {
    loop {
        let mut ready = made.readable().await?;
        for event in made.get_ref().read()? {
            match event.name.as_ref().and_then(|name| name.to_str()) {
                Some(id) if is_id(id) => ends.appeared(id),
                Some(_) => {}
                // More has happened than the kernel could remember.
                None => ends.look_at_all(),
            }
        }
        ready.clear_ready();
    }
}

fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What has been made.
struct Made(Inotify);

impl Made {
    fn read(&self) -> io::Result<Vec<InotifyEvent>> {
        match self.0.read_events() {
            Err(Errno::EAGAIN) => Ok(Vec::new()),
            other => Ok(other?),
        }
    }
}

impl AsRawFd for Made {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
