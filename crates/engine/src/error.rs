//! What can go wrong, and which exit code Docker gives it.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::Status;

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
    /// A device by its CDI name cannot be given to a container.
    #[error(transparent)]
    Cdi(#[from] crate::pod::CdiError),
    /// No image has this name or id.
    #[error("No such image: {name}")]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// No image has this tag, so it cannot be pushed.
    #[error("An image does not exist locally with the tag: {name}")]
    NoSuchTag {
        /// Its short form.
        name: String,
    },
    /// `tag` with a target that is no name.
    #[error("Error parsing reference: {name:?} is not a valid repository/tag: {reason}")]
    BadTag {
        /// As given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `tag` with a digest in the target.
    #[error("refusing to create a tag with a digest reference")]
    TagWithDigest,
    /// `push` of a digest.
    #[error("cannot push a digest reference")]
    PushDigest,
    /// `push --all-tags` of a name with a tag.
    #[error("tag can't be used with --all-tags/-a")]
    PushTagAndAll,
    /// `--platform` of an image that has none such.
    #[error(
        "image with reference {reference} was found but does not provide the specified platform ({wanted})"
    )]
    PlatformMissing {
        /// The image's name.
        reference: String,
        /// The platform asked for.
        wanted: String,
    },
    /// A part of an image that should be in the store is not.
    #[error("{what} of image {image} is missing or damaged; pull it again")]
    ContentMissing {
        /// The image's name.
        image: String,
        /// Which part.
        what: String,
    },
    /// `login` with something that is no registry.
    #[error("{server:?} is no registry's address: write HOST[:PORT]")]
    BadServer {
        /// As given.
        server: String,
    },
    /// No manifest list of this name is being made here.
    #[error("No such manifest: {name}")]
    NoSuchManifestList {
        /// Its canonical name.
        name: String,
    },
    /// `manifest create` of a list that is there.
    #[error("refusing to amend an existing manifest list with no --amend flag")]
    ManifestListExists,
    /// A list has no such member.
    #[error("manifest for image {member} does not exist in {list}")]
    NoSuchMember {
        /// Canonical name of the member.
        member: String,
        /// Canonical name of the list.
        list: String,
    },
    /// A list cannot be a member of a list.
    #[error("{member} is a manifest list: name the images in it")]
    MemberIsList {
        /// Canonical name of the member.
        member: String,
    },
    /// `copy` from or to something that is no place of images.
    #[error("Invalid image name {place:?}: {reason}")]
    BadPlace {
        /// As given.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An archive or layout of images is not what it should be.
    #[error("{}: {reason}", path.display())]
    BadLayout {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No manifest of an index is for this platform.
    #[error(
        "{place} has no image for {wanted}, only for {available}; choose one with --platform, or take all with --all"
    )]
    NoPlatform {
        /// What was looked in.
        place: String,
        /// The platform looked for.
        wanted: String,
        /// The platforms there are.
        available: String,
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
    /// A container uses the image.
    #[error(
        "conflict: unable to remove repository reference \"{image}\" ({how}) - container {container} is using its referenced image {id}"
    )]
    ImageInUse {
        /// The image as the user named it.
        image: String,
        /// Short id of the image.
        id: String,
        /// Short id of the container.
        container: String,
        /// `must force`, or `cannot be forced` for a running one.
        how: &'static str,
    },
    /// An image id that several repositories name cannot be removed by id without force.
    #[error(
        "conflict: unable to delete {id} (must be forced) - image is referenced in multiple repositories"
    )]
    ImageInSeveralRepositories {
        /// Short id of the image.
        id: String,
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
    /// A container is connected to the network.
    #[error("network {network} has active endpoints: container {container} is connected to it")]
    NetworkInUse {
        /// The network.
        network: String,
        /// The container's name.
        container: String,
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
    /// Several networks have ids that begin so.
    #[error("network {name} is ambiguous: several ids begin so")]
    AmbiguousNetwork {
        /// What was asked for.
        name: String,
    },
    /// There is a network of this name already.
    #[error("network with name {name} already exists")]
    NetworkExists {
        /// The name.
        name: String,
    },
    /// `network create` of one that is always there.
    #[error("operation is not permitted on predefined {name} network")]
    NetworkPredefined {
        /// The name.
        name: String,
    },
    /// `network rm` of one that is always there.
    #[error("{name} is a pre-defined network and cannot be removed")]
    NetworkStays {
        /// The name.
        name: String,
    },
    /// `network rm` while containers run on it.
    #[error("error while removing network: network {name} has active endpoints ({endpoints})")]
    NetworkActive {
        /// The network.
        name: String,
        /// The containers.
        endpoints: String,
    },
    /// `network create` with a driver that there is once, or not at all.
    #[error("only one instance of {driver:?} network is allowed")]
    NetworkOnlyOne {
        /// The driver.
        driver: &'static str,
    },
    /// `network create` with an unknown driver.
    #[error("network driver {driver:?} is not supported: {reason}")]
    NetworkDriver {
        /// The driver.
        driver: String,
        /// Why not.
        reason: &'static str,
    },
    /// A flag of `network create` makes no sense.
    #[error("{reason}")]
    NetworkOption {
        /// What is wrong, in Docker's words where it has some.
        reason: String,
    },
    /// A subnet is one of another network's.
    #[error("invalid pool request: Pool overlaps with other one on this address space: {subnet}")]
    PoolOverlaps {
        /// The subnet.
        subnet: ipnet::IpNet,
    },
    /// Two networks with the same bridge.
    #[error("bridge {bridge} is that of network {network}")]
    BridgeTaken {
        /// The bridge.
        bridge: String,
        /// The network that has it.
        network: String,
    },
    /// A container cannot be on a network as it was asked for.
    #[error("invalid config for network {network}: invalid endpoint settings: {reason}")]
    Endpoint {
        /// The network.
        network: String,
        /// What is wrong, in Docker's words where it has some.
        reason: String,
    },
    /// `network connect` of what is connected.
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected {
        /// The container's name.
        container: String,
        /// The network.
        network: String,
    },
    /// `network disconnect` of what is not connected.
    #[error("container {id} is not connected to network {network}")]
    NotConnected {
        /// The container's id.
        id: String,
        /// The network.
        network: String,
    },
    /// `network connect` or `disconnect` where that cannot be.
    #[error("{reason}")]
    NotConnectable {
        /// Why not, in Docker's words.
        reason: &'static str,
    },
    /// A bind mount's source is missing.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {}", source_path.display())]
    BindSourceMissing {
        /// The path on the host.
        source_path: PathBuf,
    },
    /// `cp` of something that a container does not have.
    #[error("Could not find the file {path} in container {container}")]
    NoSuchPath {
        /// The path.
        path: String,
        /// The container as named.
        container: String,
    },
    /// `cp` of a directory onto a file.
    #[error("cannot copy directory")]
    CannotCopyDirectory,
    /// `cp` of a file into a directory that is not there.
    #[error("no such directory")]
    NoSuchDirectory,
    /// `cp` into something that is no directory.
    #[error("not a directory")]
    NotADirectory,
    /// `cp` of an archive onto something that is no directory.
    #[error("destination \"{container}:{path}\" must be a directory")]
    CopyArchiveOntoFile {
        /// The container as named.
        container: String,
        /// The path in it.
        path: String,
    },
    /// `cp` onto a device.
    #[error(
        "destination \"{container}:{path}\" must be a directory or a regular file: got a device"
    )]
    CopyOntoSpecial {
        /// The container as named.
        container: String,
        /// The path in it.
        path: String,
    },
    /// A file is to be written in a directory that is not there.
    #[error("invalid output path: directory {dir:?} does not exist")]
    OutputDirectoryMissing {
        /// The directory.
        dir: PathBuf,
    },
    /// A file is to be written where a device is.
    #[error("invalid output path: {path:?} must be a directory or a regular file: got a device")]
    OutputSpecial {
        /// The path.
        path: PathBuf,
    },
    /// A destination on the host that is a link to a link and so on.
    #[error("too many symlinks in {path}")]
    TooManyLinks {
        /// The path.
        path: String,
    },
    /// `cp` into the root of a container that is read-only.
    #[error("container rootfs is marked read-only")]
    ReadOnlyRootfs,
    /// `cp` into a mount that is read-only.
    #[error("mounted volume is marked read-only")]
    ReadOnlyVolume,
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
    /// The image's configuration or manifest cannot be understood.
    #[error("image {image}: {reason}")]
    BadImage {
        /// The image as the user named it.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `--platform` makes no sense.
    #[error("{reason}")]
    Platform {
        /// What is wrong with it.
        reason: String,
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
