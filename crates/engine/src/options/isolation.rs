//! Which namespaces a container shares with the host or with another container: `--cgroupns`, `--ipc`, `--pid`,
//! `--uts` and `--userns`.

use std::fmt;
use std::str::FromStr;

use rctr_runtime::namespaces::{IdMap, IdMappings};
use serde::{Deserialize, Serialize};

use super::{NetworkMode, ParseError, RunOptions};

/// How many ids `--userns auto` takes.
pub const AUTO_IDS: u32 = 65536;

/// What a container shares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Isolation {
    /// `--cgroupns`.
    pub cgroupns: CgroupnsMode,
    /// `--ipc`.
    pub ipc: IpcMode,
    /// `--pid`.
    pub pid: PidMode,
    /// `--uts host`.
    pub uts_host: bool,
    /// `--userns`.
    pub userns: UsernsMode,
}

impl Isolation {
    /// Whether it has the host's processes or their shared memory in sight; SELinux would keep it from them.
    pub fn shares_processes_with_host(&self) -> bool {
        self.pid == PidMode::Host || self.ipc == IpcMode::Host
    }
}

/// `--cgroupns`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupnsMode {
    /// The container's own: it sees its cgroup as the root.
    #[default]
    Private,
    /// The host's.
    Host,
}

/// `--ipc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpcMode {
    /// The container's own, for nobody else.
    #[default]
    Private,
    /// The container's own, without /dev/shm.
    None,
    /// The container's own, which others may join.
    Shareable,
    /// The host's.
    Host,
    /// Another container's, by name or id.
    Container(String),
}

/// `--pid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PidMode {
    /// The container's own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Another container's, by name or id.
    Container(String),
}

/// `--userns`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsernsMode {
    /// The host's.
    #[default]
    Host,
    /// One of its own, with so many ids that nobody else has.
    Auto {
        /// How many.
        size: u32,
    },
    /// One of its own with these ids.
    Mapped(IdMappings),
}

impl UsernsMode {
    /// The ids, once they are chosen.
    pub fn mappings(&self) -> Option<&IdMappings> {
        match self {
            UsernsMode::Mapped(mappings) => Some(mappings),
            UsernsMode::Host | UsernsMode::Auto { .. } => None,
        }
    }
}

impl FromStr for CgroupnsMode {
    type Err = ParseError;

    /// Reads `private` or `host`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "" | "private" => Ok(CgroupnsMode::Private),
            "host" => Ok(CgroupnsMode::Host),
            _ => Err(ParseError::NamespaceMode {
                flag: "cgroupns",
                kind: "CGROUP",
            }),
        }
    }
}

impl FromStr for IpcMode {
    type Err = ParseError;

    /// Reads `none`, `private`, `shareable`, `host` or `container:NAME`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "" | "private" => Ok(IpcMode::Private),
            "none" => Ok(IpcMode::None),
            "shareable" => Ok(IpcMode::Shareable),
            "host" => Ok(IpcMode::Host),
            _ => match other_container(text) {
                Some(name) => Ok(IpcMode::Container(name)),
                None => Err(ParseError::IpcMode { value: text.into() }),
            },
        }
    }
}

impl FromStr for PidMode {
    type Err = ParseError;

    /// Reads `host` or `container:NAME`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "" | "private" => Ok(PidMode::Private),
            "host" => Ok(PidMode::Host),
            _ => match other_container(text) {
                Some(name) => Ok(PidMode::Container(name)),
                None => Err(ParseError::NamespaceMode {
                    flag: "pid",
                    kind: "PID",
                }),
            },
        }
    }
}

impl FromStr for UsernsMode {
    type Err = ParseError;

    /// Reads `host`, `auto`, `auto:size=N`, or ranges `CONTAINER:HOST:COUNT[,…]`, which hold for users and groups.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = || ParseError::NamespaceMode {
            flag: "userns",
            kind: "USER",
        };
        match text {
            "" | "host" => return Ok(UsernsMode::Host),
            "auto" => return Ok(UsernsMode::Auto { size: AUTO_IDS }),
            _ => {}
        }
        if let Some(size) = text.strip_prefix("auto:size=") {
            let size = size.parse().ok().filter(|size| *size > 0);
            return Ok(UsernsMode::Auto {
                size: size.ok_or_else(fail)?,
            });
        }
        let range = |range: &str| {
            let mut numbers = range.split(':').map(|n| n.parse::<u32>().ok());
            let mut next = || numbers.next().flatten();
            let map = IdMap {
                container: next()?,
                host: next()?,
                length: next().filter(|length| *length > 0)?,
            };
            let ends = map.container.checked_add(map.length).is_some()
                && map.host.checked_add(map.length).is_some();
            (ends && numbers.next().is_none()).then_some(map)
        };
        let ranges: Option<Vec<IdMap>> = text.split(',').map(range).collect();
        let mappings = ranges.map(|uids| IdMappings {
            gids: uids.clone(),
            uids,
        });
        // Without a root nothing can be set up inside.
        let mappings = mappings.filter(|mappings| mappings.root().is_some());
        mappings.map(UsernsMode::Mapped).ok_or_else(fail)
    }
}

fn other_container(text: &str) -> Option<String> {
    let name = text.strip_prefix("container:")?;
    (!name.is_empty()).then(|| name.to_owned())
}

impl fmt::Display for IpcMode {
    /// As `inspect` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IpcMode::Private => f.write_str("private"),
            IpcMode::None => f.write_str("none"),
            IpcMode::Shareable => f.write_str("shareable"),
            IpcMode::Host => f.write_str("host"),
            IpcMode::Container(id) => write!(f, "container:{id}"),
        }
    }
}

impl fmt::Display for PidMode {
    /// As `inspect` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PidMode::Private => Ok(()),
            PidMode::Host => f.write_str("host"),
            PidMode::Container(id) => write!(f, "container:{id}"),
        }
    }
}

impl fmt::Display for UsernsMode {
    /// As it is written on the command line; empty for the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsernsMode::Host => Ok(()),
            UsernsMode::Auto { size } => write!(f, "auto:size={size}"),
            UsernsMode::Mapped(mappings) => {
                for (index, map) in mappings.uids.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{}:{}:{}", map.container, map.host, map.length)?;
                }
                Ok(())
            }
        }
    }
}

/// Checks what the shared namespaces do to other flags.
///
/// # Errors
/// The first contradiction, in Docker's words where it has some.
pub(super) fn check(options: &RunOptions) -> Result<(), ParseError> {
    let shared = &options.isolation;
    let conflict = |first, second| Err(ParseError::Conflict { first, second });
    if shared.uts_host && options.hostname.is_some() {
        return conflict("hostname", "the UTS mode");
    }
    if shared.uts_host && options.domainname.is_some() {
        return conflict("domainname", "the UTS mode");
    }
    if shared.ipc == IpcMode::Host {
        let ipc = |name: &&String| name.starts_with("kernel.") || name.starts_with("fs.mqueue.");
        if let Some(name) = options.sysctls.keys().find(ipc) {
            return Err(ParseError::SysctlHostNamespace {
                name: name.clone(),
                namespace: "ipc",
            });
        }
    }
    if shared.userns == UsernsMode::Host {
        return Ok(());
    }
    let second = "a user namespace of its own";
    match () {
        _ if options.privileged => Err(ParseError::PrivilegedUserns),
        _ if matches!(
            options.network,
            NetworkMode::Host | NetworkMode::Container(_)
        ) =>
        {
            conflict("sharing a network namespace", second)
        }
        _ if shared.pid != PidMode::Private => conflict("sharing a PID namespace", second),
        _ if matches!(shared.ipc, IpcMode::Host | IpcMode::Container(_)) => {
            conflict("sharing an IPC namespace", second)
        }
        _ if shared.uts_host => conflict("sharing the host's UTS namespace", second),
        _ if shared.cgroupns == CgroupnsMode::Host => {
            conflict("sharing the host's cgroup namespace", second)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_and_shown() {
        for text in ["none", "private", "shareable", "host", "container:x"] {
            assert_eq!(text.parse::<IpcMode>().unwrap().to_string(), text);
        }
        for text in ["", "host", "container:x"] {
            assert_eq!(text.parse::<PidMode>().unwrap().to_string(), text);
        }
        assert_eq!(
            "auto".parse::<UsernsMode>().unwrap(),
            UsernsMode::Auto { size: 65536 }
        );
        let ranges = "0:100000:1000,1000:5:1";
        assert_eq!(ranges.parse::<UsernsMode>().unwrap().to_string(), ranges);
        let message = |error: ParseError| error.to_string();
        assert_eq!(
            message("x".parse::<IpcMode>().unwrap_err()),
            "invalid IPC mode: x"
        );
        for text in ["x", "container:"] {
            assert_eq!(
                message(text.parse::<PidMode>().unwrap_err()),
                "--pid: invalid PID mode"
            );
        }
        for text in [
            "keep-id",
            "auto:size=0",
            "0:1",
            "0:1:2:3",
            "1:1:1",
            "0:4294967295:2",
        ] {
            let error = text.parse::<UsernsMode>().unwrap_err();
            assert_eq!(message(error), "--userns: invalid USER mode", "{text}");
        }
        assert_eq!(
            message("x".parse::<CgroupnsMode>().unwrap_err()),
            "--cgroupns: invalid CGROUP mode"
        );
    }

    #[test]
    fn what_is_shared_cannot_be_set() {
        let check = |change: &dyn Fn(&mut RunOptions)| {
            let mut options = RunOptions::default();
            change(&mut options);
            options.validate().unwrap_err().to_string()
        };
        assert_eq!(
            check(&|o| {
                o.isolation.uts_host = true;
                o.hostname = Some("x".into());
            }),
            "conflicting options: hostname and the UTS mode"
        );
        assert!(
            check(&|o| {
                o.isolation.ipc = IpcMode::Host;
                o.sysctls.insert("kernel.shmmax".into(), "1".into());
            })
            .contains("kernel.shmmax")
        );
        let auto = UsernsMode::Auto { size: 1 };
        assert!(
            check(&|o| {
                o.isolation.userns = auto.clone();
                o.network = NetworkMode::Host;
            })
            .contains("network namespace")
        );
        assert!(
            check(&|o| {
                o.isolation.userns = auto.clone();
                o.privileged = true;
            })
            .contains("privileged")
        );
    }
}
