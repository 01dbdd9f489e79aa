//! `.dockerignore`, by Go's rules as Docker has them: `*` and `?` stop at a slash, `**` does not, `!` takes back, the
//! last pattern that matches decides, and what is below a directory that matches is matched with it.

use regex::Regex;

/// The patterns of a file.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// A line that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// Brackets without an end, an empty or reversed range, or a backslash at the end.
    #[error("syntax error in pattern {pattern:?} on line {line}")]
    Syntax {
        /// As written.
        pattern: String,
        /// From 1.
        line: usize,
    },
    /// A `!` with nothing behind it.
    #[error("illegal exclusion pattern: \"!\" on line {line}")]
    LoneExclamation {
        /// From 1.
        line: usize,
    },
}

/// Which patterns a directory matched; needed to judge what is in it. See [`Ignore::check`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches(Vec<bool>);

#[derive(Debug, Clone)]
struct Pattern {
    /// It takes back.
    exclusion: bool,
    /// Cleaned, without `!`.
    text: String,
    matcher: Matcher,
}

/// Kinds that need no regular expression are most.
#[derive(Debug, Clone)]
enum Matcher {
    Exact,
    /// `dir/**`.
    Prefix(String),
    /// `**/name` and `**name`.
    Suffix(String),
    Regex(Regex),
}

impl Ignore {
    /// Reads a `.dockerignore`. Lines that begin with `#` and empty ones say nothing; blanks around a pattern, a
    /// slash before and after it and superfluous `.` and `..` do not count.
    pub fn parse(text: &str) -> Result<Ignore, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = (1..).zip(text.lines());
        Self::collect(lines.filter(|(_, line)| !line.starts_with('#')))
    }

    /// Patterns on their own, as `--exclude` has them: `#` begins no comment. The line of an error is the number of the
    /// pattern.
    pub fn from_patterns<'p>(
        patterns: impl IntoIterator<Item = &'p str>,
    ) -> Result<Ignore, IgnoreError> {
        Self::collect((1..).zip(patterns))
    }

    fn collect<'p>(lines: impl Iterator<Item = (usize, &'p str)>) -> Result<Ignore, IgnoreError> {
        let mut patterns = Vec::new();
        for (line, written) in lines {
            let pattern = written.trim();
            if pattern.is_empty() {
                continue;
            }
            let (exclusion, pattern) = match pattern.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, pattern),
            };
            let mut pattern = if pattern.is_empty() {
                String::new()
            } else {
                clean(pattern)
            };
            if pattern.len() > 1 && pattern.starts_with('/') {
                pattern.remove(0);
            }
            if exclusion && matches!(pattern.as_str(), "" | "/") {
                return Err(IgnoreError::LoneExclamation { line });
            }
            let matcher = compile(&pattern).ok_or_else(|| IgnoreError::Syntax {
                pattern: written.trim().to_owned(),
                line,
            })?;
            patterns.push(Pattern {
                exclusion,
                text: pattern,
                matcher,
            });
        }
        Ok(Ignore { patterns })
    }

    /// Nothing is ignored.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Some pattern takes back.
    pub fn has_exclusions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exclusion)
    }

    /// A pattern that hides the whole of the context, such as `*`.
    pub fn hides_root(&self) -> bool {
        self.patterns
            .iter()
            .any(|p| !p.exclusion && matches!(p.text.as_str(), "*" | "**" | "**/*"))
    }

    /// Whether `path` is hidden: relative to the context, with `/` between its parts, none at its ends. A directory
    /// may be hidden and something in it not, see [`Self::can_skip_dir`]. By the rules a file and a directory of one
    /// name are the same.
    pub fn is_ignored(&self, path: &str, _is_dir: bool) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let mut above = Matches::default();
        for (slash, _) in path.match_indices('/') {
            if let Some(directory) = path.get(..slash) {
                above = self.check(directory, &above).1;
            }
        }
        self.check(path, &above).0
    }

    /// As [`Self::is_ignored`] for a walk: `above` is what this gave for the directory `path` is in, and
    /// `Matches::default()` at the top.
    pub fn check(&self, path: &str, above: &Matches) -> (bool, Matches) {
        let mut hidden = false;
        let mut matches = vec![false; self.patterns.len()];
        let above = above.0.iter().copied().chain(std::iter::repeat(false));
        for ((pattern, matched), above) in self.patterns.iter().zip(&mut matches).zip(above) {
            // A pattern that could not change anything is not even looked at, nor remembered for what is below.
            let matches = above || (pattern.exclusion == hidden && pattern.matches(path));
            *matched = matches;
            if matches {
                hidden = !pattern.exclusion;
            }
        }
        (hidden, Matches(matches))
    }

    /// Nothing below the hidden directory `path` can be taken back: it need not be read.
    pub fn can_skip_dir(&self, path: &str) -> bool {
        let below = format!("{path}/");
        !self
            .patterns
            .iter()
            .any(|pattern| pattern.exclusion && pattern.may_match_below(&below))
    }
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact => path == self.text,
            Matcher::Prefix(prefix) => path.starts_with(prefix),
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix('/').is_some_and(|name| path == name)
            }
            Matcher::Regex(regex) => regex.is_match(path),
        }
    }

    fn may_match_below(&self, directory: &str) -> bool {
        match &self.matcher {
            Matcher::Exact => self.text.starts_with(directory),
            _ => {
                let literal = self
                    .text
                    .find(['*', '?', '[', '\\'])
                    .unwrap_or(self.text.len());
                let literal = self.text.get(..literal).unwrap_or("");
                literal.starts_with(directory) || directory.starts_with(literal)
            }
        }
    }
}

/// The shortest path of the same meaning, as Go's filepath.Clean.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// `None` for a pattern that breaks the rules.
fn compile(pattern: &str) -> Option<Matcher> {
    enum Kind {
        Exact,
        Prefix,
        Suffix,
        Regex,
    }
    let mut kind = Kind::Exact;
    let mut regex = String::from("^");
    let mut rest = pattern.chars().peekable();
    let mut at_start = true;
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                // `**/` is any directory, or none.
                rest.next_if_eq(&'/');
                let at_end = rest.peek().is_none();
                regex.push_str(if at_end { ".*" } else { "(.*/)?" });
                kind = match kind {
                    _ if at_start => Kind::Suffix,
                    Kind::Exact if at_end => Kind::Prefix,
                    _ => Kind::Regex,
                };
            }
            '*' | '?' | '[' | '\\' => {
                match c {
                    '*' => regex.push_str("[^/]*"),
                    '?' => regex.push_str("[^/]"),
                    '[' => push_class(&mut rest, &mut regex)?,
                    _ => push_literal(&mut regex, rest.next()?),
                }
                kind = Kind::Regex;
            }
            c => push_literal(&mut regex, c),
        }
        at_start = false;
    }
    regex.push('$');
    Some(match kind {
        Kind::Exact => Matcher::Exact,
        Kind::Prefix => Matcher::Prefix(pattern.strip_suffix("**")?.to_owned()),
        Kind::Suffix => Matcher::Suffix(pattern.strip_prefix("**")?.to_owned()),
        Kind::Regex => Matcher::Regex(Regex::new(&regex).ok()?),
    })
}

/// After `[`: `^` for all others, then characters and ranges, up to `]`. `None` if there is no end, nothing in it, or
/// a range that has no beginning or runs backwards.
fn push_class(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    regex: &mut String,
) -> Option<()> {
    let bound = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| match rest.next()? {
        '-' | ']' => None,
        '\\' => rest.next(),
        c => Some(c),
    };
    regex.push('[');
    if rest.next_if_eq(&'^').is_some() {
        regex.push('^');
    }
    loop {
        let low = bound(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() {
            bound(rest)?
        } else {
            low
        };
        if high < low {
            return None;
        }
        push_literal(regex, low);
        regex.push('-');
        push_literal(regex, high);
        if rest.next_if_eq(&']').is_some() {
            regex.push(']');
            return Some(());
        }
    }
}

fn push_literal(regex: &mut String, c: char) {
    regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

#[cfg(test)]
#[path = "ignore_tests.rs"]
mod tests;
