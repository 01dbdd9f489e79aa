//! Pod sandboxes.

use rctr_engine::Error;
use rctr_engine::pod::{Pod, PodOptions, PodState};
use tonic::Status;

use crate::convert::container::Member;
use crate::convert::{pod, required, resources, time};
use crate::service::Service;
use crate::{api, error};

impl Service {
    /// The same pod asked for again, by a kubelet that gave up waiting, is the one there is.
    pub(super) async fn run_pod(
        &self,
        request: api::RunPodSandboxRequest,
    ) -> Result<api::RunPodSandboxResponse, Status> {
        let config = required(request.config, "the pod's configuration")?;
        self.check_handler(&request.runtime_handler)?;
        let options = pod::options(config, request.runtime_handler)?;
        let key = making(&options);
        let service = self.clone();
        let work = move || async move {
            service
                .engine_work(move |engine| match engine.run_pod(&options) {
                    Ok(pod) => Ok(pod.id),
                    Err(Error::PodNameTaken { key, id }) => {
                        let there = engine.pod(&id).map_err(|e| error::status(&e))?;
                        match there.state {
                            PodState::Ready if there.options == options => Ok(there.id),
                            PodState::Creating => Err(Status::unavailable(format!(
                                "what is left of another attempt at pod {key} is being cleared"
                            ))),
                            _ => Err(error::status(&Error::PodNameTaken { key, id })),
                        }
                    }
                    Err(e) => Err(error::status(&e)),
                })
                .await
        };
        let pod_sandbox_id = self.made.run(key, work).await?;
        Ok(api::RunPodSandboxResponse { pod_sandbox_id })
    }

    /// A pod must not end up in another runtime than it asked for.
    fn check_handler(&self, name: &str) -> Result<(), Status> {
        let handlers = &self.engine.config().settings.cri.handlers;
        match handlers.get(name) {
            _ if name.is_empty() => Ok(()),
            Some(handler) => match &handler.path {
                Some(path) if !path.is_file() => Err(Status::failed_precondition(format!(
                    "runtime handler {name}: there is no program {}",
                    path.display()
                ))),
                _ => Ok(()),
            },
            None => Err(Status::invalid_argument(format!(
                "no runtime handler {name:?}: [cri.handlers.{name}] of the configuration would make one"
            ))),
        }
    }

    pub(super) async fn stop_pod(
        &self,
        request: api::StopPodSandboxRequest,
    ) -> Result<api::StopPodSandboxResponse, Status> {
        let id = request.pod_sandbox_id;
        self.blocking(move |engine| engine.stop_pod(&id)).await?;
        Ok(api::StopPodSandboxResponse {})
    }

    pub(super) async fn remove_pod(
        &self,
        request: api::RemovePodSandboxRequest,
    ) -> Result<api::RemovePodSandboxResponse, Status> {
        let id = request.pod_sandbox_id;
        self.blocking(move |engine| engine.remove_pod(&id)).await?;
        Ok(api::RemovePodSandboxResponse {})
    }

    pub(super) async fn pod_status(
        &self,
        request: api::PodSandboxStatusRequest,
    ) -> Result<api::PodSandboxStatusResponse, Status> {
        self.look(move |snapshot| {
            let pod = snapshot.pod(&request.pod_sandbox_id)?;
            let members = snapshot.containers_of(&pod.id).filter_map(Member::of);
            let mut answer = api::PodSandboxStatusResponse {
                status: Some(pod::status(pod)),
                containers_statuses: members.map(|member| member.status()).collect(),
                timestamp: time::now(),
                ..Default::default()
            };
            if request.verbose {
                let info = serde_json::json!({
                    "netns": pod.netns(),
                    "options": pod.options,
                    "network": pod.network,
                    "runtimeSpec": pod::spec(pod),
                });
                answer.info.insert("info".into(), info.to_string());
            }
            Ok(answer)
        })
        .await
    }

    pub(super) async fn list_pods(
        &self,
        filter: Option<api::PodSandboxFilter>,
    ) -> Result<Vec<api::PodSandbox>, Status> {
        let filter = pod::Filter::new(filter);
        // Before the look: what ends in between is seen as it has become.
        let under_way = self.made.under_way();
        self.look(move |snapshot| {
            // One that is being made is not there yet: a kubelet would take it for one that has ended.
            let there = |pod: &Pod| {
                pod.state != PodState::Creating || !under_way.contains(&making(&pod.options))
            };
            let pods = snapshot.pods.iter();
            Ok(pods
                .filter(|pod| there(pod) && filter.takes(pod))
                .map(|pod| pod::item(pod))
                .collect())
        })
        .await
    }

    pub(super) async fn update_pod_resources(
        &self,
        request: api::UpdatePodSandboxResourcesRequest,
    ) -> Result<api::UpdatePodSandboxResourcesResponse, Status> {
        let id = request.pod_sandbox_id;
        let overhead = request.overhead.map(resources::resources).transpose()?;
        let limits = request.resources.map(resources::resources).transpose()?;
        self.blocking(move |engine| {
            engine.update_pod_resources(&id, overhead.as_ref(), limits.as_ref())
        })
        .await?;
        Ok(api::UpdatePodSandboxResourcesResponse {})
    }
}

/// What tells the making of a pod from all other work.
fn making(options: &PodOptions) -> String {
    format!("pod {}", options.key())
}
