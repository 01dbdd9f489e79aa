//! `docker image inspect`.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::{ContainerConfig, GraphDriver, STORAGE_DRIVER};

/// What the store knows of an image, for [`ImageInspect::new`].
#[derive(Debug, Clone)]
pub struct ImageFacts<'a> {
    /// `sha256:…` of the configuration.
    pub id: &'a str,
    /// Familiar names with tag.
    pub tags: Vec<String>,
    /// Familiar names with digest.
    pub digests: Vec<String>,
    /// The image's configuration as the registry served it.
    pub config: &'a Value,
    /// Bytes of all its unpacked layers.
    pub size: u64,
    /// Unpacked layers, topmost first.
    pub layers: Vec<PathBuf>,
    /// When it was tagged last, RFC 3339.
    pub last_tag_time: Option<String>,
}

/// `docker image inspect`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageInspect {
    /// `sha256:…`.
    pub id: String,
    /// Names with tag.
    pub repo_tags: Vec<String>,
    /// Names with digest.
    pub repo_digests: Vec<String>,
    /// Always empty.
    pub parent: String,
    /// Comment of the last step that made it.
    pub comment: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// Version of Docker that made it, if one did.
    pub docker_version: String,
    /// Author.
    pub author: String,
    /// What its containers run.
    pub config: ContainerConfig,
    /// `amd64`, …
    pub architecture: String,
    /// `v8`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// `linux`.
    pub os: String,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    /// Its layers on disk.
    pub graph_driver: GraphDriver,
    /// Its layers by digest.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    /// What rctr knows of it.
    pub metadata: ImageMetadata,
}

/// `RootFS`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootFs {
    /// `layers`.
    pub r#type: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// `Metadata`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageMetadata {
    /// RFC 3339.
    pub last_tag_time: String,
}

impl ImageInspect {
    /// From what the store knows.
    pub fn new(facts: ImageFacts<'_>) -> ImageInspect {
        let config = facts.config;
        let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
        let comment = config["history"]
            .as_array()
            .and_then(|steps| steps.last())
            .and_then(|step| step["comment"].as_str())
            .unwrap_or_default();
        let layers =
            serde_json::from_value(config["rootfs"]["diff_ids"].clone()).unwrap_or_default();
        ImageInspect {
            id: facts.id.to_owned(),
            repo_tags: facts.tags,
            repo_digests: facts.digests,
            parent: String::new(),
            comment: comment.to_owned(),
            created: text("created"),
            docker_version: text("docker_version"),
            author: text("author"),
            config: ContainerConfig::of_image(&config["config"]),
            architecture: text("architecture"),
            variant: text("variant"),
            os: text("os"),
            size: facts.size,
            graph_driver: graph_driver(&facts.layers),
            root_fs: RootFs {
                r#type: "layers".into(),
                layers,
            },
            metadata: ImageMetadata {
                last_tag_time: facts
                    .last_tag_time
                    .unwrap_or_else(|| crate::model::ZERO_TIME.into()),
            },
        }
    }
}

fn graph_driver(layers: &[PathBuf]) -> GraphDriver {
    let mut dirs = layers.iter().map(|layer| layer.display().to_string());
    let mut data = std::collections::BTreeMap::new();
    if let Some(top) = dirs.next() {
        data.insert("UpperDir", top);
    }
    let lower: Vec<String> = dirs.collect();
    if !lower.is_empty() {
        data.insert("LowerDir", lower.join(":"));
    }
    GraphDriver {
        data,
        name: STORAGE_DRIVER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_s_configuration_is_told() {
        let config = serde_json::json!({
            "architecture": "arm64", "variant": "v8", "os": "linux", "created": "2025-01-01T00:00:00Z",
            "config": { "Env": ["A=1"], "ExposedPorts": { "80/tcp": {} }, "StopSignal": "SIGQUIT", "Labels": null },
            "rootfs": { "type": "layers", "diff_ids": ["sha256:a", "sha256:b"] },
            "history": [{ "created_by": "x" }, { "comment": "buildkit" }],
        });
        let layers = vec!["/l/b/diff".into(), "/l/a/diff".into()];
        let facts = ImageFacts {
            id: "sha256:c",
            tags: vec!["x:latest".into()],
            digests: Vec::new(),
            config: &config,
            size: 7,
            layers,
            last_tag_time: None,
        };
        let json = serde_json::to_value(ImageInspect::new(facts)).unwrap();
        assert_eq!(json["Architecture"], "arm64");
        assert_eq!(json["Variant"], "v8");
        assert_eq!(json["Comment"], "buildkit");
        assert_eq!(
            json["Config"]["ExposedPorts"].to_string(),
            r#"{"80/tcp":{}}"#
        );
        assert_eq!(json["Config"]["StopSignal"], "SIGQUIT");
        assert_eq!(json["Config"]["Cmd"], Value::Null);
        assert_eq!(
            json["RootFS"]["Layers"].to_string(),
            r#"["sha256:a","sha256:b"]"#
        );
        assert_eq!(json["GraphDriver"]["Data"]["UpperDir"], "/l/b/diff");
        assert_eq!(json["GraphDriver"]["Data"]["LowerDir"], "/l/a/diff");
    }
}
