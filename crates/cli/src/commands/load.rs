//! `rctr load`.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use rctr_engine::{LoadOptions, LoadSource};

use crate::app::App;
use crate::cli::LoadArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::flags::platform;
use crate::online::wait_for;
use crate::output::push::{Deed, Silent, progress};
use crate::usage::require_none;

pub fn run(app: &App, command: &str, args: &LoadArgs) -> Result {
    require_none(command, &args.surplus)?;
    let platform = platform(command, args.platform.as_deref())?;
    let source = source(args)?;
    let progress = match args.quiet || !io::stdout().is_terminal() {
        true => Arc::new(Silent),
        false => progress(Deed::Load),
    };
    let options = LoadOptions { platform };
    let loaded = wait_for(app.engine()?.load_images(source, &options, progress))?;
    let mut out = io::stdout().lock();
    for image in loaded {
        for (name, before) in &image.taken {
            writeln!(
                out,
                "The image {name} already exists, renaming the old one with ID {before} to empty string"
            )?;
        }
        for name in &image.names {
            writeln!(out, "Loaded image: {name}")?;
        }
        if image.names.is_empty() {
            writeln!(out, "Loaded image ID: {}", image.id)?;
        }
    }
    Ok(0)
}

fn source(args: &LoadArgs) -> Result<LoadSource> {
    let Some(path) = &args.input else {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(Failure::new(
                GENERAL,
                "requested load from stdin, but stdin is empty",
            ));
        }
        let file = File::from(stdin.as_fd().try_clone_to_owned()?);
        let path = "standard input".into();
        return Ok(LoadSource::Archive { file, path });
    };
    if path.is_dir() {
        return Ok(LoadSource::Directory(path.clone()));
    }
    match File::open(path) {
        Ok(file) => Ok(LoadSource::Archive {
            file,
            path: path.clone(),
        }),
        Err(e) => Err(Failure::new(
            GENERAL,
            format!("open {}: {e}", path.display()),
        )),
    }
}
