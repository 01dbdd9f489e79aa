//! Kernel parameters that namespaces have of their own.

use oci_spec::runtime::LinuxNamespaceType;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::PinRequest;
use crate::error::{Error, Result};

/// A parameter's name as given, its path below /proc/sys, its value.
pub(super) struct Setting {
    name: String,
    path: String,
    value: String,
}

/// The request's parameters, each of them one of a namespace that is made for it: others would be the host's.
pub(super) fn parse(request: &PinRequest<'_>) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for (name, value) in &request.sysctls {
        let own = match namespace_of(name) {
            Some(LinuxNamespaceType::Network) => request.net.is_some() || request.new_net,
            Some(LinuxNamespaceType::Uts) => request.uts,
            Some(LinuxNamespaceType::Ipc) => request.ipc,
            _ => false,
        };
        if !own {
            return Err(Error::HostSysctl { name: name.clone() });
        }
        settings.push(Setting {
            name: name.clone(),
            path: path(name),
            value: value.clone(),
        });
    }
    Ok(settings)
}

/// The kind of namespace that has a parameter of its own; none for one of the whole host.
pub(crate) fn namespace_of(name: &str) -> Option<LinuxNamespaceType> {
    match path(name).split_once('/')? {
        ("net", _) => Some(LinuxNamespaceType::Network),
        ("kernel", "hostname" | "domainname") => Some(LinuxNamespaceType::Uts),
        ("kernel", "sem") => Some(LinuxNamespaceType::Ipc),
        ("kernel", rest) if rest.starts_with("shm") => Some(LinuxNamespaceType::Ipc),
        ("kernel", rest) if rest.starts_with("msg") => Some(LinuxNamespaceType::Ipc),
        ("fs", rest) if rest.starts_with("mqueue/") => Some(LinuxNamespaceType::Ipc),
        ("user", _) => Some(LinuxNamespaceType::User),
        _ => None,
    }
}

/// As sysctl(8): the first separator of a name is the one; the other then stands for itself.
fn path(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name.as_bytes()[first] == b'.' => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// Writes them, for the calling thread's namespaces.
pub(super) fn apply(settings: &[Setting]) -> Result<()> {
    if settings.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/proc/sys", flags, Mode::empty())
        .map_err(|e| Error::file("open", "/proc/sys".as_ref(), e))?;
    for setting in settings {
        let write = || -> rustix::io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let file = openat2(&root, &setting.path, flags, Mode::empty(), resolve)?;
            rustix::io::write(file, setting.value.as_bytes()).map(drop)
        };
        write().map_err(|source| Error::Sysctl {
            name: setting.name.clone(),
            source: source.into(),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_as_sysctl_has_it() {
        assert_eq!(path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        let vlan = "net/ipv4/conf/eth0.1/forwarding";
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding"), vlan);
        assert_eq!(path(vlan), vlan);
    }

    #[test]
    fn the_host_s_parameters_are_refused() {
        let request = |name: &str| PinRequest {
            ipc: true,
            sysctls: [(name.to_owned(), "1".to_owned())].into(),
            ..PinRequest::default()
        };
        for own in ["kernel.shmmax", "kernel.sem", "fs.mqueue.msg_max"] {
            assert_eq!(parse(&request(own)).unwrap().len(), 1, "{own}");
        }
        for other in [
            "net.ipv4.ip_forward",
            "kernel.hostname",
            "vm.swappiness",
            "kernel",
        ] {
            let refused = parse(&request(other)).err().unwrap();
            assert!(matches!(refused, Error::HostSysctl { name } if name == other));
        }
    }
}
