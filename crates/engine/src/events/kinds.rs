//! What can happen to containers, images, volumes and networks, in Docker's words.

use std::borrow::Cow;

use rctr_runtime::WindowSize;

use crate::model::Container;

/// What happens to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerEvent<'a> {
    /// A file or directory was copied out of it.
    ArchivePath,
    /// Somebody attached to its streams.
    Attach,
    /// An image was made of it.
    Commit {
        /// The image's id.
        image: &'a str,
        /// What was said about it.
        comment: &'a str,
    },
    /// It was made.
    Create,
    /// It was removed.
    Destroy,
    /// Somebody typed the keys that leave it running.
    Detach,
    /// Its first process ended. Times and code are those of the record.
    Die,
    /// A process is to run in it.
    ExecCreate {
        /// Id of the process.
        id: &'a str,
        /// Its command line.
        command: &'a str,
    },
    /// Somebody typed the keys that leave a process in it running.
    ExecDetach {
        /// Id of the process.
        id: &'a str,
    },
    /// A process that was run in it has ended.
    ExecDie {
        /// Id of the process.
        id: &'a str,
        /// Its exit code.
        code: i32,
    },
    /// A process was started in it.
    ExecStart {
        /// Id of the process.
        id: &'a str,
        /// Its command line.
        command: &'a str,
    },
    /// Its file system was written to an archive.
    Export,
    /// An archive was unpacked in it.
    ExtractToDir,
    /// Its health is another one: `starting`, `healthy`, `unhealthy`.
    HealthStatus(&'a str),
    /// It was sent a signal.
    Kill(i32),
    /// It ran out of memory.
    Oom,
    /// It was frozen.
    Pause,
    /// It got another name.
    Rename {
        /// The one before.
        before: &'a str,
    },
    /// Its terminal has another size.
    Resize(WindowSize),
    /// It was stopped and started.
    Restart,
    /// It was started.
    Start,
    /// It was stopped.
    Stop,
    /// Its processes were listed.
    Top,
    /// It goes on.
    Unpause,
    /// Its limits or its restart policy were changed.
    Update,
}

impl ContainerEvent<'_> {
    pub(super) fn action(&self) -> Cow<'static, str> {
        match self {
            Self::ArchivePath => "archive-path",
            Self::Attach => "attach",
            Self::Commit { .. } => "commit",
            Self::Create => "create",
            Self::Destroy => "destroy",
            Self::Detach => "detach",
            Self::Die => "die",
            Self::ExecCreate { command, .. } => return format!("exec_create: {command}").into(),
            Self::ExecDetach { .. } => "exec_detach",
            Self::ExecDie { .. } => "exec_die",
            Self::ExecStart { command, .. } => return format!("exec_start: {command}").into(),
            Self::Export => "export",
            Self::ExtractToDir => "extract-to-dir",
            Self::HealthStatus(status) => return format!("health_status: {status}").into(),
            Self::Kill(_) => "kill",
            Self::Oom => "oom",
            Self::Pause => "pause",
            Self::Rename { .. } => "rename",
            Self::Resize(_) => "resize",
            Self::Restart => "restart",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Top => "top",
            Self::Unpause => "unpause",
            Self::Update => "update",
        }
        .into()
    }

    pub(super) fn attributes(&self, container: &Container) -> Vec<(&'static str, String)> {
        match *self {
            Self::Commit { image, comment } => {
                vec![("comment", comment.into()), ("imageID", image.into())]
            }
            Self::Die => vec![
                ("exitCode", container.state.exit_code.to_string()),
                (
                    "execDuration",
                    container.state.lived().as_secs().to_string(),
                ),
            ],
            Self::ExecCreate { id, .. } | Self::ExecStart { id, .. } | Self::ExecDetach { id } => {
                vec![("execID", id.into())]
            }
            Self::ExecDie { id, code } => {
                vec![("execID", id.into()), ("exitCode", code.to_string())]
            }
            Self::Kill(signal) => vec![("signal", signal.to_string())],
            Self::Rename { before } => vec![("oldName", format!("/{before}"))],
            Self::Resize(size) => vec![
                ("height", size.rows.to_string()),
                ("width", size.cols.to_string()),
            ],
            _ => Vec::new(),
        }
    }
}

/// What happens to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageEvent {
    /// It was removed.
    Delete,
    /// It was made of an archive of a file system.
    Import,
    /// It came out of an archive of images.
    Load,
    /// It came from a registry.
    Pull,
    /// It went to a registry.
    Push,
    /// It was written to an archive.
    Save,
    /// It got a name.
    Tag,
    /// It lost a name.
    Untag,
}

impl ImageEvent {
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Import => "import",
            Self::Load => "load",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Save => "save",
            Self::Tag => "tag",
            Self::Untag => "untag",
        }
    }
}

/// What happens to a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeEvent<'a> {
    /// It was made.
    Create,
    /// It was removed.
    Destroy,
    /// A container that has it runs.
    Mount {
        /// The container's id.
        container: &'a str,
        /// Where it is there.
        destination: &'a str,
        /// Whether it can be written.
        writable: bool,
        /// How mounts spread.
        propagation: &'a str,
    },
    /// A container that has it has ended.
    Unmount {
        /// The container's id.
        container: &'a str,
    },
}

/// What happens to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkEvent<'a> {
    /// A container with this id takes part.
    Connect(&'a str),
    /// It was made.
    Create,
    /// It was removed.
    Destroy,
    /// A container with this id does not take part any more.
    Disconnect(&'a str),
}
