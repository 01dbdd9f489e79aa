//! `rctr copy`.

use std::sync::Arc;

use rctr_engine::CopyOptions;

use crate::app::App;
use crate::cli::CopyArgs;
use crate::failure::Result;
use crate::flags::platform;
use crate::online::wait_for;
use crate::output::push::{Deed, Silent, progress};
use crate::usage::wrong_count;

pub fn run(app: &App, command: &str, args: &CopyArgs) -> Result {
    let [source, destination] = &args.places[..] else {
        return Err(wrong_count(command, "requires exactly 2 arguments"));
    };
    let platform = platform(command, args.platform.as_deref())?;
    let options = CopyOptions {
        all: args.all,
        platform,
    };
    let progress = match args.quiet {
        true => Arc::new(Silent),
        false => progress(Deed::Copy),
    };
    wait_for(app.engine()?.copy(source, destination, &options, progress))?;
    Ok(0)
}
