//! `rctr completion`, and `rctr` alone.

use std::io;

use clap::CommandFactory;
use clap_complete::aot;

use crate::cli::{Cli, CompletionArgs, Shell};
use crate::failure::Result;

pub fn run(args: &CompletionArgs) -> Result {
    let shell = match args.shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut Cli::command(), "rctr", &mut script);
    io::Write::write_all(&mut io::stdout(), &script)?;
    Ok(0)
}

/// What there is to do.
pub fn help() -> Result {
    Cli::command().print_help()?;
    Ok(0)
}
