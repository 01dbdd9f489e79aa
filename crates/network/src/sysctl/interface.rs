//! Kernel parameters of a container's interface that somebody asks for.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::str::FromStr;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::ROOT;
use crate::{Error, Result};

const FAMILIES: [&str; 3] = ["ipv4", "ipv6", "mpls"];

/// One parameter of an interface that has no name yet: `net.ipv4.conf.IFNAME.log_martians=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSysctl {
    family: String,
    /// `conf` or `neigh`.
    kind: String,
    name: String,
    value: String,
}

impl FromStr for InterfaceSysctl {
    type Err = Error;

    /// Reads one; the name of the interface in it is `IFNAME` or `ifname`.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::UnknownInterfaceSysctl { text: text.into() };
        let (key, value) = match text.split_once('=') {
            Some((key, value)) if !value.is_empty() => (key, value),
            _ => return Err(unknown()),
        };
        let ["net", family, kind, "IFNAME" | "ifname", name] =
            key.split('.').collect::<Vec<_>>()[..]
        else {
            return Err(unknown());
        };
        // Each becomes part of a path.
        if !FAMILIES.contains(&family) || !is_component(kind) || !is_component(name) {
            return Err(unknown());
        }
        Ok(Self {
            family: family.into(),
            kind: kind.into(),
            name: name.into(),
            value: value.into(),
        })
    }
}

fn is_component(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    !text.is_empty() && text.bytes().all(good)
}

impl fmt::Display for InterfaceSysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InterfaceSysctl {
            family,
            kind,
            name,
            value,
        } = self;
        write!(f, "net.{family}.{kind}.IFNAME.{name}={value}")
    }
}

impl InterfaceSysctl {
    /// Whether it takes IPv6 from its interface.
    pub fn disables_ipv6(&self) -> bool {
        let parts = [&self.family, &self.kind, &self.name, &self.value].map(String::as_str);
        parts == ["ipv6", "conf", "disable_ipv6", "1"]
    }

    /// Sets it for an interface of the namespace that the thread is in; its name has been checked. A parameter that has the
    /// value is not written: that works on a read-only /proc.
    pub(crate) fn set(&self, ifname: &str) -> Result<()> {
        let relative = Path::new(&self.family).join(&self.kind).join(ifname);
        let relative = relative.join(&self.name);
        let path = Path::new(ROOT).join(&relative);
        let failed = |source| Error::Sysctl {
            path: path.clone(),
            value: self.value.clone(),
            source,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, ROOT, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let open = |access| -> std::io::Result<File> {
            let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let flags = access | OFlags::CLOEXEC;
            let file = openat2(&root, &relative, flags, Mode::empty(), beneath)?;
            Ok(file.into())
        };
        let mut now = String::new();
        let read = open(OFlags::RDONLY).and_then(|mut file| file.read_to_string(&mut now));
        match read {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
                return Err(Error::NoSysctl { path });
            }
            // Some can only be written.
            Err(e) if e.kind() != ErrorKind::PermissionDenied => return Err(failed(e)),
            Ok(_) if now.trim_end() == self.value => return Ok(()),
            _ => {}
        }
        let written =
            open(OFlags::WRONLY).and_then(|mut file| file.write_all(self.value.as_bytes()));
        written.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_interfaces_and_nothing_else() {
        for text in [
            "net.ipv4.conf.IFNAME.log_martians=1",
            "net.ipv6.neigh.IFNAME.base_reachable_time_ms=20000",
            "net.mpls.conf.IFNAME.input=1",
        ] {
            let parsed: InterfaceSysctl = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(
                text.replace("IFNAME", "ifname")
                    .parse::<InterfaceSysctl>()
                    .unwrap(),
                parsed
            );
        }
        for text in [
            "",
            "net.ipv4.conf.IFNAME.log_martians",
            "net.ipv4.conf.IFNAME.log_martians=",
            "net.ipv4.conf.eth0.log_martians=1",
            "net.ipv4.ip_forward=1",
            "net.core.conf.IFNAME.x=1",
            "kernel.ipv4.conf.IFNAME.x=1",
            "net.ipv4.conf.IFNAME.a.b=1",
            "net.ipv4.conf.IFNAME...=1",
            "net.ipv4.../../../kernel.IFNAME.x=1",
            "net.ipv4.conf.IFNAME./etc/passwd=1",
            "net.ipv4..IFNAME.x=1",
            "net.ipv4.conf.IFNAME.=1",
        ] {
            let error = text.parse::<InterfaceSysctl>().unwrap_err().to_string();
            assert!(error.contains(&format!("sysctl '{text}'")), "{error}");
        }
        let off = "net.ipv6.conf.IFNAME.disable_ipv6=1".parse::<InterfaceSysctl>();
        assert!(off.unwrap().disables_ipv6());
        let on = "net.ipv6.conf.IFNAME.disable_ipv6=0".parse::<InterfaceSysctl>();
        assert!(!on.unwrap().disables_ipv6());
    }
}
