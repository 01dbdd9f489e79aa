//! Running the steps of a build: containers without a record, each killed with the process that asked for it.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use oci_spec::image::Digest;
use rctr_runtime::overlay::{self, Overlay, Writable};
use rctr_runtime::{
    AttachEvent, AttachOptions, AttachStream, ExitStatus, Launch, LaunchFds, LowerDir, Rootfs,
    StdioConfig,
};
use rctr_store::Lease;

use crate::model::{Container, ResolvedMount, ResolvedProcess, State};
use crate::mounts::OpenedMounts;
use crate::options::{NetworkMode, RunOptions};
use crate::rootfs_view::RootfsView;
use crate::start::seccomp_policy;
use crate::{
    Engine, Error, LogStream, Result, SelinuxLabels, apparmor, files, names, selinux, settle, spec,
    time, user,
};

/// What a step runs, and on what.
pub struct Step<'a> {
    /// Chain ids of the layers below, base first.
    pub layers: &'a [Digest],
    /// Takes what the step changes.
    pub upper: &'a Path,
    /// Overlay's work directory beside it.
    pub work: &'a Path,
    /// An empty directory for the configuration and the files under /etc.
    pub dir: &'a Path,
    /// The command.
    pub args: Vec<String>,
    /// Its environment, `NAME=value`; HOME and PATH are added if missing, and nothing else.
    pub env: Vec<String>,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// Absolute.
    pub working_dir: String,
    /// Network, limits, hosts, name; what belongs to images and volumes is not looked at.
    pub options: RunOptions,
    /// What is mounted besides.
    pub mounts: Vec<ResolvedMount>,
    /// Those of its process and of its files ([`StepRunner::labels`]).
    pub labels: Option<&'a StepLabels>,
}

/// The SELinux labels of a step. As long as this lives nobody else has its level.
#[derive(Debug)]
pub struct StepLabels {
    labels: SelinuxLabels,
    _lease: Lease,
}

impl StepLabels {
    /// Of its process; none for one that has all rights.
    pub fn process(&self) -> Option<&str> {
        Some(self.labels.process.as_str()).filter(|label| !label.is_empty())
    }
}

/// How a step ended.
#[derive(Debug)]
pub enum StepEnd {
    /// By itself.
    Exited(ExitStatus),
    /// It was cancelled, and killed.
    Cancelled,
}

/// Runs the steps of one build. What they share, network namespaces above all, goes when this is dropped.
pub struct StepRunner<'a> {
    engine: &'a Engine,
    lease: Lease,
    /// Networks no step uses at the moment.
    networks: Mutex<Vec<OwnedFd>>,
    /// Monitors that may not have ended yet.
    monitors: Mutex<Vec<Pid>>,
    /// Stands in for a second layer, which the kernel wants in an overlay that is only read.
    nothing: PathBuf,
}

impl Engine {
    /// Gets ready to run steps. `scratch` is a directory of the caller's, on the store's file system.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::File`].
    pub fn step_runner(&self, scratch: &Path) -> Result<StepRunner<'_>> {
        self.store.write(|tx| tx.drop_dead_leases())?;
        self.sweep_steps()?;
        let nothing = scratch.join("nothing");
        fs::DirBuilder::new()
            .recursive(true)
            .create(&nothing)
            .map_err(Error::file("create", &nothing))?;
        Ok(StepRunner {
            engine: self,
            lease: self.store.lease([])?,
            networks: Mutex::default(),
            monitors: Mutex::default(),
            nothing,
        })
    }

    /// The store beneath, for the builder.
    pub fn store(&self) -> &rctr_store::Store {
        &self.store
    }
}

impl StepRunner<'_> {
    /// Runs a step to its end; `output` gets what it prints. Kills it when `cancel` becomes readable.
    ///
    /// # Errors
    /// Whatever hinders the start; [`Error::exit_code`] is then 126 or 127 for a program that cannot be run.
    pub fn run(
        &self,
        step: &Step<'_>,
        cancel: BorrowedFd<'_>,
        output: &mut dyn FnMut(LogStream, &[u8]),
    ) -> Result<StepEnd> {
        let container = self.container(step);
        let (state_dir, held) = self.engine.locked_state_dir(&container.id)?;
        let netns = self.network(&step.options.network)?;
        let stream = self
            .launch(step, &container, &state_dir, netns.as_ref(), &held)
            .inspect_err(|_| {
                // The first error is the one to tell.
                let _ = settle::discard_state_dir(&state_dir);
            })?;
        let end = follow(stream, cancel, output);
        // One with all rights may have changed it.
        if let (Some(netns), NetworkMode::Bridge) = (netns, &step.options.network)
            && !step.options.privileged
        {
            lock(&self.networks).push(netns);
        }
        end
    }

    /// The labels for a step with these options, where SELinux is enabled and its policy has some for containers.
    ///
    /// # Errors
    /// [`Error::Selinux`], [`Error::Store`].
    pub fn labels(&self, options: &RunOptions) -> Result<Option<StepLabels>> {
        let facts = self.engine.facts();
        if !facts.selinux {
            return Ok(None);
        }
        let store = &self.engine.store;
        let lease = store.lease([])?;
        let labels = store.write(|tx| selinux::of_step(facts, options, &lease, tx))?;
        Ok(labels.map(|labels| StepLabels {
            labels,
            _lease: lease,
        }))
    }

    /// Mounts layers (base first) for reading, attached nowhere, for a step with these labels if one is to see it; `None`
    /// if there are no layers.
    ///
    /// # Errors
    /// [`Error::Store`] if a layer is missing; [`Error::File`] if the kernel refuses.
    pub fn mount(&self, layers: &[Digest], labels: Option<&StepLabels>) -> Result<Option<OwnedFd>> {
        let mut lower = self.engine.lower_dirs(layers)?;
        if lower.is_empty() {
            return Ok(None);
        }
        if lower.len() == 1 {
            lower.push(LowerDir {
                path: self.nothing.clone(),
                short: None,
            });
        }
        self.detached(&lower, None, labels).map(Some)
    }

    /// Mounts layers (base first) below `upper`, attached nowhere, for a step with these labels or one without a process.
    ///
    /// # Errors
    /// As [`mount`](Self::mount).
    pub fn mount_writable(
        &self,
        layers: &[Digest],
        upper: &Path,
        work: &Path,
        labels: Option<&StepLabels>,
    ) -> Result<OwnedFd> {
        let mut lower = self.engine.lower_dirs(layers)?;
        if lower.is_empty() {
            lower.push(LowerDir {
                path: self.nothing.clone(),
                short: None,
            });
        }
        let writable = Writable {
            upper,
            work,
            volatile: true,
        };
        self.detached(&lower, Some(writable), labels)
    }

    fn detached(
        &self,
        lower: &[LowerDir],
        writable: Option<Writable<'_>>,
        labels: Option<&StepLabels>,
    ) -> Result<OwnedFd> {
        overlay::mount_detached(Overlay {
            lower,
            writable,
            label: labels.map(|of_step| of_step.labels.mount.as_str()),
        })
        .map_err(Error::file("mount an overlay of", &self.engine.config.root))
    }

    fn container(&self, step: &Step<'_>) -> Container {
        let id = names::new_id();
        let engine = self.engine;
        let mut args = step.args.iter().cloned();
        Container {
            cgroup_path: spec::cgroup_path(
                engine.cgroup_driver(),
                engine.config.settings.cgroup.parent.as_deref(),
                &id,
            ),
            cgroup_driver: engine.cgroup_driver_name().into(),
            name: String::new(),
            image_id: String::new(),
            image_name: String::new(),
            manifest_digest: None,
            platform: String::new(),
            layers: step.layers.iter().map(ToString::to_string).collect(),
            options: step.options.clone(),
            process: ResolvedProcess {
                path: args.next().unwrap_or_default(),
                args: args.collect(),
                env: without_hostname(&step.env),
                working_dir: step.working_dir.clone(),
                user: step.user.clone(),
                ..ResolvedProcess::default()
            },
            mounts: step.mounts.clone(),
            created: time::now(),
            state: State::created(),
            networks: Vec::new(),
            connections: Some(Vec::new()),
            restart_count: 0,
            restarts: Default::default(),
            pod: None,
            selinux: step.labels.map(|of_step| of_step.labels.clone()),
            id,
        }
    }

    /// A network namespace, one that an earlier step has left if there is one; `None` is the host's.
    fn network(&self, mode: &NetworkMode) -> Result<Option<OwnedFd>> {
        match mode {
            NetworkMode::Host => Ok(None),
            NetworkMode::None => Ok(Some(rctr_network::new_netns()?)),
            NetworkMode::Container(other) => self.engine.namespace_of(other).map(Some),
            // A build has no networks of users: the command line refuses them.
            NetworkMode::Bridge | NetworkMode::User(_) => {
                if let Some(used) = lock(&self.networks).pop() {
                    return Ok(Some(used));
                }
                let owner = self.lease.owner();
                let endpoint = self
                    .engine
                    .store
                    .write(|tx| self.engine.allocate(tx, &owner, Vec::new()))?;
                let netns = rctr_network::new_netns()?;
                // Nothing is published.
                let routes = crate::endpoint::own_routes(&endpoint);
                drop(self.engine.plug_in(&netns, &endpoint, routes)?.0);
                Ok(Some(netns))
            }
        }
    }

    fn launch(
        &self,
        step: &Step<'_>,
        container: &Container,
        state_dir: &Path,
        netns: Option<&OwnedFd>,
        lock_on_start: &Flock<File>,
    ) -> Result<AttachStream> {
        let engine = self.engine;
        let mut lower = engine.lower_dirs(step.layers)?;
        let view = RootfsView::new(
            Some(step.upper.into()),
            lower.iter().map(|l| l.path.clone()).collect(),
        );
        let identity = user::resolve(&view, &step.user, &[])?;
        if lower.is_empty() {
            lower.push(LowerDir {
                path: self.nothing.clone(),
                short: None,
            });
        }
        let gateway = engine.bridge()?.gateway();
        let files = files::write(step.dir, container, None, gateway)?;
        engine.relabel(container, step.upper, &files, &OpenedMounts::default())?;
        let mut output = spec::build(&spec::SpecInput {
            container,
            user: &identity,
            files: &files,
            joined: Default::default(),
            netns: netns.is_some().then(|| LaunchFds::path(0)),
            monitor: engine.monitor_path()?,
            facts: engine.facts(),
            pod: None,
        })?;
        if let Some(process) = output.spec.process_mut() {
            apparmor::require(&container.options, process)?;
        }
        let config = step.dir.join("config.json");
        spec::save(&output.spec, &config)?;
        let launch = Launch {
            id: container.id.clone(),
            bundle: step.dir.into(),
            state_dir: state_dir.into(),
            rootfs: Rootfs::Overlay {
                lower,
                upper: step.upper.into(),
                work: step.work.into(),
                volatile: true,
            },
            copy_up: Vec::new(),
            log_driver: None,
            log: None,
            stdio: StdioConfig::default(),
            cgroup: engine.cgroup_driver(),
            seccomp: seccomp_policy(container, output.seccomp),
            seccomp_cache: engine.config.root.join("seccomp"),
            exit_command: Vec::new(),
            tethered: true,
            runtime: None,
            forward: Vec::new(),
            health: None,
            oom_command: Vec::new(),
        };
        let fds = LaunchFds {
            inherited: netns.iter().map(|fd| fd.as_fd()).collect(),
            lock: Some(lock_on_start.as_fd()),
            attach: Some(AttachOptions {
                stdout: true,
                stderr: true,
                ..AttachOptions::default()
            }),
        };
        let launched =
            rctr_runtime::launch(&engine.monitor_path()?, &launch, fds).map_err(|e| e.error)?;
        lock(&self.monitors).push(Pid::from_raw(launched.monitor_pid));
        launched.attach.ok_or_else(|| Error::BadRecord {
            what: "a monitor's attach stream".into(),
        })
    }
}

/// A container's process is told its host's name unless that is taken out first; a step's is not.
fn without_hostname(env: &[String]) -> Vec<String> {
    let taken_out = std::iter::once("HOSTNAME".to_owned());
    taken_out.chain(env.iter().cloned()).collect()
}

impl Drop for StepRunner<'_> {
    fn drop(&mut self) {
        for monitor in lock(&self.monitors).drain(..) {
            // They have ended or are about to; nobody else waits for them.
            while waitpid(monitor, None) == Err(nix::Error::EINTR) {}
        }
    }
}

/// Passes output on until the step ends or is cancelled, which dropping its stream does.
fn follow(
    mut stream: AttachStream,
    cancel: BorrowedFd<'_>,
    output: &mut dyn FnMut(LogStream, &[u8]),
) -> Result<StepEnd> {
    loop {
        while let Some(event) = stream.try_next()? {
            match event {
                AttachEvent::Stdout(bytes) => output(LogStream::Stdout, &bytes),
                AttachEvent::Stderr(bytes) => output(LogStream::Stderr, &bytes),
                AttachEvent::Exit(status) => return Ok(StepEnd::Exited(status)),
            }
        }
        let mut fds = [
            PollFd::new(stream.as_fd(), PollFlags::POLLIN),
            PollFd::new(cancel, PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => {
                return Err(rctr_runtime::Error::System {
                    call: "poll",
                    source: e.into(),
                }
                .into());
            }
        }
        if fds[1].revents().is_some_and(|events| !events.is_empty()) {
            return Ok(StepEnd::Cancelled);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
