//! The command line, runc's.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(
    name = "rctr-oci",
    // Who looks for a runtime's version looks for this word.
    version = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.2.1"),
    about = "Runs containers from OCI bundles",
    disable_help_subcommand = false
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Log more.
    #[arg(long)]
    pub debug: bool,
    /// Also log to this file.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// The log's format.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Directory of the containers' state [default: /run/rctr-oci, or below $XDG_RUNTIME_DIR].
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The program that checkpoints.
    #[arg(long, value_name = "FILE", default_value = "criu")]
    pub criu: PathBuf,
    /// Ask systemd for cgroups; cgroupsPath is then "slice:prefix:name".
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Leave errors about cgroup permissions be: true, false or auto.
    #[arg(long, value_name = "WHEN", default_value = "auto", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub rootless: Rootless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rootless {
    True,
    False,
    Auto,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Save a running container's processes to disk (needs CRIU).
    Checkpoint(Box<Checkpoint>),
    /// Make a container; its program waits for `start`.
    Create(Box<Create>),
    /// Remove what is kept of a container that has stopped.
    Delete(Delete),
    /// Show what a container uses.
    Events(Events),
    /// Run a further process in a container.
    Exec(Box<Exec>),
    /// Show what this runtime can do.
    Features,
    /// Send a signal to a container's init.
    Kill(Kill),
    /// List the containers below --root.
    List(List),
    /// Freeze a container's processes.
    Pause(Id),
    /// Show a container's processes.
    Ps(Ps),
    /// Make a container from a checkpoint (needs CRIU).
    Restore(Box<Restore>),
    /// Let a container's processes go on.
    Resume(Id),
    /// Make a container, start it, and wait for its end.
    Run(Box<Run>),
    /// Write a configuration to start from.
    Spec(Spec),
    /// Let a created container execute its program.
    Start(Id),
    /// Show a container's state.
    State(Id),
    /// Change a container's limits.
    Update(Box<Update>),
}

#[derive(Debug, Args)]
pub struct Id {
    /// The container.
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

#[derive(Debug, Args)]
pub struct Create {
    /// Directory of config.json.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Send the terminal's master side to this socket.
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Send init's pidfd to this socket.
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Write init's pid to this file.
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Move the root mount instead of pivoting.
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Give so many descriptors from 3 on to the program.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    #[command(flatten)]
    pub id: Id,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub create: Create,
    /// Do not wait for its end.
    #[arg(short, long)]
    pub detach: bool,
    /// Do not delete the container when it has ended.
    #[arg(long)]
    pub keep: bool,
    /// Do not become the parent of what the container leaves behind.
    #[arg(long)]
    pub no_subreaper: bool,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// Working directory.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Set an environment variable.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Allocate a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// User and group: UID or UID:GID.
    #[arg(short, long, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Supplementary groups.
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// A process.json that describes all of it.
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Do not wait for its end.
    #[arg(short, long)]
    pub detach: bool,
    /// Write its pid to this file.
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Send the terminal's master side to this socket.
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Send its pidfd to this socket.
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// SELinux label, instead of the container's.
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile.
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// It can gain no privileges.
    #[arg(long)]
    pub no_new_privs: bool,
    /// Add a capability.
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Give so many descriptors from 3 on to it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Run it in a cgroup below the container's.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Also in a paused container.
    #[arg(long)]
    pub ignore_paused: bool,
    /// Do not become the parent of what it leaves behind.
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
    #[command(flatten)]
    pub id: Id,
    /// The command.
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Kill {
    /// Send it to every process of the container.
    #[arg(short, long)]
    pub all: bool,
    #[command(flatten)]
    pub id: Id,
    /// Name or number.
    #[arg(default_value = "SIGTERM")]
    pub signal: String,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// Also one that runs, which is killed; fine if there is none.
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub id: Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub struct List {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Only ids.
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Ps {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    #[command(flatten)]
    pub id: Id,
    /// Options of ps(1).
    #[arg(
        value_name = "PS OPTIONS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub options: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Events {
    /// Seconds between two looks.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub interval: String,
    /// Look once.
    #[arg(long)]
    pub stats: bool,
    #[command(flatten)]
    pub id: Id,
}

#[derive(Debug, Args)]
pub struct Spec {
    /// Directory for config.json.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// For a user other than root.
    #[arg(long)]
    pub rootless: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CgroupsMode {
    Soft,
    Full,
    Strict,
    Ignore,
}

/// What `checkpoint` and `restore` have in common.
#[derive(Debug, Args)]
pub struct Images {
    /// Directory of the checkpoint.
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    pub image_path: PathBuf,
    /// Directory of CRIU's log [default: that of the checkpoint].
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,
    /// Keep established TCP connections.
    #[arg(long)]
    pub tcp_established: bool,
    /// Allow Unix sockets that are connected to others outside.
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Allow a terminal that is shared with processes outside.
    #[arg(long)]
    pub shell_job: bool,
    /// Keep file locks.
    #[arg(long)]
    pub file_locks: bool,
    /// What becomes of cgroups when they are restored.
    #[arg(long, value_enum, value_name = "MODE", default_value_t = CgroupsMode::Soft)]
    pub manage_cgroups_mode: CgroupsMode,
    /// Leave what is in a namespace to others: network.
    #[arg(long, value_name = "NAMESPACE")]
    pub empty_ns: Vec<String>,
    /// Share memory between checkpoints (not supported).
    #[arg(long, hide = true)]
    pub auto_dedup: bool,
    /// Restore memory when it is used (not supported).
    #[arg(long, hide = true)]
    pub lazy_pages: bool,
}

#[derive(Debug, Args)]
pub struct Checkpoint {
    #[command(flatten)]
    pub images: Images,
    /// Let its processes go on.
    #[arg(long)]
    pub leave_running: bool,
    /// Leave out TCP connections that are not yet established.
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Give deleted files that are open a name for the time between.
    #[arg(long)]
    pub link_remap: bool,
    /// An earlier checkpoint (not supported).
    #[arg(long, hide = true, value_name = "DIR")]
    pub parent_path: Option<PathBuf>,
    /// Save only memory (not supported).
    #[arg(long, hide = true)]
    pub pre_dump: bool,
    /// Send memory elsewhere (not supported).
    #[arg(long, hide = true, value_name = "ADDRESS:PORT")]
    pub page_server: Option<String>,
    /// Told when memory can be fetched (not supported).
    #[arg(long, hide = true, value_name = "FD")]
    pub status_fd: Option<i32>,
    #[command(flatten)]
    pub id: Id,
}

#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    pub images: Images,
    /// Directory of config.json.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Send the terminal's master side to this socket.
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Write init's pid to this file.
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not wait for its end.
    #[arg(short, long)]
    pub detach: bool,
    /// Do not become the parent of what the container leaves behind.
    #[arg(long)]
    pub no_subreaper: bool,
    /// Changes nothing: CRIU pivots.
    #[arg(long)]
    pub no_pivot: bool,
    /// LSM profile to be used (not supported).
    #[arg(long, hide = true, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// LSM context of mounts (not supported).
    #[arg(long, hide = true, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
    #[command(flatten)]
    pub id: Id,
}

#[derive(Debug, Args)]
pub struct Update {
    /// Resources of the specification as JSON; "-" reads standard input. Other flags are then ignored.
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Weight of block devices, 10 to 1000.
    #[arg(long)]
    pub blkio_weight: Option<u16>,
    /// CPU period in microseconds.
    #[arg(long)]
    pub cpu_period: Option<u64>,
    /// CPU time per period in microseconds.
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// CPU time saved up per period in microseconds.
    #[arg(long)]
    pub cpu_burst: Option<u64>,
    /// CPU shares.
    #[arg(long, visible_alias = "cpu-share")]
    pub cpu_shares: Option<u64>,
    /// Realtime period in microseconds.
    #[arg(long)]
    pub cpu_rt_period: Option<u64>,
    /// Realtime per period in microseconds.
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// 1 for what only runs when nothing else does.
    #[arg(long)]
    pub cpu_idle: Option<i64>,
    /// CPUs to run on.
    #[arg(long)]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use.
    #[arg(long)]
    pub cpuset_mems: Option<String>,
    /// Memory in bytes.
    #[arg(long, allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Memory that is left to it under pressure, in bytes.
    #[arg(long, allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// Memory and swap in bytes; -1 for no limit.
    #[arg(long, allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Processes and threads.
    #[arg(long, allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// No kernel has it any more.
    #[arg(long, hide = true)]
    pub kernel_memory: Option<String>,
    /// No kernel has it any more.
    #[arg(long, hide = true)]
    pub kernel_memory_tcp: Option<String>,
    #[command(flatten)]
    pub id: Id,
}
