//! `rctr wait`.

use std::io::{self, Write};

use crate::app::App;
use crate::cli::NamesArgs;
use crate::failure::{Result, for_each};
use crate::usage::require_names;

pub fn run(app: &App, command: &str, args: &NamesArgs) -> Result {
    require_names(command, &args.names)?;
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        let code = engine.wait(name)?;
        writeln!(io::stdout(), "{code}")?;
        Ok(())
    })
}
