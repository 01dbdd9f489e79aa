//! `-p` and `--expose`.

use std::net::IpAddr;
use std::str::FromStr;

use super::{ParseError, PortSpec, Protocol};

impl Protocol {
    /// `tcp`, `udp` or `sctp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl FromStr for Protocol {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Protocol, ParseError> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(ParseError::Protocol {
                value: text.to_owned(),
            }),
        }
    }
}

impl FromStr for PortSpec {
    type Err = ParseError;

    /// Reads `[[ip:][host-ports]:]container-ports[/protocol]`; an IPv6 address may stand in brackets.
    fn from_str(text: &str) -> Result<PortSpec, ParseError> {
        let (before, container) = match text.rsplit_once(':') {
            Some((before, container)) => (Some(before), container),
            None => (None, text),
        };
        let (ip, host) = match before.map(|b| b.rsplit_once(':').unwrap_or(("", b))) {
            Some((ip, host)) => (ip, host),
            None => ("", ""),
        };
        let (ports, protocol) = split_protocol(container);
        if ports.is_empty() {
            return Err(ParseError::NoPort {
                value: text.to_owned(),
            });
        }
        let container_ports = parse_range(ports).ok_or_else(|| ParseError::ContainerPort {
            value: ports.to_owned(),
        })?;
        let host_ports = match host {
            // As with Docker, host port 0 asks for any free one.
            "" | "0" => None,
            _ => Some(parse_range(host).ok_or_else(|| ParseError::HostPort {
                value: host.to_owned(),
            })?),
        };
        let length = |(first, last): (u16, u16)| last - first;
        if host_ports.is_some_and(|host| length(host) != length(container_ports))
            && length(container_ports) != 0
        {
            return Err(ParseError::PortRanges {
                container: ports.to_owned(),
                host: host.to_owned(),
            });
        }
        Ok(PortSpec {
            host_ip: parse_host_ip(ip)?,
            host_ports,
            container_ports,
            protocol: protocol.parse()?,
        })
    }
}

impl PortSpec {
    /// The single ports of the specification: each container port with the host ports that it may be published
    /// at (first and last of a range to choose one from), `None` for any free one.
    pub fn expand(&self) -> impl Iterator<Item = (u16, Option<(u16, u16)>)> {
        let (first, last) = self.container_ports;
        (first..=last).map(move |port| {
            let host = self.host_ports.map(|(low, high)| match first == last {
                true => (low, high),
                false => (low + (port - first), low + (port - first)),
            });
            (port, host)
        })
    }
}

/// Reads `--expose`, or a port of an image's configuration: `80`, `80/udp`, `8000-8010/tcp`. Gives one `port/protocol`
/// for each port.
///
/// # Errors
/// [`ParseError::ContainerPort`] or [`ParseError::Protocol`].
pub fn parse_expose(text: &str) -> Result<Vec<String>, ParseError> {
    let (ports, protocol) = split_protocol(text);
    let protocol: Protocol = protocol.parse()?;
    let (first, last) = parse_range(ports).ok_or_else(|| ParseError::ContainerPort {
        value: ports.to_owned(),
    })?;
    Ok((first..=last)
        .map(|port| format!("{port}/{}", protocol.as_str()))
        .collect())
}

fn split_protocol(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((ports, "")) => (ports, "tcp"),
        Some((ports, protocol)) => (ports, protocol),
        None => (text, "tcp"),
    }
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let port = |s: &str| {
        s.parse::<u16>()
            .ok()
            .filter(|p| *p != 0 && !s.starts_with('+'))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last)
}

fn parse_host_ip(text: &str) -> Result<Option<IpAddr>, ParseError> {
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().map(Some).map_err(|_| ParseError::IpAddress {
        value: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Short = (
        Option<&'static str>,
        Option<(u16, u16)>,
        (u16, u16),
        Protocol,
    );

    #[test]
    fn every_form_of_docker() {
        let cases: &[(&str, Short)] = &[
            ("80", (None, None, (80, 80), Protocol::Tcp)),
            (
                "8080:80",
                (None, Some((8080, 8080)), (80, 80), Protocol::Tcp),
            ),
            (
                "127.0.0.1:8080:80",
                (
                    Some("127.0.0.1"),
                    Some((8080, 8080)),
                    (80, 80),
                    Protocol::Tcp,
                ),
            ),
            (
                "127.0.0.1::80",
                (Some("127.0.0.1"), None, (80, 80), Protocol::Tcp),
            ),
            ("0:80", (None, None, (80, 80), Protocol::Tcp)),
            (":80", (None, None, (80, 80), Protocol::Tcp)),
            (
                "8000-8010:8000-8010",
                (None, Some((8000, 8010)), (8000, 8010), Protocol::Tcp),
            ),
            (
                "8000-8010:80",
                (None, Some((8000, 8010)), (80, 80), Protocol::Tcp),
            ),
            ("7000-7002", (None, None, (7000, 7002), Protocol::Tcp)),
            ("53:53/udp", (None, Some((53, 53)), (53, 53), Protocol::Udp)),
            ("9:9/SCTP", (None, Some((9, 9)), (9, 9), Protocol::Sctp)),
            (
                "[::1]:8080:80",
                (Some("::1"), Some((8080, 8080)), (80, 80), Protocol::Tcp),
            ),
            (
                "::1:8080:80",
                (Some("::1"), Some((8080, 8080)), (80, 80), Protocol::Tcp),
            ),
            ("[::]::80/udp", (Some("::"), None, (80, 80), Protocol::Udp)),
        ];
        for (text, (ip, host, container, protocol)) in cases {
            let spec: PortSpec = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(spec.host_ip, ip.map(|ip| ip.parse().unwrap()), "{text}");
            assert_eq!(
                (spec.host_ports, spec.container_ports, spec.protocol),
                (*host, *container, *protocol),
                "{text}"
            );
        }
    }

    #[test]
    fn errors_in_dockers_words() {
        for (text, message) in [
            ("abc", "invalid containerPort: abc"),
            ("abc:80", "invalid hostPort: abc"),
            ("80:", "no port specified: 80:<empty>"),
            ("", "no port specified: <empty>"),
            ("80:99999", "invalid containerPort: 99999"),
            ("80:0", "invalid containerPort: 0"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("host:80:80", "invalid IP address: host"),
            ("80/foo", "invalid proto: foo"),
            (
                "8000-8001:80-82",
                "invalid ranges specified for container and host Ports: 80-82 and 8000-8001",
            ),
            (
                "8000:80-82",
                "invalid ranges specified for container and host Ports: 80-82 and 8000",
            ),
            ("90-80", "invalid containerPort: 90-80"),
            ("-1:80", "invalid hostPort: -1"),
        ] {
            assert_eq!(
                text.parse::<PortSpec>().unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
    }

    #[test]
    fn ranges_expand_pairwise_or_to_a_choice() {
        let pairs = |text: &str| {
            text.parse::<PortSpec>()
                .unwrap()
                .expand()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            pairs("8000-8001:80-81"),
            [(80, Some((8000, 8000))), (81, Some((8001, 8001)))]
        );
        assert_eq!(pairs("8000-8001:80"), [(80, Some((8000, 8001)))]);
        assert_eq!(pairs("80-81"), [(80, None), (81, None)]);
        assert_eq!(pairs("65535:65535"), [(65535, Some((65535, 65535)))]);
    }

    #[test]
    fn expose() {
        assert_eq!(parse_expose("80").unwrap(), ["80/tcp"]);
        assert_eq!(parse_expose("53/udp").unwrap(), ["53/udp"]);
        assert_eq!(
            parse_expose("80-82/tcp").unwrap(),
            ["80/tcp", "81/tcp", "82/tcp"]
        );
        assert_eq!(
            parse_expose("x").unwrap_err().to_string(),
            "invalid containerPort: x"
        );
    }
}
