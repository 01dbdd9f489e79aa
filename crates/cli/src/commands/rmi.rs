//! `rctr rmi`.

use std::io::{self, Write};

use rctr_engine::{Error, ImageRemoval, RemoveImage};

use crate::app::App;
use crate::cli::RmiArgs;
use crate::failure::{Failure, Result, for_each};
use crate::usage::require_names;

pub fn run(app: &App, command: &str, args: &RmiArgs) -> Result {
    require_names(command, &args.names)?;
    // Images have no parents, so there are none to keep: `--no-prune` is how it always is.
    let options = RemoveImage { force: args.force };
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        let removals = match engine.remove_image(name, options) {
            Err(error @ Error::NoSuchImage { .. }) if args.force => {
                Failure::from(error).report();
                return Ok(());
            }
            other => other?,
        };
        let mut out = io::stdout().lock();
        for removal in removals {
            match removal {
                ImageRemoval::Untagged(name) => writeln!(out, "Untagged: {name}")?,
                ImageRemoval::Deleted(digest) => writeln!(out, "Deleted: {digest}")?,
            }
        }
        Ok(())
    })
}
