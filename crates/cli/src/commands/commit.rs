//! `rctr commit`.

use std::io::{self, Write};

use nix::sys::signal::{SigSet, Signal};
use rctr_engine::CommitRequest;

use crate::app::App;
use crate::cli::CommitArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::usage::wrong_count;

pub fn run(app: &App, command: &str, args: &CommitArgs) -> Result {
    let (name, reference) = match &args.words[..] {
        [name] => (name, None),
        [name, reference] => (
            name,
            Some(reference.clone()).filter(|name| !name.is_empty()),
        ),
        _ => {
            let what = "requires at least 1 and at most 2 arguments";
            return Err(wrong_count(command, what));
        }
    };
    let request = CommitRequest {
        author: args.author.clone().unwrap_or_default(),
        comment: args.message.clone().unwrap_or_default(),
        reference,
        pause: args.pause && !args.no_pause,
    };
    let engine = app.engine()?;
    // Whoever interrupts it must not leave the container frozen.
    let held = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    held.thread_block().map_err(io::Error::from)?;
    let id = engine.commit(name, &request, |config| changed(config, &args.change));
    let id = id?;
    writeln!(io::stdout(), "{id}")?;
    Ok(0)
}

/// A configuration changed by instructions of a Dockerfile.
pub fn changed(config: serde_json::Value, changes: &[String]) -> Result<serde_json::Value> {
    rctr_builder::apply_changes(config, changes)
        .map_err(|error| Failure::new(GENERAL, error.to_string()))
}
