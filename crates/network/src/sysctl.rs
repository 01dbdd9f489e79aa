//! Kernel parameters below /proc/sys/net, those of the calling thread's network namespace.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

const ROOT: &str = "/proc/sys/net";

/// Sets a parameter unless it has the value already: reading is cheap and works on a read-only /proc.
pub(crate) fn ensure(key: &str, value: &'static str) -> Result<()> {
    if read(key).is_some_and(|now| now == value) {
        return Ok(());
    }
    let path = path(key);
    fs::write(&path, value).map_err(|source| Error::Sysctl {
        path,
        value,
        source,
    })
}

/// The same for a parameter that a kernel may lack.
pub(crate) fn ensure_if_present(key: &str, value: &'static str) -> Result<()> {
    match ensure(key, value) {
        Err(Error::Sysctl { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A parameter's value; none if the kernel has no such parameter.
pub(crate) fn read(key: &str) -> Option<String> {
    let text = fs::read_to_string(path(key)).ok()?;
    Some(text.trim_end().to_owned())
}

/// Forwards IPv6 packets between interfaces, without making the host deaf to its own router: an interface
/// that takes its routes from router advertisements stops to do so on a forwarding host unless `accept_ra` is 2.
pub(crate) fn ensure_ipv6_forwarding() -> Result<()> {
    if read("ipv6/conf/all/forwarding").is_some_and(|now| now == "1") {
        return Ok(());
    }
    let interfaces = fs::read_dir(Path::new(ROOT).join("ipv6/conf"));
    for interface in interfaces.into_iter().flatten().flatten() {
        let name = interface.file_name();
        let Some(name) = name.to_str().filter(|&name| name != "all") else {
            continue;
        };
        let key = format!("ipv6/conf/{name}/accept_ra");
        if read(&key).is_some_and(|now| now == "1") {
            ensure_if_present(&key, "2")?;
        }
    }
    ensure("ipv6/conf/all/forwarding", "1")
}

fn path(key: &str) -> PathBuf {
    Path::new(ROOT).join(key)
}
