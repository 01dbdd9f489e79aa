//! The PORTS column.

use std::net::IpAddr;

use rctr_engine::inspect::published_ports;
use rctr_engine::model::Container;

/// One port as Docker's API lists it; without a host address it is exposed and not published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    private: u16,
    host: Option<IpAddr>,
    public: u16,
    protocol: String,
}

/// A run of ports that are published under their own numbers, or only exposed.
struct Run {
    key: (Option<IpAddr>, String),
    first: u16,
    last: u16,
}

/// `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 443/tcp`; nothing unless it runs.
pub fn of(container: &Container) -> String {
    let published = published_ports(container).iter().map(|port| Port {
        private: port.container_port,
        host: Some(port.host_ip),
        public: port.host_port,
        protocol: port.protocol.as_str().to_owned(),
    });
    let mut ports: Vec<Port> = published.collect();
    if container.state.status.is_live() && !container.networks.is_empty() {
        let exposed = container
            .process
            .exposed_ports
            .iter()
            .filter_map(|text| exposed(text));
        let unpublished: Vec<Port> = exposed
            .filter(|new| {
                !ports
                    .iter()
                    .any(|p| p.private == new.private && p.protocol == new.protocol)
            })
            .collect();
        ports.extend(unpublished);
    }
    display(ports)
}

fn exposed(text: &str) -> Option<Port> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some(Port {
        private: port.parse().ok()?,
        host: None,
        public: 0,
        protocol: protocol.to_owned(),
    })
}

fn display(mut ports: Vec<Port>) -> String {
    ports.sort();
    ports.dedup();
    let mut finished = Vec::new();
    let mut open: Vec<Run> = Vec::new();
    let mut moved = Vec::new();
    for port in ports {
        if let Some(host) = port.host
            && port.public != port.private
        {
            moved.push(format!(
                "{}->{}/{}",
                join(host, &port.public.to_string()),
                port.private,
                port.protocol
            ));
            continue;
        }
        let key = (port.host, port.protocol);
        match open.iter_mut().find(|run| run.key == key) {
            None => open.push(Run {
                key,
                first: port.private,
                last: port.private,
            }),
            Some(run) if run.last.checked_add(1) == Some(port.private) => run.last = port.private,
            Some(run) => {
                finished.push(run.text());
                (run.first, run.last) = (port.private, port.private);
            }
        }
    }
    finished.extend(open.iter().map(Run::text));
    finished.extend(moved);
    finished.join(", ")
}

impl Run {
    fn text(&self) -> String {
        let range = match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}-{}", self.first, self.last),
        };
        let (host, protocol) = &self.key;
        match host {
            Some(host) => format!("{}->{range}/{protocol}", join(*host, &range)),
            None => format!("{range}/{protocol}"),
        }
    }
}

fn join(host: IpAddr, port: &str) -> String {
    match host {
        IpAddr::V4(host) => format!("{host}:{port}"),
        IpAddr::V6(host) => format!("[{host}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host: &str, public: u16, private: u16, protocol: &str) -> Port {
        Port {
            private,
            host: host.parse().ok(),
            public,
            protocol: protocol.to_owned(),
        }
    }

    #[test]
    fn published_on_both_families() {
        let ports = vec![
            port("::", 8080, 80, "tcp"),
            port("0.0.0.0", 8080, 80, "tcp"),
        ];
        assert_eq!(display(ports), "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp");
    }

    #[test]
    fn exposed_ports_come_as_ranges() {
        let ports = vec![
            port("", 0, 8001, "tcp"),
            port("", 0, 8000, "tcp"),
            port("", 0, 9000, "udp"),
        ];
        assert_eq!(display(ports), "8000-8001/tcp, 9000/udp");
    }

    #[test]
    fn equal_numbers_are_merged_and_others_listed() {
        let ports = vec![
            port("0.0.0.0", 80, 80, "tcp"),
            port("0.0.0.0", 81, 81, "tcp"),
            port("0.0.0.0", 83, 83, "tcp"),
            port("127.0.0.1", 5353, 53, "udp"),
            port("", 0, 443, "tcp"),
        ];
        assert_eq!(
            display(ports),
            "0.0.0.0:80-81->80-81/tcp, 0.0.0.0:83->83/tcp, 443/tcp, 127.0.0.1:5353->53/udp"
        );
    }
}
