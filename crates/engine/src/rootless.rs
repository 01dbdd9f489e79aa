//! rctr as an ordinary user: where that user's files are, the way into the user's namespaces, and what leads out of them.
//! What is different there is decided where it is done; see [`rctr_runtime::rootless`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rctr_runtime::cgroup::Hierarchies;
use rctr_runtime::{Forward, Transport, rootless};

use crate::endpoint::{HeldPorts, network_protocol};
use crate::model::PublishedPort;
use crate::options::Protocol;
use crate::{Error, Result, monitor_path};

/// Where things are unless the user says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// What outlives a reboot.
    pub root: PathBuf,
    /// What does not.
    pub state: PathBuf,
    /// Configuration files; the first that exists is read.
    pub config: Vec<PathBuf>,
}

/// The machine's configuration file.
const CONFIG: &str = "/etc/rctr/config.toml";

impl Places {
    /// Those of the calling user (XDG Base Directory Specification), or of root.
    pub fn of_user() -> Places {
        let uid = nix::unistd::geteuid();
        if uid.is_root() {
            return Places {
                root: "/var/lib/rctr".into(),
                state: "/run/rctr".into(),
                config: vec![CONFIG.into()],
            };
        }
        let absolute = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let home = absolute("HOME").unwrap_or_else(|| "/".into());
        let data = absolute("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
        let config = absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        // After `su` it may still be another user's.
        let own = |path: &PathBuf| path.metadata().is_ok_and(|dir| dir.uid() == uid.as_raw());
        let runtime = absolute("XDG_RUNTIME_DIR").filter(own);
        let runtime =
            runtime.or_else(|| Some(PathBuf::from(format!("/run/user/{uid}"))).filter(own));
        Places {
            root: data.join("rctr"),
            state: match runtime {
                Some(runtime) => runtime.join("rctr"),
                None => format!("/tmp/rctr-{uid}").into(),
            },
            config: vec![config.join("rctr/config.toml"), CONFIG.into()],
        }
    }
}

/// Enters the calling user's namespaces, whose state directory this is; nothing for root. To be called before there is a
/// second thread. Gives what the user should be told, one line each.
///
/// # Errors
/// [`Error::Rootless`], [`Error::MonitorMissing`].
pub fn enter(state: &Path) -> Result<Vec<String>> {
    let is_root = nix::unistd::geteuid().is_root();
    let keeper = match is_root {
        true => PathBuf::new(),
        false => monitor_path()?,
    };
    let warnings = rootless::enter(state, &keeper)?;
    if let Some(session) = rootless::session() {
        let network = session.network().try_clone_to_owned();
        rctr_network::set_home(network.map_err(Error::file("open", "/proc/self/ns/net".as_ref()))?);
    }
    Ok(warnings)
}

/// Refuses a command that does what only root may.
///
/// # Errors
/// [`Error::NeedsRoot`].
pub fn require_root(command: &'static str) -> Result<()> {
    match nix::unistd::geteuid().is_root() {
        true => Ok(()),
        false => Err(Error::NeedsRoot { command }),
    }
}

/// The way out where a file of an image cannot have its owner, because that is none of the user's ids.
pub(crate) fn hint(error: &Error) -> Option<String> {
    rootless::session()?;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(rctr_store::Error::Member { source, .. }) = error.downcast_ref()
            && source.raw_os_error() == Some(libc::EINVAL)
        {
            let text = "its owner is none of your ids: more of them in /etc/subuid and /etc/subgid are needed; \
                        `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`, as root, adds some";
            return Some(text.to_owned());
        }
        cause = error.source();
    }
    None
}

/// Connects the user's bridges to the world, if they are a user's.
pub(crate) fn lead_outside() -> Result<Vec<String>> {
    match rootless::session() {
        Some(session) => Ok(rootless::connect(session)?.warnings),
        None => Ok(Vec::new()),
    }
}

/// The name server that containers of a user reach when they can reach none of the host's.
pub(crate) fn name_server() -> Option<IpAddr> {
    rootless::session().and_then(rootless::name_server)
}

/// How the ports held for a container lead to it, if it is a user's; the sockets will be the descriptors from `first` on.
pub(crate) fn forwards(held: &HeldPorts, first: usize) -> Result<Vec<Forward>> {
    if rootless::session().is_none() {
        return Ok(Vec::new());
    }
    let ports = held.ports.iter().enumerate();
    ports
        .map(|(index, port)| {
            Ok(Forward {
                socket: first + index,
                transport: match port.protocol {
                    Protocol::Tcp => Transport::Tcp,
                    Protocol::Udp => Transport::Udp,
                    other => {
                        let protocol = network_protocol(other);
                        return Err(Error::RootlessProtocol { protocol });
                    }
                },
                to: target(port, &held.ports),
            })
        })
        .collect()
}

/// Whether published ports are led to containers by processes, which reach what the kernel does not route.
pub(crate) fn leads_by_processes() -> bool {
    rootless::session().is_some()
}

/// Stands for the loopback of IPv6 in the user's network namespace: the kernel routes nothing from there to a container.
const LOOPBACK_V6: Ipv4Addr = Ipv4Addr::new(127, 6, 0, 1);

/// The address that the firewall leads on from, for a port that is published on this one.
pub(crate) fn routed(host_ip: IpAddr) -> IpAddr {
    match host_ip {
        IpAddr::V6(Ipv6Addr::LOCALHOST) => LOOPBACK_V6.into(),
        other => other,
    }
}

/// Where the firewall of the user's network namespace leads a port on to its container, wherever that is by then.
/// A port of all addresses is one of its loopback there; that of IPv6 cannot be led on.
fn target(port: &PublishedPort, all: &[PublishedPort]) -> SocketAddr {
    let twin = |other: &&PublishedPort| {
        other.host_ip.is_ipv4()
            && (other.host_port, other.protocol) == (port.host_port, port.protocol)
    };
    let ip = match port.host_ip {
        IpAddr::V6(any) if any.is_unspecified() => match all.iter().find(twin) {
            Some(other) => other.host_ip,
            None => port.host_ip,
        },
        ip => routed(ip),
    };
    let ip = match ip {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(ip, port.host_port)
}

/// The last group of this user namespace.
pub(crate) fn last_group() -> u32 {
    rootless::last_group()
}

/// The first port that everybody may use.
pub(crate) fn first_port() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}

/// What takes it to have limits, if this is a user who has none.
pub(crate) fn undelegated() -> Option<&'static str> {
    let none = rootless::session()?.delegated_cgroup().is_none();
    none.then_some(
        "Limits of a user's containers need cgroup v2 and a systemd of the user's own, which `loginctl enable-linger USER`, \
         as root, starts.",
    )
}

/// The hierarchies whose limits can be kept: for a user, only what was delegated.
pub(crate) fn controlled(hierarchies: Option<&Hierarchies>) -> Option<Hierarchies> {
    match rootless::session() {
        None => hierarchies.filter(|found| found.is_ours()).cloned(),
        Some(session) => {
            let root = session.delegated_cgroup()?;
            Some(Hierarchies::V2 { root })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_lead_to_where_the_firewall_leads_them_on() {
        let port = |ip: &str, protocol| PublishedPort {
            host_ip: ip.parse().unwrap(),
            host_port: 8080,
            container_port: 80,
            protocol,
        };
        let all = [
            port("0.0.0.0", Protocol::Tcp),
            port("::", Protocol::Tcp),
            port("10.1.2.3", Protocol::Udp),
        ];
        let to = |port| target(port, &all).to_string();
        assert_eq!(to(&all[0]), "127.0.0.1:8080");
        assert_eq!(to(&all[1]), "127.0.0.1:8080");
        assert_eq!(to(&all[2]), "10.1.2.3:8080");
        let alone = ["fd00::1", "::1"].map(|ip| port(ip, Protocol::Tcp));
        assert_eq!(to(&alone[0]), "[fd00::1]:8080");
        assert_eq!(to(&alone[1]), "127.6.0.1:8080");
    }
}
