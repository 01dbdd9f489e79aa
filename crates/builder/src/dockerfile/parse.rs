//! From text to tree.

use super::ast::*;
use super::error::{ParseError, ParseErrorKind as Kind, ParseErrors};
use super::heredoc::{self, Mark};
use super::lines::{DirectiveError, Line, Lines};
use super::lint::{Rule, Warning};
use super::statement::{Context, Failure, Failures, Statement};
use super::words::{self, Split};

/// A file that follows the rules, and what may be wrong with it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The file.
    pub file: Dockerfile,
    /// What the tree does not show: [`Rule::NoEmptyContinuation`]. [`super::lint`] tells the rest, and obeys
    /// `# check=`, which has not been applied to these.
    pub warnings: Vec<Warning>,
}

/// Parses a file, all of it even after an error, so that every error is told at once.
pub fn parse(text: &str) -> Result<Parsed, ParseErrors> {
    let mut reading = Reading::new(text);
    let mut global_args = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    let mut told_of_stage = false;
    while let Some((statement, span)) = reading.next_statement() {
        match (statement, stages.last_mut()) {
            (Statement::From(from), _) => stages.push(Stage {
                from,
                instructions: Vec::new(),
            }),
            (Statement::Other(instruction), Some(stage)) => stage.instructions.push(instruction),
            (Statement::Other(instruction), None) => match instruction.kind {
                InstructionKind::Arg(_) => global_args.push(instruction),
                _ if !told_of_stage => {
                    told_of_stage = true;
                    reading.fail(Failure {
                        span,
                        kind: Kind::BeforeFrom,
                        hint: None,
                    });
                }
                _ => {}
            },
        }
    }
    if reading.errors.is_empty() && stages.is_empty() {
        let kind = if global_args.is_empty() {
            Kind::Empty
        } else {
            Kind::NoStages
        };
        reading.fail_at_end(kind);
    }
    let Reading {
        lines,
        errors,
        warnings,
        ..
    } = reading;
    if !errors.is_empty() {
        return Err(ParseErrors::new(errors));
    }
    let mut directives = Directives {
        syntax: None,
        escape: lines.escape,
        check: None,
    };
    for directive in lines.directives {
        let word = Word {
            text: directive.value,
            span: directive.span,
        };
        match directive.name {
            "syntax" => directives.syntax = Some(word),
            "check" => directives.check = Some(word),
            _ => {}
        }
    }
    Ok(Parsed {
        file: Dockerfile {
            directives,
            global_args,
            stages,
        },
        warnings,
    })
}

/// Parses a trigger that ONBUILD left in an image: exactly one instruction, neither FROM, MAINTAINER nor ONBUILD.
/// The escape character is a backslash.
pub fn parse_trigger(text: &str) -> Result<Instruction, ParseErrors> {
    let mut reading = Reading::new(text);
    let mut found = None;
    while let Some((statement, span)) = reading.next_statement() {
        let kind = match statement {
            Statement::From(_) => Kind::OnbuildTrigger("FROM"),
            Statement::Other(Instruction {
                kind: InstructionKind::Onbuild(_),
                ..
            }) => Kind::OnbuildChain,
            Statement::Other(Instruction {
                kind: InstructionKind::Maintainer(_),
                ..
            }) => Kind::OnbuildTrigger("MAINTAINER"),
            Statement::Other(instruction) if found.is_none() => {
                found = Some(instruction);
                continue;
            }
            Statement::Other(_) => Kind::TriggerCount,
        };
        reading.fail(Failure {
            span,
            kind,
            hint: None,
        });
    }
    match found {
        Some(instruction) if reading.errors.is_empty() => Ok(instruction),
        _ => {
            if reading.errors.is_empty() {
                reading.fail_at_end(Kind::TriggerCount);
            }
            Err(ParseErrors::new(reading.errors))
        }
    }
}

/// A file being read.
struct Reading<'a> {
    text: &'a str,
    lines: Lines<'a>,
    errors: Vec<ParseError>,
    warnings: Vec<Warning>,
}

impl<'a> Reading<'a> {
    fn new(text: &'a str) -> Self {
        Reading {
            text,
            lines: Lines::new(text),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn fail(&mut self, failure: Failure) {
        let Failure { span, kind, hint } = failure;
        self.errors
            .push(ParseError::new(self.text, span, kind, hint));
    }

    fn fail_at_end(&mut self, kind: Kind) {
        let at = Position {
            line: self.lines.number().max(1),
            column: 1,
        };
        self.errors.push(ParseError::new(
            self.text,
            Span { start: at, end: at },
            kind,
            None,
        ));
    }

    /// The next statement without an error, and the place of its keyword.
    fn next_statement(&mut self) -> Option<(Statement, Span)> {
        loop {
            let line = match self.lines.next_line() {
                Ok(line) => line?,
                Err(DirectiveError { span, kind }) => {
                    self.errors
                        .push(ParseError::new(self.text, span, kind, None));
                    return None;
                }
            };
            if line.empty_continuation {
                let at = Position {
                    line: line.last,
                    column: 1,
                };
                self.warnings.push(Warning::new(
                    Rule::NoEmptyContinuation,
                    Span { start: at, end: at },
                    &[],
                ));
            }
            let escape = self.lines.escape;
            let split = words::split(&line.text, 0..line.text.len(), escape);
            let keyword = line.span(split.keyword.clone());
            let heredocs = self.heredocs(&line, &split)?;
            let mut failures = Failures::new();
            let context = Context {
                line: &line,
                escape,
                heredocs,
            };
            let statement = context.statement(split, &mut failures);
            if failures.is_empty()
                && let Some(statement) = statement
            {
                return Some((statement, keyword));
            }
            for failure in failures {
                self.fail(failure);
            }
        }
    }

    /// The heredocs marked on a line; `None`, and an error, if the file ends within one.
    fn heredocs(&mut self, line: &Line, split: &Split) -> Option<Vec<Heredoc>> {
        if !may_hold_heredocs(line, split, self.lines.escape) {
            return Some(Vec::new());
        }
        let mut heredocs = Vec::new();
        for Mark {
            name,
            expand,
            strip_tabs,
        } in heredoc::marks(&line.text)
        {
            let Some((content, span)) = self.lines.heredoc(&name, strip_tabs) else {
                let at = line.text.find("<<").unwrap_or(0);
                let span = line.span(words::trim(&line.text, at..line.text.len()));
                self.fail(Failure {
                    span,
                    kind: Kind::UnterminatedHeredoc(name),
                    hint: None,
                });
                return None;
            };
            heredocs.push(Heredoc {
                name,
                expand,
                strip_tabs,
                content,
                span,
            });
        }
        Some(heredocs)
    }
}

/// RUN, COPY and ADD, or ONBUILD of one of them, unless in JSON form.
fn may_hold_heredocs(line: &Line, split: &Split, escape: char) -> bool {
    let inner;
    let mut split = split;
    let keyword = |split: &Split| {
        line.text
            .get(split.keyword.clone())
            .unwrap_or("")
            .to_ascii_uppercase()
    };
    if keyword(split) == "ONBUILD" {
        inner = words::split(&line.text, split.arguments.clone(), escape);
        split = &inner;
    }
    let text = line.text.get(split.arguments.clone()).unwrap_or("");
    matches!(keyword(split).as_str(), "RUN" | "COPY" | "ADD")
        && text.contains("<<")
        && words::json(text) == words::Json::No
}
