//! `rctr restart`.

use std::io::{self, Write};

use super::run::warn;
use super::stop::options;
use crate::app::App;
use crate::cli::StopArgs;
use crate::failure::{Result, for_each};
use crate::usage::require_names;

pub fn run(app: &App, command: &str, args: &StopArgs) -> Result {
    require_names(command, &args.names)?;
    let options = options(command, args)?;
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        let started = engine.restart(name, &options)?;
        warn(&started.warnings);
        writeln!(io::stdout(), "{name}")?;
        Ok(())
    })
}
