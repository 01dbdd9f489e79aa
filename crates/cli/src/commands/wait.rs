//! `rctr wait`.

use std::io::{self, Write};

use rctr_engine::WaitCondition;

use crate::app::App;
use crate::cli::WaitArgs;
use crate::failure::{ENGINE, Failure, Result, for_each};
use crate::usage::require_names;

pub fn run(app: &App, command: &str, args: &WaitArgs) -> Result {
    require_names(command, &args.names)?;
    let condition = match args.condition.as_str() {
        "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => {
            let message = format!("invalid condition: {other:?}");
            return Err(Failure::usage(ENGINE, command, message));
        }
    };
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        let code = engine.wait(name, condition)?;
        writeln!(io::stdout(), "{code}")?;
        Ok(())
    })
}
