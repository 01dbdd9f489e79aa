//! The arguments of commands that move files and make images of containers, and of those that manage volumes.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::FormatFlag;

#[derive(Debug, Args)]
#[command(
    override_usage = "rctr cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       rctr cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"
)]
pub struct CpArgs {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    pub archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(hide = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    #[arg(value_name = "CONTAINER")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[arg(value_name = "CONTAINER")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]")]
pub struct CommitArgs {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "AUTHOR")]
    pub author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "MESSAGE")]
    pub message: Option<String>,
    /// Pause container during commit
    #[arg(short, long, default_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    pub pause: bool,
    /// Do not pause container during commit
    #[arg(long, hide = true)]
    pub no_pause: bool,
    #[arg(hide = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]")]
pub struct ImportArgs {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "MESSAGE")]
    pub message: Option<String>,
    /// Set platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    #[arg(hide = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Create a volume
    Create(VolumeCreateArgs),
    /// Write what is in a volume as a tar archive
    Export(VolumeExportArgs),
    /// Unpack a tar archive in a volume
    Import(VolumeImportArgs),
    /// Display detailed information on one or more volumes
    Inspect(VolumeInspectArgs),
    /// List volumes
    #[command(alias = "list")]
    Ls(VolumeLsArgs),
    /// Remove unused local volumes
    Prune(VolumePruneArgs),
    /// Remove one or more volumes
    #[command(alias = "remove")]
    Rm(VolumeRmArgs),
    /// Update a volume (cluster volumes only)
    #[command(hide = true)]
    Update(VolumeUpdateArgs),
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr volume create [OPTIONS] [VOLUME]")]
pub struct VolumeCreateArgs {
    /// Specify volume driver name
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    pub driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Specify volume name
    #[arg(long, hide = true, value_name = "NAME")]
    pub name: Option<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub opt: Vec<String>,
    #[arg(hide = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct VolumeExportArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[arg(value_name = "VOLUME")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr volume import VOLUME [FILE]")]
pub struct VolumeImportArgs {
    /// Volume, and the archive; standard input if not said
    #[arg(hide = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct VolumeInspectArgs {
    #[command(flatten)]
    pub format: FormatFlag,
    #[arg(value_name = "VOLUME")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct VolumeLsArgs {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Format output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct VolumePruneArgs {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    pub all: bool,
    /// Provide filter values (e.g. "label=<label>")
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct VolumeRmArgs {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    pub force: bool,
    #[arg(value_name = "VOLUME")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct VolumeUpdateArgs {
    /// Cluster Volume Availability
    #[arg(long, value_name = "WORD")]
    pub availability: Option<String>,
    #[arg(value_name = "VOLUME")]
    pub names: Vec<String>,
}
