//! Shell patterns of `${x#…}`, `${x%…}` and `${x/…/…}`: `*`, `?`, and a backslash before either, before another
//! backslash, or before the `}` and `/` that would end the pattern.

use std::fmt::Write;

use regex::Regex;

/// A pattern that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PatternError {
    #[error("invalid escape '\\{0}'")]
    Escape(char),
    #[error("a backslash at its end")]
    TrailingBackslash,
    #[error("it is too long")]
    TooLong,
}

enum Token {
    /// `*`.
    Many,
    /// `?`.
    One,
    Char(char),
}

fn tokens(pattern: &str) -> Result<Vec<Token>, PatternError> {
    let mut tokens = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '*' => Token::Many,
            '?' => Token::One,
            '\\' => match rest.next().ok_or(PatternError::TrailingBackslash)? {
                c @ ('*' | '?' | '\\' | '}' | '/') => Token::Char(c),
                c => return Err(PatternError::Escape(c)),
            },
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

fn regex<'t>(
    tokens: impl Iterator<Item = &'t Token>,
    greedy: bool,
    anchored: bool,
) -> Result<Regex, PatternError> {
    let mut out = String::from(if anchored { "^" } else { "" });
    for token in tokens {
        match token {
            Token::Many => out.push_str(if greedy { ".*" } else { ".*?" }),
            Token::One => out.push('.'),
            Token::Char(c) => {
                let _ = write!(out, "{}", regex::escape(c.encode_utf8(&mut [0; 4])));
            }
        }
    }
    Regex::new(&out).map_err(|_| PatternError::TooLong)
}

/// `value` without the shortest (`greedy`: longest) beginning that matches.
pub(super) fn trim_prefix(
    value: &str,
    pattern: &str,
    greedy: bool,
) -> Result<String, PatternError> {
    let regex = regex(tokens(pattern)?.iter(), greedy, true)?;
    let end = regex.find(value).map_or(0, |found| found.end());
    Ok(value.get(end..).unwrap_or("").to_owned())
}

/// `value` without the shortest (`greedy`: longest) end that matches.
pub(super) fn trim_suffix(
    value: &str,
    pattern: &str,
    greedy: bool,
) -> Result<String, PatternError> {
    // A regular expression finds the leftmost match: both are turned round.
    let regex = regex(tokens(pattern)?.iter().rev(), greedy, true)?;
    let turned: String = value.chars().rev().collect();
    let length = regex.find(&turned).map_or(0, |found| found.end());
    Ok(value.get(..value.len() - length).unwrap_or("").to_owned())
}

/// `value` with the first (`all`: every) longest match replaced. It ends early once it is longer than `limit`, which is
/// for the caller to refuse.
pub(super) fn replace(
    value: &str,
    pattern: &str,
    replacement: &str,
    all: bool,
    limit: usize,
) -> Result<String, PatternError> {
    let regex = regex(tokens(pattern)?.iter(), true, false)?;
    let (mut replaced, mut rest) = (String::new(), 0);
    for found in regex
        .find_iter(value)
        .take(if all { usize::MAX } else { 1 })
    {
        replaced += value.get(rest..found.start()).unwrap_or_default();
        replaced += replacement;
        rest = found.end();
        if replaced.len() > limit {
            break;
        }
    }
    Ok(replaced + value.get(rest..).unwrap_or_default())
}
