//! Starting a container: addresses, bundle, monitor.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci_spec::image::Digest;
use rctr_runtime::{
    AttachOptions, AttachStream, Launch, LaunchFds, LogConfig, LowerDir, Rootfs, SeccompPolicy,
    StdioConfig,
};

use crate::endpoint::{HeldPorts, Joined};
use crate::lock::ContainerLock;
use crate::model::{Container, Status, ZERO_TIME};
use crate::options::{NetworkMode, RunOptions, SeccompChoice};
use crate::pod::{self, PodMember, PodState};
use crate::rootfs_view::RootfsView;
use crate::user::Identity;
use crate::{
    Engine, Error, Result, apparmor, events, files, health, lifecycle, rootless, selinux, settle,
    spec, time, user,
};

/// Which of a container's standard streams a front door wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Streams {
    fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }

    pub(crate) fn attach(self, settle: bool) -> AttachOptions {
        AttachOptions {
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            settle,
        }
    }
}

/// A started container.
pub struct Started {
    /// Its id.
    pub id: String,
    /// One line each, for the user.
    pub warnings: Vec<String>,
    /// The streams that were asked for, from the first byte on. Whoever reads its end calls [`Engine::settle`].
    pub attach: Option<AttachStream>,
}

/// Why `run` failed, and the container it left behind, if it did.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct RunError {
    /// The container that was made and could not be started.
    pub id: Option<String>,
    /// Why.
    #[source]
    pub error: Box<Error>,
}

impl Engine {
    /// Makes a container and starts it.
    ///
    /// # Errors
    /// Those of [`Engine::create`] and [`Engine::start`]. A container that cannot be started stays `created`,
    /// with the reason in its state, unless it was to be removed at its end.
    pub fn run(&self, options: &RunOptions, streams: Streams) -> Result<Started, RunError> {
        let (container, warnings) = self.insert(options).map_err(|error| RunError {
            id: None,
            error: Box::new(error),
        })?;
        let id = container.id.clone();
        let start = || {
            let lock = self.lock(&id)?;
            self.start_locked(container, &lock, streams)
        };
        match start() {
            Ok(mut started) => {
                started.warnings.splice(0..0, warnings);
                Ok(started)
            }
            Err(error) => Err(RunError {
                id: Some(id),
                error: Box::new(error),
            }),
        }
    }

    /// Starts a container that is not running; one that is running is left as it is.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], and whatever hinders a start; the container is then as before, with the reason
    /// in its state.
    pub fn start(&self, name: &str, streams: Streams) -> Result<Started> {
        let id = self.find(name)?;
        let lock = self.lock(&id)?;
        let mut container = self.refresh_locked(self.load(&id)?, &lock)?;
        if container.state.status == Status::Paused {
            return Err(Error::StartPaused);
        }
        if container.state.status.is_live() {
            let attach = match streams.any() {
                true => Some(self.attach(&id, streams)?),
                false => None,
            };
            return Ok(Started {
                id,
                warnings: Vec::new(),
                attach,
            });
        }
        container.forget_restarts();
        self.start_locked(container, &lock, streams)
    }

    pub(crate) fn start_locked(
        &self,
        mut container: Container,
        lock: &ContainerLock,
        streams: Streams,
    ) -> Result<Started> {
        match self.try_start(&mut container, lock, streams) {
            Ok(started) => Ok(started),
            Err(error) => {
                self.start_failed(container, lock, &error)?;
                Err(error)
            }
        }
    }

    fn try_start(
        &self,
        container: &mut Container,
        lock: &ContainerLock,
        streams: Streams,
    ) -> Result<Started> {
        self.store.require_space()?;
        let state_dir = self.fresh_state_dir(&container.id)?;
        let plan = self.plan_networks(container)?;
        let held = self.hold_ports(container, &plan)?;
        self.store.write(|tx| -> Result<()> {
            self.allocate_all(tx, container, &plan, held.ports.clone())?;
            selinux::settle(self.facts(), container, tx)?;
            container.state.status = Status::Running;
            container.state.error.clear();
            container.state.unseen_end = false;
            container.restarts.due.clear();
            health::starting(container);
            events::starting(tx, container, streams.any())?;
            lifecycle::save(tx, container)
        })?;
        let joined = self.join_network(container)?;
        let started = self.launch(container, lock, &state_dir, joined, &held, streams)?;
        let told = self.store.write(|tx| -> Result<()> {
            events::started(tx, container)?;
            // What its monitor knows better is lost with that, or with the machine.
            tx.update_container(&container.id, |record: &mut Container| {
                record.state.started_at = time::now();
                Ok(())
            })
        });
        // It runs already: whoever ends it tells of its start too, if this cannot.
        if let Err(e) = told {
            tracing::warn!(container = container.id, error = %e, "its start is not told of yet");
        }
        Ok(started)
    }

    fn launch(
        &self,
        container: &Container,
        lock: &ContainerLock,
        state_dir: &Path,
        network: Joined,
        held: &HeldPorts,
        streams: Streams,
    ) -> Result<Started> {
        let bundle = self.store.container_dir(&container.id)?;
        let layers = self.layers(container)?;
        let view = RootfsView::new(
            Some(bundle.join("upper")),
            layers.iter().map(|l| l.path.clone()).collect(),
        );
        let identity = self.identity(container, &view)?;
        let pod = match &container.pod {
            Some(member) => Some(self.pod(&member.pod)?),
            None => None,
        };
        if let Some(pod) = pod.as_ref().filter(|pod| pod.state != PodState::Ready) {
            return Err(Error::PodNotReady { id: pod.id.clone() });
        }
        let joined = match &container.options.network {
            NetworkMode::Container(other) => Some(self.store.container_dir(&self.find(other)?)?),
            _ => None,
        };
        let files = match &pod {
            Some(pod) => files::of_pod(&self.pod_files(&pod.id))?,
            None => files::write(
                &bundle,
                container,
                joined.as_deref(),
                self.gateway_for(container)?,
            )?,
        };
        let in_pod = match (&pod, &container.pod) {
            (Some(pod), Some(member)) => Some(self.in_pod(pod, member)?),
            _ => None,
        };
        let joined_namespaces = self.join_namespaces(container)?;
        let opened = self.open_mounts(container, container.options.isolation.userns.mappings())?;
        self.relabel(container, &bundle.join("upper"), &files, &opened)?;
        let mut fds = Inherited::default();
        let (shown, copy_up) = opened.show(container, |fd| fds.add(fd));
        let mut output = spec::build(&spec::SpecInput {
            container: &shown,
            user: &identity,
            files: &files,
            netns: fds.path_of(network.netns.as_ref()),
            joined: spec::JoinedPaths {
                ipc: fds.path_of(joined_namespaces.ipc.as_ref()),
                shm: fds.path_of(joined_namespaces.shm.as_ref()),
                pid: fds.path_of(joined_namespaces.pid.as_ref()),
                user: fds.path_of(network.user.as_ref()),
            },
            monitor: self.monitor_path()?,
            facts: self.facts(),
            pod: in_pod.as_ref(),
        })?;
        let named = match &container.pod {
            Some(member) => member.options.cdi_devices.clone(),
            None => container.options.devices.cdi_names(),
        };
        if !named.is_empty() {
            pod::give_devices(&named, &mut output.spec)?;
        }
        if let Some(process) = output.spec.process_mut() {
            apparmor::require(&container.options, process)?;
        }
        let config = bundle.join("config.json");
        spec::save(&output.spec, &config)?;

        let (log, log_driver) = match &container.pod {
            Some(member) => (pod_log(member)?, None),
            None => self.log_launch(container, &bundle)?,
        };
        let launch = Launch {
            id: container.id.clone(),
            bundle: bundle.clone(),
            state_dir: state_dir.into(),
            rootfs: Rootfs::Overlay {
                lower: layers,
                upper: bundle.join("upper"),
                work: bundle.join("work"),
                volatile: false,
            },
            copy_up,
            log,
            log_driver,
            stdio: StdioConfig {
                terminal: container.options.tty.then(Default::default),
                open_stdin: container.options.interactive,
                stdin_once: match &container.pod {
                    Some(member) => member.options.stdin_once,
                    None => container.options.interactive && !container.options.detach,
                },
            },
            cgroup: self.cgroup_driver(),
            seccomp: seccomp_policy(container, output.seccomp),
            seccomp_cache: self.config.root.join("seccomp"),
            exit_command: self.exit_command(&container.id)?,
            tethered: false,
            runtime: self.runtime_of(container, pod.as_ref())?,
            forward: rootless::forwards(held, fds.0.len())?,
            health: self.health_check(container, output.spec.process().as_ref(), &identity)?,
            oom_command: match &container.pod {
                // The kubelet asks for the reason of the end, and for no events.
                Some(_) => Vec::new(),
                None => self.own_command(&["internal", "out-of-memory", &container.id])?,
            },
        };
        fds.0.extend(held.sockets.iter().map(AsFd::as_fd));
        fds.0.extend(network.held.iter().map(AsFd::as_fd));
        let attach = streams.any().then(|| streams.attach(true));
        let monitor = self.monitor_path()?;
        let launching = rctr_runtime::begin_launch(
            &monitor,
            &launch,
            LaunchFds {
                inherited: fds.0,
                // If this process is killed now, the container is still being started.
                lock: Some(lock.as_fd()),
                attach,
            },
        )
        .map_err(|e| e.error)?;
        // Beside the monitor's work: next to many containers a cable takes as long as all of that.
        let mut connected = self.connect_networks(container, &network)?;
        let launched = launching.finish().map_err(|e| e.error)?;
        let mut warnings = std::mem::take(&mut connected.warnings);
        warnings.extend(output.warnings);
        warnings.extend(launched.warnings);
        Ok(Started {
            id: container.id.clone(),
            warnings,
            attach: launched.attach,
        })
    }

    /// Undoes a start that failed.
    fn start_failed(
        &self,
        mut container: Container,
        lock: &ContainerLock,
        error: &Error,
    ) -> Result<()> {
        self.leave_network(&container)?;
        settle::discard_state_dir(&self.state_dir(&container.id))?;
        container.networks.clear();
        container.state.error = error.to_string();
        container.state.exit_code = match error.exit_code() {
            // Docker's code for a start that failed before there was a command to blame.
            125 => 128,
            code => code.into(),
        };
        container.state.status = match container.state.started_at == ZERO_TIME {
            true => Status::Created,
            false => Status::Exited,
        };
        if container.options.auto_remove {
            let removed = self.remove_locked(&container, lock, true, events::not_started);
            self.tell_names(&container);
            return removed;
        }
        self.store.write(|tx| -> Result<()> {
            self.release_addresses(tx, &container)?;
            events::not_started(tx, &container)?;
            lifecycle::save(tx, &container)
        })?;
        self.tell_names(&container);
        Ok(())
    }

    /// An empty state directory; the monitor of the last run has let go of everything before this returns.
    fn fresh_state_dir(&self, id: &str) -> Result<PathBuf> {
        let dir = self.state_dir(id);
        if dir.exists() {
            rctr_runtime::await_release(&dir)?;
            settle::discard_state_dir(&dir)?;
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(Error::file("create", &dir))?;
        Ok(dir)
    }

    /// The image's layers, top first, as the monitor wants them.
    pub(crate) fn layers(&self, container: &Container) -> Result<Vec<LowerDir>> {
        let chain_ids = crate::image::parse_digests(&container.layers, &container.image_name)?;
        self.lower_dirs(&chain_ids)
    }

    /// Layers by their chain ids, given base first, top first as the monitor wants them.
    pub(crate) fn lower_dirs(&self, chain_ids: &[Digest]) -> Result<Vec<LowerDir>> {
        let paths = self.store.layer_paths(chain_ids)?;
        self.label_layers(&paths)?;
        Ok(paths
            .into_iter()
            .map(|path| LowerDir {
                short: Some(path.clone()),
                path,
            })
            .collect())
    }

    /// Whom a container's own processes run as.
    pub(crate) fn identity(&self, container: &Container, view: &RootfsView) -> Result<Identity> {
        let user = &container.process.user;
        Ok(match &container.pod {
            Some(member) => pod::identity(view, &member.options, user)?,
            None => user::resolve(view, user, &container.options.group_add)?,
        })
    }

    /// What the monitor runs when the container ended and nobody waits.
    fn exit_command(&self, id: &str) -> Result<Vec<String>> {
        self.own_command(&["internal", "settle", id])
    }

    /// This program with this engine's directories, as a command line.
    pub(crate) fn own_command(&self, rest: &[&str]) -> Result<Vec<String>> {
        let exe = crate::program()?;
        let path = |p: &Path| p.to_string_lossy().into_owned();
        let config = &self.config;
        let mut words = vec![
            path(&exe),
            "--root".into(),
            path(&config.root),
            "--state".into(),
            path(&config.state),
        ];
        if config.file.exists() {
            words.extend(["--config".into(), path(&config.file)]);
        }
        words.extend(rest.iter().copied().map(String::from));
        Ok(words)
    }
}

/// Descriptors that a monitor gets, and where it finds them.
#[derive(Default)]
struct Inherited<'a>(Vec<BorrowedFd<'a>>);

impl<'a> Inherited<'a> {
    fn path_of(&mut self, fd: Option<&'a OwnedFd>) -> Option<PathBuf> {
        Some(self.add(fd?))
    }

    fn add(&mut self, fd: &'a OwnedFd) -> PathBuf {
        self.0.push(fd.as_fd());
        LaunchFds::path(self.0.len() - 1)
    }
}

/// A pod's log is where the kubelet wants it, and the kubelet rotates it.
fn pod_log(member: &PodMember) -> Result<Option<LogConfig>> {
    let Some(path) = member.log.clone() else {
        return Ok(None);
    };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    }
    Ok(Some(LogConfig {
        path,
        max_size: 0,
        max_file: 1,
    }))
}

pub(crate) fn seccomp_policy(
    container: &Container,
    custom: Option<oci_spec::runtime::LinuxSeccomp>,
) -> SeccompPolicy {
    if container.options.privileged {
        return SeccompPolicy::Unconfined;
    }
    match (&container.options.security.seccomp, custom) {
        (SeccompChoice::Unconfined, _) => SeccompPolicy::Unconfined,
        (SeccompChoice::Profile(_), Some(profile)) => SeccompPolicy::Custom(Box::new(profile)),
        _ => SeccompPolicy::Default,
    }
}
