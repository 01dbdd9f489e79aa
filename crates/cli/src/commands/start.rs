//! `rctr start`.

use std::io::{self, Write};

use rctr_engine::{Engine, Streams};

use super::run::{follow_end, warn};
use crate::app::App;
use crate::cli::StartArgs;
use crate::failure::{Failure, GENERAL, Result, for_each};
use crate::terminal::{Attached, DetachKeys, Pump, Signals, require_tty};
use crate::usage::require_names;

pub fn run(app: &App, command: &str, args: &StartArgs) -> Result {
    require_names(command, &args.names)?;
    if args.attach || args.interactive {
        return match &args.names[..] {
            [name] => attached(&app.engine()?, name, args),
            _ => Err(Failure::new(
                GENERAL,
                "you cannot start and attach multiple containers at once",
            )),
        };
    }
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        let started = engine.start(name, Streams::default())?;
        warn(&started.warnings);
        writeln!(io::stdout(), "{name}")?;
        Ok(())
    })
}

fn attached(engine: &Engine, name: &str, args: &StartArgs) -> Result {
    let detach_keys = DetachKeys::parse(args.keys.detach_keys.as_deref())?;
    let options = engine.container(name)?.options;
    let stdin = args.interactive && options.interactive;
    require_tty(stdin, options.tty)?;
    let signals = Signals::catch()?;
    let started = engine.start(
        name,
        Streams {
            stdin,
            stdout: true,
            stderr: true,
        },
    )?;
    warn(&started.warnings);
    let Some(mut stream) = started.attach else {
        return Ok(0);
    };
    let pump = Pump {
        stdin,
        tty: options.tty,
        sig_proxy: true,
        redraw: false,
        detach_keys,
    };
    let mut session = Attached {
        engine,
        id: &started.id,
        stream: &mut stream,
    };
    let end = pump.run(&mut session, &signals);
    follow_end(engine, &started.id, stream, end)
}
