//! `rctr tag`.

use crate::app::App;
use crate::cli::TagArgs;
use crate::failure::Result;
use crate::usage::wrong_count;

pub fn run(app: &App, command: &str, args: &TagArgs) -> Result {
    let [source, target] = &args.names[..] else {
        return Err(wrong_count(command, "requires exactly 2 arguments"));
    };
    app.engine()?.tag(source, target)?;
    Ok(0)
}
