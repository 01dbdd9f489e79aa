//! An instruction's line taken apart: keyword, flags, and words in the several ways instructions split them.

use std::ops::Range;

/// A flag with its quotes and escapes removed, and where it stands in the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawFlag {
    pub text: String,
    pub range: Range<usize>,
}

/// Keyword, flags and the rest of a line.
#[derive(Debug)]
pub(super) struct Split {
    pub keyword: Range<usize>,
    pub flags: Vec<RawFlag>,
    /// Without blanks around it.
    pub arguments: Range<usize>,
}

/// What separates the words of most instructions; other blanks of Unicode do not.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\x0b' | '\x0c')
}

/// `range` without the blanks around it.
pub(super) fn trim(line: &str, range: Range<usize>) -> Range<usize> {
    let text = line.get(range.clone()).unwrap_or("");
    let start = range.start + (text.len() - text.trim_start().len());
    let end = start + text.trim().len();
    start..end
}

pub(super) fn split(line: &str, range: Range<usize>, escape: char) -> Split {
    let whole = trim(line, range);
    let text = line.get(whole.clone()).unwrap_or("");
    let length = text.find(is_blank).unwrap_or(text.len());
    let keyword = whole.start..whole.start + length;
    let (flags, rest) = flags(line, keyword.end..whole.end, escape);
    Split {
        keyword,
        flags,
        arguments: trim(line, rest..whole.end),
    }
}

/// The words that begin with `--`, up to the first that does not or is only that; and where the rest begins.
fn flags(line: &str, range: Range<usize>, escape: char) -> (Vec<RawFlag>, usize) {
    let mut flags = Vec::new();
    let mut at = range.start;
    loop {
        let rest = line.get(at..range.end).unwrap_or("");
        let blanks = rest.len() - rest.trim_start().len();
        let start = at + blanks;
        let rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, start);
        }
        let (text, length) = flag_word(rest, escape);
        at = start + length;
        if text == "--" {
            return (flags, at);
        }
        flags.push(RawFlag {
            text,
            range: start..at,
        });
    }
}

/// The first word of `text` without its quotes and escapes, and its length in `text`.
fn flag_word(text: &str, escape: char) -> (String, usize) {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (out, at),
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape => out.extend(chars.next().map(|(_, c)| c)),
            _ => out.push(c),
        }
    }
    (out, text.len())
}

/// Words between blanks.
pub(super) fn between_blanks(line: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let text = line.get(range.clone()).unwrap_or("");
    let mut words = Vec::new();
    let mut at = range.start;
    for word in text.split(is_blank) {
        if !word.is_empty() {
            words.push(at..at + word.len());
        }
        at += word.len() + 1;
    }
    words
}

/// Words between blanks outside quotes, as ENV, LABEL and ARG have them. Quotes and escapes stay, but for an escape
/// character that ends the line.
pub(super) fn quoted_words(line: &str, range: Range<usize>, escape: char) -> Vec<Range<usize>> {
    let text = line.get(range.clone()).unwrap_or("");
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|start| start..at));
            continue;
        }
        let begun = *start.get_or_insert(at);
        match quote {
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(open) if c == open => quote = None,
            Some('\'') => {}
            _ if c == escape && chars.next().is_none() => {
                start = None;
                words.extend((begun < at).then_some(begun..at));
            }
            _ => {}
        }
    }
    words.extend(start.map(|start| start..text.len()));
    words
        .into_iter()
        .map(|word| range.start + word.start..range.start + word.end)
        .collect()
}

/// A JSON array in the exec form.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Json {
    /// An array of strings.
    Strings(Vec<String>),
    /// An array that holds something else.
    NotStrings,
    /// No array: the shell form.
    No,
}

pub(super) fn json(text: &str) -> Json {
    if !text.starts_with('[') {
        return Json::No;
    }
    let Ok(serde_json::Value::Array(items)) = serde_json::from_str(text) else {
        return Json::No;
    };
    let strings = items.into_iter().map(|item| match item {
        serde_json::Value::String(string) => Some(string),
        _ => None,
    });
    strings
        .collect::<Option<_>>()
        .map_or(Json::NotStrings, Json::Strings)
}
