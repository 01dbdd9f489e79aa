//! Images: into the store, to registries, into archives.

use std::collections::BTreeMap;
use std::sync::Arc;

use oci_spec::image::{Descriptor, Digest, MediaType};
use rctr_engine::{
    ArchiveFormat, Compression, Engine, NewFile, PushEvent, PushLayer, PushOptions, PushProgress,
    PushedImage,
};
use rctr_registry_client::Platform;
use rctr_store::{
    CommitOptions, Estargz, ImageLayer, ImageRecord, LayerSpec, Lease, Store, chain_id, sha256,
};
use serde_json::json;

use super::index::{Attested, Index, annotate};
use super::{Identity, Image, files};
use crate::attest::{self, Facts};
use crate::build::View;
use crate::output::{ArchiveOutput, Destination, ImageOutput};
use crate::solve::{Cancel, Solved, Solver};
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
        let mut layers: Vec<ImageLayer> = Vec::new();
        let mut described = Vec::new();
        for layer in &image.solved.layers {
            if solver.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            let (packed, estargz) = packed(store, layer, wanted)?;
            let kind = MediaType::from(oci_media_type(&packed.media_type));
            let mut descriptor = json!(Descriptor::new(kind, packed.size, packed.blob.clone()));
            if let Some(estargz) = estargz {
                descriptor["annotations"] = json!(BTreeMap::from(estargz.annotations()));
            }
            described.push(descriptor);
            let below = layers.last().map(|layer| &layer.chain_id);
            layers.push(ImageLayer {
                chain_id: chain_id(below, &packed.diff_id),
                ..packed
            });
        }
        // Those of layers that hold an index of their own are others now.
        let mut document = image.document.clone();
        document.rootfs.diff_ids = layers.iter().map(|l| l.diff_id.to_string()).collect();
        let config = to_json(&document);
        let id = sha256(&config);
        let kind = MediaType::ImageConfig;
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest,
            "config": Descriptor::new(kind, config.len() as u64, id.clone()),
            "layers": described,
        });
        annotate(&mut manifest, wanted.of_manifest(image.platform));
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

    /// Unpacks the layers that are not those that were built.
    fn unpack(&self, store: &Store, solved: &Solved) -> Result<Option<Lease>> {
        let layers = &self.record.layers;
        // If one differs, those above it do, too.
        if layers.last().map(|l| &l.chain_id) == solved.layers.last().map(|l| &l.chain_id) {
            return Ok(None);
        }
        let lease = store.lease(layers.iter().flat_map(|l| [&l.chain_id, &l.blob]))?;
        let mut below = None;
        for (layer, built) in layers.iter().zip(&solved.layers) {
            if layer.chain_id != built.chain_id && !store.has_layer(&layer.chain_id)? {
                if layer.diff_id == built.diff_id {
                    store.relink_layer(&built.chain_id, below, CommitOptions::default())?;
                } else if let Some(unpacking) = store.begin_layer(LayerSpec::from(layer))? {
                    unpacking.commit(below)?;
                }
            }
            below = Some(&layer.chain_id);
        }
        Ok(Some(lease))
    }

    /// Its documents are in the store as long as the lease lives, or somebody records the image.
    fn put(&self, store: &Store) -> Result<Lease> {
        let lease = store.lease([&self.record.id, &self.record.manifest])?;
        store.put_blob(&self.record.id, &self.config)?;
        store.put_blob(&self.record.manifest, &self.manifest)?;
        Ok(lease)
    }
}

/// All images, with what is above them; in the store as long as this lives, or somebody records it.
struct Prepared {
    images: Vec<Exported>,
    /// Of the images; without one, there is only one and nothing is attested.
    index: Option<Index>,
    /// Which image has the name in the store: the one that runs here, else the first.
    main: usize,
    _leases: Vec<Lease>,
}

impl Prepared {
    fn of(
        solver: &Solver<'_>,
        facts: &Facts<'_>,
        images: &[Image<'_>],
        wanted: &ImageOutput,
        status: &dyn Fn(&str, u64),
    ) -> Result<Prepared> {
        let store = solver.engine.store();
        let (mut exported, mut leases) = (Vec::new(), Vec::new());
        for image in images {
            let mut made = Exported::of(solver, image, wanted)?;
            if solver.options.attestations.any() {
                let root = || files::mounted(solver, image.solved);
                let said = attest::predicates(solver, facts, &wanted.names, root)?;
                let attested = Attested::of(&made, &said, &wanted.names);
                let line = format!("exporting attestation manifest {}", attested.digest());
                status(&line, 0);
                leases.push(attested.put(store)?);
                made.attested = Some(attested);
            }
            leases.push(made.put(store)?);
            exported.push(made);
        }
        status("exporting layers", 0);
        let main = main_of(&exported);
        let mut index = None;
        if images.len() > 1 || solver.options.attestations.any() {
            let made = Index::of(&exported, wanted);
            leases.push(store.lease([&made.digest])?);
            store.put_blob(&made.digest, &made.bytes)?;
            let mut others = vec![made.digest.clone()];
            for (_, other) in exported.iter().enumerate().filter(|(i, _)| *i != main) {
                others.extend([other.record.manifest.clone(), other.record.id.clone()]);
            }
            for attested in exported.iter().filter_map(|image| image.attested.as_ref()) {
                others.extend(attested.digests().cloned());
            }
            exported[main].record.other_blobs = others;
            index = Some(made);
        }
        Ok(Prepared {
            images: exported,
            index,
            main,
            _leases: leases,
        })
    }

    fn main(&self) -> &Exported {
        &self.images[self.main]
    }

    /// Id of the image that has the name, and digest of what the name leads to.
    fn identity(&self) -> Identity {
        let main = self.main().identity();
        match &self.index {
            Some(index) => Identity {
                manifest: index.digest.clone(),
                ..main
            },
            None => main,
        }
    }
}

fn main_of(images: &[Exported]) -> usize {
    let host = Platform::host();
    let mut platforms = images.iter().map(|image| &image.platform);
    platforms.position(|p| host.matches(p)).unwrap_or(0)
}

/// What the images are called when none is kept.
pub(super) fn identity(solver: &Solver<'_>, images: &[Image<'_>]) -> Result<Identity> {
    let wanted = ImageOutput::default();
    let of = |image| Exported::of(solver, image, &wanted);
    let exported = images.iter().map(of).collect::<Result<Vec<_>>>()?;
    let identity = exported[main_of(&exported)].identity();
    Ok(match exported.len() {
        1 => identity,
        _ => Identity {
            manifest: Index::of(&exported, &wanted).digest,
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
    let store = solver.engine.store();
    let mut packed = wanted.clone();
    if wanted.push || solver.options.attestations.any() {
        // Then the digest here is the one at the registry, and what attestations speak of.
        packed.compression.get_or_insert(Compression::DEFAULT_GZIP);
    }
    let identity = view.line("exporting to image", |status| {
        let prepared = Prepared::of(solver, facts, images, &packed, status)?;
        let mut leases = Vec::new();
        for (image, made) in images.iter().zip(&prepared.images) {
            leases.push(made.unpack(store, image.solved)?);
        }
        let others = prepared.images.iter().enumerate();
        for (_, other) in others.filter(|(i, _)| *i != prepared.main) {
            status(&format!("exporting manifest {}", other.record.manifest), 0);
            // Without a name, it keeps the layers.
            store.put_image(&other.record, None, None)?;
        }
        if let Some(index) = &prepared.index {
            status(&format!("exporting manifest list {}", index.digest), 0);
        }
        let record = &prepared.main().record;
        store.put_image(record, None, None)?;
        status(&format!("writing image {}", record.id), 0);
        for name in &wanted.names {
            solver.engine.name_image(&record.id, name)?;
        }
        for name in &wanted.names {
            status(&format!("naming to {name}"), 0);
        }
        Ok::<_, BuildError>(prepared.identity())
    })?;
    if wanted.push {
        push(view, solver.engine, wanted, solver.cancel)?;
    }
    Ok(identity)
}

/// Writes an archive of the images, which get no record in the store.
pub(super) fn to_archive(
    view: &mut View<'_>,
    solver: &Solver<'_>,
    facts: &Facts<'_>,
    images: &[Image<'_>],
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
        let prepared = Prepared::of(solver, facts, images, &packed, status)?;
        for made in &prepared.images {
            let record = &made.record;
            status(&format!("exporting manifest {}", record.manifest), 0);
            status(&format!("exporting config {}", record.id), 0);
        }
        let said = match &prepared.index {
            Some(index) => {
                status(&format!("exporting manifest list {}", index.digest), 0);
                packed.of_index_descriptor()
            }
            None => packed.of_manifest_descriptor(&prepared.main().platform),
        };
        let record = prepared.main().record.clone();
        let archive = engine.image_to_save(record, &packed.names, said)?;
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
        Ok(prepared.identity())
    })
}

/// A layer as the output wants it, and what is said of it if single files can be fetched. What has a blob keeps that,
/// unless another packing is forced upon it.
fn packed(
    store: &Store,
    layer: &ImageLayer,
    wanted: &ImageOutput,
) -> Result<(ImageLayer, Option<Estargz>)> {
    let kept = || {
        let estargz = match layer.media_type.ends_with("gzip") {
            true => store.estargz_of(&layer.chain_id, &layer.blob)?,
            false => None,
        };
        Ok((layer.clone(), estargz))
    };
    let Some(compression) = wanted.compression else {
        return kept();
    };
    if store.has_blob(&layer.blob)? && !wanted.force_compression {
        return kept();
    }
    if compression == Compression::None && layer.blob == layer.diff_id {
        return kept();
    }
    let packed = store.pack_layer(&layer.chain_id, compression)?;
    let layer = ImageLayer {
        blob: packed.digest,
        size: packed.size,
        media_type: packed.media_type,
        diff_id: packed.diff_id,
        ..layer.clone()
    };
    let estargz = match packed.estargz {
        None => store.estargz_of(&layer.chain_id, &layer.blob)?,
        found => found,
    };
    Ok((layer, estargz))
}

fn push(view: &mut View<'_>, engine: &Engine, wanted: &ImageOutput, cancel: &Cancel) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BuildError::io("start", "the network".as_ref()))?;
    // Everything is packed as it was asked for.
    let options = PushOptions::default();
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
