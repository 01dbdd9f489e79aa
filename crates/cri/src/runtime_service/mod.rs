//! `runtime.v1.RuntimeService`: each request is taken apart in the file of its family.

use tonic::{Request, Response, Status};

use crate::api::runtime_service_server::RuntimeService;
use crate::service::Service;
use crate::stream::Parts;
use crate::{api, status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RuntimeService for Service {
    async fn version(&self, _: Request<api::VersionRequest>) -> Answer<api::VersionResponse> {
        Ok(Response::new(status::version()))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<api::RunPodSandboxRequest>,
    ) -> Answer<api::RunPodSandboxResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<api::StopPodSandboxRequest>,
    ) -> Answer<api::StopPodSandboxResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<api::RemovePodSandboxRequest>,
    ) -> Answer<api::RemovePodSandboxResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<api::PodSandboxStatusRequest>,
    ) -> Answer<api::PodSandboxStatusResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<api::ListPodSandboxRequest>,
    ) -> Answer<api::ListPodSandboxResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    type StreamPodSandboxesStream = Parts<api::StreamPodSandboxesResponse>;

    async fn stream_pod_sandboxes(
        &self,
        request: Request<api::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn create_container(
        &self,
        request: Request<api::CreateContainerRequest>,
    ) -> Answer<api::CreateContainerResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn start_container(
        &self,
        request: Request<api::StartContainerRequest>,
    ) -> Answer<api::StartContainerResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn stop_container(
        &self,
        request: Request<api::StopContainerRequest>,
    ) -> Answer<api::StopContainerResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn remove_container(
        &self,
        request: Request<api::RemoveContainerRequest>,
    ) -> Answer<api::RemoveContainerResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn list_containers(
        &self,
        request: Request<api::ListContainersRequest>,
    ) -> Answer<api::ListContainersResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    type StreamContainersStream = Parts<api::StreamContainersResponse>;

    async fn stream_containers(
        &self,
        request: Request<api::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn container_status(
        &self,
        request: Request<api::ContainerStatusRequest>,
    ) -> Answer<api::ContainerStatusResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn update_container_resources(
        &self,
        request: Request<api::UpdateContainerResourcesRequest>,
    ) -> Answer<api::UpdateContainerResourcesResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn reopen_container_log(
        &self,
        request: Request<api::ReopenContainerLogRequest>,
    ) -> Answer<api::ReopenContainerLogResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn exec_sync(
        &self,
        request: Request<api::ExecSyncRequest>,
    ) -> Answer<api::ExecSyncResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn exec(&self, request: Request<api::ExecRequest>) -> Answer<api::ExecResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn attach(&self, request: Request<api::AttachRequest>) -> Answer<api::AttachResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn port_forward(
        &self,
        request: Request<api::PortForwardRequest>,
    ) -> Answer<api::PortForwardResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn container_stats(
        &self,
        request: Request<api::ContainerStatsRequest>,
    ) -> Answer<api::ContainerStatsResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn list_container_stats(
        &self,
        request: Request<api::ListContainerStatsRequest>,
    ) -> Answer<api::ListContainerStatsResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    type StreamContainerStatsStream = Parts<api::StreamContainerStatsResponse>;

    async fn stream_container_stats(
        &self,
        request: Request<api::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<api::PodSandboxStatsRequest>,
    ) -> Answer<api::PodSandboxStatsResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<api::ListPodSandboxStatsRequest>,
    ) -> Answer<api::ListPodSandboxStatsResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    type StreamPodSandboxStatsStream = Parts<api::StreamPodSandboxStatsResponse>;

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<api::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn update_runtime_config(
        &self,
        _: Request<api::UpdateRuntimeConfigRequest>,
    ) -> Answer<api::UpdateRuntimeConfigResponse> {
        // The pod network is configured by CNI files or by [network]; the address range is told for others.
        Ok(Response::new(api::UpdateRuntimeConfigResponse {}))
    }

    async fn status(&self, request: Request<api::StatusRequest>) -> Answer<api::StatusResponse> {
        let verbose = request.into_inner().verbose;
        let answer = self
            .engine_work(move |engine| Ok(status::status(engine, verbose)))
            .await?;
        Ok(Response::new(answer))
    }

    async fn checkpoint_container(
        &self,
        request: Request<api::CheckpointContainerRequest>,
    ) -> Answer<api::CheckpointContainerResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    type GetContainerEventsStream = Parts<api::ContainerEventResponse>;

    async fn get_container_events(
        &self,
        request: Request<api::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn list_metric_descriptors(
        &self,
        request: Request<api::ListMetricDescriptorsRequest>,
    ) -> Answer<api::ListMetricDescriptorsResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        request: Request<api::ListPodSandboxMetricsRequest>,
    ) -> Answer<api::ListPodSandboxMetricsResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    type StreamPodSandboxMetricsStream = Parts<api::StreamPodSandboxMetricsResponse>;

    async fn stream_pod_sandbox_metrics(
        &self,
        request: Request<api::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }

    async fn runtime_config(
        &self,
        _: Request<api::RuntimeConfigRequest>,
    ) -> Answer<api::RuntimeConfigResponse> {
        Ok(Response::new(status::runtime_config(&self.engine)))
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<api::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<api::UpdatePodSandboxResourcesResponse> {
        let _ = request;
        Err(Status::unimplemented("not yet"))
    }
}
