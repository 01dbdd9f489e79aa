//! Making pods.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, ScopedJoinHandle};

use rctr_runtime::cgroup::CgroupDriver;
use rctr_runtime::namespaces::{self, PinRequest};

use super::lifecycle::{make_dir, tell};
use super::network::Plugins;
use super::{NamespaceScope, PidScope, Pod, PodNamespaces, PodOptions, PodState};
use crate::events::pods as events;
use crate::{Engine, Error, Result, files, names, selinux, time};

/// Size of a pod's /dev/shm, as everybody has it.
const SHM_SIZE: u64 = 64 << 20;

/// The thread that makes a pod's namespaces.
type Pinning<'a> = ScopedJoinHandle<'a, Result<PodNamespaces>>;

impl Engine {
    /// Makes a pod: namespaces, network, cgroup. What an interrupted attempt at the same pod has left is cleared first.
    ///
    /// # Errors
    /// [`Error::PodNameTaken`] if there is one of the same key; whatever hinders it, and nothing is left then.
    pub fn run_pod(&self, options: &PodOptions) -> Result<Pod> {
        selinux::check(options.selinux.as_ref())?;
        self.store.require_space()?;
        let plugins = self.plugins_for(options)?;
        let mut pod = Pod {
            id: names::new_id(),
            options: options.clone(),
            created: time::now(),
            state: PodState::Creating,
            network: plugins.as_ref().map(Plugins::wanted),
            cgroup: self.pod_cgroup(options),
            cgroup_made: false,
            namespaces: PodNamespaces::default(),
            selinux: None,
        };
        // Before the record: whoever finds that finds somebody working on it.
        let lock = self.lock_pod(&pod.id)?;
        let id = pod.id.clone();
        let (recorded, record) = mpsc::channel();
        thread::scope(|scope| {
            // Namespaces that are not pinned leave nothing: they are made while the record is written.
            let pinning = scope.spawn(|| self.pin(&id, options, record));
            if let Err(error) = self.reserve(&mut pod) {
                drop((lock, recorded));
                self.remove_pod_files(&pod.id)?;
                return Err(error);
            }
            let label = pod.selinux.as_ref().map(|labels| labels.mount.clone());
            // If it has failed, joining it says why.
            let _ = recorded.send(label);
            match self.make_pod(&mut pod, plugins, pinning) {
                Ok(()) => Ok(pod),
                Err(error) => {
                    if let Err(second) = self
                        .tear_down(&mut pod)
                        .and_then(|()| self.forget_pod(&pod))
                    {
                        tracing::warn!(pod = pod.id, error = %second, "what is left of a pod that could not be made");
                    }
                    Err(error)
                }
            }
        })
    }

    /// Writes the record, and with it takes the pod's key and its level. It tells of all that is to be taken back, before
    /// that is made.
    fn reserve(&self, pod: &mut Pod) -> Result<()> {
        let key = pod.options.key();
        loop {
            pod.cgroup_made = match self.cgroup_of(pod)? {
                Some(cgroup) => !cgroup.exists(),
                None => false,
            };
            let inserted = self.store.write(|tx| -> Result<()> {
                pod.selinux = selinux::of_pod(self.facts(), pod.options.selinux.as_ref(), tx)?;
                Ok(tx.insert_pod(&pod.id, &key, &*pod)?)
            });
            let by = match inserted {
                Err(Error::Store(rctr_store::Error::NameTaken { by, .. })) => by,
                other => return other,
            };
            let taken = || Error::PodNameTaken {
                key: key.clone(),
                id: by.clone(),
            };
            let Some(lock) = self.try_lock_pod(&by)? else {
                return Err(taken());
            };
            match self.pod_record(&by)? {
                Some(other) if other.state != PodState::Creating => return Err(taken()),
                Some(mut half) => {
                    self.tear_down(&mut half)?;
                    self.forget_pod(&half)?;
                }
                None => {}
            }
            drop(lock);
        }
    }

    fn make_pod(
        &self,
        pod: &mut Pod,
        plugins: Option<Plugins<'_>>,
        pinning: Pinning<'_>,
    ) -> Result<()> {
        let planned = pod.clone();
        thread::scope(|scope| {
            // Nothing needs it yet, and plugins take their time.
            let cgroup = planned
                .cgroup_made
                .then(|| scope.spawn(|| self.make_pod_cgroup(&planned)));
            let connected = self.connect(pod, plugins, pinning);
            cgroup.map_or(Ok(()), joined)?;
            connected
        })?;
        files::write_of_pod(&self.pod_files(&pod.id), pod)?;
        if pod.options.pid == PidScope::Pod {
            self.start_pause(pod)?;
        }
        pod.state = PodState::Ready;
        self.store.write(|tx| {
            tx.replace_pod(&pod.id, pod)?;
            events::ready(tx, pod)
        })?;
        Ok(())
    }

    /// Connects the namespaces once they are there.
    fn connect(
        &self,
        pod: &mut Pod,
        plugins: Option<Plugins<'_>>,
        pinning: Pinning<'_>,
    ) -> Result<()> {
        pod.namespaces = joined(pinning).inspect_err(|_| {
            // Plugins that nobody has asked have nothing to take back.
            pod.network = None;
        })?;
        self.join_pod_network(pod, plugins)
    }

    fn make_pod_cgroup(&self, pod: &Pod) -> Result<()> {
        let Some(cgroup) = self.cgroup_of(pod)?.filter(|_| pod.cgroup_made) else {
            return Ok(());
        };
        let (limits, mut warnings) = self.limits_of(pod)?;
        warnings.extend(cgroup.create(&limits)?);
        tell(&pod.id, &warnings);
        Ok(())
    }

    /// Makes the namespaces, and pins them once there is a record, which tells how files in memory are labelled. What is
    /// pinned is found by the pod's id: the record need not tell yet. The thread ends with this.
    fn pin(
        &self,
        id: &str,
        options: &PodOptions,
        record: Receiver<Option<String>>,
    ) -> Result<PodNamespaces> {
        let own = |scope| scope == NamespaceScope::Pod;
        let (network, ipc) = (own(options.network), own(options.ipc));
        let in_user = options.user.is_some();
        let net = match network && !in_user {
            true => Some(rctr_network::new_netns()?),
            false => None,
        };
        let defaults = match network {
            true => self.pod_sysctls(),
            false => BTreeMap::new(),
        };
        let request = PinRequest {
            net: net.as_ref().map(std::os::fd::AsFd::as_fd),
            new_net: network && in_user,
            ipc,
            // A pod on the host's network has its name, too.
            uts: network,
            hostname: Some(options.hostname.clone()).filter(|name| !name.is_empty()),
            sysctls: defaults
                .into_iter()
                .chain(options.sysctls.clone())
                .collect(),
            user: options.user.clone(),
            shm_size: ipc.then_some(SHM_SIZE),
            shm_label: None,
        };
        let dir = self.pins(id);
        if let Some(parent) = dir.parent() {
            make_dir(parent)?;
        }
        let entered = namespaces::enter(&request)?;
        let Ok(label) = record.recv() else {
            // Nobody is there to use them.
            return Ok(PodNamespaces::default());
        };
        let pinned = entered.pin(&dir, label.as_deref())?;
        Ok(PodNamespaces {
            net: pinned.net,
            ipc: pinned.ipc,
            uts: pinned.uts,
            user: pinned.user,
            shm: pinned.shm,
        })
    }

    /// Any user may ping and use any port in a network of its own, as everywhere in rctr; then the configuration's.
    fn pod_sysctls(&self) -> BTreeMap<String, String> {
        let own = [
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", "0 2147483647"),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let configured = self.config.settings.cri.default_sysctls.clone();
        own.into_iter().chain(configured).collect()
    }

    /// The pod's cgroup as the runtime names it: a path, or a slice.
    fn pod_cgroup(&self, options: &PodOptions) -> Option<String> {
        let parent = options.cgroup_parent.as_deref()?;
        match self.cgroup_driver() {
            CgroupDriver::Cgroupfs | CgroupDriver::None => Some(parent.to_owned()),
            CgroupDriver::Systemd => Some(parent.rsplit('/').next().unwrap_or(parent).to_owned()),
        }
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    let ended = thread.join();
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
