//! `rctr run`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rctr_engine::options::{PullPolicy, RunOptions};
use rctr_engine::{AttachStream, Engine, Error, Streams};

use super::pull::{self, Report};
use crate::app::App;
use crate::cli::RunArgs;
use crate::failure::{ENGINE, Failure, GENERAL, Result};
use crate::flags::Parsed;
use crate::terminal::{Attached, DetachKeys, End, Pump, Signals, require_tty};

pub fn run(app: &App, command: &str, args: RunArgs) -> Result {
    let detach_keys = DetachKeys::parse(args.keys.detach_keys.as_deref())?;
    let quiet = args.container.quiet;
    let Parsed { options, warnings } =
        args.container
            .into_options(command, args.rest.words, args.detach)?;
    if !args.detach {
        require_tty(options.interactive, options.tty)?;
    }
    warn(&warnings);
    let cidfile = CidFile::asked_for(&options)?;
    let engine = app.engine_for_run()?;
    pull_first(&engine, &options, quiet).map_err(Failure::inside_run)?;
    let shown = options.attach;
    let streams = match args.detach {
        true => Streams::default(),
        false => Streams {
            stdin: options.interactive && shown.is_none_or(|to| to.stdin),
            stdout: shown.is_none_or(|to| to.stdout),
            stderr: shown.is_none_or(|to| to.stderr),
        },
    };
    // Signals are held back while it starts, but not while its image is fetched.
    let run = || {
        let signals = (!args.detach).then(Signals::catch);
        engine
            .run(&options, streams)
            .map(|started| (started, signals))
            .map_err(Box::new)
    };
    let outcome = with_image(&engine, &options, quiet, run, |failed| {
        missing_image(&failed.error)
    })
    .map_err(Failure::inside_run)?;
    let id = match &outcome {
        Ok((started, _)) => Some(&started.id),
        Err(error) => error.id.as_ref(),
    };
    if let (Some(file), Some(id)) = (cidfile, id) {
        file.write(id)?;
    }
    if let Some(id) = id.filter(|_| args.detach) {
        writeln!(io::stdout(), "{id}")?;
    }
    let (started, signals) = outcome.map_err(|error| Failure::of_run(&error.error))?;
    warn(&started.warnings);
    let (Some(mut stream), Some(signals)) = (started.attach, signals.transpose()?) else {
        return Ok(0);
    };
    let pump = Pump {
        stdin: streams.stdin,
        tty: options.tty,
        sig_proxy: args.sig_proxy,
        redraw: false,
        detach_keys,
    };
    let mut session = Attached {
        engine: &engine,
        id: &started.id,
        stream: &mut stream,
    };
    let end = pump.run(&mut session, &signals);
    follow_end(&engine, &started.id, stream, end)
}

/// What is left to do when a container that we started and attached to has ended, or the user left it.
pub fn follow_end(engine: &Engine, id: &str, stream: AttachStream, end: Result<End>) -> Result {
    match end {
        Ok(End::Exit(code)) => {
            engine.settle(id)?;
            // The monitor may have ended in this moment, and then it need not be told.
            let _ = stream.settled();
            Ok(code as u8)
        }
        // Who detaches from what he has started himself has got what he wanted.
        Ok(End::Detached) => Ok(0),
        Ok(other) => Ok(left(&other)),
        Err(failure) => {
            // If the monitor was killed, nobody else writes down that the container has ended.
            drop(stream);
            engine.settle(id)?;
            Err(failure)
        }
    }
}

/// The exit code when the process goes on without us; Docker takes detaching for a failure of `attach` and `exec`.
pub fn left(end: &End) -> u8 {
    match end {
        End::Exit(code) => *code as u8,
        End::Detached => {
            eprintln!("read escape sequence");
            GENERAL
        }
        End::Signal(signal) => (128 + signal) as u8,
    }
}

/// `--pull always`.
pub fn pull_first(engine: &Engine, options: &RunOptions, quiet: bool) -> Result<()> {
    match options.pull {
        PullPolicy::Always => fetch(engine, &options.image, options, quiet),
        PullPolicy::Missing | PullPolicy::Never => Ok(()),
    }
}

/// Makes a container; if its image is not here, fetches that and tries again.
pub fn with_image<T, E>(
    engine: &Engine,
    options: &RunOptions,
    quiet: bool,
    make: impl Fn() -> std::result::Result<T, E>,
    missing: impl Fn(&E) -> Option<&str>,
) -> Result<std::result::Result<T, E>> {
    let outcome = make();
    let Some(reference) = outcome.as_ref().err().and_then(missing) else {
        return Ok(outcome);
    };
    if options.pull == PullPolicy::Never {
        return Ok(outcome);
    }
    if !quiet {
        eprintln!(
            "Unable to find image '{}' locally",
            pull::with_tag(reference)
        );
    }
    fetch(engine, reference, options, quiet)?;
    Ok(make())
}

/// The image that has to be fetched before this can work.
pub fn missing_image(error: &Error) -> Option<&str> {
    match error {
        Error::ImageMissing { reference } => Some(reference),
        _ => None,
    }
}

fn fetch(engine: &Engine, reference: &str, options: &RunOptions, quiet: bool) -> Result<()> {
    let report = if quiet {
        Report::Nothing
    } else {
        Report::Stderr
    };
    pull::fetch(engine, reference, options.platform.as_deref(), report).map(drop)
}

pub fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("WARNING: {warning}");
    }
}

/// `--cidfile`: made before the container, filled after it, gone if there is none.
pub struct CidFile {
    path: PathBuf,
    file: File,
    filled: bool,
}

impl CidFile {
    pub fn asked_for(options: &RunOptions) -> Result<Option<CidFile>> {
        options.cidfile.as_deref().map(CidFile::create).transpose()
    }

    fn create(path: &Path) -> Result<CidFile> {
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(CidFile {
                path: path.into(),
                file,
                filled: false,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::new(
                ENGINE,
                format!(
                    "container ID file found, make sure the other container isn't running or delete {}",
                    path.display()
                ),
            )),
            Err(error) => Err(Failure::new(
                ENGINE,
                format!(
                    "failed to create the container ID file {}: {error}",
                    path.display()
                ),
            )),
        }
    }

    pub fn write(mut self, id: &str) -> Result<()> {
        self.filled = true;
        self.file.write_all(id.as_bytes()).map_err(|error| {
            Failure::new(
                ENGINE,
                format!(
                    "failed to write the container ID to {}: {error}",
                    self.path.display()
                ),
            )
        })
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if !self.filled {
            // Nothing points to it; the next run with this name will say if it is still there.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
