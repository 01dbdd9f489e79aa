//! Instructions that only say how the image is to be run.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::at;
use super::scope::Given;
use super::stage::{Building, absolute};
use crate::Result;
use crate::dockerfile::{self, Command, Healthcheck, Instruction, InstructionKind, Pair, Word};
use crate::document::Health;

/// The shell of images that say nothing else.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

impl Building {
    /// Does an instruction that makes no files; `false` if it is not one of these.
    pub(super) fn metadata(
        &mut self,
        given: &Given<'_>,
        instruction: &Instruction,
    ) -> Result<bool> {
        use InstructionKind as Kind;
        match &instruction.kind {
            Kind::Arg(args) => {
                let mut shown = Vec::new();
                for arg in args {
                    shown.push(self.scope.declare(given, arg)?);
                }
                self.note(format!("ARG {}", shown.join(" ")));
            }
            Kind::Env(pairs) => {
                let pairs = self.pairs(given, pairs)?;
                let shown: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
                for (name, value) in pairs {
                    set_env(
                        self.document.config.env.get_or_insert_default(),
                        &name,
                        &value,
                    );
                    self.scope.set(&name, value);
                }
                self.note(format!("ENV {}", shown.join(" ")));
            }
            Kind::Label(pairs) => {
                let pairs = self.pairs(given, pairs)?;
                let shown: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
                self.document
                    .config
                    .labels
                    .get_or_insert_default()
                    .extend(pairs);
                self.note(format!("LABEL {}", shown.join(" ")));
            }
            Kind::User(user) => {
                let user = self.scope.expand(given, user)?;
                self.note(format!("USER {user}"));
                self.document.config.user = user;
            }
            Kind::Volume(words) => {
                let expand = |word| self.scope.expand(given, word);
                let paths = words.iter().map(expand).collect::<Result<Vec<_>>>()?;
                let volumes = self.document.config.volumes.get_or_insert_default();
                volumes.extend(paths.iter().map(|path| (path.clone(), Map::new())));
                self.note(format!("VOLUME [{}]", paths.join(" ")));
            }
            Kind::Expose(words) => self.expose(given, words)?,
            Kind::Cmd(command) => {
                let words = self.command(command);
                self.note(format!("CMD {}", quoted(&words)));
                self.document.config.cmd = Some(words);
                // Old, and still looked for by those who compare images.
                let other = &mut self.document.config.other;
                other.insert("ArgsEscaped".into(), Value::Bool(true));
                self.cmd_set = true;
            }
            Kind::Entrypoint(command) => {
                let words = self.command(command);
                self.note(format!("ENTRYPOINT {}", quoted(&words)));
                self.document.config.entrypoint = Some(words);
                if !self.cmd_set {
                    self.document.config.cmd = None;
                }
            }
            Kind::Shell(words) => {
                self.note(format!("SHELL [{}]", words.join(" ")));
                self.document.config.shell = Some(words.clone());
            }
            Kind::StopSignal(signal) => {
                let name = self.scope.expand(given, signal)?;
                rctr_engine::options::parse_signal(&name)
                    .map_err(|e| at(signal.span, e.to_string()))?;
                self.note(format!("STOPSIGNAL {name}"));
                self.document.config.stop_signal = name;
            }
            Kind::Healthcheck(check) => self.healthcheck(check)?,
            Kind::Onbuild(trigger) => {
                let triggers = self.document.config.on_build.get_or_insert_default();
                triggers.push(trigger.text.clone());
            }
            Kind::Maintainer(name) => {
                self.note(format!("MAINTAINER {}", name.text));
                self.document.author = Some(name.text.clone());
            }
            Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_) => return Ok(false),
        }
        Ok(true)
    }

    /// The shell that runs what is not an array.
    pub(super) fn shell(&self) -> Vec<String> {
        match &self.document.config.shell {
            Some(shell) => shell.clone(),
            None => SHELL.map(str::to_owned).to_vec(),
        }
    }

    pub(super) fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => {
                let mut words = self.shell();
                words.push(line.clone());
                words
            }
        }
    }

    /// Names and values, all expanded with what was set before the instruction.
    fn pairs(&self, given: &Given<'_>, pairs: &[Pair]) -> Result<Vec<(String, String)>> {
        let expand = |pair: &Pair| {
            Ok((
                self.scope.expand(given, &pair.name)?,
                self.scope.expand(given, &pair.value)?,
            ))
        };
        pairs.iter().map(expand).collect()
    }

    fn expose(&mut self, given: &Given<'_>, words: &[Word]) -> Result<()> {
        let mut ports = BTreeMap::new();
        let mut shown = Vec::new();
        // History has them in this order, as BuildKit's.
        let mut words: Vec<&Word> = words.iter().collect();
        words.sort_by_key(|word| &word.text);
        for word in words {
            for text in self.scope.expand_words(given, word)? {
                let expanded = rctr_engine::options::parse_expose(&text)
                    .map_err(|e| at(word.span, e.to_string()))?;
                shown.extend(expanded.iter().cloned());
                ports.extend(
                    expanded
                        .into_iter()
                        .map(|port| (port, Map::<String, Value>::new())),
                );
            }
        }
        self.document
            .config
            .exposed_ports
            .get_or_insert_default()
            .extend(ports);
        self.note(format!("EXPOSE [{}]", shown.join(" ")));
        Ok(())
    }

    fn healthcheck(&mut self, check: &Healthcheck) -> Result<()> {
        let Healthcheck::Command {
            command,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        } = check
        else {
            self.set_healthcheck(Health {
                test: vec!["NONE".into()],
                ..Health::default()
            });
            return Ok(());
        };
        let test = match command {
            Command::Exec(words) => [vec!["CMD".to_owned()], words.clone()].concat(),
            Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        };
        let duration = |word: &Option<Word>| -> Result<i64> {
            let Some(word) = word else { return Ok(0) };
            let text = &word.text;
            let nanoseconds = dockerfile::parse_duration(text)
                .ok_or_else(|| at(word.span, format!("time: invalid duration {text:?}")))?;
            match nanoseconds {
                0 | 1_000_000.. => Ok(nanoseconds),
                _ => Err(at(word.span, format!("{text:?} must be at least 1ms"))),
            }
        };
        let retries = match retries {
            Some(word) => {
                let text = &word.text;
                text.parse().ok().filter(|n: &i64| *n >= 0).ok_or_else(|| {
                    at(
                        word.span,
                        format!("--retries must be at least 1 (not {text})"),
                    )
                })?
            }
            None => 0,
        };
        self.set_healthcheck(Health {
            interval: duration(interval)?,
            timeout: duration(timeout)?,
            start_period: duration(start_period)?,
            start_interval: duration(start_interval)?,
            test,
            retries,
        });
        Ok(())
    }

    fn set_healthcheck(&mut self, health: Health) {
        let shown = [
            ("Interval", health.interval),
            ("Timeout", health.timeout),
            ("StartPeriod", health.start_period),
            ("StartInterval", health.start_interval),
        ]
        .map(|(name, time)| format!("{name}:{}", dockerfile::format_duration(time)));
        self.note(format!(
            "HEALTHCHECK {{Test:[{}] {} Retries:{}}}",
            health.test.join(" "),
            shown.join(" "),
            health.retries
        ));
        self.document.config.healthcheck = Some(health);
    }

    /// Where WORKDIR leads: an absolute path stays as written, a relative one is joined and cleaned.
    pub(super) fn workdir(&self, path: &str) -> String {
        match path.starts_with('/') {
            true => path.to_owned(),
            false => absolute(&self.document.config.working_dir, path)
                .trim_end_matches('/')
                .to_owned(),
        }
    }
}

pub(super) fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    let named = |e: &&mut String| e.split_once('=').map_or(e.as_str(), |(n, _)| n) == name;
    match env.iter_mut().find(named) {
        Some(old) => *old = entry,
        None => env.push(entry),
    }
}

/// As Go's `%q` shows a list: `["a" "b"]`.
fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| Value::String(word.clone()).to_string())
        .collect();
    format!("[{}]", words.join(" "))
}
