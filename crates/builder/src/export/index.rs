//! Images for several platforms under one name, and what is attested of them.

use std::collections::BTreeMap;

use oci_spec::image::{Descriptor, Digest, MediaType};
use rctr_registry_client::Platform;
use rctr_store::{Lease, Store, sha256};
use serde_json::{Value, json};

use super::image::{Exported, to_json};
use crate::Result;
use crate::attest::{self, Predicate};
use crate::output::ImageOutput;

/// An index, with what it names.
pub(super) struct Index {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

/// Statements about an image, in a manifest of their own. The last blob is the manifest.
pub(super) struct Attested(Vec<(Digest, Vec<u8>)>);

impl Attested {
    /// As BuildKit attaches them.
    pub(super) fn of(image: &Exported, predicates: &[Predicate], names: &[String]) -> Attested {
        let mut blobs = Vec::new();
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        let subjects = attest::image(names, &image.platform, &image.record.manifest);
        for predicate in predicates {
            let statement = to_json(&predicate.statement(&subjects));
            let digest = sha256(&statement);
            layers.push(json!({
                "mediaType": "application/vnd.in-toto+json",
                "digest": digest,
                "size": statement.len(),
                "annotations": {"in-toto.io/predicate-type": predicate.kind},
            }));
            diff_ids.push(digest.clone());
            blobs.push((digest, statement));
        }
        let config = to_json(&json!({
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }));
        let id = sha256(&config);
        let kind = MediaType::ImageConfig;
        let manifest = to_json(&json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest,
            "config": Descriptor::new(kind, config.len() as u64, id.clone()),
            "layers": layers,
        }));
        blobs.push((id, config));
        blobs.push((sha256(&manifest), manifest));
        Attested(blobs)
    }

    /// Of the manifest.
    pub(super) fn digest(&self) -> &Digest {
        &self.0[self.0.len() - 1].0
    }

    pub(super) fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.0.iter().map(|(digest, _)| digest)
    }

    /// It is in the store as long as the lease lives, or an image's record names its blobs.
    pub(super) fn put(&self, store: &Store) -> Result<Lease> {
        let lease = store.lease(self.digests())?;
        for (digest, bytes) in &self.0 {
            store.put_blob(digest, bytes)?;
        }
        Ok(lease)
    }

    fn entry(&self, of: &Digest) -> Value {
        let bytes = &self.0[self.0.len() - 1].1;
        json!({
            "mediaType": MediaType::ImageManifest,
            "digest": self.digest(),
            "size": bytes.len(),
            "annotations": {
                "vnd.docker.reference.digest": of,
                "vnd.docker.reference.type": "attestation-manifest",
            },
            "platform": {"architecture": "unknown", "os": "unknown"},
        })
    }
}

impl Index {
    /// Of all images, with what is said of it and of them.
    pub(super) fn of(images: &[Exported], said: &ImageOutput) -> Index {
        let attested = images.iter().filter_map(|image| {
            let attested = image.attested.as_ref()?;
            Some(attested.entry(&image.record.manifest))
        });
        let manifests = images.iter().map(|image| entry(image, said));
        let manifests: Vec<Value> = manifests.chain(attested).collect();
        let mut index = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageIndex,
            "manifests": manifests,
        });
        annotate(&mut index, said.of_index());
        let bytes = to_json(&index);
        Index {
            digest: sha256(&bytes),
            bytes,
        }
    }
}

/// Gives a document or descriptor its annotations, if there are any.
pub(super) fn annotate(to: &mut Value, annotations: BTreeMap<String, String>) {
    if !annotations.is_empty() {
        to["annotations"] = json!(annotations);
    }
}

fn entry(image: &Exported, said: &ImageOutput) -> Value {
    let kind = MediaType::ImageManifest;
    let size = image.manifest.len() as u64;
    let mut entry = json!(Descriptor::new(kind, size, image.record.manifest.clone()));
    entry["platform"] = platform(&image.platform);
    annotate(&mut entry, said.of_manifest_descriptor(&image.platform));
    entry
}

fn platform(platform: &Platform) -> Value {
    let mut shown = json!({"architecture": platform.architecture, "os": platform.os});
    if let Some(variant) = &platform.variant {
        shown["variant"] = json!(variant);
    }
    shown
}
