//! `rctr build`.

mod args;
mod attest;
mod cache;
mod call;
mod interrupt;
mod legacy;
mod options;
mod outputs;
mod report;
mod ssh;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rctr_builder::build;
use serde_json::json;

use crate::app::App;
use crate::failure::{Failure, GENERAL, Result};
use crate::output::build::{View, summary, view};

use interrupt::Interrupt;

pub use args::{BuildArgs, ProgressKind};

use args::Call;
pub(super) use outputs::compression;

pub fn run(app: &App, command: &str, args: &BuildArgs) -> Result {
    let (options, agents) = options::from(command, args)?;
    let engine = app.engine()?;
    // Before there are other threads: a signal must wait for whoever watches.
    let interrupt = Interrupt::watch()?;
    let view: View = match args.quiet {
        true => view(ProgressKind::Quiet)?,
        false => view(args.progress)?,
    };
    if args.check || args.call != Call::Build {
        return call::call(&engine, &options, &view, args);
    }
    let outcome = build(&engine, &options, view.progress(), &interrupt.cancel);
    drop(agents);
    view.finish();
    let built = outcome.map_err(|failure| match interrupt.signal() {
        Some(signal) => Failure::silent(128 + signal as u8),
        None => report::failure(&failure, &view),
    })?;
    let id = built.image.to_string();
    if let Some(path) = &args.iidfile {
        write(path, id.as_bytes())?;
    }
    if let Some(path) = &args.metadata_file {
        let metadata = json!({
            "containerimage.config.digest": id,
            "containerimage.digest": built.manifest.to_string(),
            "image.name": options.tags.join(","),
        });
        write(path, format!("{metadata:#}\n").as_bytes())?;
    }
    if !matches!(args.progress, ProgressKind::Quiet | ProgressKind::Rawjson) && !args.quiet {
        eprint!("{}", summary(&built.lint.warnings));
    }
    if args.quiet {
        writeln!(io::stdout(), "{id}")?;
    }
    Ok(0)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content)
        .map_err(|e| Failure::new(GENERAL, format!("write {}: {e}", path.display())))
}
