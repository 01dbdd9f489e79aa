//! An OCI bundle's container without root: whoever makes it, or a process in it, is root of the container's own user
//! namespace before anything else is done. No keeper keeps that, its processes do.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Process, Spec};

use super::error::RootlessError;
use super::ids::Ids;
use super::{Result, enter_user_namespace};
use crate::error::Error;
use crate::namespaces::{IdMap, IdMappings, Member};

/// Makes the calling process, an ordinary user's, root of a user namespace in which a specification's container can be
/// made, and changes the specification to what it is there. That is the container's own namespace where its root is the
/// user, as in what `spec --rootless` writes. Otherwise it is one around it: who is nobody in the container's could not
/// use files of the user's.
///
/// # Errors
/// [`RootlessError`].
pub(crate) fn become_root_for(spec: &mut Spec) -> Result<()> {
    let (Some(mut linux), Some(path)) = (spec.linux().clone(), asked_for(spec)) else {
        return Err(unusable(
            "rootless container requires user namespaces: linux.namespaces of config.json lists none of type user, \
             as in what `rctr-oci spec --rootless` writes",
        ));
    };
    match path {
        Some(path) => {
            let namespace = File::open(&path).map_err(RootlessError::file("open", &path))?;
            enter_user_namespace(namespace)?;
            forget(&mut linux);
        }
        None => {
            let asked = (maps(linux.uid_mappings()), maps(linux.gid_mappings()));
            if asked.0.is_empty() || asked.1.is_empty() {
                return Err(unusable(
                    "user namespaces enabled, but no uid or gid mappings found",
                ));
            }
            check_owners_of_mounts(spec, &asked.0, &asked.1)?;
            let own = (
                nix::unistd::geteuid().as_raw(),
                nix::unistd::getegid().as_raw(),
            );
            let is_root =
                |maps: &[IdMap], own| maps.iter().any(|m| m.container == 0 && m.host == own);
            if is_root(&asked.0, own.0) && is_root(&asked.1, own.1) {
                enter_new(IdMappings {
                    uids: asked.0,
                    gids: asked.1,
                })?;
                forget(&mut linux);
            } else {
                let (uids, inner_uids) = around(&asked.0, own.0);
                let (gids, inner_gids) = around(&asked.1, own.1);
                enter_new(IdMappings { uids, gids })?;
                linux
                    .set_uid_mappings(Some(IdMap::listed(&inner_uids)))
                    .set_gid_mappings(Some(IdMap::listed(&inner_gids)));
            }
        }
    }
    spec.set_linux(Some(linux));
    am_root()?;
    spec.process().as_ref().map_or(Ok(()), check_groups)
}

/// Whoever may map only himself gives up changing groups, and a process would run without those it is to have.
///
/// # Errors
/// [`RootlessError::Bundle`].
pub(crate) fn check_groups(process: &Process) -> Result<()> {
    let groups = process.user().additional_gids().as_deref();
    let denied = || std::fs::read("/proc/self/setgroups").is_ok_and(|text| text == b"deny\n");
    match groups.is_some_and(|groups| !groups.is_empty()) && denied() {
        true => Err(unusable(
            "cannot set additional groups: the user namespace has no subordinate groups",
        )),
        false => Ok(()),
    }
}

/// As in what `spec` without `--rootless` writes: the kernel would only say that something is not valid.
fn check_owners_of_mounts(spec: &Spec, uids: &[IdMap], gids: &[IdMap]) -> Result<()> {
    for mount in spec.mounts().iter().flatten() {
        for option in mount.options().iter().flatten() {
            let (maps, id) = match option.split_once('=') {
                Some(("uid", id)) => (uids, id),
                Some(("gid", id)) => (gids, id),
                _ => continue,
            };
            let mapped = |id: u32| {
                maps.iter()
                    .any(|m| id.checked_sub(m.container).is_some_and(|n| n < m.length))
            };
            if id.parse().is_ok_and(|id| !mapped(id)) {
                let place = mount.destination().display();
                return Err(unusable(&format!(
                    "mount {place}: {option} is not mapped in the user namespace"
                )));
            }
        }
    }
    Ok(())
}

/// The same for a further process in a container that a process is the first of.
///
/// # Errors
/// [`RootlessError`].
pub(crate) fn become_root_of(pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/user");
    let path = Path::new(&path);
    let failed = RootlessError::file::<io::Error>;
    let own = File::open("/proc/self/ns/user").map_err(failed("open", path))?;
    let own = own.metadata().map_err(failed("look at", path))?.ino();
    let mut namespace = OwnedFd::from(File::open(path).map_err(failed("open", path))?);
    loop {
        let parent = parent(namespace.as_fd()).map_err(failed("find what is around", path))?;
        let inode = rustix::fs::fstat(&parent).map_err(RootlessError::file("look at", path))?;
        if inode.st_ino == own {
            break;
        }
        namespace = parent;
    }
    enter_user_namespace(namespace)?;
    am_root()
}

fn unusable(reason: &str) -> RootlessError {
    RootlessError::Bundle {
        reason: reason.to_owned(),
    }
}

/// The path of the user namespace that a specification asks for; none in it for a new one.
fn asked_for(spec: &Spec) -> Option<Option<std::path::PathBuf>> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    let user = namespaces
        .iter()
        .find(|n| n.typ() == LinuxNamespaceType::User)?;
    let path = user.path().clone();
    Some(path.filter(|path| !path.as_os_str().is_empty()))
}

/// The container shares the user namespace of whoever makes it.
fn forget(linux: &mut Linux) {
    let namespaces = linux.namespaces().clone().into_iter().flatten();
    let others = namespaces.filter(|n| n.typ() != LinuxNamespaceType::User);
    linux
        .set_namespaces(Some(others.collect()))
        .set_uid_mappings(None)
        .set_gid_mappings(None);
}

fn maps(listed: &Option<Vec<LinuxIdMapping>>) -> Vec<IdMap> {
    let map = |m: &LinuxIdMapping| IdMap {
        container: m.container_id(),
        host: m.host_id(),
        length: m.size(),
    };
    listed.iter().flatten().map(map).collect()
}

/// The mappings of a namespace around one with these, in which the user itself is root, and those within it.
fn around(asked: &[IdMap], own: u32) -> (Vec<IdMap>, Vec<IdMap>) {
    let root = IdMap {
        container: 0,
        host: own,
        length: 1,
    };
    let (mut outer, mut inner) = (vec![root], Vec::new());
    let mut next = 1u32;
    for map in asked {
        if (map.host, map.length) == (own, 1) {
            inner.push(IdMap { host: 0, ..*map });
            continue;
        }
        outer.push(IdMap {
            container: next,
            ..*map
        });
        inner.push(IdMap { host: next, ..*map });
        next = next.saturating_add(map.length);
    }
    (outer, inner)
}

fn enter_new(mappings: IdMappings) -> Result<()> {
    let member = Member::without_ids().map_err(RootlessError::no_user_namespaces)?;
    Ids::of_bundle(mappings).give_to(member.pid())?;
    let namespace = member.namespace("user").map_err(|error| match error {
        Error::File { path, source, .. } => RootlessError::file("open", &path)(source),
        other => unusable(&other.to_string()),
    })?;
    enter_user_namespace(namespace)
}

/// Whoever is in a namespace as another than its root could do everything and own nothing.
fn am_root() -> Result<()> {
    match nix::unistd::geteuid().is_root() {
        true => Ok(()),
        false => Err(unusable(
            "the user is not root of the user namespace that is joined",
        )),
    }
}

/// The user namespace around another.
fn parent(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: an ioctl without an argument.
    match unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_PARENT) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just made this descriptor for us, closed on exec.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_around_another_has_the_user_as_root() {
        let map = |container, host, length| IdMap {
            container,
            host,
            length,
        };
        let (outer, inner) = around(
            &[
                map(0, 100_000, 1000),
                map(1000, 7, 1),
                map(2000, 300_000, 5),
            ],
            7,
        );
        assert_eq!(
            outer,
            [map(0, 7, 1), map(1, 100_000, 1000), map(1001, 300_000, 5)]
        );
        assert_eq!(
            inner,
            [map(0, 1, 1000), map(1000, 0, 1), map(2000, 1001, 5)]
        );
    }
}
