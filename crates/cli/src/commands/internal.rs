//! Commands for rctr's own use.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::path::Path;

use clap::CommandFactory;
use rctr_engine::Error;

use crate::app::App;
use crate::cli::Cli;
use crate::failure::{Failure, GENERAL, Result, chain};

/// Writes down the end of a container, and removes it if it was to be removed.
pub fn settle(app: &App, id: &str) -> Result {
    app.engine()?.settle(id)?;
    Ok(0)
}

/// Starts a container that has waited long enough since its end.
pub fn restart(app: &App, id: &str) -> Result {
    app.engine()?.restart_now(id)?;
    Ok(0)
}

/// Tells of a probe of a container's health, and of what it has changed.
pub fn probed(app: &App, id: &str, pid: i32, code: &str, status: Option<&str>) -> Result {
    let engine = app.engine()?;
    engine.tell_of_probe(id, pid, code.parse().ok(), status)?;
    Ok(0)
}

/// Tells that a container has run out of memory.
pub fn out_of_memory(app: &App, id: &str, pid: i32) -> Result {
    app.engine()?.tell_of_oom(id, pid)?;
    Ok(0)
}

/// Starts the containers whose restart policy says so.
pub fn start_after_boot(app: &App) -> Result {
    Ok(report(app.engine()?.start_after_boot()?))
}

/// Stops all containers; their restart policies hold after the next boot.
pub fn stop_for_shutdown(app: &App) -> Result {
    Ok(report(app.engine()?.stop_for_shutdown()?))
}

fn report(failed: Vec<(String, Error)>) -> u8 {
    for (name, error) in &failed {
        eprintln!("rctr: {name}: {}", chain(error));
    }
    if failed.is_empty() { 0 } else { GENERAL }
}

/// Tells of the end of a process that `exec` started.
pub fn exec_ended(app: &App, id: &str, exec: &str, code: i32) -> Result {
    app.engine()?.exec_ended(id, exec, code)?;
    Ok(0)
}

/// Removes the configured bridge and what it added to the firewall.
pub fn network_remove(app: &App) -> Result {
    app.engine()?.remove_network()?;
    Ok(0)
}

/// Serves names of containers, or watches who does. Whoever started it reads its standard output: nothing and the end of
/// it mean that it is ready.
pub fn dns(app: &App, guard: Option<i32>) -> Result {
    let engine = app.engine()?;
    let served = match guard {
        Some(server) => engine.guard_dns(server),
        None => engine.serve_dns(|| {
            if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
                let _ = nix::unistd::dup2_stdout(&null);
            }
        }),
    };
    served.map_err(|error| {
        println!("{}", chain(&error));
        Failure::silent(GENERAL)
    })?;
    Ok(0)
}

/// Removes what nothing leads to: half pulls, directories of containers that never were.
pub fn collect_garbage(app: &App) -> Result {
    app.engine()?.collect_garbage()?;
    Ok(0)
}

/// Prints which of Docker's commands and flags there are.
pub fn compatibility() -> Result {
    let document = crate::compatibility::document(&Cli::command());
    std::io::stdout().write_all(document.as_bytes())?;
    Ok(0)
}

/// Passes a container's output on to its log driver: descriptor `number` says which and how.
pub fn log_driver(number: RawFd) -> Result {
    // SAFETY: the monitor has opened it for us, and this is the only place that takes it.
    let mut file = unsafe { File::from_raw_fd(number) };
    let mut configuration = String::new();
    file.read_to_string(&mut configuration)?;
    rctr_engine::run_log_driver(&configuration)?;
    Ok(0)
}

/// Writes a manual page for each command.
pub fn man(dir: &Path) -> Result {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| Failure::new(GENERAL, format!("{}: {error}", dir.display())))?;
    Ok(0)
}
