//! The commands that work on images, which are there with and without `image` before them, and their arguments.

use clap::{ArgAction, Args, Subcommand};

use super::{FormatFlag, HistoryArgs, ImportArgs, Lazy, ListFlags, LoadArgs, SaveArgs};
use crate::commands::BuildArgs;

#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// Build an image from a Dockerfile
    Build(Lazy<BuildArgs>),
    /// Show the history of an image
    History(HistoryArgs),
    /// Import the contents from a tarball to create a filesystem image
    Import(ImportArgs),
    /// Load an image from a tar archive or STDIN
    Load(LoadArgs),
    /// Download an image from a registry
    Pull(PullArgs),
    /// Upload an image to a registry
    Push(PushArgs),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(SaveArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(TagArgs),
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Skip image verification (images are verified by their digests)
    #[arg(long, default_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    pub disable_content_trust: bool,
    /// Set platform if the registry has several
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PushArgs {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Skip image verification (images are verified by their digests)
    #[arg(long, default_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    pub disable_content_trust: bool,
    /// Pack all layers so: gzip, zstd or uncompressed. If not said, those that were built here become gzip, and others stay
    #[arg(long, alias = "compression-format", value_name = "TYPE")]
    pub compression: Option<String>,
    /// Level of compression: 0 to 9 for gzip, 1 to 22 for zstd
    #[arg(long, value_name = "LEVEL")]
    pub compression_level: Option<i32>,
    /// Push a platform-specific manifest as a single-platform image to the registry
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(value_name = "NAME[:TAG]")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]")]
pub struct TagArgs {
    #[arg(hide = true)]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    pub all: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    #[command(flatten)]
    pub list: ListFlags,
    /// Only show image IDs
    #[arg(short, long)]
    pub quiet: bool,
    /// List images with their platforms as a tree
    #[arg(long)]
    pub tree: bool,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RmiArgs {
    /// Force removal of the image
    #[arg(short, long)]
    pub force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    pub no_prune: bool,
    #[arg(value_name = "IMAGE")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ImageInspectArgs {
    #[command(flatten)]
    pub format: FormatFlag,
    #[arg(value_name = "IMAGE")]
    pub names: Vec<String>,
}
