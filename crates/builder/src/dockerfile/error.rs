//! What is wrong with a Dockerfile, and where.

use std::fmt;

use super::ast::{Position, Span};

/// Everything wrong with a file: at least one error, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseErrors(Vec<ParseError>);

impl ParseErrors {
    /// `errors` must not be empty.
    pub(super) fn new(errors: Vec<ParseError>) -> Self {
        debug_assert!(!errors.is_empty());
        ParseErrors(errors)
    }

    /// The errors, in the order of the file.
    pub fn errors(&self) -> &[ParseError] {
        &self.0
    }
}

impl std::error::Error for ParseErrors {}

/// Each error with the line it is about and a caret beneath, an empty line between two.
impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f, "\n")?;
            }
            write!(f, "{error}\n{}", error.excerpt)?;
        }
        Ok(())
    }
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The word or instruction it is about.
    pub span: Span,
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// What was probably meant, where the word is a misspelling.
    pub hint: Option<String>,
    /// The line and a caret, as [`excerpt`] makes it.
    excerpt: String,
}

impl ParseError {
    pub(super) fn new(text: &str, span: Span, kind: ParseErrorKind, hint: Option<String>) -> Self {
        let excerpt = excerpt(text, span);
        ParseError {
            span,
            kind,
            hint,
            excerpt,
        }
    }

    /// The line it is about, with a caret beneath; two lines, no newline at the end.
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }
}

impl std::error::Error for ParseError {}

/// One line: `dockerfile parse error on line 3: unknown instruction: FRM (did you mean FROM?)`.
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "dockerfile parse error on line {}: {}",
            self.span.start.line, self.kind
        )?;
        match &self.hint {
            Some(hint) => write!(f, " (did you mean {hint}?)"),
            None => Ok(()),
        }
    }
}

/// The ways to be wrong; the texts are BuildKit's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ParseErrorKind {
    #[error("file with no instructions")]
    Empty,
    #[error("dockerfile contains no stages to build")]
    NoStages,
    #[error("no build stage in current context")]
    BeforeFrom,
    #[error("only one {0} parser directive can be used")]
    DuplicateDirective(&'static str),
    #[error("invalid escape token '{0}' does not match ` or \\")]
    InvalidEscape(String),
    #[error("invalid check option {0:?}")]
    CheckOption(String),
    #[error("unknown instruction: {0}")]
    UnknownInstruction(String),
    #[error("unknown flag: --{0}")]
    UnknownFlag(String),
    #[error("duplicate flag specified: --{0}")]
    DuplicateFlag(String),
    #[error("missing a value on flag: --{0}")]
    FlagWithoutValue(String),
    #[error("expecting boolean value for flag --{flag}, not: {value}")]
    FlagNotBoolean { flag: String, value: String },
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    JsonNotStrings,
    #[error("{0} requires the arguments to be in JSON form")]
    NotJson(&'static str),
    #[error("{0} requires at least one argument")]
    AtLeastOneArgument(&'static str),
    #[error("{0} requires exactly one argument")]
    ExactlyOneArgument(&'static str),
    #[error(
        "{0} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NoDestination(&'static str),
    #[error("{0} cannot accept a heredoc as a destination")]
    HeredocDestination(&'static str),
    #[error("unterminated heredoc")]
    UnterminatedHeredoc(String),
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    #[error(
        "invalid name for build stage: {0:?}, name can't start with a number or contain symbols"
    )]
    StageName(String),
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    #[error("Syntax error - can't find = in {0:?}. Must be of the form: name=value")]
    NoEquals(String),
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error("invalid network mode {0:?}")]
    Network(String),
    #[error("security {0:?} is not valid")]
    Security(String),
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround"
    )]
    VariableInFrom,
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    VariableInMountFrom,
    #[error("failed to parse csv mounts: {0}")]
    MountCsv(String),
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNoneArguments,
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthcheckNoCommand,
    #[error("Unknown type {0:?} in HEALTHCHECK (try CMD)")]
    HealthcheckType(String),
    #[error("time: invalid duration {0:?}")]
    Duration(String),
    #[error("Interval {0:?} cannot be less than 1ms")]
    ShortInterval(&'static str),
    #[error("--retries must be a number, not {0:?}")]
    Retries(String),
    #[error("--retries cannot be negative ({0})")]
    NegativeRetries(i64),
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildChain,
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger(&'static str),
    #[error("onbuild trigger should be a single expression")]
    TriggerCount,
}

/// The line `span` begins on, numbered, and carets beneath what it spans there: two lines, no newline at the end.
/// For any message about a place in `text`.
pub fn excerpt(text: &str, span: Span) -> String {
    let Position { line, column } = span.start;
    let source = text
        .lines()
        .nth(line.saturating_sub(1) as usize)
        .unwrap_or("");
    let source: String = source
        .trim_start_matches('\u{feff}')
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let length = source.chars().count() as u32;
    let end = if span.end.line == line {
        span.end.column
    } else {
        length + 1
    };
    let width = end.min(length + 1).saturating_sub(column).max(1) as usize;
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let indent = " ".repeat(column.saturating_sub(1) as usize);
    format!(
        "{number} | {source}\n{gutter} | {indent}{}",
        "^".repeat(width)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(line: u32, from: u32, to_line: u32, to: u32) -> Span {
        Span {
            start: Position { line, column: from },
            end: Position {
                line: to_line,
                column: to,
            },
        }
    }

    #[test]
    fn an_excerpt_points_at_characters_not_bytes() {
        assert_eq!(
            excerpt("x\nRÜN ö y", span(2, 5, 2, 6)),
            "2 | RÜN ö y\n  |     ^"
        );
        assert_eq!(excerpt("\tRUN x", span(1, 2, 1, 5)), "1 |  RUN x\n  |  ^^^");
    }

    #[test]
    fn what_goes_on_below_is_marked_to_the_end_of_its_first_line() {
        assert_eq!(
            excerpt("RUN a \\\n  b", span(1, 1, 2, 4)),
            "1 | RUN a \\\n  | ^^^^^^^"
        );
    }

    #[test]
    fn a_place_that_is_not_there_is_no_reason_to_panic() {
        assert_eq!(excerpt("", span(1, 1, 1, 1)), "1 | \n  | ^");
        assert_eq!(excerpt("x", span(9, 4, 9, 9)), "9 | \n  |    ^");
    }
}
