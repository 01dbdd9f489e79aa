//! What may be wrong with a file that follows the rules of the language: BuildKit's checks.

mod config;
mod file;
mod rules;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use super::ast::{Dockerfile, Span};
use super::parse::Parsed;
use crate::ignore::Ignore;
use config::Config;
pub(super) use config::check as check_config;
pub use rules::{Rule, Warning};

/// The environment of an image: names and values. `None` if it is not known.
pub type ImageEnv<'a> = dyn Fn(&str) -> Option<Vec<(String, String)>> + 'a;

/// What a file is judged by besides itself.
#[derive(Default)]
pub struct LintOptions<'a> {
    /// The context's `.dockerignore`, for [`Rule::CopyIgnoredFile`].
    pub ignore: Option<&'a Ignore>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// Global variables that need no declaration, such as TARGETPLATFORM, with their values.
    pub predefined: BTreeMap<String, String>,
    /// The environment of a base image. Where it is not known, undefined variables are not told of.
    pub base_env: Option<&'a ImageEnv<'a>>,
    /// The stages that are built, by number: only these are judged by what their instructions do. All if none.
    pub stages: Option<BTreeSet<usize>>,
    /// The value of `check=` that counts instead of the file's, as `--build-arg BUILDKIT_DOCKERFILE_CHECK=` gives it.
    pub check: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lint {
    /// By line.
    pub warnings: Vec<Warning>,
    /// `check=error=true`: with warnings, the build must fail.
    pub error: bool,
}

impl Lint {
    /// What the build fails with: `lint violation found for rules: A, B`. `None` if it goes on.
    pub fn failure(&self) -> Option<String> {
        let rules: BTreeSet<&str> = self
            .warnings
            .iter()
            .map(|warning| warning.rule.name())
            .collect();
        let listed = rules.into_iter().collect::<Vec<_>>().join(", ");
        (self.error && !listed.is_empty())
            .then(|| format!("lint violation found for rules: {listed}"))
    }
}

/// Judges a file by every rule but [`Rule::InvalidBaseImagePlatform`]. `# check=` is obeyed, at the file's head and
/// above single instructions.
pub fn lint(parsed: &Parsed, options: &LintOptions<'_>) -> Lint {
    let file = &parsed.file;
    let written = options.check.as_deref().or(file
        .directives
        .check
        .as_ref()
        .map(|word| word.text.as_str()));
    let config = Config::parse(written.unwrap_or("")).unwrap_or_default();
    let mut report = Report {
        warnings: Vec::new(),
        config: &config,
    };
    for warning in &parsed.warnings {
        report.tell(&[], warning.rule, warning.span, &[]);
    }
    file::lint(file, options, &mut report);
    stage::lint(file, options, &mut report);
    let mut warnings = report.warnings;
    warnings.sort_by_key(|warning| warning.span.start.line);
    Lint {
        warnings,
        error: config.error,
    }
}

/// The global variables while the stages are read: predefined ones, and declared ones with a value.
fn global_variables(
    file: &Dockerfile,
    options: &LintOptions<'_>,
    build_args: bool,
) -> BTreeMap<String, String> {
    let mut env = options.predefined.clone();
    let expander = super::Expander::new(file.directives.escape);
    for arg in file
        .global_args
        .iter()
        .filter_map(|instruction| match &instruction.kind {
            super::InstructionKind::Arg(args) => Some(args),
            _ => None,
        })
        .flatten()
    {
        let given = options
            .build_args
            .get(&arg.name.text)
            .filter(|_| build_args)
            .cloned();
        let value = given.or_else(|| {
            expander
                .expand(&arg.default.as_ref()?.text, &|name| env.get(name).cloned())
                .ok()
        });
        if let Some(value) = value {
            env.insert(arg.name.text.clone(), value);
        }
    }
    env
}

/// Warnings as they are found.
struct Report<'c> {
    warnings: Vec<Warning>,
    config: &'c Config,
}

impl Report<'_> {
    /// `comments` are those above the instruction, which may allow what it does.
    fn tell(&mut self, comments: &[String], rule: Rule, span: Span, values: &[&str]) {
        self.tell_more(comments, rule, span, values, "");
    }

    /// With `more` behind the rule's text.
    fn tell_more(
        &mut self,
        comments: &[String],
        rule: Rule,
        span: Span,
        values: &[&str],
        more: &str,
    ) {
        if self.config.tells(rule, comments) {
            let mut warning = Warning::new(rule, span, values);
            warning.message.push_str(more);
            self.warnings.push(warning);
        }
    }
}

#[cfg(test)]
mod tests;
