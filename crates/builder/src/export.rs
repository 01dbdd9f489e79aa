//! From solved files to an image.

use oci_spec::image::{Descriptor, Digest, ImageManifestBuilder, MediaType};
use rctr_engine::Engine;
use rctr_store::{ImageRecord, sha256};

use crate::build::View;
use crate::document::{Document, History};
use crate::options::BuildOptions;
use crate::solve::{Solved, Solver};
use crate::{Result, time};

/// The configuration of the image that the target's files and instructions make.
///
/// Times are those at which the layers were made, so that a build that changes nothing makes the same image.
pub(crate) fn document(solver: &Solver<'_>, solved: &Solved) -> Document {
    let plan = solver.plan;
    let epoch = solver.options.epoch.map(time::format);
    let mut document = plan.document.clone();
    let mut last = document
        .history
        .last()
        .and_then(|entry| entry.created.clone())
        .or(document.created.take());
    for planned in &plan.history {
        let made = planned.node.and_then(|node| solver.made(node)?.created);
        if let Some(made) = made {
            last = Some(time::format(made));
        }
        let created = epoch
            .clone()
            .or_else(|| last.clone())
            .unwrap_or_else(|| time::format(time::now()));
        last.get_or_insert_with(|| created.clone());
        document.history.push(History {
            created: Some(created),
            ..planned.entry.clone()
        });
    }
    document.created = epoch.or(last);
    document.rootfs.diff_ids = solved
        .layers
        .iter()
        .map(|l| l.diff_id.to_string())
        .collect();
    document
}

/// Puts the image into the store under its names; its id and the digest of its manifest.
pub(crate) fn to_store(
    view: &mut View<'_>,
    engine: &Engine,
    options: &BuildOptions,
    solved: &Solved,
    document: &Document,
) -> Result<(Digest, Digest)> {
    view.line("exporting to image", |status| {
        let store = engine.store();
        let config = to_json(document);
        let id = sha256(&config);
        let layers = solved.layers.iter().map(|layer| {
            let media_type = MediaType::from(oci_media_type(&layer.media_type));
            Descriptor::new(media_type, layer.size, layer.blob.clone())
        });
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(Descriptor::new(
                MediaType::ImageConfig,
                config.len() as u64,
                id.clone(),
            ))
            .layers(layers.collect::<Vec<_>>())
            .build()
            .map_err(|e| crate::BuildError::Instruction {
                span: None,
                reason: format!("manifest: {e}"),
            })?;
        let manifest = to_json(&manifest);
        let digest = sha256(&manifest);
        let lease = store.lease([&id, &digest])?;
        store.put_blob(&id, &config)?;
        store.put_blob(&digest, &manifest)?;
        status("exporting layers", 0);
        let record = ImageRecord {
            id: id.clone(),
            manifest: digest.clone(),
            media_type: MediaType::ImageManifest.to_string(),
            layers: solved.layers.clone(),
            other_blobs: Vec::new(),
        };
        store.put_image(&record, options.tags.first().map(String::as_str), None)?;
        status(&format!("writing image {id}"), 0);
        for tag in options.tags.iter().skip(1) {
            store.tag_image(&id, tag)?;
        }
        for tag in &options.tags {
            status(&format!("naming to {tag}"), 0);
        }
        drop(lease);
        Ok((id, digest))
    })
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    // Our own types have string keys only and always serialise.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The same bytes under the name that fits an OCI manifest.
fn oci_media_type(media_type: &str) -> &str {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
            "application/vnd.oci.image.layer.v1.tar+zstd"
        }
        other => other,
    }
}
