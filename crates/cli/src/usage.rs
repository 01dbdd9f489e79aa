//! Docker's manners for the command line: `--flag=false`, values that begin with a dash, and its words and exit
//! codes for what is wrong.

use std::ffi::OsString;
use std::io::Write;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use crate::cli::{Cli, for_line};
use crate::compatibility;
use crate::failure::{ENGINE, Failure, GENERAL, Result};

/// Global options that take the next word as their value.
const GLOBAL_WITH_VALUE: [&str; 5] = ["--root", "--state", "--config", "--log-level", "-l"];

/// Reads the command line. `None`: help was asked for and printed.
pub fn parse(args: &[OsString]) -> Result<Option<Cli>> {
    let parsed = docker_manners(for_line(args, Cli::command))
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => Ok(Some(cli)),
        Err(error) if is_help(error.kind()) => {
            print_help(args, error.use_stderr());
            Ok(None)
        }
        Err(error) => Err(explain(&error, args)),
    }
}

/// A wrong number of arguments, in Docker's words.
pub fn wrong_count(command: &str, what: &str) -> Failure {
    Failure::usage(GENERAL, command, format!("\"rctr {command}\" {what}."))
}

/// At least one name.
pub fn require_names(command: &str, names: &[String]) -> Result<()> {
    match names {
        [] => Err(wrong_count(command, "requires at least 1 argument")),
        _ => Ok(()),
    }
}

/// Exactly one name.
pub fn require_one<'a>(command: &str, names: &'a [String]) -> Result<&'a str> {
    match names {
        [name] => Ok(name),
        _ => Err(wrong_count(command, "requires exactly 1 argument")),
    }
}

/// No argument at all.
pub fn require_none(command: &str, surplus: &[String]) -> Result<()> {
    match surplus {
        [] => Ok(()),
        _ => Err(wrong_count(command, "accepts no arguments")),
    }
}

/// Flags as Docker's: a switch takes `=true` or `=false`, and a value may begin with a dash. Only the commands that
/// the line names are changed: the others never come to be used.
pub fn docker_manners(command: Command) -> Command {
    command
        .mut_args(flag_manners)
        .mut_subcommands(|sub| sub.defer(docker_manners))
}

fn flag_manners(arg: Arg) -> Arg {
    if arg.is_positional() {
        return arg;
    }
    match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(parse_bool),
        ArgAction::Set
            if [
                "sig_proxy",
                "human",
                "pause",
                "disable_content_trust",
                "ipv4",
            ]
            .contains(&arg.get_id().as_str()) =>
        {
            arg.num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(parse_bool)
        }
        ArgAction::Set | ArgAction::Append => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

/// Go's reading of a truth value.
fn parse_bool(text: &str) -> std::result::Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("invalid syntax".to_owned()),
    }
}

fn is_help(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// Prints the help that `args` ask for, from flags as they are documented rather than as they are parsed.
/// As with Docker, only help that was asked for goes to standard output.
fn print_help(args: &[OsString], to_stderr: bool) {
    if let Err(error) = Cli::command().try_get_matches_from(args)
        && is_help(error.kind())
    {
        // Help that nobody reads to the end is no failure.
        let _ = match to_stderr {
            true => write!(std::io::stderr(), "{}", error.render()),
            false => write!(std::io::stdout(), "{}", error.render()),
        };
    }
}

/// Says what clap says, as Docker would.
fn explain(error: &clap::Error, args: &[OsString]) -> Failure {
    let path = command_path(args);
    let arg = text_of(error, ContextKind::InvalidArg);
    let value = text_of(error, ContextKind::InvalidValue);
    let usage = |message: String| Failure::usage(ENGINE, &path, message);
    match error.kind() {
        ErrorKind::UnknownArgument => usage(match compatibility::refused(&path, long_name(&arg)) {
            Some(why) => format!("{} is not supported: {why}", long_name(&arg)),
            None => unknown_flag(&arg, args),
        }),
        ErrorKind::InvalidSubcommand => {
            let name = text_of(error, ContextKind::InvalidSubcommand);
            let command = [path.as_str(), &name].join(" ");
            let command = command.trim_start();
            let message = match compatibility::refused(command, "-") {
                Some(why) => format!("'{command}' is not a rctr command: {why}"),
                None => format!("'{command}' is not a rctr command."),
            };
            Failure::usage(GENERAL, &path, message)
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            usage(format!("flag needs an argument: {}", flag_name(&arg, args)))
        }
        ErrorKind::InvalidValue if arg.starts_with("--log-level") => {
            Failure::new(GENERAL, format!("unable to parse logging level: {value}"))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            let reason = reason.unwrap_or_else(|| "not one of the known values".to_owned());
            usage(format!(
                "invalid argument {value:?} for {:?} flag: {reason}",
                both_names(&arg, &path)
            ))
        }
        ErrorKind::MissingRequiredArgument => wrong_count(&path, "requires at least 1 argument"),
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            usage(line.trim_start_matches("error: ").to_owned())
        }
    }
}

fn text_of(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    }
}

/// `run`, `image ls`: which command the words name, as far as they name one.
fn command_path(args: &[OsString]) -> String {
    let root = Cli::command();
    let mut command = &root;
    let mut path: Vec<&str> = Vec::new();
    let mut words = args
        .iter()
        .skip(1)
        .map(|word| word.to_str().unwrap_or_default());
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            if path.is_empty() && GLOBAL_WITH_VALUE.contains(&word) {
                words.next();
            }
            continue;
        }
        match command.find_subcommand(word) {
            Some(found) => {
                path.push(word);
                command = found;
            }
            None => break,
        }
    }
    path.join(" ")
}

/// `--link` for `--link=a`.
fn long_name(arg: &str) -> &str {
    arg.split('=').next().unwrap_or(arg)
}

fn unknown_flag(arg: &str, args: &[OsString]) -> String {
    if let Some(long) = arg.strip_prefix("--") {
        return format!("unknown flag: --{}", long.split('=').next().unwrap_or(long));
    }
    let short = arg.trim_start_matches('-').chars().next().unwrap_or('-');
    format!(
        "unknown shorthand flag: '{short}' in {}",
        cluster_with(short, args)
    )
}

/// `--name` or `'n' in -dn`, as it was typed.
fn flag_name(arg: &str, args: &[OsString]) -> String {
    let name = arg.split([' ', '=', '[']).next().unwrap_or(arg);
    let last = args
        .last()
        .and_then(|word| word.to_str())
        .unwrap_or_default();
    match last.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
        Some(cluster) if !cluster.is_empty() => {
            format!(
                "'{}' in {last}",
                cluster.chars().next_back().unwrap_or_default()
            )
        }
        _ => name.to_owned(),
    }
}

fn cluster_with(short: char, args: &[OsString]) -> String {
    args.iter()
        .filter_map(|word| word.to_str())
        .find(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(short))
        .map_or_else(|| format!("-{short}"), str::to_owned)
}

/// `-m, --memory` for `--memory <BYTES>`.
fn both_names(arg: &str, path: &str) -> String {
    let name = arg.split([' ', '=', '[']).next().unwrap_or(arg);
    let root = Cli::command();
    let mut command = &root;
    for word in path.split_whitespace() {
        match command.find_subcommand(word) {
            Some(found) => command = found,
            None => break,
        }
    }
    let long = name.trim_start_matches('-');
    let of = |command: &Command| {
        let mut all = command.get_arguments();
        all.find(|arg| arg.get_long() == Some(long))
            .and_then(Arg::get_short)
    };
    match of(command).or_else(|| of(&root)) {
        Some(short) => format!("-{short}, {name}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command as Verb, ContainerVerb, RunArgs};

    fn args(line: &str) -> Vec<OsString> {
        std::iter::once("rctr")
            .chain(line.split_whitespace())
            .map(OsString::from)
            .collect()
    }

    fn parsed(line: &str) -> Cli {
        parse(&args(line)).unwrap().unwrap()
    }

    fn run_args(line: &str) -> RunArgs {
        match parsed(line).command {
            Some(Verb::OnContainers(ContainerVerb::Run(run))) => *run.0,
            other => panic!("{other:?}"),
        }
    }

    fn refused(line: &str) -> (String, u8) {
        let failure = parse(&args(line)).unwrap_err();
        (failure.text(), failure.code())
    }

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
        docker_manners(Cli::command()).debug_assert();
    }

    #[test]
    fn flags_of_other_commands_are_left_out() {
        let parser = for_line(&args("container ls -a"), Cli::command);
        let flags = |path: [&str; 2]| {
            let found = parser.find_subcommand(path[0])?.find_subcommand(path[1])?;
            Some(found.get_arguments().count() > 0)
        };
        assert_eq!(flags(["container", "ls"]), Some(true));
        assert_eq!(flags(["container", "run"]), Some(false));
        assert_eq!(flags(["image", "ls"]), None);
        // For pages of help all are there.
        let whole = Cli::command();
        let run = whole.find_subcommand("run").unwrap();
        assert!(run.get_arguments().count() > 90);
    }

    #[test]
    fn short_flags_combine() {
        let run = run_args("run -dit -p8080:80 --rm -eA=1 -e B=2 nginx nginx -g x --rm -- -d");
        assert!(run.detach && run.container.interactive && run.container.tty && run.container.rm);
        assert_eq!(run.container.publish, ["8080:80"]);
        assert_eq!(run.container.env, ["A=1", "B=2"]);
        assert_eq!(
            run.rest.words,
            ["nginx", "nginx", "-g", "x", "--rm", "--", "-d"]
        );
    }

    #[test]
    fn switches_take_a_truth_value() {
        let run = run_args("run --rm=false -i=true --init=T --sig-proxy=false busybox");
        assert!(
            !run.container.rm && run.container.interactive && run.container.init && !run.sig_proxy
        );
        assert!(run_args("run --sig-proxy busybox").sig_proxy);
        assert!(run_args("run busybox").sig_proxy);
    }

    #[test]
    fn values_may_begin_with_a_dash() {
        let run = run_args("run --memory-swap -1 --pids-limit -1 -e -x busybox -c ls");
        assert_eq!(run.container.memory_swap.as_deref(), Some("-1"));
        assert_eq!(run.container.pids_limit, Some(-1));
        assert_eq!(run.container.env, ["-x"]);
        assert_eq!(run.rest.words, ["busybox", "-c", "ls"]);
    }

    #[test]
    fn the_last_of_two_wins() {
        assert_eq!(
            run_args("run --name a --name b x")
                .container
                .name
                .as_deref(),
            Some("b")
        );
    }

    #[test]
    fn hostname_is_h_and_help_is_long() {
        assert_eq!(
            run_args("run -h box x").container.hostname.as_deref(),
            Some("box")
        );
    }

    #[test]
    fn flags_follow_names_except_in_run_and_exec() {
        match parsed("rm a -f b").command {
            Some(Verb::OnContainers(ContainerVerb::Rm(rm))) => {
                assert!(rm.force && rm.names == ["a", "b"])
            }
            other => panic!("{other:?}"),
        }
        match parsed("exec -it web sh -c exit").command {
            Some(Verb::OnContainers(ContainerVerb::Exec(exec))) => {
                assert_eq!(exec.words, ["web", "sh", "-c", "exit"])
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unknown_flags_are_named() {
        for (line, message) in [
            (
                "run --foo busybox",
                "unknown flag: --foo\nSee 'rctr run --help'.",
            ),
            (
                "run --foo=bar busybox",
                "unknown flag: --foo\nSee 'rctr run --help'.",
            ),
            (
                "run --gpus-of all busybox",
                "unknown flag: --gpus-of\nSee 'rctr run --help'.",
            ),
            (
                "run -dx busybox",
                "unknown shorthand flag: 'x' in -dx\nSee 'rctr run --help'.",
            ),
            (
                "image ls --forest",
                "unknown flag: --forest\nSee 'rctr image ls --help'.",
            ),
            ("--foo", "unknown flag: --foo\nSee 'rctr --help'."),
            (
                "--root /run ps --foo",
                "unknown flag: --foo\nSee 'rctr ps --help'.",
            ),
        ] {
            assert_eq!(refused(line), (message.to_owned(), 125), "{line}");
        }
    }

    #[test]
    fn what_is_refused_on_purpose_says_why() {
        for line in ["run --link a busybox", "container create --link=a busybox"] {
            let (text, code) = refused(line);
            assert!(
                text.starts_with("--link is not supported: links are"),
                "{text}"
            );
            assert_eq!(code, 125);
        }
        let (text, code) = refused("swarm init");
        assert!(
            text.starts_with("'swarm' is not a rctr command: there is no Swarm"),
            "{text}"
        );
        assert_eq!(code, 1);
    }

    #[test]
    fn missing_and_bad_values_are_named() {
        for (line, message) in [
            ("run --name", "flag needs an argument: --name"),
            ("run -du", "flag needs an argument: 'u' in -du"),
            (
                "stop -t x a",
                "invalid argument \"x\" for \"-t, --timeout\" flag: invalid digit found in string",
            ),
            (
                "run --rm=maybe a",
                "invalid argument \"maybe\" for \"--rm\" flag: invalid syntax",
            ),
        ] {
            let (text, code) = refused(line);
            assert_eq!(
                (text.lines().next().unwrap(), code),
                (message, 125),
                "{line}"
            );
        }
        let loud = refused("--log-level loud ps");
        assert_eq!(loud, ("unable to parse logging level: loud".to_owned(), 1));
    }

    #[test]
    fn unknown_commands_are_named() {
        assert_eq!(
            refused("frobnicate"),
            (
                "'frobnicate' is not a rctr command.\nSee 'rctr --help'.".to_owned(),
                1
            )
        );
        let (text, code) = refused("image frobnicate");
        assert_eq!(
            (text.lines().next().unwrap(), code),
            ("'image frobnicate' is not a rctr command.", 1)
        );
    }

    #[test]
    fn counts_are_docker_s() {
        assert_eq!(
            require_names("rm", &[]).unwrap_err().text(),
            "\"rctr rm\" requires at least 1 argument.\nSee 'rctr rm --help'."
        );
        assert_eq!(require_one("logs", &[]).unwrap_err().code(), 1);
        assert!(require_none("ps", &["x".to_owned()]).is_err());
    }
}
