//! COPY and ADD.

use super::arguments::strip_tabs;
use super::ast::*;
use super::error::ParseErrorKind as Kind;
use super::expand::Expander;
use super::flags::Flags;
use super::heredoc;
use super::statement::{Context, Failure, Failures};
use super::words::Split;

pub(super) fn copy(
    context: &Context<'_>,
    name: &'static str,
    split: &Split,
    flags: &mut Flags,
    failures: &mut Failures,
) -> Option<Copy> {
    let mut words = context.list(&split.arguments, failures)?;
    let destination = words.pop().filter(|_| !words.is_empty());
    let Some(destination) = destination else {
        let range = if split.arguments.is_empty() {
            &split.keyword
        } else {
            &split.arguments
        };
        return context.refuse(failures, range, Kind::NoDestination(name));
    };
    if heredoc::mark(&destination.text).is_some() {
        return context.refuse(failures, &split.arguments, Kind::HeredocDestination(name));
    }
    let from = flags.take("from");
    if let Some(from) = &from
        && Expander::new(context.escape)
            .expand(&from.text, &|_| None)
            .ok()
            .as_ref()
            != Some(&from.text)
    {
        failures.push(Failure {
            span: from.span,
            kind: Kind::VariableInFrom,
            hint: None,
        });
        return None;
    }
    Some(Copy {
        sources: words
            .into_iter()
            .map(|word| source(context, word))
            .collect(),
        destination,
        from,
        chown: flags.take("chown"),
        chmod: flags.take("chmod"),
        link: flags.take_bool("link").unwrap_or(false),
        parents: flags.take_bool("parents").unwrap_or(false),
        exclude: flags.take_all("exclude"),
        checksum: flags.take("checksum"),
        keep_git_dir: flags.take_bool("keep-git-dir"),
        unpack: flags.take_bool("unpack"),
    })
}

fn source(context: &Context<'_>, word: Word) -> Source {
    let Some(mark) = heredoc::mark(&word.text) else {
        return Source::Path(word);
    };
    // Of several with one name the last counts, as it would be the last to be written.
    let heredoc = context
        .heredocs
        .iter()
        .rev()
        .find(|heredoc| heredoc.name == mark.name);
    Source::Heredoc(strip_tabs(heredoc.cloned().unwrap_or(Heredoc {
        // In JSON form there are no lines for it.
        name: mark.name,
        expand: mark.expand,
        strip_tabs: mark.strip_tabs,
        content: String::new(),
        span: word.span,
    })))
}
