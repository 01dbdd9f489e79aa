//! `rctr exec`.

use rctr_engine::options::{ExecOptions, resolve_env};

use super::run::left;
use crate::app::App;
use crate::cli::ExecArgs;
use crate::failure::{ENGINE, Failure, Result, chain};
use crate::flags::host_variable;
use crate::terminal::{DetachKeys, ExecPump, Pump, Signals, require_tty};
use crate::usage::wrong_count;

pub fn run(app: &App, command: &str, args: ExecArgs) -> Result {
    let detach_keys = DetachKeys::parse(args.keys.detach_keys.as_deref())?;
    let mut words = args.words.into_iter();
    let (Some(name), cmd) = (words.next(), words.collect::<Vec<_>>()) else {
        return Err(wrong_count(command, "requires at least 2 arguments"));
    };
    if cmd.is_empty() {
        return Err(wrong_count(command, "requires at least 2 arguments"));
    }
    let env = resolve_env(&args.env, &args.env_file, host_variable)
        .map_err(|error| Failure::usage(ENGINE, command, chain(&error)))?;
    let options = ExecOptions {
        cmd,
        interactive: args.interactive,
        tty: args.tty,
        detach: args.detach,
        env,
        user: args.user,
        working_dir: args.workdir.filter(|dir| !dir.is_empty()),
        privileged: args.privileged,
    };
    let engine = app.engine()?;
    if !options.detach && options.interactive && options.tty {
        // A container that does not exist is the greater mistake.
        engine.container(&name)?;
        require_tty(true, true)?;
    }
    let signals = (!options.detach).then(Signals::catch).transpose()?;
    let mut session = engine
        .exec(&name, &options)
        .map_err(|error| match options.detach {
            // Nobody waits for the command, so its exit codes mean nothing.
            true => Failure::from(error),
            false => Failure::of_exec(&error),
        })?;
    let Some(signals) = signals else { return Ok(0) };
    let pump = Pump {
        stdin: options.interactive,
        tty: options.tty,
        sig_proxy: false,
        redraw: false,
        detach_keys,
    };
    let end = pump.run(&mut ExecPump::new(&mut session)?, &signals)?;
    Ok(left(&end))
}
