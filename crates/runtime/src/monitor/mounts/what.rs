//! One mount: what it is, and how it is made.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use oci_spec::runtime::{Mount, Spec};

use super::cgroups::Cgroups;
use super::failure::{Action, Failure};
use super::filesystem::Filesystem;
use super::options::Options;
use super::target::{self, Kind};
use super::tree::{Tree, is_proc, must_be_shared};
use super::{Order, is};
use crate::cgroup::Hierarchies;
use crate::error::StartError;
use crate::monitor::user::{UserNamespace, mappings};
use crate::namespaces::IdMappings;

/// The files in /proc that a user may cover, as with runc.
const COVERABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What is mounted.
pub(super) enum What {
    Filesystem(Filesystem),
    Cgroups(Cgroups),
    Tree(Tree),
}

impl What {
    pub(super) fn of(
        mount: &Mount,
        spec: &Spec,
        hierarchies: &Hierarchies,
        user: Option<&UserNamespace>,
        order: Order,
    ) -> Result<Self, StartError> {
        let options = Options::parse(mount.options().as_deref().unwrap_or_default());
        let config = |reason: &str| StartError::Config {
            reason: format!("mount {}: {reason}", mount.destination().display()),
        };
        let wanted = mappings(mount.uid_mappings(), mount.gid_mappings());
        let owners = match (options.idmap || wanted != IdMappings::default(), user) {
            (false, _) => None,
            (true, Some(user)) => Some(user.for_mount(&wanted)?),
            (true, None) if wanted == IdMappings::default() => {
                return Err(config("mapped owners need a user namespace"));
            }
            (true, None) => {
                let namespace = wanted.namespace();
                Some(namespace.map_err(|e| config(&format!("mappings: {e}")))?)
            }
        };
        let kind = mount.typ().as_deref();
        if options.bind || kind == Some("bind") {
            let source = mount.source().as_deref();
            let source = source.ok_or_else(|| config("no source"))?;
            let owners = owners.as_ref().map(AsFd::as_fd);
            if order == Order::Any {
                must_be_shared(source, &options)?;
            }
            return Ok(Self::Tree(Tree::take(source, &options, owners)?));
        }
        if owners.is_some() {
            return Err(config("only places of the host can have mapped owners"));
        }
        Ok(match kind {
            Some("cgroup") => Self::Cgroups(Cgroups::new(spec, &options, hierarchies)?),
            Some(kind) => {
                let source = mount.source().as_deref().unwrap_or(Path::new(kind));
                let c_string =
                    |text: &str| CString::new(text).map_err(|_| config("a NUL byte in a name"));
                Self::Filesystem(Filesystem {
                    source: c_string(&source.to_string_lossy())?,
                    kind: c_string(kind)?,
                    flags: options.flags,
                    data: options.data(),
                    copy_up: options.copy_up,
                    propagation: options.propagation,
                    root_label: None,
                })
            }
            None => return Err(config("no type")),
        })
    }

    pub(super) fn needs_container(&self) -> bool {
        match self {
            Self::Filesystem(new) => new.kind.as_c_str() != c"tmpfs" || propagates(new.propagation),
            Self::Cgroups(_) => true,
            Self::Tree(tree) => propagates(tree.propagation),
        }
    }

    pub(super) fn is_proc(&self) -> bool {
        match self {
            Self::Filesystem(new) => new.kind.as_c_str() == c"proc",
            Self::Tree(tree) => tree.is_proc(),
            Self::Cgroups(_) => false,
        }
    }

    pub(super) fn mount(&self, root: BorrowedFd<'_>, path: &Path) -> Result<(), Failure> {
        let failed = Failure::at::<io::Error>(Action::Mount, path.to_string_lossy());
        match self {
            Self::Cgroups(cgroups) => cgroups.mount(root, path).map_err(failed),
            Self::Filesystem(new) if new.is_the_kernel_s() => {
                new.mount(root, path, Kind::System).map_err(failed)
            }
            Self::Filesystem(new) => {
                let target = target::open(root, path, Kind::Directory).map_err(failed)?;
                may_cover(target.as_fd(), path, false)?;
                new.mount_over(target.as_fd(), root, path)
                    .map_err(Failure::at(Action::Mount, path.to_string_lossy()))
            }
            Self::Tree(tree) => {
                let kind = if tree.directory {
                    Kind::Directory
                } else {
                    Kind::File
                };
                let target = target::open(root, path, kind).map_err(failed)?;
                may_cover(target.as_fd(), path, tree.is_proc())?;
                tree.attach(target.as_fd())
                    .map_err(Failure::at(Action::Mount, path.to_string_lossy()))
            }
        }
    }
}

/// Covering a part of /proc could mislead whoever trusts it, us not least.
fn may_cover(target: BorrowedFd<'_>, path: &Path, with_proc: bool) -> Result<(), Failure> {
    let allowed = || {
        let proc_itself = is(path, "/proc") && with_proc;
        proc_itself || COVERABLE.iter().any(|file| is(path, file))
    };
    let inside = is_proc(target).map_err(Failure::at(Action::Mount, path.to_string_lossy()))?;
    if !inside || allowed() {
        return Ok(());
    }
    let failed = Failure::at(Action::CoverProc, path.to_string_lossy());
    Err(failed(rustix::io::Errno::PERM))
}

fn propagates(propagation: Option<libc::c_ulong>) -> bool {
    propagation.is_some_and(|flag| flag != libc::MS_PRIVATE)
}
