//! Stopping and removing pods, and what is known of them.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use oci_spec::runtime::LinuxResources;
use rctr_runtime::cgroup::Cgroup;
use rctr_runtime::namespaces;

use super::{PidScope, Pod, PodNamespaces, PodState};
use crate::events::pods as events;
use crate::options::Resources;
use crate::{Engine, Error, RemoveOptions, Result, spec};

/// Held while a pod is changed. It is on a directory of the state directory: it goes with the process that held it.
pub(super) struct PodLock(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

impl Engine {
    /// The cgroup that its containers' are in, if it is not the engine's own.
    pub(super) fn cgroup_of(&self, pod: &Pod) -> Result<Option<Cgroup>> {
        let open = |path: &String| Cgroup::open(self.cgroup_driver(), Path::new(path));
        Ok(pod.cgroup.as_ref().map(open).transpose()?)
    }

    /// Ends all processes of a pod and gives back its network and namespaces. One that is not there is fine.
    ///
    /// # Errors
    /// Whatever hinders it; what is left is the next attempt's.
    pub fn stop_pod(&self, id: &str) -> Result<()> {
        self.end_pod(id, |pod| {
            pod.state = PodState::NotReady;
            self.store.write(|tx| {
                tx.replace_pod(&pod.id, pod)?;
                events::stopped(tx, pod)
            })?;
            Ok(())
        })
    }

    /// Stops a pod and removes it with its containers. One that is not there is fine.
    ///
    /// # Errors
    /// Whatever hinders it; what is left is the next attempt's.
    pub fn remove_pod(&self, id: &str) -> Result<()> {
        self.end_pod(id, |pod| self.forget_pod(pod))
    }

    /// Takes a pod apart, and does what is left to do with it then.
    fn end_pod(&self, id: &str, then: impl FnOnce(&mut Pod) -> Result<()>) -> Result<()> {
        let Some(id) = self.find_pod(id)? else {
            return Ok(());
        };
        let _lock = self.lock_pod(&id)?;
        let Some(mut pod) = self.pod_record(&id)? else {
            return self.remove_pod_files(&id);
        };
        self.tear_down(&mut pod)?;
        then(&mut pod)
    }

    /// The whole id of a pod that is there: only such a one ever becomes part of a path.
    fn find_pod(&self, id: &str) -> Result<Option<String>> {
        match self.pod(id) {
            Ok(pod) => Ok(Some(pod.id)),
            Err(Error::NoSuchPod { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Clears what an interrupted `rctr cri` was in the middle of making. What cannot be cleared now, as a network plugin
    /// waits for its own pod, say, stays: it is not ready, and whoever removes it or makes it again tries again.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn recover_pods(&self) -> Result<()> {
        let files = fs::read_dir(self.pod_files(""));
        let files = files.into_iter().flatten().flatten();
        let mut half_made: Vec<String> = files
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        for pod in self.store.pods::<Pod>("")? {
            half_made.retain(|id| *id != pod.id);
            if pod.state == PodState::Creating {
                half_made.push(pod.id);
            }
        }
        for id in half_made {
            if let Err(error) = self.clear_half_made(&id) {
                tracing::warn!(pod = id, error = %crate::chain(&error), "what is left of a pod that was being made");
            }
        }
        Ok(())
    }

    fn clear_half_made(&self, id: &str) -> Result<()> {
        let Some(_lock) = self.try_lock_pod(id)? else {
            return Ok(());
        };
        match self.pod_record(id)? {
            Some(mut half) if half.state == PodState::Creating => {
                self.tear_down(&mut half)?;
                self.forget_pod(&half)
            }
            Some(_) => Ok(()),
            None => self.remove_pod_files(id),
        }
    }

    /// All pods, oldest first.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn pods(&self) -> Result<Vec<Pod>> {
        let pods = self.store.pods::<Pod>("")?;
        Ok(pods.into_iter().map(|pod| self.as_it_is(pod)).collect())
    }

    /// One pod by its id or a unique beginning of it.
    ///
    /// # Errors
    /// [`Error::NoSuchPod`], [`Error::AmbiguousId`].
    pub fn pod(&self, id: &str) -> Result<Pod> {
        let missing = || Error::NoSuchPod { id: id.into() };
        if id.is_empty() {
            return Err(missing());
        }
        let mut found = self.store.pods::<Pod>(id)?;
        match (found.pop(), found.is_empty()) {
            (Some(pod), true) => Ok(self.as_it_is(pod)),
            (Some(_), false) => Err(Error::AmbiguousId { prefix: id.into() }),
            (None, _) => Err(missing()),
        }
    }

    /// The record says how a pod was made; a reboot has ended it since if its namespaces are gone.
    pub(super) fn as_it_is(&self, mut pod: Pod) -> Pod {
        if self.is_lost(&pod) {
            pod.state = PodState::NotReady;
        }
        pod
    }

    /// Whether a pod that is ready by its record has lost what it needs.
    fn is_lost(&self, pod: &Pod) -> bool {
        let lost = || {
            !self.pins(&pod.id).exists()
                || !self.pod_files(&pod.id).join("resolv.conf").exists()
                || pod.options.pid == PidScope::Pod && self.pause_pid(&pod.id).is_none()
        };
        pod.state == PodState::Ready && lost()
    }

    /// Ends and gives back all that a pod has, in an order that can be gone through again after a crash.
    pub(super) fn tear_down(&self, pod: &mut Pod) -> Result<()> {
        if pod.state == PodState::Ready {
            // From now on no container is made in it, and none is started.
            pod.state = PodState::NotReady;
            self.save_pod(pod)?;
        }
        for container in self.containers_of(&pod.id)? {
            // A start under way has seen a ready pod; it is waited for.
            match self.lock(&container.id) {
                Err(Error::NoSuchContainer { .. }) => continue,
                other => drop(other?),
            }
            self.kill_and_settle(&container.id)?;
        }
        self.end_pause(&pod.id)?;
        self.leave_pod_network(pod)?;
        namespaces::unpin(&self.pins(&pod.id))?;
        pod.namespaces = PodNamespaces::default();
        Ok(())
    }

    /// Removes the containers and the record; the record last, so that nothing is left that nobody knows of.
    pub(super) fn forget_pod(&self, pod: &Pod) -> Result<()> {
        for container in self.containers_of(&pod.id)? {
            let how = RemoveOptions {
                force: true,
                volumes: true,
            };
            match self.remove(&container.id, how) {
                Err(Error::NoSuchContainer { .. }) => {}
                other => other?,
            }
        }
        if let Some(cgroup) = self.cgroup_of(pod)?.filter(|_| pod.cgroup_made)
            && let Err(error) = cgroup.remove()
        {
            tracing::warn!(pod = pod.id, %error, "the pod's cgroup stays");
        }
        self.store.write(|tx| {
            tx.remove_pod(&pod.id)?;
            match pod.state {
                // Nobody has heard of it.
                PodState::Creating => Ok(()),
                PodState::Ready | PodState::NotReady => events::deleted(tx, pod),
            }
        })?;
        self.remove_pod_files(&pod.id)
    }

    /// Changes what the containers of a pod may use together.
    ///
    /// # Errors
    /// [`Error::NoSuchPod`]; a limit that cannot be set.
    pub fn update_pod_resources(
        &self,
        id: &str,
        overhead: Option<&Resources>,
        resources: Option<&Resources>,
    ) -> Result<()> {
        let id = self.pod(id)?.id;
        let _lock = self.lock_pod(&id)?;
        let Some(mut pod) = self.pod_record(&id)? else {
            self.remove_pod_files(&id)?;
            return Err(Error::NoSuchPod { id });
        };
        pod.options.overhead = overhead.cloned().or(pod.options.overhead);
        pod.options.resources = resources.cloned().or(pod.options.resources);
        // A cgroup that a kubelet has made is for the kubelet to change.
        if let Some(cgroup) = self.cgroup_of(&pod)?.filter(|_| pod.cgroup_made) {
            let (limits, mut warnings) = self.limits_of(&pod)?;
            warnings.extend(cgroup.update(&limits)?);
            tell(&pod.id, &warnings);
        }
        self.save_pod(&pod)
    }

    /// The limits of a pod's cgroup, and a line for each that this host cannot keep.
    pub(super) fn limits_of(&self, pod: &Pod) -> Result<(LinuxResources, Vec<String>)> {
        let total = sum(
            pod.options.resources.as_ref(),
            pod.options.overhead.as_ref(),
        );
        let mut warnings = Vec::new();
        let limits = spec::limits_of_pod(&total, self.facts(), &mut warnings)?;
        Ok((limits, warnings))
    }

    /// What this host can do for pods; found out by trying, so better remembered.
    pub fn pod_features(&self) -> namespaces::Features {
        namespaces::features(&self.config.root)
    }

    pub(super) fn pod_record(&self, id: &str) -> Result<Option<Pod>> {
        let found = self.store.pods::<Pod>(id)?;
        Ok(found.into_iter().find(|pod| pod.id == id))
    }

    pub(super) fn save_pod(&self, pod: &Pod) -> Result<()> {
        self.store.write(|tx| tx.replace_pod(&pod.id, pod))?;
        Ok(())
    }

    /// Where the pod's files for /etc are; also carries its lock. On tmpfs: it does not outlive a reboot.
    pub(crate) fn pod_files(&self, id: &str) -> PathBuf {
        self.config.state.join(".pod-files").join(id)
    }

    pub(super) fn pins(&self, id: &str) -> PathBuf {
        self.config.state.join(".pods").join(id)
    }

    pub(super) fn remove_pod_files(&self, id: &str) -> Result<()> {
        let dir = self.pod_files(id);
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", &dir)(e))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn lock_pod(&self, id: &str) -> Result<PodLock> {
        loop {
            if let Some(lock) = self.lock_pod_with(id, FlockArg::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// The lock if nobody has it.
    pub(super) fn try_lock_pod(&self, id: &str) -> Result<Option<PodLock>> {
        self.lock_pod_with(id, FlockArg::LockExclusiveNonblock)
    }

    fn lock_pod_with(&self, id: &str, how: FlockArg) -> Result<Option<PodLock>> {
        let path = self.pod_files(id);
        make_dir(&path)?;
        let open = || File::open(&path).and_then(|dir| Ok((dir.metadata()?.ino(), dir)));
        let (inode, dir) = open().map_err(Error::file("open", &path))?;
        let lock = match Flock::lock(dir, how) {
            Ok(lock) => lock,
            Err((_, nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR)) => return Ok(None),
            Err((_, errno)) => return Err(Error::file("lock", &path)(errno.into())),
        };
        // Whoever had it before may have removed the directory.
        let same = path.metadata().is_ok_and(|now| now.ino() == inode);
        Ok(same.then_some(PodLock(lock)))
    }
}

/// What a pod and its overhead may use together; what only one of them says is no limit for both.
fn sum(resources: Option<&Resources>, overhead: Option<&Resources>) -> Resources {
    let Some(resources) = resources else {
        return Resources::default();
    };
    let mut total = resources.clone();
    let Some(overhead) = overhead else {
        return total;
    };
    let add = |a: Option<u64>, b: Option<u64>| a.map(|a| a.saturating_add(b.unwrap_or(0)));
    total.memory = add(total.memory, overhead.memory);
    total.cpu_shares = add(total.cpu_shares, overhead.cpu_shares);
    if let (Some(quota), Some(more)) = (total.cpu_quota, overhead.cpu_quota)
        && quota > 0
        && more > 0
    {
        total.cpu_quota = Some(quota.saturating_add(more));
    }
    total
}

pub(super) fn tell(id: &str, warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(pod = id, "{warning}");
    }
}

pub(super) fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .map_err(Error::file("create", path))
}
