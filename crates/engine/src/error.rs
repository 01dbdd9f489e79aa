//! What can go wrong, and which exit code Docker gives it.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::Status;

mod cp;
mod image;
mod network;

pub use cp::CopyError;
pub use image::ImageError;
pub use network::NetworkError;

/// Result with the engine's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration file cannot be read or says something unknown.
    #[error("configuration {}: {reason}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong, with the line.
        reason: String,
    },
    /// A flag's value makes no sense.
    #[error(transparent)]
    Invalid(#[from] crate::options::ParseError),
    /// The image is not in the store; pulling it may help.
    #[error("No such image: {reference}")]
    ImageMissing {
        /// The image as the user named it.
        reference: String,
    },
    /// No pod has this id.
    #[error("No such pod: {id}")]
    NoSuchPod {
        /// What was asked for.
        id: String,
    },
    /// There is a pod of this key already.
    #[error("pod {key} exists already: {id}")]
    PodNameTaken {
        /// Its key.
        key: String,
        /// Its id.
        id: String,
    },
    /// The pod is being made, was stopped, or is lost with a reboot.
    #[error("pod {id} is not ready")]
    PodNotReady {
        /// The pod.
        id: String,
    },
    /// A wish for a pod or a container in one makes no sense.
    #[error("{what}")]
    PodOption {
        /// What, and why.
        what: String,
    },
    /// SELinux labels that cannot be had.
    #[error("SELinux options: {reason}")]
    Selinux {
        /// Why.
        reason: String,
    },
    /// A device by its CDI name cannot be given to a container.
    #[error(transparent)]
    Cdi(#[from] crate::pod::CdiError),
    /// No image has this name or id.
    #[error("No such image: {name}")]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// Neither `$DOCKER_CONFIG` nor `$HOME` is set.
    #[error("cannot tell where logins are kept: neither DOCKER_CONFIG nor HOME is set")]
    NoConfigHome,
    /// No container has this name or id.
    #[error("No such container: {name}")]
    NoSuchContainer {
        /// What was asked for.
        name: String,
    },
    /// Several containers or images have ids that begin so.
    #[error("Multiple IDs found with provided prefix: {prefix}")]
    AmbiguousId {
        /// What was asked for.
        prefix: String,
    },
    /// Another container has this name.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{by}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Id of the container that has it.
        by: String,
    },
    /// A container is to get the name that it has.
    #[error("Renaming a container with the same name as its current name")]
    SameName,
    /// A limit does not go with another one that the container has.
    #[error("{reason}")]
    UpdateConflict {
        /// Why.
        reason: &'static str,
    },
    /// The host's `ps` does not list what was asked for.
    #[error("{reason}")]
    Ps {
        /// What it says, or what is wrong with its arguments.
        reason: String,
    },
    /// The container must be running for this.
    #[error("container {id} is not running")]
    NotRunning {
        /// The container's id.
        id: String,
    },
    /// The container is between two runs.
    #[error("Container {id} is restarting, wait until the container is running")]
    Restarting {
        /// The container's id.
        id: String,
    },
    /// `pause` of a container that is paused.
    #[error("Container {id} is already paused")]
    AlreadyPaused {
        /// The container's id.
        id: String,
    },
    /// `unpause` of a container that is not paused.
    #[error("Container {id} is not paused")]
    NotPaused {
        /// The container's id.
        id: String,
    },
    /// `start` of a container that is paused.
    #[error("cannot start a paused container, try unpause instead")]
    StartPaused,
    /// `exec` in a container that is paused.
    #[error("Container {id} is paused, unpause the container before exec")]
    ExecPaused {
        /// The container's id.
        id: String,
    },
    /// A restart policy for a container that is removed at its end.
    #[error("Restart policy cannot be updated because AutoRemove is enabled for the container")]
    RestartPolicyAndRemove,
    /// `attach` to a container that is not running.
    #[error("You cannot attach to a stopped container, start it first")]
    AttachStopped,
    /// `logs` of a container that has no log because none was to be kept.
    #[error("configured logging driver does not support reading")]
    NoLog,
    /// `rm` of a container that runs.
    #[error("cannot remove container \"/{name}\": container is {}{}", status.as_str(), match status {
        Status::Paused => " and must be unpaused first",
        _ => ": stop the container before removing or force remove",
    })]
    RemoveRunning {
        /// Its name.
        name: String,
        /// Its status.
        status: Status,
    },
    /// `--network container:X` where X does not run.
    #[error("cannot join network of a non running container: {id}")]
    JoinNotRunning {
        /// The other container's id.
        id: String,
    },
    /// `--ipc container:X` or `--pid container:X` where X does not run.
    #[error("cannot join {namespace} of a non running container: {id}")]
    JoinNamespace {
        /// `IPC` or `PID`.
        namespace: &'static str,
        /// The other container's id.
        id: String,
    },
    /// `--ipc container:X` where X shares its own with nobody.
    #[error(
        "cannot join IPC of container {id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
    )]
    NotShareable {
        /// The other container's id.
        id: String,
    },
    /// `--userns auto` when all ids are taken.
    #[error("no {size} user and group ids are left of {first} to {last} for user namespaces")]
    NoIds {
        /// How many were asked for.
        size: u32,
        /// The first that there is.
        first: u32,
        /// The last.
        last: u32,
    },
    /// `--cgroup-parent` that systemd cannot have.
    #[error("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"")]
    CgroupParent,
    /// `--storage-opt size=` on a filesystem that does not count.
    #[error(
        "--storage-opt is supported only on xfs and ext4 with project quotas (mount option prjquota): {}", path.display()
    )]
    NoQuota {
        /// The container's directory.
        path: PathBuf,
        /// What the filesystem says.
        #[source]
        source: io::Error,
    },
    /// A log driver that cannot work here now.
    #[error("failed to initialize logging driver: {reason}")]
    LogDriver {
        /// Why.
        reason: String,
    },
    /// The configuration knows no runtime of this name.
    #[error("unknown or invalid runtime name: {name}")]
    UnknownRuntime {
        /// What was asked for.
        name: String,
    },
    /// No network has this name or id.
    #[error("network {name} not found")]
    NoSuchNetwork {
        /// What was asked for.
        name: String,
    },
    /// A bind mount's source is missing.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {}", source_path.display())]
    BindSourceMissing {
        /// The path on the host.
        source_path: PathBuf,
    },
    /// `commit` of a container whose end nobody knows.
    #[error("You cannot commit container {id} which is Dead")]
    CommitDead {
        /// Its id.
        id: String,
    },
    /// No volume has this name.
    #[error("get {name}: no such volume")]
    NoSuchVolume {
        /// What was asked for.
        name: String,
    },
    /// `volume rm` of one that containers use.
    #[error("remove {name}: volume is in use - [{}]", by.join(", "))]
    VolumeInUse {
        /// The volume.
        name: String,
        /// Ids of the containers.
        by: Vec<String>,
    },
    /// `volume create` with something that does not make sense.
    #[error("create {name}: {reason}")]
    VolumeCreate {
        /// The volume.
        name: String,
        /// What is wrong.
        reason: crate::options::ParseError,
    },
    /// The host name in a volume's options has no address.
    #[error("error resolving passed in network volume address: {host}: {source}")]
    VolumeAddress {
        /// The host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The monitor program is not where it was installed.
    #[error("rctr-monitor not found: looked in {}", looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" and "))]
    MonitorMissing {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// The kernel does not have the AppArmor profile that was asked for.
    #[error("AppArmor profile {name} is not loaded")]
    NoSuchProfile {
        /// Its name.
        name: String,
    },
    /// The container did not end although it was killed.
    #[error(
        "container {id} does not end: tried to kill it, but it is still alive after {seconds} s"
    )]
    WillNotDie {
        /// Its id.
        id: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A checkpoint was not there in time.
    #[error("the checkpoint took longer than {seconds} s, and was given up")]
    CheckpointLate {
        /// How long it might take.
        seconds: u64,
    },
    /// A time such as `--since 10m` cannot be read.
    #[error(
        "invalid value for \"{flag}\": {value} is no time: use 2006-01-02T15:04:05, seconds since 1970 or a duration such as 10m"
    )]
    Time {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
    },
    /// A time from which on is after the one until which.
    #[error("`since` time ({since}) cannot be after `until` time ({until})")]
    SinceAfterUntil {
        /// From when on, as given.
        since: String,
        /// Until when, as given.
        until: String,
    },
    /// A record or file of ours is not what we wrote.
    #[error("damaged record: {what}")]
    BadRecord {
        /// Which, and what is wrong with it.
        what: String,
    },
    /// The process to run cannot be worked out from image and flags.
    #[error(transparent)]
    Resolve(#[from] crate::resolve::ResolveError),
    /// The user cannot be found in the image.
    #[error(transparent)]
    User(#[from] crate::user::UserError),
    /// The container's files under /etc cannot be made.
    #[error(transparent)]
    Files(#[from] crate::files::FilesError),
    /// The OCI configuration cannot be made.
    #[error(transparent)]
    Spec(#[from] crate::spec::SpecError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rctr_store::Error),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] rctr_registry_client::Error),
    /// The network could not be set up.
    #[error(transparent)]
    Network(#[from] rctr_network::Error),
    /// The container could not be run.
    #[error(transparent)]
    Runtime(#[from] rctr_runtime::Error),
    /// An ordinary user cannot do that here.
    #[error(transparent)]
    Rootless(#[from] rctr_runtime::rootless::RootlessError),
    /// An ordinary user's ports are forwarded by a process, which knows only these two.
    #[error("{protocol} ports cannot be published by an ordinary user: only tcp and udp")]
    RootlessProtocol {
        /// As in `-p`.
        protocol: rctr_network::Protocol,
    },
    /// A command that is root's.
    #[error("rctr {command} needs root")]
    NeedsRoot {
        /// The command.
        command: &'static str,
    },
    /// A file operation failed.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A network cannot be made, used or removed so.
    #[error(transparent)]
    Networks(#[from] NetworkError),
    /// An image is not as it should be, or cannot be named, moved or removed so.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// `cp` cannot do that.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

impl Error {
    /// For `map_err` on a file operation.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::File {
            action,
            path: path.into(),
            source,
        }
    }

    /// The exit code of `run` for this error: 127 command not found, 126 not executable, 125 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Runtime(e) => u8::try_from(e.exit_code()).unwrap_or(125),
            _ => 125,
        }
    }

    /// The way out, where there is one: one line without a full stop.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::ImageMissing { reference } => {
                Some(format!("`rctr pull {reference}` fetches it"))
            }
            Error::Store(rctr_store::Error::NoSuchLayer { .. }) => {
                Some("`rctr pull` of the image unpacks it again".to_owned())
            }
            Error::Store(error) if error.is_disk_full() => Some(
                "`df` tells how full the disk is; `rctr rm` and `rctr rmi` free some, --root chooses another"
                    .to_owned(),
            ),
            Error::Rootless(error) => error.hint(),
            Error::Runtime(rctr_runtime::Error::MonitorSilent { pid, stopped }) => {
                let go_on = match stopped {
                    true => format!("`kill -CONT {pid}` lets it go on, "),
                    false => String::new(),
                };
                Some(format!("{go_on}`rctr rm -f` ends it with its container"))
            }
            Error::Network(rctr_network::Error::Bind { port, source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some(format!(
                    "ports below {} are root's: publish another one, or `sysctl -w net.ipv4.ip_unprivileged_port_start={port}` as root",
                    crate::rootless::first_port(),
                ))
            }
            Error::Network(rctr_network::Error::PortInUse { port, .. }) => Some(format!(
                "stop what listens there, or publish another port with -p; `ss -lptn 'sport = :{port}'` tells what it is"
            )),
            Error::NameTaken { name, .. } => Some(format!(
                "`rctr rm {name}` removes it, --name chooses another"
            )),
            Error::RemoveRunning { name, .. } => {
                Some(format!("`rctr rm -f {name}` kills and removes it"))
            }
            Error::Spec(crate::spec::SpecError::CpuController)
            | Error::Runtime(rctr_runtime::Error::MissingController { .. }) => {
                crate::rootless::undelegated().map(str::to_owned)
            }
            other => crate::rootless::hint(other),
        }
    }
}

/// An error and its causes on one line; a cause that the line says already is left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    // What a registry or a file says may have several.
    line.split('\n')
        .map(str::trim_end)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}
