//! Who a container's process is: `user[:group]` resolved against the image's own passwd and group files, as Docker
//! does it. Those files are the image's, so they are bounded and never trusted.

use std::path::Path;

use crate::rootfs_view::{RootfsView, ViewError};

/// A user or group that does not exist, or files that say nonsense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// A name that is not in the image's passwd file.
    #[error("unable to find user {user}: no matching entries in passwd file")]
    UnknownUser {
        /// The name.
        user: String,
    },
    /// A name that is not in the image's group file.
    #[error("unable to find group {group}: no matching entries in group file")]
    UnknownGroup {
        /// The name.
        group: String,
    },
    /// An id that the kernel's interfaces do not take without surprise.
    #[error("{value}: uids and gids must be in range 0-2147483647")]
    Range {
        /// The id.
        value: String,
    },
    /// An entry whose id is no number.
    #[error("{file} of the image: the entry of {name:?} has no valid id")]
    BadEntry {
        /// `/etc/passwd` or `/etc/group`.
        file: &'static str,
        /// Name of the entry.
        name: String,
    },
    /// A line no real file has.
    #[error("{file} of the image: line {line} is longer than {limit} bytes")]
    LongLine {
        /// `/etc/passwd` or `/etc/group`.
        file: &'static str,
        /// Number of the line, from 1.
        line: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A home directory that could smuggle something into what reads HOME.
    #[error(
        "/etc/passwd of the image: the home directory of user {user:?} contains control characters: {home:?}"
    )]
    Home {
        /// The user.
        user: String,
        /// The directory.
        home: String,
    },
    /// More groups than the kernel takes.
    #[error("user {user:?} is in more than 65536 groups")]
    TooManyGroups {
        /// The user.
        user: String,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] ViewError),
}

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User id.
    pub(crate) uid: u32,
    /// Primary group id.
    pub(crate) gid: u32,
    /// All group ids, the primary one first: setting these drops whatever groups the caller had.
    pub(crate) groups: Vec<u32>,
    /// Home directory.
    pub(crate) home: String,
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const MAX_FILE: u64 = 10 << 20;
const MAX_PASSWD_LINE: usize = 64 << 10;
const MAX_GROUP_LINE: usize = 1 << 20;
const MAX_GROUPS: usize = 65536;

/// Resolves `user[:group]` (empty is root) and `--group-add`.
///
/// # Errors
/// [`UserError`], in Docker's words where Docker has some.
pub(crate) fn resolve(
    view: &RootfsView,
    user: &str,
    group_add: &[String],
) -> Result<Identity, UserError> {
    let passwd = read(view, PASSWD, MAX_PASSWD_LINE)?;
    let group = read(view, GROUP, MAX_GROUP_LINE)?;
    let (user, group_word) = user.split_once(':').unwrap_or((user, ""));
    let user = if user.is_empty() { "0" } else { user };

    let entry = find_user(&passwd, user)?;
    let (uid, mut gid, home) = match &entry {
        Some(entry) => (entry.uid, entry.gid, entry.home.clone()),
        // Without an entry only a number will do.
        None => match number(user)? {
            Some(uid) => (uid, 0, "/".to_owned()),
            None => {
                return Err(UserError::UnknownUser {
                    user: user.to_owned(),
                });
            }
        },
    };
    let mut groups = Vec::new();
    if !group_word.is_empty() {
        gid = find_group(&group, group_word)?;
    } else if let Some(entry) = &entry {
        groups = memberships(&group, &entry.name)?;
    }
    for word in group_add {
        groups.push(find_group(&group, word)?);
    }
    groups.retain(|g| *g != gid);
    groups.insert(0, gid);
    if groups.len() > MAX_GROUPS {
        return Err(UserError::TooManyGroups {
            user: user.to_owned(),
        });
    }
    Ok(Identity {
        uid,
        gid,
        groups,
        home,
    })
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// The first entry with this number, or, if the word is no number, with this name.
fn find_user(passwd: &[String], word: &str) -> Result<Option<Entry>, UserError> {
    let wanted = number(word)?;
    for line in passwd {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let mut field = || fields.next().unwrap_or_default();
        let (_, uid, gid, _, home) = (field(), field(), field(), field(), field());
        let matches = match wanted {
            Some(wanted) => uid.parse() == Ok(wanted),
            None => name == word,
        };
        if matches {
            let id = |text: &str| {
                number(text)?.ok_or_else(|| UserError::BadEntry {
                    file: PASSWD,
                    name: name.to_owned(),
                })
            };
            return Ok(Some(Entry {
                uid: id(uid)?,
                gid: id(gid)?,
                home: check_home(name, home)?,
                name: name.to_owned(),
            }));
        }
    }
    Ok(None)
}

fn find_group(group: &[String], word: &str) -> Result<u32, UserError> {
    let wanted = number(word)?;
    for line in group {
        let mut fields = line.split(':');
        let (name, gid) = (
            fields.next().unwrap_or_default(),
            fields.nth(1).unwrap_or_default(),
        );
        if wanted.is_none() && name == word {
            return number(gid)?.ok_or_else(|| UserError::BadEntry {
                file: GROUP,
                name: name.to_owned(),
            });
        }
    }
    wanted.ok_or_else(|| UserError::UnknownGroup {
        group: word.to_owned(),
    })
}

fn memberships(group: &[String], user: &str) -> Result<Vec<u32>, UserError> {
    let mut gids = Vec::new();
    for line in group {
        let mut fields = line.split(':');
        let (name, gid) = (
            fields.next().unwrap_or_default(),
            fields.nth(1).unwrap_or_default(),
        );
        if fields
            .next()
            .unwrap_or_default()
            .split(',')
            .any(|member| member == user)
        {
            gids.push(number(gid)?.ok_or_else(|| UserError::BadEntry {
                file: GROUP,
                name: name.to_owned(),
            })?);
        }
    }
    Ok(gids)
}

/// `None` for what is no number; a number out of range is an error, lest it wrap to somebody else's.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<i32>() {
        Ok(n) if n >= 0 => Ok(Some(n.unsigned_abs())),
        _ => Err(UserError::Range {
            value: text.to_owned(),
        }),
    }
}

fn check_home(user: &str, home: &str) -> Result<String, UserError> {
    if home.contains(char::is_control) {
        return Err(UserError::Home {
            user: user.to_owned(),
            home: home.to_owned(),
        });
    }
    Ok(if home.is_empty() {
        "/".to_owned()
    } else {
        home.to_owned()
    })
}

/// The file's lines without surrounding white space and without empty ones; no file is an empty one.
fn read(view: &RootfsView, file: &'static str, limit: usize) -> Result<Vec<String>, UserError> {
    let bytes = view.read(Path::new(file), MAX_FILE)?.unwrap_or_default();
    let mut lines = Vec::new();
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if line.len() > limit {
            return Err(UserError::LongLine {
                file,
                line: index + 1,
                limit,
            });
        }
        // Only spaces and tabs: what else a line holds must be seen by the checks.
        let text = String::from_utf8_lossy(line);
        let text = text.trim_matches([' ', '\t']);
        if !text.is_empty() {
            lines.push(text.to_owned());
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD_TEXT: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n\
        app:x:2000:2001:second:/home/second:\nnohome:x:3000:3000::\nbad:x:zero:0::/:\nbig:x:4294967296:0::/:\n\
        evil:x:4000:0::/tmp\u{1b}[31m:\ncr:x:4001:0::/tmp\r:\n";
    const GROUP_TEXT: &str = "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\naudio:x:29:app\nother:x:50:\nhuge:x:9999999999:joe\n";

    fn with(passwd: &[u8], group: &[u8], user: &str, add: &[&str]) -> Result<Identity, UserError> {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(etc.join("passwd"), passwd).unwrap();
        std::fs::write(etc.join("group"), group).unwrap();
        let add: Vec<String> = add.iter().map(|a| (*a).to_owned()).collect();
        resolve(&RootfsView::new(None, vec![dir.path().into()]), user, &add)
    }

    fn id(user: &str, add: &[&str]) -> Result<(u32, u32, Vec<u32>, String), UserError> {
        with(PASSWD_TEXT.as_bytes(), GROUP_TEXT.as_bytes(), user, add)
            .map(|i| (i.uid, i.gid, i.groups, i.home))
    }

    #[test]
    fn users_groups_and_homes() {
        type Expected = (u32, u32, &'static [u32], &'static str);
        let cases: &[(&str, &[&str], Expected)] = &[
            ("", &[], (0, 0, &[0, 10], "/root")),
            ("root", &[], (0, 0, &[0, 10], "/root")),
            ("app", &[], (1000, 1001, &[1001, 10, 29], "/home/app")),
            ("1000", &[], (1000, 1001, &[1001, 10, 29], "/home/app")),
            ("app:audio", &[], (1000, 29, &[29], "/home/app")),
            ("app:77", &[], (1000, 77, &[77], "/home/app")),
            (":audio", &[], (0, 29, &[29], "/root")),
            ("5555", &[], (5555, 0, &[0], "/")),
            ("5555:6666", &[], (5555, 6666, &[6666], "/")),
            ("2147483647", &[], (2147483647, 0, &[0], "/")),
            ("nohome", &[], (3000, 3000, &[3000], "/")),
            ("5555", &["audio", "4242"], (5555, 0, &[0, 29, 4242], "/")),
        ];
        for (user, add, (uid, gid, groups, home)) in cases {
            let expected = (*uid, *gid, groups.to_vec(), (*home).to_owned());
            assert_eq!(
                id(user, add).unwrap_or_else(|e| panic!("{user}: {e}")),
                expected,
                "{user}"
            );
        }
    }

    #[test]
    fn an_image_without_files_knows_numbers_only() {
        let dir = tempfile::tempdir().unwrap();
        let view = RootfsView::new(None, vec![dir.path().into()]);
        let root = resolve(&view, "", &[]).unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/"));
        assert_eq!(resolve(&view, "7:8", &[]).unwrap().gid, 8);
        assert!(matches!(
            resolve(&view, "root", &[]),
            Err(UserError::UnknownUser { .. })
        ));
    }

    #[test]
    fn errors_in_dockers_words() {
        for (user, add, message) in [
            (
                "joe",
                &[][..],
                "unable to find user joe: no matching entries in passwd file",
            ),
            (
                "app:joe",
                &[],
                "unable to find group joe: no matching entries in group file",
            ),
            (
                "app",
                &["joe"],
                "unable to find group joe: no matching entries in group file",
            ),
            (
                "2147483648",
                &[],
                "2147483648: uids and gids must be in range 0-2147483647",
            ),
            ("-1", &[], "-1: uids and gids must be in range 0-2147483647"),
            (
                "4294967296",
                &[],
                "4294967296: uids and gids must be in range 0-2147483647",
            ),
            (
                "99999999999999999999999",
                &[],
                "99999999999999999999999: uids and gids must be in range 0-2147483647",
            ),
            (
                "0:4294967296",
                &[],
                "4294967296: uids and gids must be in range 0-2147483647",
            ),
            (
                "0",
                &["-5"],
                "-5: uids and gids must be in range 0-2147483647",
            ),
            (
                "bad",
                &[],
                "/etc/passwd of the image: the entry of \"bad\" has no valid id",
            ),
            (
                "big",
                &[],
                "4294967296: uids and gids must be in range 0-2147483647",
            ),
            (
                "app:huge",
                &[],
                "9999999999: uids and gids must be in range 0-2147483647",
            ),
        ] {
            assert_eq!(id(user, add).unwrap_err().to_string(), message, "{user}");
        }
    }

    #[test]
    fn a_home_with_control_characters_is_refused_by_name() {
        for user in ["evil", "cr", "4000"] {
            let message = id(user, &[]).unwrap_err().to_string();
            assert!(message.contains("control characters"), "{message}");
        }
        let message = with(b"x:x:1:1::/a\0b:\n", b"", "x", &[])
            .unwrap_err()
            .to_string();
        assert!(message.contains("user \"x\""), "{message}");
    }

    #[test]
    fn hostile_files_are_refused() {
        let long = [&b"root:x:0:0::/"[..], &[b'a'; MAX_PASSWD_LINE]].concat();
        assert!(matches!(
            with(&long, b"", "", &[]),
            Err(UserError::LongLine { line: 1, .. })
        ));
        let huge = b"x:x:1:1::/:\n".repeat(1 << 20);
        assert!(matches!(
            with(&huge, b"", "", &[]),
            Err(UserError::File(ViewError::TooLarge { .. }))
        ));
        let groups: String = (1..=65537).map(|n| format!("g{n}:x:{n}:root\n")).collect();
        let passwd = b"root:x:0:0::/root:\n";
        assert!(matches!(
            with(passwd, groups.as_bytes(), "", &[]),
            Err(UserError::TooManyGroups { .. })
        ));
        assert_eq!(
            with(b"root:x:0:0::/r\xffoot:\n", b"", "", &[])
                .unwrap()
                .home,
            "/r\u{fffd}oot"
        );
    }
}
