//! The sets of networks, which the kernel keeps as intervals of addresses.

use ipnet::IpNet;

use super::batch::{Batch, NewElement};
use super::{Element, TABLE, elements, ruleset};
use crate::Result;
use crate::addressing::octets;
use crate::netlink::Socket;

/// Which intervals of a set are taken out.
#[derive(Clone, Copy)]
pub(super) enum Gone {
    /// All that have an address of the network: no other one may lie there.
    Overlapping,
    /// The one that begins where the network does, however long it is: the network's own.
    Own,
}

/// Takes the intervals of a network out of the sets. A network whose length was changed in the configuration has one that
/// ends elsewhere.
pub(super) fn push_removal(
    socket: &Socket,
    batch: &mut Batch,
    network: IpNet,
    gone: Gone,
    operation: &str,
) -> Result<()> {
    let wanted = Interval::of(network);
    for set in ruleset::network_sets(network) {
        let known = Interval::all(elements(socket, set, operation)?);
        let known = known.into_iter().filter(|interval| match gone {
            Gone::Overlapping => interval.overlaps(&wanted),
            Gone::Own => interval.first == wanted.first,
        });
        for interval in known {
            batch.delete_elements(TABLE, set, &interval.elements());
        }
    }
    Ok(())
}

/// Addresses from the first one on, up to the one before `end`; without it, up to the last one of all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interval {
    first: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl Interval {
    pub(super) fn of(network: IpNet) -> Self {
        let mut end = octets(network.broadcast());
        let carried = end.iter_mut().rev().any(|byte| {
            *byte = byte.wrapping_add(1);
            *byte != 0
        });
        Self {
            first: octets(network.network()),
            end: carried.then_some(end),
        }
    }

    /// The intervals of a set: each element begins one or ends one.
    fn all(elements: Vec<Element>) -> Vec<Self> {
        let (ends, firsts): (Vec<_>, Vec<_>) =
            elements.into_iter().partition(Element::ends_interval);
        let end_after = |first: &Vec<u8>| {
            let after = ends.iter().map(|e| &e.key).filter(|end| *end > first);
            after.min().cloned()
        };
        firsts
            .into_iter()
            .map(|element| Self {
                end: end_after(&element.key),
                first: element.key,
            })
            .collect()
    }

    fn overlaps(&self, other: &Self) -> bool {
        let begins_in = |a: &Self, b: &Self| {
            a.first >= b.first && b.end.as_ref().is_none_or(|end| a.first < *end)
        };
        begins_in(self, other) || begins_in(other, self)
    }

    /// As the kernel takes and gives them.
    pub(super) fn elements(&self) -> Vec<NewElement> {
        let first = NewElement::key(self.first.clone());
        let end = self.end.clone().map(NewElement::end);
        [Some(first), end].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(network: &str) -> Interval {
        Interval::of(network.parse().unwrap())
    }

    #[test]
    fn they_end_after_the_last_address() {
        let v4 = interval("10.88.0.0/16");
        assert_eq!(v4.first, [10, 88, 0, 0]);
        assert_eq!(v4.end.as_deref(), Some(&[10, 89, 0, 0][..]));
        assert_eq!(v4.elements().len(), 2);
        let last = interval("255.255.0.0/16");
        assert_eq!(last.end, None);
        assert_eq!(last.elements().len(), 1);
        let v6 = interval("fd00:0:0:ffff::/64");
        assert_eq!(v6.end.unwrap()[..8], [0xfd, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn they_are_found_among_elements_of_any_order() {
        let networks = ["10.88.1.0/24", "10.88.0.0/24", "255.255.0.0/16"];
        let elements = networks
            .iter()
            .flat_map(|network| interval(network).elements());
        let mut elements: Vec<Element> = elements
            .map(|new| Element {
                key: new.key,
                data: Vec::new(),
                flags: new.flags,
            })
            .collect();
        elements.reverse();
        let mut found = Interval::all(elements);
        found.sort_by(|a, b| a.first.cmp(&b.first));
        let expected = ["10.88.0.0/24", "10.88.1.0/24", "255.255.0.0/16"];
        assert_eq!(found, expected.map(interval));
    }

    #[test]
    fn overlaps() {
        for (a, b, expected) in [
            ("10.0.0.0/24", "10.0.0.0/20", true),
            ("10.0.3.0/24", "10.0.0.0/20", true),
            ("10.0.0.0/24", "10.0.1.0/24", false),
            ("255.255.255.0/24", "255.255.0.0/16", true),
        ] {
            assert_eq!(interval(a).overlaps(&interval(b)), expected, "{a} {b}");
            assert_eq!(interval(b).overlaps(&interval(a)), expected, "{a} {b}");
        }
    }
}
