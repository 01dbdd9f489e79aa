//! Health checks: what the monitor is to do, and what it has found.

use std::path::Path;
use std::time::Duration;

use oci_spec::runtime::Process;
use rctr_runtime::{HealthCheck, HealthStatus, KEPT_PROBES};

use crate::events::{self, ContainerEvent};
use crate::model::{Container, Health, HealthResult, State, Status};
use crate::options::{ExecOptions, HealthConfig};
use crate::user::Identity;
use crate::{Engine, Result, names, spec, time};

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// The check in force, if there is one. A kubelet has its own, and looks at no image's.
fn config(container: &Container) -> Option<(HealthConfig, Vec<String>)> {
    let check = container.process.healthcheck.as_ref();
    let check = check.filter(|_| container.pod.is_none())?;
    let config: HealthConfig = serde_json::from_value(check.clone()).ok()?;
    let command = config.command()?;
    Some((config, command))
}

/// At a start: what is known of earlier runs stays, the status is `starting`.
pub(crate) fn starting(container: &mut Container) {
    let log = container.state.health.take().unwrap_or_default().log;
    container.state.health = config(container).map(|_| Health {
        log,
        ..Health::default()
    });
}

/// Fills in what the monitor knows of a container that runs, or ended just now.
pub(crate) fn fill_in(state: &mut State, state_dir: &Path) -> Result<()> {
    let Some(health) = &mut state.health else {
        return Ok(());
    };
    if state.status == Status::Running {
        // What the record has of an earlier run, or of a pause, is nothing until a probe of this run has told.
        health.status = HealthStatus::Starting;
        health.failing_streak = 0;
    }
    if let Some(found) = rctr_runtime::health(state_dir)? {
        health.status = found.status;
        health.failing_streak = found.failing_streak;
        for probe in found.log {
            let result = HealthResult {
                start: time::format(probe.start),
                end: time::format(probe.end),
                exit_code: probe.exit_code,
                output: probe.output,
            };
            // Some have been recorded already, with another change of a container that runs.
            if !health.log.contains(&result) {
                health.log.push(result);
            }
        }
        let surplus = health.log.len().saturating_sub(KEPT_PROBES);
        health.log.drain(..surplus);
    }
    if state.status != Status::Running {
        // Nobody looks after it.
        health.status = HealthStatus::Unhealthy;
    }
    Ok(())
}

impl Engine {
    /// What the monitor of a container is to execute from time to time. `init` is the container's first process.
    pub(crate) fn health_check(
        &self,
        container: &Container,
        init: Option<&Process>,
        identity: &Identity,
    ) -> Result<Option<HealthCheck>> {
        let (Some((config, cmd)), Some(init)) = (config(container), init) else {
            return Ok(None);
        };
        let options = ExecOptions {
            cmd,
            ..ExecOptions::default()
        };
        let or = HealthConfig::or_default;
        Ok(Some(HealthCheck {
            process: spec::exec_process(init, container, identity, &options)?,
            interval: or(config.interval, INTERVAL),
            timeout: or(config.timeout, TIMEOUT),
            start_period: or(config.start_period, Duration::ZERO),
            start_interval: or(config.start_interval, START_INTERVAL),
            retries: match u32::try_from(config.retries) {
                Ok(retries) if retries > 0 => retries,
                _ => RETRIES,
            },
            command: self.own_command(&["internal", "probed", &container.id])?,
        }))
    }

    /// Tells of a probe that has ended, in the run whose first process has this pid: `code` is its exit code, none if
    /// it could not be executed; `status` is the container's health, if that is another one now.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn tell_of_probe(
        &self,
        id: &str,
        pid: i32,
        code: Option<i32>,
        status: Option<&str>,
    ) -> Result<()> {
        self.tell_of_run(id, pid, |tx, of| {
            let (exec, command) = (&names::new_id(), &command_line(of));
            let tell = |event| events::container(tx, of, event);
            tell(ContainerEvent::ExecCreate { id: exec, command })?;
            tell(ContainerEvent::ExecStart { id: exec, command })?;
            if let Some(code) = code {
                tell(ContainerEvent::ExecDie { id: exec, code })?;
            }
            status.map_or(Ok(()), |status| tell(ContainerEvent::HealthStatus(status)))
        })
    }
}

/// What a probe executes.
fn command_line(container: &Container) -> String {
    config(container).map_or_else(String::new, |(_, command)| command.join(" "))
}
