//! Cleaning of member names.

use crate::MemberProblem;

/// Components a name may have.
const MAX_DEPTH: usize = 1024;
/// Bytes a name may have.
const MAX_LENGTH: usize = 32 * 1024;

/// The name without `/` in front, `.` and `..`; empty for the root. A name that leads out of the root is refused.
pub(super) fn clean(name: &[u8]) -> Result<Vec<u8>, MemberProblem> {
    if name.contains(&0) {
        return Err(MemberProblem::InvalidName);
    }
    if name.len() > MAX_LENGTH {
        return Err(MemberProblem::NameTooLong);
    }
    let mut clean = Vec::with_capacity(name.len());
    let mut depth = 0;
    for component in components(name) {
        if component == b".." {
            if depth == 0 {
                return Err(MemberProblem::Escapes);
            }
            depth -= 1;
            clean.truncate(split(&clean).0.len());
        } else {
            depth += 1;
            push(&mut clean, component);
        }
    }
    if depth > MAX_DEPTH {
        return Err(MemberProblem::NameTooLong);
    }
    Ok(clean)
}

/// The components of a path that say something.
pub(super) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&b| b == b'/')
        .filter(|c| !c.is_empty() && *c != b".")
}

/// Parent and last component of a clean path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Appends a component to a clean path.
pub(super) fn push(path: &mut Vec<u8>, component: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(component);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans() {
        let ok = |name: &str| String::from_utf8(clean(name.as_bytes()).unwrap()).unwrap();
        assert_eq!(ok("./"), "");
        assert_eq!(ok("/etc/passwd"), "etc/passwd");
        assert_eq!(ok("a//b/./c/"), "a/b/c");
        assert_eq!(ok("a/b/../../c"), "c");
        assert_eq!(ok("a/..b/...c"), "a/..b/...c");
        for bad in ["..", "../a", "a/../../b", "/../etc"] {
            assert_eq!(clean(bad.as_bytes()), Err(MemberProblem::Escapes), "{bad}");
        }
        assert_eq!(clean(b"a\0b"), Err(MemberProblem::InvalidName));
        assert_eq!(
            clean("a/".repeat(2000).as_bytes()),
            Err(MemberProblem::NameTooLong)
        );
    }
}
