//! `rctr create`.

use std::io::{self, Write};

use super::run::{CidFile, missing_image, pull_first, warn, with_image};
use crate::app::App;
use crate::cli::CreateArgs;
use crate::failure::Result;
use crate::flags::Parsed;

pub fn run(app: &App, command: &str, args: CreateArgs) -> Result {
    let quiet = args.container.quiet;
    let Parsed { options, warnings } =
        args.container
            .into_options(command, args.rest.words, false)?;
    warn(&warnings);
    let cidfile = CidFile::asked_for(&options)?;
    let engine = app.engine()?;
    pull_first(&engine, &options, quiet)?;
    let created = with_image(
        &engine,
        &options,
        quiet,
        || engine.create(&options),
        missing_image,
    )??;
    warn(&created.warnings);
    if let Some(file) = cidfile {
        file.write(&created.id)?;
    }
    writeln!(io::stdout(), "{}", created.id)?;
    Ok(0)
}
