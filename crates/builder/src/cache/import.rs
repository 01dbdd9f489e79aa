//! `--cache-from`.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci_spec::image::Digest;
use rctr_engine::{CachePlace, Engine, KeptCache};
use rctr_registry_client::Platform;
use rctr_store::{ImageLayer, Lease, chain_id};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::format::{CacheConfig, MEDIA_TYPE, Record};
use crate::build::View;
use crate::{BuildError, Result, time};

/// The caches a build may take results from. Whatever hinders that is told, and is no failure.
pub(crate) struct Imports<'e> {
    sources: Vec<Source<'e>>,
    runtime: Option<Runtime>,
}

struct Source<'e> {
    kept: KeptCache<'e>,
    layers: Vec<Layer>,
    records: HashMap<String, Found>,
    /// Layers that could not be had.
    lost: Mutex<HashSet<usize>>,
}

struct Layer {
    blob: Digest,
    size: u64,
    media_type: String,
    diff_id: Digest,
}

#[derive(Clone, Copy)]
struct Found {
    /// Position in the list of layers.
    layer: usize,
    /// Seconds since 1970.
    created: i64,
}

/// A result that is in the store now.
pub(crate) struct Imported {
    /// Its layer.
    pub layer: ImageLayer,
    /// All keys that lead to it, with the time each result was made.
    pub keys: Vec<(String, i64)>,
}

impl<'e> Imports<'e> {
    /// Looks what the places have for the platforms.
    pub fn open(
        view: &mut View<'_>,
        engine: &'e Engine,
        places: &[CachePlace],
        platforms: &[Platform],
    ) -> Result<Imports<'e>> {
        let mut imports = Imports {
            sources: Vec::new(),
            runtime: None,
        };
        if places.is_empty() {
            return Ok(imports);
        }
        let runtime = runtime()?;
        for place in places {
            for platform in platforms {
                let title = format!("importing cache manifest from {place}");
                let find = || {
                    let kept = runtime.block_on(engine.find_cache(place, platform))?;
                    Source::read(kept)
                };
                let Ok(source) = view.step(&title, find) else {
                    continue;
                };
                imports.sources.push(source);
                // Without images for platforms it is the same for all.
                if let Some(Source { kept, .. }) = imports.sources.last()
                    && kept.config().0 == MEDIA_TYPE
                {
                    break;
                }
            }
        }
        imports.runtime = Some(runtime);
        Ok(imports)
    }

    /// Whether a cache has the result of a key.
    pub fn have(&self, key: &str) -> bool {
        self.sources.iter().any(|source| {
            let found = source.records.get(key);
            found.is_some_and(|found| !source.lost().contains(&found.layer))
        })
    }

    /// Fetches the result of a key upon `below`, if a cache has it. The lease keeps it. A layer that cannot be had is
    /// told of once.
    pub fn fetch(
        &self,
        key: &str,
        below: Option<&Digest>,
        lease: &Lease,
        warn: &dyn Fn(&str),
    ) -> Result<Option<Imported>> {
        let Some(runtime) = &self.runtime else {
            return Ok(None);
        };
        for source in &self.sources {
            let Some(found) = source.records.get(key).copied() else {
                continue;
            };
            if source.lost().contains(&found.layer) {
                continue;
            }
            let layer = source.layers[found.layer].upon(below);
            lease.extend([&layer.chain_id, &layer.blob])?;
            match runtime.block_on(source.kept.fetch(&layer, below)) {
                Ok(()) => {
                    let keys = source.keys_of(found.layer);
                    return Ok(Some(Imported { layer, keys }));
                }
                Err(error) if source.lost().insert(found.layer) => {
                    let why = causes(&error);
                    warn(&format!(
                        "cached layer {} cannot be used: {why}",
                        layer.blob
                    ));
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }
}

impl<'e> Source<'e> {
    fn read(kept: KeptCache<'e>) -> Result<Source<'e>> {
        let (media_type, config) = kept.config();
        let read = match media_type {
            MEDIA_TYPE => of_config(config, &kept),
            _ => of_image(config, &kept),
        };
        let (layers, records) = read.map_err(|reason| BuildError::Instruction {
            span: None,
            reason: format!("it is no build cache: {reason}"),
        })?;
        let mut found = HashMap::new();
        for record in records {
            let usable = record.layers.iter().find(|l| l.layer < layers.len());
            if let Some(result) = usable {
                let created = result.created_at.as_deref().and_then(time::parse);
                let created = created.unwrap_or_else(time::now);
                let layer = result.layer;
                found.insert(record.digest, Found { layer, created });
            }
        }
        Ok(Source {
            kept,
            layers,
            records: found,
            lost: Mutex::default(),
        })
    }

    fn lost(&self) -> MutexGuard<'_, HashSet<usize>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys_of(&self, layer: usize) -> Vec<(String, i64)> {
        let records = self.records.iter();
        records
            .filter(|(_, found)| found.layer == layer)
            .map(|(key, found)| (key.clone(), found.created))
            .collect()
    }
}

impl Layer {
    fn upon(&self, below: Option<&Digest>) -> ImageLayer {
        ImageLayer {
            blob: self.blob.clone(),
            size: self.size,
            media_type: self.media_type.clone(),
            diff_id: self.diff_id.clone(),
            chain_id: chain_id(below, &self.diff_id),
        }
    }
}

type Read = (Vec<Layer>, Vec<Record>);

/// A cache by itself. The manifest says how large its layers are, and what they are.
fn of_config(config: &[u8], kept: &KeptCache<'_>) -> Result<Read, String> {
    let config: CacheConfig = serde_json::from_slice(config).map_err(|e| e.to_string())?;
    let mut layers = Vec::with_capacity(config.layers.len());
    for layer in config.layers {
        let blob = kept.layers().iter().find(|l| *l.digest() == layer.blob);
        let blob = blob.ok_or_else(|| format!("layer {} is not in the manifest", layer.blob))?;
        let known = layer
            .annotations
            .ok_or_else(|| format!("nothing is said of layer {}", layer.blob))?;
        layers.push(Layer {
            size: blob.size(),
            media_type: blob.media_type().to_string(),
            blob: layer.blob,
            diff_id: known.diff_id,
        });
    }
    Ok((layers, config.records))
}

/// The cache in an image, of the image's own layers.
fn of_image(config: &[u8], kept: &KeptCache<'_>) -> Result<Read, String> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: Rootfs,
        #[serde(rename = "moby.buildkit.cache.v0")]
        records: Option<String>,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        diff_ids: Vec<Digest>,
    }
    let config: Config = serde_json::from_slice(config).map_err(|e| e.to_string())?;
    let records = config.records.ok_or("the image has none in it")?;
    let records = BASE64_STANDARD.decode(records).map_err(|e| e.to_string())?;
    let records = serde_json::from_slice(&records).map_err(|e| e.to_string())?;
    if config.rootfs.diff_ids.len() != kept.layers().len() {
        return Err("the image's layers are not those of its configuration".to_owned());
    }
    let layers = kept.layers().iter().zip(config.rootfs.diff_ids);
    let layers = layers.map(|(blob, diff_id)| Layer {
        blob: blob.digest().clone(),
        size: blob.size(),
        media_type: blob.media_type().to_string(),
        diff_id,
    });
    Ok((layers.collect(), records))
}

/// For the network.
pub(super) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BuildError::io("start", "the network".as_ref()))
}

/// An error with all that led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
