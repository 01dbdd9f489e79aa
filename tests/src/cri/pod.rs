//! A pod with busybox at hand, and the parts of what is asked of it.

use std::path::{Path, PathBuf};

use rctr_cri::api;
use tonic::Code;

use super::{Cri, refused};

/// A service with one pod.
pub struct Pod {
    /// The service.
    pub cri: Cri,
    /// What the pod was made with.
    pub config: api::PodSandboxConfig,
    /// The pod's id.
    pub id: String,
}

impl Pod {
    /// A pod of this name, and busybox pulled.
    pub fn new(name: &str) -> Self {
        Self::on(Cri::new(), name)
    }

    /// The same on a service that is there.
    pub fn on(cri: Cri, name: &str) -> Self {
        cri.pull("busybox");
        let config = cri.pod_config(name);
        let id = cri.run_pod(&config);
        Self { cri, config, id }
    }

    /// CreateContainer.
    pub fn create(&self, config: api::ContainerConfig) -> String {
        self.cri.create(&self.id, &self.config, config)
    }

    /// CreateContainer and StartContainer.
    pub fn run(&self, config: api::ContainerConfig) -> String {
        self.cri.run(&self.id, &self.config, config)
    }

    /// Runs a script to its end: what it wrote to its log, without the log's own words.
    pub fn output(&self, config: api::ContainerConfig) -> String {
        let id = self.run(config);
        let ended = self.cri.wait_exit(&id);
        let log = std::fs::read_to_string(&ended.log_path).expect("a log");
        let text = |line: &str| line.splitn(4, ' ').nth(3).map(str::to_owned);
        log.lines().filter_map(text).collect::<Vec<_>>().join("\n")
    }

    /// CreateContainer, which must be refused as a bad request: its words.
    pub fn refused(&self, config: api::ContainerConfig) -> String {
        self.refused_as(config, Code::InvalidArgument)
    }

    /// CreateContainer, which must be refused with this code: its words.
    pub fn refused_as(&self, config: api::ContainerConfig, code: Code) -> String {
        refused(self.cri.try_create(&self.id, &self.config, config), code)
    }

    /// A new directory of the test's.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.cri.env().path(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir
    }
}

/// A mount of a place on the host.
pub fn mount(inside: &str, host: &Path) -> api::Mount {
    api::Mount {
        container_path: inside.into(),
        host_path: host.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

/// A container's limits.
pub fn limits(change: impl FnOnce(&mut api::LinuxContainerResources)) -> api::LinuxContainerConfig {
    let mut resources = api::LinuxContainerResources::default();
    change(&mut resources);
    api::LinuxContainerConfig {
        resources: Some(resources),
        ..Default::default()
    }
}

/// A container's security context.
pub fn secured(
    change: impl FnOnce(&mut api::LinuxContainerSecurityContext),
) -> api::LinuxContainerConfig {
    let mut context = api::LinuxContainerSecurityContext::default();
    change(&mut context);
    api::LinuxContainerConfig {
        security_context: Some(context),
        ..Default::default()
    }
}

/// A pod's namespaces.
pub fn sharing(namespaces: api::NamespaceOption) -> api::LinuxPodSandboxConfig {
    api::LinuxPodSandboxConfig {
        security_context: Some(api::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces),
            ..Default::default()
        }),
        ..Default::default()
    }
}
