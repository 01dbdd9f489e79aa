//! What the runtime says of itself.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rctr_engine::Engine;
use rctr_engine::config::CriSettings;
use rctr_engine::pod::Features;
use rctr_runtime::cgroup::CgroupDriver;

use crate::service::Inner;
use crate::{api, error};

/// Name of the built-in handler: what a pod without RuntimeClass runs on.
const DEFAULT_HANDLER: &str = "";

/// The interface's own version, as a kubelet wants to hear it.
const KUBE_API_VERSION: &str = "0.1.0";

/// How long a network that was in order is believed to be: asking starts plugins, and a kubelet asks every five seconds.
const TRUST: Duration = Duration::from_secs(60);

pub(crate) fn version() -> api::VersionResponse {
    api::VersionResponse {
        version: KUBE_API_VERSION.into(),
        runtime_name: "rctr".into(),
        runtime_version: env!("CARGO_PKG_VERSION").into(),
        runtime_api_version: "v1".into(),
    }
}

pub(crate) fn runtime_config(engine: &Engine) -> api::RuntimeConfigResponse {
    let driver = match engine.cgroup_driver() {
        CgroupDriver::Systemd => api::CgroupDriver::Systemd,
        CgroupDriver::Cgroupfs | CgroupDriver::None => api::CgroupDriver::Cgroupfs,
    };
    api::RuntimeConfigResponse {
        linux: Some(api::LinuxRuntimeConfiguration {
            cgroup_driver: driver.into(),
        }),
    }
}

/// Conditions, handlers and features. Whoever can be answered finds the runtime ready: it is this process.
pub(crate) fn status(service: &Inner, verbose: bool) -> api::StatusResponse {
    let (engine, network) = (&service.engine, &service.network);
    let features = *service.features.get_or_init(|| engine.pod_features());
    let settings = &engine.config().settings.cri;
    let mut answer = api::StatusResponse {
        status: Some(api::RuntimeStatus {
            conditions: vec![
                condition("RuntimeReady", None),
                condition("NetworkReady", network.trouble(engine)),
            ],
        }),
        runtime_handlers: handlers(settings, features),
        features: Some(api::RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: false,
        }),
        info: Default::default(),
    };
    if verbose {
        let config = engine.config();
        let text = serde_json::json!({
            "root": config.root, "state": config.state, "socket": settings.socket,
            "cniConfDir": settings.cni_conf_dir, "cniBinDirs": settings.cni_bin_dirs,
        });
        answer.info.insert("config".into(), text.to_string());
    }
    answer
}

/// A condition that holds unless there is trouble.
fn condition(kind: &str, trouble: Option<String>) -> api::RuntimeCondition {
    api::RuntimeCondition {
        r#type: kind.into(),
        status: trouble.is_none(),
        reason: trouble
            .as_ref()
            .map(|_| "NetworkPluginNotReady".into())
            .unwrap_or_default(),
        message: trouble.unwrap_or_default(),
    }
}

/// Those that pods can have. What another program can do is not known, so nothing is claimed of it.
fn handlers(settings: &CriSettings, features: Features) -> Vec<api::RuntimeHandler> {
    let there = settings
        .handlers
        .iter()
        .filter(|(_, handler)| handler.path.as_ref().is_none_or(|path| path.is_file()))
        .map(|(name, handler)| (name.as_str(), handler.path.is_none()));
    std::iter::once((DEFAULT_HANDLER, true))
        .chain(there)
        .map(|(name, built_in)| api::RuntimeHandler {
            name: name.into(),
            features: Some(api::RuntimeHandlerFeatures {
                recursive_read_only_mounts: built_in && features.recursive_read_only,
                user_namespaces: built_in && features.user_namespaces,
            }),
        })
        .collect()
}

/// Whether pods can be connected, remembered for a while.
#[derive(Default)]
pub(crate) struct Network {
    in_order: Mutex<Option<Seen>>,
}

/// When the network was last in order, and of which configuration that is true.
struct Seen {
    at: Instant,
    changed: Option<SystemTime>,
}

impl Network {
    /// Why pods cannot be connected, if they cannot.
    fn trouble(&self, engine: &Engine) -> Option<String> {
        let changed = changed(&engine.config().settings.cri.cni_conf_dir);
        let mut in_order = self.in_order.lock().unwrap_or_else(PoisonError::into_inner);
        if in_order
            .as_ref()
            .is_some_and(|seen| seen.changed == changed && seen.at.elapsed() < TRUST)
        {
            return None;
        }
        let trouble = engine.pod_network_trouble().map(|e| error::chain(&e));
        *in_order = trouble.is_none().then(|| Seen {
            at: Instant::now(),
            changed,
        });
        trouble
    }
}

/// When a file came into a directory, went, or was written.
fn changed(dir: &Path) -> Option<SystemTime> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let written = files.filter_map(|file| file.metadata().ok()?.modified().ok());
    let own = std::fs::metadata(dir).and_then(|meta| meta.modified()).ok();
    written.chain(own).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(changed(&dir.path().join("missing")), None);
        let empty = changed(dir.path());
        let file = dir.path().join("a.conf");
        std::fs::write(&file, "1").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        let one = changed(dir.path());
        assert!(one.is_some() && one >= empty);
        std::fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert_eq!(changed(dir.path()), Some(later));
    }
}
