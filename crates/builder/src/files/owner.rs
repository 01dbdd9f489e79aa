//! `--chown`.

use super::error::{FilesError, Result};
use super::tree::Tree;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// Of a passwd or group file in an image.
const MAX_FILE: u64 = 10 << 20;

/// What `USER[:GROUP]` means in a root file system: `24` is 24:24, `24:` is 24:0, a user's name brings the user's group.
///
/// # Errors
/// [`FilesError::UnknownOwner`] for a name that is not in the image's files, [`FilesError::OwnerRange`].
pub fn parse_owner(rootfs: &Tree, value: &str) -> Result<(u32, u32)> {
    let (user, group) = match value.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (value, None),
    };
    let (uid, own_gid) = match number(user)? {
        Some(uid) => (uid, uid),
        None => find(rootfs, PASSWD, "user", user)?,
    };
    let gid = match group {
        None => own_gid,
        Some(group) => match number(group)? {
            Some(gid) => gid,
            None => find(rootfs, GROUP, "group", group)?.0,
        },
    };
    Ok((uid, gid))
}

/// A number, or what needs no looking up.
fn number(word: &str) -> Result<Option<u32>> {
    if word.is_empty() || word == "root" {
        return Ok(Some(0));
    }
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match word.parse::<i32>() {
        Ok(number) if number >= 0 => Ok(Some(number.unsigned_abs())),
        _ => Err(FilesError::OwnerRange { value: word.into() }),
    }
}

/// Third and fourth field of the first line whose first field is the name.
fn find(rootfs: &Tree, file: &'static str, what: &'static str, name: &str) -> Result<(u32, u32)> {
    let content = rootfs.read(file, MAX_FILE)?.unwrap_or_default();
    let content = String::from_utf8_lossy(&content);
    let line = content
        .lines()
        .map(str::trim)
        .find(|line| line.split(':').next() == Some(name));
    let Some(line) = line else {
        return Err(FilesError::UnknownOwner {
            what,
            name: name.into(),
            file,
        });
    };
    let mut fields = line.split(':').skip(2);
    let mut id = || {
        let field = fields.next().unwrap_or_default();
        match field.parse::<u32>() {
            Ok(id) if i32::try_from(id).is_ok() => Ok(id),
            _ => Err(FilesError::OwnerRange {
                value: field.into(),
            }),
        }
    };
    let first = id()?;
    Ok((first, if file == PASSWD { id()? } else { 0 }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn rootfs(dir: &tempfile::TempDir) -> Tree {
        Tree::rootfs(std::fs::File::open(dir.path()).unwrap().into())
    }

    #[test]
    fn numbers_names_and_halves() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let passwd = "root:x:0:0::/:\napp:x:1000:1001::/:\nbig:x:4294967295:0::/:\n";
        std::fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(dir.path().join("etc/group"), "wheel:x:10:root\n").unwrap();
        let tree = rootfs(&dir);
        for (value, expected) in [
            ("24", (24, 24)),
            ("24:", (24, 0)),
            (":24", (0, 24)),
            ("1:2", (1, 2)),
            ("app", (1000, 1001)),
            ("app:wheel", (1000, 10)),
            ("app:", (1000, 0)),
            ("55:wheel", (55, 10)),
            ("root:root", (0, 0)),
        ] {
            assert_eq!(parse_owner(&tree, value).unwrap(), expected, "{value}");
        }
        for (value, message) in [
            (
                "joe",
                "unable to find user joe: no matching entries in /etc/passwd",
            ),
            (
                "app:joe",
                "unable to find group joe: no matching entries in /etc/group",
            ),
            ("-1", "-1: uids and gids must be in range 0-2147483647"),
            (
                "4294967296",
                "4294967296: uids and gids must be in range 0-2147483647",
            ),
            (
                "big",
                "4294967295: uids and gids must be in range 0-2147483647",
            ),
        ] {
            assert_eq!(parse_owner(&tree, value).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_hosts_files_are_never_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(parse_owner(&rootfs(&dir), "daemon").is_err());
        symlink("/etc", dir.path().join("etc")).unwrap();
        assert!(parse_owner(&rootfs(&dir), "daemon").is_err());
    }
}
