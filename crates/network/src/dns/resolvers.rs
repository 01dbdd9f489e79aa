//! The host's own name servers, as /etc/resolv.conf names them at the moment.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::net::if_::if_nametoindex;

const PORT: u16 = 53;
/// As many as the C library asks.
const MOST: usize = 3;

/// The servers, and the file they were read from.
#[derive(Debug)]
pub(super) struct HostResolvers {
    file: PathBuf,
    seen: Option<Stamp>,
    servers: Vec<SocketAddr>,
}

/// What changes when a file is written or replaced: device, inode, size, time.
type Stamp = (u64, u64, u64, (i64, i64));

impl HostResolvers {
    pub(super) fn new(file: PathBuf) -> HostResolvers {
        HostResolvers {
            file,
            seen: None,
            servers: Vec::new(),
        }
    }

    /// The servers; read again if the file was changed. Looking costs less than a microsecond, and misses neither a
    /// file put in its place nor a link that leads elsewhere by now.
    pub(super) fn now(&mut self) -> &[SocketAddr] {
        let stamp = fs::metadata(&self.file)
            .ok()
            .map(|m| (m.dev(), m.ino(), m.size(), (m.mtime(), m.mtime_nsec())));
        if stamp.is_none() || stamp != self.seen {
            let text = fs::read_to_string(&self.file).unwrap_or_default();
            self.servers = servers(&text);
            self.seen = stamp;
        }
        &self.servers
    }
}

fn servers(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    named.filter_map(address).take(MOST).collect()
}

/// `192.0.2.1`, `2001:db8::1` or `fe80::1%eth0`.
fn address(text: &str) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, PORT));
    }
    let (ip, zone) = text.split_once('%')?;
    let ip: Ipv6Addr = ip.parse().ok()?;
    let scope = zone.parse().or_else(|_| if_nametoindex(zone)).ok()?;
    Some(SocketAddrV6::new(ip, PORT, 0, scope).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_a_file() {
        let text = "# nameserver 9.9.9.9\nsearch x\nnameserver 192.0.2.1 \nnameserver\nnameserver x\nnameserver ::1\n\
            nameserver fe80::1%lo\nnameserver 192.0.2.4\n";
        let found: Vec<String> = servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[::1]:53", "[fe80::1%1]:53"]);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        let mut resolvers = HostResolvers::new(file.clone());
        assert!(resolvers.now().is_empty());
        fs::write(&file, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(resolvers.now().len(), 1);
        let other = dir.path().join("other");
        fs::write(&other, "nameserver 192.0.2.2\nnameserver 192.0.2.3\n").unwrap();
        fs::rename(&other, &file).unwrap();
        assert_eq!(resolvers.now()[0].to_string(), "192.0.2.2:53");
    }
}
