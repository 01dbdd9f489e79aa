//! What the runtime says of itself.

use rctr_engine::Engine;
use rctr_engine::config::CriSettings;
use rctr_runtime::cgroup::CgroupDriver;

use crate::api;

/// Name of the built-in handler: what a pod without RuntimeClass runs on.
pub(crate) const DEFAULT_HANDLER: &str = "";

/// The interface's own version, as a kubelet wants to hear it.
const KUBE_API_VERSION: &str = "0.1.0";

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
        CgroupDriver::Cgroupfs => api::CgroupDriver::Cgroupfs,
    };
    api::RuntimeConfigResponse {
        linux: Some(api::LinuxRuntimeConfiguration {
            cgroup_driver: driver.into(),
        }),
    }
}

/// Conditions, handlers and features. Whoever can be answered finds the runtime ready: it is this process.
pub(crate) fn status(engine: &Engine, verbose: bool) -> api::StatusResponse {
    let settings = &engine.config().settings.cri;
    let mut answer = api::StatusResponse {
        status: Some(api::RuntimeStatus {
            conditions: vec![ready("RuntimeReady"), ready("NetworkReady")],
        }),
        runtime_handlers: handlers(settings),
        features: Some(api::RuntimeFeatures::default()),
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

fn ready(kind: &str) -> api::RuntimeCondition {
    api::RuntimeCondition {
        r#type: kind.into(),
        status: true,
        ..Default::default()
    }
}

fn handlers(settings: &CriSettings) -> Vec<api::RuntimeHandler> {
    let names =
        std::iter::once(DEFAULT_HANDLER).chain(settings.handlers.keys().map(String::as_str));
    names
        .map(|name| api::RuntimeHandler {
            name: name.into(),
            features: Some(api::RuntimeHandlerFeatures::default()),
        })
        .collect()
}
