//! Rules about what the instructions of a stage do, which takes the variables as they are at each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::file::keyword;
use super::{LintOptions, Report, Rule, global_variables};
use crate::dockerfile::suggest::nearest;
use crate::dockerfile::{
    Command, Copy, Dockerfile, ExpandError, Expanded, Expander, Instruction, InstructionKind, Pair,
    Source, Word, expose,
};

/// What a stage has when the next instruction is read, and hands on to stages built upon it.
#[derive(Debug, Clone, Default)]
struct State {
    env: BTreeMap<String, String>,
    /// Declared by ARG, with or without a value.
    args: BTreeSet<String>,
    /// All of the environment is known: that of the base image, too.
    complete: bool,
    workdir_set: bool,
    shell_set: bool,
}

struct Linter<'l, 'r, 'c> {
    options: &'l LintOptions<'l>,
    globals: &'l BTreeMap<String, String>,
    expander: Expander,
    report: &'r mut Report<'c>,
    state: State,
}

pub(super) fn lint(file: &Dockerfile, options: &LintOptions<'_>, report: &mut Report<'_>) {
    let globals = global_variables(file, options, true);
    let expander = Expander::new(file.directives.escape);
    let mut states: Vec<State> = Vec::new();
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, stage) in file.stages.iter().enumerate() {
        let base = expander.expand(&stage.from.image.text, &|name| globals.get(name).cloned());
        let base = base.unwrap_or_default();
        let inherited = names
            .get(base.to_lowercase().as_str())
            .and_then(|at| states.get(*at));
        let state = inherited.cloned().unwrap_or_else(|| image(&base, options));
        let mut silent = Report {
            warnings: Vec::new(),
            config: report.config,
        };
        let wanted = options
            .stages
            .as_ref()
            .is_none_or(|stages| stages.contains(&number));
        let mut linter = Linter {
            options,
            globals: &globals,
            expander,
            // What is not built is read all the same, for the stages upon it.
            report: if wanted { &mut *report } else { &mut silent },
            state,
        };
        linter.used_once(&stage.instructions);
        for instruction in &stage.instructions {
            // A word that cannot be expanded fails the build; here the rest of its instruction is passed over.
            let _ = linter.instruction(instruction);
        }
        states.push(linter.state);
        if let Some(name) = &stage.from.name {
            names.insert(&name.text, number);
        }
    }
}

fn image(name: &str, options: &LintOptions<'_>) -> State {
    let env = match name {
        "scratch" => Some(Vec::new()),
        name => options.base_env.and_then(|env| env(name)),
    };
    let mut state = State {
        complete: env.is_some(),
        ..State::default()
    };
    state.env.insert(
        "PATH".to_owned(),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    );
    state.env.extend(env.unwrap_or_default());
    state
}

impl Linter<'_, '_, '_> {
    fn tell(&mut self, at: &Instruction, rule: Rule, values: &[&str]) {
        self.report.tell(&at.comments, rule, at.span, values);
    }

    /// Of CMD, ENTRYPOINT and HEALTHCHECK only the last counts.
    fn used_once(&mut self, instructions: &[Instruction]) {
        let mut last: [Option<&Instruction>; 3] = [None; 3];
        for instruction in instructions {
            let slot = match instruction.kind {
                InstructionKind::Cmd(_) => 0,
                InstructionKind::Entrypoint(_) => 1,
                InstructionKind::Healthcheck(_) => 2,
                _ => continue,
            };
            let Some(slot) = last.get_mut(slot) else {
                continue;
            };
            if let Some(earlier) = slot.replace(instruction) {
                let name = keyword(&instruction.source);
                let rule = Rule::MultipleInstructionsDisallowed;
                self.report
                    .tell(&instruction.comments, rule, earlier.span, &[name]);
            }
        }
    }

    fn instruction(&mut self, at: &Instruction) -> Result<(), ExpandError> {
        match &at.kind {
            InstructionKind::Arg(args) => {
                for arg in args {
                    let name = arg.name.text.as_str();
                    self.secret("ARG", name, at);
                    let value = match (self.options.build_args.get(name), &arg.default) {
                        (Some(given), _) => Some(given.clone()),
                        (None, Some(default)) => Some(self.word(default, at)?),
                        (None, None) => self.globals.get(name).cloned(),
                    };
                    self.state.args.insert(name.to_owned());
                    if let Some(value) = value
                        && !matches!(
                            name,
                            "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE"
                        )
                    {
                        self.state.env.insert(name.to_owned(), value);
                    }
                }
            }
            InstructionKind::Env(pairs) => {
                self.legacy(pairs, at);
                let mut set = Vec::with_capacity(pairs.len());
                for pair in pairs {
                    set.push((self.word(&pair.name, at)?, self.word(&pair.value, at)?));
                }
                for (name, value) in set {
                    self.secret("ENV", &name, at);
                    self.state.env.insert(name, value);
                }
            }
            InstructionKind::Label(pairs) => {
                self.legacy(pairs, at);
                for pair in pairs {
                    self.word(&pair.name, at)?;
                    self.word(&pair.value, at)?;
                }
            }
            InstructionKind::Run(run) => {
                for mount in &run.mounts {
                    self.word(mount, at)?;
                }
            }
            InstructionKind::Copy(copy) => self.copy("Copy", copy, at)?,
            InstructionKind::Add(copy) => self.copy("Add", copy, at)?,
            InstructionKind::Workdir(word) => {
                let path = self.word(word, at)?;
                if !self.state.workdir_set && !path.starts_with('/') {
                    self.tell(at, Rule::WorkdirRelativePath, &[&path]);
                }
                self.state.workdir_set = true;
            }
            InstructionKind::User(word) | InstructionKind::StopSignal(word) => {
                self.word(word, at)?;
            }
            InstructionKind::Volume(words) => {
                for word in words {
                    self.word(word, at)?;
                }
            }
            InstructionKind::Expose(words) => self.expose(words, at)?,
            InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => {
                if matches!(command, Command::Shell(_)) && !self.state.shell_set {
                    self.tell(at, Rule::JSONArgsRecommended, &[keyword(&at.source)]);
                }
            }
            InstructionKind::Shell(_) => self.state.shell_set = true,
            InstructionKind::Healthcheck(_)
            | InstructionKind::Onbuild(_)
            | InstructionKind::Maintainer(_) => {}
        }
        Ok(())
    }

    fn copy(&mut self, verb: &str, copy: &Copy, at: &Instruction) -> Result<(), ExpandError> {
        for word in [&copy.chown, &copy.chmod, &copy.checksum]
            .into_iter()
            .flatten()
        {
            self.word(word, at)?;
        }
        let mut paths = Vec::new();
        for source in &copy.sources {
            match source {
                Source::Path(word) => paths.push(self.word(word, at)?),
                Source::Heredoc(heredoc) if heredoc.expand => {
                    let env = &self.state.env;
                    let lookup = |name: &str| env.get(name).cloned();
                    let expanded = self
                        .expander
                        .expand_heredoc_all(&heredoc.content, &lookup)?;
                    self.undefined(expanded, at);
                }
                Source::Heredoc(_) => {}
            }
        }
        self.word(&copy.destination, at)?;
        let Some(ignore) = self
            .options
            .ignore
            .filter(|ignore| !ignore.has_exclusions())
        else {
            return Ok(());
        };
        if copy.from.is_some() {
            return Ok(());
        }
        for path in paths {
            let remote = ["http://", "https://", "git://", "ssh://", "git@"];
            if verb == "Add" && remote.iter().any(|scheme| path.starts_with(scheme)) {
                continue;
            }
            let cleaned = crate::ignore::clean(&path);
            let hidden = match cleaned.as_str() {
                "." | "/" => ignore.hides_root(),
                path => ignore.is_ignored(path.trim_start_matches('/'), false),
            };
            if hidden {
                self.tell(at, Rule::CopyIgnoredFile, &[verb, &cleaned]);
            }
        }
        Ok(())
    }

    fn expose(&mut self, words: &[Word], at: &Instruction) -> Result<(), ExpandError> {
        for word in words {
            let env = &self.state.env;
            for port in self
                .expander
                .expand_words(&word.text, &|name| env.get(name).cloned())?
            {
                let Ok(ports) = expose::parse(&port) else {
                    continue;
                };
                if !ports.lower_case {
                    self.tell(at, Rule::ExposeProtoCasing, &[&port]);
                }
                if ports.mapped {
                    self.tell(at, Rule::ExposeInvalidFormat, &[&port]);
                }
            }
        }
        Ok(())
    }

    fn legacy(&mut self, pairs: &[Pair], at: &Instruction) {
        // Only one pair can be written so, and then something other than `=` follows the name.
        let [pair] = pairs else { return };
        let arguments = at
            .source
            .get(keyword(&at.source).len()..)
            .unwrap_or("")
            .trim_start();
        let after_name = arguments.strip_prefix(pair.name.text.as_str());
        if after_name.is_some_and(|after| after.starts_with(char::is_whitespace)) {
            self.tell(at, Rule::LegacyKeyValueFormat, &[keyword(&at.source)]);
        }
    }

    fn secret(&mut self, instruction: &str, name: &str, at: &Instruction) {
        static SECRET: LazyLock<Option<Regex>> = LazyLock::new(|| {
            let words = "apikey|auth|credentials?|key|password|pword|passwd|secret|token";
            Regex::new(&format!("(?i)(?:_|^)(?:{words})(?:_|$)")).ok()
        });
        static HARMLESS: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new("(?i)(?:_|^)(?:public|file|version)(?:_|$)").ok());
        let says = |regex: &Option<Regex>| regex.as_ref().is_some_and(|regex| regex.is_match(name));
        if says(&SECRET) && !says(&HARMLESS) {
            self.tell(at, Rule::SecretsUsedInArgOrEnv, &[instruction, name]);
        }
    }

    fn word(&mut self, word: &Word, at: &Instruction) -> Result<String, ExpandError> {
        let env = &self.state.env;
        let mut expanded = self
            .expander
            .expand_all(&word.text, &|name| env.get(name).cloned())?;
        let text = std::mem::take(&mut expanded.text);
        self.undefined(expanded, at);
        Ok(text)
    }

    fn undefined(&mut self, expanded: Expanded, at: &Instruction) {
        if !self.state.complete {
            return;
        }
        for name in expanded.unmatched {
            if self.state.args.contains(&name) {
                continue;
            }
            let hint = nearest(&name, self.state.env.keys().map(String::as_str), true);
            let hint = hint.map_or_else(String::new, |hint| format!(" (did you mean ${hint}?)"));
            self.report
                .tell_more(&at.comments, Rule::UndefinedVar, at.span, &[&name], &hint);
        }
    }
}
