//! `rctr`: containers from the command line.
//!
//! Nothing happens here but parsing, printing and looking after the terminal; the lifecycle is the engine's.

// Doc comments of flags are `--help` texts, in Docker's notation.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

mod app;
mod cli;
mod commands;
mod compatibility;
mod failure;
mod flags;
mod online;
mod output;
mod terminal;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    rctr_engine::settle_umask();
    match commands::run(std::env::args_os().collect()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}
