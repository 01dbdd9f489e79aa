//! Reads a text as a shell would: the machine behind [`super::Expander`] and the marks of heredocs.

use std::collections::BTreeSet;

use super::expand::{Env, ExpandError, ExpandErrorKind, Expanded};
use super::pattern;

/// `${a:-${b:-…}}` deeper than this is refused.
const MAX_DEPTH: usize = 100;
/// Variables make a text longer by no more than this, in bytes: `ENV A=$A$A`, over and over, has no other end.
pub(crate) const MAX_GROWTH: usize = 1 << 20;

/// How a text is read.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub escape: char,
    /// Quotes mean something.
    pub quotes: bool,
    /// Quotes stay in the result.
    pub raw_quotes: bool,
    /// Escape characters stay in the result.
    pub raw_escapes: bool,
    /// Variables that are not set stay as written.
    pub keep_unset: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            escape: '\\',
            quotes: true,
            raw_quotes: false,
            raw_escapes: false,
            keep_unset: false,
        }
    }
}

pub(super) fn run(text: &str, env: &Env<'_>, options: Options) -> Result<Expanded, ExpandError> {
    let mut reader = Reader {
        rest: text.chars().peekable(),
        env,
        options,
        matched: BTreeSet::new(),
        unmatched: BTreeSet::new(),
        depth: 0,
        limit: text.len().saturating_add(MAX_GROWTH),
    };
    let mut words = Words::default();
    let text = reader
        .until(None, options.raw_escapes, Some(&mut words))
        .map_err(|kind| ExpandError {
            word: text.to_owned(),
            kind,
        })?;
    let Reader {
        matched, unmatched, ..
    } = reader;
    Ok(Expanded {
        text,
        words: words.finish(),
        matched,
        unmatched,
    })
}

/// Words as they are put together.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
}

impl Words {
    fn end_word(&mut self) {
        if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    /// Blanks in `text` separate words.
    fn split(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.end_word()
            } else {
                self.current.push(c)
            }
        }
    }

    fn quoted(&mut self, text: &str) {
        self.current.push_str(text);
    }

    fn finish(mut self) -> Vec<String> {
        self.end_word();
        self.done
    }
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    env: &'a Env<'a>,
    options: Options,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
    depth: usize,
    /// Bytes of what it becomes.
    limit: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    /// Everything up to `stop`, which is taken, or to the end if there is none.
    fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
        mut words: Option<&mut Words>,
    ) -> Result<String, ExpandErrorKind> {
        let mut out = String::new();
        while let Some(c) = self.rest.next() {
            if Some(c) == stop {
                return Ok(out);
            }
            let (piece, splits) = match c {
                '$' => (self.dollar()?, true),
                '<' => (self.less_than(), false),
                '\'' if self.options.quotes => (self.single_quoted()?, false),
                '"' if self.options.quotes => (self.double_quoted(raw_escapes)?, false),
                c if c == self.options.escape => {
                    let mut piece = String::new();
                    if raw_escapes {
                        piece.push(c);
                    }
                    piece.extend(self.rest.next());
                    (piece, false)
                }
                c => (c.to_string(), true),
            };
            if let Some(words) = words.as_deref_mut() {
                if splits {
                    words.split(&piece)
                } else {
                    words.quoted(&piece)
                }
            }
            out.push_str(&piece);
            self.check(&out)?;
        }
        match stop {
            None => Ok(out),
            Some('/') => Err(ExpandErrorKind::MissingSlash),
            Some(_) => Err(ExpandErrorKind::MissingBrace),
        }
    }

    fn check(&self, out: &str) -> Result<(), ExpandErrorKind> {
        match out.len() > self.limit {
            true => Err(ExpandErrorKind::TooLong),
            false => Ok(()),
        }
    }

    /// After `'`: as it is, up to the next one.
    fn single_quoted(&mut self) -> Result<String, ExpandErrorKind> {
        let mut out = String::new();
        if self.options.raw_quotes {
            out.push('\'');
        }
        loop {
            match self
                .rest
                .next()
                .ok_or(ExpandErrorKind::OpenQuote("single"))?
            {
                '\'' => break,
                c => out.push(c),
            }
        }
        if self.options.raw_quotes {
            out.push('\'');
        }
        Ok(out)
    }

    /// After `"`: variables are replaced; `"`, `$` and the escape character can be escaped, before any other
    /// character the escape character is an ordinary one.
    fn double_quoted(&mut self, raw_escapes: bool) -> Result<String, ExpandErrorKind> {
        const OPEN: ExpandErrorKind = ExpandErrorKind::OpenQuote("double");
        let mut out = String::new();
        if self.options.raw_quotes {
            out.push('"');
        }
        loop {
            match self.rest.next().ok_or(OPEN)? {
                '"' => break,
                '$' => {
                    out.push_str(&self.dollar()?);
                    self.check(&out)?;
                }
                c if c == self.options.escape => {
                    if raw_escapes {
                        out.push(c);
                    }
                    match self.peek().ok_or(OPEN)? {
                        next if next == '"' || next == '$' || next == self.options.escape => {
                            out.extend(self.rest.next());
                        }
                        _ => out.push(c),
                    }
                }
                c => out.push(c),
            }
        }
        if self.options.raw_quotes {
            out.push('"');
        }
        Ok(out)
    }

    /// After `<`: the mark of a heredoc takes the blanks after it along.
    fn less_than(&mut self) -> String {
        let mut out = String::from("<");
        out.extend(self.rest.next_if_eq(&'<'));
        if out.len() == 2 {
            while let Some(c) = self.rest.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
                out.push(c);
            }
        }
        out
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = (self.env)(name);
        let names = if value.is_some() {
            &mut self.matched
        } else {
            &mut self.unmatched
        };
        if !name.is_empty() && !names.contains(name) {
            names.insert(name.to_owned());
        }
        value
    }

    /// After `$`.
    fn dollar(&mut self) -> Result<String, ExpandErrorKind> {
        if self.rest.next_if_eq(&'{').is_some() {
            if self.depth == MAX_DEPTH {
                return Err(ExpandErrorKind::TooDeep);
            }
            self.depth += 1;
            let value = self.braced();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(match self.lookup(&name) {
            Some(value) => value,
            None if self.options.keep_unset => format!("${name}"),
            None => String::new(),
        })
    }

    /// After `${`.
    fn braced(&mut self) -> Result<String, ExpandErrorKind> {
        match self.peek() {
            None => return Err(ExpandErrorKind::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandErrorKind::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let modifier = self.rest.next().ok_or(ExpandErrorKind::MissingBrace)?;
        match modifier {
            '}' => Ok(match self.lookup(&name) {
                Some(value) => value,
                None if self.options.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            ':' => {
                let modifier = self.rest.next().ok_or(ExpandErrorKind::MissingBrace)?;
                match modifier {
                    '-' | '+' | '?' => self.with_default(&name, modifier, true),
                    _ => Err(ExpandErrorKind::Modifier(format!(":{modifier}"))),
                }
            }
            '-' | '+' | '?' => self.with_default(&name, modifier, false),
            '#' | '%' => self.trimmed(&name, modifier),
            '/' => self.replaced(&name),
            _ => Err(ExpandErrorKind::Modifier(modifier.to_string())),
        }
    }

    /// `-`, `+` and `?`; after a colon an empty value counts as none.
    fn with_default(
        &mut self,
        name: &str,
        modifier: char,
        colon: bool,
    ) -> Result<String, ExpandErrorKind> {
        let word = self.until(Some('}'), false, None)?;
        let value = self.lookup(name);
        if value.is_none() && self.options.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let usable = value.clone().filter(|value| !colon || !value.is_empty());
        match (modifier, usable) {
            ('+', Some(_)) | ('-', None) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let message = match (word.is_empty(), value) {
                    (false, _) => word,
                    (true, None) => "is not allowed to be unset".to_owned(),
                    (true, Some(_)) => "is not allowed to be empty".to_owned(),
                };
                Err(ExpandErrorKind::Demanded {
                    name: name.to_owned(),
                    message,
                })
            }
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trimmed(&mut self, name: &str, modifier: char) -> Result<String, ExpandErrorKind> {
        let word = self.until(Some('}'), true, None)?;
        let value = self.lookup(name);
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        }
        let value = value.unwrap_or_default();
        let (pattern, greedy) = match word.strip_prefix(modifier) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let trimmed = match modifier {
            '#' => pattern::trim_prefix(&value, pattern, greedy),
            _ => pattern::trim_suffix(&value, pattern, greedy),
        };
        trimmed.map_err(|error| ExpandErrorKind::Pattern {
            pattern: pattern.to_owned(),
            error,
        })
    }

    /// `/` and `//`.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandErrorKind> {
        let all = self.rest.next_if_eq(&'/').is_some();
        let pattern = self.until(Some('/'), true, None)?;
        let replacement = self.until(Some('}'), true, None)?;
        let value = self.lookup(name);
        if value.is_none() && self.options.keep_unset {
            let slash = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slash}{pattern}/{replacement}}}"));
        }
        let value = value.unwrap_or_default();
        pattern::replace(&value, &pattern, &replacement, all, self.limit)
            .map_err(|error| ExpandErrorKind::Pattern { pattern, error })
    }

    /// A name: letters, digits and `_`; digits alone; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(c) = self.rest.next_if(|c| c.is_numeric()) {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.rest.next()),
            _ => {
                while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }
}
