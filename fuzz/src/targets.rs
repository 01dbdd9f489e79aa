//! What each target asks of its input: not only that nothing panics.

use crate::dockerfile::{self, Expander, LintOptions, RunMount};
use crate::ignore::{Ignore, Matches};

/// A Dockerfile: what is parsed can be printed, and read again for the same; what is wrong is told with its place.
pub fn dockerfile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let parsed = match dockerfile::parse(text) {
        Ok(parsed) => parsed,
        Err(errors) => {
            assert!(!errors.errors().is_empty());
            let lines = text.lines().count() as u32;
            for error in errors.errors() {
                assert!(error.span.start <= error.span.end, "{error}");
                assert!(error.span.start.line <= lines.max(1), "{error}");
                assert_eq!(error.excerpt().lines().count(), 2, "{error}");
            }
            return;
        }
    };
    let printed = dockerfile::print(&parsed.file);
    let again = dockerfile::parse(&printed).unwrap_or_else(|errors| panic!("{printed}\n{errors}"));
    assert_eq!(dockerfile::print(&again.file), printed);
    let kinds = |file: &dockerfile::Dockerfile| -> Vec<usize> {
        file.stages
            .iter()
            .map(|stage| stage.instructions.len())
            .collect()
    };
    assert_eq!(kinds(&parsed.file), kinds(&again.file), "{printed}");
    let ignore = Ignore::parse("*.o\nsrc/**").expect("patterns");
    let empty = |_: &str| Some(Vec::new());
    let options = LintOptions {
        ignore: Some(&ignore),
        base_env: Some(&empty),
        ..LintOptions::default()
    };
    let _ = dockerfile::lint(&parsed, &options).failure();
}

/// A .dockerignore, an empty line, and paths: a walk says what a single question says, and nothing below a directory
/// that can be skipped is wanted.
pub fn dockerignore(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (patterns, paths) = text
        .split_once("\n\n")
        .unwrap_or((text, "a/b\nsrc/main.rs"));
    let Ok(ignore) = Ignore::parse(patterns) else {
        return;
    };
    for path in paths
        .lines()
        .filter(|path| !path.is_empty() && path.len() < 200)
    {
        let mut above = Matches::default();
        let mut hidden = false;
        let mut skipped = false;
        for end in path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()])
        {
            (hidden, above) = ignore.check(&path[..end], &above);
            assert!(
                !skipped || hidden,
                "{path:?} is wanted below what can be skipped"
            );
            skipped = skipped || (hidden && ignore.can_skip_dir(&path[..end]));
        }
        assert_eq!(hidden, ignore.is_ignored(path, false), "{path:?}");
    }
}

/// A word: expanded with and without its variables set; a mount; ports; a duration.
pub fn word(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for escape in ['\\', '`'] {
        let expander = Expander::new(escape);
        let _ = expander.expand_all(text, &|_| None);
        let _ = expander.expand_all(text, &|name| Some(format!("{name} <$x>")));
        let _ = expander.expand_heredoc(text, &|name| Some(name.to_owned()));
        let _ = expander.expand_for_display(text, &|_| None);
    }
    let _ = RunMount::parse(text);
    let _ = dockerfile::exposed_ports(text);
    let _ = dockerfile::parse_duration(text);
    let _ = dockerfile::parse_trigger(text);
}
