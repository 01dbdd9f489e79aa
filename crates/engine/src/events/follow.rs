//! Events as they are read: those that there were, and those that come.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rctr_store::{Event, Store, Watch};

use super::{EventFilter, pods};
use crate::{Engine, Error, Result, time};

impl Engine {
    /// Events that pass the filter, as they come; with `since` or `until` also those that there were, as far as they
    /// are kept. They end with `until`.
    ///
    /// # Errors
    /// [`Error::Time`]; [`Error::SinceAfterUntil`]; the store cannot be read or watched.
    pub fn events(
        &self,
        since: Option<&str>,
        until: Option<&str>,
        filter: EventFilter,
    ) -> Result<Events> {
        let (from, to) = (moment("since", since)?, moment("until", until)?);
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(Error::SinceAfterUntil {
                since: since.unwrap_or_default().into(),
                until: until.unwrap_or_default().into(),
            });
        }
        let after = match (from, to) {
            (None, None) => None,
            _ => Some(0),
        };
        let left = to.map(|to| to.saturating_sub(nanoseconds(SystemTime::now())));
        let left = left.map(|left| Duration::from_nanos(u64::try_from(left).unwrap_or(0)));
        Ok(Events {
            filter,
            from: from.unwrap_or(i64::MIN),
            to,
            end: left.and_then(|left| Instant::now().checked_add(left)),
            ..Events::after(&self.store, after)?
        })
    }
}

/// `--since` and `--until`, in nanoseconds since 1970.
fn moment(flag: &'static str, text: Option<&str>) -> Result<Option<i64>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let time = time::parse(text).ok_or_else(|| Error::Time {
        flag,
        value: text.into(),
    })?;
    Ok(Some(nanoseconds(time)))
}

fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Events as they come.
pub struct Events {
    store: Store,
    watch: Watch,
    /// Only what happens to pods, or all but that.
    of_pods: bool,
    filter: EventFilter,
    from: i64,
    to: Option<i64>,
    /// When that is, whoever sets the clock meanwhile.
    end: Option<Instant>,
    /// The number of the last one that was read.
    last: i64,
    waiting: VecDeque<Event>,
    missed: i64,
}

impl Events {
    /// Those after the one with this number, or from now on.
    fn after(store: &Store, after: Option<i64>) -> Result<Events> {
        // Before the first look: nothing may come in between.
        let watch = store.watch()?;
        let last = match after {
            Some(last) => last,
            None => store.last_event()?,
        };
        Ok(Events {
            store: store.clone(),
            watch,
            of_pods: false,
            filter: EventFilter::default(),
            from: i64::MIN,
            to: None,
            end: None,
            last,
            waiting: VecDeque::new(),
            missed: 0,
        })
    }

    /// What happens to pods, after the event with this number, or from now on; nothing from before `from`.
    pub(super) fn of_pods(store: &Store, after: Option<i64>, from: i64) -> Result<Events> {
        Ok(Events {
            of_pods: true,
            from,
            ..Events::after(store, after)?
        })
    }

    /// The number of the last one that was read.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// The next one; blocks until there is one. `None` at the end that was asked for.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready()? {
                return Ok(Some(event));
            }
            let now = Instant::now();
            let left = self.end.map(|end| end.saturating_duration_since(now));
            if left.is_some_and(|left| left.is_zero()) {
                // What was on its way when time was up.
                return self.ready();
            }
            self.wait(left)?;
        }
    }

    /// The next one, if it is there; does not block.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn ready(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some(event) = self.waiting.pop_front() {
                self.last = event.seq;
                let in_time = event.time >= self.from && self.to.is_none_or(|to| event.time <= to);
                if in_time && pods::wanted(self.of_pods, &self.filter, &event) {
                    return Ok(Some(event));
                }
            }
            self.watch.drain()?;
            self.waiting = self.store.events_after(self.last)?.into();
            match self.waiting.front() {
                Some(first) if self.last > 0 => self.missed += first.seq - self.last - 1,
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// How many have been forgotten before they were read since this was asked last.
    pub fn missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed).unsigned_abs()
    }

    fn wait(&self, left: Option<Duration>) -> Result<()> {
        let timeout = match left {
            None => PollTimeout::NONE,
            Some(left) => {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(
            &mut [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(errno) => Err(Error::file("watch", self.store.root())(errno.into())),
        }
    }
}

impl AsFd for Events {
    /// Readable once [`Events::ready`] may have something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}
