//! The arguments of commands that look at what goes on.

use clap::Args;

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Format output: json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PortArgs {
    /// Container, and the port in it: PRIVATE_PORT[/PROTO]
    #[arg(value_name = "CONTAINER [PRIVATE_PORT[/PROTO]]")]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RenameArgs {
    /// Container, and its new name
    #[arg(value_name = "CONTAINER NEW_NAME")]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub all: bool,
    /// Format output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    pub no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    pub no_trunc: bool,
    #[arg(value_name = "CONTAINER")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr top CONTAINER [ps OPTIONS]")]
pub struct TopArgs {
    /// Container, and arguments for ps
    #[arg(hide = true, trailing_var_arg = true)]
    pub words: Vec<String>,
}
