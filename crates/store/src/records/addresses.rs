use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::Tx;
use crate::store::Store;
use crate::{Error, Result};

/// Where addresses of a network come from.
#[derive(Debug, Clone, Copy)]
pub struct AddressPool<'a> {
    /// The network's name.
    pub network: &'a str,
    /// Its subnet; all addresses lie in it.
    pub subnet: IpNet,
    /// The part of the subnet containers get addresses from, if not all.
    pub range: Option<IpNet>,
    /// Addresses no container gets, such as the gateway's.
    pub reserved: &'a [IpAddr],
}

impl Tx<'_> {
    /// Takes an address for a container: the one asked for, or the next free one after the last given.
    ///
    /// So an address just released is the last to be given again. First and last address of an IPv4 subnet, and the
    /// first of an IPv6 one, are never given (RFC 1122 3.2.1.3, RFC 4291 2.6.1).
    ///
    /// # Errors
    /// [`Error::AddressesExhausted`], [`Error::AddressTaken`], [`Error::AddressUnusable`], [`Error::Database`].
    pub fn allocate_address(
        &self,
        pool: &AddressPool<'_>,
        container: &str,
        wanted: Option<IpAddr>,
    ) -> Result<IpAddr> {
        match wanted {
            Some(address) => self.take_address(pool, container, address),
            None => self.next_address(pool, container),
        }
    }

    fn take_address(
        &self,
        pool: &AddressPool<'_>,
        container: &str,
        address: IpAddr,
    ) -> Result<IpAddr> {
        let (first, last) = usable(&pool.subnet);
        if !pool.subnet.contains(&address) || !(first..=last).contains(&to_number(address)) {
            return Err(Error::AddressUnusable {
                network: pool.network.to_owned(),
                address,
                subnet: pool.subnet,
            });
        }
        let taken = |by: String| Error::AddressTaken {
            network: pool.network.to_owned(),
            address,
            by,
        };
        if pool.reserved.contains(&address) {
            return Err(taken("the network itself".into()));
        }
        let key = to_bytes(address);
        let owner = self.first(
            "SELECT container FROM addresses WHERE network = ? AND address = ?",
            (pool.network, &key[..]),
            |row| row.get(0),
        )?;
        if let Some(by) = owner {
            return Err(taken(by));
        }
        self.insert_address(pool.network, &key, container)?;
        Ok(address)
    }

    fn next_address(&self, pool: &AddressPool<'_>, container: &str) -> Result<IpAddr> {
        let range = pool.range.unwrap_or(pool.subnet);
        let range_text = range.to_string();
        let (low, high) = bounds(&range);
        let (first, last) = usable(&pool.subnet);
        let (low, high) = (low.max(first), high.min(last));
        let cursor: Option<Vec<u8>> = self.first(
            "SELECT last FROM address_cursors WHERE network = ? AND range = ?",
            (pool.network, &range_text),
            |row| row.get(0),
        )?;
        // The range may have been changed since.
        let after = cursor
            .and_then(|bytes| from_bytes(&bytes))
            .map(to_number)
            .filter(|last| (low..high).contains(last))
            .map_or(low, |last| last + 1);
        let mut found = self.gap(pool, after, high)?;
        if found.is_none() && after > low {
            found = self.gap(pool, low, after - 1)?;
        }
        let Some(address) = found else {
            return Err(Error::AddressesExhausted {
                network: pool.network.to_owned(),
                range,
            });
        };
        let key = to_bytes(address);
        self.insert_address(pool.network, &key, container)?;
        self.execute(
            "INSERT INTO address_cursors (network, range, last) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET last = excluded.last",
            (pool.network, &range_text, &key[..]),
        )?;
        Ok(address)
    }

    /// The lowest free address between two, inclusively.
    fn gap(&self, pool: &AddressPool<'_>, low: u128, high: u128) -> Result<Option<IpAddr>> {
        let v4 = pool.subnet.addr().is_ipv4();
        let mut reserved: Vec<u128> = pool.reserved.iter().map(|&a| to_number(a)).collect();
        reserved.sort_unstable();
        let mut candidate = low;
        let mut statement = self.prepare(
            "SELECT address FROM addresses
             WHERE network = ? AND address BETWEEN ? AND ? ORDER BY address",
        )?;
        let bytes = |number| to_bytes(from_number(number, v4));
        let mut rows = statement
            .query((pool.network, &bytes(low)[..], &bytes(high)[..]))
            .map_err(|e| self.wrap(e))?;
        loop {
            let next = match rows.next().map_err(|e| self.wrap(e))? {
                Some(row) => {
                    let bytes: Vec<u8> = row.get(0).map_err(|e| self.wrap(e))?;
                    from_bytes(&bytes).map(to_number)
                }
                None => None,
            };
            // Everything from the candidate up to the next taken address is free, but for what is reserved.
            let end = next.map_or(high, |next| next.saturating_sub(1));
            while candidate <= end && reserved.binary_search(&candidate).is_ok() {
                candidate += 1;
            }
            if candidate <= end && candidate <= high {
                return Ok(Some(from_number(candidate, v4)));
            }
            match next {
                Some(next) if next < high => candidate = candidate.max(next + 1),
                _ => return Ok(None),
            }
        }
    }

    fn insert_address(&self, network: &str, key: &[u8], container: &str) -> Result<()> {
        self.execute(
            "INSERT INTO addresses (network, address, container) VALUES (?, ?, ?)",
            (network, key, container),
        )
        .map(drop)
    }

    /// Releases all addresses of a container; what they were.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn release_addresses(&self, container: &str) -> Result<Vec<IpAddr>> {
        let keys: Vec<Vec<u8>> = self.all(
            "DELETE FROM addresses WHERE container = ? RETURNING address",
            [container],
            |row| row.get(0),
        )?;
        Ok(keys.iter().filter_map(|key| from_bytes(key)).collect())
    }

    /// All addresses given on a network, with the containers that have them, in order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn addresses(&self, network: &str) -> Result<Vec<(IpAddr, String)>> {
        let rows: Vec<(Vec<u8>, String)> = self.all(
            "SELECT address, container FROM addresses WHERE network = ? ORDER BY address",
            [network],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(rows
            .into_iter()
            .filter_map(|(key, container)| Some((from_bytes(&key)?, container)))
            .collect())
    }

    /// The IPv4 subnet that was chosen for a network, if one was.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn subnet(&self, network: &str) -> Result<Option<Ipv4Net>> {
        let text: Option<String> = self.first(
            "SELECT subnet FROM networks WHERE name = ?",
            [network],
            |row| row.get(0),
        )?;
        // What cannot be read is chosen anew.
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Remembers the subnet that was chosen for a network, in place of an earlier one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn set_subnet(&self, network: &str, subnet: Ipv4Net) -> Result<()> {
        self.execute(
            "INSERT INTO networks (name, subnet) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET subnet = excluded.subnet",
            (network, subnet.to_string()),
        )
        .map(drop)
    }
}

impl Store {
    /// [`Tx::allocate_address`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn allocate_address(
        &self,
        pool: &AddressPool<'_>,
        container: &str,
        wanted: Option<IpAddr>,
    ) -> Result<IpAddr> {
        self.write(|tx| tx.allocate_address(pool, container, wanted))
    }

    /// [`Tx::release_addresses`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn release_addresses(&self, container: &str) -> Result<Vec<IpAddr>> {
        self.write(|tx| tx.release_addresses(container))
    }

    /// [`Tx::addresses`].
    ///
    /// # Errors
    /// As there.
    pub fn addresses(&self, network: &str) -> Result<Vec<(IpAddr, String)>> {
        self.read(|tx| tx.addresses(network))
    }

    /// [`Tx::subnet`].
    ///
    /// # Errors
    /// As there.
    pub fn subnet(&self, network: &str) -> Result<Option<Ipv4Net>> {
        self.read(|tx| tx.subnet(network))
    }
}

/// First and last address a host may have.
fn usable(subnet: &IpNet) -> (u128, u128) {
    let (low, high) = bounds(subnet);
    match subnet {
        IpNet::V4(net) if net.prefix_len() <= 30 => (low + 1, high - 1),
        IpNet::V6(net) if net.prefix_len() <= 126 => (low + 1, high),
        _ => (low, high),
    }
}

fn bounds(net: &IpNet) -> (u128, u128) {
    (to_number(net.network()), to_number(net.broadcast()))
}

fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn from_number(number: u128, v4: bool) -> IpAddr {
    if v4 {
        // Within a subnet of IPv4 nothing is cut off.
        Ipv4Addr::from(number as u32).into()
    } else {
        Ipv6Addr::from(number).into()
    }
}

/// Big-endian, so that the order of keys is the order of addresses; the two families differ in length.
fn to_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use crate::Store;

    #[test]
    fn a_chosen_subnet_stays_until_another_is_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.subnet("bridge").unwrap(), None);
        for net in ["10.89.0.0/16", "172.16.0.0/16"] {
            let net = net.parse().unwrap();
            store.write(|tx| tx.set_subnet("bridge", net)).unwrap();
            let again = Store::open(dir.path()).unwrap();
            assert_eq!(again.subnet("bridge").unwrap(), Some(net));
        }
        assert_eq!(store.subnet("other").unwrap(), None);
    }
}
