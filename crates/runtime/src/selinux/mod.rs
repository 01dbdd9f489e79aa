//! SELinux: whether the kernel labels, what a label is, and giving it to programs and files.
//!
//! The policy names the labels of containers in its `lxc_contexts`; the kernel alone decides what they allow.

mod files;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, StatVfsMountFlags};

pub(crate) use self::files::label_file;
pub use self::files::{may_relabel, relabel, relabel_once, relabel_opened};

const FILESYSTEM: &str = "/sys/fs/selinux";
const SELINUX_MAGIC: u32 = 0xf97c_ff8c;
const CONFIG: &str = "/etc/selinux/config";
/// The contexts of a policy of containers' own go before those of the system's.
const CONTEXTS: &str = "/usr/share/containers/selinux/contexts";

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

/// The labels that a policy has for containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Of processes.
    pub process: Label,
    /// Of files.
    pub file: Label,
    /// Of files that all containers may read and none may write.
    pub read_only: Label,
}

/// The policy's labels; none if it has none for containers.
pub fn defaults() -> Option<Defaults> {
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

fn contexts(text: &str) -> Option<Defaults> {
    let contexts = settings(text);
    let label = |name| contexts.get(name)?.parse::<Label>().ok();
    let file = label("file")?;
    Some(Defaults {
        process: label("process")?,
        read_only: label("ro_file").unwrap_or_else(|| file.clone()),
        file,
    })
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

/// Has the next program of the calling process, which has one thread, run under a label.
pub(crate) fn label_program(label: &str) -> io::Result<()> {
    set_attribute("exec", label)
}

/// Has the keyrings that the calling process, which has one thread, makes meanwhile be of a label: a container may look
/// into no others. Without /proc they are the caller's.
pub(crate) fn with_keys<T>(label: Option<&str>, make: impl FnOnce() -> T) -> io::Result<T> {
    with_attribute("keycreate", label, make)
}

/// The same for sockets, of a calling thread: whoever connects to one needs the right for that label.
///
/// # Errors
/// What the kernel says of the label.
pub fn with_sockets<T>(label: Option<&str>, make: impl FnOnce() -> T) -> io::Result<T> {
    with_attribute("sockcreate", label, make)
}

fn with_attribute<T>(name: &str, label: Option<&str>, make: impl FnOnce() -> T) -> io::Result<T> {
    let Some(label) = label else {
        return Ok(make());
    };
    match set_attribute(name, label) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(make()),
        other => other?,
    }
    let made = make();
    set_attribute(name, "")?;
    Ok(made)
}

/// The container may have put anything where /proc is seen: only the kernel's own file is written to (CVE-2019-16884).
fn set_attribute(name: &str, label: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty())?;
    if rustix::fs::fstatfs(&proc)?.f_type != PROC_SUPER_MAGIC {
        return Err(io::Error::from_raw_os_error(libc::ENOENT));
    }
    let file = rustix::fs::openat2(
        &proc,
        format!("thread-self/attr/{name}"),
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS,
    )?;
    let mut file = fs::File::from(file);
    // Nothing is written where there are no bytes, and the old label would stay.
    let bytes = if label.is_empty() {
        b"\n"
    } else {
        label.as_bytes()
    };
    file.write_all(bytes)
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
            ; more\nfile=\"system_u:object_r:container_file_t:s0\"\n";
        let found = contexts(text).unwrap();
        assert_eq!(found.process.kind, "container_t");
        assert_eq!(found.file.kind, "container_file_t");
        assert_eq!(found.file.level.as_deref(), Some("s0"));
        assert_eq!(found.read_only, found.file);
        let text = text.to_owned() + "ro_file = \"system_u:object_r:container_ro_file_t:s0\"\n";
        let found = contexts(&text).unwrap();
        assert_eq!(found.read_only.kind, "container_ro_file_t");
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
}
