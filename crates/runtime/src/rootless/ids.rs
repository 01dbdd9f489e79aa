//! A user's subordinate ids (subuid(5), subgid(5)), and giving them to a user namespace.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::RootlessError;
use super::{Result, outside};
use crate::namespaces::{IdMap, IdMappings};

/// What an image may expect: ids up to this one are in use by distributions.
const USUAL: u32 = 65_536;

/// What a user namespace will make of ids.
pub(super) struct Ids {
    uids: Vec<IdMap>,
    gids: Vec<IdMap>,
    pub warnings: Vec<String>,
}

impl Ids {
    /// Those of the calling user, whose own ids come first.
    pub(super) fn of_user() -> Result<Self> {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let name = user_name(uid.as_raw());
        let mut warnings = Vec::new();
        let mut read = |file: &str, own: u32| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let found = ranges(&text, Path::new(file), &name, uid.as_raw())?;
            warnings.extend(found.warning(file, &name));
            Ok::<_, RootlessError>(maps(own, &found.own))
        };
        let uids = read("/etc/subuid", uid.as_raw())?;
        let gids = read("/etc/subgid", gid.as_raw())?;
        let mut ids = Self {
            uids,
            gids,
            warnings,
        };
        if ids.is_single() {
            // One kind without the other is of no use.
            ids.uids.truncate(1);
            ids.gids.truncate(1);
            ids.warnings = vec![format!(
                "{name} has no subordinate ids in /etc/subuid and /etc/subgid: containers have no user but root, and images \
                 with files of others cannot be unpacked; `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \
                 {name}`, as root, adds some"
            )];
        }
        Ok(ids)
    }

    /// Whether there is but one user.
    pub(super) fn is_single(&self) -> bool {
        self.uids.len() < 2 || self.gids.len() < 2
    }

    /// Those that a bundle names.
    pub(super) fn of_bundle(mappings: IdMappings) -> Self {
        Self {
            uids: mappings.uids,
            gids: mappings.gids,
            warnings: Vec::new(),
        }
    }

    /// Gives them to the user namespace of a process.
    pub(super) fn give_to(&self, pid: i32) -> Result<()> {
        let write = |name: &str, text: &str| {
            let written = fs::write(format!("/proc/{pid}/{name}"), text);
            written.map_err(RootlessError::system("give ids to the user"))
        };
        // Oneself everybody may map, who gives up changing groups; others only with a program's help.
        match own_alone(&self.uids, nix::unistd::geteuid().as_raw()) {
            Some(line) => write("uid_map", &line)?,
            None => run("newuidmap", pid, &self.uids)?,
        }
        match own_alone(&self.gids, nix::unistd::getegid().as_raw()) {
            Some(line) => {
                write("setgroups", "deny")?;
                write("gid_map", &line)
            }
            None => run("newgidmap", pid, &self.gids),
        }
    }
}

/// The line of a map that gives a namespace nobody but its maker.
fn own_alone(maps: &[IdMap], own: u32) -> Option<String> {
    match maps {
        [one] if one.host == own && one.length == 1 => Some(format!("{} {own} 1", one.container)),
        _ => None,
    }
}

/// The user itself is root, its subordinate ids the others, from 1 on.
fn maps(own: u32, ranges: &[(u32, u32)]) -> Vec<IdMap> {
    let mut maps = vec![IdMap {
        container: 0,
        host: own,
        length: 1,
    }];
    let mut next = 1u32;
    for &(host, length) in ranges {
        maps.push(IdMap {
            container: next,
            host,
            length,
        });
        next = next.saturating_add(length);
    }
    maps
}

/// What a file says of one user.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ranges {
    own: Vec<(u32, u32)>,
    /// A range of another user that overlaps with one of these.
    shared: Option<String>,
}

impl Ranges {
    fn warning(&self, file: &str, name: &str) -> Option<String> {
        let count: u64 = self.own.iter().map(|(_, length)| u64::from(*length)).sum();
        if let Some(other) = &self.shared {
            return Some(format!(
                "{file} gives {name} ids that {other} has too: containers of both can change each other's files"
            ));
        }
        (count > 0 && count < u64::from(USUAL - 1)).then(|| {
            format!(
                "{file} gives {name} {count} ids: images with files of users above {count} cannot be unpacked"
            )
        })
    }
}

fn ranges(text: &str, file: &Path, name: &str, uid: u32) -> Result<Ranges> {
    let mut found = Ranges::default();
    let mut others = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = trimmed.split(':').collect();
        let parsed = match fields.as_slice() {
            [user, first, count] => first
                .parse()
                .ok()
                .zip(count.parse().ok())
                .map(|r| (*user, r)),
            _ => None,
        };
        let own = |user: &str| user == name || user.parse() == Ok(uid);
        match parsed {
            Some((user, range)) if own(user) => found.own.push(range),
            Some((user, range)) => others.push((user, range)),
            // Somebody else's mistake is not ours to stumble over.
            None if fields.first().is_some_and(|user| own(user)) => {
                return Err(RootlessError::BadRange {
                    file: file.into(),
                    line: index + 1,
                    text: line.to_owned(),
                });
            }
            None => {}
        }
    }
    found.own.retain(|(_, length)| *length > 0);
    let overlap = |a: (u32, u32), b: (u32, u32)| {
        u64::from(a.0) < u64::from(b.0) + u64::from(b.1)
            && u64::from(b.0) < u64::from(a.0) + u64::from(a.1)
    };
    let shared = others
        .iter()
        .find(|(_, range)| found.own.iter().any(|own| overlap(*own, *range)));
    found.shared = shared.map(|(user, _)| (*user).to_owned());
    Ok(found)
}

fn run(program: &'static str, pid: i32, maps: &[IdMap]) -> Result<()> {
    let path = outside::find(program).ok_or(RootlessError::NoProgram {
        program,
        package: "uidmap",
    })?;
    let mut command = Command::new(&path);
    command.arg(pid.to_string()).stdin(Stdio::null());
    for map in maps {
        command.args([map.container, map.host, map.length].map(|n| n.to_string()));
    }
    let output = command
        .output()
        .map_err(RootlessError::file("run", &path))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let reason = words.trim().trim_start_matches(program);
    Err(RootlessError::Map {
        program,
        reason: reason.trim_start_matches(": ").replace('\n', "; "),
        powerless: is_powerless(&path).unwrap_or(false),
    })
}

/// Whether a program runs with its caller's rights alone.
fn is_powerless(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let found = fs::metadata(path)?;
    let setuid = found.uid() == 0 && found.mode() & libc::S_ISUID != 0;
    let mut value = [0u8; 64];
    let capable = rustix::fs::getxattr(path, c"security.capability", &mut value[..]).is_ok();
    Ok(!setuid && !capable)
}

/// The user's name by /etc/passwd, else by the environment, else its number.
fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    entry
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_else(|| uid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Ranges> {
        ranges(text, Path::new("/etc/subuid"), "ann", 1000)
    }

    #[test]
    fn a_user_s_ranges_are_found_by_name_and_by_number() {
        let found = read("bob:1:5\n# ann:7:7\nann:100000:65536\n\n1000:200000:10\n").unwrap();
        assert_eq!(found.own, [(100_000, 65_536), (200_000, 10)]);
        assert_eq!(found.warning("/etc/subuid", "ann"), None);
        let maps = maps(1000, &found.own);
        let listed: Vec<_> = maps
            .iter()
            .map(|m| (m.container, m.host, m.length))
            .collect();
        let want = [(0, 1000, 1), (1, 100_000, 65_536), (65_537, 200_000, 10)];
        assert_eq!(listed, want);
        assert!(read("").unwrap().own.is_empty());
    }

    #[test]
    fn ranges_that_overlap_or_are_small_are_told() {
        let shared = read("bob:165000:65536\nann:100000:65536\n").unwrap();
        let words = shared.warning("/etc/subuid", "ann").unwrap();
        assert!(words.contains("bob has too"), "{words}");
        let small = read("ann:100000:1000\n").unwrap();
        let words = small.warning("/etc/subuid", "ann").unwrap();
        assert!(words.contains("users above 1000"), "{words}");
    }

    #[test]
    fn a_line_of_one_s_own_that_is_no_range_is_an_error() {
        let error = read("x:y:z\nann:100000\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "/etc/subuid: line 2: \"ann:100000\" is not USER:FIRST:COUNT"
        );
    }
}
