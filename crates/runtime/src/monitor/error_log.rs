//! What libcontainer says about a failure. Its errors lose their cause on the way from the container's
//! process to ours; what it logs in that process does not.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// A file in memory, shared with all processes forked from this one, where errors are logged.
pub(super) struct ErrorLog {
    file: File,
}

impl ErrorLog {
    /// Starts logging for this process and its children. Call once.
    pub(super) fn install() -> io::Result<Self> {
        let fd = rustix::fs::memfd_create("errors", rustix::fs::MemfdFlags::CLOEXEC)?;
        let file = File::from(fd);
        let writer = Writer(file.as_raw_fd());
        tracing::subscriber::set_global_default(writer).map_err(io::Error::other)?;
        Ok(Self { file })
    }

    /// Forgets what was logged before.
    pub(super) fn clear(&self) {
        let _ = self.file.set_len(0);
        let _ = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Start(0));
    }

    /// The first error logged: the one closest to the cause.
    pub(super) fn first(&self) -> Option<String> {
        let mut buffer = [0u8; 4096];
        let length = self.file.read_at(&mut buffer, 0).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let line = text.lines().next()?.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }
}

struct Writer(RawFd);

impl Subscriber for Writer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if *metadata.level() == Level::ERROR && metadata.is_event() {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.is_event()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut text = line.message;
        text.push_str(&line.fields);
        let mut text = text.replace('\n', " ");
        text.push('\n');
        // The descriptor is the log's, or in a child its copy; a failure to log is not worth another failure.
        // SAFETY: the ErrorLog is installed for good and its descriptor is never closed while we may log.
        let file = std::mem::ManuallyDrop::new(unsafe {
            <File as std::os::fd::FromRawFd>::from_raw_fd(self.0)
        });
        let _ = (&*file).write_all(text.as_bytes());
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "err" | "error" => write!(self.fields, ": {value:?}"),
            name => write!(self.fields, ", {name} {value:?}"),
        };
    }
}
