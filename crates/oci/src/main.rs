//! `rctr-oci`: an OCI runtime with runc's command line, for podman, docker, containerd and CRI-O.
//!
//! Every command is one short-lived process with one thread: what is known of a container lies below `--root`.

mod cli;
mod commands;
mod failure;
mod foreground;
mod log;
mod protect;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use self::cli::{Cli, Command, Global};
use self::failure::Failure;
use self::log::Log;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(word), Some(order)) = (arguments.next(), arguments.next())
        && word == rctr_runtime::oci::HOOKS_ARGUMENT
    {
        let order = order.to_str().and_then(|text| text.parse().ok());
        let code = order.map_or(125, rctr_runtime::oci::hooks_main);
        return ExitCode::from(code as u8);
    }
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return answer(&error),
    };
    // The working directory changes on some ways, and who we are.
    cli.global.root = std::path::absolute(commands::root(&cli.global)).ok();
    let log = match Log::open(&cli.global) {
        Ok(log) => log,
        Err(failure) => {
            eprintln!("rctr-oci: {failure}");
            return ExitCode::from(1);
        }
    };
    log.debug(|| format!("rctr-oci {}: {:?}", env!("CARGO_PKG_VERSION"), cli.command));
    let code = run(&cli, &log).unwrap_or_else(|failure| {
        log.error(&failure);
        failure.code()
    });
    log.debug(|| format!("exit code {code}"));
    ExitCode::from(code)
}

/// Help, or what is wrong with the words of a command: 1 as with runc, whose callers look into the log.
fn answer(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let words = Cli::command().ignore_errors(true).try_get_matches();
    let global = words.and_then(|words| Global::from_arg_matches(&words));
    if let Some(Ok(log)) = global.ok().map(|global| Log::open(&global)) {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        log.note(first.trim_start_matches("error: "));
    }
    ExitCode::from(1)
}

fn run(cli: &Cli, log: &Log) -> Result<u8, Failure> {
    use commands::{create, exec, inspect, kill, limits, restore, spec};
    let global = &cli.global;
    match &cli.command {
        Command::Create(args) => create::create(global, args, log),
        Command::Run(args) => create::run(global, args, log),
        Command::Start(args) => create::start(global, &args.id, log),
        Command::Exec(args) => {
            exec::exec(global, args, log).map_err(|failure| Failure::Exec(Box::new(failure)))
        }
        Command::Kill(args) => kill::kill(global, args),
        Command::Delete(args) => kill::delete(global, args, log),
        Command::Pause(args) => kill::pause(global, &args.id),
        Command::Resume(args) => kill::resume(global, &args.id),
        Command::State(args) => inspect::state(global, &args.id),
        Command::List(args) => inspect::list(global, args),
        Command::Ps(args) => inspect::ps(global, args),
        Command::Events(args) => limits::events(global, args),
        Command::Update(args) => limits::update(global, args, log),
        Command::Features => inspect::features(),
        Command::Spec(args) => spec::spec(args),
        Command::Checkpoint(args) => restore::checkpoint(global, args, log),
        Command::Restore(args) => restore::restore(global, args, log),
    }
}
