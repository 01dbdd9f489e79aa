//! `rctr export`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use rctr_engine::{NewFile, check_output};

use crate::app::App;
use crate::cli::ExportArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::usage::require_one;

pub fn run(app: &App, command: &str, args: &ExportArgs) -> Result {
    let name = require_one(command, &args.names)?;
    let output = args.output.as_deref();
    write_to(output, "container", |to| {
        app.engine()?.export(name, to).map_err(Failure::from)
    })?;
    Ok(0)
}

/// Lets `write` write to a file, which appears when it is complete, or to standard output, which must not be a terminal.
pub fn write_to(
    output: Option<&Path>,
    what: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let Some(path) = output else {
        if io::stdout().is_terminal() {
            return Err(Failure::new(
                GENERAL,
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        let mut out = io::stdout().lock();
        write(&mut out)?;
        return Ok(out.flush()?);
    };
    check_output(&path.to_string_lossy()).map_err(|error| {
        let error = crate::failure::chain(&error);
        Failure::new(GENERAL, format!("failed to export {what}: {error}"))
    })?;
    let new = NewFile::private(path)?;
    let mut file = new.file();
    write(&mut file)?;
    Ok(new.commit()?)
}
