//! Pod sandboxes.

use rctr_engine::pod::{Pod, PodState};
use rctr_engine::{Engine, Error};
use tonic::Status;

use crate::api::ContainerEventType as Kind;
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
        let key = format!("pod {}", options.key());
        let service = self.clone();
        let work = move || async move {
            let events = service.events.clone();
            service
                .engine_work(move |engine| match engine.run_pod(&options) {
                    Ok(pod) => {
                        events.of_pod(engine, &pod, Kind::ContainerCreatedEvent);
                        events.of_pod(engine, &pod, Kind::ContainerStartedEvent);
                        Ok(pod.id)
                    }
                    Err(Error::PodNameTaken { key, id }) => {
                        let there = engine.pod(&id).map_err(|e| error::status(&e))?;
                        match there.options == options {
                            true => Ok(there.id),
                            false => Err(error::status(&Error::PodNameTaken { key, id })),
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
        let events = self.events.clone();
        self.on_pod(id, move |engine, pod| {
            engine.stop_pod(&pod.id)?;
            if pod.state == PodState::Ready {
                let stopped = engine.pod(&pod.id)?;
                events.of_pod(engine, &stopped, Kind::ContainerStoppedEvent);
            }
            Ok(())
        })
        .await?;
        Ok(api::StopPodSandboxResponse {})
    }

    pub(super) async fn remove_pod(
        &self,
        request: api::RemovePodSandboxRequest,
    ) -> Result<api::RemovePodSandboxResponse, Status> {
        let id = request.pod_sandbox_id;
        let events = self.events.clone();
        self.on_pod(id, move |engine, pod| {
            let members: Vec<String> = engine
                .containers_of(&pod.id)?
                .into_iter()
                .map(|container| container.id)
                .collect();
            engine.remove_pod(&pod.id)?;
            for id in members {
                events.deleted(&id, Some(pod));
            }
            events.deleted(&pod.id, Some(pod));
            Ok(())
        })
        .await?;
        Ok(api::RemovePodSandboxResponse {})
    }

    /// Does something to a pod; one that is not there is fine.
    async fn on_pod(
        &self,
        id: String,
        work: impl FnOnce(&Engine, &Pod) -> rctr_engine::Result<()> + Send + 'static,
    ) -> Result<(), Status> {
        self.blocking(move |engine| match engine.pod(&id) {
            Ok(pod) => work(engine, &pod),
            Err(Error::NoSuchPod { .. }) => Ok(()),
            Err(e) => Err(e),
        })
        .await
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
        self.look(move |snapshot| {
            let pods = snapshot.pods.iter();
            Ok(pods
                .filter(|pod| filter.takes(pod))
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
