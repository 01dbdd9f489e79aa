//! What keeps the service from running, and what the engine's errors are to a kubelet.

use std::io;
use std::path::PathBuf;

use rctr_engine::Error as EngineError;
pub(crate) use rctr_engine::chain;
use rctr_registry_client::Error as RegistryError;
use rctr_runtime::Error as RuntimeError;
use tonic::{Code, Status};

/// Result with the service's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process answers on the socket.
    #[error("{} is served already", path.display())]
    AlreadyServed {
        /// The socket.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("{action} {}", path.display())]
    Socket {
        /// What was being done, as a verb.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What systemd handed over is no unix socket.
    #[error("the socket that was handed over (LISTEN_FDS): {reason}")]
    HandedOver {
        /// What is wrong with it.
        reason: String,
    },
    /// The address of `metrics_address` cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The streaming server cannot be started.
    #[error("the streaming server")]
    Streaming(#[source] crate::streaming::Error),
    /// The pods that were running before cannot be looked at.
    #[error("find the pods again")]
    Engine(#[source] rctr_engine::Error),
    /// Threads or signal handlers cannot be made.
    #[error("start the server")]
    Runtime(#[source] io::Error),
    /// The server broke down.
    #[error("serve")]
    Serve(#[source] tonic::transport::Error),
}

/// The engine's error as a kubelet wants it: a code to act on, and the whole chain of causes.
pub(crate) fn status(error: &EngineError) -> Status {
    Status::new(code(error), chain(error))
}

fn code(error: &EngineError) -> Code {
    use EngineError as E;
    match error {
        E::NoSuchContainer { .. } | E::NoSuchImage { .. } | E::ImageMissing { .. } => {
            Code::NotFound
        }
        E::NoSuchPod { .. } => Code::NotFound,
        E::NameTaken { .. } | E::PodNameTaken { .. } => Code::AlreadyExists,
        E::Invalid(_)
        | E::AmbiguousId { .. }
        | E::Resolve(_)
        | E::User(_)
        | E::Image(rctr_engine::ImageError::Platform { .. })
        | E::PodOption { .. }
        | E::Selinux { .. }
        | E::NoSuchProfile { .. }
        | E::Cdi(_)
        | E::Time { .. } => Code::InvalidArgument,
        E::NotRunning { .. }
        | E::PodNotReady { .. }
        | E::AttachStopped
        | E::RemoveRunning { .. } => Code::FailedPrecondition,
        E::Runtime(RuntimeError::MissingCriu { .. }) => Code::Unimplemented,
        E::WillNotDie { .. } | E::CheckpointLate { .. } => Code::DeadlineExceeded,
        E::Store(e) if e.is_disk_full() => Code::ResourceExhausted,
        E::Registry(e) => registry_code(e),
        _ => Code::Unknown,
    }
}

fn registry_code(error: &RegistryError) -> Code {
    use RegistryError as E;
    match error {
        E::InvalidReference { .. } => Code::InvalidArgument,
        E::NotFound { .. } | E::NoMatchingPlatform { .. } => Code::NotFound,
        E::Unauthorized { .. } => Code::Unauthenticated,
        E::Denied { .. } => Code::PermissionDenied,
        E::Network { .. } | E::Tls { .. } => Code::Unavailable,
        E::Mirrors { upstream, .. } => registry_code(upstream),
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_a_kubelet_acts_on() {
        let missing = EngineError::NoSuchContainer { name: "x".into() };
        assert_eq!(status(&missing).code(), Code::NotFound);
        let stopped = EngineError::NotRunning { id: "x".into() };
        assert_eq!(status(&stopped).code(), Code::FailedPrecondition);
        let file = EngineError::File {
            action: "read",
            path: "/x".into(),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        let status = status(&file);
        assert_eq!(status.code(), Code::Unknown);
        assert_eq!(status.message(), "read /x: permission denied");
    }
}
