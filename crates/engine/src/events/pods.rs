//! What happens to pods and their containers, for whoever serves a kubelet: rows of their own, which `rctr events` does not
//! show. Nothing of what a kubelet is told of by them comes from labels.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rctr_store::{NewEvent, Tx};

use super::{Attributes, ContainerEvent, Event, EventFilter, Events, Stored};
use crate::model::Container;
use crate::pod::Pod;
use crate::{Engine, Result};

/// The kind of these rows.
pub(super) const KIND: &str = "pod";

/// What becomes of a pod, or of a container of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodChange {
    /// It was made.
    Created,
    /// It runs.
    Started,
    /// It has ended: a container's end is recorded, a pod has nothing left.
    Stopped,
    /// It was removed.
    Deleted,
}

const WORDS: [(PodChange, &str); 4] = [
    (PodChange::Created, "created"),
    (PodChange::Started, "started"),
    (PodChange::Stopped, "stopped"),
    (PodChange::Deleted, "deleted"),
];

impl PodChange {
    fn of_member(event: &ContainerEvent<'_>) -> Option<PodChange> {
        Some(match event {
            ContainerEvent::Create => PodChange::Created,
            ContainerEvent::Start => PodChange::Started,
            ContainerEvent::Die => PodChange::Stopped,
            ContainerEvent::Destroy => PodChange::Deleted,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        let found = WORDS.iter().find(|(change, _)| *change == self);
        found.map_or("", |(_, word)| word)
    }

    fn parse(word: &str) -> Option<PodChange> {
        let found = WORDS.iter().find(|(_, known)| *known == word);
        found.map(|(change, _)| *change)
    }
}

/// Something that happened to a pod, or to a container of one.
#[derive(Debug, Clone)]
pub struct PodEvent {
    /// Grows from event to event.
    pub seq: i64,
    /// When, in nanoseconds since 1970.
    pub time: i64,
    /// What happened.
    pub change: PodChange,
    /// The container's id, or for the pod itself the pod's.
    pub id: String,
    /// The pod's id.
    pub pod: String,
    /// The pod as it was, if it has been removed.
    pub last: Option<Box<Pod>>,
}

impl PodEvent {
    fn of(event: &Event) -> Option<PodEvent> {
        let attribute = |name: &str| event.attributes.get(name);
        Some(PodEvent {
            seq: event.seq,
            time: event.time,
            change: PodChange::parse(&event.action)?,
            id: event.actor.clone(),
            pod: attribute("pod")?.clone(),
            last: attribute("record").and_then(|text| serde_json::from_str(text).ok()),
        })
    }
}

/// A container of a pod has come a step further.
pub(super) fn member(tx: &Tx<'_>, container: &Container, event: &ContainerEvent<'_>) -> Stored {
    match (&container.pod, PodChange::of_member(event)) {
        (Some(member), Some(change)) => {
            let attributes = Attributes::from([("pod".to_owned(), member.pod.clone())]);
            add(tx, change, &container.id, &attributes)
        }
        _ => Ok(()),
    }
}

/// A pod is there, with its namespaces and its network.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn ready(tx: &Tx<'_>, pod: &Pod) -> Stored {
    for change in [PodChange::Created, PodChange::Started] {
        add(tx, change, &pod.id, &itself(pod))?;
    }
    tx.owe_event(&stop_due(&pod.id))
}

/// Nothing of a pod is left but its record, unless that was told already, or it never was ready.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn stopped(tx: &Tx<'_>, pod: &Pod) -> Stored {
    match tx.pay_event(&stop_due(&pod.id))? {
        true => add(tx, PodChange::Stopped, &pod.id, &itself(pod)),
        false => Ok(()),
    }
}

/// A pod is removed.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn deleted(tx: &Tx<'_>, pod: &Pod) -> Stored {
    stopped(tx, pod)?;
    let mut attributes = itself(pod);
    // Whoever reads this finds no record any more.
    if let Ok(record) = serde_json::to_string(pod) {
        attributes.insert("record".into(), record);
    }
    add(tx, PodChange::Deleted, &pod.id, &attributes)
}

fn itself(pod: &Pod) -> Attributes {
    Attributes::from([("pod".to_owned(), pod.id.clone())])
}

fn stop_due(pod: &str) -> String {
    format!("pod/{pod}")
}

fn add(tx: &Tx<'_>, change: PodChange, actor: &str, attributes: &Attributes) -> Stored {
    tx.add_event(&NewEvent {
        kind: KIND,
        action: change.word(),
        actor,
        attributes,
    })
}

impl Engine {
    /// What happens to pods from now on, or from after the event with this number on, but for what is older than `age`.
    ///
    /// # Errors
    /// The store cannot be read or watched.
    pub fn pod_events(&self, after: Option<i64>, age: Duration) -> Result<PodEvents> {
        let since = SystemTime::now().checked_sub(age);
        let since = since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        let since = since.and_then(|since| i64::try_from(since.as_nanos()).ok());
        let from = since.unwrap_or(i64::MIN);
        let events = Events::of_pods(&self.store, after, from)?;
        Ok(PodEvents { events })
    }
}

/// What happens to pods, as it comes.
pub struct PodEvents {
    events: Events,
}

impl PodEvents {
    /// The next one, if it is there; does not block.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn ready(&mut self) -> Result<Option<PodEvent>> {
        while let Some(event) = self.events.ready()? {
            if let Some(event) = PodEvent::of(&event) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The number of the last event that was read, of whatever kind.
    pub fn last(&self) -> i64 {
        self.events.last()
    }

    /// How many have been forgotten before they were read since this was asked last.
    pub fn missed(&mut self) -> u64 {
        self.events.missed()
    }
}

impl AsFd for PodEvents {
    /// Readable once [`PodEvents::ready`] may have something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// Whether a reader gets an event: those of pods are for those who ask for them.
pub(super) fn wanted(of_pods: bool, filter: &EventFilter, event: &Event) -> bool {
    (event.kind == KIND) == of_pods && filter.matches(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for (change, word) in WORDS {
            assert_eq!(
                (change.word(), PodChange::parse(word)),
                (word, Some(change))
            );
        }
        assert_eq!(PodChange::parse("kill"), None);
    }

    #[test]
    fn pods_are_none_of_a_user_s_business() {
        let event = |kind: &str| Event {
            seq: 1,
            time: 2,
            kind: kind.into(),
            action: "stopped".into(),
            actor: "c".into(),
            attributes: Attributes::from([("pod".to_owned(), "p".to_owned())]),
        };
        let all = EventFilter::default();
        assert!(wanted(true, &all, &event("pod")) && !wanted(false, &all, &event("pod")));
        assert!(
            !wanted(true, &all, &event("container")) && wanted(false, &all, &event("container"))
        );
        let told = PodEvent::of(&event("pod")).unwrap();
        assert_eq!(
            (told.change, told.id.as_str(), told.pod.as_str()),
            (PodChange::Stopped, "c", "p")
        );
        assert!(told.last.is_none());
    }
}
