//! `rctr info`.

use std::io::{self, Write};

use rctr_engine::Info;

use crate::app::App;
use crate::cli::FormatArgs;
use crate::failure::{Failure, GENERAL, Result, TEMPLATE};
use crate::output::size;
use crate::output::template::{Functions, Names, Template};
use crate::usage::require_none;

pub fn run(app: &App, command: &str, args: &FormatArgs) -> Result {
    require_none(command, &args.surplus)?;
    let info = app.engine()?.info()?;
    let mut out = io::stdout().lock();
    match args.format.format.as_deref() {
        None | Some("") => {
            write_text(&mut out, &info)?;
            for warning in &info.warnings {
                eprintln!("{warning}");
            }
        }
        Some(format) => write_format(&mut out, format, &info, "*system.dockerInfo")?,
    }
    Ok(0)
}

/// Writes a document through `--format`.
pub fn write_format(
    out: &mut impl Write,
    format: &str,
    data: &impl serde::Serialize,
    type_name: &str,
) -> Result<()> {
    let data = serde_json::to_value(data).unwrap_or_default();
    if format == "json" {
        writeln!(out, "{data}")?;
        return Ok(());
    }
    let template = Template::parse(format, Functions::Values)
        .map_err(|message| Failure::new(TEMPLATE, message))?;
    let text = template
        .render(&data, Names::Type(type_name))
        .map_err(|message| Failure::new(GENERAL, message))?;
    writeln!(out, "{text}")?;
    Ok(())
}

fn write_text(out: &mut impl Write, info: &Info) -> io::Result<()> {
    writeln!(out, "Containers: {}", info.containers)?;
    writeln!(out, " Running: {}", info.containers_running)?;
    writeln!(out, " Paused: {}", info.containers_paused)?;
    writeln!(out, " Stopped: {}", info.containers_stopped)?;
    writeln!(out, "Images: {}", info.images)?;
    writeln!(out, "Server Version: {}", info.server_version)?;
    writeln!(out, "Storage Driver: {}", info.driver)?;
    writeln!(out, "Logging Driver: {}", info.logging_driver)?;
    writeln!(out, "Cgroup Driver: {}", info.cgroup_driver)?;
    writeln!(out, "Cgroup Version: {}", info.cgroup_version)?;
    writeln!(out, "Runtimes: {}", info.runtimes.join(" "))?;
    writeln!(out, "Default Runtime: {}", info.default_runtime)?;
    writeln!(out, "Security Options:")?;
    for option in &info.security_options {
        let mut parts = option
            .split(',')
            .map(|part| part.trim_start_matches("name="));
        writeln!(out, " {}", parts.next().unwrap_or_default())?;
        for part in parts {
            writeln!(out, "  {}", part.replacen("profile=", "Profile: ", 1))?;
        }
    }
    writeln!(out, "Kernel Version: {}", info.kernel_version)?;
    writeln!(out, "Operating System: {}", info.operating_system)?;
    writeln!(out, "OSType: {}", info.os_type)?;
    writeln!(out, "Architecture: {}", info.architecture)?;
    writeln!(out, "CPUs: {}", info.ncpu)?;
    writeln!(out, "Total Memory: {}", size::binary(info.mem_total))?;
    writeln!(out, "Name: {}", info.name)?;
    writeln!(out, "Root Dir: {}", info.docker_root_dir)?;
    writeln!(out, "State Dir: {}", info.state_dir)
}
