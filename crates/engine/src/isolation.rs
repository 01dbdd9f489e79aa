//! Namespaces that a container shares with another, and user namespaces of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rctr_runtime::cgroup::CgroupDriver;
use rctr_runtime::namespaces::{self, IdMap, IdMappings};
use rctr_store::Tx;

use crate::model::{Container, Status};
use crate::options::{IpcMode, PidMode, RunOptions, UsernsMode};
use crate::{Engine, Error, Result};

/// Ids for `--userns auto` where /etc/subuid has none for `containers`: a range that systemd leaves unused.
const IDS: (u32, u32) = (1_879_048_192, 268_304_384);

/// Namespaces of others that a container joins; they live as long as these are open.
#[derive(Default)]
pub(crate) struct Joined {
    pub(crate) ipc: Option<OwnedFd>,
    pub(crate) shm: Option<OwnedFd>,
    pub(crate) pid: Option<OwnedFd>,
}

impl Engine {
    /// Names of other containers become ids, which stay, and a cgroup's parent must be one.
    pub(crate) fn settle_isolation(&self, options: &mut RunOptions) -> Result<()> {
        if let IpcMode::Container(name) = &mut options.isolation.ipc {
            *name = self.find(name)?;
        }
        if let PidMode::Container(name) = &mut options.isolation.pid {
            *name = self.find(name)?;
        }
        let systemd = self.cgroup_driver() == CgroupDriver::Systemd;
        match &options.cgroup_parent {
            Some(parent) if systemd && (!parent.ends_with(".slice") || parent.contains('/')) => {
                Err(Error::CgroupParent)
            }
            _ => Ok(()),
        }
    }

    /// Opens what a container joins.
    pub(crate) fn join_namespaces(&self, container: &Container) -> Result<Joined> {
        let shared = &container.options.isolation;
        let mut joined = Joined::default();
        if let IpcMode::Container(other) = &shared.ipc {
            let (other, pid) = self.running_process(other, "IPC")?;
            if !matches!(
                other.options.isolation.ipc,
                IpcMode::Shareable | IpcMode::Host
            ) {
                return Err(Error::NotShareable { id: other.id });
            }
            joined.ipc = Some(open_namespace(pid, "ipc")?);
            joined.shm = Some(namespaces::copy_mount(pid, Path::new("/dev/shm"))?);
            self.still_runs(&other, pid, "IPC")?;
        }
        if let PidMode::Container(other) = &shared.pid {
            let (other, pid) = self.running_process(other, "PID")?;
            joined.pid = Some(open_namespace(pid, "pid")?);
            self.still_runs(&other, pid, "PID")?;
        }
        Ok(joined)
    }

    fn running_process(&self, name: &str, namespace: &'static str) -> Result<(Container, i32)> {
        let other = self.container(name)?;
        match other.state.status {
            Status::Running | Status::Paused => {
                let pid = other.state.pid;
                Ok((other, pid))
            }
            _ => Err(Error::JoinNamespace {
                namespace,
                id: other.id,
            }),
        }
    }

    /// Its process may have ended while its files were opened, and another have got the number.
    fn still_runs(&self, other: &Container, pid: i32, namespace: &'static str) -> Result<()> {
        match self.running_process(&other.id, namespace)? {
            (_, now) if now == pid => Ok(()),
            _ => Err(Error::JoinNamespace {
                namespace,
                id: other.id.clone(),
            }),
        }
    }
}

fn open_namespace(pid: i32, name: &str) -> Result<OwnedFd> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/{name}"));
    let file = File::open(&path).map_err(Error::file("open", &path))?;
    Ok(file.into())
}

/// A network namespace of its own for a container, and the user namespace it belongs to if that is not the host's.
pub(crate) fn new_netns(container: &Container) -> Result<(OwnedFd, Option<OwnedFd>)> {
    match container.options.isolation.userns.mappings() {
        None => Ok((rctr_network::new_netns()?, None)),
        Some(mappings) => match namespaces::new_user(mappings, true)? {
            (user, Some(net)) => Ok((net, Some(user))),
            (user, None) => Ok((rctr_network::new_netns()?, Some(user))),
        },
    }
}

/// Chooses ids that no other container has, if that was asked for.
///
/// # Errors
/// [`Error::NoIds`].
pub(crate) fn choose_ids(tx: &Tx<'_>, options: &mut RunOptions) -> Result<()> {
    let UsernsMode::Auto { size } = options.isolation.userns else {
        return Ok(());
    };
    let mut taken = BTreeSet::new();
    for other in tx.containers::<Container>()? {
        let userns = &other.doc.options.isolation.userns;
        for map in userns.mappings().into_iter().flat_map(|m| &m.uids) {
            taken.insert((map.host, map.length));
        }
    }
    let (first, count) = pool();
    let Some(host) = free(&taken, (first, count), size) else {
        return Err(Error::NoIds {
            size,
            first,
            last: first.saturating_add(count - 1),
        });
    };
    let map = IdMap {
        container: 0,
        host,
        length: size,
    };
    options.isolation.userns = UsernsMode::Mapped(IdMappings {
        uids: vec![map],
        gids: vec![map],
    });
    Ok(())
}

/// The first of `size` ids that nobody has.
fn free(taken: &BTreeSet<(u32, u32)>, (first, count): (u32, u32), size: u32) -> Option<u32> {
    let end = u64::from(first) + u64::from(count);
    let mut start = u64::from(first);
    for &(host, length) in taken {
        let (host, after) = (u64::from(host), u64::from(host) + u64::from(length));
        if after <= start {
            continue;
        }
        if host >= start + u64::from(size) {
            break;
        }
        start = after;
    }
    match start + u64::from(size) <= end {
        true => u32::try_from(start).ok(),
        false => None,
    }
}

/// What the host's administrator has set aside for containers, the same for users and groups, or what nobody uses.
fn pool() -> (u32, u32) {
    let range = |file: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("containers:"))?;
        let (first, count) = line.trim().split_once(':')?;
        Some((first.parse().ok()?, count.parse().ok()?))
    };
    match (range("/etc/subuid"), range("/etc/subgid")) {
        (Some(uids), Some(gids)) if uids == gids && uids.1 > 0 => uids,
        _ => IDS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_given_to_one_container_each() {
        let pool = (1000, 100);
        let free = |taken: &[(u32, u32)], size| free(&taken.iter().copied().collect(), pool, size);
        assert_eq!(free(&[], 100), Some(1000));
        assert_eq!(free(&[], 101), None);
        assert_eq!(free(&[(1000, 10)], 10), Some(1010));
        assert_eq!(free(&[(1010, 10)], 10), Some(1000));
        assert_eq!(free(&[(1005, 10)], 10), Some(1015));
        assert_eq!(free(&[(1000, 10), (1020, 10)], 20), Some(1030));
        assert_eq!(free(&[(1000, 95)], 10), None);
        assert_eq!(free(&[(5, 10), (2000, 5)], 100), Some(1000));
    }
}
