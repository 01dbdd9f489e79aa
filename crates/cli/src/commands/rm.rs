//! `rctr rm`.

use std::io::{self, Write};

use rctr_engine::{Error, RemoveOptions};

use crate::app::App;
use crate::cli::RmArgs;
use crate::failure::{Failure, GENERAL, Result, for_each};
use crate::usage::require_names;

pub fn run(app: &App, command: &str, args: &RmArgs) -> Result {
    require_names(command, &args.names)?;
    let options = RemoveOptions {
        force: args.force,
        volumes: args.volumes,
    };
    let engine = app.engine()?;
    for_each(&args.names, |name| match engine.remove(name, options) {
        Ok(()) => Ok(writeln!(io::stdout(), "{name}")?),
        Err(_) if name.is_empty() => Err(Failure::new(GENERAL, "container name cannot be empty")),
        Err(error @ Error::NoSuchContainer { .. }) if args.force => {
            // Worth a word, and what the user wanted.
            Failure::from(error).report();
            Ok(())
        }
        Err(error) => Err(error.into()),
    })
}
