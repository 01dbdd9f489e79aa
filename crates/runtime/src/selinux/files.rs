//! Giving files their labels.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;

use crate::{Error, Result};

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

/// Whether [`relabel`] takes a path: none that the host itself lives in, by whatever name.
pub fn may_relabel(path: &Path) -> bool {
    match rustix::fs::stat(path) {
        Ok(found) => !Kept::find().has(&found),
        // Compared by component: a slash at the end does not matter.
        Err(_) => !kept().any(|kept| path == kept),
    }
}

/// The home directory of whoever runs this is kept too, and of whoever has become root for it.
fn kept() -> impl Iterator<Item = PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let caller = std::env::var("SUDO_USER").ok();
    let caller = caller.and_then(|name| home_of(&name));
    let fixed = KEPT.iter().map(PathBuf::from);
    fixed.chain(home.map(PathBuf::from)).chain(caller)
}

fn home_of(name: &str) -> Option<PathBuf> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = accounts
        .lines()
        .map(|line| line.split(':'))
        .find(|fields| fields.clone().next() == Some(name))?;
    let home = fields.nth(5).filter(|home| !home.is_empty());
    home.map(PathBuf::from)
}

/// What is kept by what names lead to: `/bin` is `/usr/bin` today, and anything may be bound elsewhere.
struct Kept(Vec<(u64, u64)>);

impl Kept {
    fn find() -> Self {
        let found = kept().filter_map(|path| rustix::fs::stat(path).ok());
        Self(found.map(|stat| (stat.st_dev, stat.st_ino)).collect())
    }

    fn has(&self, found: &Stat) -> bool {
        self.0.contains(&(found.st_dev, found.st_ino))
    }

    fn check(&self, file: BorrowedFd<'_>) -> std::result::Result<(), String> {
        match rustix::fs::fstat(file) {
            Ok(found) if self.has(&found) => {
                let name = fs::read_link(through(file)).unwrap_or_default();
                Err(format!("{} is the host's", name.display()))
            }
            Ok(_) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }
}

/// Labels a file, or a directory with all that is in it, the directory last: once it has the label, only what has another
/// is labelled. Links are not followed. What is on a filesystem without labels stays as it is.
///
/// # Errors
/// [`Error::Relabel`].
pub fn relabel(path: &Path, label: &str) -> Result<()> {
    let top = open(CWD, path).map_err(|e| failed(path, e.to_string()))?;
    relabel_opened(top.as_fd(), path, label)
}

/// The same for a directory of ours in which nothing is made without the label once it has it.
///
/// # Errors
/// [`Error::Relabel`].
pub fn relabel_once(path: &Path, label: &str) -> Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = rustix::fs::open(path, flags, Mode::empty());
    let top = top.map_err(|e| failed(path, e.to_string()))?;
    match has_label(top.as_fd(), label) {
        true => Ok(()),
        false => relabel_opened(top.as_fd(), path, label),
    }
}

/// The same for what a descriptor leads to, which is called `path` in errors.
///
/// # Errors
/// [`Error::Relabel`].
pub fn relabel_opened(top: BorrowedFd<'_>, path: &Path, label: &str) -> Result<()> {
    let kept = Kept::find();
    kept.check(top).map_err(|reason| failed(path, reason))?;
    if !takes_labels(top) {
        return Ok(());
    }
    let only_others = has_label(top, label);
    let set = |file: BorrowedFd<'_>| match only_others && has_label(file, label) {
        true => Ok(true),
        false => match label_file(file, label) {
            Ok(()) => Ok(true),
            // Another filesystem may be mounted below.
            Err(Errno::NOTSUP) => Ok(false),
            Err(e) => Err(e.to_string()),
        },
    };
    let walked = relabel_below(top, &kept, &set).and_then(|()| set(top).map(drop));
    walked.map_err(|reason| failed(path, reason))
}

fn failed(path: &Path, reason: String) -> Error {
    Error::Relabel {
        path: path.to_owned(),
        reason,
    }
}

/// Whether a filesystem does, by giving a file of it the label that it has.
fn takes_labels(file: BorrowedFd<'_>) -> bool {
    let mut value = [0; 4096];
    let got = rustix::fs::getxattr(through(file), ATTRIBUTE, &mut value);
    let Some(label) = got.ok().and_then(|length| value.get(..length)) else {
        return true;
    };
    let set = rustix::fs::setxattr(through(file), ATTRIBUTE, label, XattrFlags::empty());
    set != Err(Errno::NOTSUP)
}

/// Everything in a directory, if it is one, at whatever depth, but what is below a directory that takes no label.
fn relabel_below(
    top: BorrowedFd<'_>,
    kept: &Kept,
    set: &impl Fn(BorrowedFd<'_>) -> std::result::Result<bool, String>,
) -> std::result::Result<(), String> {
    let words = |e: Errno| e.to_string();
    let mut open_directories: Vec<Dir> = Vec::from_iter(directory(top).map_err(words)?);
    while let Some(current) = open_directories.last_mut() {
        let Some(entry) = current.next() else {
            open_directories.pop();
            continue;
        };
        let entry = entry.map_err(words)?;
        if [c".", c".."].contains(&entry.file_name()) {
            continue;
        }
        let file = match open(current.fd().map_err(words)?, entry.file_name()) {
            // It has been removed meanwhile.
            Err(Errno::NOENT) => continue,
            other => other.map_err(words)?,
        };
        let below = directory(file.as_fd()).map_err(words)?;
        if below.is_some() {
            kept.check(file.as_fd())?;
        }
        if set(file.as_fd())? {
            open_directories.extend(below);
        }
    }
    Ok(())
}

fn open(at: BorrowedFd<'_>, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

fn directory(file: BorrowedFd<'_>) -> rustix::io::Result<Option<Dir>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(file, ".", flags, Mode::empty()) {
        Ok(opened) => Dir::new(opened).map(Some),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_the_host_lives_in_is_not_relabelled() {
        for path in ["/", "/usr", "/etc/", "/var/lib"] {
            let error = relabel(Path::new(path), "u:r:t").unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
        assert!(may_relabel(Path::new("/var/lib/app")) && may_relabel(Path::new("/etc/app")));
    }

    #[test]
    fn nor_by_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/usr", &link).unwrap();
        // `/bin` may be a link to it.
        let bin = fs::canonicalize("/bin").unwrap();
        for path in [&link, &bin, Path::new("/usr/../etc")] {
            assert!(!may_relabel(path), "{}", path.display());
        }
        for path in [&bin, Path::new("/usr/../etc")] {
            let error = relabel(path, "u:r:t").unwrap_err().to_string();
            assert!(error.contains("the host's"), "{error}");
        }
        if let Some(home) = std::env::var_os("HOME") {
            assert!(!may_relabel(Path::new(&home)));
        }
        assert_eq!(home_of("root").as_deref(), Some(Path::new("/root")));
        assert_eq!(home_of("nobody-of-that-name"), None);
    }

    #[test]
    fn nor_where_it_is_shown_below() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/host/b")).unwrap();
        let host = rustix::fs::stat(dir.path().join("a/host")).unwrap();
        let kept = Kept(vec![(host.st_dev, host.st_ino)]);
        let top = open(CWD, dir.path()).unwrap();
        let seen = Cell::new(0);
        let reason = relabel_below(top.as_fd(), &kept, &|_| {
            seen.set(seen.get() + 1);
            Ok(true)
        });
        let reason = reason.unwrap_err();
        assert!(reason.ends_with("a/host is the host's"), "{reason}");
        assert_eq!(seen.get(), 1, "all but what is kept");
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
        relabel_below(top.as_fd(), &Kept(Vec::new()), &|file| {
            let path = fs::read_link(through(file)).unwrap();
            seen.borrow_mut()
                .push(path.strip_prefix(&tree).unwrap().to_owned());
            Ok(true)
        })
        .unwrap();
        let mut seen = seen.into_inner();
        seen.sort();
        assert_eq!(seen, ["a", "a/b", "a/b/file", "a/link"].map(PathBuf::from));
    }
}
