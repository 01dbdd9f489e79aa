//! `rctr system check`.

use std::io::{self, Write};

use crate::app::App;
use crate::cli::SystemCheckArgs;
use crate::failure::{GENERAL, Result};
use crate::usage::require_none;

pub fn run(app: &App, args: &SystemCheckArgs) -> Result {
    require_none("system check", &args.surplus)?;
    let engine = app.engine()?;
    let mut problems = engine.check()?;
    let mut out = io::stdout().lock();
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    if args.repair && !problems.is_empty() {
        let before = std::mem::take(&mut problems);
        problems = engine.repair()?;
        for problem in &problems {
            writeln!(out, "not repaired: {problem}")?;
        }
        let gone = before.iter().filter(|problem| !problems.contains(problem));
        writeln!(out, "Repaired: {}", gone.count())?;
    }
    match problems.is_empty() {
        true => Ok(0),
        false => Ok(GENERAL),
    }
}
