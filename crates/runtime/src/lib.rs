//! Runs OCI bundles.
//!
//! [`launch()`] starts one `rctr-monitor` per container; the monitor mounts the root filesystem in a mount
//! namespace of its own, starts the container, keeps its logs and waits for its end. Everything else asks
//! the monitor through [`MonitorClient`], or reads what it left behind with [`status()`].
//! This crate knows bundles (config.json and a root filesystem), never image names.
#![deny(missing_docs)]

pub mod apparmor;
mod attach;
pub mod cgroup;
pub mod checkpoint;
mod client;
pub mod defaults;
mod environment;
mod error;
mod health;
mod launch;
pub mod logs;
pub mod monitor;
pub mod namespaces;
pub mod overlay;
mod protocol;
pub mod restart;
pub mod rootless;
pub mod seccomp;
pub mod selinux;
mod signal;
mod sources;
mod spec;
mod state;

pub use attach::{AttachEvent, AttachStream};
pub use cgroup::{await_release, clean_up_dead, clean_up_ended, is_abandoned};
pub use client::{ExecHandle, ExecRequest, ExecStdio, MonitorClient, WaitHandle, terminal_peer};
pub use environment::variable;
pub use error::{Error, Result, StartError};
pub use health::{Health, HealthCheck, HealthStatus, KEPT_OUTPUT, KEPT_PROBES, Probe, health};
pub use launch::{
    LaunchError, Launched, Launching, begin_launch, launch, open_read_only, reap_ended,
};
pub use monitor::oci;
pub use monitor::release_memory;
pub use signal::{kill_hung_monitor, kill_monitor, reason, signal};
pub use sources::{Source, ViewMount, ViewSource, assemble, open_source, root_of};
pub use spec::{
    AttachOptions, CopyUp, ForeignRuntime, Forward, Launch, LaunchFds, LogConfig, LogDriver,
    LowerDir, Rootfs, SeccompPolicy, StdioConfig, Transport, WindowSize,
};
pub use state::{ExitStatus, Status, status};
