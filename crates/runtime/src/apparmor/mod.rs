//! AppArmor: which profiles the kernel has, and the one of containers that name none.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};

use crate::{Error, Result};

/// The profile of containers that name none.
pub const DEFAULT_PROFILE: &str = "rctr-default";

const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
const POLICY: &str = "/sys/kernel/security/apparmor";
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
const PARSERS: [&str; 2] = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];
const TEXT: &str = include_str!("default.profile");
/// Where [`TEXT`] names the profile of whoever starts containers.
const LOADER: &str = "@LOADER@";

/// Whether the kernel enforces profiles, and lets its list of them be seen: in a container that has AppArmor of the
/// host's it may not.
pub fn is_enabled() -> bool {
    fs::read(ENABLED).is_ok_and(|answer| answer.starts_with(b"Y")) && Path::new(POLICY).exists()
}

/// Whether there is the tool that loads profiles.
pub fn has_parser() -> bool {
    parser().is_some()
}

/// Whether the kernel has a profile, by its whole name.
///
/// # Errors
/// [`Error::ProfileList`].
pub fn is_loaded(profile: &str) -> Result<bool> {
    let list = fs::read_to_string(LOADED).map_err(|source| Error::ProfileList {
        path: LOADED.into(),
        source,
    })?;
    Ok(lists(&list, profile))
}

/// Loads [`DEFAULT_PROFILE`] unless it is there: it goes with a restart of the machine, and whenever all profiles are
/// unloaded. `false` if there is no tool that could.
///
/// # Errors
/// [`Error::ProfileList`]; [`Error::ProfileLoad`] if the tool or the kernel refuses it.
pub fn require_default() -> Result<bool> {
    if is_loaded(DEFAULT_PROFILE)? {
        return Ok(true);
    }
    let Some(parser) = parser() else {
        return Ok(false);
    };
    let own = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    let failed = |reason: String| Error::ProfileLoad {
        profile: DEFAULT_PROFILE,
        reason,
    };
    match load(parser, &TEXT.replace(LOADER, label(&own))) {
        Ok(None) => Ok(true),
        Ok(Some(complaint)) => Err(failed(complaint)),
        Err(e) => Err(failed(format!("{}: {e}", parser.display()))),
    }
}

/// Lets the next program of the calling process, which has one thread, run under a profile. The container may have put
/// anything where /proc is seen: only the kernel's own file is written to (CVE-2019-16884).
///
/// A profile that begins with the program takes the signal away that ends it with its monitor. Ours, which allows any
/// program, begins here and now; another need not allow the first one.
pub(crate) fn confine_program(profile: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty())?;
    if rustix::fs::fstatfs(&proc)?.f_type != PROC_SUPER_MAGIC {
        return Err(io::Error::from_raw_os_error(libc::ENOENT));
    }
    let (file, word) = match profile == DEFAULT_PROFILE {
        true => ("self/attr/apparmor/current", "changeprofile"),
        false => ("self/attr/apparmor/exec", "exec"),
    };
    let file = rustix::fs::openat2(
        &proc,
        file,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS,
    )?;
    fs::File::from(file).write_all(format!("{word} {profile}").as_bytes())
}

fn parser() -> Option<&'static Path> {
    PARSERS
        .map(Path::new)
        .into_iter()
        .find(|path| path.exists())
}

/// Gives what the parser complains of, if it fails.
fn load(parser: &Path, text: &str) -> io::Result<Option<String>> {
    let mut child = Command::new(parser)
        .args(["--skip-cache", "--replace"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let written = child
        .stdin
        .take()
        .map(|mut to| to.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Ok(Some(format!("{}: {}", output.status, said.trim())));
    }
    written.transpose().map(|_| None)
}

/// A line of the kernel's list is `name (mode)`.
fn lists(list: &str, profile: &str) -> bool {
    let mut names = list.lines().filter_map(|line| line.rsplit_once(" ("));
    names.any(|(name, _)| name == profile)
}

/// The name in what the kernel says of a process: `name (mode)`, or `unconfined`. One that would need quoting is taken
/// for unconfined.
fn label(current: &str) -> &str {
    let current = current.trim_end_matches(['\n', '\0']);
    let name = current.rsplit_once(" (").map_or(current, |(name, _)| name);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:".contains(c);
    match !name.is_empty() && name.chars().all(plain) {
        true => name,
        false => "unconfined",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_their_whole_name() {
        let list = "docker-default (enforce)\nmy profile (complain)\n";
        assert!(lists(list, "docker-default") && lists(list, "my profile"));
        assert!(!lists(list, "docker") && !lists(list, ""));
    }

    #[test]
    fn own_labels() {
        assert_eq!(label("unconfined\n"), "unconfined");
        assert_eq!(label("rctr (unconfined)\n"), "rctr");
        assert_eq!(label("/usr/bin/rctr (enforce)\n"), "/usr/bin/rctr");
        assert_eq!(label("a\"b (enforce)\n"), "unconfined");
        assert_eq!(label(""), "unconfined");
    }

    #[test]
    fn the_default_profile_is_one() {
        assert!(TEXT.contains(&format!("profile {DEFAULT_PROFILE} ")));
        let Some(parser) = parser() else {
            return;
        };
        let path = std::env::temp_dir().join(format!("rctr-profile-{}", std::process::id()));
        fs::write(&path, TEXT.replace(LOADER, "unconfined")).unwrap();
        let checked = Command::new(parser)
            .args(["--skip-kernel-load", "--skip-cache"])
            .arg(&path)
            .output();
        fs::remove_file(&path).unwrap();
        let checked = checked.unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }
}
