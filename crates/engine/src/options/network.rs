//! `--network` and the flags that say what a container is to be on it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::mount_flag::split_csv;
use super::{NetworkFlagError, NetworkMode, ParseError};

/// A place on a network that somebody asks for: one `--network`, or a `network connect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointRequest {
    /// The network, by name, id or the beginning of one; in a container's record by name.
    pub network: String,
    /// Other names of the container there.
    pub aliases: Vec<String>,
    /// The address it is to have.
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address it is to have.
    pub ip6: Option<Ipv6Addr>,
    /// The hardware address it is to have, in lower case with colons.
    pub mac: Option<String>,
    /// Addresses of 169.254.0.0/16 or fe80::/64 besides.
    pub link_local: Vec<IpAddr>,
    /// Options of the driver, as given.
    pub driver_opts: BTreeMap<String, String>,
    /// Of several networks the one with the highest leads to the world.
    pub gw_priority: i64,
}

impl EndpointRequest {
    /// A place on a network without any wish.
    pub fn on(network: &str) -> EndpointRequest {
        EndpointRequest {
            network: network.into(),
            ..EndpointRequest::default()
        }
    }

    /// Whether nothing but the network is said.
    pub fn is_plain(&self) -> bool {
        *self == EndpointRequest::on(&self.network)
    }
}

/// Whether a value of `--network` is the long form, as Docker tells it: some `word=word` in it.
fn is_long(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices('=').any(|(at, _)| {
        text[..at].chars().next_back().is_some_and(word)
            && text[at + 1..].chars().next().is_some_and(word)
    })
}

impl FromStr for EndpointRequest {
    type Err = ParseError;

    /// Reads `NAME` or `name=NAME,alias=…,ip=…,ip6=…,mac-address=…,link-local-ip=…,driver-opt=KEY=VALUE,gw-priority=N`.
    fn from_str(text: &str) -> Result<EndpointRequest, ParseError> {
        if !is_long(text) {
            return Ok(EndpointRequest::on(text));
        }
        let mut request = EndpointRequest::default();
        for field in &split_csv(text) {
            let unknown = || NetworkFlagError::Field {
                field: field.clone(),
            };
            let (key, value) = field.split_once('=').ok_or_else(unknown)?;
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "" => return Err(unknown().into()),
                "name" => request.network = value.to_owned(),
                "alias" => request.aliases.push(value.to_owned()),
                "ip" => request.ip = Some(parse_ip4(value)?),
                "ip6" => request.ip6 = Some(parse_ip6(value)?),
                "mac-address" => request.mac = Some(parse_mac(value)?),
                "link-local-ip" => request.link_local.push(parse_link_local(value)?),
                "driver-opt" => {
                    let (name, value) =
                        value
                            .split_once('=')
                            .ok_or_else(|| NetworkFlagError::DriverOption {
                                value: value.to_owned(),
                            })?;
                    let (name, value) = (name.trim().into(), value.trim().into());
                    request.driver_opts.insert(name, value);
                }
                "gw-priority" => {
                    request.gw_priority =
                        value
                            .parse()
                            .map_err(|_| NetworkFlagError::GatewayPriority {
                                value: value.to_owned(),
                            })?;
                }
                key => {
                    return Err(NetworkFlagError::Key {
                        key: key.to_owned(),
                    }
                    .into());
                }
            }
        }
        match request.network.is_empty() {
            true => Err(NetworkFlagError::Unnamed.into()),
            false => Ok(request),
        }
    }
}

/// What the flags besides `--network` say.
#[derive(Debug, Clone, Default)]
pub struct EndpointFlags {
    /// `--network-alias`.
    pub aliases: Vec<String>,
    /// `--ip`.
    pub ip: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ip6: Option<Ipv6Addr>,
    /// `--mac-address`.
    pub mac: Option<String>,
    /// `--link-local-ip`.
    pub link_local: Vec<IpAddr>,
}

/// Joins all that is said of networks: the mode, and a place for each network of a container that has its own.
///
/// # Errors
/// What contradicts itself, in Docker's words.
pub fn combine_networks(
    networks: &[String],
    flags: EndpointFlags,
) -> Result<(NetworkMode, Vec<EndpointRequest>), ParseError> {
    let mut requests = Vec::new();
    for text in networks {
        requests.push(text.parse::<EndpointRequest>()?);
    }
    if requests.is_empty() {
        requests.push(EndpointRequest::default());
    }
    let mode: NetworkMode = requests[0].network.parse()?;
    let own = |mode: &NetworkMode| matches!(mode, NetworkMode::Bridge | NetworkMode::User(_));
    for request in &mut requests {
        let mode: NetworkMode = request.network.parse()?;
        if mode == NetworkMode::Bridge {
            request.network = "bridge".to_owned();
        }
    }
    if requests.len() > 1 {
        for (at, request) in requests.iter().enumerate() {
            if requests[..at].iter().any(|r| r.network == request.network) {
                return Err(NetworkFlagError::Twice {
                    name: request.network.clone(),
                }
                .into());
            }
            if !own(&request.network.parse()?) {
                return Err(NetworkFlagError::ModesMixed.into());
            }
        }
    }
    apply(&mut requests[0], flags)?;
    if !own(&mode) {
        let given = &requests[0];
        let plain = given.is_plain();
        let addressed = given.ip.is_some() || given.ip6.is_some() || !given.link_local.is_empty();
        return match (plain, addressed, &mode) {
            (true, ..) => Ok((mode, Vec::new())),
            (_, true, _) => Err(NetworkFlagError::AddressOnDefault.into()),
            (_, _, NetworkMode::Container(_)) if given.mac.is_some() => Err(ParseError::Conflict {
                first: "mac-address",
                second: "the network mode",
            }),
            _ if !given.aliases.is_empty() => Err(NetworkFlagError::AliasOnDefault.into()),
            // As Docker: there is no interface of its own that could have it.
            _ => Ok((mode, Vec::new())),
        };
    }
    let on_default = |request: &EndpointRequest| request.network == "bridge";
    if requests
        .iter()
        .any(|r| on_default(r) && !r.aliases.is_empty())
    {
        return Err(NetworkFlagError::AliasOnDefault.into());
    }
    if requests.len() == 1 && mode == NetworkMode::Bridge && requests[0].is_plain() {
        requests.clear();
    }
    Ok((mode, requests))
}

/// The flags are of the first network.
fn apply(first: &mut EndpointRequest, flags: EndpointFlags) -> Result<(), ParseError> {
    let both = |flag, what| Err(NetworkFlagError::Both { flag, what }.into());
    if !flags.aliases.is_empty() {
        if !first.aliases.is_empty() {
            return both("--network-alias", "network alias");
        }
        first.aliases = flags.aliases;
    }
    if flags.ip.is_some() {
        if first.ip.is_some() {
            return both("--ip", "IPv4 address");
        }
        first.ip = flags.ip;
    }
    if flags.ip6.is_some() {
        if first.ip6.is_some() {
            return both("--ip6", "IPv6 address");
        }
        first.ip6 = flags.ip6;
    }
    if flags.mac.is_some() {
        if first.mac.is_some() {
            return both("--mac-address", "MAC address");
        }
        first.mac = flags.mac;
    }
    if !flags.link_local.is_empty() {
        if !first.link_local.is_empty() {
            return both("--link-local-ip", "link-local IP addresses");
        }
        first.link_local = flags.link_local;
    }
    Ok(())
}

/// `--ip`.
///
/// # Errors
/// [`NetworkFlagError::Ip`].
pub fn parse_ip4(text: &str) -> Result<Ipv4Addr, ParseError> {
    parse_ip(text)
}

/// `--ip6`.
///
/// # Errors
/// [`NetworkFlagError::Ip`].
pub fn parse_ip6(text: &str) -> Result<Ipv6Addr, ParseError> {
    parse_ip(text)
}

fn parse_ip<T: FromStr>(text: &str) -> Result<T, ParseError> {
    let wrong = |_| NetworkFlagError::Ip {
        value: text.to_owned(),
    };
    Ok(text.parse().map_err(wrong)?)
}

/// `--link-local-ip`.
///
/// # Errors
/// [`NetworkFlagError::Ip`]; [`NetworkFlagError::NotLinkLocal`].
pub fn parse_link_local(text: &str) -> Result<IpAddr, ParseError> {
    let address: IpAddr = parse_ip(text)?;
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    match link_local {
        true => Ok(address),
        false => Err(NetworkFlagError::NotLinkLocal { address }.into()),
    }
}

/// `--mac-address`: six bytes, in lower case with colons.
///
/// # Errors
/// [`NetworkFlagError::Mac`], also for an address of a group: no interface can have one.
pub fn parse_mac(text: &str) -> Result<String, ParseError> {
    let fail = || NetworkFlagError::Mac {
        value: text.to_owned(),
    };
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut bytes = Vec::new();
    for part in text.split(separator) {
        let good = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let byte = u8::from_str_radix(part, 16).ok().filter(|_| good);
        bytes.push(byte.ok_or_else(fail)?);
    }
    let unicast = bytes.first().is_some_and(|first| first & 1 == 0);
    if bytes.len() != 6 || !unicast || bytes.iter().all(|b| *b == 0) {
        return Err(fail().into());
    }
    let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(parts.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combine(networks: &[&str]) -> Result<(NetworkMode, Vec<EndpointRequest>), String> {
        let networks: Vec<String> = networks.iter().map(|n| (*n).to_owned()).collect();
        combine_networks(&networks, EndpointFlags::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_name_alone() {
        assert_eq!(combine(&[]).unwrap(), (NetworkMode::Bridge, vec![]));
        assert_eq!(combine(&["none"]).unwrap(), (NetworkMode::None, vec![]));
        let (mode, places) = combine(&["front", "back"]).unwrap();
        assert_eq!(mode, NetworkMode::User("front".into()));
        assert_eq!(
            places,
            [EndpointRequest::on("front"), EndpointRequest::on("back")]
        );
    }

    #[test]
    fn the_long_form() {
        let text = "name=front,alias=a,alias=b,ip=10.1.0.9,ip6=fd00::9,mac-address=02-42-AC-00-00-09,\
            link-local-ip=169.254.1.1,driver-opt=x=y,gw-priority=-3";
        let request: EndpointRequest = text.parse().unwrap();
        assert_eq!(request.network, "front");
        assert_eq!(request.aliases, ["a", "b"]);
        assert_eq!(request.ip, Some("10.1.0.9".parse().unwrap()));
        assert_eq!(request.ip6, Some("fd00::9".parse().unwrap()));
        assert_eq!(request.mac.as_deref(), Some("02:42:ac:00:00:09"));
        assert_eq!(request.driver_opts["x"], "y");
        assert_eq!((request.link_local.len(), request.gw_priority), (1, -3));
        let text = "name=x,\"driver-opt=o=a=1,b=2\",alias=y";
        let request: EndpointRequest = text.parse().unwrap();
        assert_eq!(request.driver_opts["o"], "a=1,b=2");
        assert_eq!(request.aliases, ["y"]);
        for (text, message) in [
            ("alias=x", "network name/id is not specified"),
            ("name=x,foo=1", "invalid field key foo"),
            ("name=x,foo", "invalid field foo"),
            ("name=x,mac-address=1", "1 is not a valid mac address"),
            ("name=x,gw-priority=y", "invalid gw-priority: \"y\""),
        ] {
            let error = text.parse::<EndpointRequest>().unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
        }
    }

    #[test]
    fn what_does_not_go_together() {
        for (networks, message) in [
            (&["a", "a"][..], "network \"a\" is specified multiple times"),
            (
                &["a", "host"],
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ),
            (
                &["container:x", "a"],
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ),
        ] {
            assert_eq!(combine(networks).unwrap_err(), message, "{networks:?}");
        }
        let flags = EndpointFlags {
            ip: Some("10.1.0.9".parse().unwrap()),
            ..EndpointFlags::default()
        };
        let both = combine_networks(&["name=a,ip=10.1.0.8".into()], flags.clone());
        assert_eq!(
            both.unwrap_err().to_string(),
            "conflicting options: cannot specify both --ip and per-network IPv4 address"
        );
        assert!(combine_networks(&["host".into()], flags).is_err());
        let flags = EndpointFlags {
            aliases: vec!["x".into()],
            ..EndpointFlags::default()
        };
        assert!(combine_networks(&["none".into()], flags).is_err());
    }

    #[test]
    fn hardware_addresses() {
        assert_eq!(parse_mac("92:D0:c6:0a:29:33").unwrap(), "92:d0:c6:0a:29:33");
        for bad in [
            "",
            "92:d0:c6:0a:29",
            "01:00:5e:00:00:01",
            "9:0:0:0:0:1",
            "+2:00:00:00:00:01",
        ] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }
}
