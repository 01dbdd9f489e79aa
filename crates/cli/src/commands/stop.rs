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
    let signal = args.signal.as_ref().filter(|signal| !signal.is_empty());
    if let Some(signal) = signal {
        parse_signal(signal)
            .map_err(|error| Failure::argument(command, signal, "-s, --signal", &error))?;
    }
    Ok(StopOptions {
        signal: signal.cloned(),
        timeout: args.timeout,
    })
}
