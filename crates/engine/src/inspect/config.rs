//! `Config`: what a container runs, without what the host gives it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{NameSet, name_set};
use crate::model::Container;
use crate::options::{MountKind, NetworkMode};

/// `Config` of a container or an image.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// Host name.
    pub hostname: String,
    /// `--domainname`.
    pub domainname: String,
    /// `user[:group]`.
    pub user: String,
    /// Whether `run` passed standard input on.
    pub attach_stdin: bool,
    /// Whether `run` showed standard output.
    pub attach_stdout: bool,
    /// Whether `run` showed standard error.
    pub attach_stderr: bool,
    /// Ports of image, `--expose` and `-p`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<NameSet>,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub open_stdin: bool,
    /// Standard input ends with the first client that was attached to it.
    pub stdin_once: bool,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// Command.
    pub cmd: Option<Vec<String>>,
    /// Health check of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    /// The image as the user named it.
    pub image: String,
    /// Volumes that image and flags ask for without saying where.
    pub volumes: Option<NameSet>,
    /// Working directory.
    pub working_dir: String,
    /// Entry point.
    pub entrypoint: Option<Vec<String>>,
    /// ONBUILD triggers of an image.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal to stop with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// `--stop-timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// SHELL of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

impl ContainerConfig {
    /// That of a container.
    pub fn of_container(container: &Container) -> ContainerConfig {
        let options = &container.options;
        let process = &container.process;
        let attached = !options.detach;
        let to = options.attach;
        ContainerConfig {
            hostname: hostname(container),
            user: process.user.clone(),
            domainname: options.domainname.clone().unwrap_or_default(),
            attach_stdin: attached && options.interactive && to.is_none_or(|to| to.stdin),
            attach_stdout: attached && to.is_none_or(|to| to.stdout),
            attach_stderr: attached && to.is_none_or(|to| to.stderr),
            exposed_ports: exposed_ports(container),
            tty: options.tty,
            open_stdin: options.interactive,
            stdin_once: attached && options.interactive,
            env: Some(process.env.clone()),
            cmd: process.cmd.clone(),
            healthcheck: process.healthcheck.clone(),
            image: container.image_name.clone(),
            volumes: volumes(container),
            working_dir: working_dir(container),
            entrypoint: process.entrypoint.clone(),
            labels: Some(process.labels.clone()),
            stop_signal: stop_signal(container),
            stop_timeout: options.stop_timeout,
            ..ContainerConfig::default()
        }
    }

    /// That of an image, from the `config` object of its configuration.
    pub fn of_image(config: &Value) -> ContainerConfig {
        let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
        let list = |key: &str| serde_json::from_value::<Vec<String>>(config[key].clone()).ok();
        let names = |key: &str| {
            config[key]
                .as_object()
                .map(|map| name_set(map.keys().cloned()))
        };
        ContainerConfig {
            user: text("User"),
            exposed_ports: names("ExposedPorts"),
            env: list("Env"),
            cmd: list("Cmd"),
            healthcheck: config
                .get("Healthcheck")
                .filter(|check| !check.is_null())
                .cloned(),
            image: text("Image"),
            volumes: names("Volumes"),
            working_dir: text("WorkingDir"),
            entrypoint: list("Entrypoint"),
            on_build: list("OnBuild"),
            labels: serde_json::from_value(config["Labels"].clone()).ok(),
            stop_signal: Some(text("StopSignal")).filter(|signal| !signal.is_empty()),
            shell: list("Shell"),
            ..ContainerConfig::default()
        }
    }
}

fn hostname(container: &Container) -> String {
    match (&container.options.hostname, &container.options.network) {
        (Some(name), _) => name.clone(),
        (None, NetworkMode::Container(_)) => String::new(),
        (None, NetworkMode::Host) => nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        (None, _) => container.id.chars().take(12).collect(),
    }
}

/// Docker leaves out what nobody asked for.
fn working_dir(container: &Container) -> String {
    match (
        &container.options.working_dir,
        container.process.working_dir.as_str(),
    ) {
        (None, "/") => String::new(),
        (_, dir) => dir.to_owned(),
    }
}

fn stop_signal(container: &Container) -> Option<String> {
    match (
        &container.options.stop_signal,
        container.process.stop_signal.as_str(),
    ) {
        (None, "" | "SIGTERM") => None,
        (_, signal) => Some(signal.to_owned()),
    }
}

fn exposed_ports(container: &Container) -> Option<NameSet> {
    let published = container.options.publish.iter().flat_map(|spec| {
        let (first, last) = spec.container_ports;
        (first..=last).map(|port| format!("{port}/{}", spec.protocol.as_str()))
    });
    let ports = name_set(
        container
            .process
            .exposed_ports
            .iter()
            .cloned()
            .chain(published),
    );
    (!ports.is_empty()).then_some(ports)
}

fn volumes(container: &Container) -> Option<NameSet> {
    let anonymous = container
        .options
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Volume && mount.source.is_none())
        .filter(|mount| !mount.by_mount_flag)
        .map(|mount| mount.target.clone());
    let volumes = name_set(container.process.volumes.iter().cloned().chain(anonymous));
    (!volumes.is_empty()).then_some(volumes)
}
