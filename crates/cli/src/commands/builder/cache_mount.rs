//! `rctr builder cache-mount`: directories of `RUN --mount=type=cache`, listed, exported and filled.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};

use rctr_builder::{BuildError, cache_mounts, export_cache_mount, import_cache_mount};
use rctr_engine::{Engine, NewFile};

use crate::app::App;
use crate::cli::CacheMountCommand;
use crate::failure::{Failure, GENERAL, Result, chain};
use crate::output::size;
use crate::output::table::write_aligned;

pub fn run(app: &App, command: &CacheMountCommand) -> Result {
    let engine = app.engine()?;
    match command {
        CacheMountCommand::Ls => list(&engine),
        CacheMountCommand::Export { id, output } => export(&engine, id, output.as_deref()),
        CacheMountCommand::Import { id, file } => import(&engine, id, file.as_deref()),
    }
}

fn list(engine: &Engine) -> Result {
    let mounts = cache_mounts(engine.store().root()).map_err(failed)?;
    let mut text = "ID\tSIZE\tIN USE\n".to_owned();
    for mount in mounts.iter().rev() {
        let size = size::human4(mount.size);
        text += &format!("{}\t{size}\t{}\n", mount.id, mount.in_use);
    }
    write_aligned(&mut io::stdout().lock(), &text)?;
    Ok(0)
}

fn export(engine: &Engine, id: &str, output: Option<&std::path::Path>) -> Result {
    let root = engine.store().root();
    let write = |to: &mut dyn Write| {
        let mut to = BufWriter::new(to);
        export_cache_mount(root, id, &mut to).map_err(failed)?;
        Ok::<_, Failure>(to.flush()?)
    };
    match output {
        Some(path) => {
            let new = NewFile::create(path)?;
            write(&mut new.file())?;
            new.commit()?;
        }
        None if io::stdout().is_terminal() => {
            return Err(Failure::new(
                GENERAL,
                "refusing to write an archive to a terminal: use -o or redirect",
            ));
        }
        None => write(&mut io::stdout().lock())?,
    }
    Ok(0)
}

fn import(engine: &Engine, id: &str, file: Option<&std::path::Path>) -> Result {
    let mut from: Box<dyn Read> = match file {
        Some(path) if path.as_os_str() != "-" => {
            let opened = File::open(path);
            Box::new(
                opened
                    .map_err(|e| Failure::new(GENERAL, format!("open {}: {e}", path.display())))?,
            )
        }
        _ => Box::new(io::stdin().lock()),
    };
    engine
        .store()
        .require_space()
        .map_err(rctr_engine::Error::from)?;
    import_cache_mount(engine.store().root(), id, &mut from).map_err(failed)?;
    Ok(0)
}

fn failed(error: BuildError) -> Failure {
    Failure::new(GENERAL, chain(&error))
}
