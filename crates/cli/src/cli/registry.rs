//! The commands that talk to registries without an image of the store, and their arguments.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(override_usage = "rctr login [OPTIONS] [SERVER]")]
pub struct LoginArgs {
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    pub password_stdin: bool,
    /// Username
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    #[arg(hide = true)]
    pub servers: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr logout [SERVER]")]
pub struct LogoutArgs {
    #[arg(hide = true)]
    pub servers: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr copy [OPTIONS] SOURCE DESTINATION\n\n\
    SOURCE and DESTINATION: docker://NAME[:TAG|@DIGEST], oci:DIR[:TAG], oci-archive:FILE[:TAG],\n\
    docker-archive:FILE[:NAME[:TAG]] or rctr:NAME[:TAG]")]
pub struct CopyArgs {
    /// Copy all images of a multi-platform image, and its index
    #[arg(short, long)]
    pub all: bool,
    /// Copy the image for this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(hide = true)]
    pub places: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum ManifestCommand {
    /// Add additional information to a local image manifest
    Annotate(ManifestAnnotateArgs),
    /// Create a local manifest list for annotating and pushing to a registry
    Create(ManifestCreateArgs),
    /// Display an image manifest, or manifest list
    Inspect(ManifestInspectArgs),
    /// Push a manifest list to a repository
    Push(ManifestPushArgs),
    /// Delete one or more manifest lists from local storage
    Rm(ManifestRmArgs),
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr manifest create MANIFEST_LIST MANIFEST [MANIFEST...]")]
pub struct ManifestCreateArgs {
    /// Amend an existing manifest list
    #[arg(short, long)]
    pub amend: bool,
    /// Allow communication with an insecure registry
    #[arg(long)]
    pub insecure: bool,
    #[arg(hide = true)]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr manifest annotate [OPTIONS] MANIFEST_LIST MANIFEST")]
pub struct ManifestAnnotateArgs {
    /// Set architecture
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Set operating system
    #[arg(long, value_name = "OS")]
    pub os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub os_features: Vec<String>,
    /// Set operating system version
    #[arg(long, value_name = "VERSION")]
    pub os_version: Option<String>,
    /// Set architecture variant
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
    #[arg(hide = true)]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr manifest inspect [OPTIONS] [MANIFEST_LIST] MANIFEST")]
pub struct ManifestInspectArgs {
    /// Allow communication with an insecure registry
    #[arg(long)]
    pub insecure: bool,
    /// Output additional info including layers and platform
    #[arg(short, long)]
    pub verbose: bool,
    #[arg(hide = true)]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr manifest push [OPTIONS] MANIFEST_LIST")]
pub struct ManifestPushArgs {
    /// Allow push to an insecure registry
    #[arg(long)]
    pub insecure: bool,
    /// Remove the local manifest list after push
    #[arg(short, long)]
    pub purge: bool,
    #[arg(hide = true)]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(override_usage = "rctr manifest rm MANIFEST_LIST [MANIFEST_LIST...]")]
pub struct ManifestRmArgs {
    #[arg(hide = true)]
    pub names: Vec<String>,
}
