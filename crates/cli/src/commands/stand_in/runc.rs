//! `runc`: what containers there are, and freezing them.

use std::io::{self, Write};

use rctr_engine::model::{Container, Status};
use serde_json::{Value, json};

use super::refused;
use crate::app::App;
use crate::failure::{Failure, Result};

pub fn run(app: &App, args: &[&str]) -> Result {
    // Another runtime's directory of states would be a wish for its containers; ours are all in one place.
    let args = match args {
        ["--root", _, rest @ ..] => rest,
        args => args,
    };
    match args {
        ["--version" | "-v"] => {
            writeln!(
                io::stdout(),
                "runc version {} (rctr)",
                env!("CARGO_PKG_VERSION")
            )?;
        }
        ["list", "-f" | "--format", "json"] | ["list", "-f=json" | "--format=json"] => {
            let containers = app.engine()?.containers()?;
            let list: Vec<Value> = containers.iter().map(line).collect();
            writeln!(io::stdout(), "{}", Value::from(list))?;
        }
        ["pause", id] => app.engine()?.pause(id)?,
        ["resume", id] => app.engine()?.unpause(id)?,
        _ => return Err(only()),
    }
    Ok(0)
}

fn only() -> Failure {
    refused(
        "runc",
        "only list -f json, pause and resume can be had from rctr",
    )
}

/// A container as `runc list -f json` has it.
fn line(container: &Container) -> Value {
    let status = match container.state.status {
        Status::Created => "created",
        Status::Running | Status::Restarting => "running",
        Status::Paused => "paused",
        Status::Removing | Status::Exited | Status::Dead => "stopped",
    };
    json!({
        "ociVersion": "1.2.0",
        "id": container.id,
        "pid": container.state.pid,
        "status": status,
        "bundle": "",
        "rootfs": "",
        "created": container.created,
        "owner": "root",
    })
}
