//! Images for several platforms under one name.

use oci_spec::image::{Descriptor, Digest, MediaType};
use rctr_registry_client::Platform;
use rctr_store::sha256;
use serde_json::{Value, json};

use super::image::{Exported, to_json};

/// An index, with what it names.
pub(super) struct Index {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

impl Index {
    /// Of all images.
    pub(super) fn of(images: &[Exported]) -> Index {
        let manifests: Vec<Value> = images.iter().map(entry).collect();
        let bytes = to_json(&json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageIndex,
            "manifests": manifests,
        }));
        Index {
            digest: sha256(&bytes),
            bytes,
        }
    }
}

fn entry(image: &Exported) -> Value {
    let kind = MediaType::ImageManifest;
    let size = image.manifest.len() as u64;
    let mut entry = json!(Descriptor::new(kind, size, image.record.manifest.clone()));
    entry["platform"] = platform(&image.platform);
    entry
}

fn platform(platform: &Platform) -> Value {
    let mut shown = json!({"architecture": platform.architecture, "os": platform.os});
    if let Some(variant) = &platform.variant {
        shown["variant"] = json!(variant);
    }
    shown
}
