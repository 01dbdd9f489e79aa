//! Making a network.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rctr_network::BridgeConfig;
use rctr_store::Tx;

use super::{Driver, Network, PREDEFINED, Pool, key, parse_bool};
use crate::events::NetworkEvent;
use crate::{Engine, Error, NetworkError, Result, events, names, time};

/// What `network create` takes.
#[derive(Debug, Clone, Default)]
pub struct NetworkOptions {
    /// The name.
    pub name: String,
    /// The driver's name; empty is `bridge`.
    pub driver: String,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Nothing gets out or in.
    pub internal: bool,
    /// Recorded only.
    pub attachable: bool,
    /// IPv6 besides IPv4, also without a subnet for it.
    pub ipv6: bool,
    /// Subnets and what lies in them.
    pub pools: PoolOptions,
}

/// Subnets, and what belongs to them by lying in them.
#[derive(Debug, Clone, Default)]
pub struct PoolOptions {
    /// Subnets, at most one of each address family.
    pub subnets: Vec<String>,
    /// Gateways.
    pub gateways: Vec<String>,
    /// Parts that containers get addresses from.
    pub ranges: Vec<String>,
    /// Addresses that others have, by name.
    pub aux: BTreeMap<String, String>,
}

impl Engine {
    /// Makes a network; gives its id.
    ///
    /// # Errors
    /// [`NetworkError::Exists`], [`NetworkError::Option`], [`NetworkError::Driver`], [`NetworkError::PoolOverlaps`],
    /// [`NetworkError::NoIpv6`], or
    /// that the host reaches something else under these addresses.
    pub fn create_network(&self, options: &NetworkOptions) -> Result<String> {
        let name = &options.name;
        if PREDEFINED.contains(&name.as_str()) || name == "default" {
            return Err(NetworkError::Predefined { name: name.clone() }.into());
        }
        if name.trim().is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(option(format!("invalid network name: {name:?}")));
        }
        let driver = driver(&options.driver)?;
        check_options(driver, &options.options)?;
        let mut network = Network {
            id: names::new_id(),
            name: name.clone(),
            created: time::now(),
            driver,
            internal: options.internal,
            attachable: options.attachable,
            pools: pools(&options.pools)?,
            options: options.options.clone(),
            labels: options.labels.clone(),
            parent_made: false,
        };
        let with_ipv6 = options.ipv6 || network.pool(false).is_some();
        if with_ipv6 && !rctr_network::kernel_has_ipv6() {
            let network = name.clone();
            return Err(NetworkError::NoIpv6 { network }.into());
        }
        // Recorded before it is made: whoever is killed in between leaves nothing that nobody knows of.
        network.parent_made = network.lacks_parent()?;
        self.store.write(|tx| -> Result<()> {
            self.complete(tx, &mut network, options.ipv6)?;
            match tx.insert_network(&network.id, name, &network) {
                Err(rctr_store::Error::NameTaken { name, .. }) => {
                    return Err(NetworkError::Exists { name }.into());
                }
                other => other?,
            };
            let driver = network.driver.as_str();
            events::network(tx, &network.id, name, driver, NetworkEvent::Create)?;
            Ok(())
        })?;
        match network.ensure_parent() {
            Ok(_) => Ok(network.id),
            Err(error) => {
                if let Err(more) = self.remove_user_network(&network.id) {
                    tracing::warn!(error = %more, "a network that cannot be made is not undone");
                }
                Err(error)
            }
        }
    }

    /// Chooses the subnets that nobody named, and checks those that somebody did.
    fn complete(&self, tx: &Tx<'_>, network: &mut Network, ipv6: bool) -> Result<()> {
        let others: Vec<Network> = tx.networks()?;
        if let Some(other) = others.iter().find(|other| other.name == network.name) {
            return Err(NetworkError::Exists {
                name: other.name.clone(),
            }
            .into());
        }
        let taken = self.spoken_for(tx, None)?;
        for pool in &network.pools {
            let overlaps = |net: &&IpNet| net.contains(&pool.subnet) || pool.subnet.contains(*net);
            if taken.iter().any(|net| overlaps(&net)) {
                return Err(NetworkError::PoolOverlaps {
                    subnet: pool.subnet,
                }
                .into());
            }
        }
        let interface = network.interface();
        if network.pool(true).is_none() {
            let subnet = rctr_network::choose_subnet(&interface, None, &taken)?;
            network.pools.insert(0, pool_of(subnet.into()));
        }
        if ipv6 && network.pool(false).is_none() {
            let subnet = BridgeConfig::generated_subnet_v6(&interface);
            network.pools.push(pool_of(subnet.into()));
        }
        // IPv4 first, whatever the order of the flags.
        network
            .pools
            .sort_by_key(|pool| pool.subnet.addr().is_ipv6());
        for pool in &mut network.pools {
            if pool.gateway.is_none() {
                pool.gateway = first_free(pool);
            }
        }
        let Some(bridge) = network.bridge() else {
            let made = |other: &&Network| other.parent_made && other.interface() == interface;
            network.parent_made |= others.iter().any(|other| made(&other));
            return Ok(());
        };
        bridge.validate()?;
        let own = self.config.settings.network.bridge == bridge.name;
        let same = others.iter().find(|other| other.interface() == bridge.name);
        if own || same.is_some() {
            return Err(NetworkError::BridgeTaken {
                bridge: bridge.name,
                network: same.map_or_else(|| "bridge".to_owned(), |other| other.name.clone()),
            }
            .into());
        }
        for pool in network.pools.iter().filter(|pool| !pool.chosen) {
            // A bridge that somebody made beforehand is taken as it is.
            if let Some((interface, other)) = rctr_network::reached_by(pool.subnet)?
                && interface != bridge.name
            {
                return Err(rctr_network::Error::SubnetInUse {
                    bridge: bridge.name,
                    subnet: pool.subnet,
                    other,
                    interface,
                }
                .into());
            }
        }
        Ok(())
    }
}

fn option(reason: String) -> Error {
    NetworkError::Option { reason }.into()
}

fn driver(name: &str) -> Result<Driver> {
    let reason = match name {
        "" | "bridge" | "default" => return Ok(Driver::Bridge),
        "macvlan" => return Ok(Driver::Macvlan),
        "ipvlan" => return Ok(Driver::Ipvlan),
        "host" | "null" | "none" => {
            return Err(NetworkError::OnlyOne {
                driver: match name {
                    "host" => "host",
                    _ => "null",
                },
            }
            .into());
        }
        "overlay" => {
            "it spans several nodes, and rctr looks after one; a CNI plugin can do it for pods"
        }
        _ => "there are bridge, macvlan and ipvlan",
    };
    Err(NetworkError::Driver {
        driver: name.into(),
        reason,
    }
    .into())
}

/// What is not understood would be missed later: refuse it now.
fn check_options(driver: Driver, options: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in options {
        let bad = || option(format!("invalid value {value:?} of option {name}"));
        let good = match (driver, name.as_str()) {
            (Driver::Bridge, key::BRIDGE_NAME) => true,
            (Driver::Bridge, key::ICC | key::MASQUERADE) => parse_bool(value).is_some(),
            (Driver::Bridge, key::HOST_BINDING) => value.parse::<Ipv4Addr>().is_ok(),
            (
                Driver::Bridge,
                "com.docker.network.bridge.gateway_mode_ipv4"
                | "com.docker.network.bridge.gateway_mode_ipv6",
            ) => matches!(value.as_str(), "" | "nat"),
            (_, key::MTU) => value.parse::<u32>().is_ok_and(|mtu| mtu == 0 || mtu >= 68),
            (_, key::IFACE_PREFIX) => {
                value.len() <= 10 && value.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
            }
            (Driver::Macvlan | Driver::Ipvlan, key::PARENT) => !value.is_empty(),
            (Driver::Macvlan, key::MACVLAN_MODE) => {
                matches!(value.as_str(), "bridge" | "private" | "vepa" | "passthru")
            }
            (Driver::Ipvlan, key::IPVLAN_MODE) => matches!(value.as_str(), "l2" | "l3" | "l3s"),
            _ => {
                let driver = driver.as_str();
                return Err(option(format!("driver {driver} has no option {name}")));
            }
        };
        if !good {
            return Err(bad());
        }
    }
    Ok(())
}

fn pool_of(subnet: IpNet) -> Pool {
    Pool {
        subnet,
        gateway: None,
        range: None,
        aux: BTreeMap::new(),
        chosen: true,
    }
}

/// The first address of the subnet that nobody has.
fn first_free(pool: &Pool) -> Option<IpAddr> {
    let mut candidates = pool.subnet.hosts().take(pool.aux.len() + 2);
    candidates.find(|ip| *ip != pool.subnet.network() && !pool.aux.values().any(|aux| aux == ip))
}

/// Joins gateways, ranges and other addresses with the subnets that they lie in.
fn pools(options: &PoolOptions) -> Result<Vec<Pool>> {
    let mut pools: Vec<Pool> = Vec::new();
    for text in &options.subnets {
        let subnet = parse_subnet(text)?;
        let same = |pool: &&Pool| pool.subnet.addr().is_ipv4() == subnet.addr().is_ipv4();
        if pools.iter().any(|pool| same(&pool)) {
            return Err(option(format!(
                "a network has one subnet of each address family: {subnet} is one too many"
            )));
        }
        pools.push(Pool {
            chosen: false,
            ..pool_of(subnet)
        });
    }
    if pools.is_empty() && !(options.gateways.is_empty() && options.ranges.is_empty()) {
        return Err(option(
            "every ip-range or gateway must have a corresponding subnet".to_owned(),
        ));
    }
    for text in &options.ranges {
        let range: IpNet = text
            .parse()
            .map_err(|_| option(format!("invalid ip-range {text:?}")))?;
        let range = range.trunc();
        let pool = pools.iter_mut().find(|pool| pool.subnet.contains(&range));
        let pool = pool.ok_or_else(|| option(format!("no matching subnet for range {text}")))?;
        if pool.range.replace(range).is_some() {
            return Err(option(format!(
                "cannot configure multiple ranges ({text}) on the same subnet ({})",
                pool.subnet
            )));
        }
    }
    for text in &options.gateways {
        let address = parse_address(text, "gateway")?;
        let pool = holder(&mut pools, address)
            .ok_or_else(|| option(format!("no matching subnet for gateway {text}")))?;
        if pool.gateway.replace(address).is_some() {
            return Err(option(format!(
                "cannot configure multiple gateways ({text}) on the same subnet ({})",
                pool.subnet
            )));
        }
    }
    for (name, text) in &options.aux {
        let address = parse_address(text, "aux-address")?;
        let pool = holder(&mut pools, address)
            .ok_or_else(|| option(format!("no matching subnet for aux-address {text}")))?;
        pool.aux.insert(name.clone(), address);
    }
    Ok(pools)
}

fn holder(pools: &mut [Pool], address: IpAddr) -> Option<&mut Pool> {
    pools.iter_mut().find(|pool| pool.subnet.contains(&address))
}

fn parse_address(text: &str, what: &str) -> Result<IpAddr> {
    text.parse()
        .map_err(|_| option(format!("invalid {what} address {text:?}")))
}

fn parse_subnet(text: &str) -> Result<IpNet> {
    let subnet: IpNet = text.parse().map_err(|_| {
        option(format!(
            "invalid subnet {text}: invalid CIDR block notation"
        ))
    })?;
    if subnet.trunc() != subnet {
        return Err(option(format!(
            "invalid subnet {text}: it should be {}",
            subnet.trunc()
        )));
    }
    let (room, special) = match subnet {
        IpNet::V4(net) => (net.prefix_len() <= 30, is_special_v4(net)),
        IpNet::V6(net) => (net.prefix_len() <= 126, is_special_v6(net)),
    };
    match (room, special) {
        (false, _) => Err(option(format!(
            "invalid subnet {text}: it has no room for a gateway and a container"
        ))),
        (_, true) => Err(option(format!(
            "invalid subnet {text}: its addresses have a meaning of their own"
        ))),
        _ => Ok(subnet),
    }
}

fn is_special_v4(net: Ipv4Net) -> bool {
    let address = net.network();
    address.is_loopback() || address.is_multicast() || address.octets()[0] == 0
}

fn is_special_v6(net: Ipv6Net) -> bool {
    let address = net.network();
    address.is_multicast() || address.is_unicast_link_local() || net.prefix_len() < 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn refused(options: &PoolOptions) -> String {
        pools(options).unwrap_err().to_string()
    }

    #[test]
    fn what_lies_in_a_subnet_belongs_to_it() {
        let options = PoolOptions {
            subnets: words(&["fd00:9::/64", "10.9.0.0/24"]),
            gateways: words(&["10.9.0.254", "fd00:9::5"]),
            ranges: words(&["10.9.0.128/25"]),
            aux: [("router".to_owned(), "10.9.0.129".to_owned())].into(),
        };
        let pools = pools(&options).unwrap();
        assert_eq!(pools[0].gateway, Some("fd00:9::5".parse().unwrap()));
        let v4 = &pools[1];
        assert_eq!(v4.gateway, Some("10.9.0.254".parse().unwrap()));
        assert_eq!(v4.range, Some("10.9.0.128/25".parse().unwrap()));
        assert_eq!(v4.aux["router"], "10.9.0.129".parse::<IpAddr>().unwrap());
        let free = Pool {
            gateway: None,
            ..v4.clone()
        };
        assert_eq!(first_free(&free), Some("10.9.0.1".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_is_refused_in_dockers_words() {
        let subnet = |text: &str| PoolOptions {
            subnets: words(&[text]),
            ..PoolOptions::default()
        };
        for (options, message) in [
            (
                subnet("10.9.0.1/24"),
                "invalid subnet 10.9.0.1/24: it should be 10.9.0.0/24",
            ),
            (
                subnet("300.0.0.0/8"),
                "invalid subnet 300.0.0.0/8: invalid CIDR block notation",
            ),
            (
                PoolOptions {
                    gateways: words(&["10.8.0.1"]),
                    ..subnet("10.9.0.0/24")
                },
                "no matching subnet for gateway 10.8.0.1",
            ),
            (
                PoolOptions {
                    ranges: words(&["10.8.0.0/24"]),
                    ..subnet("10.9.0.0/24")
                },
                "no matching subnet for range 10.8.0.0/24",
            ),
            (
                PoolOptions {
                    gateways: words(&["10.8.0.1"]),
                    ..PoolOptions::default()
                },
                "every ip-range or gateway must have a corresponding subnet",
            ),
        ] {
            assert_eq!(refused(&options), message);
        }
        for bad in ["10.9.0.0/31", "127.0.0.0/8", "224.0.0.0/4", "fe80::/64"] {
            assert!(pools(&subnet(bad)).is_err(), "{bad}");
        }
        let two = PoolOptions {
            subnets: words(&["10.9.0.0/24", "10.8.0.0/24"]),
            ..PoolOptions::default()
        };
        assert!(refused(&two).contains("one of each") || refused(&two).contains("one subnet"));
    }

    #[test]
    fn unknown_drivers_and_options_are_refused_by_name() {
        assert!(driver("overlay").unwrap_err().to_string().contains("one"));
        assert!(driver("weave").is_err() && driver("host").is_err());
        let check = |driver, name: &str, value: &str| {
            check_options(driver, &[(name.to_owned(), value.to_owned())].into())
        };
        check(Driver::Bridge, key::MTU, "1400").unwrap();
        check(Driver::Macvlan, "parent", "eth0.10").unwrap();
        for (driver, name, value) in [
            (Driver::Bridge, key::MTU, "x"),
            (Driver::Bridge, key::ICC, "maybe"),
            (Driver::Bridge, "parent", "eth0"),
            (Driver::Macvlan, "macvlan_mode", "l2"),
            (Driver::Bridge, "com.example", "1"),
        ] {
            let error = check(driver, name, value).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
