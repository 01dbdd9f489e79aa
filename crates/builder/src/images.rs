//! Base images: from the store, or from a registry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci_spec::image::{Descriptor, Digest};
use rctr_engine::{Engine, Error, LayerEvent, PullProgress, PulledLayer};
use rctr_registry_client::{Platform, parse_reference};
use rctr_store::Image;

use crate::options::BuildOptions;
use crate::plan::{BaseImage, Images};
use crate::progress::{Amount, Event, Progress, VertexId};
use crate::solve::Cancel;
use crate::{BuildError, Result};

/// Finds base images for one build, each once.
pub(crate) struct ImageFinder<'a> {
    engine: &'a Engine,
    options: &'a BuildOptions,
    progress: &'a dyn Progress,
    /// Number of the next line in the view.
    next_vertex: AtomicUsize,
    found: Mutex<HashMap<(String, String), BaseImage>>,
    /// Held while an image is pulled: of those for two platforms each must see the name the other has got.
    pulling: Mutex<()>,
}

/// Hands what happens to layers to the thread that tells of it.
struct Forward(Mutex<Sender<(Digest, LayerEvent)>>);

impl PullProgress for Forward {
    fn resolved(&self, _: &Descriptor, _: &[PulledLayer]) {}

    fn event(&self, layer: &Digest, event: LayerEvent) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens once the pull has failed.
        let _ = sender.send((layer.clone(), event));
    }
}

/// A layer's way, in BuildKit's words.
fn tell(progress: &dyn Progress, vertex: VertexId, layer: &Digest, event: &LayerEvent) {
    let status = |text: &str, current: u64, total: u64, done: bool| {
        progress.event(Event::Status {
            vertex,
            text,
            amount: Amount { current, total },
            done,
        });
    };
    let extracting = format!("extracting {layer}");
    match event {
        LayerEvent::Downloading { current, total } => {
            status(layer.as_ref(), *current, *total, current == total);
        }
        LayerEvent::Unpacking => status(&extracting, 0, 0, false),
        LayerEvent::Done => status(&extracting, 0, 0, true),
        LayerEvent::Retrying { reason, .. } => progress.event(Event::Warning {
            vertex,
            text: &format!("{layer}: {reason}: trying again"),
        }),
        LayerEvent::Waiting | LayerEvent::Exists => {}
    }
}

impl<'a> ImageFinder<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        options: &'a BuildOptions,
        progress: &'a dyn Progress,
        first_vertex: VertexId,
    ) -> ImageFinder<'a> {
        ImageFinder {
            engine,
            options,
            progress,
            next_vertex: AtomicUsize::new(first_vertex),
            found: Mutex::default(),
            pulling: Mutex::default(),
        }
    }

    /// Number of the first line nobody has used.
    pub(crate) fn next_vertex(&self) -> VertexId {
        self.next_vertex.load(Ordering::Relaxed)
    }

    /// The environment of an image, if it need not be fetched.
    pub(crate) fn env(&self, name: &str) -> Option<Vec<(String, String)>> {
        let whole = parse_reference(name).ok()?.whole();
        let platform = &self.options.platforms[0];
        let key = (name.to_owned(), platform.to_string());
        let found = self.found().get(&key).cloned();
        let image = match found {
            Some(found) => found,
            None => self.local(name, &whole, platform).ok()??,
        };
        let env = image.document.config.env.clone().unwrap_or_default();
        let pair = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        };
        Some(env.iter().map(pair).collect())
    }

    fn found(&self) -> MutexGuard<'_, HashMap<(String, String), BaseImage>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, name: &str, wanted: &Platform) -> Result<BaseImage> {
        let reference = parse_reference(name).map_err(|e| instruction(e.to_string()))?;
        let whole = reference.whole();
        let vertex = self.next_vertex.fetch_add(1, Ordering::Relaxed);
        self.progress.event(Event::Started {
            vertex,
            name: &format!("[internal] load metadata for {whole}"),
        });
        let image = self.local_or_remote(vertex, name, &whole, wanted);
        let error = image.as_ref().err().map(ToString::to_string);
        self.progress.event(Event::Done {
            vertex,
            error: error.as_deref(),
        });
        image
    }

    fn local_or_remote(
        &self,
        vertex: VertexId,
        name: &str,
        whole: &str,
        wanted: &Platform,
    ) -> Result<BaseImage> {
        if !self.options.pull
            && let Some(image) = self.local(name, whole, wanted)?
        {
            return Ok(image);
        }
        let platform = wanted.to_string();
        let remote = self.talk(vertex, None, |progress| {
            self.engine.pull_metadata(name, Some(&platform), progress)
        })?;
        let document = serde_json::from_slice(&remote.config).map_err(|e| bad_config(whole, &e))?;
        let image = BaseImage {
            name: whole.to_owned(),
            record: Arc::new(remote.record.clone()),
            document: Arc::new(document),
            digest: Some(remote.digest.clone()),
            remote: Some(Arc::new(remote)),
        };
        let top = image.record.layers.last();
        let here = match top {
            Some(top) => self.engine.store().has_layer(&top.chain_id)?,
            None => true,
        };
        if here {
            // Nothing is missing but the record.
            self.pull(&image, vertex, None)?;
        }
        Ok(BaseImage {
            remote: image.remote.filter(|_| !here),
            ..image
        })
    }

    /// Pulls what was found, and gives it the name it was found by.
    fn pull(&self, image: &BaseImage, vertex: VertexId, cancel: Option<&Cancel>) -> Result<()> {
        let Some(remote) = &image.remote else {
            return Ok(());
        };
        let (name, platform) = (&image.name, remote.platform.as_deref());
        let _alone = self.pulling.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.engine.store().find_image(name)?;
        self.talk(vertex, cancel, |progress| {
            self.engine.pull(&remote.reference, platform, progress)
        })?;
        if !name.contains('@') {
            self.engine.name_image(&image.record.id, name)?;
        }
        match before {
            Some(before) => self.settle_name(before, name),
            None => Ok(()),
        }
    }

    /// Talks to a registry, and tells of it.
    fn talk<T, F>(
        &self,
        vertex: VertexId,
        cancel: Option<&Cancel>,
        work: impl FnOnce(Arc<dyn PullProgress>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = rctr_engine::Result<T>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BuildError::io("start", "the network".as_ref()))?;
        let (sender, events) = mpsc::channel();
        let progress = Arc::new(Forward(Mutex::new(sender)));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (layer, event) in events {
                    tell(self.progress, vertex, &layer, &event);
                }
            });
            let stopped = async {
                match cancel {
                    Some(cancel) => cancel.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            let done = runtime.block_on(async {
                tokio::select! {
                    done = work(progress) => Ok(done?),
                    () = stopped => Err(BuildError::Cancelled),
                }
            });
            // With it goes whatever still holds the sender.
            drop(runtime);
            done
        })
    }

    /// Of two images of one name, that which runs here has it. If both are of one index the other is part of it.
    fn settle_name(&self, before: Image, name: &str) -> Result<()> {
        let store = self.engine.store();
        let Some(now) = store
            .find_image(name)?
            .filter(|now| now.record != before.record)
        else {
            return Ok(());
        };
        let runs = |image: &Image| -> Result<bool> {
            let known = self.engine.image(image.record.id.as_ref())?;
            Ok(Platform::host().matches(&known.platform))
        };
        let stays = runs(&before)? && !runs(&now)?;
        if stays {
            store.tag_image(&before.record.id, name)?;
            for digest in &before.repo_digests {
                store.put_image(&before.record, None, Some(digest))?;
            }
        }
        let (first, other) = if stays { (before, now) } else { (now, before) };
        let mut record = first.record;
        let index = other.record.other_blobs.first();
        if index.is_some_and(|index| record.other_blobs.contains(index)) {
            let parts = [other.record.manifest, other.record.id];
            record.other_blobs.retain(|blob| !parts.contains(blob));
            record.other_blobs.extend(parts);
            store.put_image(&record, None, None)?;
        }
        Ok(())
    }

    /// The image for another platform that belongs to the same index.
    fn sibling(&self, of: &Digest, wanted: &Platform) -> Result<Option<rctr_engine::Image>> {
        let images = self.engine.store().images()?;
        let Some(own) = images.iter().find(|image| image.record.id == *of) else {
            return Ok(None);
        };
        for other in &images {
            let pulled = || {
                other
                    .repo_digests
                    .iter()
                    .any(|d| own.repo_digests.contains(d))
            };
            let blobs = || other.record.other_blobs.iter();
            let built = || {
                own.record
                    .other_blobs
                    .iter()
                    .any(|b| blobs().any(|o| o == b))
            };
            let built = || built() || own.record.other_blobs.contains(&other.record.manifest);
            if other.record.id == *of || !(pulled() || built()) {
                continue;
            }
            let other = self.engine.image(other.record.id.as_ref())?;
            if wanted.matches(&other.platform) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// The image if the store has it for this platform.
    fn local(&self, name: &str, whole: &str, wanted: &Platform) -> Result<Option<BaseImage>> {
        let mut image = match self.engine.image(name) {
            Err(Error::NoSuchImage { .. }) => return Ok(None),
            other => other?,
        };
        if !wanted.matches(&image.platform) {
            match self.sibling(&image.digest, wanted)? {
                Some(sibling) => image = sibling,
                None => return Ok(None),
            }
        }
        let Some(record) = self.engine.store().image(&image.digest)? else {
            return Ok(None);
        };
        let document = serde_json::from_value(image.raw_config().clone())
            .map_err(|e| bad_config(whole, &e))?;
        let repository = whole.rsplit_once('@').map_or(whole, |(name, _)| name);
        let repository = repository
            .rsplit_once(':')
            .map_or(repository, |(name, _)| name);
        let digest = image
            .digests
            .iter()
            .filter_map(|known| known.rsplit_once('@'))
            .find(|(name, _)| *name == repository)
            .and_then(|(_, digest)| digest.parse::<Digest>().ok());
        Ok(Some(BaseImage {
            name: whole.to_owned(),
            record: Arc::new(record.record),
            document: Arc::new(document),
            digest,
            remote: None,
        }))
    }
}

impl Images for ImageFinder<'_> {
    fn find(&self, name: &str, platform: &Platform) -> Result<BaseImage> {
        let key = (name.to_owned(), platform.to_string());
        // Held while it is fetched: a second one who asks for it waits.
        let mut found = self.found();
        if let Some(image) = found.get(&key) {
            return Ok(image.clone());
        }
        let image = self.load(name, platform)?;
        found.insert(key, image.clone());
        Ok(image)
    }

    fn fetch(&self, image: &BaseImage, vertex: VertexId, cancel: &Cancel) -> Result<()> {
        self.pull(image, vertex, Some(cancel))
    }
}

fn bad_config(image: &str, error: &serde_json::Error) -> BuildError {
    instruction(format!("configuration of {image}: {error}"))
}

fn instruction(reason: String) -> BuildError {
    BuildError::Instruction { span: None, reason }
}
