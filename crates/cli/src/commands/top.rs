//! `rctr top`.

use std::io::{self, BufWriter, Write};

use crate::app::App;
use crate::cli::TopArgs;
use crate::failure::Result;
use crate::output::table::write_columns;
use crate::usage::wrong_count;

/// Width of the narrowest column.
const WIDTH: usize = 20;

pub fn run(app: &App, command: &str, args: &TopArgs) -> Result {
    let Some((name, arguments)) = args.words.split_first() else {
        return Err(wrong_count(command, "requires at least 1 argument"));
    };
    let top = app.engine()?.top(name, &arguments.join(" "))?;
    let mut text = top.titles.join("\t") + "\n";
    for process in &top.processes {
        text += &process.join("\t");
        text.push('\n');
    }
    let mut out = BufWriter::new(io::stdout().lock());
    write_columns(&mut out, &text, WIDTH)?;
    out.flush()?;
    Ok(0)
}
