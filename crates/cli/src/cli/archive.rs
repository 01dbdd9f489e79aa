//! The commands that write and read archives of images, look at how images came to be, and clear them away; their
//! arguments.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::Lazy;
use crate::commands::BuildArgs;

#[derive(Debug, Args)]
pub struct SaveArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<std::path::PathBuf>,
    /// Save only the given platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    #[arg(value_name = "IMAGE")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr load [OPTIONS]")]
pub struct LoadArgs {
    /// Read from a tar archive file or a directory with an OCI layout, instead of STDIN
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<std::path::PathBuf>,
    /// Load only the given platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Format output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, default_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    pub human: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Show history for the given platform
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Only show image IDs
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(value_name = "IMAGE")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ImagePruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    pub all: bool,
    /// Provide filter values (e.g. "until=<timestamp>", "label=<key>=<value>")
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct SystemPruneArgs {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    pub all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    pub volumes: bool,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ContainerPruneArgs {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum BuilderCommand {
    /// Build an image from a Dockerfile
    #[command(alias = "b")]
    Build(Lazy<BuildArgs>),
    /// Disk usage of the build cache
    Du(BuilderDuArgs),
    /// Remove build cache
    Prune(BuilderPruneArgs),
    /// Manage directories of RUN --mount=type=cache
    #[command(subcommand_required = true, arg_required_else_help = true)]
    CacheMount {
        #[command(subcommand)]
        command: CacheMountCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum CacheMountCommand {
    /// List cache mounts
    #[command(alias = "list")]
    Ls,
    /// Write what a cache mount holds as a tar archive
    Export {
        /// Its id; without id= in the Dockerfile that is its target
        id: String,
        /// Write to a file, instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Make a cache mount hold what a tar archive has, instead of what it holds now
    Import {
        /// Its id; without id= in the Dockerfile that is its target
        id: String,
        /// The archive; standard input if not said
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct BuilderDuArgs {
    /// Provide filter values
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Provide a more verbose output
    #[arg(long)]
    pub verbose: bool,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct BuilderPruneArgs {
    /// Remove all unused build cache, not just dangling ones
    #[arg(short, long)]
    pub all: bool,
    /// Provide filter values (e.g. "until=24h")
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    /// Maximum amount of disk space allowed to keep for cache
    #[arg(long, value_name = "BYTES")]
    pub max_used_space: Option<String>,
    /// Target amount of free disk space after pruning
    #[arg(long, value_name = "BYTES")]
    pub min_free_space: Option<String>,
    /// Amount of disk space always allowed to keep for cache
    #[arg(long, alias = "keep-storage", value_name = "BYTES")]
    pub reserved_space: Option<String>,
    /// Provide a more verbose output
    #[arg(long)]
    pub verbose: bool,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}
