//! Manifests and indexes in which something has another digest than before.

use std::collections::HashMap;

use oci_spec::image::Descriptor;
use rctr_store::sha256;
use serde_json::{Value, json};

use super::Document;
use crate::{ImageError, Result};

/// Under which annotation an attestation names the manifest it is about.
const SUBJECT: &str = "vnd.docker.reference.digest";

/// What a descriptor says of a layer packed as eStargz.
const INDEXED: [&str; 2] = [
    "containerd.io/snapshot/stargz/toc.digest",
    "io.containers.estargz.uncompressed-size",
];

/// A document in which the descriptors of one list have other digests.
pub(super) fn rewrite(
    document: &Document,
    list: &str,
    renamed: &HashMap<String, Descriptor>,
    name: &str,
) -> Result<Document> {
    let bad = |reason: String| ImageError::BadImage {
        image: name.to_owned(),
        reason,
    };
    let mut value: Value =
        serde_json::from_slice(&document.bytes).map_err(|e| bad(e.to_string()))?;
    let docker = document
        .descriptor
        .media_type()
        .as_ref()
        .contains(".docker.");
    let mut changed = false;
    let entries = value.get_mut(list).and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let subject = entry.pointer(&format!("/annotations/{SUBJECT}"));
        if let Some(now) = subject.and_then(Value::as_str).and_then(|s| renamed.get(s)) {
            entry["annotations"][SUBJECT] = json!(now.digest());
            changed = true;
        }
        let digest = entry.get("digest").and_then(Value::as_str);
        if let Some(now) = digest.and_then(|digest| renamed.get(digest)) {
            entry["digest"] = json!(now.digest());
            entry["size"] = json!(now.size());
            entry["mediaType"] = json!(media_type(now.media_type().as_ref(), docker));
            forget_index(entry);
            changed = true;
        }
    }
    if !changed {
        return Ok(document.clone());
    }
    let bytes = serde_json::to_vec(&value).map_err(|e| bad(e.to_string()))?;
    let mut descriptor = document.descriptor.clone();
    descriptor.set_digest(sha256(&bytes));
    descriptor.set_size(bytes.len() as u64);
    Ok(Document { descriptor, bytes })
}

/// A layer that is packed anew has no index of its files any more (eStargz).
fn forget_index(entry: &mut Value) {
    let Some(annotations) = entry.get_mut("annotations").and_then(Value::as_object_mut) else {
        return;
    };
    for key in INDEXED {
        annotations.remove(key);
    }
    if annotations.is_empty()
        && let Some(entry) = entry.as_object_mut()
    {
        entry.remove("annotations");
    }
}

/// The name of a layer's type in the kind of manifest that it stands in.
fn media_type(oci: &str, docker: bool) -> &str {
    match oci {
        "application/vnd.oci.image.layer.v1.tar+gzip" if docker => {
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" if docker => {
            "application/vnd.docker.image.rootfs.diff.tar.zstd"
        }
        "application/vnd.oci.image.layer.v1.tar" if docker => {
            "application/vnd.docker.image.rootfs.diff.tar"
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::image::MediaType;

    use super::*;

    fn renamed(from: &[u8], to: &[u8]) -> HashMap<String, Descriptor> {
        let now = Descriptor::new(MediaType::ImageLayerGzip, to.len() as u64, sha256(to));
        HashMap::from([(sha256(from).to_string(), now)])
    }

    fn document(media_type: &str, value: &Value) -> Document {
        let bytes = serde_json::to_vec_pretty(value).unwrap();
        Document::new(MediaType::from(media_type), &sha256(&bytes), bytes)
    }

    #[test]
    fn what_need_not_change_stays_byte_for_byte() {
        let layers = json!({"layers": [{"mediaType": "x", "digest": sha256(b"a"), "size": 1}]});
        let original = document("application/vnd.oci.image.manifest.v1+json", &layers);
        let same = rewrite(&original, "layers", &renamed(b"other", b"z"), "x").unwrap();
        assert_eq!(same.bytes, original.bytes);
        assert_eq!(same.descriptor, original.descriptor);
    }

    #[test]
    fn a_packed_layer_is_named_in_its_manifest_as_the_manifest_s_kind_has_it() {
        for (kind, layer) in [
            (
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.layer.v1.tar+gzip",
            ),
            (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
        ] {
            let layers = json!({"layers": [{
                "mediaType": "x", "digest": sha256(b"raw"), "size": 1, "annotations": {INDEXED[0]: "x"}
            }]});
            let now = rewrite(
                &document(kind, &layers),
                "layers",
                &renamed(b"raw", b"packed"),
                "x",
            );
            let now = now.unwrap();
            let value: Value = serde_json::from_slice(&now.bytes).unwrap();
            let expected = json!({"mediaType": layer, "digest": sha256(b"packed"), "size": 6});
            assert_eq!(value["layers"][0], expected);
            assert_eq!(*now.descriptor.digest(), sha256(&now.bytes));
            assert_eq!(now.descriptor.size(), now.bytes.len() as u64);
        }
    }

    #[test]
    fn an_index_follows_its_manifests_and_attestations_their_subject() {
        let index = json!({"manifests": [
            {"mediaType": "m", "digest": sha256(b"m"), "size": 1, "platform": {"os": "linux"}},
            {"mediaType": "m", "digest": sha256(b"att"), "size": 3, "annotations": {SUBJECT: sha256(b"m")}},
        ]});
        let original = document("application/vnd.oci.image.index.v1+json", &index);
        let now = rewrite(&original, "manifests", &renamed(b"m", b"new"), "x").unwrap();
        let value: Value = serde_json::from_slice(&now.bytes).unwrap();
        let entries = &value["manifests"];
        assert_eq!(entries[0]["digest"], json!(sha256(b"new")));
        assert_eq!(entries[0]["platform"]["os"], "linux");
        assert_eq!(entries[1]["digest"], json!(sha256(b"att")));
        assert_eq!(entries[1]["annotations"][SUBJECT], json!(sha256(b"new")));
    }
}
