//! One instruction: what its line says.

use std::ops::Range;

use super::ast::*;
use super::copy;
use super::error::ParseErrorKind as Kind;
use super::flags::{self, Flags};
use super::lines::Line;
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

/// What a line says.
#[derive(Debug)]
pub(super) enum Statement {
    From(From),
    Other(Instruction),
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
    pub fn statement(&self, split: Split, failures: &mut Failures) -> Option<Statement> {
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
            word.text.push('\n');
            word.text.push_str(&heredoc.content);
            word.text.push_str(&heredoc.name);
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
