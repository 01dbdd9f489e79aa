//! Wildcards of one path component, by the rules of Go's `filepath.Match`: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a
//! character that shall mean itself.

/// Whether the word holds a wildcard.
pub(super) fn has_wildcard(word: &[u8]) -> bool {
    let mut bytes = word.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Whether the name matches; a malformed pattern matches nothing.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (pattern, name) = (characters(pattern), characters(name));
    // Where to go on when the characters after the last `*` do not match: it takes one more.
    let mut retry: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    loop {
        if pattern.get(p) == Some(&Character::Text('*')) {
            retry = Some((p, n));
            p += 1;
            continue;
        }
        if p == pattern.len() && n == name.len() {
            return true;
        }
        match step(&pattern[p..], name.get(n).copied()) {
            Step::Matches(length) => {
                p += length;
                n += 1;
            }
            Step::Malformed => return false,
            Step::Differs => match retry {
                Some((star, taken)) if taken < name.len() => {
                    retry = Some((star, taken + 1));
                    (p, n) = (star + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
}

/// Names need not be UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Character {
    Text(char),
    Byte(u8),
}

fn characters(bytes: &[u8]) -> Vec<Character> {
    let mut characters = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        characters.extend(chunk.valid().chars().map(Character::Text));
        characters.extend(chunk.invalid().iter().copied().map(Character::Byte));
    }
    characters
}

enum Step {
    /// One character of the name matches so many of the pattern.
    Matches(usize),
    Differs,
    Malformed,
}

fn step(pattern: &[Character], name: Option<Character>) -> Step {
    use Character::Text;
    let Some((first, rest)) = pattern.split_first() else {
        return Step::Differs;
    };
    let is = |wanted: &Character, length| match name {
        Some(name) if name == *wanted => Step::Matches(length),
        _ => Step::Differs,
    };
    match first {
        Text('?') if name.is_some() => Step::Matches(1),
        Text('?') => Step::Differs,
        Text('\\') => rest.first().map_or(Step::Malformed, |c| is(c, 2)),
        Text('[') => class(rest, name),
        other => is(other, 1),
    }
}

fn class(pattern: &[Character], name: Option<Character>) -> Step {
    use Character::Text;
    let negated = pattern.first() == Some(&Text('^'));
    let mut at = usize::from(negated);
    let mut found = false;
    let mut ranges = 0;
    loop {
        if pattern.get(at) == Some(&Text(']')) && ranges > 0 {
            at += 1;
            break;
        }
        let Some(low) = bound(pattern, &mut at) else {
            return Step::Malformed;
        };
        let mut high = low;
        if pattern.get(at) == Some(&Text('-')) {
            at += 1;
            match bound(pattern, &mut at) {
                Some(bound) => high = bound,
                None => return Step::Malformed,
            }
        }
        found |= name.is_some_and(|n| low <= n && n <= high);
        ranges += 1;
    }
    match name {
        Some(_) if found != negated => Step::Matches(1 + at),
        _ => Step::Differs,
    }
}

/// One end of a range.
fn bound(pattern: &[Character], at: &mut usize) -> Option<Character> {
    use Character::Text;
    let character = match pattern.get(*at)? {
        Text('-' | ']') => return None,
        Text('\\') => {
            *at += 1;
            pattern.get(*at)?
        }
        other => other,
    };
    *at += 1;
    Some(*character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_matches() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("a*b*c*d*e*", "axbxcxdxe", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "-", true),
            ("[]a]", "]", false),
            ("[-]", "-", false),
            ("[x-]", "x", false),
            ("[a-b-c]", "a", false),
            ("[", "a", false),
            ("[^", "a", false),
            ("a\\", "a", false),
            ("*x", "xxx", true),
            ("", "", true),
            ("*.txt", ".txt", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(matches(b"a?b", b"a\xffb"));
        assert!(matches(b"*b", b"\xff\xfeb"));
    }

    #[test]
    fn escaped_wildcards_are_none() {
        assert!(has_wildcard(b"a*"));
        assert!(has_wildcard(b"a\\\\*"));
        assert!(has_wildcard(b"[a]"));
        assert!(!has_wildcard(b"a\\*\\?\\["));
    }
}
