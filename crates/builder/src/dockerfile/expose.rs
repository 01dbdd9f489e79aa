//! Ports as EXPOSE has them: `[[IP:]HOSTPORT:]PORT[-PORT][/PROTOCOL]`.

use std::net::IpAddr;

/// A port of EXPOSE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exposed {
    /// `80/tcp`, one of each.
    pub ports: Vec<String>,
    /// An address or a port of the host is named, which means nothing here.
    pub mapped: bool,
    pub lower_case: bool,
}

/// A port that is none; the texts are BuildKit's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ExposeError {
    #[error("invalid port: {0:?}: no port specified")]
    NoPort(String),
    #[error("invalid port: {port:?}: invalid proto: {protocol}")]
    Protocol { port: String, protocol: String },
    #[error("invalid IP address: {0}")]
    Address(String),
    #[error("invalid containerPort: {0}")]
    Port(String),
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    #[error("invalid ranges specified for container and host Ports: {0} and {1}")]
    Ranges(String, String),
}

/// The ports that one expanded word of EXPOSE names, each as `80/tcp`.
pub fn exposed_ports(word: &str) -> Result<Vec<String>, ExposeError> {
    parse(word).map(|exposed| exposed.ports)
}

pub(super) fn parse(word: &str) -> Result<Exposed, ExposeError> {
    let (address, host_port, port) = match word.rsplit_once(':') {
        None => ("", "", word),
        Some((mapping, port)) => match mapping.rsplit_once(':') {
            None => ("", mapping, port),
            Some((address, host_port)) => (address, host_port, port),
        },
    };
    let (port, protocol) = port.split_once('/').unwrap_or((port, ""));
    if port.is_empty() {
        return Err(ExposeError::NoPort(word.to_owned()));
    }
    let lower = match protocol.to_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => {
            return Err(ExposeError::Protocol {
                port: word.to_owned(),
                protocol: protocol.to_owned(),
            });
        }
    };
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(ExposeError::Address(bare.to_owned()));
    }
    let (first, last) = range(port).ok_or_else(|| ExposeError::Port(port.to_owned()))?;
    if !host_port.is_empty() {
        let (host_first, host_last) =
            range(host_port).ok_or_else(|| ExposeError::HostPort(host_port.to_owned()))?;
        if last - first != host_last - host_first && first != last {
            return Err(ExposeError::Ranges(port.to_owned(), host_port.to_owned()));
        }
    }
    Ok(Exposed {
        ports: (first..=last)
            .map(|port| format!("{port}/{lower}"))
            .collect(),
        mapped: !address.is_empty() || !host_port.is_empty(),
        lower_case: protocol == protocol.to_lowercase(),
    })
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        for (word, expected) in [
            ("80", vec!["80/tcp"]),
            ("80/TCP", vec!["80/tcp"]),
            ("53/udp", vec!["53/udp"]),
            (
                "7000-7002/sctp",
                vec!["7000/sctp", "7001/sctp", "7002/sctp"],
            ),
            ("8080:80", vec!["80/tcp"]),
            ("127.0.0.1:8080:80/udp", vec!["80/udp"]),
            ("[::1]:8080:80", vec!["80/tcp"]),
            ("::1::80", vec!["80/tcp"]),
            ("8000-8010:80", vec!["80/tcp"]),
            ("80-80", vec!["80/tcp"]),
        ] {
            assert_eq!(exposed_ports(word).expect(word), expected, "{word}");
        }
        for (word, message) in [
            ("", "invalid port: \"\": no port specified"),
            ("/tcp", "invalid port: \"/tcp\": no port specified"),
            ("80/http", "invalid port: \"80/http\": invalid proto: http"),
            ("a", "invalid containerPort: a"),
            ("70000", "invalid containerPort: 70000"),
            ("90-80", "invalid containerPort: 90-80"),
            ("x:80", "invalid hostPort: x"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            (
                "1-2:80-82",
                "invalid ranges specified for container and host Ports: 80-82 and 1-2",
            ),
        ] {
            assert_eq!(exposed_ports(word).expect_err(word).to_string(), message);
        }
    }

    #[test]
    fn what_is_told_of() {
        assert!(!parse("80/Tcp").expect("port").lower_case);
        assert!(parse("1:80").expect("port").mapped && !parse("80").expect("port").mapped);
    }
}
