//! From text to tree.

use std::ops::Range;

use super::ast::*;
use super::copy;
use super::error::{ParseError, ParseErrorKind as Kind, ParseErrors};
use super::flags::{self, Flags};
use super::heredoc::{self, Mark};
use super::lines::{DirectiveError, Line, Lines};
use super::lint::{Rule, Warning};
use super::suggest::nearest;
use super::words::{self, Split};

/// Something wrong in a line.
#[derive(Debug)]
pub(super) struct Failure {
    pub span: Span,
    pub kind: Kind,
    pub hint: Option<String>,
}

pub(super) type Failures = Vec<Failure>;

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

/// What a line says.
#[derive(Debug)]
pub(super) enum Statement {
    From(From),
    Other(Instruction),
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

/// A line with what its instruction may need.
pub(super) struct Context<'l> {
    pub line: &'l Line,
    pub escape: char,
    /// With their content as written.
    pub heredocs: Vec<Heredoc>,
}

/// Instructions, as they are suggested.
const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Context<'_> {
    pub fn text(&self, range: &Range<usize>) -> &str {
        self.line.text.get(range.clone()).unwrap_or("")
    }

    /// `None`, with the failure told.
    pub fn refuse<T>(
        &self,
        failures: &mut Failures,
        range: &Range<usize>,
        kind: Kind,
    ) -> Option<T> {
        failures.push(Failure {
            span: self.line.span(range.clone()),
            kind,
            hint: None,
        });
        None
    }

    pub fn word(&self, range: Range<usize>) -> Word {
        Word {
            text: self.text(&range).to_owned(),
            span: self.line.span(range),
        }
    }

    /// Everything of the instruction, heredocs included.
    fn span(&self) -> Span {
        let mut span = self
            .line
            .span(words::trim(&self.line.text, 0..self.line.text.len()));
        if let Some(heredoc) = self.heredocs.last() {
            span.end = heredoc.span.end;
        }
        span
    }

    /// What the line says; `None` only with a failure told.
    fn statement(&self, split: Split, failures: &mut Failures) -> Option<Statement> {
        let keyword = self.text(&split.keyword);
        let Some(name) = INSTRUCTIONS
            .into_iter()
            .find(|name| name.eq_ignore_ascii_case(keyword))
        else {
            let kind = Kind::UnknownInstruction(keyword.to_owned());
            let hint = nearest(keyword, INSTRUCTIONS, false);
            failures.push(Failure {
                span: self.line.span(split.keyword),
                kind,
                hint,
            });
            return None;
        };
        let source = self.line.display();
        let comments = self.line.comments.clone();
        let span = self.span();
        if name == "FROM" {
            return self
                .from(split, source, comments, failures)
                .map(Statement::From);
        }
        let kind = self.kind(name, split, failures)?;
        Some(Statement::Other(Instruction {
            kind,
            span,
            source,
            comments,
        }))
    }

    fn from(
        &self,
        split: Split,
        source: String,
        comments: Vec<String>,
        failures: &mut Failures,
    ) -> Option<From> {
        let mut flags = Flags::check(self.line, &split.flags, flags::FROM, failures);
        let words = words::between_blanks(&self.line.text, split.arguments.clone());
        let (image, name) = match words.as_slice() {
            [image] => (image, None),
            [image, keyword, name] if self.text(keyword).eq_ignore_ascii_case("as") => {
                (image, Some(name))
            }
            _ => {
                let range = if words.is_empty() {
                    split.keyword
                } else {
                    split.arguments
                };
                return self.refuse(failures, &range, Kind::FromArguments);
            }
        };
        let name = match name {
            None => None,
            Some(range) => {
                let mut word = self.word(range.clone());
                let written = std::mem::take(&mut word.text);
                word.text = written.to_lowercase();
                if !is_stage_name(&word.text) {
                    return self.refuse(failures, range, Kind::StageName(written));
                }
                Some(word)
            }
        };
        Some(From {
            image: self.word(image.clone()),
            platform: flags.take("platform"),
            name,
            span: self.span(),
            source,
            comments,
        })
    }

    /// An instruction other than FROM.
    fn kind(
        &self,
        name: &'static str,
        split: Split,
        failures: &mut Failures,
    ) -> Option<InstructionKind> {
        use InstructionKind as I;
        let known = match name {
            "RUN" => flags::RUN,
            "COPY" => flags::COPY,
            "ADD" => flags::ADD,
            "HEALTHCHECK" => flags::HEALTHCHECK,
            _ => flags::NONE,
        };
        let whole = |failures: &mut Failures| {
            if split.arguments.is_empty() {
                return self.refuse(failures, &split.keyword, Kind::ExactlyOneArgument(name));
            }
            Some(self.word(split.arguments.clone()))
        };
        // BuildKit takes no notice of flags of these two.
        if name == "ARG" {
            return self.args(&split, failures).map(I::Arg);
        }
        if name == "STOPSIGNAL" {
            return whole(failures).map(I::StopSignal);
        }
        if name == "HEALTHCHECK" {
            return self.healthcheck(&split, failures).map(I::Healthcheck);
        }
        let mut flags = Flags::check(self.line, &split.flags, known, failures);
        Some(match name {
            "RUN" => I::Run(self.run(&split, &mut flags, failures)?),
            "COPY" => I::Copy(copy::copy(self, "COPY", &split, &mut flags, failures)?),
            "ADD" => I::Add(copy::copy(self, "ADD", &split, &mut flags, failures)?),
            "ENV" => I::Env(self.pairs("ENV", &split, failures)?),
            "LABEL" => I::Label(self.pairs("LABEL", &split, failures)?),
            "WORKDIR" => I::Workdir(whole(failures)?),
            "USER" => I::User(whole(failures)?),
            "MAINTAINER" => I::Maintainer(whole(failures)?),
            "VOLUME" => I::Volume(self.volume(&split, failures)?),
            "EXPOSE" => I::Expose(self.expose(&split, failures)?),
            "CMD" => I::Cmd(self.command(split.arguments.clone(), failures)?),
            "ENTRYPOINT" => I::Entrypoint(self.command(split.arguments.clone(), failures)?),
            "SHELL" => I::Shell(self.shell(&split, failures)?),
            _ => I::Onbuild(self.onbuild(&split, failures)?),
        })
    }

    /// A trigger: read here only to tell what is wrong with it; it is kept as written.
    fn onbuild(&self, split: &Split, failures: &mut Failures) -> Option<Word> {
        let inner = words::split(&self.line.text, split.arguments.clone(), self.escape);
        let forbidden = match self.text(&inner.keyword).to_ascii_uppercase().as_str() {
            "" => Some(Kind::AtLeastOneArgument("ONBUILD")),
            "ONBUILD" => Some(Kind::OnbuildChain),
            "FROM" => Some(Kind::OnbuildTrigger("FROM")),
            "MAINTAINER" => Some(Kind::OnbuildTrigger("MAINTAINER")),
            _ => None,
        };
        if let Some(kind) = forbidden {
            let range = if inner.keyword.is_empty() {
                split.keyword.clone()
            } else {
                inner.keyword
            };
            return self.refuse(failures, &range, kind);
        }
        self.statement(inner, failures)?;
        let mut word = self.word(split.arguments.clone());
        for heredoc in &self.heredocs {
            let separator = if word.text.ends_with('\n') { "" } else { "\n" };
            word.text = format!(
                "{}{separator}{}{}",
                word.text, heredoc.content, heredoc.name
            );
            word.text.push('\n');
        }
        if !self.heredocs.is_empty() {
            word.text.pop();
        }
        Some(word)
    }
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}
