//! /etc/hostname, /etc/hosts and /etc/resolv.conf of a container, as Docker writes them.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::model::Container;
use crate::options::{NetworkMode, RunOptions};
use crate::pod::{NamespaceScope, Pod};

/// The container's files under /etc cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A file cannot be read or written.
    #[error("{action} {}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The files, and the name in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EtcFiles {
    /// The container's host name.
    pub(crate) name: String,
    /// What /etc/hostname shows.
    pub(crate) hostname: PathBuf,
    /// What /etc/hosts shows.
    pub(crate) hosts: PathBuf,
    /// What /etc/resolv.conf shows.
    pub(crate) resolv_conf: PathBuf,
}

const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved keeps the real servers when /etc/resolv.conf names only itself.
const RESOLVED_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// Writes the files into the container's directory, or takes those of the container whose network it joins (`joined`
/// is that one's directory). `gateway` is what `host-gateway` means.
///
/// # Errors
/// [`FilesError`] with the file.
pub(crate) fn write(
    dir: &Path,
    container: &Container,
    joined: Option<&Path>,
    gateway: Ipv4Addr,
) -> Result<EtcFiles, FilesError> {
    let home = joined.unwrap_or(dir);
    let mut files = EtcFiles {
        name: String::new(),
        hostname: home.join("hostname"),
        hosts: home.join("hosts"),
        resolv_conf: home.join("resolv.conf"),
    };
    if joined.is_some() {
        files.name = read(&files.hostname)?.trim().to_owned();
        return Ok(files);
    }
    let host = container.options.network == NetworkMode::Host;
    files.name = short_name(container);
    let base = if host {
        read(Path::new("/etc/hosts")).unwrap_or_default()
    } else {
        HOSTS.to_owned()
    };
    let v6 = host || container.networks.iter().any(|n| n.v6.is_some());
    put(&files.hostname, &format!("{}\n", files.name))?;
    put(
        &files.hosts,
        &hosts(base, container, &host_name(container), gateway.into()),
    )?;
    put(
        &files.resolv_conf,
        &match container.has_names() {
            true => resolv_conf_with_names(&host_resolv_conf(host), &container.options),
            false => resolv_conf(&host_resolv_conf(host), &container.options, !host, v6),
        },
    )?;
    Ok(files)
}

/// Writes a pod's files, which all its containers get.
///
/// # Errors
/// [`FilesError`] with the file.
pub(crate) fn write_of_pod(dir: &Path, pod: &Pod) -> Result<(), FilesError> {
    let options = &pod.options;
    let on_host = options.network == NamespaceScope::Node;
    let name = match on_host || options.hostname.is_empty() {
        true => nix::unistd::gethostname().map_or_else(
            |_| "localhost".to_owned(),
            |n| n.to_string_lossy().into_owned(),
        ),
        false => options.hostname.clone(),
    };
    put(&dir.join("hostname"), &format!("{name}\n"))?;
    let mut hosts = match on_host {
        true => read(Path::new("/etc/hosts")).unwrap_or_default(),
        false => HOSTS.to_owned(),
    };
    for address in pod.network.iter().flat_map(|network| &network.ips) {
        hosts += &format!("{address}\t{name}\n");
    }
    put(&dir.join("hosts"), &hosts)?;
    let of_network = pod
        .network
        .as_ref()
        .and_then(|network| network.dns.as_ref());
    let said = options.dns.as_ref().filter(|dns| !dns.is_empty());
    let resolv_conf = match said.or(of_network) {
        Some(dns) => {
            let mut text = String::new();
            for (word, list) in [("search", &dns.searches), ("options", &dns.options)] {
                if !list.is_empty() {
                    text += &format!("{word} {}\n", list.join(" "));
                }
            }
            let servers = dns
                .servers
                .iter()
                .map(|server| format!("nameserver {server}\n"));
            servers.collect::<String>() + &text
        }
        None => host_resolv_conf(!on_host),
    };
    put(&dir.join("resolv.conf"), &resolv_conf)
}

/// A pod's files as they were written.
///
/// # Errors
/// [`FilesError`] with the file.
pub(crate) fn of_pod(dir: &Path) -> Result<EtcFiles, FilesError> {
    let hostname = dir.join("hostname");
    Ok(EtcFiles {
        name: read(&hostname)?.trim().to_owned(),
        hostname,
        hosts: dir.join("hosts"),
        resolv_conf: dir.join("resolv.conf"),
    })
}

fn host_name(container: &Container) -> String {
    let options = &container.options;
    let name = short_name(container);
    match &options.domainname {
        Some(domain) => format!("{name}.{domain}"),
        None => name,
    }
}

fn short_name(container: &Container) -> String {
    let options = &container.options;
    match (&options.hostname, &options.network) {
        (Some(name), _) => name.clone(),
        _ if options.isolation.uts_host => of_host(),
        (None, NetworkMode::Host) => of_host(),
        (None, _) => container.id.chars().take(12).collect(),
    }
}

fn of_host() -> String {
    nix::unistd::gethostname().map_or_else(
        |_| "localhost".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

fn hosts(mut text: String, container: &Container, name: &str, gateway: IpAddr) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for host in &container.options.add_hosts {
        text += &format!("{}\t{}\n", host.address.unwrap_or(gateway), host.name);
    }
    let names = match name.split_once('.') {
        Some((short, _)) if !short.is_empty() => format!("{name} {short}"),
        _ => name.to_owned(),
    };
    for network in &container.networks {
        for address in [
            Some(network.address),
            network.v6.map(|(address, _, _)| address),
        ]
        .into_iter()
        .flatten()
        {
            text += &format!("{address}\t{names}\n");
        }
    }
    text
}

/// The host's own resolv.conf; with a network of its own a container cannot reach systemd-resolved's stub, so it
/// gets the servers behind it.
fn host_resolv_conf(own_network: bool) -> String {
    let text = fs::read_to_string(HOST_RESOLV_CONF).unwrap_or_default();
    let servers: Vec<&str> = directives(&text, "nameserver").collect();
    match !own_network && servers == ["127.0.0.53"] {
        true => fs::read_to_string(RESOLVED_RESOLV_CONF).unwrap_or(text),
        false => text,
    }
}

/// Flags over the host's file. With `filter`, servers that the container cannot reach are left out, and Docker's
/// public ones stand in if none is left.
fn resolv_conf(host: &str, options: &RunOptions, filter: bool, v6: bool) -> String {
    let mut servers: Vec<String> = match options.dns.is_empty() {
        false => options.dns.iter().map(ToString::to_string).collect(),
        true => directives(host, "nameserver")
            .filter(|s| !filter || reachable(s, v6))
            .map(str::to_owned)
            .collect(),
    };
    if servers.is_empty() && filter {
        let own = crate::rootless::name_server();
        servers = match &own {
            Some(server) => vec![server.to_string()],
            None => ["8.8.8.8", "8.8.4.4"].map(str::to_owned).to_vec(),
        };
        if v6 && own.is_none() {
            servers.extend(["2001:4860:4860::8888", "2001:4860:4860::8844"].map(str::to_owned));
        }
    }
    lines_of(
        &servers,
        &search_of(host, options),
        &options_of(host, options),
    )
}

/// With names of other containers: our server, which asks the others. As with Docker, a name without a dot is asked as it
/// is, too, wherever the search list leads.
fn resolv_conf_with_names(host: &str, options: &RunOptions) -> String {
    let mut words = options_of(host, options);
    if !words.iter().any(|word| word.starts_with("ndots:")) {
        words.push("ndots:0".to_owned());
    }
    let server = rctr_network::dns::ADDRESS.to_string();
    lines_of(&[server], &search_of(host, options), &words)
}

fn search_of(host: &str, options: &RunOptions) -> Vec<String> {
    match options.dns_search.is_empty() {
        false => options
            .dns_search
            .iter()
            .filter(|d| *d != ".")
            .cloned()
            .collect(),
        // The last line counts, `domain` being an older way of saying it.
        true => host
            .lines()
            .filter_map(|l| directive(l, "search").or_else(|| directive(l, "domain")))
            .next_back()
            .map(|l| {
                l.split_whitespace()
                    .filter(|d| *d != ".")
                    .map(str::to_owned)
                    .collect()
            })
            .unwrap_or_default(),
    }
}

fn options_of(host: &str, options: &RunOptions) -> Vec<String> {
    match options.dns_options.is_empty() {
        false => options.dns_options.clone(),
        true => host
            .lines()
            .filter_map(|l| directive(l, "options"))
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect(),
    }
}

fn lines_of(servers: &[String], search: &[String], words: &[String]) -> String {
    let mut text: String = servers
        .iter()
        .map(|s| format!("nameserver {s}\n"))
        .collect();
    for (word, list) in [("search", search), ("options", words)] {
        if !list.is_empty() {
            text += &format!("{word} {}\n", list.join(" "));
        }
    }
    text
}

fn reachable(server: &str, v6: bool) -> bool {
    match server.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => !address.is_loopback(),
        Ok(IpAddr::V6(address)) => v6 && !address.is_loopback(),
        // A zone (`fe80::1%eth0`) names an interface of the host.
        Err(_) => false,
    }
}

fn directives<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter_map(move |line| directive(line, word)?.split_whitespace().next())
}

/// What follows a line's first word, if that is `word`.
fn directive<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let rest = line.trim_start().strip_prefix(word)?;
    rest.starts_with([' ', '\t']).then(|| rest.trim())
}

fn read(path: &Path) -> Result<String, FilesError> {
    fs::read_to_string(path).map_err(|source| FilesError::Io {
        action: "read",
        path: path.into(),
        source,
    })
}

fn put(path: &Path, text: &str) -> Result<(), FilesError> {
    fs::write(path, text).map_err(|source| FilesError::Io {
        action: "write",
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::container;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);

    #[test]
    fn a_container_on_the_bridge() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = container();
        c.options.add_hosts = vec![
            "db:10.1.1.1".parse().unwrap(),
            "host.docker.internal:host-gateway".parse().unwrap(),
        ];
        let files = write(dir.path(), &c, None, GATEWAY).unwrap();
        assert_eq!(files.name, c.id[..12]);
        assert_eq!(
            fs::read_to_string(&files.hostname).unwrap(),
            format!("{}\n", files.name)
        );
        let hosts = fs::read_to_string(&files.hosts).unwrap();
        assert!(
            hosts.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost"),
            "{hosts}"
        );
        let end = format!(
            "10.1.1.1\tdb\n10.88.0.1\thost.docker.internal\n10.88.0.2\t{0}\nfd00::2\t{0}\n",
            files.name
        );
        assert!(hosts.ends_with(&end), "{hosts}");

        let joined = tempfile::tempdir().unwrap();
        let other = write(joined.path(), &c, Some(dir.path()), GATEWAY).unwrap();
        assert_eq!(other, files);
        assert_eq!(fs::read_dir(joined.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_domain_gives_two_names() {
        let mut c = container();
        c.options.hostname = Some("web.example.com".into());
        let text = hosts(String::new(), &c, "web.example.com", GATEWAY.into());
        assert_eq!(
            text,
            "10.88.0.2\tweb.example.com web\nfd00::2\tweb.example.com web\n"
        );
    }

    #[test]
    fn servers_on_loopback_are_out_of_reach() {
        let none = RunOptions::default();
        let host = "# c\nnameserver 127.0.0.1\nnameserver 9.9.9.9\nnameserver fe80::1%eth0\nnameserver 2620:fe::fe\n\
            domain old\nsearch a.example b.example\noptions ndots:2\noptions edns0\n";
        let rest = "search a.example b.example\noptions ndots:2 edns0\n";
        assert_eq!(
            resolv_conf(host, &none, true, false),
            format!("nameserver 9.9.9.9\n{rest}")
        );
        assert_eq!(
            resolv_conf(host, &none, true, true),
            format!("nameserver 9.9.9.9\nnameserver 2620:fe::fe\n{rest}")
        );
        assert!(resolv_conf(host, &none, false, true).starts_with("nameserver 127.0.0.1\n"));
        assert_eq!(
            resolv_conf("nameserver 127.0.0.53\n", &none, true, false),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
    }

    #[test]
    fn flags_replace_their_part() {
        let options = RunOptions {
            dns: vec!["1.1.1.1".parse().unwrap()],
            dns_search: vec![".".into()],
            dns_options: vec!["timeout:1".into()],
            ..Default::default()
        };
        let host = "nameserver 9.9.9.9\nsearch x\noptions y\n";
        assert_eq!(
            resolv_conf(host, &options, true, false),
            "nameserver 1.1.1.1\noptions timeout:1\n"
        );
    }
}
