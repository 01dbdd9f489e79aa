//! Kernel parameters below /proc/sys/net.

mod interface;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{Error, Result};

pub use interface::InterfaceSysctl;

const ROOT: &str = "/proc/sys/net";

/// The parameters of one protocol, those of the network namespace that the thread was in when it opened them.
///
/// The directory is opened once and not with each parameter: the kernel looks for it among those of all network
/// namespaces, one after the other, and next to hundreds of containers that takes longer than all the rest.
pub(crate) struct Family {
    path: PathBuf,
    /// Not there if the kernel has no such protocol: it has none of its parameters then.
    dir: rustix::io::Result<OwnedFd>,
}

/// A parameter that gets back the value it had when this is dropped, wherever the thread is by then.
pub(crate) struct Held {
    file: File,
    before: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        // It took another value just now; if it takes none any more, its interface is gone.
        let _ = self.file.write_all(self.before.as_bytes());
    }
}

impl Family {
    /// IPv4's.
    pub(crate) fn v4() -> Self {
        Self::open("ipv4")
    }

    /// IPv6's.
    pub(crate) fn v6() -> Self {
        Self::open("ipv6")
    }

    fn open(name: &str) -> Self {
        let path = Path::new(ROOT).join(name);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, &path, flags, Mode::empty());
        Self { path, dir }
    }

    /// Sets a parameter unless it has the value already: reading is cheap and works on a read-only /proc.
    pub(crate) fn ensure(&self, key: &str, value: &'static str) -> Result<()> {
        if self.read(key).is_some_and(|now| now == value) {
            return Ok(());
        }
        let written = || {
            let mut file = self.file(key, OFlags::WRONLY)?;
            file.write_all(value.as_bytes())
        };
        written().map_err(|source| Error::Sysctl {
            path: self.path(key),
            value: value.into(),
            source,
        })
    }

    /// The same for a parameter that a kernel may lack.
    pub(crate) fn ensure_if_present(&self, key: &str, value: &'static str) -> Result<()> {
        match self.ensure(key, value) {
            Err(Error::Sysctl { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Sets a parameter for as long as what is given back lives; nothing if the kernel has no such parameter.
    pub(crate) fn hold(&self, key: &str, value: &'static str) -> Result<Option<Held>> {
        let Some(before) = self.read(key).filter(|now| now != value) else {
            return Ok(None);
        };
        self.ensure(key, value)?;
        // Opened here: the way to it leads to another namespace's when it is needed.
        let file = self.file(key, OFlags::WRONLY);
        let file = file.map_err(|source| Error::Sysctl {
            path: self.path(key),
            value: value.into(),
            source,
        })?;
        Ok(Some(Held { file, before }))
    }

    /// A parameter's value; none if the kernel has no such parameter.
    pub(crate) fn read(&self, key: &str) -> Option<String> {
        let mut text = String::new();
        let mut file = self.file(key, OFlags::RDONLY).ok()?;
        file.read_to_string(&mut text).ok()?;
        Some(text.trim_end().to_owned())
    }

    /// Forwards IPv6 packets between interfaces, without making the host deaf to its own router: an interface
    /// that takes its routes from router advertisements stops to do so on a forwarding host unless `accept_ra` is 2.
    pub(crate) fn ensure_ipv6_forwarding(&self) -> Result<()> {
        if self
            .read("conf/all/forwarding")
            .is_some_and(|now| now == "1")
        {
            return Ok(());
        }
        let interfaces = fs::read_dir(self.path("conf"));
        for interface in interfaces.into_iter().flatten().flatten() {
            let name = interface.file_name();
            let Some(name) = name.to_str().filter(|&name| name != "all") else {
                continue;
            };
            let key = format!("conf/{name}/accept_ra");
            if self.read(&key).is_some_and(|now| now == "1") {
                self.ensure_if_present(&key, "2")?;
            }
        }
        self.ensure("conf/all/forwarding", "1")
    }

    fn file(&self, key: &str, access: OFlags) -> io::Result<File> {
        let dir = self.dir.as_ref().map_err(|&errno| errno)?;
        let flags = access | OFlags::CLOEXEC;
        Ok(openat(dir, key, flags, Mode::empty())?.into())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.path.join(key)
    }
}
