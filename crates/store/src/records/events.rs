use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::{Tx, from_json, to_json};
use crate::Result;
use crate::error::At;
use crate::store::Store;

/// So many events are kept; older ones are forgotten.
const KEPT: i64 = 10_000;
/// The oldest are deleted so many at a time.
const AT_ONCE: i64 = 64;
/// A reader takes so many at a time.
const BATCH: i64 = 500;

/// Something that happened, to be recorded.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    /// What it happened to: `container`, `image`, `volume`, `network`, `builder`.
    pub kind: &'a str,
    /// What happened: `create`, `die`, `exec_create: ls`.
    pub action: &'a str,
    /// Id or name of what it happened to; empty for what has none.
    pub actor: &'a str,
    /// What else is known of it.
    pub attributes: &'a BTreeMap<String, String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Grows by one from event to event.
    pub seq: i64,
    /// When, in nanoseconds since 1970.
    pub time: i64,
    /// What it happened to.
    pub kind: String,
    /// What happened.
    pub action: String,
    /// Id or name of what it happened to.
    pub actor: String,
    /// What else is known of it.
    pub attributes: BTreeMap<String, String>,
}

impl Tx<'_> {
    /// Records that something happened, in the transaction that makes it so: the event is there if and only if the
    /// change is. The oldest events go when there are more than ten thousand.
    ///
    /// # Errors
    /// [`Error::Document`](crate::Error::Document), [`Error::Database`](crate::Error::Database).
    pub fn add_event(&self, new: &NewEvent<'_>) -> Result<()> {
        let attributes = to_json("event", new.attributes)?;
        let seq: Option<i64> = self.first(
            "INSERT INTO events (time, kind, action, actor, attributes) VALUES (?, ?, ?, ?, ?) RETURNING seq",
            (nanoseconds(), new.kind, new.action, new.actor, attributes),
            |row| row.get(0),
        )?;
        match seq {
            Some(seq) if seq % AT_ONCE == 0 => self
                .execute("DELETE FROM events WHERE seq <= ?", [seq - KEPT])
                .map(drop),
            _ => Ok(()),
        }
    }

    /// Notes that an event about `actor` is due, and will be told by whoever [pays](Self::pay_event) first.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn owe_event(&self, actor: &str) -> Result<()> {
        self.execute(
            "INSERT OR IGNORE INTO events_due (actor) VALUES (?)",
            [actor],
        )
        .map(drop)
    }

    /// Whether an event about `actor` was due; it is not any more.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn pay_event(&self, actor: &str) -> Result<bool> {
        let paid = self.execute("DELETE FROM events_due WHERE actor = ?", [actor])?;
        Ok(paid > 0)
    }

    /// What follows `prefix` in those about whom an event is due.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn events_due(&self, prefix: &str) -> Result<Vec<String>> {
        self.all(
            "SELECT substr(actor, length(?1) + 1) FROM events_due
             WHERE actor > ?1 AND substr(actor, 1, length(?1)) = ?1 ORDER BY actor",
            [prefix],
            |row| row.get(0),
        )
    }

    fn events_after(&self, seq: i64) -> Result<Vec<Event>> {
        let rows = self.all(
            "SELECT seq, time, kind, action, actor, attributes FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            [seq, BATCH],
            |row| {
                Ok((
                    Event {
                        seq: row.get(0)?,
                        time: row.get(1)?,
                        kind: row.get(2)?,
                        action: row.get(3)?,
                        actor: row.get(4)?,
                        attributes: BTreeMap::new(),
                    },
                    row.get::<_, String>(5)?,
                ))
            },
        )?;
        rows.into_iter()
            .map(|(event, attributes)| {
                Ok(Event {
                    attributes: from_json("event", &attributes)?,
                    ..event
                })
            })
            .collect()
    }
}

impl Store {
    /// The first events after the one with this number, in order; with 0 from the oldest that is kept. Whoever is writing
    /// at this moment is waited for: all that a [`Watch`] has told of is there.
    ///
    /// # Errors
    /// [`Error::Document`](crate::Error::Document), [`Error::Database`](crate::Error::Database).
    pub fn events_after(&self, seq: i64) -> Result<Vec<Event>> {
        self.alone(|tx| tx.events_after(seq))
    }

    /// The number of the newest event; 0 if there never was one.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn last_event(&self) -> Result<i64> {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'events'";
        let last = self.read(|tx| tx.first(sql, [], |row| row.get(0)))?;
        Ok(last.unwrap_or(0))
    }

    /// Begins to watch for changes of the records, by whichever process.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn watch(&self) -> Result<Watch> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        let begun = inotify.and_then(|inotify| {
            // Of the directory, as the log may be made anew.
            let written = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE;
            inotify.add_watch(self.root(), written)?;
            Ok(Watch { inotify })
        });
        begun.map_err(std::io::Error::from).at("watch", self.root())
    }
}

/// Tells that the records may have changed.
///
/// What it tells of is being written and perhaps not yet to be seen; [`Store::events_after`] waits for that.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
}

impl Watch {
    /// Takes what has been told so far; false if there was nothing.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn drain(&self) -> Result<bool> {
        let mut told = false;
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    told |= events.iter().any(|event| match &event.name {
                        Some(name) => name.as_encoded_bytes().starts_with(b"store.db"),
                        // Some were lost.
                        None => true,
                    });
                }
                Err(Errno::EAGAIN) => return Ok(told),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(std::io::Error::from(errno)).at("read", "inotify");
                }
            }
        }
    }
}

impl AsFd for Watch {
    /// Readable once something changes.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn nanoseconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::Error;
    use crate::tests::store;

    fn add(store: &Store, actor: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), "web".to_owned())]);
        let new = NewEvent {
            kind: "container",
            action: "start",
            actor,
            attributes: &attributes,
        };
        store.write(|tx| tx.add_event(&new)).unwrap();
    }

    #[test]
    fn events_come_in_order_and_the_oldest_go() {
        let (_dir, store) = store();
        assert_eq!(store.last_event().unwrap(), 0);
        let attributes = BTreeMap::new();
        let all = KEPT + 3 * AT_ONCE;
        let add = |tx: &Tx<'_>, actor: String| {
            tx.add_event(&NewEvent {
                kind: "image",
                action: "pull",
                actor: &actor,
                attributes: &attributes,
            })
        };
        store
            .write(|tx| (0..all).try_for_each(|i| add(tx, i.to_string())))
            .unwrap();
        assert_eq!(store.last_event().unwrap(), all);
        let first = store.events_after(0).unwrap();
        assert_eq!(first.len() as i64, BATCH);
        let kept = all - first[0].seq + 1;
        assert!((KEPT..KEPT + AT_ONCE).contains(&kept), "{kept}");
        assert!(first.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
        assert!(first[0].time > 1_700_000_000_000_000_000);
        let last = store.events_after(all - 1).unwrap();
        assert_eq!(last[0].actor, (all - 1).to_string());
    }

    #[test]
    fn what_is_rolled_back_did_not_happen() {
        let (_dir, store) = store();
        add(&store, "a");
        let undone: Result<()> = store.write(|tx| {
            let attributes = BTreeMap::new();
            tx.add_event(&NewEvent {
                kind: "container",
                action: "die",
                actor: "b",
                attributes: &attributes,
            })?;
            Err(Error::NoSuchContainer {
                container: "b".into(),
            })
        });
        assert!(undone.is_err());
        add(&store, "c");
        let events = store.events_after(0).unwrap();
        let seen: Vec<_> = events.iter().map(|e| (e.seq, e.actor.as_str())).collect();
        assert_eq!(seen, [(1, "a"), (2, "c")]);
        assert_eq!(events[0].attributes["name"], "web");
    }

    #[test]
    fn a_due_event_is_paid_once() {
        let (_dir, store) = store();
        store.write(|tx| tx.owe_event("a")).unwrap();
        assert!(store.write(|tx| tx.pay_event("a")).unwrap());
        assert!(!store.write(|tx| tx.pay_event("a")).unwrap());
        for actor in ["b", "b/1", "b/2", "c/3"] {
            store.write(|tx| tx.owe_event(actor)).unwrap();
        }
        assert_eq!(store.write(|tx| tx.events_due("b/")).unwrap(), ["1", "2"]);
    }

    #[test]
    fn no_event_is_missed_by_one_who_sleeps() {
        let (_dir, store) = store();
        let watch = store.watch().unwrap();
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let root = store.root().to_owned();
                std::thread::spawn(move || {
                    for i in 0..25 {
                        // Each from a connection of its own, as processes have it.
                        add(&Store::open(&root).unwrap(), &format!("{writer}-{i}"));
                    }
                })
            })
            .collect();
        let mut seen = Vec::new();
        while seen.len() < 200 {
            let last = seen.last().map_or(0, |event: &Event| event.seq);
            let new = store.events_after(last).unwrap();
            let none = new.is_empty();
            seen.extend(new);
            if none {
                let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
                assert_eq!(
                    poll(&mut fds, PollTimeout::from(5_000u16)),
                    Ok(1),
                    "{} of {}",
                    seen.len(),
                    store.last_event().unwrap()
                );
                watch.drain().unwrap();
            }
        }
        for writer in writers {
            writer.join().unwrap();
        }
        let numbers: Vec<i64> = seen.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=200).collect::<Vec<i64>>());
    }
}
