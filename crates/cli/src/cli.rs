//! The command line as it is typed: commands and flags, not yet checked.
//!
//! `usage` gives the parser Docker's manners; each command turns its arguments into the engine's options.

mod archive;
mod container;
mod files;
mod image;
mod lazy;
mod network;
mod registry;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

pub use archive::*;
pub use container::*;
pub use files::*;
pub use image::*;
pub use lazy::{Lazy, for_line};
pub use network::*;
pub use registry::*;
pub use watch::*;

/// A container runtime without a daemon
#[derive(Debug, Parser)]
#[command(
    name = "rctr",
    bin_name = "rctr",
    disable_version_flag = true,
    args_override_self = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Directory of images, containers and volumes (default: /var/lib/rctr; without root ~/.local/share/rctr)
    #[arg(long, env = "RCTR_ROOT", value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Directory of what does not outlive a reboot (default: /run/rctr; without root $XDG_RUNTIME_DIR/rctr)
    #[arg(long, env = "RCTR_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Configuration file (default: /etc/rctr/config.toml; without root first ~/.config/rctr/config.toml)
    #[arg(long, env = "RCTR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log what is done to standard error
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Log to standard error from this level on
    #[arg(short, long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Print version information and quit
    #[arg(short, long)]
    pub version: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    #[value(alias = "panic")]
    Fatal,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> LevelFilter {
        match level {
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Error | LogLevel::Fatal => LevelFilter::ERROR,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    OnContainers(ContainerVerb),
    /// List containers
    Ps(PsArgs),
    #[command(flatten)]
    OnImages(ImageVerb),
    /// Manage the build cache
    #[command(subcommand_required = true, arg_required_else_help = true)]
    #[command(alias = "buildx")]
    Builder {
        #[command(subcommand)]
        command: BuilderCommand,
    },
    /// Copy an image between registries, layouts, archives and the store
    Copy(CopyArgs),
    /// Serve the Kubernetes Container Runtime Interface to a kubelet
    Cri(CriArgs),
    /// Get real time events
    Events(EventsArgs),
    /// Manage image manifests and manifest lists
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Manifest {
        #[command(subcommand)]
        command: Lazy<ManifestCommand>,
    },
    /// List images
    Images(ImagesArgs),
    /// Authenticate to a registry
    Login(LoginArgs),
    /// Log out from a registry
    Logout(LogoutArgs),
    /// Return low-level information on containers, images, volumes and networks
    Inspect(InspectArgs),
    /// Manage networks
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Network {
        #[command(subcommand)]
        command: Lazy<NetworkCommand>,
    },
    /// Remove one or more images
    Rmi(RmiArgs),
    /// Display system-wide information
    Info(FormatArgs),
    /// Show the rctr version information
    Version(FormatArgs),
    /// Manage containers
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Container {
        #[command(subcommand)]
        command: Lazy<ContainerCommand>,
    },
    /// Manage images
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Image {
        #[command(subcommand)]
        command: Lazy<ImageCommand>,
    },
    /// Look at the whole system
    #[command(subcommand_required = true, arg_required_else_help = true)]
    System {
        #[command(subcommand)]
        command: Lazy<SystemCommand>,
    },
    /// Manage volumes
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Volume {
        #[command(subcommand)]
        command: Lazy<VolumeCommand>,
    },
    /// Print a completion script for a shell
    Completion(CompletionArgs),
    #[command(hide = true, subcommand_required = true)]
    Internal {
        #[command(subcommand)]
        command: Lazy<InternalCommand>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    #[command(flatten)]
    Verb(ContainerVerb),
    /// List containers
    #[command(alias = "list", alias = "ps")]
    Ls(PsArgs),
    /// Display detailed information on one or more containers
    Inspect(ContainerInspectArgs),
    /// Remove all stopped containers
    Prune(ContainerPruneArgs),
}

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    #[command(flatten)]
    Verb(ImageVerb),
    /// List images
    #[command(alias = "list")]
    Ls(ImagesArgs),
    /// Remove one or more images
    #[command(alias = "remove")]
    Rm(RmiArgs),
    /// Display detailed information on one or more images
    Inspect(ImageInspectArgs),
    /// Remove unused images
    Prune(ImagePruneArgs),
}

#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Look for records, files and processes that do not agree; the exit code is 1 if there are any
    Check(SystemCheckArgs),
    /// Show disk usage
    Df(DfArgs),
    /// Get real time events
    Events(EventsArgs),
    /// Remove unused data
    Prune(SystemPruneArgs),
    /// Display system-wide information
    Info(FormatArgs),
    /// Make this machine a node that minikube takes for one with CRI-O
    InstallNode(InstallNodeArgs),
}

#[derive(Debug, Args)]
pub struct InstallNodeArgs {
    /// Whose place to take: crio
    #[arg(long = "as", value_name = "NAME")]
    pub stands_for: String,
    /// Where crio, podman and runc go; must come before the others' directories in PATH
    #[arg(long, value_name = "DIR", default_value = "/usr/local/bin")]
    pub bin_dir: PathBuf,
    /// Write below this directory instead of /, and start nothing
    #[arg(long, value_name = "DIR")]
    pub destdir: Option<PathBuf>,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum InternalCommand {
    /// What a monitor calls when its container has ended and nobody else looks after it
    Settle { id: String },
    /// What becomes of a timer that was left behind when a container with a restart policy ended
    Restart { id: String },
    /// What a monitor calls when a probe of its container's health has ended
    Probed {
        id: String,
        pid: i32,
        /// Its exit code, or `none` if it could not be executed
        #[arg(allow_hyphen_values = true)]
        code: String,
        /// The health, if it is another one now
        status: Option<String>,
    },
    /// What a monitor calls when its container runs out of memory
    OutOfMemory { id: String, pid: i32 },
    /// Start the containers whose restart policy says so; for the unit that does it at boot
    StartAfterBoot,
    /// Stop all containers as nobody by hand; for the unit that does it before the machine goes down
    StopForShutdown,
    /// Answer names of containers for those on users' networks, until the last of them has ended
    Dns {
        /// Watch the server of this process id instead
        #[arg(long, value_name = "PID")]
        guard: Option<i32>,
    },
    /// What a monitor calls when a process that `exec` started has ended and nobody waits for it
    ExecEnded { id: String, exec: String, code: i32 },
    /// Print docs/docker-compatibility.md
    Compatibility,
    /// Remove what interrupted commands have left in the store
    Gc,
    /// What a monitor starts for a container whose output goes to another place
    LogDriver { configuration: i32 },
    /// Remove the bridges and their firewall rules
    NetworkRemove,
    /// Write the manual pages
    Man { dir: PathBuf },
    /// Do what another program would do, as far as minikube asks it of its node
    StandIn {
        /// crio, podman or runc
        program: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
pub struct CriArgs {
    /// Socket to serve on (default: `cri.socket` of the configuration, unix:///run/rctr/cri.sock)
    #[arg(long, value_name = "unix://PATH")]
    pub listen: Option<String>,
    /// Configuration file, as before the command
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

/// The format of one thing.
#[derive(Debug, Args)]
pub struct FormatFlag {
    /// Format output: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// What all lists have.
#[derive(Debug, Args)]
pub struct ListFlags {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Format output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub format: FormatFlag,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    pub size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    #[arg(value_name = "NAME|ID")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct FormatArgs {
    #[command(flatten)]
    pub format: FormatFlag,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DfArgs {
    /// Show detailed information on space usage
    #[arg(short, long)]
    pub verbose: bool,
    /// Format output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    #[arg(hide = true)]
    pub surplus: Vec<String>,
}

#[derive(Debug, Args)]
pub struct CompletionArgs {
    pub shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}
