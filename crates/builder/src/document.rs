//! An image's configuration as BuildKit writes it: Docker's superset of the OCI image configuration, keys in
//! alphabetical order at the top.

use std::collections::BTreeMap;

use rctr_registry_client::Platform;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The PATH of an image that says none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The whole document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// As Go names it: `amd64`.
    pub architecture: String,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// How to run it.
    #[serde(default)]
    pub config: RunConfig,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// One entry an instruction.
    #[serde(default)]
    pub history: Vec<History>,
    /// Keys of the layers, for builds that are to take them from this image. Not inherited.
    #[serde(
        rename = "moby.buildkit.cache.v0",
        skip_deserializing,
        skip_serializing_if = "Option::is_none"
    )]
    pub cache: Option<String>,
    /// `linux`.
    pub os: String,
    /// Layers.
    #[serde(default)]
    pub rootfs: Rootfs,
    /// Of the architecture: `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed archives, base first.
    #[serde(default)]
    pub diff_ids: Vec<String>,
}

impl Default for Rootfs {
    fn default() -> Self {
        Rootfs {
            kind: "layers".into(),
            diff_ids: Vec::new(),
        }
    }
}

/// What one instruction did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// MAINTAINER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Who wrote the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// It made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// How to run an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user[:group]`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp` and so on.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub exposed_ports: Option<BTreeMap<String, Map<String, Value>>>,
    /// `NAME=value`.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub env: Option<Vec<String>>,
    /// Entry point.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub entrypoint: Option<Vec<String>>,
    /// Command, or arguments of the entry point.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub cmd: Option<Vec<String>>,
    /// Where anonymous volumes are mounted.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub volumes: Option<BTreeMap<String, Map<String, Value>>>,
    /// Working directory.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal of `stop`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// HEALTHCHECK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Health>,
    /// ONBUILD.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub on_build: Option<Vec<String>>,
    /// SHELL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// What others have put there.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A health check. Durations are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `NONE`, or `CMD` or `CMD-SHELL` and the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Failures that do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two, during the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_empty<V>(map: &Option<BTreeMap<String, V>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

fn is_nothing(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

impl Document {
    /// That of `FROM scratch`.
    pub fn scratch(platform: &Platform) -> Document {
        Document {
            architecture: platform.architecture.clone(),
            author: None,
            cache: None,
            config: RunConfig {
                env: Some(vec![format!("PATH={DEFAULT_PATH}")]),
                working_dir: "/".into(),
                ..RunConfig::default()
            },
            created: None,
            history: Vec::new(),
            os: platform.os.clone(),
            rootfs: Rootfs::default(),
            variant: platform.variant.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_writes_comes_back_as_it_was() {
        let text = r#"{"architecture":"amd64","config":{"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"Cmd":["sh"],"Labels":{"a":"b"},"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":1000000000},"ArgsEscaped":true},"created":"2024-01-01T00:00:00Z","history":[{"created":"2024-01-01T00:00:00Z","created_by":"CMD [\"sh\"]","comment":"buildkit.dockerfile.v0","empty_layer":true}],"os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:00"]},"variant":"v1"}"#;
        let document: Document = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&document).unwrap(), text);
    }
}
