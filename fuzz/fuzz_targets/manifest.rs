//! Manifests, indexes and configurations, OCI's and Docker's: whatever is taken for an image is one without doubt, its
//! layers have the identities its configuration says, and no digest of it can lead out of a directory.
//!
//! An input is the media type it is announced with, the document, and the configuration, with `\n---\n` between them.
#![no_main]
#![allow(dead_code, unused_imports)] // Of what is included only a part is called.

use oci_spec::image::{Digest, DigestAlgorithm, ImageConfiguration, ImageManifest};
use serde_json::Value;

#[path = "../../crates/registry-client/src/manifest.rs"]
mod manifest;
#[path = "../../crates/registry-client/src/platform.rs"]
mod platform;
#[path = "../../crates/registry-client/src/sink.rs"]
mod sink;

use manifest::Document;
use platform::Platform;
use sink::PulledLayer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut parts = split(data);
    let announced = parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let document = parts.next().unwrap_or_default();
    let config = parts.next().unwrap_or_default();
    // Read once more to be run: refused or not, never a panic.
    let _ = serde_json::from_slice::<ImageConfiguration>(config);
    let announced = announced.filter(|text| !text.is_empty());
    let Ok((media_type, document_read)) = manifest::parse(document, announced) else {
        return;
    };
    assert!(manifest::is_manifest_type(media_type.as_ref()));
    // What is not looked at may hold escapes that are no characters.
    let Ok(raw) = serde_json::from_slice::<Value>(document) else {
        return;
    };
    assert_eq!(raw["schemaVersion"], 2);
    assert!(raw.get("fsLayers").is_none_or(Value::is_null));
    let has = |name: &str| raw.get(name).is_some_and(|value| !value.is_null());
    match document_read {
        Document::Index(index) => {
            assert!(!has("layers") && !has("config"));
            for platform in [None, Some(Platform::host()), "linux/arm/v7".parse().ok()] {
                match manifest::choose_manifest(&index, platform.as_ref()) {
                    Ok(chosen) => {
                        assert!(manifest::is_manifest_type(chosen.media_type().as_ref()));
                        let strange = |p: &Platform| {
                            platform.as_ref().is_some_and(|wanted| !wanted.matches(p))
                        };
                        let own = chosen.platform().as_ref().map(Platform::from);
                        assert!(!own.as_ref().is_some_and(strange), "{own:?}");
                    }
                    Err(others) => assert!(others.iter().all(|p| p.os != "unknown")),
                }
            }
        }
        Document::Manifest(found) => {
            assert!(!has("manifests"));
            if manifest::check_image(&media_type, &found).is_ok() {
                image(&found, config);
            }
        }
    }
});

fn split(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    const BORDER: &[u8] = b"\n---\n";
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let data = rest?;
        let at = data
            .windows(BORDER.len())
            .position(|window| window == BORDER);
        rest = at.map(|at| &data[at + BORDER.len()..]);
        Some(&data[..at.unwrap_or(data.len())])
    })
}

/// What is checked may become a path.
fn is_safe(digest: &Digest) -> bool {
    let length = match digest.algorithm() {
        DigestAlgorithm::Sha256 => 64,
        DigestAlgorithm::Sha384 => 96,
        DigestAlgorithm::Sha512 => 128,
        _ => return false,
    };
    let hex = digest.digest();
    hex.len() == length && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn image(manifest: &ImageManifest, config: &[u8]) {
    let blobs = manifest.layers().iter().chain([manifest.config()]);
    assert!(blobs.map(|blob| blob.digest()).all(is_safe));
    assert!(manifest.config().size() <= manifest::MAX_CONFIG);
    let Ok((_, layers)) = manifest::image(manifest, config) else {
        return;
    };
    assert_eq!(layers.len(), manifest.layers().len());
    for (at, layer) in layers.iter().enumerate() {
        assert!(is_safe(&layer.diff_id) && is_safe(&layer.chain_id));
        assert_eq!(at == 0, layer.chain_id == layer.diff_id);
        assert_eq!(layer.descriptor, manifest.layers()[at]);
    }
}
