//! Why an ordinary user cannot run containers here, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why an ordinary user cannot run containers here.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The state directory belongs to somebody else, or others can write to it.
    #[error("{} is not a directory of yours that only you can write to", .path.display())]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// This is root of a user namespace, in a network namespace of another one.
    #[error(
        "root of this user namespace has no power over the network it is in, and can make no containers"
    )]
    BorrowedNetwork,
    /// The kernel lets users make no user namespaces.
    #[error("cannot make a user namespace: {source}")]
    NoUserNamespaces {
        /// The kernel's answer.
        source: io::Error,
        /// The kernel parameter that forbids it, as an assignment that allows it.
        parameter: Option<&'static str>,
    },
    /// A program that has to be installed is not.
    #[error("{program} is not installed")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// newuidmap or newgidmap would not give the user its subordinate ids.
    #[error("{program}: {reason}")]
    Map {
        /// `newuidmap` or `newgidmap`.
        program: &'static str,
        /// Its words.
        reason: String,
        /// Whether the program lacks the right to do it for others.
        powerless: bool,
    },
    /// An OCI bundle that an ordinary user cannot run.
    #[error("{reason}")]
    Bundle {
        /// What it lacks.
        reason: String,
    },
    /// A line of /etc/subuid or /etc/subgid is no range.
    #[error("{}: line {line}: {text:?} is not USER:FIRST:COUNT", .file.display())]
    BadRange {
        /// The file.
        file: PathBuf,
        /// From 1 on.
        line: usize,
        /// The line.
        text: String,
    },
    /// Neither pasta nor slirp4netns is installed.
    #[error("neither pasta nor slirp4netns is installed: containers have no way to the network")]
    NoNetworkProgram,
    /// The kernel's tunnel device cannot be used.
    #[error("/dev/net/tun: {source}")]
    NoTunnel {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The keeper did not start.
    #[error("start the keeper of the user namespace: {step}: {source}")]
    Keeper {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A namespace cannot be joined or changed.
    #[error("{step} namespace: {source}")]
    Namespace {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file operation failed.
    #[error("{action} {}: {source}", .path.display())]
    File {
        /// As a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl RootlessError {
    pub(super) fn file<E: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::File {
            action,
            path: path.into(),
            source: source.into(),
        }
    }

    pub(super) fn system<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Namespace {
            step,
            source: source.into(),
        }
    }

    pub(super) fn keeper<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Keeper {
            step,
            source: source.into(),
        }
    }

    /// Why the kernel refused a user namespace, by the parameters that are known to.
    pub(super) fn no_user_namespaces(source: io::Error) -> Self {
        let says = |path: &str, value: &str| {
            std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
        };
        let parameter = match () {
            () if says("/proc/sys/kernel/unprivileged_userns_clone", "0") => {
                Some("kernel.unprivileged_userns_clone=1")
            }
            () if says(
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1",
            ) =>
            {
                Some("kernel.apparmor_restrict_unprivileged_userns=0")
            }
            () if says("/proc/sys/user/max_user_namespaces", "0") => {
                Some("user.max_user_namespaces=65536")
            }
            () => None,
        };
        Self::NoUserNamespaces { source, parameter }
    }

    /// The way out, where there is one: one line without a full stop.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::ForeignDirectory { .. } => {
                "set XDG_RUNTIME_DIR to a directory of your own, or choose one with --state".to_owned()
            }
            Self::BorrowedNetwork => {
                "run rctr as the user outside, it makes all the namespaces it needs; or make a network namespace, too (`unshare -n`)"
                    .to_owned()
            }
            Self::NoUserNamespaces {
                parameter: Some(parameter),
                ..
            } => format!(
                "`sysctl -w {parameter}`, as root, allows it; a file in /etc/sysctl.d keeps it so"
            ),
            Self::NoUserNamespaces { .. } => {
                "inside another container, that one must allow it; root needs no user namespace".to_owned()
            }
            Self::NoProgram { program, package } => {
                format!("`apt-get install {package}`, as root, brings {program}")
            }
            Self::Map {
                program,
                powerless: true,
                ..
            } => format!(
                "`chmod u+s $(command -v {program})`, as root: it needs its setuid bit or file capability"
            ),
            Self::Map { .. } => {
                "compare your lines in /etc/subuid and /etc/subgid: ranges must not overlap, and count at least 65536 ids"
                    .to_owned()
            }
            Self::BadRange { .. } => {
                "`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`, as root, adds a range".to_owned()
            }
            Self::NoNetworkProgram => {
                "`apt-get install passt`, as root; or use --network none or --network host".to_owned()
            }
            Self::NoTunnel { source } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "`chmod 666 /dev/net/tun`, as root, gives it to all users; or use --network none or --network host"
                        .to_owned()
                }
                _ => "`modprobe tun`, as root; or use --network none or --network host".to_owned(),
            },
            _ => return None,
        };
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_can_do_about_is_said() {
        let missing = RootlessError::NoProgram {
            program: "newuidmap",
            package: "uidmap",
        };
        assert_eq!(missing.to_string(), "newuidmap is not installed");
        let hint = missing.hint().unwrap();
        assert!(hint.contains("apt-get install uidmap"), "{hint}");
        let tunnel = |kind: io::ErrorKind| RootlessError::NoTunnel {
            source: kind.into(),
        };
        let denied = tunnel(io::ErrorKind::PermissionDenied).hint().unwrap();
        assert!(denied.contains("chmod 666 /dev/net/tun"), "{denied}");
        let absent = tunnel(io::ErrorKind::NotFound).hint().unwrap();
        assert!(absent.contains("modprobe tun"), "{absent}");
    }
}
