//! Flags of instructions, `--name[=value]`.

use std::ops::Range;

use super::ast::Word;
use super::error::ParseErrorKind as Kind;
use super::lines::Line;
use super::statement::{Failure, Failures};
use super::suggest::nearest;
use super::words::RawFlag;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// `--link` or `--link=BOOL`.
    Bool,
    /// A value, once.
    Value,
    /// A value each time.
    Values,
}

/// The flags an instruction has.
pub(super) type Known = [(&'static str, Takes)];

pub(super) const NONE: &Known = &[];
pub(super) const FROM: &Known = &[("platform", Takes::Value)];
pub(super) const RUN: &Known = &[
    ("mount", Takes::Values),
    ("network", Takes::Value),
    ("security", Takes::Value),
];
pub(super) const COPY: &Known = &[
    ("chown", Takes::Value),
    ("from", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("exclude", Takes::Values),
    ("parents", Takes::Bool),
];
pub(super) const ADD: &Known = &[
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("keep-git-dir", Takes::Bool),
    ("checksum", Takes::Value),
    ("unpack", Takes::Bool),
    ("exclude", Takes::Values),
];
pub(super) const HEALTHCHECK: &Known = &[
    ("interval", Takes::Value),
    ("timeout", Takes::Value),
    ("start-period", Takes::Value),
    ("start-interval", Takes::Value),
    ("retries", Takes::Value),
];

/// The flags of one instruction.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<Flag>);

#[derive(Debug)]
struct Flag {
    name: &'static str,
    value: Word,
}

impl Flags {
    /// Flags as written, checked against those the instruction has; what is wrong goes into `failures`.
    pub fn check(
        line: &Line,
        raw: &[RawFlag],
        known: &'static Known,
        failures: &mut Failures,
    ) -> Self {
        let mut flags = Flags::default();
        for flag in raw {
            match flags.read(line, flag, known) {
                Ok(flag) => flags.0.push(flag),
                Err(failure) => failures.push(failure),
            }
        }
        flags
    }

    fn read(&self, line: &Line, raw: &RawFlag, known: &'static Known) -> Result<Flag, Failure> {
        let text = raw.text.strip_prefix("--").unwrap_or(&raw.text);
        let (given, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let source = line.text.get(raw.range.clone()).unwrap_or("");
        let equals = source
            .find('=')
            .map_or(raw.range.end, |at| raw.range.start + at);
        let name_range = raw.range.start..equals;
        let Some((name, takes)) = known.iter().find(|(name, _)| *name == given) else {
            let hint = nearest(given, known.iter().map(|(name, _)| *name), true);
            let kind = Kind::UnknownFlag(given.to_owned());
            return Err(Failure {
                span: line.span(name_range),
                kind,
                hint,
            });
        };
        let wrong = |range: Range<usize>, kind| {
            Err(Failure {
                span: line.span(range),
                kind,
                hint: None,
            })
        };
        if *takes != Takes::Values && self.0.iter().any(|flag| flag.name == *name) {
            return wrong(name_range, Kind::DuplicateFlag((*name).to_owned()));
        }
        let value = match (takes, value) {
            (Takes::Bool, None) => "true",
            (_, None) | (Takes::Bool, Some("")) => {
                return wrong(
                    raw.range.clone(),
                    Kind::FlagWithoutValue((*name).to_owned()),
                );
            }
            (Takes::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
                "true" => "true",
                "false" => "false",
                _ => {
                    let kind = Kind::FlagNotBoolean {
                        flag: (*name).to_owned(),
                        value: value.to_owned(),
                    };
                    return wrong(raw.range.clone(), kind);
                }
            },
            (_, Some(value)) => value,
        };
        let value_range = (equals + 1).min(raw.range.end)..raw.range.end;
        Ok(Flag {
            name,
            value: Word {
                text: value.to_owned(),
                span: line.span(value_range),
            },
        })
    }

    pub fn take(&mut self, name: &str) -> Option<Word> {
        let at = self.0.iter().position(|flag| flag.name == name)?;
        Some(self.0.remove(at).value)
    }

    pub fn take_all(&mut self, name: &str) -> Vec<Word> {
        std::iter::from_fn(|| self.take(name)).collect()
    }

    pub fn take_bool(&mut self, name: &str) -> Option<bool> {
        self.take(name).map(|word| word.text == "true")
    }
}
