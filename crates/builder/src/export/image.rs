//! Images: into the store, to registries, into archives.

use std::sync::Arc;

use oci_spec::image::{Descriptor, Digest, MediaType};
use rctr_engine::{
    ArchiveFormat, Compression, Engine, NewFile, PushEvent, PushLayer, PushOptions, PushProgress,
    PushedImage,
};
use rctr_registry_client::Platform;
use rctr_store::{ImageLayer, ImageRecord, Lease, Store, sha256};
use serde_json::{Value, json};

use super::index::{Attested, Index};
use super::{Identity, Image, files};
use crate::attest::{self, Facts};
use crate::build::View;
use crate::output::{ArchiveOutput, Destination, ImageOutput};
use crate::solve::{Cancel, Solver};
use crate::{BuildError, Result};

/// An image, put together.
pub(super) struct Exported {
    pub(super) platform: Platform,
    pub(super) record: ImageRecord,
    config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
    /// What is said of it.
    pub(super) attested: Option<Attested>,
}

impl Exported {
    /// Packs what has to be packed, and writes manifest and configuration.
    pub(super) fn of(
        solver: &Solver<'_>,
        image: &Image<'_>,
        wanted: &ImageOutput,
    ) -> Result<Exported> {
        let store = solver.engine.store();
        let mut layers = Vec::new();
        for layer in &image.solved.layers {
            if solver.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            layers.push(packed(store, layer, wanted)?);
        }
        let config = to_json(&image.document);
        let id = sha256(&config);
        let described: Vec<Value> = layers
            .iter()
            .map(|layer| {
                let kind = MediaType::from(oci_media_type(&layer.media_type));
                json!(Descriptor::new(kind, layer.size, layer.blob.clone()))
            })
            .collect();
        let kind = MediaType::ImageConfig;
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest,
            "config": Descriptor::new(kind, config.len() as u64, id.clone()),
            "layers": described,
        });
        if !wanted.annotations.is_empty() {
            manifest["annotations"] = json!(wanted.annotations);
        }
        let manifest = to_json(&manifest);
        Ok(Exported {
            platform: image.platform.clone(),
            record: ImageRecord {
                id,
                manifest: sha256(&manifest),
                media_type: MediaType::ImageManifest.to_string(),
                layers,
                other_blobs: Vec::new(),
            },
            config,
            manifest,
            attested: None,
        })
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            image: self.record.id.clone(),
            manifest: self.record.manifest.clone(),
        }
    }

    /// Its documents are in the store as long as the lease lives, or somebody records the image.
    fn put(&self, store: &Store) -> Result<Lease> {
        let lease = store.lease([&self.record.id, &self.record.manifest])?;
        store.put_blob(&self.record.id, &self.config)?;
        store.put_blob(&self.record.manifest, &self.manifest)?;
        Ok(lease)
    }
}

/// Which image of several has the name in the store: the one that runs here, else the first.
fn main_of(images: &[Exported]) -> usize {
    let host = Platform::host();
    let mut platforms = images.iter().map(|image| &image.platform);
    platforms.position(|p| host.matches(p)).unwrap_or(0)
}

/// What the images are called when none is kept.
pub(super) fn identity(solver: &Solver<'_>, images: &[Image<'_>]) -> Result<Identity> {
    let of = |image| Exported::of(solver, image, &ImageOutput::default());
    let exported = images.iter().map(of).collect::<Result<Vec<_>>>()?;
    let identity = exported[main_of(&exported)].identity();
    Ok(match exported.len() {
        1 => identity,
        _ => Identity {
            manifest: Index::of(&exported).digest,
            ..identity
        },
    })
}

/// Puts the images into the store, the one for this machine under its names, and pushes them if that is wanted.
pub(super) fn to_store(
    view: &mut View<'_>,
    solver: &Solver<'_>,
    facts: &Facts<'_>,
    images: &[Image<'_>],
    wanted: &ImageOutput,
) -> Result<Identity> {
    let attests = solver.options.attestations.any();
    let store = solver.engine.store();
    let mut packed = wanted.clone();
    if wanted.push || attests {
        // Then the digest here is the one at the registry, and what attestations speak of.
        packed.compression.get_or_insert(Compression::DEFAULT_GZIP);
    }
    let exported = view.line("exporting to image", |status| {
        let mut exported = Vec::new();
        let mut leases = Vec::new();
        for image in images {
            let mut made = Exported::of(solver, image, &packed)?;
            if attests {
                let root = || files::mounted(solver, image.solved);
                let said = attest::predicates(solver, facts, &wanted.names, root)?;
                let attested = Attested::of(&made, &said, &wanted.names);
                status(
                    &format!("exporting attestation manifest {}", attested.digest()),
                    0,
                );
                leases.push(attested.put(store)?);
                made.attested = Some(attested);
            }
            leases.push(made.put(store)?);
            exported.push(made);
        }
        status("exporting layers", 0);
        let main = main_of(&exported);
        let mut identity = exported[main].identity();
        if exported.len() > 1 || attests {
            let index = Index::of(&exported);
            leases.push(store.lease([&index.digest])?);
            store.put_blob(&index.digest, &index.bytes)?;
            let mut others = vec![index.digest.clone()];
            for (_, other) in exported.iter().enumerate().filter(|(i, _)| *i != main) {
                status(&format!("exporting manifest {}", other.record.manifest), 0);
                // Without a name, it keeps the layers.
                store.put_image(&other.record, None, None)?;
                others.extend([other.record.manifest.clone(), other.record.id.clone()]);
            }
            for attested in exported.iter().filter_map(|image| image.attested.as_ref()) {
                others.extend(attested.digests().cloned());
            }
            exported[main].record.other_blobs = others;
            status(&format!("exporting manifest list {}", index.digest), 0);
            identity.manifest = index.digest;
        }
        let record = &exported[main].record;
        store.put_image(record, wanted.names.first().map(String::as_str), None)?;
        status(&format!("writing image {}", record.id), 0);
        for name in wanted.names.iter().skip(1) {
            store.tag_image(&record.id, name)?;
        }
        for name in &wanted.names {
            status(&format!("naming to {name}"), 0);
        }
        drop(leases);
        Ok::<_, BuildError>(identity)
    })?;
    if wanted.push {
        push(view, solver.engine, wanted, solver.cancel)?;
    }
    Ok(exported)
}

/// Writes an archive of the image, which gets no record in the store.
pub(super) fn to_archive(
    view: &mut View<'_>,
    solver: &Solver<'_>,
    image: &Image<'_>,
    wanted: &ArchiveOutput,
) -> Result<Identity> {
    let engine = solver.engine;
    let title = match wanted.format {
        ArchiveFormat::Docker => "exporting to docker image format",
        ArchiveFormat::Oci => "exporting to oci image format",
    };
    view.line(title, |status| {
        let mut packed = wanted.image.clone();
        packed.compression.get_or_insert(Compression::DEFAULT_GZIP);
        let exported = Exported::of(solver, image, &packed)?;
        let _lease = exported.put(engine.store())?;
        status("exporting layers", 0);
        let record = &exported.record;
        status(&format!("exporting manifest {}", record.manifest), 0);
        status(&format!("exporting config {}", record.id), 0);
        let archive = engine.image_to_save(record.clone(), &packed.names)?;
        match &wanted.to {
            Destination::Directory(path) => archive.write_dir(path)?,
            Destination::Stream(file) => {
                archive.write(wanted.format, &**file, "standard output".as_ref())?;
            }
            Destination::File(path) => {
                let new = NewFile::create(path)?;
                archive.write(wanted.format, new.file(), path)?;
                new.commit()?;
            }
        }
        status("sending tarball", 0);
        Ok(exported.identity())
    })
}

/// A layer as the output wants it. What has a blob keeps that, unless another packing is forced upon it.
fn packed(store: &Store, layer: &ImageLayer, wanted: &ImageOutput) -> Result<ImageLayer> {
    let Some(compression) = wanted.compression else {
        return Ok(layer.clone());
    };
    if store.has_blob(&layer.blob)? && !wanted.force_compression {
        return Ok(layer.clone());
    }
    if compression == Compression::None && layer.blob == layer.diff_id {
        return Ok(layer.clone());
    }
    let packed = store.pack_layer(&layer.chain_id, compression)?;
    Ok(ImageLayer {
        blob: packed.digest,
        size: packed.size,
        media_type: packed.media_type,
        ..layer.clone()
    })
}

fn push(view: &mut View<'_>, engine: &Engine, wanted: &ImageOutput, cancel: &Cancel) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BuildError::io("start", "the network".as_ref()))?;
    let options = PushOptions {
        compression: wanted.compression,
        ..PushOptions::default()
    };
    for name in &wanted.names {
        view.line(&format!("pushing {name}"), |status| {
            let pushing = async {
                tokio::select! {
                    pushed = engine.push(name, &options, Arc::new(Silent)) => Ok(pushed?),
                    () = cancel.cancelled() => Err(BuildError::Cancelled),
                }
            };
            for pushed in runtime.block_on(pushing)? {
                status("pushing layers", 0);
                status(
                    &format!(
                        "pushing manifest for {}@{}",
                        pushed.reference, pushed.digest
                    ),
                    0,
                );
            }
            Ok::<_, BuildError>(())
        })?;
    }
    Ok(())
}

/// The build's own view tells enough.
struct Silent;

impl PushProgress for Silent {
    fn repository(&self, _: &str) {}

    fn layers(&self, _: &[PushLayer]) {}

    fn event(&self, _: &Digest, _: PushEvent) {}

    fn pushed(&self, _: &PushedImage) {}
}

pub(super) fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
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
