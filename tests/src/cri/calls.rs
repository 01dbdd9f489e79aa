//! One call each: most fail the test when the service refuses, those that are tried give its answer.

use rctr_cri::api;
use tonic::Status;

use super::{Cri, image};

impl Cri {
    /// Pulls an image: its id.
    pub fn pull(&self, name: &str) -> String {
        let request = api::PullImageRequest {
            image: Some(image(name)),
            ..Default::default()
        };
        self.images(async |c| c.pull_image(request).await)
            .unwrap_or_else(|e| self.fail(&format!("pull {name}"), &e))
            .image_ref
    }

    /// RunPodSandbox: the pod's id.
    pub fn run_pod(&self, config: &api::PodSandboxConfig) -> String {
        self.try_run_pod(config, "")
            .unwrap_or_else(|e| self.fail("RunPodSandbox", &e))
    }

    /// RunPodSandbox with a handler.
    pub fn try_run_pod(
        &self,
        config: &api::PodSandboxConfig,
        handler: &str,
    ) -> Result<String, Status> {
        let request = api::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: handler.into(),
        };
        self.runtime(async |c| c.run_pod_sandbox(request).await)
            .map(|answer| answer.pod_sandbox_id)
    }

    /// CreateContainer: its id.
    pub fn create(
        &self,
        pod: &str,
        pod_config: &api::PodSandboxConfig,
        config: api::ContainerConfig,
    ) -> String {
        self.try_create(pod, pod_config, config)
            .unwrap_or_else(|e| self.fail("CreateContainer", &e))
    }

    /// CreateContainer, which may fail.
    pub fn try_create(
        &self,
        pod: &str,
        pod_config: &api::PodSandboxConfig,
        config: api::ContainerConfig,
    ) -> Result<String, Status> {
        let request = api::CreateContainerRequest {
            pod_sandbox_id: pod.into(),
            config: Some(config),
            sandbox_config: Some(pod_config.clone()),
        };
        self.runtime(async |c| c.create_container(request).await)
            .map(|answer| answer.container_id)
    }

    /// StartContainer.
    pub fn start_container(&self, id: &str) {
        self.try_start(id)
            .unwrap_or_else(|e| self.fail("StartContainer", &e));
    }

    /// StartContainer, which may fail.
    pub fn try_start(&self, id: &str) -> Result<(), Status> {
        let container_id = id.into();
        self.runtime(async |c| {
            c.start_container(api::StartContainerRequest { container_id })
                .await
        })
        .map(drop)
    }

    /// CreateContainer and StartContainer.
    pub fn run(
        &self,
        pod: &str,
        pod_config: &api::PodSandboxConfig,
        config: api::ContainerConfig,
    ) -> String {
        let id = self.create(pod, pod_config, config);
        self.start_container(&id);
        id
    }

    /// UpdateContainerResources.
    pub fn resize(&self, id: &str, to: api::LinuxContainerResources) {
        let request = api::UpdateContainerResourcesRequest {
            container_id: id.into(),
            linux: Some(to),
            ..Default::default()
        };
        self.runtime(async |c| c.update_container_resources(request).await)
            .unwrap_or_else(|e| self.fail("UpdateContainerResources", &e));
    }

    /// StopContainer.
    pub fn stop(&self, id: &str, timeout: i64) {
        let request = api::StopContainerRequest {
            container_id: id.into(),
            timeout,
        };
        self.runtime(async |c| c.stop_container(request).await)
            .unwrap_or_else(|e| self.fail("StopContainer", &e));
    }

    /// RemoveContainer.
    pub fn remove(&self, id: &str) {
        let container_id = id.into();
        self.runtime(async |c| {
            c.remove_container(api::RemoveContainerRequest { container_id })
                .await
        })
        .unwrap_or_else(|e| self.fail("RemoveContainer", &e));
    }

    /// StopPodSandbox and RemovePodSandbox.
    pub fn remove_pod(&self, id: &str) {
        self.stop_pod(id);
        let pod_sandbox_id = id.into();
        self.runtime(async |c| {
            c.remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id })
                .await
        })
        .unwrap_or_else(|e| self.fail("RemovePodSandbox", &e));
    }

    /// StopPodSandbox.
    pub fn stop_pod(&self, id: &str) {
        let pod_sandbox_id = id.into();
        self.runtime(async |c| {
            c.stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id })
                .await
        })
        .unwrap_or_else(|e| self.fail("StopPodSandbox", &e));
    }

    /// PodSandboxStatus.
    pub fn pod_status(&self, id: &str) -> api::PodSandboxStatus {
        let request = api::PodSandboxStatusRequest {
            pod_sandbox_id: id.into(),
            verbose: false,
        };
        self.runtime(async |c| c.pod_sandbox_status(request).await)
            .unwrap_or_else(|e| self.fail("PodSandboxStatus", &e))
            .status
            .expect("a status")
    }

    /// ContainerStatus.
    pub fn status(&self, id: &str) -> api::ContainerStatus {
        self.try_status(id)
            .unwrap_or_else(|e| self.fail("ContainerStatus", &e))
    }

    /// ContainerStatus, which may fail.
    pub fn try_status(&self, id: &str) -> Result<api::ContainerStatus, Status> {
        let request = api::ContainerStatusRequest {
            container_id: id.into(),
            verbose: false,
        };
        self.runtime(async |c| c.container_status(request).await)
            .map(|answer| answer.status.expect("a status"))
    }

    /// ListPodSandbox with a filter.
    pub fn pods(&self, filter: Option<api::PodSandboxFilter>) -> Vec<api::PodSandbox> {
        self.runtime(async |c| {
            c.list_pod_sandbox(api::ListPodSandboxRequest { filter })
                .await
        })
        .unwrap_or_else(|e| self.fail("ListPodSandbox", &e))
        .items
    }

    /// ListContainers with a filter.
    pub fn containers(&self, filter: Option<api::ContainerFilter>) -> Vec<api::Container> {
        self.runtime(async |c| {
            c.list_containers(api::ListContainersRequest { filter })
                .await
        })
        .unwrap_or_else(|e| self.fail("ListContainers", &e))
        .containers
    }

    /// ExecSync.
    pub fn try_exec(
        &self,
        id: &str,
        command: &[&str],
        timeout: i64,
    ) -> Result<api::ExecSyncResponse, Status> {
        let request = api::ExecSyncRequest {
            container_id: id.into(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout,
        };
        self.runtime(async |c| c.exec_sync(request).await)
    }
}
