//! Rules about how the file is written and about its FROM lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::{LintOptions, Report, Rule, global_variables};
use crate::dockerfile::suggest::nearest;
use crate::dockerfile::{Dockerfile, Expander, From, Instruction, InstructionKind, Span};

pub(super) fn lint(file: &Dockerfile, options: &LintOptions<'_>, report: &mut Report<'_>) {
    casing(file, report);
    stage_names(file, report);
    descriptions(file, report);
    for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
        if matches!(instruction.kind, InstructionKind::Maintainer(_)) {
            report.tell(
                &instruction.comments,
                Rule::MaintainerDeprecated,
                instruction.span,
                &[],
            );
        }
    }
    default_images(file, options, report);
    let env = global_variables(file, options, true);
    let declared: BTreeSet<&str> = file.global_args.iter().flat_map(declared_names).collect();
    let known: Vec<&str> = env.keys().map(String::as_str).chain(declared).collect();
    for stage in &file.stages {
        undefined_in_from(&stage.from, file.directives.escape, &env, &known, report);
        platform(&stage.from, file.directives.escape, &env, report);
    }
}

/// The keyword as written.
pub(super) fn keyword(source: &str) -> &str {
    source.split_whitespace().next().unwrap_or("")
}

fn declared_names(instruction: &Instruction) -> Vec<&str> {
    match &instruction.kind {
        InstructionKind::Arg(args) => args.iter().map(|arg| arg.name.text.as_str()).collect(),
        _ => Vec::new(),
    }
}

fn is_lower(text: &str) -> bool {
    text == text.to_lowercase()
}

fn is_upper(text: &str) -> bool {
    text == text.to_uppercase()
}

/// All instructions in the case that most have.
fn casing(file: &Dockerfile, report: &mut Report<'_>) {
    let keywords: Vec<(&str, Span)> = file
        .stages
        .iter()
        .flat_map(|stage| {
            let from = (keyword(&stage.from.source), stage.from.span);
            let others = stage
                .instructions
                .iter()
                .map(|other| (keyword(&other.source), other.span));
            std::iter::once(from).chain(others)
        })
        .collect();
    let lower = keywords.iter().filter(|(word, _)| is_lower(word)).count();
    let upper = keywords.iter().filter(|(word, _)| is_upper(word)).count();
    for (word, span) in keywords {
        let wanted = match lower > upper {
            true if !is_lower(word) => "lowercase",
            false if !is_upper(word) => "uppercase",
            _ => continue,
        };
        report.tell(
            &[],
            Rule::ConsistentInstructionCasing,
            span,
            &[word, wanted],
        );
    }
}

fn stage_names(file: &Dockerfile, report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    for from in file.stages.iter().map(|stage| &stage.from) {
        let Some(name) = &from.name else { continue };
        let name = name.text.as_str();
        let words: Vec<&str> = from.source.split_whitespace().collect();
        if let [from_word, .., as_word, written] = words.as_slice() {
            if !is_lower(written) {
                report.tell(&from.comments, Rule::StageNameCasing, from.span, &[written]);
            }
            let mixed = match (is_lower(from_word), is_upper(from_word)) {
                (true, _) => !is_lower(as_word),
                (_, true) => !is_upper(as_word),
                _ => false,
            };
            if mixed {
                report.tell(
                    &from.comments,
                    Rule::FromAsCasing,
                    from.span,
                    &[from_word, as_word],
                );
            }
        }
        if matches!(name, "context" | "scratch") {
            report.tell(&[], Rule::ReservedStageName, from.span, &[name]);
        }
        if !seen.insert(name) {
            report.tell(&[], Rule::DuplicateStageName, from.span, &[name]);
        }
    }
}

/// The comment above a declaration begins with what is declared.
fn descriptions(file: &Dockerfile, report: &mut Report<'_>) {
    let mut check = |comments: &[String], span, keyword, names: &[&str]| {
        let Some(first) = comments
            .last()
            .and_then(|comment| comment.split(' ').next())
        else {
            return;
        };
        let example = match names {
            [] => return,
            [one] => one,
            _ => "<arg_key>",
        };
        if !names.contains(&first) {
            report.tell(
                comments,
                Rule::InvalidDefinitionDescription,
                span,
                &[keyword, example],
            );
        }
    };
    let in_stages = file.stages.iter().flat_map(|stage| &stage.instructions);
    for instruction in file.global_args.iter().chain(in_stages) {
        check(
            &instruction.comments,
            instruction.span,
            "ARG",
            &declared_names(instruction),
        );
    }
    for from in file.stages.iter().map(|stage| &stage.from) {
        let name: Vec<&str> = from.name.iter().map(|name| name.text.as_str()).collect();
        check(&from.comments, from.span, "FROM", &name);
    }
}

/// Without `--build-arg`, every FROM names an image.
fn default_images(file: &Dockerfile, options: &LintOptions<'_>, report: &mut Report<'_>) {
    let env = global_variables(file, options, false);
    let expander = Expander::new(file.directives.escape);
    for from in file.stages.iter().map(|stage| &stage.from) {
        let Ok(name) = expander.expand(&from.image.text, &|name| env.get(name).cloned()) else {
            return;
        };
        if !is_reference(&name) {
            report.tell(
                &[],
                Rule::InvalidDefaultArgInFrom,
                from.span,
                &[&from.image.text],
            );
        }
    }
}

fn is_reference(name: &str) -> bool {
    static REFERENCE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let domain = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?";
        let part = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*";
        let tag = r"\w[\w.-]{0,127}";
        let digest = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
        Regex::new(&format!(
            r"^(?-u)(?:{domain}/)?{part}(?:/{part})*(?::{tag})?(?:@{digest})?$"
        ))
        .ok()
    });
    let is_id = name.len() == 64
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    !is_id
        && REFERENCE
            .as_ref()
            .is_some_and(|reference| reference.is_match(name))
}

fn undefined_in_from(
    from: &From,
    escape: char,
    env: &BTreeMap<String, String>,
    known: &[&str],
    report: &mut Report<'_>,
) {
    let expander = Expander::new(escape);
    for word in [Some(&from.image), from.platform.as_ref()]
        .into_iter()
        .flatten()
    {
        let Ok(expanded) = expander.expand_all(&word.text, &|name| env.get(name).cloned()) else {
            continue;
        };
        for name in expanded
            .unmatched
            .iter()
            .filter(|name| !known.contains(&name.as_str()))
        {
            let hint = nearest(name, known.iter().copied(), true);
            let hint = hint.map_or_else(String::new, |hint| format!(" (did you mean {hint}?)"));
            report.tell_more(
                &from.comments,
                Rule::UndefinedArgInFrom,
                from.span,
                &[name],
                &hint,
            );
        }
    }
}

fn platform(from: &From, escape: char, env: &BTreeMap<String, String>, report: &mut Report<'_>) {
    let Some(platform) = &from.platform else {
        return;
    };
    let Ok(expanded) =
        Expander::new(escape).expand_all(&platform.text, &|name| env.get(name).cloned())
    else {
        return;
    };
    const TARGET: &str = "TARGETPLATFORM";
    let only_target = expanded.matched.len() == 1 && expanded.matched.contains(TARGET);
    if only_target && expanded.unmatched.is_empty() && env.get(TARGET) == Some(&expanded.text) {
        report.tell(
            &from.comments,
            Rule::RedundantTargetPlatform,
            from.span,
            &[&platform.text],
        );
    }
    if expanded.matched.is_empty() && expanded.unmatched.is_empty() {
        let name = from.name.as_ref().map_or("", |name| name.text.as_str());
        if let Some((os, architecture)) = parse_platform(&expanded.text)
            && !name.contains(&os)
            && !name.contains(&architecture)
        {
            report.tell(
                &from.comments,
                Rule::FromPlatformFlagConstDisallowed,
                from.span,
                &[&expanded.text],
            );
        }
    }
}

/// `os/architecture[/variant]`, or one of the two alone.
fn parse_platform(text: &str) -> Option<(String, String)> {
    let text = text.to_lowercase();
    let architecture = |name: &str| match name {
        "x86_64" | "x86-64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        "armhf" | "armel" => "arm".to_owned(),
        "i386" => "386".to_owned(),
        name => name.to_owned(),
    };
    let valid = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > 3 || !parts.iter().all(|part| valid(part)) {
        return None;
    }
    let host = || architecture(std::env::consts::ARCH);
    match parts.as_slice() {
        [os @ ("linux" | "windows" | "darwin" | "freebsd" | "wasi")] => {
            Some(((*os).to_owned(), host()))
        }
        [name] => Some(("linux".to_owned(), architecture(name))),
        [os, name, ..] => Some(((*os).to_owned(), architecture(name))),
        [] => None,
    }
}
