//! `rctr attach`.

use rctr_engine::Streams;
use rctr_engine::model::Status;

use super::run::left;
use crate::app::App;
use crate::cli::AttachArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::terminal::{Attached, DetachKeys, End, Pump, Signals, require_tty};
use crate::usage::require_one;

pub fn run(app: &App, command: &str, args: &AttachArgs) -> Result {
    let name = require_one(command, &args.names)?;
    let detach_keys = DetachKeys::parse(args.keys.detach_keys.as_deref())?;
    let engine = app.engine()?;
    let container = engine.container(name)?;
    if container.state.status == Status::Paused {
        return Err(Failure::new(
            GENERAL,
            "You cannot attach to a paused container, unpause it first",
        ));
    }
    if container.state.status == Status::Restarting {
        return Err(Failure::new(
            GENERAL,
            "You cannot attach to a restarting container, wait until it is running",
        ));
    }
    let options = &container.options;
    let stdin = options.interactive && !args.no_stdin;
    require_tty(stdin, options.tty)?;
    let signals = Signals::catch()?;
    let mut stream = engine.attach(
        &container.id,
        Streams {
            stdin,
            stdout: true,
            stderr: true,
        },
    )?;
    let pump = Pump {
        stdin,
        tty: options.tty,
        sig_proxy: args.sig_proxy && !options.tty,
        redraw: true,
        detach_keys,
    };
    let mut session = Attached {
        engine: &engine,
        id: &container.id,
        stream: &mut stream,
    };
    let end = pump.run(&mut session, &signals)?;
    if let End::Exit(_) = end {
        engine.settle(&container.id)?;
    }
    Ok(left(&end))
}
