//! `rctr diff`.

use std::io::{BufWriter, Write, stdout};
use std::os::unix::ffi::OsStrExt;

use crate::app::App;
use crate::cli::DiffArgs;
use crate::failure::Result;
use crate::usage::require_one;

pub fn run(app: &App, command: &str, args: &DiffArgs) -> Result {
    let name = require_one(command, &args.names)?;
    let mut out = BufWriter::new(stdout().lock());
    for change in app.engine()?.changes(name)? {
        write!(out, "{} ", change.kind.letter())?;
        out.write_all(change.path.as_os_str().as_bytes())?;
        writeln!(out)?;
    }
    out.flush()?;
    Ok(0)
}
