//! Who answers to which name, as seen from one container.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Host, Zone};

/// What a name is to the one who asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A container with these addresses, of both families.
    Addresses(Vec<IpAddr>),
    /// The name of the container that has the address.
    Name(String),
}

/// The zone, ready for questions.
#[derive(Debug, Default)]
pub(super) struct Tables {
    hosts: HashMap<String, Host>,
    networks: HashMap<String, Network>,
}

#[derive(Debug, Default)]
struct Network {
    names: HashMap<String, Vec<IpAddr>>,
    addresses: HashMap<IpAddr, String>,
}

impl Tables {
    pub(super) fn new(zone: Zone) -> Tables {
        let mut tables = Tables::default();
        for host in zone.hosts {
            for place in &host.places {
                let network = tables.networks.entry(place.network.clone()).or_default();
                for name in &place.names {
                    let addresses = network.names.entry(name.to_ascii_lowercase()).or_default();
                    addresses.extend(&place.addresses);
                }
                if let Some(name) = place.names.first() {
                    let name = format!("{name}.{}", place.network_name);
                    let reverse = place.addresses.iter().map(|ip| (*ip, name.clone()));
                    network.addresses.extend(reverse);
                }
            }
            tables.hosts.insert(host.id.clone(), host);
        }
        tables
    }

    pub(super) fn host(&self, id: &str) -> Option<&Host> {
        self.hosts.get(id)
    }

    /// The ids of all containers.
    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        self.hosts.keys()
    }

    /// A name without its last dot, in whatever case, as `id` sees it: a name on one of its networks, or `NAME.NETWORK`.
    pub(super) fn by_name(&self, id: &str, name: &str) -> Option<Found> {
        let name = name.to_ascii_lowercase();
        let places = &self.hosts.get(id)?.places;
        let on = |network: &str, name: &str| self.networks.get(network)?.names.get(name);
        let plain = places.iter().find_map(|place| on(&place.network, &name));
        let qualified = || {
            let (name, network) = name.rsplit_once('.')?;
            places
                .iter()
                .filter(|place| place.network_name.eq_ignore_ascii_case(network))
                .find_map(|place| on(&place.network, name))
        };
        plain
            .or_else(qualified)
            .map(|addresses| Found::Addresses(addresses.clone()))
    }

    /// The same for the name that stands for an address (RFC 1035 3.5, RFC 3596 2.5).
    pub(super) fn by_address(&self, id: &str, name: &str) -> Option<Found> {
        let address = reverse(name)?;
        let places = &self.hosts.get(id)?.places;
        places
            .iter()
            .find_map(|place| self.networks.get(&place.network)?.addresses.get(&address))
            .map(|name| Found::Name(name.clone()))
    }
}

/// The address in `4.3.2.1.in-addr.arpa` or the longer form of IPv6.
fn reverse(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = digits.rsplit('.');
        for octet in &mut octets {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts
            .next()
            .is_none()
            .then(|| Ipv4Addr::from(octets).into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0_u128;
    let mut count = 0;
    for digit in digits.rsplit('.') {
        let digit = digit
            .chars()
            .next()
            .filter(|_| digit.len() == 1)?
            .to_digit(16)?;
        bits = (bits << 4) | u128::from(digit);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(bits).into())
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;

    fn host(id: &str, places: &[(&str, &[&str], &str)]) -> Host {
        Host {
            id: id.into(),
            places: places
                .iter()
                .map(|(network, names, address)| Place {
                    network: format!("id-{network}"),
                    network_name: (*network).into(),
                    names: names.iter().map(|n| (*n).into()).collect(),
                    addresses: vec![address.parse().unwrap()],
                })
                .collect(),
            forwards: true,
            servers: Vec::new(),
        }
    }

    fn tables() -> Tables {
        Tables::new(Zone {
            hosts: vec![
                host(
                    "a",
                    &[
                        ("front", &["Web", "aaa"], "10.1.0.2"),
                        ("back", &["Web"], "10.2.0.2"),
                    ],
                ),
                host("b", &[("back", &["db", "sql"], "10.2.0.3")]),
                host("c", &[("back", &["db2", "sql"], "10.2.0.4")]),
                host("d", &[("other", &["lone"], "fd00::2")]),
            ],
        })
    }

    fn addresses(found: Option<Found>) -> Vec<String> {
        match found {
            Some(Found::Addresses(addresses)) => {
                addresses.iter().map(ToString::to_string).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_those_on_a_shared_network_are_known() {
        let tables = tables();
        assert_eq!(addresses(tables.by_name("a", "DB")), ["10.2.0.3"]);
        assert_eq!(addresses(tables.by_name("a", "aaa")), ["10.1.0.2"]);
        assert_eq!(addresses(tables.by_name("b", "web")), ["10.2.0.2"]);
        assert_eq!(
            addresses(tables.by_name("b", "sql")),
            ["10.2.0.3", "10.2.0.4"]
        );
        assert_eq!(tables.by_name("b", "aaa"), None);
        assert_eq!(tables.by_name("d", "db"), None);
        assert_eq!(tables.by_name("nobody", "db"), None);
    }

    #[test]
    fn a_name_may_be_followed_by_its_network() {
        let tables = tables();
        assert_eq!(addresses(tables.by_name("a", "web.back")), ["10.2.0.2"]);
        assert_eq!(addresses(tables.by_name("a", "web.front")), ["10.1.0.2"]);
        assert_eq!(tables.by_name("b", "web.front"), None);
        assert_eq!(tables.by_name("a", "db.example"), None);
    }

    #[test]
    fn addresses_have_names() {
        let tables = tables();
        let name = |text: &str| Some(Found::Name(text.into()));
        assert_eq!(
            tables.by_address("a", "3.0.2.10.in-addr.arpa"),
            name("db.back")
        );
        assert_eq!(tables.by_address("b", "2.0.1.10.in-addr.arpa"), None);
        assert_eq!(tables.by_address("b", "0.2.10.in-addr.arpa"), None);
        let v6 = format!("2.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
        assert_eq!(tables.by_address("d", &v6), name("lone.other"));
        assert_eq!(tables.by_address("d", "2.0.ip6.arpa"), None);
    }
}
