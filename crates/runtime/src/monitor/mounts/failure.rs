//! What goes wrong inside the container, told to the monitor outside.

use std::io;

use serde::{Deserialize, Serialize};

use crate::error::StartError;

/// What could not be done inside the container.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::monitor) struct Failure {
    action: Action,
    /// What it was done to.
    name: String,
    errno: i32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Action {
    Mount,
    CoverProc,
    Sysctl,
    MakeReadOnly,
    Mask,
}

impl Failure {
    pub(super) fn at<E: Into<io::Error>>(
        action: Action,
        name: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let name = name.into();
        move |error| Self {
            action,
            name,
            errno: error.into().raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// The error for the user; `words` are the kernel's for an error number.
    pub(in crate::monitor) fn describe(&self, words: impl Fn(i32) -> String) -> StartError {
        let name = &self.name;
        let rootfs = |step: String| StartError::Rootfs {
            step,
            reason: words(self.errno),
        };
        match self.action {
            Action::Mount => rootfs(format!("mount {name}")),
            Action::CoverProc => StartError::Config {
                reason: format!("{name} cannot be mounted because it is inside /proc"),
            },
            Action::Sysctl => StartError::Config {
                reason: format!("sysctl {name}: {}", words(self.errno)),
            },
            Action::MakeReadOnly => rootfs(format!("make {name} read-only")),
            Action::Mask => rootfs(format!("mask {name}")),
        }
    }
}
