//! Commands for rctr's own use.

use std::path::Path;

use clap::CommandFactory;

use crate::app::App;
use crate::cli::Cli;
use crate::failure::{Failure, GENERAL, Result};

/// Writes down the end of a container, and removes it if it was to be removed.
pub fn settle(app: &App, id: &str) -> Result {
    app.engine()?.settle(id)?;
    Ok(0)
}

/// Removes the configured bridge and what it added to the firewall.
pub fn network_remove(app: &App) -> Result {
    app.engine()?.remove_network()?;
    Ok(0)
}

/// Removes what nothing leads to: half pulls, directories of containers that never were.
pub fn collect_garbage(app: &App) -> Result {
    app.engine()?.collect_garbage()?;
    Ok(0)
}

/// Writes a manual page for each command.
pub fn man(dir: &Path) -> Result {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| Failure::new(GENERAL, format!("{}: {error}", dir.display())))?;
    Ok(0)
}
