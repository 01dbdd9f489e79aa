//! Why a command failed, in words that runc's callers look for, and its exit code.

use std::io;
use std::path::{Path, PathBuf};

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The runtime.
    #[error("{}", words(.0))]
    Runtime(#[from] rctr_runtime::Error),
    /// A container could not be made or run.
    #[error("unable to start container process: {}", words(.0))]
    Create(#[source] rctr_runtime::Error),
    /// A process could not be executed in one.
    #[error("exec failed: {0}")]
    Exec(Box<Failure>),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// This host or this runtime has it not.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A file.
    #[error("{action} {}: {source}", .path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Failure {
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// As runc's.
    pub fn code(&self) -> u8 {
        match self {
            Self::Exec(_) => 255,
            _ => 1,
        }
    }
}

/// Some of runc's phrases are looked for by its callers.
fn words(error: &rctr_runtime::Error) -> String {
    use rctr_runtime::{Error, StartError};
    match error {
        // As execve has it, which podman takes for its 126.
        Error::Start(StartError::NotExecutable { command, reason })
            if reason == "is a directory" =>
        {
            format!("exec: {command:?}: {reason}: permission denied")
        }
        Error::NoSuchContainer { .. } => "container does not exist".to_owned(),
        Error::WrongStatus { action, status } if *action == "start" => match status.as_str() {
            "stopped" => "cannot start a container that has stopped".to_owned(),
            "paused" => "cannot start a container in the paused state".to_owned(),
            _ => "cannot start an already running container".to_owned(),
        },
        other => other.to_string(),
    }
}
