//! `rctr rename`.

use crate::app::App;
use crate::cli::RenameArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::usage::wrong_count;

pub fn run(app: &App, command: &str, args: &RenameArgs) -> Result {
    let [container, name] = &args.words[..] else {
        return Err(wrong_count(command, "requires exactly 2 arguments"));
    };
    if container.trim().is_empty() || name.trim().is_empty() {
        let message = "Error: Neither old nor new names may be empty";
        return Err(Failure::new(GENERAL, message));
    }
    app.engine()?.rename(container.trim(), name.trim())?;
    Ok(0)
}
