//! SELinux: whether the kernel labels, what a label is, and giving it to programs and files.
//!
//! The policy names the labels of containers in its `lxc_contexts`; the kernel alone decides what they allow.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{
    CWD, Dir, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, StatVfsMountFlags, XattrFlags,
};
use rustix::io::Errno;

use crate::{Error, Result};

const FILESYSTEM: &str = "/sys/fs/selinux";
const SELINUX_MAGIC: u32 = 0xf97c_ff8c;
const CONFIG: &str = "/etc/selinux/config";
/// The contexts of a policy of containers' own go before those of the system's.
const CONTEXTS: &str = "/usr/share/containers/selinux/contexts";
const ATTRIBUTE: &str = "security.selinux";
/// Giving these to a container would take them from the host.
const KEPT: [&str; 24] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];

/// Whether the kernel has a policy, and lets labels be set: in a container its files are read-only or not there.
pub fn is_enabled() -> bool {
    let mounted = rustix::fs::statfs(FILESYSTEM).is_ok_and(|s| s.f_type as u32 == SELINUX_MAGIC);
    let writable = || {
        let stat = rustix::fs::statvfs(FILESYSTEM);
        stat.is_ok_and(|stat| !stat.f_flag.contains(StatVfsMountFlags::RDONLY))
    };
    // Before a policy is loaded all is the kernel's.
    let labels = || {
        let own = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
        own.trim_end_matches('\0') != "kernel"
    };
    mounted && writable() && labels()
}

/// `user:role:type[:level]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Of SELinux's own users.
    pub user: String,
    /// Role.
    pub role: String,
    /// Type, of a process also called its domain.
    pub kind: String,
    /// Sensitivity and categories; none where the policy has none.
    pub level: Option<String>,
}

impl FromStr for Label {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let mut parts = text.splitn(4, ':');
        let mut word = || {
            parts
                .next()
                .filter(|w| is_word(w))
                .map(str::to_owned)
                .ok_or(())
        };
        let (user, role, kind) = (word()?, word()?, word()?);
        let level = parts.next().map(str::to_owned);
        match level.as_deref().is_none_or(is_level) {
            true => Ok(Self {
                user,
                role,
                kind,
                level,
            }),
            false => Err(()),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.user, self.role, self.kind)?;
        self.level
            .iter()
            .try_for_each(|level| write!(f, ":{level}"))
    }
}

/// Whether it can be the user, role or type of a label.
pub fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// Whether it can be a level: `s0`, `s0-s3`, `s0:c1,c5.c9`, `s0-s0:c1`.
pub fn is_level(text: &str) -> bool {
    let number = |text: &str, letter: char, digits: usize| {
        text.strip_prefix(letter).is_some_and(|n| {
            (1..=digits).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit())
        })
    };
    let sensitivity = |text: &str| number(text, 's', 2);
    let category = |text: &str| number(text, 'c', 4);
    let level = |text: &str| {
        let (sensitivities, categories) = match text.split_once(':') {
            Some((sensitivities, categories)) => (sensitivities, Some(categories)),
            None => (text, None),
        };
        let range = |item: &str| match item.split_once('.') {
            Some((first, last)) => category(first) && category(last),
            None => category(item),
        };
        sensitivity(sensitivities) && categories.is_none_or(|all| all.split(',').all(range))
    };
    match text.split_once('-') {
        Some((low, high)) => level(low) && level(high),
        None => level(text),
    }
}

/// The labels of a container's processes and files, as the policy has them; none if it has none for containers.
pub fn defaults() -> Option<(Label, Label)> {
    let system = || {
        let config = fs::read_to_string(CONFIG).ok()?;
        let policy = *settings(&config).get("SELINUXTYPE")?;
        let path = Path::new("/etc/selinux")
            .join(policy)
            .join("contexts/lxc_contexts");
        fs::read_to_string(path).ok()
    };
    contexts(&fs::read_to_string(CONTEXTS).ok().or_else(system)?)
}

fn contexts(text: &str) -> Option<(Label, Label)> {
    let contexts = settings(text);
    let label = |name| contexts.get(name)?.parse().ok();
    Some((label("process")?, label("file")?))
}

/// Lines of `name = "value"`.
fn settings(text: &str) -> HashMap<&str, &str> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
        .collect()
}

/// Has the next program of the calling process, which has one thread, run under a label. The container may have put
/// anything where /proc is seen: only the kernel's own file is written to (CVE-2019-16884).
pub(crate) fn label_program(label: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty())?;
    if rustix::fs::fstatfs(&proc)?.f_type != PROC_SUPER_MAGIC {
        return Err(io::Error::from_raw_os_error(libc::ENOENT));
    }
    let file = rustix::fs::openat2(
        &proc,
        "thread-self/attr/exec",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS,
    )?;
    fs::File::from(file).write_all(label.as_bytes())
}

/// Whether a label can be an option of a mount, which knows no way to quote what would end it.
pub(crate) fn fits_mount(label: &str) -> bool {
    !label.contains(['"', '\0'])
}

/// The options of a mount, with the label that all its files are to have.
pub(crate) fn mount_options(options: &str, label: &str) -> String {
    let separator = if options.is_empty() { "" } else { "," };
    // A level's commas are not between options.
    format!("{options}{separator}context=\"{label}\"")
}

/// Labels what a descriptor leads to; it may be one with `O_PATH`.
pub(crate) fn label_file(file: BorrowedFd<'_>, label: &str) -> rustix::io::Result<()> {
    let path = through(file);
    rustix::fs::setxattr(&path, ATTRIBUTE, label.as_bytes(), XattrFlags::empty())
}

fn has_label(file: BorrowedFd<'_>, label: &str) -> bool {
    let mut value = [0; 4096];
    let got = rustix::fs::getxattr(through(file), ATTRIBUTE, &mut value);
    let got = got.ok().and_then(|length| value.get(..length));
    got.is_some_and(|value| value.strip_suffix(b"\0").unwrap_or(value) == label.as_bytes())
}

/// Leads to the very file, be it a link.
fn through(file: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Whether [`relabel`] takes a path: none that the host itself lives in.
pub fn may_relabel(path: &Path) -> bool {
    // Compared by component: a slash at the end does not matter.
    !KEPT.iter().any(|kept| path == Path::new(kept))
}

/// Labels a file, or a directory with all that is in it, the directory last: once it has the label, only what has another
/// is labelled. Links are not followed. What is on a filesystem without labels stays as it is.
///
/// # Errors
/// [`Error::Relabel`].
pub fn relabel(path: &Path, label: &str) -> Result<()> {
    let failed = |reason: String| Error::Relabel {
        path: path.to_owned(),
        reason,
    };
    if !may_relabel(path) {
        return Err(failed("it is the host's".to_owned()));
    }
    let walk = || -> rustix::io::Result<()> {
        let top = open(CWD, path)?;
        let only_others = has_label(top.as_fd(), label);
        let set = |file: &OwnedFd| match only_others && has_label(file.as_fd(), label) {
            true => Ok(()),
            false => label_file(file.as_fd(), label),
        };
        relabel_below(&top, &set)?;
        set(&top)
    };
    match walk() {
        Ok(()) | Err(Errno::NOTSUP) => Ok(()),
        Err(e) => Err(failed(e.to_string())),
    }
}

/// Everything in a directory, if it is one, at whatever depth.
fn relabel_below(
    top: &OwnedFd,
    set: &impl Fn(&OwnedFd) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let mut open_directories: Vec<Dir> = Vec::from_iter(directory(top)?);
    while let Some(current) = open_directories.last_mut() {
        let Some(entry) = current.next() else {
            open_directories.pop();
            continue;
        };
        let entry = entry?;
        if [c".", c".."].contains(&entry.file_name()) {
            continue;
        }
        let file = match open(current.fd()?, entry.file_name()) {
            // It has been removed meanwhile.
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        set(&file)?;
        open_directories.extend(directory(&file)?);
    }
    Ok(())
}

fn open(at: BorrowedFd<'_>, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

fn directory(file: &OwnedFd) -> rustix::io::Result<Option<Dir>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(file, ".", flags, Mode::empty()) {
        Ok(opened) => Dir::new(opened).map(Some),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_taken_apart_and_put_together() {
        for text in [
            "system_u:system_r:container_t:s0:c1,c2",
            "system_u:object_r:container_file_t:s0-s0:c0.c1023",
            "u:r:t",
        ] {
            assert_eq!(text.parse::<Label>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "u:r",
            "u:r:",
            "u:r:t:",
            "u:r:t x",
            "u:r:t\"",
            "u:r:t:s0,c1",
        ] {
            assert!(wrong.parse::<Label>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn levels() {
        for level in [
            "s0",
            "s0-s0",
            "s0:c0",
            "s0:c0.c3",
            "s0:c0,c3",
            "s0-s0:c0,c3",
            "s0-s0:c0,c3.c6,c8.c10",
            "s15:c1023",
            "s0:c1-s0:c1,c2",
        ] {
            assert!(is_level(level), "{level}");
        }
        for wrong in [
            "",
            "s",
            "c0",
            "s0:",
            "s0:c",
            "s0,c0,c3",
            "s0:c0.c3.c6",
            "s0-s0,c0,c3",
            "s0-s0:c0,c3.c6.c8",
            "s0:c12345",
            "s0:c1,",
            "s0-",
            "s0:c1\"",
        ] {
            assert!(!is_level(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_policy_names_the_labels_of_containers() {
        let text = "# of containers\nprocess = \"system_u:system_r:container_t:s0\"\n\
            ; more\nfile=\"system_u:object_r:container_file_t:s0\"\nro_file = \"x\"\n";
        let (process, file) = contexts(text).unwrap();
        assert_eq!(process.kind, "container_t");
        assert_eq!(file.kind, "container_file_t");
        assert_eq!(file.level.as_deref(), Some("s0"));
        assert!(contexts("process = \"u:r:t\"\n").is_none());
        assert_eq!(
            settings("SELINUXTYPE=targeted\n")["SELINUXTYPE"],
            "targeted"
        );
    }

    #[test]
    fn the_label_is_one_option_of_a_mount_among_others() {
        let label = "u:r:t:s0:c1,c2";
        assert_eq!(mount_options("", label), "context=\"u:r:t:s0:c1,c2\"");
        assert_eq!(
            mount_options("mode=755", label),
            "mode=755,context=\"u:r:t:s0:c1,c2\""
        );
        assert!(fits_mount(label) && !fits_mount("a\",size=1"));
    }

    #[test]
    fn what_the_host_lives_in_is_not_relabelled() {
        for path in ["/", "/usr", "/etc/", "/var/lib"] {
            let error = relabel(Path::new(path), "u:r:t").unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
        assert!(may_relabel(Path::new("/var/lib/app")) && may_relabel(Path::new("/etc/app")));
    }

    /// With another attribute in its place, which any kernel has: the walk is the same.
    #[test]
    fn everything_below_is_labelled_and_nothing_that_a_link_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        fs::write(tree.join("a/b/file"), "").unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
        let seen = std::cell::RefCell::new(Vec::new());
        let top = open(CWD, &tree).unwrap();
        relabel_below(&top, &|file| {
            let path = fs::read_link(through(file.as_fd())).unwrap();
            seen.borrow_mut()
                .push(path.strip_prefix(&tree).unwrap().to_owned());
            Ok(())
        })
        .unwrap();
        let mut seen = seen.into_inner();
        seen.sort();
        assert_eq!(seen, ["a", "a/b", "a/b/file", "a/link"].map(PathBuf::from));
    }
}
