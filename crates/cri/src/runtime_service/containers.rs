//! Containers.

use std::sync::Arc;
use std::time::Duration;

use rctr_engine::model::Container;
use rctr_engine::{Engine, Error, RemoveOptions, StopOptions, Streams};
use tonic::Status;

use crate::api::ContainerState;
use crate::convert::container::{Filter, Member, options};
use crate::convert::{number, required, resources};
use crate::service::Service;
use crate::{api, error};

impl Service {
    /// The same container asked for again, by a kubelet that gave up waiting, is the one there is.
    pub(super) async fn create(
        &self,
        request: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, Status> {
        let options = options(required(request.config, "the container's configuration")?)?;
        let pod = request.pod_sandbox_id;
        let key = format!("container {pod} {} {}", options.name, options.attempt);
        let service = self.clone();
        let work = move || async move {
            service
                .engine_work(move |engine| {
                    let pod = engine.pod(&pod).map_err(|e| error::status(&e))?;
                    match engine.create_in_pod(&pod.id, &options) {
                        Ok(created) => {
                            for warning in &created.warnings {
                                tracing::warn!(container = created.id, warning);
                            }
                            Ok(created.id)
                        }
                        Err(Error::NameTaken { name, by }) => {
                            let there = engine.container(&by).map_err(|e| error::status(&e))?;
                            let same = Member::of(&there).is_some_and(|member| {
                                member.state() == ContainerState::ContainerCreated
                                    && *member.options() == options
                            });
                            match same {
                                true => Ok(there.id),
                                false => Err(error::status(&Error::NameTaken { name, by })),
                            }
                        }
                        Err(e) => Err(error::status(&e)),
                    }
                })
                .await
        };
        let container_id = self.made.run(key, work).await?;
        Ok(api::CreateContainerResponse { container_id })
    }

    /// One that runs already has been started by a request nobody waited for; one that has ended is not started again.
    pub(super) async fn start_container_once(
        &self,
        request: api::StartContainerRequest,
    ) -> Result<api::StartContainerResponse, Status> {
        let id = request.container_id;
        let key = format!("start {id}");
        let service = self.clone();
        let work = move || async move {
            let (ends, snapshots) = (service.ends.clone(), service.snapshots.clone());
            service
                .engine_work(move |engine| {
                    let container = member(engine, &id)?;
                    if state(&container) == ContainerState::ContainerExited {
                        return Err(Status::failed_precondition(format!(
                            "container {} has ended: a container is started once",
                            container.id
                        )));
                    }
                    snapshots.watches.starting(&container.id);
                    let started = engine.start(&container.id, Streams::default());
                    snapshots.outdate();
                    let started = started.map_err(|e| {
                        snapshots.watches.not_started(&container.id);
                        start_failure(&e)
                    })?;
                    for warning in &started.warnings {
                        tracing::warn!(container = started.id, warning);
                    }
                    ends.started(&started.id);
                    Ok(started.id)
                })
                .await
        };
        self.made.run(key, work).await?;
        Ok(api::StartContainerResponse {})
    }

    pub(super) async fn stop(
        &self,
        request: api::StopContainerRequest,
    ) -> Result<api::StopContainerResponse, Status> {
        let id = request.container_id;
        let options = StopOptions {
            signal: (request.timeout <= 0).then(|| "SIGKILL".to_owned()),
            timeout: Some(request.timeout.max(0)),
        };
        self.engine_work(move |engine| {
            let container = match member(engine, &id) {
                Err(status) if status.code() == tonic::Code::NotFound => return Ok(()),
                other => other?,
            };
            match engine.stop(&container.id, &options) {
                Err(Error::NoSuchContainer { .. }) => Ok(()),
                other => other.map_err(|e| error::status(&e)),
            }
        })
        .await?;
        Ok(api::StopContainerResponse {})
    }

    pub(super) async fn remove(
        &self,
        request: api::RemoveContainerRequest,
    ) -> Result<api::RemoveContainerResponse, Status> {
        let id = request.container_id;
        self.engine_work(move |engine| {
            let container = match member(engine, &id) {
                Err(status) if status.code() == tonic::Code::NotFound => return Ok(()),
                other => other?,
            };
            let how = RemoveOptions {
                force: true,
                volumes: true,
            };
            match engine.remove(&container.id, how) {
                Ok(()) | Err(Error::NoSuchContainer { .. }) => Ok(()),
                Err(e) => Err(error::status(&e)),
            }
        })
        .await?;
        Ok(api::RemoveContainerResponse {})
    }

    pub(super) async fn list(
        &self,
        filter: Option<api::ContainerFilter>,
    ) -> Result<Vec<api::Container>, Status> {
        let filter = Filter::new(filter);
        self.look(move |snapshot| {
            Ok(snapshot
                .containers
                .iter()
                .filter_map(|container| Member::of(container))
                .filter(|member| filter.takes(member))
                .map(|member| member.item())
                .collect())
        })
        .await
    }

    pub(super) async fn status_of_container(
        &self,
        request: api::ContainerStatusRequest,
    ) -> Result<api::ContainerStatusResponse, Status> {
        let engine = Arc::clone(&self.engine);
        self.look(move |snapshot| {
            let container = snapshot.container(&request.container_id)?;
            let mut answer = api::ContainerStatusResponse::default();
            if let Some(member) = Member::of(container) {
                answer.status = Some(member.status());
                if request.verbose {
                    let info = serde_json::json!({
                        "sandboxID": member.pod(),
                        "pid": container.state.pid,
                        "options": member.options(),
                        "process": container.process,
                        "cgroupPath": container.cgroup_path,
                        "runtimeSpec": engine.spec_of(container),
                    });
                    answer.info.insert("info".into(), info.to_string());
                }
            }
            Ok(answer)
        })
        .await
    }

    pub(super) async fn update_resources(
        &self,
        request: api::UpdateContainerResourcesRequest,
    ) -> Result<api::UpdateContainerResourcesResponse, Status> {
        let id = request.container_id;
        let limits = resources::changes(request.linux.unwrap_or_default())?;
        self.engine_work(move |engine| {
            let container = member(engine, &id)?;
            engine
                .update_resources(&container.id, &limits)
                .map_err(|e| error::status(&e))
        })
        .await?;
        Ok(api::UpdateContainerResourcesResponse {})
    }

    /// Where there is no CRIU the kubelet is told so by [`tonic::Code::Unimplemented`]. When the time is up the answer
    /// comes at once; what was begun ends as soon as the container can be let go on, and leaves no archive.
    pub(super) async fn checkpoint(
        &self,
        request: api::CheckpointContainerRequest,
    ) -> Result<(), Status> {
        if request.location.is_empty() {
            return Err(Status::invalid_argument(
                "the checkpoint's location is missing",
            ));
        }
        let seconds: u64 = number(request.timeout, "timeout")?;
        let patience = (seconds > 0).then(|| Duration::from_secs(seconds));
        let writing = self.engine_work(move |engine| {
            let container = member(engine, &request.container_id)?;
            let written = engine.checkpoint(&container.id, request.location.as_ref(), patience);
            written.map_err(|e| error::status(&e))
        });
        let late = || Status::deadline_exceeded(format!("no checkpoint in {seconds} s"));
        match patience {
            Some(patience) => tokio::time::timeout(patience, writing)
                .await
                .unwrap_or_else(|_| Err(late())),
            None => writing.await,
        }
    }

    pub(super) async fn reopen_log(
        &self,
        request: api::ReopenContainerLogRequest,
    ) -> Result<api::ReopenContainerLogResponse, Status> {
        let id = request.container_id.clone();
        self.monitor_work(&request.container_id, move |engine| {
            let container = member(engine, &id)?;
            if state(&container) != ContainerState::ContainerRunning {
                return Err(Status::failed_precondition(format!(
                    "container {} is not running",
                    container.id
                )));
            }
            engine
                .reopen_log(&container.id)
                .map_err(|e| error::status(&e))
        })
        .await?;
        Ok(api::ReopenContainerLogResponse {})
    }
}

/// A container of a pod; others are none of a kubelet's business.
pub(crate) fn member(engine: &Engine, id: &str) -> Result<Container, Status> {
    let missing = || error::status(&Error::NoSuchContainer { name: id.into() });
    // Names are for people: a kubelet has ids.
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let container = engine.container(id).map_err(|e| error::status(&e))?;
    match container.pod.is_some() && container.id.starts_with(id) {
        true => Ok(container),
        false => Err(missing()),
    }
}

fn state(container: &Container) -> ContainerState {
    Member::of(container).map_or(ContainerState::ContainerUnknown, |member| member.state())
}

/// A command that cannot be executed is the pod's fault, not ours.
fn start_failure(error: &Error) -> Status {
    match error.exit_code() {
        126 | 127 => Status::invalid_argument(error::chain(error)),
        _ => error::status(error),
    }
}
