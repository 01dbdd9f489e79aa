//! The flags of `build`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::legacy::Legacy;

#[derive(Debug, Args)]
#[command(override_usage = "rctr build [OPTIONS] PATH | URL | -")]
pub struct BuildArgs {
    /// Add a custom host-to-IP mapping (format: "host:ip")
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,
    /// Allow extra privileged entitlement (network.host, security.insecure)
    #[arg(long, value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,
    /// Add annotation to the image; TYPE: manifest, manifest-descriptor, index, index-descriptor, or manifest[OS/ARCH]
    #[arg(long, value_name = "[TYPE:]KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Attestation parameters (format: "type=sbom" or "type=provenance,mode=max")
    #[arg(long, value_name = "SPEC")]
    pub attest: Vec<String>,
    /// Set build-time variables
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Additional build contexts (e.g., name=path)
    #[arg(long, value_name = "NAME=PATH")]
    pub build_context: Vec<String>,
    /// External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")
    #[arg(long, value_name = "SPEC")]
    pub cache_from: Vec<String>,
    /// Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir", "type=inline")
    #[arg(long, value_name = "SPEC")]
    pub cache_to: Vec<String>,
    /// Set method for evaluating build
    #[arg(long, value_name = "METHOD", default_value = "build")]
    pub call: Call,
    /// Shorthand for "--call=check"
    #[arg(long)]
    pub check: bool,
    /// How the layers of an image are packed, unless --output says it: gzip, zstd, estargz or uncompressed
    #[arg(long, value_name = "TYPE")]
    pub compression: Option<String>,
    /// Level of compression: 0 to 9 for gzip and estargz, 1 to 22 for zstd
    #[arg(long, value_name = "LEVEL")]
    pub compression_level: Option<i32>,
    /// Name of the Dockerfile (default: "PATH/Dockerfile"); - reads it from standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Set metadata for an image
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Shorthand for "--output=type=docker": the image goes to the store, as it does anyway
    #[arg(long)]
    pub load: bool,
    /// Write build result metadata to a file
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Set the networking mode for the RUN instructions during build
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub network: String,
    /// Do not use cache when building the image
    #[arg(long)]
    pub no_cache: bool,
    /// Do not cache specified stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Output destination (format: "type=local,dest=path"): image, registry, oci, docker, tar, local
    #[arg(short, long, value_name = "SPEC")]
    pub output: Vec<String>,
    /// Set target platform for build
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// Set type of progress output; plain shows container output
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "auto",
        env = "BUILDKIT_PROGRESS"
    )]
    pub progress: ProgressKind,
    /// Shorthand for "--attest=type=provenance": true, false, mode=min or mode=max
    #[arg(long, value_name = "SPEC")]
    pub provenance: Option<String>,
    /// Always attempt to pull all referenced images
    #[arg(long)]
    pub pull: bool,
    /// Shorthand for "--output=type=registry"
    #[arg(long)]
    pub push: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short, long)]
    pub quiet: bool,
    /// Shorthand for "--attest=type=sbom": true or false
    #[arg(long, value_name = "BOOL")]
    pub sbom: Option<String>,
    /// Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")
    #[arg(long, value_name = "SPEC")]
    pub secret: Vec<String>,
    /// Size of /dev/shm of the RUN instructions
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<String>,
    /// SSH agent socket or keys to expose to the build (format: "default|<id>[=<socket>|<key>[,<key>]]")
    #[arg(long, value_name = "SPEC")]
    pub ssh: Vec<String>,
    /// Image identifier (format: "[registry/]repository[:tag]")
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub tag: Vec<String>,
    /// Set the target build stage to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Ulimit options
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    #[command(flatten)]
    pub legacy: Legacy,
    #[arg(hide = true)]
    pub words: Vec<String>,
}

/// What is done with a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Call {
    /// It is built
    Build,
    /// It is judged by the rules for good Dockerfiles
    #[value(alias = "lint")]
    Check,
    /// What the target takes is listed: build arguments, secrets, SSH agents
    Outline,
    /// Its stages are listed
    Targets,
}

/// How a build is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// `tty` on a terminal, else `plain`
    Auto,
    /// Line by line
    Plain,
    /// All steps at once, redrawn
    Tty,
    /// Nothing
    Quiet,
    /// One JSON document a line
    Rawjson,
}
