//! What the engine hands a monitor besides the OCI bundle itself.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;

use oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};

pub use crate::cgroup::CgroupDriver;
use crate::health::HealthCheck;

/// Everything a monitor needs to run one container; crosses over as JSON in a memfd.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// The container's id: a directory name, and part of cgroup and error texts.
    pub id: String,
    /// The bundle: holds `config.json`, written by the engine. `process.env` must contain HOME;
    /// `linux.seccomp` is ignored (see `seccomp`), `root.path` too (see `rootfs`).
    pub bundle: PathBuf,
    /// Where the monitor puts `monitor.sock`, `state.json`, `exit.json`. Must exist; on tmpfs.
    /// What an earlier run of this container has left there is removed. The root filesystem is mounted
    /// on `.rootfs` beside it, in the monitor's own mount namespace.
    pub state_dir: PathBuf,
    /// What the container's root filesystem is made of.
    pub rootfs: Rootfs,
    /// Volumes to fill from the image before they are mounted over it.
    pub copy_up: Vec<CopyUp>,
    /// Where output is logged; none for no log.
    pub log: Option<LogConfig>,
    /// A program that passes output on to another place.
    #[serde(default)]
    pub log_driver: Option<LogDriver>,
    /// Standard input, output and terminal.
    pub stdio: StdioConfig,
    /// Who makes the cgroup. Its path is `linux.cgroupsPath` in config.json.
    pub cgroup: CgroupDriver,
    /// The system call filter for the container and everything exec'd into it.
    pub seccomp: SeccompPolicy,
    /// Directory of compiled seccomp programs, shared by all containers; made if missing.
    pub seccomp_cache: PathBuf,
    /// Run by the monitor once the container has ended and `exit.json` is written, unless a client that
    /// promised to settle says that it has ([`crate::AttachStream::settled`]). Empty: nothing is run.
    pub exit_command: Vec<String>,
    /// The container belongs to whoever launches it with [`LaunchFds::attach`]: it is killed when that attach stream
    /// ends before it does, and `state_dir` goes with the monitor.
    pub tethered: bool,
    /// What makes the container instead of libcontainer. It, and what it leaves, is told from the monitor's children by
    /// its pid file alone; limits and statistics are the cgroup's as ever.
    #[serde(default)]
    pub runtime: Option<ForeignRuntime>,
    /// Ports of the host that lead into the network of an ordinary user ([`crate::rootless`]), while the container runs.
    #[serde(default)]
    pub forward: Vec<Forward>,
    /// A command that is executed in the container from time to time; what comes of it is had from
    /// [`crate::health()`].
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// Run by the monitor when the kernel kills a process for want of memory within the container's limit, with the pid of
    /// the first process as a further word. Empty: nothing is run.
    #[serde(default)]
    pub oom_command: Vec<String>,
}

/// A port of the host that leads into the user's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Which of [`LaunchFds::inherited`] is the bound socket.
    pub socket: usize,
    /// What it is a socket of.
    pub transport: Transport,
    /// Where what comes there goes, in that namespace.
    pub to: SocketAddr,
}

/// What [`Forward`] can forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A program with the command line of an OCI runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignRuntime {
    /// Where it is.
    pub path: PathBuf,
    /// Words before each of its commands.
    pub args: Vec<String>,
}

/// What a root filesystem is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay, mounted by the monitor in its own mount namespace.
    Overlay {
        /// Layers, top first, each with its short alias.
        lower: Vec<LowerDir>,
        /// The writable layer.
        upper: PathBuf,
        /// Overlay's work directory, on the filesystem of `upper`.
        work: PathBuf,
        /// [`crate::overlay::Writable::volatile`].
        volatile: bool,
    },
    /// A directory used as it is.
    Directory(PathBuf),
    /// Nothing: a small filesystem in memory, for a program that is mounted itself.
    Empty,
}

/// A new volume that gets the image's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyUp {
    /// The directory in the root filesystem.
    pub target: PathBuf,
    /// The volume's directory on the host; left alone if there is something in it.
    pub volume: PathBuf,
}

/// One read-only layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LowerDir {
    /// The unpacked layer.
    pub path: PathBuf,
    /// A short symbolic link to `path`, for kernels whose mount options must fit into one page.
    /// All the links of one overlay share a directory.
    pub short: Option<PathBuf>,
}

/// Where and how output is logged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogConfig {
    /// The current log file; rotated ones are `path.1`, `path.2`, …
    pub path: PathBuf,
    /// Bytes after which a file is rotated; 0 for never.
    pub max_size: u64,
    /// How many files are kept in all, at least 1.
    pub max_file: u32,
}

/// A program that gets a container's output as the records of a log, on its standard input, and passes them on. It is
/// started again if it ends early, and ends by itself at the end of its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogDriver {
    /// The program and its arguments. One more is added: the number of a descriptor to read `configuration` from.
    pub command: Vec<String>,
    /// Handed over where no list of processes shows it.
    pub configuration: String,
    /// How many bytes may wait for the program before the oldest are dropped; `None`: the container waits.
    pub buffer: Option<u64>,
}

/// The container's standard streams.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct StdioConfig {
    /// A pseudo terminal with this initial size instead of three pipes.
    /// `process.terminal` in config.json must agree.
    pub terminal: Option<WindowSize>,
    /// Keep standard input open for attached clients; otherwise it is /dev/null (without a terminal).
    pub open_stdin: bool,
    /// Close standard input when the first attached client that had it goes away.
    pub stdin_once: bool,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub cols: u16,
}

/// Which system call filter is loaded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub enum SeccompPolicy {
    /// None: `--privileged` and `--security-opt seccomp=unconfined`.
    Unconfined,
    /// [`crate::seccomp::default_profile`] for the capabilities in config.json.
    #[default]
    Default,
    /// This one, already resolved for the architecture and capabilities.
    Custom(Box<LinuxSeccomp>),
}

/// File descriptors a monitor is started with, besides its own.
#[derive(Default)]
pub struct LaunchFds<'a> {
    /// Kept open by the monitor until the container has ended: a network namespace, port reservations.
    /// The n-th is reachable in the monitor, and so in config.json, as [`LaunchFds::path`]`(n)`.
    pub inherited: Vec<BorrowedFd<'a>>,
    /// Kept open by all that works on the start until the container runs or has failed: a lock on it
    /// outlives a launcher that is killed meanwhile.
    pub lock: Option<BorrowedFd<'a>>,
    /// Attach from before the first byte of output.
    pub attach: Option<AttachOptions>,
}

impl LaunchFds<'_> {
    pub(crate) const FIRST: RawFd = 6;

    /// The path under which the n-th inherited descriptor is found inside the monitor,
    /// for example as the `path` of the network namespace in config.json.
    pub fn path(n: usize) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", Self::FIRST as usize + n))
    }
}

/// How a client attaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachOptions {
    /// Feed standard input.
    pub stdin: bool,
    /// Receive standard output (a terminal's output counts as this).
    pub stdout: bool,
    /// Receive standard error.
    pub stderr: bool,
    /// This client promises to settle the container's end itself and then to call
    /// [`crate::AttachStream::settled`]; if it dies first the monitor runs the exit command.
    pub settle: bool,
}
