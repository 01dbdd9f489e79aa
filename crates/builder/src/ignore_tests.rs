use super::*;

fn ignored(patterns: &str, path: &str) -> bool {
    Ignore::parse(patterns)
        .unwrap_or_else(|error| panic!("{error}"))
        .is_ignored(path, false)
}

#[test]
fn one_pattern() {
    for (pattern, path, expected) in [
        ("a", "a", true),
        ("a", "a/b/c", true),
        ("a", "b/a", false),
        ("/a/", "a/b", true),
        ("./a/../b", "b", true),
        ("*", "a", true),
        ("*", "a/b", true),
        ("*.go", "a.go", true),
        ("*.go", "d/a.go", false),
        ("*/*.go", "d/a.go", true),
        ("*/*.go", "d/e/a.go", false),
        ("**", "a", true),
        ("**", "a/b", true),
        ("**/", "a/b", true),
        ("**/**", "a/b", true),
        ("a/**", "a", false),
        ("a/**", "a/b/c", true),
        ("**/a", "a", true),
        ("**/a", "x/y/a", true),
        ("**/a", "xa", false),
        ("**/a", "x/a/b", true),
        ("**a", "xa", true),
        ("**a", "x/ya", true),
        ("**/a*.txt", "a.txt", true),
        ("**/a*.txt", "x/y/ab.txt", true),
        ("**/a*.txt", "x/y/ab.txtx", false),
        ("**/*.txt", "a.txt", true),
        ("**/**/*.txt", "x/a.txt", true),
        ("**/x/*", "y/x/z", true),
        ("**/x/**", "y/x/z/w", true),
        ("a**/*.txt", "a/x/b.txt", true),
        ("a/*.txt**", "a/b.txt", true),
        ("a**b", "ab", true),
        ("a**b", "a/x/b", true),
        ("a**b", "axb", false),
        ("a?c", "abc", true),
        ("a?c", "a/c", false),
        ("a?c", "aäc", true),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aee", false),
        ("a[^b-d]e", "aze", true),
        ("a[^b-d]e", "ace", false),
        ("[a-ζ]", "α", true),
        ("[*&~]x", "&x", true),
        ("[*&~]x", "*x", true),
        ("[*&~]x", "ax", false),
        (".*", ".git", true),
        (".*", "git", false),
        ("a.b", "axb", false),
        ("a.b*", "axb", false),
        ("a(b)c", "a(b)c", true),
        ("a+b|c{$}*", "a+b|c{$}d", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a\\\\", "a\\", true),
        ("a b", "a b", true),
        ("  a  ", "a", true),
        ("#a", "#a", false),
        (" #a", "#a", true),
        ("\\#a", "#a", true),
        ("..", "a", false),
        (".", "a", false),
        ("/", "a", false),
    ] {
        assert_eq!(ignored(pattern, path), expected, "{pattern:?} {path:?}");
    }
}

#[test]
fn the_last_pattern_that_matches_decides() {
    for (patterns, path, expected) in [
        ("*\n!a", "a", false),
        ("*\n!a", "b", true),
        ("*\n!a", "a/b", false),
        ("!a\n*", "a", true),
        ("docs\n!docs/README.md", "docs/README.md", false),
        ("docs\n!docs/README.md", "docs/x", true),
        ("docs/\n! /docs/README.md", "docs/README.md", false),
        ("**\n!src/**", "src/a", false),
        ("**\n!a/b\na/b/c", "a/b/c", true),
        ("**\n!a/b\na/b/c", "a/b/d", false),
        (
            "*.md\n!README*.md\nREADME-secret.md",
            "README-secret.md",
            true,
        ),
        (
            "*.md\n!README*.md\nREADME-secret.md",
            "README-public.md",
            false,
        ),
        // As a walk sees it: `!a` had nothing to take back at `a`, so it does not count below.
        ("a/b\n!a", "a/b", true),
    ] {
        assert_eq!(ignored(patterns, path), expected, "{patterns:?} {path:?}");
    }
}

#[test]
fn a_walk_gives_what_single_questions_give() {
    let ignore = Ignore::parse("a\n!a/b\n**/*.o\n!a/b/keep.o\nx/y/**").expect("patterns");
    for path in [
        "a",
        "a/b",
        "a/b/c",
        "a/b/d.o",
        "a/b/keep.o",
        "a/c",
        "x",
        "x/y",
        "x/y/z",
        "q.o",
    ] {
        let mut above = Matches::default();
        let mut hidden = false;
        for end in path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()])
        {
            (hidden, above) = ignore.check(&path[..end], &above);
        }
        assert_eq!(hidden, ignore.is_ignored(path, false), "{path}");
    }
}

#[test]
fn comments_empty_lines_mark_and_carriage_returns_say_nothing() {
    let ignore = Ignore::parse("\u{feff}a\r\n# b\r\n\r\n   \r\nc").expect("patterns");
    assert!(ignore.is_ignored("a", false) && ignore.is_ignored("c", true));
    assert!(!ignore.is_ignored("b", false) && !ignore.is_ignored("# b", false));
    assert!(!ignore.has_exclusions() && !ignore.is_empty());
    assert!(Ignore::parse("#").expect("patterns").is_empty());
}

#[test]
fn patterns_that_break_the_rules() {
    for pattern in [
        "[", "a[", "[]", "[]a]", "[^]", "[a-]", "[-a]", "[b-a]", "[a", "a\\", "x*\\",
    ] {
        let error = Ignore::parse(&format!("ok\n{pattern}")).expect_err(pattern);
        assert_eq!(
            error,
            IgnoreError::Syntax {
                pattern: pattern.into(),
                line: 2
            }
        );
    }
    for pattern in ["!", "! ", "!/"] {
        let error = Ignore::parse(pattern).expect_err(pattern);
        assert_eq!(error, IgnoreError::LoneExclamation { line: 1 });
    }
}

#[test]
fn a_directory_is_skipped_unless_something_in_it_may_be_taken_back() {
    for (patterns, directory, expected) in [
        ("a", "a", true),
        ("a\n!a/b/c", "a", false),
        ("a\n!a/b/c", "a/b", false),
        ("a\n!a/b/c", "a/c", true),
        ("*\n!src/*.rs", "src", false),
        ("*\n!src/*.rs", "target", true),
        ("*\n!**/*.rs", "target", false),
        ("*\n!src/**", "src/deep", false),
        ("*\n!s?c/a", "sXc", false),
        ("*\n!abc", "ab", true),
    ] {
        let ignore = Ignore::parse(patterns).expect("patterns");
        assert_eq!(
            ignore.can_skip_dir(directory),
            expected,
            "{patterns:?} {directory}"
        );
    }
}

#[test]
fn what_hides_everything() {
    for (patterns, expected) in [
        ("*", true),
        ("**", true),
        ("**/*", true),
        ("a", false),
        ("!*", false),
    ] {
        assert_eq!(
            Ignore::parse(patterns).expect("patterns").hides_root(),
            expected,
            "{patterns}"
        );
    }
}
