//! What stands behind the keyword of each instruction but FROM, COPY and ADD.

use std::ops::Range;

use super::ast::*;
use super::duration;
use super::error::ParseErrorKind as Kind;
use super::flags::{self, Flags};
use super::heredoc;
use super::mount;
use super::statement::{Context, Failure, Failures};
use super::words::{self, Json, Split};

impl Context<'_> {
    /// The exec or the shell form.
    pub(super) fn command(&self, range: Range<usize>, failures: &mut Failures) -> Option<Command> {
        let text = self.text(&range);
        match words::json(text) {
            Json::Strings(words) => Some(Command::Exec(words)),
            Json::No => Some(Command::Shell(text.to_owned())),
            Json::NotStrings => self.refuse(failures, &range, Kind::JsonNotStrings),
        }
    }

    pub(super) fn run(
        &self,
        split: &Split,
        flags: &mut Flags,
        failures: &mut Failures,
    ) -> Option<Run> {
        let mounts = flags.take_all("mount");
        for mount in &mounts {
            if let Err(kind) = mount::check(&mount.text) {
                return refuse(failures, mount.span, kind);
            }
        }
        let network = flags.take("network");
        if let Some(mode) = &network
            && !matches!(mode.text.as_str(), "default" | "none" | "host")
        {
            return refuse(failures, mode.span, Kind::Network(mode.text.clone()));
        }
        let security = flags.take("security");
        if let Some(mode) = &security
            && !matches!(mode.text.as_str(), "sandbox" | "insecure")
        {
            return refuse(failures, mode.span, Kind::Security(mode.text.clone()));
        }
        let heredocs = self.heredocs.iter().cloned().map(strip_tabs).collect();
        let command = self.command(split.arguments.clone(), failures)?;
        Some(Run {
            command,
            heredocs,
            mounts,
            network,
            security,
        })
    }

    /// `name=value …`, or `name value`.
    pub(super) fn pairs(
        &self,
        name: &'static str,
        split: &Split,
        failures: &mut Failures,
    ) -> Option<Vec<Pair>> {
        let words = words::quoted_words(&self.line.text, split.arguments.clone(), self.escape);
        let Some(first) = words.first() else {
            return self.refuse(failures, &split.keyword, Kind::AtLeastOneArgument(name));
        };
        if !self.text(first).contains('=') {
            let text = self.text(&split.arguments);
            let Some(end) = text.find(words::is_blank) else {
                return self.refuse(failures, &split.arguments, Kind::TwoArguments(name));
            };
            let end = split.arguments.start + end;
            let value = words::trim(&self.line.text, end..split.arguments.end);
            let pair = Pair {
                name: self.word(split.arguments.start..end),
                value: self.word(value),
            };
            return Some(vec![pair]);
        }
        let mut pairs = Vec::with_capacity(words.len());
        for word in words {
            let Some(at) = self.text(&word).find('=') else {
                let kind = Kind::NoEquals(self.text(&word).to_owned());
                return self.refuse(failures, &word, kind);
            };
            if at == 0 {
                return self.refuse(failures, &word, Kind::BlankName(name));
            }
            let at = word.start + at;
            pairs.push(Pair {
                name: self.word(word.start..at),
                value: self.word(at + 1..word.end),
            });
        }
        Some(pairs)
    }

    pub(super) fn args(&self, split: &Split, failures: &mut Failures) -> Option<Vec<Arg>> {
        let words = words::quoted_words(&self.line.text, split.arguments.clone(), self.escape);
        if words.is_empty() {
            return self.refuse(failures, &split.keyword, Kind::AtLeastOneArgument("ARG"));
        }
        let mut args = Vec::with_capacity(words.len());
        for word in words {
            let arg = match self.text(&word).find('=') {
                None => Arg {
                    name: self.word(word),
                    default: None,
                },
                Some(0) => return self.refuse(failures, &word, Kind::BlankName("ARG")),
                Some(at) => Arg {
                    name: self.word(word.start..word.start + at),
                    default: Some(self.word(word.start + at + 1..word.end)),
                },
            };
            args.push(arg);
        }
        Some(args)
    }

    pub(super) fn expose(&self, split: &Split, failures: &mut Failures) -> Option<Vec<Word>> {
        let words = words::between_blanks(&self.line.text, split.arguments.clone());
        if words.is_empty() {
            return self.refuse(failures, &split.keyword, Kind::AtLeastOneArgument("EXPOSE"));
        }
        Some(words.into_iter().map(|word| self.word(word)).collect())
    }

    /// Words, or a JSON array of them.
    pub(super) fn list(&self, range: &Range<usize>, failures: &mut Failures) -> Option<Vec<Word>> {
        match words::json(self.text(range)) {
            Json::NotStrings => self.refuse(failures, range, Kind::JsonNotStrings),
            Json::Strings(words) => {
                let span = self.line.span(range.clone());
                Some(words.into_iter().map(|text| Word { text, span }).collect())
            }
            Json::No => {
                let words = words::between_blanks(&self.line.text, range.clone());
                Some(words.into_iter().map(|word| self.word(word)).collect())
            }
        }
    }

    pub(super) fn volume(&self, split: &Split, failures: &mut Failures) -> Option<Vec<Word>> {
        let mut words = self.list(&split.arguments, failures)?;
        if words.is_empty() {
            return self.refuse(failures, &split.keyword, Kind::AtLeastOneArgument("VOLUME"));
        }
        for word in &mut words {
            word.text = word.text.trim().to_owned();
            if word.text.is_empty() {
                return self.refuse(failures, &split.arguments, Kind::EmptyVolume);
            }
        }
        Some(words)
    }

    pub(super) fn shell(&self, split: &Split, failures: &mut Failures) -> Option<Vec<String>> {
        match words::json(self.text(&split.arguments)) {
            Json::Strings(words) if !words.is_empty() => Some(words),
            Json::Strings(_) => self.refuse(
                failures,
                &split.arguments,
                Kind::AtLeastOneArgument("SHELL"),
            ),
            Json::No if split.arguments.is_empty() => {
                self.refuse(failures, &split.keyword, Kind::AtLeastOneArgument("SHELL"))
            }
            Json::No => self.refuse(failures, &split.arguments, Kind::NotJson("SHELL")),
            Json::NotStrings => self.refuse(failures, &split.arguments, Kind::JsonNotStrings),
        }
    }

    pub(super) fn healthcheck(
        &self,
        split: &Split,
        failures: &mut Failures,
    ) -> Option<Healthcheck> {
        let text = self.text(&split.arguments);
        if text.is_empty() {
            return self.refuse(
                failures,
                &split.keyword,
                Kind::AtLeastOneArgument("HEALTHCHECK"),
            );
        }
        let length = text.find(char::is_whitespace).unwrap_or(text.len());
        let kind = split.arguments.start..split.arguments.start + length;
        let rest = words::trim(&self.line.text, kind.end..split.arguments.end);
        let written = self.text(&kind).to_uppercase();
        match written.as_str() {
            "NONE" if rest.is_empty() => Some(Healthcheck::None),
            "NONE" => self.refuse(failures, &rest, Kind::HealthcheckNoneArguments),
            "CMD" => {
                let mut flags = Flags::check(self.line, &split.flags, flags::HEALTHCHECK, failures);
                let command = self.command(rest, failures)?;
                if matches!(&command, Command::Exec(words) if words.is_empty())
                    || matches!(&command, Command::Shell(line) if line.is_empty())
                {
                    return self.refuse(failures, &kind, Kind::HealthcheckNoCommand);
                }
                self.health_options(command, &mut flags, failures)
            }
            _ => self.refuse(failures, &kind, Kind::HealthcheckType(written)),
        }
    }

    fn health_options(
        &self,
        command: Command,
        flags: &mut Flags,
        failures: &mut Failures,
    ) -> Option<Healthcheck> {
        let mut interval = |name: &'static str| -> Result<Option<Word>, (Span, Kind)> {
            let Some(word) = flags.take(name) else {
                return Ok(None);
            };
            match duration::parse(&word.text) {
                _ if word.text.is_empty() => Ok(Some(word)),
                Some(0 | 1_000_000..) => Ok(Some(word)),
                Some(_) => Err((word.span, Kind::ShortInterval(name))),
                None => Err((word.span, Kind::Duration(word.text))),
            }
        };
        let options = interval("interval").and_then(|first| {
            Ok((
                first,
                interval("timeout")?,
                interval("start-period")?,
                interval("start-interval")?,
            ))
        });
        let (interval, timeout, start_period, start_interval) = match options {
            Ok(options) => options,
            Err((span, kind)) => return refuse(failures, span, kind),
        };
        let retries = flags.take("retries");
        if let Some(word) = &retries
            && !word.text.is_empty()
        {
            match word.text.parse::<i32>() {
                Ok(0..) => {}
                Ok(negative) => {
                    return refuse(failures, word.span, Kind::NegativeRetries(negative.into()));
                }
                Err(_) => {
                    return refuse(failures, word.span, Kind::Retries(word.text.clone()));
                }
            }
        }
        Some(Healthcheck::Command {
            command,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        })
    }
}

/// `None`, with the failure told.
fn refuse<T>(failures: &mut Failures, span: Span, kind: Kind) -> Option<T> {
    failures.push(Failure {
        span,
        kind,
        hint: None,
    });
    None
}

/// The content as it is used.
pub(super) fn strip_tabs(mut heredoc: Heredoc) -> Heredoc {
    if heredoc.strip_tabs {
        heredoc.content = heredoc::without_tabs(&heredoc.content);
    }
    heredoc
}
