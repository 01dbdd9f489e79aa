//! What a Dockerfile can build, and what a build of it takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::{Arg, Dockerfile, Expander, InstructionKind, RunMount, Source, Stage};

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// It is built when no other is asked for.
    pub default: bool,
    /// What the comment above it says of it.
    pub description: String,
}

/// What a build of one stage takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The stage's name, if it has one.
    pub name: Option<String>,
    /// What the comment above it says of it.
    pub description: String,
    /// `--build-arg`.
    pub args: Vec<OutlineArg>,
    /// `--secret`: ids, and whether they must be given.
    pub secrets: BTreeMap<String, bool>,
    /// `--ssh`: ids, and whether they must be given.
    pub ssh: BTreeMap<String, bool>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// Its value in this build.
    pub value: String,
    /// What the comment above it says of it.
    pub description: String,
}

/// The stages of a file that have a name, and the last one.
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len().saturating_sub(1);
    let stages = file.stages.iter().enumerate();
    stages
        .filter(|(index, stage)| stage.from.name.is_some() || *index == last)
        .map(|(index, stage)| Target {
            name: name(stage),
            default: index == last,
            description: description(&stage.from.comments, name(stage).as_deref()),
        })
        .collect()
}

/// What a build of `target`, or the last stage, takes; `None` if there is no such stage.
pub fn outline(
    file: &Dockerfile,
    target: Option<&str>,
    build_args: &[(String, String)],
) -> Option<Outline> {
    let index = match target {
        Some(target) => find(&file.stages, target)?,
        None => file.stages.len().checked_sub(1)?,
    };
    let stage = &file.stages[index];
    let mut outline = Outline {
        name: name(stage),
        description: description(&stage.from.comments, name(stage).as_deref()),
        ..Outline::default()
    };
    let mut args = Args {
        expander: Expander::new(file.directives.escape),
        given: build_args,
        known: BTreeMap::new(),
    };
    for instruction in &file.global_args {
        if let InstructionKind::Arg(declared) = &instruction.kind {
            args.declare(declared, &instruction.comments, &mut outline);
        }
    }
    for index in needed(file, index) {
        for instruction in &file.stages[index].instructions {
            match &instruction.kind {
                InstructionKind::Arg(declared) => {
                    args.declare(declared, &instruction.comments, &mut outline);
                }
                InstructionKind::Run(run) => {
                    for mount in &run.mounts {
                        mounts(&mount.text, &mut outline);
                    }
                }
                _ => {}
            }
        }
    }
    Some(outline)
}

/// Build arguments while they are collected.
struct Args<'a> {
    expander: Expander,
    given: &'a [(String, String)],
    known: BTreeMap<String, String>,
}

impl Args<'_> {
    fn declare(&mut self, declared: &[Arg], comments: &[String], outline: &mut Outline) {
        for arg in declared {
            let name = &arg.name.text;
            let given = self.given.iter().rev().find(|(known, _)| known == name);
            let default = arg.default.as_ref().and_then(|default| {
                let known = |name: &str| self.known.get(name).cloned();
                self.expander.expand(&default.text, &known).ok()
            });
            let value = given.map(|(_, value)| value.clone()).or(default);
            let value = value.or_else(|| self.known.get(name).cloned());
            let value = value.unwrap_or_default();
            self.known.insert(name.clone(), value.clone());
            let told = outline.args.iter_mut().find(|told| told.name == *name);
            match told {
                // A stage repeats a global one to use it.
                Some(told) => told.value = value,
                None => outline.args.push(OutlineArg {
                    name: name.clone(),
                    value,
                    description: description(comments, Some(name)),
                }),
            }
        }
    }
}

fn mounts(text: &str, outline: &mut Outline) {
    let (list, id, needed) = match RunMount::parse(text) {
        Ok(RunMount::Secret { id, required, .. }) => (&mut outline.secrets, id, required),
        Ok(RunMount::Ssh { id, required, .. }) => (&mut outline.ssh, id, required),
        _ => return,
    };
    *list.entry(id).or_default() |= needed;
}

fn name(stage: &Stage) -> Option<String> {
    stage.from.name.as_ref().map(|name| name.text.clone())
}

/// `build compiles it` above the stage or argument `build` says that it compiles it.
fn description(comments: &[String], name: Option<&str>) -> String {
    let Some(name) = name else {
        return String::new();
    };
    let said = |line: &String| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
    comments.iter().find_map(said).unwrap_or_default()
}

fn find(stages: &[Stage], wanted: &str) -> Option<usize> {
    let named = |stage: &Stage| {
        let name = stage.from.name.as_ref();
        name.is_some_and(|name| name.text.eq_ignore_ascii_case(wanted))
    };
    stages.iter().rposition(named)
}

/// The stages that one needs, it included, by number.
fn needed(file: &Dockerfile, target: usize) -> BTreeSet<usize> {
    let (mut found, mut open) = (BTreeSet::new(), vec![target]);
    while let Some(index) = open.pop() {
        if !found.insert(index) {
            continue;
        }
        let stage = &file.stages[index];
        open.extend(find(&file.stages[..index], &stage.from.image.text));
        for origin in origins(stage) {
            let number = origin.parse().ok().filter(|n| *n < file.stages.len());
            open.extend(find(&file.stages, &origin).or(number));
        }
    }
    found
}

/// Where a stage copies and mounts from.
fn origins(stage: &Stage) -> Vec<String> {
    let mut found = Vec::new();
    for instruction in &stage.instructions {
        match &instruction.kind {
            InstructionKind::Copy(copy) => {
                let paths = copy.sources.iter().any(|s| matches!(s, Source::Path(_)));
                found.extend(copy.from.iter().filter(|_| paths).map(|f| f.text.clone()));
            }
            InstructionKind::Run(run) => {
                for mount in &run.mounts {
                    if let Ok(
                        RunMount::Bind {
                            from: Some(from), ..
                        }
                        | RunMount::Cache {
                            from: Some(from), ..
                        },
                    ) = RunMount::parse(&mount.text)
                    {
                        found.push(from);
                    }
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse;

    const FILE: &str = "ARG V=1\n# build compiles it\nFROM busybox:$V AS build\n# MODE is fast or slow\nARG MODE=fast$V\n\
        RUN --mount=type=secret,id=key,required=true --mount=type=ssh true\n\
        FROM busybox AS other\nARG UNUSED\nFROM scratch\nCOPY --from=build /x /\n";

    #[test]
    fn stages_and_what_they_say_of_themselves() {
        let file = parse(FILE).expect("a file").file;
        let found = targets(&file);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].name.as_deref(), Some("build"));
        assert_eq!(found[0].description, "compiles it");
        assert_eq!((&found[2].name, found[2].default), (&None, true));
    }

    #[test]
    fn what_the_default_stage_takes() {
        let file = parse(FILE).expect("a file").file;
        let given = [("V".to_owned(), "2".to_owned())];
        let found = outline(&file, None, &given).expect("an outline");
        let args: Vec<(&str, &str, &str)> = found
            .args
            .iter()
            .map(|arg| {
                (
                    arg.name.as_str(),
                    arg.value.as_str(),
                    arg.description.as_str(),
                )
            })
            .collect();
        assert_eq!(args, [("V", "2", ""), ("MODE", "fast2", "is fast or slow")]);
        assert!(found.secrets["key"]);
        assert!(!found.ssh["default"]);
        assert!(outline(&file, Some("none"), &[]).is_none());
        let other = outline(&file, Some("Other"), &[]).expect("an outline");
        assert_eq!(other.args[1].name, "UNUSED");
        assert!(other.secrets.is_empty());
    }
}
