//! `rctr port`.

use std::io::{self, Write};

use rctr_engine::inspect::{PortBinding, PortMap, port_map};

use crate::app::App;
use crate::cli::PortArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::usage::wrong_count;

pub fn run(app: &App, command: &str, args: &PortArgs) -> Result {
    let (name, port) = match &args.words[..] {
        [name] => (name, None),
        [name, port] if port.is_empty() => (name, None),
        [name, port] => (name, Some(port.as_str())),
        [] => return Err(wrong_count(command, "requires at least 1 argument")),
        _ => return Err(wrong_count(command, "requires at most 2 arguments")),
    };
    let ports = port_map(&app.engine()?.container(name)?);
    let mut out = io::stdout().lock();
    for line in lines(&ports, name, port)? {
        writeln!(out, "{line}")?;
    }
    Ok(0)
}

fn lines(ports: &PortMap, container: &str, wanted: Option<&str>) -> Result<Vec<String>> {
    let fail = |message: String| Err(Failure::new(GENERAL, message));
    let Some(wanted) = wanted else {
        let bindings = ports.iter().flat_map(|(port, bindings)| {
            let bindings = bindings.iter().flatten();
            bindings.map(move |binding| (number(port), port, binding))
        });
        let mut all: Vec<_> = bindings.collect();
        all.sort_by_key(|(number, port, binding)| (*number, *port, on_host(binding)));
        let line = |(_, port, binding): (u16, &String, &PortBinding)| {
            format!("{port} -> {}", address(binding))
        };
        return Ok(all.into_iter().map(line).collect());
    };
    let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, ""));
    if port.parse::<u16>().is_err() {
        return fail(format!("Error: invalid port ({port})"));
    }
    let protocol = match protocol {
        "" => "tcp",
        given => given,
    };
    match ports.get(&format!("{port}/{protocol}")) {
        Some(Some(bindings)) if !bindings.is_empty() => {
            let mut bindings: Vec<&PortBinding> = bindings.iter().collect();
            bindings.sort_by_key(|binding| on_host(binding));
            Ok(bindings.into_iter().map(address).collect())
        }
        _ => fail(format!(
            "Error: No public port '{wanted}' published for {container}"
        )),
    }
}

fn number(port: &str) -> u16 {
    let number = port.split('/').next().unwrap_or_default();
    number.parse().unwrap_or_default()
}

/// IPv4 before IPv6, then by port.
fn on_host(binding: &PortBinding) -> (bool, &str, u16) {
    let v6 = binding.host_ip.contains(':');
    (v6, &binding.host_ip, number(&binding.host_port))
}

fn address(binding: &PortBinding) -> String {
    match binding.host_ip.contains(':') {
        true => format!("[{}]:{}", binding.host_ip, binding.host_port),
        false => format!("{}:{}", binding.host_ip, binding.host_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ports_and_one() {
        let binding = |ip: &str, port: &str| PortBinding {
            host_ip: ip.into(),
            host_port: port.into(),
        };
        let both = vec![binding("::", "8080"), binding("0.0.0.0", "8080")];
        let ports = PortMap::from([
            (
                "443/tcp".to_owned(),
                Some(vec![binding("127.0.0.1", "443")]),
            ),
            ("80/tcp".to_owned(), Some(both)),
            ("9/udp".to_owned(), None),
        ]);
        assert_eq!(
            lines(&ports, "web", None).unwrap(),
            [
                "80/tcp -> 0.0.0.0:8080",
                "80/tcp -> [::]:8080",
                "443/tcp -> 127.0.0.1:443"
            ]
        );
        let one = ["0.0.0.0:8080", "[::]:8080"];
        assert_eq!(lines(&ports, "web", Some("80")).unwrap(), one);
        assert_eq!(lines(&ports, "web", Some("80/tcp")).unwrap(), one);
        for (port, message) in [
            ("81", "Error: No public port '81' published for web"),
            ("9/udp", "Error: No public port '9/udp' published for web"),
            ("http", "Error: invalid port (http)"),
        ] {
            assert_eq!(
                lines(&ports, "web", Some(port)).unwrap_err().text(),
                message
            );
        }
    }
}
