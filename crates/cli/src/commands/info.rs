//! `rctr info`.

use std::io::{self, BufWriter, Write};

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
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format.format.as_deref() {
        None | Some("") => {
            write_text(&mut out, &info)?;
            for warning in &info.warnings {
                eprintln!("{warning}");
            }
        }
        Some(format) => write_format(&mut out, format, &info, "*system.dockerInfo")?,
    }
    out.flush()?;
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

/// As Docker's command line has it.
fn write_text(out: &mut impl Write, info: &Info) -> io::Result<()> {
    let client = &info.client_info;
    writeln!(out, "Client:")?;
    writeln!(out, " Version:    {}", client.version)?;
    writeln!(out, " Context:    {}", client.context)?;
    writeln!(out, " Debug Mode: {}", client.debug)?;
    writeln!(out)?;
    writeln!(out, "Server:")?;
    writeln!(out, " Containers: {}", info.containers)?;
    writeln!(out, "  Running: {}", info.containers_running)?;
    writeln!(out, "  Paused: {}", info.containers_paused)?;
    writeln!(out, "  Stopped: {}", info.containers_stopped)?;
    writeln!(out, " Images: {}", info.images)?;
    writeln!(out, " Server Version: {}", info.server_version)?;
    writeln!(out, " Storage Driver: {}", info.driver)?;
    for [name, value] in &info.driver_status {
        writeln!(out, "  {name}: {value}")?;
    }
    writeln!(out, " Logging Driver: {}", info.logging_driver)?;
    writeln!(out, " Cgroup Driver: {}", info.cgroup_driver)?;
    writeln!(out, " Cgroup Version: {}", info.cgroup_version)?;
    writeln!(out, " Plugins:")?;
    writeln!(out, "  Volume: {}", info.plugins.volume.join(" "))?;
    writeln!(out, "  Network: {}", info.plugins.network.join(" "))?;
    writeln!(out, "  Log: {}", info.plugins.log.join(" "))?;
    writeln!(out, " Swarm: {}", info.swarm.local_node_state)?;
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    writeln!(out, " Runtimes: {}", runtimes.join(" "))?;
    writeln!(out, " Default Runtime: {}", info.default_runtime)?;
    writeln!(out, " Init Binary: {}", info.init_binary)?;
    writeln!(out, " Security Options:")?;
    for option in &info.security_options {
        let mut parts = option
            .split(',')
            .map(|part| part.trim_start_matches("name="));
        writeln!(out, "  {}", parts.next().unwrap_or_default())?;
        for part in parts {
            writeln!(out, "   {}", part.replacen("profile=", "Profile: ", 1))?;
        }
    }
    writeln!(out, " Kernel Version: {}", info.kernel_version)?;
    writeln!(out, " Operating System: {}", info.operating_system)?;
    writeln!(out, " OSType: {}", info.os_type)?;
    writeln!(out, " Architecture: {}", info.architecture)?;
    writeln!(out, " CPUs: {}", info.ncpu)?;
    writeln!(out, " Total Memory: {}", size::binary(info.mem_total))?;
    writeln!(out, " Name: {}", info.name)?;
    writeln!(out, " ID: {}", info.id)?;
    writeln!(out, " Docker Root Dir: {}", info.docker_root_dir)?;
    writeln!(out, " State Dir: {}", info.state_dir)?;
    writeln!(out, " Debug Mode: {}", info.debug)?;
    for (name, proxy) in [
        ("HTTP Proxy", &info.http_proxy),
        ("HTTPS Proxy", &info.https_proxy),
        ("No Proxy", &info.no_proxy),
    ] {
        if !proxy.is_empty() {
            writeln!(out, " {name}: {proxy}")?;
        }
    }
    writeln!(out, " Experimental: {}", info.experimental_build)?;
    let registries = &info.registry_config;
    let indexes = registries.index_configs.values();
    let insecure = indexes
        .filter(|index| !index.secure)
        .map(|index| &index.name);
    list(
        out,
        "Insecure Registries",
        insecure.chain(&registries.insecure_registry_cidrs),
    )?;
    list(out, "Registry Mirrors", &registries.mirrors)?;
    writeln!(out, " Live Restore Enabled: {}", info.live_restore_enabled)
}

fn list<'a>(
    out: &mut impl Write,
    title: &str,
    lines: impl IntoIterator<Item = &'a String>,
) -> io::Result<()> {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        writeln!(out, " {title}:")?;
    }
    lines.try_for_each(|line| writeln!(out, "  {line}"))
}
