//! What of Docker's command line rctr has: docs/docker-compatibility.md is made here, from the command definitions, a
//! list of Docker's own, and reasons.

use std::fmt::Write;

use clap::{Arg, Command};

/// Every command and flag of Docker's, made by tests/docker/flags.py.
const DOCKER: &str = include_str!("compatibility/docker-28.txt");
/// What is to be said of some.
const REMARKS: &str = include_str!("compatibility/remarks.tsv");

/// A command of Docker's, or a flag of one.
struct Entry {
    command: String,
    /// `-d --detach`; empty for the command itself.
    flag: Vec<&'static str>,
}

/// Whether rctr has it.
enum Verdict {
    Works(Option<&'static str>),
    Refused(&'static str),
    Missing,
}

fn docker() -> Vec<Entry> {
    let entry = |line: &'static str| {
        let words = line.split(' ');
        let (flag, command): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with('-'));
        Entry {
            command: command.join(" "),
            flag,
        }
    };
    // What is to be said of a command that is refused is said of its flags.
    let all = DOCKER.lines().map(entry);
    all.filter(|e| e.flag.is_empty() || remark("refused", &e.command, "-").is_none())
        .collect()
}

fn remark(kind: &str, command: &str, flag: &str) -> Option<&'static str> {
    let lines = REMARKS.lines().filter(|line| !line.starts_with('#'));
    let mut rows = lines.map(|line| line.splitn(4, '\t').collect::<Vec<_>>());
    rows.find_map(|row| match row[..] {
        [a, commands, b, text] => {
            let meant = a == kind && b == flag && commands.split(',').any(|c| c == command);
            meant.then_some(text)
        }
        _ => None,
    })
}

/// Why a flag, or with `-` a command, of Docker's is refused. `command` may name its group: `container run`.
pub fn refused(command: &str, flag: &str) -> Option<&'static str> {
    let short = command.split_once(' ').map_or(command, |(_, verb)| verb);
    [command, short]
        .iter()
        .find_map(|command| remark("refused", command, flag))
}

fn find<'a>(root: &'a Command, path: &str) -> Option<&'a Command> {
    path.split(' ')
        .try_fold(root, |command, word| command.find_subcommand(word))
}

fn has_flag(command: &Command, long: &str) -> bool {
    let name = long.trim_start_matches('-');
    let named = |arg: &Arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(name) || aliases.contains(&name)
    };
    command.get_arguments().any(named)
}

fn verdict(root: &Command, entry: &Entry) -> Verdict {
    let flag = entry.flag.last().copied().unwrap_or("-");
    let there = find(root, &entry.command)
        .is_some_and(|command| entry.flag.is_empty() || has_flag(command, flag));
    match remark("refused", &entry.command, flag) {
        Some(why) => Verdict::Refused(why),
        None if there => Verdict::Works(remark("note", &entry.command, flag)),
        None => Verdict::Missing,
    }
}

/// docs/docker-compatibility.md.
pub fn document(root: &Command) -> String {
    let mut text = HEAD.to_owned();
    let mut count = [0, 0];
    let mut table = String::new();
    for entry in docker() {
        let (word, why) = match verdict(root, &entry) {
            Verdict::Works(note) => ("works", note.unwrap_or_default()),
            Verdict::Refused(why) => ("refused", why),
            Verdict::Missing => ("missing", ""),
        };
        count[usize::from(word != "works")] += 1;
        let name = match entry.flag.is_empty() {
            true => format!("**`{}`**", entry.command),
            false => format!("`{}` `{}`", entry.command, entry.flag.join("`, `")),
        };
        // Writing to a string does not fail.
        let _ = writeln!(table, "| {name} | {word} | {} |", why.replace('|', "\\|"));
    }
    let _ = writeln!(
        text,
        "Of {} commands and flags, {} work.\n\n| command, flag | | |\n|---|---|---|\n{table}",
        count[0] + count[1],
        count[0]
    );
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

const HEAD: &str = "\
# Docker's command line in rctr

Every command and flag of the command line of Docker 28, and whether rctr has it. What a group repeats (`container run`,
`image build`) is as the command itself. A flag that is refused says why when it is used; where one that works answers
otherwise than Docker's stands in [DOCKER.md](DOCKER.md).

Made by `rctr internal compatibility`, which a test holds it to.

";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;
    use crate::cli::Cli;
    use crate::usage::docker_manners;

    #[test]
    fn the_document_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/docker-compatibility.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == document(&Cli::command()),
            "run `rctr internal compatibility > docs/docker-compatibility.md`"
        );
    }

    #[test]
    fn nothing_of_docker_s_is_left_without_an_answer() {
        let root = Cli::command();
        let missing = docker()
            .into_iter()
            .filter(|entry| matches!(verdict(&root, entry), Verdict::Missing));
        let missing: Vec<String> = missing
            .map(|entry| format!("{} {}", entry.command, entry.flag.join(" ")))
            .collect();
        assert!(
            missing.is_empty(),
            "neither there nor refused:\n{}",
            missing.join("\n")
        );
    }

    #[test]
    fn what_works_parses_and_what_is_refused_does_not() {
        let root = Cli::command();
        for entry in docker().iter().filter(|entry| !entry.flag.is_empty()) {
            let works = matches!(verdict(&root, entry), Verdict::Works(_));
            for flag in &entry.flag {
                let words = std::iter::once("rctr").chain(entry.command.split(' '));
                let words: Vec<&str> = words.chain([*flag, "1"]).collect();
                let parsed = docker_manners(Cli::command()).try_get_matches_from(&words);
                let unknown = parsed.is_err_and(|e| {
                    matches!(
                        e.kind(),
                        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
                    )
                });
                if works {
                    assert!(!unknown, "{words:?}");
                } else if has_flag_of(&root, entry) {
                    panic!("{words:?} is refused, and there");
                }
            }
        }
    }

    fn has_flag_of(root: &Command, entry: &Entry) -> bool {
        let command = find(root, &entry.command);
        entry
            .flag
            .last()
            .is_some_and(|flag| command.is_some_and(|command| has_flag(command, flag)))
    }

    #[test]
    fn every_remark_is_of_something_that_docker_has() {
        let docker = docker();
        for line in REMARKS.lines().filter(|line| !line.starts_with('#')) {
            let row: Vec<&str> = line.splitn(4, '\t').collect();
            let [kind, commands, flag, text] = row[..] else {
                panic!("{line:?} has no four columns");
            };
            assert!(
                ["refused", "note"].contains(&kind) && !text.is_empty(),
                "{line}"
            );
            for command in commands.split(',') {
                let known = docker.iter().any(|entry| {
                    entry.command == command && entry.flag.last().copied().unwrap_or("-") == flag
                });
                assert!(known, "{command} {flag} is not Docker's");
            }
        }
    }
}
