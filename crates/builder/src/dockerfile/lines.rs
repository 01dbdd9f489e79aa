//! Physical lines joined to logical ones, each character knowing where it came from.

use std::cell::Cell;
use std::ops::Range;

use super::ast::{Position, Span};
use super::error::ParseErrorKind;

/// An instruction's line: continuation lines joined, comments and empty lines among them left out.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub text: String,
    pieces: Vec<Piece>,
    /// The place asked for last. Words are asked for in order: in a line of a megabyte none is counted from its beginning.
    asked: Cell<Piece>,
    /// Comments right above.
    pub comments: Vec<String>,
    /// An empty line stood among the continuation lines.
    pub empty_continuation: bool,
    /// Its last physical line.
    pub last: u32,
}

/// From `offset` on, the text is that of `line` from `column` on.
#[derive(Debug, Clone, Copy)]
struct Piece {
    offset: usize,
    line: u32,
    column: u32,
}

impl Line {
    fn position(&self, offset: usize) -> Position {
        let at = self.pieces.partition_point(|piece| piece.offset <= offset);
        let Some(piece) = at.checked_sub(1).and_then(|at| self.pieces.get(at)) else {
            return Position {
                line: self.last,
                column: 1,
            };
        };
        let asked = self.asked.get();
        let near = asked.line == piece.line && (piece.offset..=offset).contains(&asked.offset);
        let from = if near { asked } else { *piece };
        let between = self.text.get(from.offset..offset).unwrap_or("");
        let column = from.column + between.chars().count() as u32;
        self.asked.set(Piece {
            offset,
            line: piece.line,
            column,
        });
        Position {
            line: piece.line,
            column,
        }
    }

    /// Where a part of the text stands in the file.
    pub fn span(&self, range: Range<usize>) -> Span {
        let start = self.position(range.start);
        // The end is the place after the last character, not the first of the next physical line.
        let end = match self
            .text
            .get(range.clone())
            .and_then(|part| part.chars().next_back())
        {
            Some(last) => {
                let Position { line, column } = self.position(range.end - last.len_utf8());
                Position {
                    line,
                    column: column + 1,
                }
            }
            None => start,
        };
        Span { start, end }
    }

    /// The text with the blanks around each line's end made one.
    pub fn display(&self) -> String {
        let ends = self
            .pieces
            .iter()
            .skip(1)
            .map(|piece| piece.offset)
            .chain([self.text.len()]);
        let mut out = String::with_capacity(self.text.len());
        let mut blank = false;
        let mut from = 0;
        for end in ends {
            let part = self.text.get(from..end).unwrap_or("");
            from = end;
            let words = part.trim();
            if words.is_empty() {
                blank |= !part.is_empty();
                continue;
            }
            blank |= part.starts_with(char::is_whitespace);
            if blank && !out.is_empty() {
                out.push(' ');
            }
            out.push_str(words);
            blank = part.ends_with(char::is_whitespace);
        }
        out
    }
}

/// A parser directive: its name in lower case, its value and where the value stands.
#[derive(Debug)]
pub(super) struct Directive {
    pub name: &'static str,
    pub value: String,
    pub span: Span,
}

/// Reads a file line by line.
pub(super) struct Lines<'a> {
    rest: std::str::SplitInclusive<'a, char>,
    /// The number of the line read last.
    number: u32,
    pub escape: char,
    pub directives: Vec<Directive>,
    reading_directives: bool,
    comments: Vec<String>,
}

/// What is wrong with a directive; nothing after it can be read.
#[derive(Debug)]
pub(super) struct DirectiveError {
    pub span: Span,
    pub kind: ParseErrorKind,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Self {
        Lines {
            rest: text
                .strip_prefix('\u{feff}')
                .unwrap_or(text)
                .split_inclusive('\n'),
            number: 0,
            escape: '\\',
            directives: Vec::new(),
            reading_directives: true,
            comments: Vec::new(),
        }
    }

    /// The next physical line with its newline.
    fn next_raw(&mut self) -> Option<&'a str> {
        let line = self.rest.next()?;
        self.number += 1;
        Some(line)
    }

    /// The number of the line read last.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The next line that holds an instruction.
    pub fn next_line(&mut self) -> Result<Option<Line>, DirectiveError> {
        while let Some(raw) = self.next_raw() {
            let line = trim_newline(raw).trim_start();
            let skipped = trim_newline(raw).len() - line.len();
            if let Some(comment) = line.strip_prefix('#') {
                if !self.directive(raw, line)? {
                    match comment.trim() {
                        "" => self.comments.clear(),
                        comment => self.comments.push(comment.to_owned()),
                    }
                }
                continue;
            }
            // A line like `#!/bin/docker` leaves the directives that follow it in force.
            self.reading_directives = false;
            let (head, mut goes_on) = self.trim_continuation(line);
            if head.is_empty() && !goes_on {
                self.comments.clear();
                continue;
            }
            let first = Piece {
                offset: 0,
                line: self.number,
                column: raw.get(..skipped).map_or(0, |s| s.chars().count()) as u32 + 1,
            };
            let mut joined = Line {
                text: head.to_owned(),
                pieces: vec![first],
                asked: Cell::new(first),
                comments: std::mem::take(&mut self.comments),
                empty_continuation: false,
                last: self.number,
            };
            while goes_on && let Some(raw) = self.next_raw() {
                let line = trim_newline(raw);
                joined.last = self.number;
                match line.trim_start().chars().next() {
                    Some('#') => continue,
                    None => joined.empty_continuation = true,
                    Some(_) => {
                        let head;
                        (head, goes_on) = self.trim_continuation(line);
                        let offset = joined.text.len();
                        joined.pieces.push(Piece {
                            offset,
                            line: self.number,
                            column: 1,
                        });
                        joined.text.push_str(head);
                    }
                }
            }
            return Ok(Some(joined));
        }
        Ok(None)
    }

    /// The lines up to `name`, each with its newline, and where they stand; `None` if the file ends first.
    pub fn heredoc(&mut self, name: &str, strip_tabs: bool) -> Option<(String, Span)> {
        let start = Position {
            line: self.number + 1,
            column: 1,
        };
        let mut content = String::new();
        while let Some(raw) = self.next_raw() {
            let mut line = trim_newline(raw);
            if strip_tabs {
                line = line.trim_start_matches('\t');
            }
            if line == name {
                let column = trim_newline(raw).chars().count() as u32 + 1;
                let end = Position {
                    line: self.number,
                    column,
                };
                return Some((content, Span { start, end }));
            }
            content.push_str(raw);
        }
        None
    }

    /// Whether the line goes on below, and what it holds without the mark that says so. An escape character before
    /// the mark makes it an ordinary character.
    fn trim_continuation<'l>(&self, line: &'l str) -> (&'l str, bool) {
        let trimmed = line.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(self.escape) {
            Some(head) if !head.ends_with(self.escape) => (head, true),
            _ => (line, false),
        }
    }

    /// Whether the comment `line` is a directive.
    fn directive(&mut self, raw: &str, line: &str) -> Result<bool, DirectiveError> {
        if !self.reading_directives {
            return Ok(false);
        }
        if self.number == 1 && line.starts_with("#!") {
            return Ok(false);
        }
        let Some((name, value)) = split_directive(line) else {
            self.reading_directives = false;
            return Ok(false);
        };
        let offset = value.as_ptr() as usize - raw.as_ptr() as usize;
        let column = raw.get(..offset).map_or(0, |s| s.chars().count()) as u32 + 1;
        let width = value.chars().count() as u32;
        let span = Span {
            start: Position {
                line: self.number,
                column,
            },
            end: Position {
                line: self.number,
                column: column + width,
            },
        };
        if self.directives.iter().any(|known| known.name == name) {
            return Err(DirectiveError {
                span,
                kind: ParseErrorKind::DuplicateDirective(name),
            });
        }
        if name == "escape" {
            self.escape = match value {
                "\\" => '\\',
                "`" => '`',
                _ => {
                    return Err(DirectiveError {
                        span,
                        kind: ParseErrorKind::InvalidEscape(value.to_owned()),
                    });
                }
            };
        }
        if name == "check"
            && let Some(option) = super::lint::check_config(value)
        {
            return Err(DirectiveError {
                span,
                kind: ParseErrorKind::CheckOption(option),
            });
        }
        self.directives.push(Directive {
            name,
            value: value.to_owned(),
            span,
        });
        Ok(true)
    }
}

/// `# name = value` of a known name.
pub(super) fn split_directive(line: &str) -> Option<(&'static str, &str)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let value = value.trim();
    let name = name.trim_end().to_ascii_lowercase();
    let name = ["syntax", "escape", "check"]
        .into_iter()
        .find(|known| *known == name)?;
    (!value.is_empty()).then_some((name, value))
}

fn trim_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}
