//! `rctr stop`.

use std::io::{self, Write};

use rctr_engine::StopOptions;
use rctr_engine::options::parse_signal;

use crate::app::App;
use crate::cli::StopArgs;
use crate::failure::{Failure, Result, for_each};
use crate::usage::require_names;

pub fn run(app: &App, command: &str, args: &StopArgs) -> Result {
    require_names(command, &args.names)?;
    let options = options(command, args)?;
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        engine.stop(name, &options)?;
        writeln!(io::stdout(), "{name}")?;
        Ok(())
    })
}

/// How `stop` and `restart` are to stop.
pub fn options(command: &str, args: &StopArgs) -> Result<StopOptions> {
    if let Some(signal) = &args.signal {
        parse_signal(signal)
            .map_err(|error| Failure::argument(command, signal, "-s, --signal", &error))?;
    }
    Ok(StopOptions {
        signal: args.signal.clone(),
        timeout: args.timeout,
    })
}
