//! Messages of the interface as the engine's options, and the engine's records as messages.

pub(crate) mod container;
pub(crate) mod pod;
pub(crate) mod resources;
pub(crate) mod security;
pub(crate) mod signal;
pub(crate) mod stats;
pub(crate) mod time;

use std::collections::{BTreeMap, HashMap};

use tonic::Status;

/// A map with its keys in order.
pub(crate) fn sorted(map: HashMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().collect()
}

/// The same the other way.
pub(crate) fn unsorted(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// `None` for the interface's way of saying nothing.
pub(crate) fn said(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The part of a request that must be there.
pub(crate) fn required<T>(part: Option<T>, what: &str) -> Result<T, Status> {
    part.ok_or_else(|| Status::invalid_argument(format!("{what} is missing")))
}

/// An enumeration's number as its value.
pub(crate) fn known<E: TryFrom<i32>>(number: i32, what: &str) -> Result<E, Status> {
    E::try_from(number)
        .map_err(|_| Status::invalid_argument(format!("{what} {number} is not known")))
}

/// A number in the range of another type.
pub(crate) fn number<T: TryFrom<i64>>(value: i64, what: &str) -> Result<T, Status> {
    T::try_from(value)
        .map_err(|_| Status::invalid_argument(format!("{what} {value} is out of range")))
}

/// Whether every label that a selector names is there with its value.
pub(crate) fn selects(
    selector: &HashMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> bool {
    selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_want_all_their_labels() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".into(), "2".into())]);
        let selects = |pairs: &[(&str, &str)]| {
            let own = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            selects(&own.collect(), &labels)
        };
        assert!(selects(&[]) && selects(&[("a", "1")]) && selects(&[("a", "1"), ("b", "2")]));
        assert!(!selects(&[("a", "2")]) && !selects(&[("a", "1"), ("c", "")]));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(number::<u16>(80, "port").unwrap(), 80);
        let said = number::<u16>(70_000, "port").unwrap_err();
        assert_eq!(said.message(), "port 70000 is out of range");
        assert!(number::<u32>(-1, "uid").is_err());
    }
}
