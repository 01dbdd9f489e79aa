//! Images to serve, and the plain registry that serves them.

use std::collections::HashMap;

use oci_spec::image::DigestAlgorithm;
use serde_json::{Value, json};

use super::server::{Reply, Seen};
use crate::manifest::digest_of;

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub fn sha(bytes: &[u8]) -> String {
    digest_of(&DigestAlgorithm::Sha256, bytes)
        .unwrap()
        .to_string()
}

/// `n` bytes that do not repeat.
pub fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// The content of one repository: manifests by tag and digest, blobs by digest.
#[derive(Clone, Default)]
pub struct Content {
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
}

impl Content {
    /// One image under the tag `latest`.
    pub fn image(layers: &[Vec<u8>]) -> Self {
        let mut content = Self::default();
        let manifest = content.add_image("amd64", layers);
        content.tag("latest", OCI_MANIFEST, &manifest);
        content
    }

    /// Adds config and layers, and returns the manifest.
    pub fn add_image(&mut self, architecture: &str, layers: &[Vec<u8>]) -> Value {
        let diff_ids: Vec<String> = layers.iter().map(|l| sha(l)).collect();
        let config = json!({"architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "config": {"Cmd": ["sh"]}});
        let config = self.add_blob(OCI_CONFIG, config.to_string().into_bytes());
        let layers: Vec<Value> = layers
            .iter()
            .map(|l| self.add_blob(OCI_LAYER, l.clone()))
            .collect();
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers})
    }

    /// Adds a blob and returns its descriptor.
    pub fn add_blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let descriptor =
            json!({"mediaType": media_type, "digest": sha(&bytes), "size": bytes.len()});
        self.blobs.insert(sha(&bytes), bytes);
        descriptor
    }

    /// Puts a manifest under a tag and its digest, and returns its descriptor.
    pub fn tag(&mut self, tag: &str, media_type: &str, manifest: &Value) -> Value {
        let bytes = manifest.to_string().into_bytes();
        let descriptor =
            json!({"mediaType": media_type, "digest": sha(&bytes), "size": bytes.len()});
        for name in [tag.to_owned(), sha(&bytes)] {
            self.manifests
                .insert(name, (media_type.to_owned(), bytes.clone()));
        }
        descriptor
    }

    /// What a flawless registry answers.
    pub fn answer(&self, request: &Seen) -> Reply {
        let path = request.target.split('?').next().unwrap();
        let name = path.rsplit('/').next().unwrap();
        if path.contains("/manifests/")
            && let Some((media_type, bytes)) = self.manifests.get(name)
        {
            return Reply::new(200, bytes.clone())
                .header("Content-Type", media_type)
                .header("Docker-Content-Digest", sha(bytes));
        }
        if path.contains("/blobs/")
            && let Some(bytes) = self.blobs.get(name)
        {
            return match request.range_start() {
                None => Reply::new(200, bytes.clone()),
                Some(start) if start >= bytes.len() => Reply::new(416, ""),
                Some(start) => Reply::new(206, &bytes[start..]).header(
                    "Content-Range",
                    format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
                ),
            };
        }
        Reply::new(
            404,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
        )
    }
}
