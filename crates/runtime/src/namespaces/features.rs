//! What pods may have beyond the usual, found out by trying it.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::{IdMap, IdMappings};
use crate::error::{Error, Result};
use crate::monitor::{set_attributes, show_owners};

/// The first kernel whose overlays take layers that show other owners.
const MAPPED_LAYERS: (u32, u32) = (5, 19);

/// What this kernel can do for pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// User namespaces whose images and volumes show their owners.
    pub user_namespaces: bool,
    /// Mounts that are read-only with all that is mounted below them.
    pub recursive_read_only: bool,
}

/// Tries it with a directory that is on the containers' filesystem. Nothing of that is left.
pub fn features(directory: &Path) -> Features {
    let told = |what: &str, tried: Result<()>| {
        if let Err(error) = &tried {
            tracing::info!(%error, "this host has no {what}");
        }
        tried.is_ok()
    };
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let recent = version(&release).is_some_and(|version| version >= MAPPED_LAYERS);
    Features {
        user_namespaces: recent && told("user namespaces for pods", map_owners(directory)),
        recursive_read_only: told(
            "recursive read-only mounts",
            read_only(directory).map_err(|e| Error::system("mount_setattr", e)),
        ),
    }
}

fn map_owners(directory: &Path) -> Result<()> {
    let all = vec![IdMap {
        container: 0,
        host: 100_000,
        length: 65_536,
    }];
    let mappings = IdMappings {
        uids: all.clone(),
        gids: all,
    };
    let namespace = mappings.namespace()?;
    let mount = copy(directory).map_err(|e| Error::system("open_tree", e))?;
    show_owners(mount.as_fd(), namespace.as_fd(), false)
        .map_err(|e| Error::system("mount_setattr", e))
}

fn read_only(directory: &Path) -> io::Result<()> {
    let mount = copy(directory)?;
    set_attributes(mount.as_fd(), libc::MS_RDONLY, 0, 0, true)
}

fn copy(directory: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, directory, flags)?)
}

/// `6.18.0-rc1` is version 6.18.
fn version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("6.18.0-rc1"), Some((6, 18)));
        assert_eq!(version("5.19"), Some((5, 19)));
        assert_eq!(version("5"), None);
        assert_eq!(version("x.y"), None);
    }

    #[test]
    fn what_cannot_be_tried_is_not_claimed() {
        let none = features(Path::new("/nonexistent"));
        assert!(!none.user_namespaces && !none.recursive_read_only);
    }
}
