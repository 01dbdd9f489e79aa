//! What a container has written.

use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rctr_runtime::logs::{LogEntry, LogReader};
use rctr_runtime::{MonitorClient, WaitHandle};

use crate::{Engine, Error, Result, time};

/// Which part of a log.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Go on until the container ends, or `until` has come.
    pub follow: bool,
    /// Nothing from before: RFC 3339, seconds since 1970, or a duration back from now.
    pub since: Option<String>,
    /// Nothing from after, in the same forms.
    pub until: Option<String>,
    /// Only so many lines from the end.
    pub tail: Option<usize>,
}

/// A container's log, entry by entry.
pub struct Logs {
    reader: LogReader,
    end: Option<WaitHandle>,
    /// When `until` comes, whoever sets the clock meanwhile.
    deadline: Option<Instant>,
}

impl Engine {
    /// Opens a container's log.
    ///
    /// # Errors
    /// [`Error::NoLog`] if none is kept; [`Error::Time`] for a `since` or `until` that is no time.
    pub fn logs(&self, name: &str, options: &LogOptions) -> Result<Logs> {
        let container = self.container(name)?;
        let path = match &container.pod {
            Some(member) => member.log.clone().ok_or(Error::NoLog)?,
            None => self.store.container_dir(&container.id)?.join("log"),
        };
        // A container that was started with another driver may have one nevertheless.
        let kept = container.pod.is_some() || self.log_plan(&container)?.files.is_some();
        if !kept && !path.exists() {
            return Err(Error::NoLog);
        }
        let bound = |flag, text: &Option<String>| match text.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => match time::parse(text) {
                Some(time) => Ok(Some(time)),
                None => Err(Error::Time {
                    flag,
                    value: text.into(),
                }),
            },
        };
        let selection = rctr_runtime::logs::LogOptions {
            tail: options.tail,
            since: bound("since", &options.since)?,
            until: bound("until", &options.until)?,
            ..Default::default()
        };
        let left = |until: SystemTime| until.duration_since(SystemTime::now()).unwrap_or_default();
        let left = selection.until.map(left);
        let deadline = left.and_then(|left| Instant::now().checked_add(left));
        let follow = options.follow && container.state.status.is_live();
        let end = match follow {
            true => match MonitorClient::connect(&self.state_dir(&container.id))
                .and_then(MonitorClient::start_wait)
            {
                Err(rctr_runtime::Error::NotRunning { .. } | rctr_runtime::Error::MonitorLost) => {
                    None
                }
                other => Some(other?),
            },
            false => None,
        };
        Ok(Logs {
            reader: LogReader::open(&path, selection, end.is_some())?,
            end,
            deadline,
        })
    }
}

impl Logs {
    /// The next entry; `None` when all that is there has been read. Then [`Logs::wait`] tells whether more comes.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>> {
        Ok(self.reader.next_entry()?)
    }

    /// When following, blocks until there may be more entries; false if there never will.
    ///
    /// # Errors
    /// The log cannot be watched.
    pub fn wait(&mut self) -> Result<bool> {
        let (Some(end), Some(watch)) = (&self.end, self.reader.watch_fd()) else {
            return Ok(false);
        };
        if self.reader.is_over() {
            return Ok(false);
        }
        let now = Instant::now();
        let left = self.deadline.map(|at| at.saturating_duration_since(now));
        let timeout = match left {
            None => PollTimeout::NONE,
            // Not a moment too early.
            Some(left) => {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut fds = [
            PollFd::new(watch, PollFlags::POLLIN),
            PollFd::new(end.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(Error::file("poll", "log".as_ref())(errno.into())),
        }
        let late = left.is_some_and(|left| left.is_zero());
        let ended = fds[1].any() == Some(true) || late;
        self.reader.clear_watch();
        if ended {
            // Everything was written before the end was told, or the time was: one more look, then stop.
            self.end = None;
        }
        Ok(true)
    }
}
