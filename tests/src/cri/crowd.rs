//! Requests of a client of one's own: for those that run side by side, or are cut off.

use rctr_cri::api;
use rctr_cri::api::runtime_service_client::RuntimeServiceClient;
use tonic::Status;
use tonic::transport::Channel;

/// RunPodSandbox, CreateContainer and StartContainer: the container's id.
///
/// # Errors
/// That of the first that fails.
pub async fn run_alone(
    mut client: RuntimeServiceClient<Channel>,
    pod_config: api::PodSandboxConfig,
    config: api::ContainerConfig,
) -> Result<String, Status> {
    let request = api::RunPodSandboxRequest {
        config: Some(pod_config.clone()),
        runtime_handler: String::new(),
    };
    let pod = client.run_pod_sandbox(request).await?.into_inner();
    run_in(client, pod.pod_sandbox_id, pod_config, config).await
}

/// CreateContainer and StartContainer: the container's id.
///
/// # Errors
/// That of the first that fails.
pub async fn run_in(
    mut client: RuntimeServiceClient<Channel>,
    pod_sandbox_id: String,
    pod_config: api::PodSandboxConfig,
    config: api::ContainerConfig,
) -> Result<String, Status> {
    let request = api::CreateContainerRequest {
        pod_sandbox_id,
        config: Some(config),
        sandbox_config: Some(pod_config),
    };
    let made = client.create_container(request).await?.into_inner();
    let container_id = made.container_id.clone();
    let start = api::StartContainerRequest { container_id };
    client.start_container(start).await?;
    Ok(made.container_id)
}
