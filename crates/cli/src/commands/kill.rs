//! `rctr kill`.

use std::io::{self, Write};

use rctr_engine::options::parse_signal;

use crate::app::App;
use crate::cli::KillArgs;
use crate::failure::{Failure, Result, for_each};
use crate::usage::require_names;

pub fn run(app: &App, command: &str, args: &KillArgs) -> Result {
    require_names(command, &args.names)?;
    // As Docker: no word is the usual one.
    let signal = match args.signal.as_str() {
        "" => "KILL",
        signal => signal,
    };
    parse_signal(signal)
        .map_err(|error| Failure::argument(command, signal, "-s, --signal", &error))?;
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        engine.kill(name, signal)?;
        writeln!(io::stdout(), "{name}")?;
        Ok(())
    })
}
