//! `rctr save`.

use std::io::{self, IsTerminal};
use std::path::Path;

use rctr_engine::{ArchiveFormat, ImageArchive, NewFile};

use crate::app::App;
use crate::cli::SaveArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::flags::platform;
use crate::online::wait_for;
use crate::usage::require_names;

pub fn run(app: &App, command: &str, args: &SaveArgs) -> Result {
    require_names(command, &args.names)?;
    let platform = platform(command, args.platform.as_deref())?;
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(Failure::new(
            GENERAL,
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    let engine = app.engine()?;
    let archive = engine.images_to_save(&args.names, platform.as_deref())?;
    match &args.output {
        None => write(archive, io::stdout(), Path::new("standard output"))?,
        Some(path) => {
            let new = NewFile::private(path)?;
            write(archive, new.file().try_clone()?, path)?;
            new.commit()?;
        }
    }
    Ok(0)
}

/// Writes it on a thread of its own, so that a signal ends it with nothing left behind.
fn write(archive: ImageArchive, out: impl io::Write + Send + 'static, path: &Path) -> Result<()> {
    let path = path.to_owned();
    wait_for(async move {
        let format = ArchiveFormat::Docker;
        let writing = tokio::task::spawn_blocking(move || archive.write(format, out, &path));
        match writing.await {
            Ok(written) => written,
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
    })
}
