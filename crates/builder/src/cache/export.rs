//! `--cache-to`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci_spec::image::{Descriptor, Digest, MediaType};
use rctr_engine::{CachePlace, Engine};
use rctr_store::ImageLayer;

use super::format::{Annotations, CacheConfig, CacheLayer, MEDIA_TYPE, Record, RecordLayer};
use super::import::runtime;
use super::{CacheExport, CacheTarget};
use crate::build::View;
use crate::solve::{Solved, Solver};
use crate::{Result, time};

/// A layer with the keys it is the result of.
struct Keyed {
    layer: ImageLayer,
    below: Option<Digest>,
    /// With the time each result was made.
    keys: BTreeMap<String, i64>,
}

/// Keeps what the build made, for all platforms, wherever that is asked for.
pub(crate) fn export(
    view: &mut View<'_>,
    solver: &Solver<'_>,
    solved: &[Arc<Solved>],
) -> Result<()> {
    for export in &solver.options.cache_to {
        let CacheTarget::Place(place) = &export.to else {
            continue;
        };
        let title = match place {
            CachePlace::Registry(_) => "exporting cache to registry",
            CachePlace::Layout { .. } => "exporting cache to client directory",
        };
        let kept = view.line(title, |status| {
            let mut layers = Vec::new();
            match export.all {
                true => solver
                    .all_made()
                    .try_for_each(|solved| keyed(solver, solved, &mut layers))?,
                false => solved
                    .iter()
                    .try_for_each(|solved| keyed(solver, solved, &mut layers))?,
            }
            let tell = |text: &str| status(text, 0);
            keep(solver.engine, export, place, &layers, &tell)
        });
        if !export.ignore_error {
            kept?;
        }
    }
    Ok(())
}

/// The cache of an image, to be kept in its configuration.
pub(crate) fn inline(solver: &Solver<'_>, solved: &Solved) -> Result<String> {
    let mut layers = Vec::new();
    keyed(solver, solved, &mut layers)?;
    let positions: HashMap<_, _> = solved
        .layers
        .iter()
        .enumerate()
        .map(|(position, layer)| (&layer.chain_id, position))
        .collect();
    let mut records = Vec::new();
    for layer in &layers {
        if let Some(position) = positions.get(&layer.layer.chain_id) {
            records.extend(layer.records(*position));
        }
    }
    // Our own types have string keys only and always serialise.
    let json = serde_json::to_vec(&records).unwrap_or_default();
    Ok(BASE64_STANDARD.encode(json))
}

/// Adds those layers of a result that have keys and are not in the list yet.
fn keyed(solver: &Solver<'_>, solved: &Solved, list: &mut Vec<Keyed>) -> Result<()> {
    let store = solver.engine.store();
    let mut below = None;
    for layer in &solved.layers {
        let listed = list.iter().any(|l| l.layer.chain_id == layer.chain_id);
        if !listed {
            let mut keys: BTreeMap<String, i64> = solver.keys_of(&layer.chain_id);
            for entry in store.cache_entries_of(&layer.chain_id)? {
                keys.insert(entry.key, entry.created);
            }
            if !keys.is_empty() {
                list.push(Keyed {
                    layer: layer.clone(),
                    below: below.clone(),
                    keys,
                });
            }
        }
        below = Some(layer.chain_id.clone());
    }
    Ok(())
}

impl Keyed {
    fn records(&self, position: usize) -> impl Iterator<Item = Record> {
        self.keys.iter().map(move |(key, created)| Record {
            digest: key.clone(),
            layers: vec![RecordLayer {
                layer: position,
                created_at: Some(time::format(*created)),
            }],
        })
    }
}

fn keep(
    engine: &Engine,
    export: &CacheExport,
    place: &CachePlace,
    layers: &[Keyed],
    tell: &dyn Fn(&str),
) -> Result<()> {
    tell("preparing build cache for export");
    let store = engine.store();
    let lease = store.lease(layers.iter().map(|keyed| &keyed.layer.chain_id))?;
    let (mut config, mut blobs) = (CacheConfig::default(), Vec::<Descriptor>::new());
    for (position, keyed) in layers.iter().enumerate() {
        let packed = store.pack_layer(&keyed.layer.chain_id, export.compression)?;
        lease.extend([&packed.digest])?;
        let parent = keyed.below.as_ref().and_then(|below| {
            let mut before = layers[..position].iter();
            before.position(|other| other.layer.chain_id == *below)
        });
        config.layers.push(CacheLayer {
            blob: packed.digest.clone(),
            parent: parent.and_then(|p| i64::try_from(p).ok()).unwrap_or(-1),
            annotations: Some(Annotations {
                media_type: packed.media_type.clone(),
                diff_id: keyed.layer.diff_id.clone(),
                size: packed.size,
            }),
        });
        config.records.extend(keyed.records(position));
        if blobs.iter().all(|blob| *blob.digest() != packed.digest) {
            let media_type = MediaType::from(packed.media_type.as_str());
            blobs.push(Descriptor::new(media_type, packed.size, packed.digest));
        }
    }
    // As above.
    let config = serde_json::to_vec(&config).unwrap_or_default();
    let sent = Mutex::new(Vec::new());
    let note = |blob: &Descriptor| {
        let text = match blob.media_type().as_ref() {
            MEDIA_TYPE => format!("writing config {}", blob.digest()),
            _ => format!("writing layer {}", blob.digest()),
        };
        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push(text);
    };
    let kept = runtime()?.block_on(engine.keep_cache(place, &blobs, (MEDIA_TYPE, &config), &note));
    let sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
    sent.iter().for_each(|text| tell(text));
    tell(&format!("writing cache manifest {}", kept?.digest()));
    Ok(())
}
