//! The way in: [`Client`].

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageManifest};
use tokio::sync::watch;

use crate::auth::{Account, Auth};
use crate::layer::{Image, LayerPull, Stage, reaches};
use crate::manifest::{self, Document, MAX_MANIFEST};
use crate::repository::{Lookup, Repository, Resolved};
use crate::retry::Timing;
use crate::transport::Transport;
use crate::{Error, HostConfigs, Platform, Progress, PulledLayer, Sink, SinkError};

/// Layers fetched at the same time, as Docker does.
const PARALLEL_LAYERS: usize = 3;
/// Indexes within indexes followed before giving up.
const MAX_NESTING: usize = 4;

/// Talks to registries; remembers tokens, and how hosts want to be spoken to. Making one costs nothing: connections,
/// certificates and credentials are looked for when first needed.
pub struct Client {
    pub(crate) transport: Transport,
    pub(crate) auth: Auth,
    pub(crate) timing: Timing,
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What the tag or digest named, an index or a manifest: the image's repository digest.
    pub target: Descriptor,
    /// The manifest chosen for the platform.
    pub manifest: Descriptor,
    /// The image configuration; its digest is the image's id.
    pub config: Descriptor,
    /// The configuration's bytes as served. Not parsed further here: Docker's has fields the OCI type lacks.
    pub config_json: Vec<u8>,
    /// All layers, base first.
    pub layers: Vec<PulledLayer>,
    /// The platform the configuration says the image is for.
    pub platform: Platform,
    /// One line for the user if the image is for another kind of machine than this (never if one was asked for).
    pub warning: Option<String>,
}

impl Client {
    /// A client with the given settings per host, and credentials from `config.json` in `docker_config_dir`
    /// (see [`crate::default_docker_config_dir`]); without a directory, always anonymous.
    ///
    /// # Errors
    /// [`Error::Config`] if a mirror's address is unusable.
    pub fn new(hosts: HostConfigs, docker_config_dir: Option<PathBuf>) -> Result<Self, Error> {
        Self::with_timing(hosts, docker_config_dir, Timing::default())
    }

    /// The same client, with an account at one registry (`docker.io`, `localhost:5000`): it is shown to that registry and
    /// the token server it names, and to no mirror.
    pub fn with_account(self, registry: &str, account: Account) -> Self {
        let config = self.auth.config_dir();
        Self {
            auth: Auth::of(registry.to_owned(), account, config),
            ..self
        }
    }

    pub(crate) fn with_timing(
        hosts: HostConfigs,
        docker_config_dir: Option<PathBuf>,
        timing: Timing,
    ) -> Result<Self, Error> {
        for host in hosts.keys() {
            let any = Reference::with_tag(host.clone(), "any".to_owned(), "any".to_owned());
            crate::hosts::endpoints(&hosts, &any)?;
        }
        Ok(Self {
            transport: Transport::new(hosts, timing),
            auth: Auth::new(docker_config_dir),
            timing,
        })
    }

    /// Asks what a reference names now, without fetching it: for `--pull=always` and `newer`.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::Sink`].
    pub async fn resolve(&self, reference: &Reference) -> Result<Descriptor, Error> {
        let repository = self.repository(reference)?;
        Ok(repository.resolve(Lookup::Head).await?.descriptor)
    }

    /// Brings an image into the sink: config and layers, then the manifest and the indexes that led to it.
    ///
    /// `platform` is the one the user asked for: an image for another is then an error. With `None` this machine's is
    /// preferred, its 32-bit mode accepted, and a single image for another machine taken with a warning.
    ///
    /// Dropping the future stops everything; the sink keeps what it has of each layer.
    ///
    /// # Errors
    /// Any [`Error`]; [`Error::Mirrors`] wraps it if mirrors failed as well.
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        lookup: Lookup,
        sink: Arc<dyn Sink>,
        progress: Arc<dyn Progress>,
    ) -> Result<Pulled, Error> {
        let repository = self.repository(reference)?;
        let pull = Pull {
            repository: &repository,
            platform,
            sink: &sink,
        };
        let resolved = repository.resolve(lookup).await?;
        let target = resolved.descriptor.clone();
        let found = pull.find_manifest(resolved).await?;
        let config = found.manifest.config().clone();
        let here = pull.present(&config).await?;
        let (tell, image) = watch::channel(None);
        let configured = async {
            // One that is here tells the layers at once what they are, so that none is fetched that is here, too.
            let (config_json, is_new) = match here {
                Some(bytes) => (bytes, false),
                None => (repository.blob(&config).await?, true),
            };
            let (platform, layers) = manifest::image(&found.manifest, &config_json)
                .map_err(|reason| pull.unsupported(reason))?;
            let warning = pull.check_platform(&platform)?;
            progress.resolved(&target, &layers);
            tell.send_replace(Some(Arc::from(&layers[..])));
            // Writing it to the disk for good takes as long as fetching a small layer.
            let document = is_new.then(|| (config.clone(), config_json.clone()));
            pull.put_all(document).await?;
            Ok((config_json, platform, layers, warning))
        };
        let blobs = found.manifest.layers();
        let ((config_json, image_platform, layers, warning), ()) =
            tokio::try_join!(configured, pull.layers(blobs, &image, &*progress))?;
        // What names the image comes last: nothing of it is left of a pull that failed.
        pull.put_all(found.fetched).await?;
        Ok(Pulled {
            target,
            manifest: found.descriptor,
            config,
            config_json,
            layers,
            platform: image_platform,
            warning,
        })
    }

    pub(crate) fn repository<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> Result<Repository<'a>, Error> {
        Repository::new(&self.transport, &self.auth, self.timing, reference)
    }
}

/// One pull under way.
struct Pull<'a> {
    repository: &'a Repository<'a>,
    platform: Option<&'a Platform>,
    sink: &'a Arc<dyn Sink>,
}

/// The manifest for the platform, and the documents the sink has not: itself first, then the indexes that led to it.
struct Found {
    descriptor: Descriptor,
    manifest: Box<ImageManifest>,
    fetched: Vec<(Descriptor, Vec<u8>)>,
}

impl Pull<'_> {
    async fn find_manifest(&self, resolved: Resolved) -> Result<Found, Error> {
        let mut descriptor = resolved.descriptor;
        let mut bytes = resolved.bytes;
        let mut fetched = Vec::new();
        for _ in 0..MAX_NESTING {
            let (content, is_new) = match bytes.take() {
                Some(bytes) => (bytes, true),
                None => self.document(&descriptor).await?,
            };
            let (media_type, document) =
                manifest::parse(&content, Some(descriptor.media_type().as_ref()))
                    .map_err(|reason| self.unsupported(reason))?;
            if is_new {
                fetched.insert(0, (descriptor.clone(), content));
            }
            match document {
                Document::Index(index) => {
                    let (wanted, strict) = self.wanted();
                    descriptor = manifest::choose(&index, &wanted, strict)
                        .map_err(|available| self.no_platform(available))?
                        .clone();
                }
                Document::Manifest(manifest) => {
                    manifest::check_image(&media_type, &manifest)
                        .map_err(|reason| self.unsupported(reason))?;
                    return Ok(Found {
                        descriptor,
                        manifest,
                        fetched,
                    });
                }
            }
        }
        Err(self.unsupported("its indexes are nested too deeply".to_owned()))
    }

    /// The platform looked for, and whether somebody asked for it.
    fn wanted(&self) -> (Platform, bool) {
        match self.platform {
            Some(platform) => (platform.clone(), true),
            None => (Platform::host(), false),
        }
    }

    fn check_platform(&self, image: &Platform) -> Result<Option<String>, Error> {
        let (wanted, strict) = self.wanted();
        if strict && wanted.rank_strict(image).is_none() {
            return Err(self.no_platform(vec![image.clone()]));
        }
        Ok((!strict && !wanted.matches(image)).then(|| {
            format!("the image is for {image} and may not run here ({wanted}); no platform was asked for")
        }))
    }

    /// A manifest or index, and whether it had to be fetched.
    async fn document(&self, descriptor: &Descriptor) -> Result<(Vec<u8>, bool), Error> {
        if descriptor.size() > MAX_MANIFEST {
            let size = descriptor.size();
            return Err(self.unsupported(format!(
                "its manifest has {size} bytes, more than {MAX_MANIFEST}"
            )));
        }
        match self.present(descriptor).await? {
            Some(bytes) => Ok((bytes, false)),
            None => Ok((self.repository.manifest(descriptor).await?, true)),
        }
    }

    /// A blob the sink has; one that does not verify is fetched again.
    async fn present(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Error> {
        let (sink, wanted) = (Arc::clone(self.sink), descriptor.clone());
        let found = self
            .blocking(descriptor, move || sink.read_blob(&wanted))
            .await?;
        Ok(found.filter(|bytes| {
            let digest = descriptor.digest();
            manifest::digest_of(digest.algorithm(), bytes).as_ref() == Some(digest)
        }))
    }

    async fn put_all(
        &self,
        documents: impl IntoIterator<Item = (Descriptor, Vec<u8>)>,
    ) -> Result<(), Error> {
        for (descriptor, bytes) in documents {
            let (sink, wanted) = (Arc::clone(self.sink), descriptor.clone());
            self.blocking(&descriptor, move || sink.put_blob(&wanted, &bytes))
                .await?;
        }
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        descriptor: &Descriptor,
        work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, Error> {
        let done = tokio::task::spawn_blocking(work).await;
        let done = done.unwrap_or_else(|e| Err(e.into()));
        done.map_err(|source| Error::Sink {
            digest: descriptor.digest().clone(),
            source,
        })
    }

    /// A layer is committed after its parent, so layers start in order: a parent never waits for a slot.
    async fn layers(
        &self,
        blobs: &[Descriptor],
        image: &Image,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let stages: Vec<watch::Sender<Stage>> =
            blobs.iter().map(|_| watch::Sender::default()).collect();
        stream::iter(0..blobs.len())
            .map(|index| {
                let (blob, stages) = (&blobs[index], &stages);
                // One blob may occur twice in an image: the second waits, and finds it downloaded.
                let twin = blobs[..index]
                    .iter()
                    .rposition(|earlier| earlier.digest() == blob.digest());
                async move {
                    if let Some(twin) = twin {
                        reaches(&stages[twin], Stage::Done).await;
                    }
                    let pull = LayerPull {
                        repository: self.repository,
                        sink: self.sink,
                        progress,
                        blob,
                        index,
                        image: image.clone(),
                        stage: &stages[index],
                        parent: index.checked_sub(1).map(|below| &stages[below]),
                    };
                    pull.run().await?;
                    stages[index].send_replace(Stage::Done);
                    Ok(())
                }
            })
            .buffer_unordered(PARALLEL_LAYERS)
            .try_collect::<()>()
            .await
    }

    fn no_platform(&self, available: Vec<Platform>) -> Error {
        Error::NoMatchingPlatform {
            reference: self.repository.reference.to_string(),
            wanted: self.wanted().0,
            available,
        }
    }

    fn unsupported(&self, reason: String) -> Error {
        Error::UnsupportedManifest {
            reference: self.repository.reference.to_string(),
            reason,
        }
    }
}
