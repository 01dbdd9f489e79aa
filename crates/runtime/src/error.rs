//! The crate's errors. [`Error`] is what callers on this side of the socket get; [`StartError`] is
//! plain data, because it is found in the monitor and crosses over to whoever asked.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::rootless::RootlessError;

/// Anything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container, or a process in it, could not be started.
    #[error(transparent)]
    Start(#[from] StartError),

    /// No monitor answers for this state directory: the container does not run (any more).
    #[error("no monitor answers in {}", .state_dir.display())]
    NotRunning {
        /// The container's state directory.
        state_dir: PathBuf,
    },

    /// The monitor went away in the middle of a conversation: it was killed.
    #[error("the monitor of this container is gone")]
    MonitorLost,

    /// The monitor is there and does not answer.
    #[error(
        "the monitor of this container (process {pid}) does not answer{}",
        if *stopped { ": it is stopped" } else { "" }
    )]
    MonitorSilent {
        /// Its process.
        pid: i32,
        /// Somebody has stopped it: a signal, or a debugger.
        stopped: bool,
    },

    /// The other end of a monitor socket said something that is not the protocol.
    #[error("bad message from the other end of a monitor socket: {reason}")]
    Protocol {
        /// What was wrong with it.
        reason: String,
    },

    /// The monitor refused a request, for example a signal to a container that has just ended.
    #[error("{reason}")]
    Refused {
        /// The monitor's reason, one line.
        reason: String,
    },

    /// A terminal was about to be handed into a container as a process's stdio, which would let it inject input.
    #[error(
        "a terminal of the host cannot be handed into a container; use pipes, or ask for a tty"
    )]
    HostTerminal,

    /// A container's id that cannot be one.
    #[error("invalid container ID format: {id}")]
    InvalidId {
        /// The id.
        id: String,
    },

    /// There is a container of that id already ([`crate::oci`]).
    #[error("container with given ID already exists: {id}")]
    ContainerExists {
        /// The id.
        id: String,
    },

    /// There is no container of that id ([`crate::oci`]).
    #[error("container does not exist: {id}")]
    NoSuchContainer {
        /// The id.
        id: String,
    },

    /// A container's init has ended ([`crate::oci`]).
    #[error("container not running")]
    NotAlive,

    /// Something that a container cannot do in the state it is in ([`crate::oci`]).
    #[error("cannot {action} a container that is {status}")]
    WrongStatus {
        /// What was asked for: "start", "exec in".
        action: &'static str,
        /// The container's status.
        status: String,
    },

    /// A new container's cgroup has processes already, which would be limited and killed with it ([`crate::oci`]).
    #[error("the container's cgroup is not empty: {}", .cgroup.display())]
    CgroupInUse {
        /// The cgroup.
        cgroup: PathBuf,
    },

    /// A container that was made without a cgroup is to be frozen or limited ([`crate::oci`]).
    #[error(
        "cannot {action} a container without a cgroup: no part of the hierarchies was its maker's"
    )]
    NoCgroup {
        /// What was asked for: "pause", "limit".
        action: &'static str,
    },

    /// An ordinary user cannot make a container, or a process in one ([`crate::oci`]).
    #[error("{}", with_hint(.0))]
    Rootless(#[from] RootlessError),

    /// There is no CRIU on this host, which checkpoints need ([`crate::checkpoint`]).
    #[error("checkpoints need CRIU, and there is no program {} here", .program.display())]
    MissingCriu {
        /// What was looked for: a path, or a name in `$PATH`.
        program: PathBuf,
    },

    /// CRIU could not do what it was asked ([`crate::checkpoint`]).
    #[error("criu failed to {action}: {reason} (log file: {})", .log.display())]
    Checkpoint {
        /// "checkpoint" or "restore".
        action: &'static str,
        /// The first error in its log, or what it answered.
        reason: String,
        /// Its log.
        log: PathBuf,
    },

    /// A seccomp profile that cannot be read, resolved or compiled.
    #[error("seccomp profile: {reason}")]
    SeccompProfile {
        /// What is wrong with it.
        reason: String,
    },

    /// The kernel's list of AppArmor profiles cannot be read.
    #[error("read {}: {source}", .path.display())]
    ProfileList {
        /// The list.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },

    /// The AppArmor profile of containers could not be loaded.
    #[error("AppArmor enabled on system but the {profile} profile could not be loaded: {reason}")]
    ProfileLoad {
        /// Its name.
        profile: &'static str,
        /// What the tool that loads it says.
        reason: String,
    },

    /// Files that cannot be given a container's SELinux label.
    #[error("cannot relabel {}: {reason}", .path.display())]
    Relabel {
        /// The file, or the directory they are in.
        path: PathBuf,
        /// Why.
        reason: String,
    },

    /// A kernel parameter that is the whole host's, asked for in a namespace.
    #[error("sysctl {name} is not of a namespace that is made here: it would change the host")]
    HostSysctl {
        /// Its name as it was asked for.
        name: String,
    },

    /// A kernel parameter that cannot be set.
    #[error("sysctl {name}: {source}")]
    Sysctl {
        /// Its name as it was asked for.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },

    /// The filesystem of a volume cannot be mounted.
    #[error(
        "error while mounting volume '{0}': failed to mount local volume: mount {device}:{0}, flags: {flags:#x}{1}: {source}",
        .path.display(),
        if data.is_empty() { String::new() } else { format!(", data: {data}") }
    )]
    VolumeMount {
        /// The volume's directory.
        path: PathBuf,
        /// What was to be mounted.
        device: String,
        /// `MS_*` of mount(2).
        flags: libc::c_ulong,
        /// The filesystem's own options.
        data: String,
        /// The kernel's answer.
        source: io::Error,
    },

    /// A place below a volume or in an image cannot be had.
    #[error("cannot access path {}: {reason}", .base.join(path).display())]
    SubPath {
        /// What it is in.
        base: PathBuf,
        /// The place, relative to that.
        path: PathBuf,
        /// Why.
        reason: String,
    },

    /// The kernel has no controller that a request needs.
    #[error("cgroup controller {controller} is not available on this host")]
    MissingController {
        /// The controller's name, as in /proc/cgroups.
        controller: String,
    },

    /// A memory limit below what is in use: the kernel would kill processes at once.
    #[error("a memory limit of {limit} bytes is less than the {usage} bytes in use")]
    MemoryBelowUsage {
        /// What was asked for, in bytes.
        limit: u64,
        /// What is in use and could not be dropped, in bytes.
        usage: u64,
    },

    /// A limit that the kernel or systemd does not take.
    #[error("limits of cgroup {}: {reason}", .cgroup.display())]
    Limits {
        /// The cgroup.
        cgroup: PathBuf,
        /// Which file or property, and the answer.
        reason: String,
    },

    /// A file of this crate (state, log, cgroup) is not what this crate writes.
    #[error("{}: not valid: {reason}", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A system call failed on a file.
    #[error("{action} {}: {source}", .path.display())]
    File {
        /// What was being done, as a verb: "read", "create".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },

    /// A system call failed that is not about a file.
    #[error("{call}: {source}")]
    System {
        /// The system call or what it was for.
        call: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn with_hint(error: &RootlessError) -> String {
    let hint = error.hint().map(|hint| format!(" ({hint})"));
    format!("{error}{}", hint.unwrap_or_default())
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Error::File {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn system(call: &'static str, source: impl Into<io::Error>) -> Self {
        Error::System {
            call,
            source: source.into(),
        }
    }

    /// The exit code Docker uses for this failure of a `run`, `start` or `exec`:
    /// 127 command not found, 126 not executable, 125 anything else.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Start(StartError::NotFound { .. }) => 127,
            Error::Start(StartError::NotExecutable { .. }) => 126,
            _ => 125,
        }
    }
}

/// Why a container or an exec'd process did not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StartError {
    /// There is no such command (exit code 127).
    #[error("exec: {command:?}: {reason}")]
    NotFound {
        /// `args[0]` as it was asked for.
        command: String,
        /// "executable file not found in $PATH", "no such file or directory".
        reason: String,
    },

    /// The command exists and cannot be executed (exit code 126).
    #[error("exec: {command:?}: {reason}")]
    NotExecutable {
        /// `args[0]` as it was asked for.
        command: String,
        /// "permission denied", "is a directory", "exec format error".
        reason: String,
    },

    /// The image would lead a mount or a device out of its root filesystem.
    #[error("refusing this image: {path} {reason}")]
    HostileImage {
        /// The path inside the image.
        path: String,
        /// What is wrong with it: "is a symbolic link".
        reason: String,
    },

    /// The root filesystem or something in it could not be prepared.
    #[error("root filesystem: {step}: {reason}")]
    Rootfs {
        /// What was being done, with the path it was done to.
        step: String,
        /// The kernel's answer.
        reason: String,
    },

    /// A resource limit or the cgroup itself could not be set up.
    #[error("cgroup: {reason}")]
    Cgroup {
        /// Which controller or file, and the kernel's answer.
        reason: String,
    },

    /// The seccomp filter could not be made or loaded.
    #[error("seccomp: {reason}")]
    Seccomp {
        /// What went wrong.
        reason: String,
    },

    /// The bundle's config.json asks for something that does not exist or is not valid.
    #[error("container configuration: {reason}")]
    Config {
        /// What is wrong with it.
        reason: String,
    },

    /// A hook of the specification's failed.
    #[error("{reason}")]
    Hook {
        /// Which, and how.
        reason: String,
    },

    /// libcontainer gave up; its words.
    #[error("{reason}")]
    Init {
        /// The cause chain, one line.
        reason: String,
    },

    /// The monitor itself could not be set up, or died before it could say why.
    #[error("monitor: {step}: {reason}")]
    Monitor {
        /// What was being done.
        step: String,
        /// The kernel's answer.
        reason: String,
    },
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
