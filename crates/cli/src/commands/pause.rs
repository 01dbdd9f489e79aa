//! `rctr pause` and `rctr unpause`.

use std::io::{self, Write};

use crate::app::App;
use crate::cli::NamesArgs;
use crate::failure::{Result, for_each};
use crate::usage::require_names;

pub fn pause(app: &App, command: &str, args: &NamesArgs) -> Result {
    require_names(command, &args.names)?;
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        engine.pause(name)?;
        Ok(writeln!(io::stdout(), "{name}")?)
    })
}

pub fn unpause(app: &App, command: &str, args: &NamesArgs) -> Result {
    require_names(command, &args.names)?;
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        engine.unpause(name)?;
        Ok(writeln!(io::stdout(), "{name}")?)
    })
}
