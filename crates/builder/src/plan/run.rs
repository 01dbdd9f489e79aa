//! RUN.

use rctr_engine::options::NetworkMode;

use super::stage::{Building, Planner};
use super::{Op, Origin, PlannedMount, at};
use crate::Result;
use crate::dockerfile::{Command, Instruction, Run, RunMount, Word};
use crate::options::Entitlement;

impl Planner<'_> {
    pub(super) fn run(
        &mut self,
        building: &mut Building,
        instruction: &Instruction,
        run: &Run,
    ) -> Result<()> {
        let (args, script) = command(building, run);
        let mut mounts = Vec::new();
        for word in &run.mounts {
            mounts.push(self.mount(building, word)?);
        }
        let config = &building.document.config;
        let mut line = building.scope.args_in_force();
        let created_by = match line.is_empty() {
            true => format!("RUN {} # buildkit", args.join(" ")),
            false => {
                line.insert(0, format!("|{}", line.len()));
                format!("RUN {} {} # buildkit", line.join(" "), args.join(" "))
            }
        };
        let op = Op::Run(Box::new(super::Run {
            base: building.node,
            shown: args.join(" "),
            args,
            script,
            env: building.scope.env(),
            proxies: self.given.proxies(),
            user: config.user.clone(),
            working_dir: match config.working_dir.as_str() {
                "" => "/".into(),
                path => path.into(),
            },
            platform: building.platform.clone(),
            network: self.run_network(building, run.network.as_ref())?,
            insecure: self.security(building, run.security.as_ref())?,
            mounts,
        }));
        self.step(building, instruction, op, created_by);
        Ok(())
    }

    fn mount(&mut self, building: &Building, word: &Word) -> Result<PlannedMount> {
        let expand = &mut |value: &str| building.scope.expand_text(&self.given, value);
        let mount = RunMount::parse_with(&word.text, expand);
        let mount = mount.map_err(|reason| at(word.span, reason.to_string()))?;
        let origin = match &mount {
            RunMount::Bind { from, source, .. } => match from {
                Some(from) => Some(self.origin(from, word.span)?),
                None => Some(Origin::Context(String::new())),
            }
            .map(|origin| self.snapshot(origin, source)),
            RunMount::Cache { from, source, .. } => match from {
                Some(from) => Some(self.origin(from, word.span)?),
                None => None,
            }
            .map(|origin| self.snapshot(origin, source)),
            _ => None,
        };
        Ok(PlannedMount { mount, origin })
    }

    /// A context's files, as a mount shows them, are a layer like any other: as they were when the build looked, and
    /// without what `.dockerignore` hides.
    fn snapshot(&mut self, origin: Origin, source: &str) -> Origin {
        let Origin::Context(name) = &origin else {
            return origin;
        };
        let scratch = self.scratch();
        let mut copy = super::Copy::everything(scratch, Origin::Context(name.clone()));
        if !matches!(source.trim_matches('/'), "" | ".") {
            copy.sources = vec![super::CopySource::Path(source.to_owned())];
            copy.parents = true;
        }
        Origin::Node(self.graph.add(super::Node {
            op: Op::Copy(Box::new(copy)),
            name: String::new(),
            span: None,
            no_cache: false,
        }))
    }

    fn run_network(&self, building: &Building, word: Option<&Word>) -> Result<NetworkMode> {
        let Some(word) = word else {
            return Ok(self.input.options.network.clone());
        };
        match building.scope.expand(&self.given, word)?.as_str() {
            "default" => Ok(self.input.options.network.clone()),
            "none" => Ok(NetworkMode::None),
            "host" => {
                self.entitled(word, Entitlement::NetworkHost, "network.host")?;
                Ok(NetworkMode::Host)
            }
            other => Err(at(word.span, format!("unsupported network mode {other:?}"))),
        }
    }

    fn security(&self, building: &Building, word: Option<&Word>) -> Result<bool> {
        let Some(word) = word else { return Ok(false) };
        match building.scope.expand(&self.given, word)?.as_str() {
            "sandbox" => Ok(false),
            "insecure" => {
                self.entitled(word, Entitlement::SecurityInsecure, "security.insecure")?;
                Ok(true)
            }
            other => Err(at(word.span, format!("security {other:?} is not valid"))),
        }
    }

    fn entitled(&self, word: &Word, needed: Entitlement, name: &str) -> Result<()> {
        match self.input.options.allow.contains(&needed) {
            true => Ok(()),
            false => Err(at(
                word.span,
                format!("granting entitlement {name} is not allowed: build with --allow {name}"),
            )),
        }
    }
}

/// The words to run, and the file that a heredoc with `#!` becomes.
fn command(building: &Building, run: &Run) -> (Vec<String>, Option<(String, String)>) {
    let Command::Shell(line) = &run.command else {
        return (building.command(&run.command), None);
    };
    let mut args = building.shell();
    let only = run.heredocs.first().filter(|_| run.is_script());
    match only {
        // The heredoc is the program: run by what its first line names, or by the shell.
        Some(heredoc) if heredoc.content.starts_with("#!") => {
            let path = format!("/dev/pipes/{}", heredoc.name);
            args.push(path);
            (args, Some((heredoc.name.clone(), heredoc.content.clone())))
        }
        Some(heredoc) => {
            args.push(heredoc.content.clone());
            (args, None)
        }
        // Otherwise the shell reads them itself.
        None => {
            let mut text = line.clone();
            for heredoc in &run.heredocs {
                text += &format!("\n{}{}", heredoc.content, heredoc.name);
            }
            args.push(text);
            (args, None)
        }
    }
}

impl Run {
    /// Whether it is nothing but a heredoc: a script of its own.
    pub(super) fn is_script(&self) -> bool {
        match (&self.command, self.heredocs.as_slice()) {
            (Command::Shell(line), [one]) => is_mark(line, &one.name),
            _ => false,
        }
    }
}

/// Whether a line is nothing but `<<EOF`.
fn is_mark(line: &str, name: &str) -> bool {
    let Some(word) = line.trim().strip_prefix("<<") else {
        return false;
    };
    let word = word.strip_prefix('-').unwrap_or(word);
    word.trim_matches(['"', '\'']) == name
}
