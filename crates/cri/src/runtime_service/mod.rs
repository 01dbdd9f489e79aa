//! `runtime.v1.RuntimeService`: each request is taken apart in the file of its family.

mod containers;
mod exec;
mod pods;
pub(crate) mod stats;

use tonic::{Request, Response, Status};

use crate::api::runtime_service_server::RuntimeService;
use crate::service::Service;
use crate::stream::{Parts, in_parts};
use crate::{api, metrics, status};

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
        let answer = self.run_pod(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<api::StopPodSandboxRequest>,
    ) -> Answer<api::StopPodSandboxResponse> {
        let answer = self.stop_pod(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<api::RemovePodSandboxRequest>,
    ) -> Answer<api::RemovePodSandboxResponse> {
        let answer = self.remove_pod(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<api::PodSandboxStatusRequest>,
    ) -> Answer<api::PodSandboxStatusResponse> {
        let answer = self.pod_status(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<api::ListPodSandboxRequest>,
    ) -> Answer<api::ListPodSandboxResponse> {
        let items = self.list_pods(request.into_inner().filter).await?;
        Ok(Response::new(api::ListPodSandboxResponse { items }))
    }

    type StreamPodSandboxesStream = Parts<api::StreamPodSandboxesResponse>;

    async fn stream_pod_sandboxes(
        &self,
        request: Request<api::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        let pods = self.list_pods(request.into_inner().filter).await?;
        Ok(in_parts(pods, |pod_sandboxes| {
            api::StreamPodSandboxesResponse { pod_sandboxes }
        }))
    }

    async fn create_container(
        &self,
        request: Request<api::CreateContainerRequest>,
    ) -> Answer<api::CreateContainerResponse> {
        let answer = self.create(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn start_container(
        &self,
        request: Request<api::StartContainerRequest>,
    ) -> Answer<api::StartContainerResponse> {
        let answer = self.start_container_once(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn stop_container(
        &self,
        request: Request<api::StopContainerRequest>,
    ) -> Answer<api::StopContainerResponse> {
        let answer = self.stop(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn remove_container(
        &self,
        request: Request<api::RemoveContainerRequest>,
    ) -> Answer<api::RemoveContainerResponse> {
        let answer = self.remove(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_containers(
        &self,
        request: Request<api::ListContainersRequest>,
    ) -> Answer<api::ListContainersResponse> {
        let containers = self.list(request.into_inner().filter).await?;
        Ok(Response::new(api::ListContainersResponse { containers }))
    }

    type StreamContainersStream = Parts<api::StreamContainersResponse>;

    async fn stream_containers(
        &self,
        request: Request<api::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        let containers = self.list(request.into_inner().filter).await?;
        Ok(in_parts(containers, |containers| {
            api::StreamContainersResponse { containers }
        }))
    }

    async fn container_status(
        &self,
        request: Request<api::ContainerStatusRequest>,
    ) -> Answer<api::ContainerStatusResponse> {
        let answer = self.status_of_container(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn update_container_resources(
        &self,
        request: Request<api::UpdateContainerResourcesRequest>,
    ) -> Answer<api::UpdateContainerResourcesResponse> {
        let answer = self.update_resources(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn reopen_container_log(
        &self,
        request: Request<api::ReopenContainerLogRequest>,
    ) -> Answer<api::ReopenContainerLogResponse> {
        let answer = self.reopen_log(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn exec_sync(
        &self,
        request: Request<api::ExecSyncRequest>,
    ) -> Answer<api::ExecSyncResponse> {
        let answer = self.run_exec_sync(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn exec(&self, request: Request<api::ExecRequest>) -> Answer<api::ExecResponse> {
        let url = self.exec_url(request.into_inner()).await?;
        Ok(Response::new(api::ExecResponse { url }))
    }

    async fn attach(&self, request: Request<api::AttachRequest>) -> Answer<api::AttachResponse> {
        let url = self.attach_url(request.into_inner()).await?;
        Ok(Response::new(api::AttachResponse { url }))
    }

    async fn port_forward(
        &self,
        request: Request<api::PortForwardRequest>,
    ) -> Answer<api::PortForwardResponse> {
        let url = self.forward_url(request.into_inner()).await?;
        Ok(Response::new(api::PortForwardResponse { url }))
    }

    async fn container_stats(
        &self,
        request: Request<api::ContainerStatsRequest>,
    ) -> Answer<api::ContainerStatsResponse> {
        let answer = self.stats_of_container(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_container_stats(
        &self,
        request: Request<api::ListContainerStatsRequest>,
    ) -> Answer<api::ListContainerStatsResponse> {
        let stats = self
            .stats_of_containers(request.into_inner().filter)
            .await?;
        Ok(Response::new(api::ListContainerStatsResponse { stats }))
    }

    type StreamContainerStatsStream = Parts<api::StreamContainerStatsResponse>;

    async fn stream_container_stats(
        &self,
        request: Request<api::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        let stats = self
            .stats_of_containers(request.into_inner().filter)
            .await?;
        Ok(in_parts(stats, |container_stats| {
            api::StreamContainerStatsResponse { container_stats }
        }))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<api::PodSandboxStatsRequest>,
    ) -> Answer<api::PodSandboxStatsResponse> {
        let answer = self.stats_of_pod(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<api::ListPodSandboxStatsRequest>,
    ) -> Answer<api::ListPodSandboxStatsResponse> {
        let stats = self.stats_of_pods(request.into_inner().filter).await?;
        Ok(Response::new(api::ListPodSandboxStatsResponse { stats }))
    }

    type StreamPodSandboxStatsStream = Parts<api::StreamPodSandboxStatsResponse>;

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<api::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        let stats = self.stats_of_pods(request.into_inner().filter).await?;
        Ok(in_parts(stats, |pod_sandbox_stats| {
            api::StreamPodSandboxStatsResponse { pod_sandbox_stats }
        }))
    }

    async fn update_runtime_config(
        &self,
        _: Request<api::UpdateRuntimeConfigRequest>,
    ) -> Answer<api::UpdateRuntimeConfigResponse> {
        // CNI files or [network] say what addresses pods have; this is for runtimes that write such files.
        Ok(Response::new(api::UpdateRuntimeConfigResponse {}))
    }

    async fn status(&self, request: Request<api::StatusRequest>) -> Answer<api::StatusResponse> {
        let verbose = request.into_inner().verbose;
        let service = self.clone();
        let answer = self
            .engine_work(move |_| Ok(status::status(&service, verbose)))
            .await?;
        Ok(Response::new(answer))
    }

    async fn checkpoint_container(
        &self,
        request: Request<api::CheckpointContainerRequest>,
    ) -> Answer<api::CheckpointContainerResponse> {
        let request = request.into_inner();
        self.checkpoint(request).await?;
        Ok(Response::new(api::CheckpointContainerResponse {}))
    }

    type GetContainerEventsStream = Parts<api::ContainerEventResponse>;

    async fn get_container_events(
        &self,
        _: Request<api::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        Ok(Response::new(self.events.listen().await?))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<api::ListMetricDescriptorsRequest>,
    ) -> Answer<api::ListMetricDescriptorsResponse> {
        Ok(Response::new(api::ListMetricDescriptorsResponse {
            descriptors: metrics::descriptors(),
        }))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<api::ListPodSandboxMetricsRequest>,
    ) -> Answer<api::ListPodSandboxMetricsResponse> {
        let pod_metrics = self.metrics_of_pods().await?;
        Ok(Response::new(api::ListPodSandboxMetricsResponse {
            pod_metrics,
        }))
    }

    type StreamPodSandboxMetricsStream = Parts<api::StreamPodSandboxMetricsResponse>;

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<api::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        let metrics = self.metrics_of_pods().await?;
        Ok(in_parts(metrics, |pod_sandbox_metrics| {
            api::StreamPodSandboxMetricsResponse {
                pod_sandbox_metrics,
            }
        }))
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
        let answer = self.update_pod_resources(request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}
