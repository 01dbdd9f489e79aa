//! Overlay mounts: of a container by its monitor, of a build step by the builder.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::monitor::show_owners;
use crate::namespaces::IdMappings;
use crate::rootless;
use crate::selinux;
use crate::spec::LowerDir;

/// What an overlay shows.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    /// Layers, top first; without `writable` at least two, one of which may be empty.
    pub lower: &'a [LowerDir],
    /// Where changes go.
    pub writable: Option<Writable<'a>>,
    /// The SELinux label of all its files.
    pub label: Option<&'a str>,
}

/// The writable part of an overlay.
#[derive(Clone, Copy, Debug)]
pub struct Writable<'a> {
    /// Directory that takes the changes.
    pub upper: &'a Path,
    /// Overlay's work directory, empty, on the filesystem of `upper`.
    pub work: &'a Path,
    /// Whoever uses `upper` afterwards sees that it gets to the disk; the kernel then need not, which would take
    /// milliseconds at unmount.
    pub volatile: bool,
}

/// What makes an upper directory more than a layer on its own, and is off whatever the kernel's defaults say.
fn plain() -> [(&'static str, &'static str); 3] {
    // With `user.` attributes, which anybody can set, it is all the kernel allows; nothing is redirected either way.
    let redirect = match rootless::in_initial_namespace() {
        true => "off",
        false => "nofollow",
    };
    [
        ("redirect_dir", redirect),
        ("metacopy", "off"),
        ("index", "off"),
    ]
}

/// In a user namespace nobody sets `trusted.` attributes; the store's layers have `user.` ones then.
const USER_ATTRIBUTES: &str = "userxattr";

/// Mounts an overlay that is attached nowhere: it is reached through the descriptor (`O_PATH`) alone and ends with it.
///
/// # Errors
/// What the kernel says.
pub fn mount_detached(overlay: Overlay<'_>) -> io::Result<OwnedFd> {
    // Kernels that know `lowerdir+` only half accept it and fail at the end.
    by_context(overlay).or_else(|_| in_own_namespace(|| old_way(overlay)))
}

/// Covers a directory of the overlay's own meanwhile.
fn old_way(overlay: Overlay<'_>) -> io::Result<OwnedFd> {
    let target = match (overlay.writable, overlay.lower.last()) {
        (Some(writable), _) => writable.upper,
        (None, Some(layer)) => &layer.path,
        (None, None) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    by_options(overlay, target)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, target, flags)?)
}

/// The same, to be read only, with the owners that the layers have in a user namespace with these mappings: who is 0 on
/// the disk is its root. An overlay cannot show others than its layers have; they are mounted for themselves, below
/// `stage`, a directory that nobody else sees covered.
///
/// # Errors
/// What the kernel says; `EINVAL` where the layers' filesystem shows no other owners.
pub fn mount_mapped(
    overlay: Overlay<'_>,
    owners: &IdMappings,
    stage: &Path,
) -> io::Result<OwnedFd> {
    let owners = owners.namespace().map_err(io::Error::other)?;
    in_own_namespace(|| {
        let show = |layer: &LowerDir| -> io::Result<OwnedFd> {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let shown = open_tree(CWD, &layer.path, flags)?;
            show_owners(shown.as_fd(), owners.as_fd(), false)?;
            Ok(shown)
        };
        // Before the stage is covered: some may be below it.
        let shown: Vec<OwnedFd> = overlay.lower.iter().map(show).collect::<io::Result<_>>()?;
        let none: Option<&str> = None;
        mount(Some("tmpfs"), stage, Some("tmpfs"), MsFlags::empty(), none)?;
        let mut mapped = Vec::with_capacity(shown.len());
        for (number, layer) in shown.iter().enumerate() {
            let path = stage.join(number.to_string());
            std::fs::create_dir(&path)?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(layer.as_fd(), "", CWD, &path, flags)?;
            mapped.push(LowerDir { path, short: None });
        }
        let overlay = Overlay {
            lower: &mapped,
            writable: None,
            label: overlay.label,
        };
        by_context(overlay).or_else(|_| old_way(overlay))
    })
}

/// One layer after the other, through a filesystem context: no limit on their number or length.
pub(crate) fn by_context(overlay: Overlay<'_>) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    // What `df` and `mount` call it.
    fsconfig_set_string(context, "source", "overlay")?;
    for layer in overlay.lower {
        fsconfig_set_string(context, "lowerdir+", &layer.path)?;
    }
    for (name, value) in plain() {
        fsconfig_set_string(context, name, value)?;
    }
    if !rootless::in_initial_namespace() {
        fsconfig_set_flag(context, USER_ATTRIBUTES)?;
    }
    if let Some(label) = overlay.label {
        fsconfig_set_string(context, "context", label)?;
    }
    if let Some(writable) = overlay.writable {
        fsconfig_set_string(context, "upperdir", writable.upper)?;
        fsconfig_set_string(context, "workdir", writable.work)?;
        if writable.volatile {
            fsconfig_set_flag(context, "volatile")?;
        }
    }
    fsconfig_create(context)?;
    Ok(fsmount(
        context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?)
}

/// The old way: all paths in one page, so layers are named by their short links, relative to where these lie.
/// Changes the working directory and back.
pub(crate) fn by_options(overlay: Overlay<'_>, target: &Path) -> io::Result<()> {
    let links_directory = common_links_directory(overlay.lower);
    let names: Vec<String> = overlay
        .lower
        .iter()
        .map(|layer| match (&links_directory, &layer.short) {
            (Some(_), Some(short)) => file_name(short),
            _ => escape(&layer.path),
        })
        .collect();
    let mut options = vec![format!("lowerdir={}", names.join(":"))];
    options.extend(plain().map(|(name, value)| format!("{name}={value}")));
    if !rootless::in_initial_namespace() {
        options.push(USER_ATTRIBUTES.to_owned());
    }
    if let Some(writable) = overlay.writable {
        options.push(format!("upperdir={}", escape(writable.upper)));
        options.push(format!("workdir={}", escape(writable.work)));
        if writable.volatile {
            options.push("volatile".to_owned());
        }
    }
    let mut options = options.join(",");
    if let Some(label) = overlay.label {
        options = selinux::mount_options(&options, label);
    }
    if let Some(directory) = &links_directory {
        nix::unistd::chdir(directory)?;
    }
    let mounted = mount(
        Some("overlay"),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    );
    nix::unistd::chdir("/")?;
    Ok(mounted?)
}

/// Runs `work` in a thread with mount namespace and working directory of its own, of which nothing stays.
pub(crate) fn in_own_namespace<T: Send>(
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let run = || {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
        let flags = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
        work()
    };
    std::thread::scope(|scope| {
        let joined = scope.spawn(run).join();
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn common_links_directory(lower: &[LowerDir]) -> Option<PathBuf> {
    let first = lower.first()?.short.as_ref()?.parent()?;
    lower
        .iter()
        .all(|l| l.short.as_ref().is_some_and(|s| s.parent() == Some(first)))
        .then(|| first.to_owned())
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Overlay's option parser gives backslash, colon and comma a meaning.
fn escape(path: &Path) -> String {
    let mut escaped = String::new();
    for character in path.to_string_lossy().chars() {
        if matches!(character, '\\' | ':' | ',') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(dir: &Path, name: &str, content: &str) -> LowerDir {
        let path = dir.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(content), content).unwrap();
        LowerDir { path, short: None }
    }

    fn names(mounted: &OwnedFd) -> Vec<String> {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        let dir = rustix::fs::openat(mounted, ".", flags, rustix::fs::Mode::empty()).unwrap();
        let dir = rustix::fs::Dir::new(dir).unwrap();
        let names = dir.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|n| !n.starts_with('.')).collect();
        names.sort();
        names
    }

    #[test]
    fn a_detached_overlay_is_seen_through_its_descriptor_alone() {
        let dir = tempfile::tempdir().unwrap();
        let lower = [layer(dir.path(), "a", "x"), layer(dir.path(), "b", "y")];
        let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
        std::fs::create_dir(&upper).unwrap();
        std::fs::create_dir(&work).unwrap();
        let writable = Some(Writable {
            upper: &upper,
            work: &work,
            volatile: true,
        });
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounted = mount_detached(Overlay {
            lower: &lower,
            writable,
            label: None,
        })
        .unwrap();
        assert_eq!(names(&mounted), ["x", "y"]);
        rustix::fs::mkdirat(&mounted, "new", rustix::fs::Mode::RWXU).unwrap();
        assert!(upper.join("new").is_dir());
        let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(mounts, after);
    }

    #[test]
    fn the_old_way_does_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let lower = [layer(dir.path(), "a", "x"), layer(dir.path(), "b", "y")];
        let overlay = Overlay {
            lower: &lower,
            writable: None,
            label: None,
        };
        let target = lower[1].path.clone();
        let mounted = in_own_namespace(|| {
            by_options(overlay, &target)?;
            Ok(open_tree(CWD, &target, OpenTreeFlags::OPEN_TREE_CLONE)?)
        })
        .unwrap();
        assert_eq!(names(&mounted), ["x", "y"]);
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1);
    }

    #[test]
    fn layers_have_the_owners_of_a_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let lower = [layer(dir.path(), "a", "x"), layer(dir.path(), "b", "y")];
        std::os::unix::fs::chown(lower[1].path.join("y"), Some(33), Some(34)).unwrap();
        let stage = dir.path().join("stage");
        std::fs::create_dir(&stage).unwrap();
        let maps = |host| {
            vec![crate::namespaces::IdMap {
                container: 0,
                host,
                length: 100,
            }]
        };
        let owners = IdMappings {
            uids: maps(100_000),
            gids: maps(200_000),
        };
        let shown = Overlay {
            lower: &lower,
            writable: None,
            label: None,
        };
        let mounted = mount_mapped(shown, &owners, &stage).unwrap();
        assert_eq!(names(&mounted), ["x", "y"]);
        let owner = |name: &str| {
            let stat = rustix::fs::statat(&mounted, name, rustix::fs::AtFlags::empty()).unwrap();
            (stat.st_uid, stat.st_gid)
        };
        assert_eq!(owner("x"), (100_000, 200_000));
        assert_eq!(owner("y"), (100_033, 200_034));
        assert_eq!(std::fs::read_dir(&stage).unwrap().count(), 0);
    }

    #[test]
    fn option_characters_in_paths_are_escaped() {
        assert_eq!(escape(Path::new("/a:b,c\\d")), "/a\\:b\\,c\\\\d");
    }
}
